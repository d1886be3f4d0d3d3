"""The backends of the columnar format: pandas frames and series, Arrow tables, polars frames."""

from __future__ import annotations

import sys
from typing import Any

from omegaml.backends.base import Table


class _Columnar:
    kind: str
    format = 2  # 1 has no `texts`; every chunk says what it is, so both are read alike
    payload = Table
    name = "columnar"
    _types: tuple[tuple[str, str], ...]

    def accepts(self, obj: object) -> bool:
        """Tell whether `obj` is a table of this kind; an object of a library that is not loaded cannot be."""
        for module, name in self._types:
            loaded = sys.modules.get(module)
            if loaded is not None and isinstance(obj, getattr(loaded, name)):
                return True
        return False

    def encode(self, obj: Any) -> Table:
        """Return the table's columns. Raises NotStorable, naming the column that cannot be kept exactly."""
        from omegaml.backends.columnar.codec import encode

        return encode(obj)

    def decode(self, payload: Table, format: int) -> Any:
        """Return the object, equal to the one that was encoded."""
        from omegaml.backends.columnar.codec import decode

        columns = [_chunks(payload.column(i)) for i in range(len(payload.schema.types))]
        return decode(payload.schema, columns, payload.rows)


class FrameBackend(_Columnar):
    """pandas DataFrames."""

    kind = "pandas.dfcolumnar"
    _types = (("pandas", "DataFrame"),)


class SeriesBackend(_Columnar):
    """pandas Series."""

    kind = "pandas.secolumnar"
    _types = (("pandas", "Series"),)


class ArrowBackend(_Columnar):
    """Arrow tables."""

    kind = "arrow.table"
    _types = (("pyarrow", "Table"),)


class PolarsBackend(_Columnar):
    """polars frames and series."""

    kind = "polars.frame"
    _types = (("polars", "DataFrame"), ("polars", "Series"))


def _chunks(array: Any) -> list[Any]:
    return list(array.chunks) if hasattr(array, "chunks") else [array]
