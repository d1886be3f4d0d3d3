"""Whether what came back is what was stored: dtype, index, labels and the Python type of every cell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd


def same_frame(found: Any, stored: pd.DataFrame) -> None:
    """Raise AssertionError unless the two frames are the same in everything."""
    pd.testing.assert_frame_equal(
        found,
        stored,
        check_exact=True,
        check_index_type=True,
        check_column_type=True,
        check_freq=True,
        check_categorical=True,
    )
    for i, dtype in enumerate(stored.dtypes):
        if isinstance(dtype, np.dtype) and dtype.kind == "O":
            same_cells(found.iloc[:, i].to_numpy(), stored.iloc[:, i].to_numpy(), stored.columns[i])


def same_cells(found: np.ndarray, stored: np.ndarray, label: Any) -> None:
    """Raise AssertionError unless every cell has the type it had; None and NaN are told apart."""
    kinds = (list(map(type, found.tolist())), list(map(type, stored.tolist())))
    assert kinds[0] == kinds[1], f"column {label!r} has cells of other types than stored"


def same_rows(rows: int) -> Any:
    """Return a check for a result of another library, of which only the number of rows is compared."""

    def check(found: Any) -> None:
        assert len(found) == rows, f"{len(found)} rows instead of {rows}"

    return check
