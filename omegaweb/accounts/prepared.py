"""A query whose SQL is made once: Django makes it anew each time, which costs more than asking.

What it reads is read anew each time.
"""

from __future__ import annotations

import threading
from typing import Any, Generic, TypeVar

from django.db import connections, models
from django.db.models.query import get_related_populators

_Model = TypeVar("_Model", bound=models.Model)


class ByField(Generic[_Model]):
    """The one object of `queryset` whose `field` has a value, with what `select_related` says."""

    def __init__(self, queryset: models.QuerySet[_Model], field: str) -> None:
        self._queryset = queryset
        self._field = field
        self._lock = threading.Lock()
        self._sql = ""

    def get(self, value: str) -> _Model | None:
        """Ask the database."""
        connection = connections[self._queryset.db]
        if not self._sql:
            with self._lock:
                self._compile()
        with connection.cursor() as cursor:
            cursor.execute(self._sql, (value,))
            found = cursor.fetchone()
        if found is None:
            return None
        row = list(found)
        for i, (converters, expression) in self._converters.items():
            for convert in converters:
                row[i] = convert(row[i], expression, connection)
        begin, end = self._own
        made: _Model = self._queryset.model.from_db(self._queryset.db, self._names, row[begin:end])
        for related in self._related:
            related.populate(row, made)
        return made

    def _compile(self) -> None:
        """As `django.db.models.query.ModelIterable` does before each query."""
        query = self._queryset.filter(**{self._field: ""}).order_by()[:1].query
        compiler = query.get_compiler(self._queryset.db)
        sql, parameters = compiler.as_sql()
        assert tuple(parameters) == ("",), parameters
        columns: Any = compiler.select
        info: Any = compiler.klass_info
        places = info["select_fields"]
        self._own = places[0], places[-1] + 1
        self._names = [column[0].target.attname for column in columns[places[0] : places[-1] + 1]]
        self._related = get_related_populators(info, columns, self._queryset.db)
        self._converters = compiler.get_converters([column[0] for column in columns])
        self._sql = sql
