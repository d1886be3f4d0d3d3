"""X and Y as an estimator wants them, and in words what is wrong with data that it does not take.

Attributes of estimators as in https://scikit-learn.org/stable/glossary.html#attributes; a model that has none
of them is given the data as it came.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from omegaml.errors import Mismatch


def features(model: Any, name: str, x: Any) -> Any:
    """Return X for `model`, which is stored as `name`.

    Polars and Arrow tables and dicts of columns become pandas frames. If the model was fitted on named
    columns, a frame's columns are put into the order of `fit`, and lists, arrays and records of that width
    get the names; if it was fitted without names, a frame of numbers becomes an array.

    Raises: Mismatch, naming the columns that are missing or too many.
    """
    x = _as_pandas(x)
    names = getattr(model, "feature_names_in_", None)
    if names is None:
        return _unnamed(model, name, x)
    wanted = [str(label) for label in names]
    if isinstance(x, list | tuple) and x and all(isinstance(row, Mapping) for row in x):
        import pandas as pd

        x = pd.DataFrame(list(x))
    if _is_frame(x):
        return _in_order(name, x, wanted)
    if hasattr(x, "tocsr") or not (hasattr(x, "shape") or isinstance(x, list | tuple)):
        return x
    if _rows(x) == 0:
        raise Mismatch(f"the data for model {name!r} has no rows")
    if _width(x) is None:
        raise Mismatch(f"the data does not fit model {name!r}: {_ONE_DIMENSION}")
    _check_width(name, x, len(wanted))
    import pandas as pd

    return pd.DataFrame(x, columns=wanted)


def training_features(model: Any, x: Any) -> Any:
    """Return X for fitting `model` on it, whatever columns it was fitted on before."""
    x = _as_pandas(x)
    # a text vectorizer iterates over documents, and iterating over a frame gives the names of its columns
    return x.iloc[:, 0] if _reads_documents(model) and _is_frame(x) and x.shape[1] == 1 else x


def target(y: Any) -> Any:
    """Return Y for an estimator: one column, however it came, as values of shape (n_rows,)."""
    y = _as_pandas(y)
    if _is_frame(y):
        return y.iloc[:, 0] if y.shape[1] == 1 else y
    if getattr(y, "ndim", None) == 2 and not hasattr(y, "tocsr") and y.shape[1] == 1:
        return y.reshape(-1)
    if isinstance(y, list) and y and all(isinstance(row, list | tuple) and len(row) == 1 for row in y):
        return [row[0] for row in y]
    return y


def check_rows(name: str, x: Any, y: Any) -> None:
    """Raise Mismatch unless X and Y have equally many rows."""
    of_x, of_y = _rows(x), _rows(y)
    if of_x is not None and of_y is not None and of_x != of_y:
        raise Mismatch(f"X has {of_x} rows and Y has {of_y}: model {name!r} needs as many of each")


def check_types(name: str, x: Any, trained: Iterable[Mapping[str, str]]) -> None:
    """Raise Mismatch if a column holds text that held numbers when the model was fitted.

    Estimators take "5" for 5, which hides that a caller sends the wrong column.
    """
    numbers = {column["name"] for column in trained if re.match("u?int|float|bool", column["dtype"].lower())}
    if not numbers or not _is_frame(x):
        return
    for i, label in enumerate(x.columns):
        if str(label) in numbers and _kind(column := x.iloc[:, i]) == "text":
            said = f"column {str(label)!r} holds text, not numbers: {_text_in(column)!r}"
            raise Mismatch(f"the data does not fit model {name!r}: {said}")


def _text_in(column: Any) -> str:
    """The first text that is no number; the first text where all are."""
    texts = [cell for cell in column if isinstance(cell, str)]
    return next((text for text in texts if not re.fullmatch(r"[-+.\deE]+", text)), texts[0])


def explain(what: str, error: BaseException, x: Any, traceback: str) -> Mismatch | None:
    """Return what is wrong with the data if that is why `what` raised `error`; None if it is not."""
    if not isinstance(error, ValueError | TypeError | OverflowError):
        return None
    said = " ".join(str(error).split())
    for pattern, sentence in _REASONS:
        if found := re.search(pattern, said):
            text = sentence(x, found) if callable(sentence) else sentence
            return Mismatch(f"{what}: {text or said}", traceback=traceback)
    return None


# --- shapes


def _as_pandas(data: Any) -> Any:
    root = type(data).__module__.partition(".")[0]
    if root in ("polars", "pyarrow") and hasattr(data, "to_pandas"):
        return data.to_pandas()
    if isinstance(data, dict) and data and all(_is_column(values) for values in data.values()):
        import pandas as pd

        try:
            return pd.DataFrame(data)
        except ValueError as error:
            raise Mismatch(f"the columns are not all of one length: {error}") from None
    return data


def _is_column(values: Any) -> bool:
    return isinstance(values, list | tuple) or getattr(values, "ndim", None) == 1


def _is_frame(data: Any) -> bool:
    return hasattr(data, "columns") and hasattr(data, "iloc")


def _rows(data: Any) -> int | None:
    shape = getattr(data, "shape", None)
    if shape is not None:
        return int(shape[0]) if shape else None
    return len(data) if isinstance(data, list | tuple) else None


def _width(x: Any) -> int | None:
    shape = getattr(x, "shape", None)
    if shape is not None:
        return int(shape[1]) if len(shape) == 2 else None
    if isinstance(x, list | tuple) and x and all(isinstance(row, list | tuple) for row in x):
        widths = {len(row) for row in x}
        if len(widths) > 1:
            raise Mismatch(f"the rows of X are not all of one length: {min(widths)} to {max(widths)} values")
        return widths.pop()
    return None


def _reads_documents(model: Any) -> bool:
    steps = getattr(model, "steps", None)
    return hasattr(steps[0][1] if steps else model, "build_analyzer")


def _unnamed(model: Any, name: str, x: Any) -> Any:
    count = getattr(model, "n_features_in_", None)
    if count is None:
        return training_features(model, x)
    _check_width(name, x, int(count))
    if _is_frame(x) and all(getattr(dtype, "kind", "O") in "biuf" for dtype in x.dtypes):
        return x.to_numpy()
    return x


def _check_width(name: str, x: Any, count: int) -> None:
    width = _width(x)
    if width is not None and width != count:
        raise Mismatch(
            f"the data does not fit model {name!r}: it has {width} columns, fitted on {count}",
            features=count,
            given=width,
        )


def _in_order(name: str, x: Any, wanted: list[str]) -> Any:
    given = [str(label) for label in x.columns]
    if given == wanted:
        return x
    missing = [label for label in wanted if label not in given]
    unknown = [label for label in given if label not in wanted]
    twice = sorted({label for label in given if given.count(label) > 1})
    if not (missing or unknown or twice):
        return x.iloc[:, [given.index(label) for label in wanted]]
    parts = [
        f"misses {_listed(missing)}" if missing else "",
        f"has {_listed(unknown)} which it was not fitted on" if unknown else "",
        f"has {_listed(twice)} more than once" if twice else "",
    ]
    raise Mismatch(
        f"the data does not fit model {name!r}: it {' and '.join(filter(None, parts))}",
        hint=f"choose columns as in 'name[{','.join(wanted[:3])}{',...' if len(wanted) > 3 else ''}]'",
        missing=missing,
        unknown=unknown,
    )


# --- reasons


def _listed(columns: list[str]) -> str:
    shown = ", ".join(repr(label) for label in columns[:5])
    return f"{shown} and {len(columns) - 5} more" if len(columns) > 5 else shown


def _columns_where(x: Any, test: Callable[[Any], Any]) -> list[str]:
    if not _is_frame(x):
        return []
    return [str(label) for i, label in enumerate(x.columns) if test(x.iloc[:, i])]


def _not_numbers(x: Any, found: re.Match[str]) -> str | None:
    cell = found.groupdict().get("cell")
    if cell is not None and (bad := _columns_where(x, lambda c: bool((c.astype(object) == cell).any()))):
        return f"column {_listed(bad)} holds text, not numbers: {cell!r}"
    if cell is not None:
        return f"X holds text, not numbers: {cell!r}"
    kinds: dict[str, list[str]] = {}
    for i, label in enumerate(x.columns if _is_frame(x) else ()):
        if kind := _kind(x.iloc[:, i]):
            kinds.setdefault(kind, []).append(str(label))
    parts = [f"column {_listed(labels)} holds {kind}, not numbers" for kind, labels in kinds.items()]
    return " and ".join(parts) or None


def _kind(column: Any) -> str | None:
    kind = getattr(column.dtype, "kind", "O")
    if kind in "biufc":
        return None
    if kind in "Mm":
        return "times"
    cells = column.dropna().head(1000)
    return "text" if any(isinstance(cell, str) for cell in cells) else f"values of type {column.dtype}"


def _missing(x: Any, found: re.Match[str]) -> str:
    bad = _columns_where(x, lambda c: c.isna().any())
    return f"column {_listed(bad)} has missing values" if bad else "X has missing values"


def _infinite(x: Any, found: re.Match[str]) -> str:
    def test(column: Any) -> bool:
        return getattr(column.dtype, "kind", "O") == "f" and bool((abs(column.astype("f8")) > 1.7e38).any())

    bad = _columns_where(x, test)
    return f"{f'column {_listed(bad)}' if bad else 'X'} has values that are infinite or too large"


_ONE_DIMENSION = "X has one dimension: it takes a table, where [[1, 2, 3]] is one row"

# What estimators say of data they do not take -> what it means; None repeats what they said. The first that
# is found counts. Texts of scikit-learn 1.3 to 1.9, numpy and pandas.
_REASONS: tuple[tuple[str, str | Callable[[Any, re.Match[str]], str | None] | None], ...] = (
    (r"Input y contains", "Y has missing or infinite values"),
    (r"could not convert string to float: ['\"](?P<cell>.*)['\"]", _not_numbers),
    (r"^Input.* contains infinity", _infinite),
    (r"^Input.* contains NaN|NAType|'NoneType' and|argument must be .*'NoneType'", _missing),
    (
        r"could not be promoted|can't multiply sequence|Cannot cast|setting an array element|"
        r"not supported for the input types|unsupported operand|argument must be a string or|"
        r"dtype='numeric' is not compatible",
        _not_numbers,
    ),
    (
        r"Expected 2D array|Expected a 2-dimensional container",
        _ONE_DIMENSION,
    ),
    (r"int too large to convert", "X has numbers that are too large"),
    (r"codec can't encode character", "X holds text that is no Unicode"),
    (r"Found array with 0 sample", "X has no rows"),
    (r"requires y to be passed|missing 1 required positional argument: 'y'", "it needs Y"),
    (
        r"inconsistent numbers of samples|features, but \w+ is expecting|columns are missing|"
        r"unknown categories|feature names should match|Feature names are only supported|"
        r"Specifying the columns using strings",
        None,
    ),
)
