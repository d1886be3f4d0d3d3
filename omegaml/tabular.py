"""Tables as rows of plain values and back, for JSON and CSV.

pandas is imported by what needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omegaml.jsonvalues import dumps, plain

if TYPE_CHECKING:
    import pandas as pd


def from_rows(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows as a frame; integers too large for a float stay integers where a row lacks one."""
    import pandas as pd

    frame = pd.DataFrame(rows)
    for label in [label for label, dtype in frame.dtypes.items() if dtype.kind == "f"]:
        cells = [row.get(label) for row in rows]
        if any(isinstance(cell, int) and abs(cell) > 1 << 53 for cell in cells):
            is_whole = all(cell is None or isinstance(cell, int) for cell in cells)
            frame[label] = pd.Series(cells, dtype="Int64" if is_whole else object)
    return frame


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a DataFrame as one mapping per row, missing values as None; a telling index comes first."""
    import pandas as pd

    if has_telling_index(frame):
        names = [
            n if n is not None else ("index" if frame.index.nlevels == 1 else f"level_{i}")
            for i, n in enumerate(frame.index.names)
        ]
        levels = [frame.index.get_level_values(i).tolist() for i in range(frame.index.nlevels)]
    else:
        names, levels = [], []
    labels = distinct([str(label) for label in [*names, *frame.columns]])
    columns = [*levels, *(frame.iloc[:, i].tolist() for i in range(frame.shape[1]))]
    return [
        {
            label: None if value is pd.NA or value is pd.NaT else value
            for label, value in zip(labels, row, strict=True)
        }
        for row in zip(*columns, strict=True)
    ]


def has_telling_index(frame: pd.DataFrame) -> bool:
    """Tell whether the index says more than row numbers: unnamed integers are taken for those."""
    return frame.index.nlevels > 1 or frame.index.name is not None or frame.index.inferred_type != "integer"


def distinct(labels: list[str]) -> list[str]:
    """`labels`, with .1, .2 and so on where one is there already, as pandas names the columns of a CSV."""
    found: dict[str, None] = {}
    for label in labels:
        name, number = label, 0
        while name in found:
            number += 1
            name = f"{label}.{number}"
        found[name] = None
    return list(found)


def as_text(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with JSON in place of cells that CSV has no text for: lists, mappings and bytes."""
    for i in [i for i, dtype in enumerate(frame.dtypes) if str(dtype) == "object"]:
        column = frame.iloc[:, i]
        if any(isinstance(cell, (list, dict, tuple, set, bytes)) for cell in column):
            cells = [_cell_text(cell) for cell in column]
            frame = frame.copy()
            frame.isetitem(i, type(column)(cells, index=frame.index, dtype=object))
    return frame


def _cell_text(cell: Any) -> Any:
    if isinstance(cell, bytes):
        return plain(cell)
    return dumps(cell) if isinstance(cell, (list, dict, tuple, set)) else cell
