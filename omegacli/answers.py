"""Objects as results of a command: tables as rows, everything else as data."""

from __future__ import annotations

from typing import Any

from omegacli import console
from omegaml import tabular


def as_data(obj: Any) -> Any:
    """What an object is in JSON: a table is a list of rows."""
    if hasattr(obj, "toarray"):
        obj = obj.toarray()  # a sparse matrix
    if hasattr(obj, "to_pandas"):
        obj = obj.to_pandas()
    if type(obj).__name__ == "Series":
        obj = obj.to_frame(name="value" if obj.name is None else obj.name)
    return tabular.records(obj) if type(obj).__name__ == "DataFrame" else console.plain(obj)


def show(schema: str, answer: Any) -> None:
    """Show what a model answered, or what came of a task: one line per row."""
    data = as_data(answer)
    if isinstance(data, list) and data and isinstance(data[0], list):
        console.show(schema, data, text="\n".join("\t".join(str(cell) for cell in row) for row in data))
    else:
        console.show(schema, data)


def show_rows(schema: str, table: Any, limit: int | None) -> None:
    """Show the rows of a table, at most `limit`; its columns, too, where there is no row."""
    rows = as_data(table)[:limit]
    labels = list(rows[0]) if rows else tabular.distinct([str(c) for c in getattr(table, "columns", ())])
    console.show(schema, rows, columns=labels or None)


def columns(table: Any) -> list[dict[str, str]]:
    """Labels and types of the columns of a table."""
    if hasattr(table, "to_frame") and not hasattr(table, "columns"):
        return [{"name": str(table.name), "type": str(table.dtype)}]
    if hasattr(table, "schema") and hasattr(table.schema, "names"):
        pairs = zip(table.schema.names, table.schema.types, strict=True)
    else:
        pairs = zip(table.columns, table.dtypes, strict=True)
    return [{"name": str(name), "type": str(kind)} for name, kind in pairs]
