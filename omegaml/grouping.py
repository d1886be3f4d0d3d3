"""Group and aggregate a stream of frames in bounded memory.

Every frame is reduced to one row per group; the reduced frames are stacked and reduced again whenever they
grow long, so that memory follows the number of groups and not the number of rows. Missing values are left
out as by `pandas.DataFrame.groupby`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from omegaml.errors import InvalidInput

FUNCTIONS = ("sum", "mean", "min", "max", "count", "std", "nunique", "first")
STACKED_ROWS = 262_144


@dataclass(frozen=True)
class Aggregate:
    """One result column: `function` of the input column `label`, under the label `result`."""

    label: Any
    function: str
    result: Any

    def __post_init__(self) -> None:
        if self.function not in FUNCTIONS:
            raise InvalidInput(
                f"unknown aggregate {self.function!r} of column {self.label!r}",
                hint=f"aggregates are {', '.join(FUNCTIONS)}",
            )


def aggregates(spec: Any, named: Mapping[str, Any], labels: Sequence[Any]) -> list[Aggregate]:
    """Return what `agg(spec, **named)` asks for, as pandas understands it.

    Args:
        spec: a function, a list of functions, or {label: function or list of functions}.
        named: result=(label, function).
        labels: the columns that a spec without labels means.
    """
    found = [Aggregate(pair[0], pair[1], result) for result, pair in named.items() if _is_pair(result, pair)]
    if spec is None:
        if not found:
            raise InvalidInput("nothing to aggregate", hint="for example agg({'x': 'mean'})")
        return found
    per_label = spec if isinstance(spec, Mapping) else dict.fromkeys(labels, spec)
    nested = any(not isinstance(functions, str) for functions in per_label.values())
    for label, functions in per_label.items():
        for function in [functions] if isinstance(functions, str) else functions:
            found.append(Aggregate(label, function, (label, function) if nested else label))
    return found


def _is_pair(result: str, pair: Any) -> bool:
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise InvalidInput(f"{result} is given as a pair (column, function), for example ('x', 'mean')")
    return True


def aggregate(frames: Iterable[pd.DataFrame], keys: int, plan: Sequence[tuple[int, str]]) -> pd.DataFrame:
    """Return one row per group, sorted by the keys, which are its index; its columns are 0, 1, ... of `plan`.

    Args:
        frames: at least one frame; all have equal columns, of which the first `keys` are the group's keys.
        plan: (position of the column, function) of each result column.
    Raises: InvalidInput for a function that a column's type does not have.
    """
    partials = [_Plain(i, f) if f in _COMBINE else _OTHERS[f](i) for i, f in plan]
    groups = next((p for p in partials if p.has_all), None) or _Plain(0, "size")
    nothing: pd.DataFrame | None = None
    try:
        for frame in frames:
            frame = frame.set_axis(range(frame.shape[1]), axis=1)
            nothing = frame.iloc[:0] if nothing is None else nothing
            by = _Keys(frame, keys)
            for partial in dict.fromkeys([groups, *partials]):
                partial.add(frame[partial.position], by)
        if not groups.stack:
            assert nothing is not None
            return _of_nothing(nothing, keys, plan)
        index = groups.result().index
        columns = {
            i: _aligned(p.result(), index, **({"fill_value": 0} if isinstance(p, _Distinct) else {}))
            for i, p in enumerate(partials)
        }
    except TypeError as exc:
        raise InvalidInput(f"the columns cannot be grouped so: {exc}") from exc
    return pd.DataFrame(columns, index=index)


def _of_nothing(frame: pd.DataFrame, keys: int, plan: Sequence[tuple[int, str]]) -> pd.DataFrame:
    by = [frame[k] for k in range(keys)]
    index = _grouped(frame[0], by, sort=True).size().index
    columns = {
        i: getattr(_grouped(frame[p], by, sort=True), function)() for i, (p, function) in enumerate(plan)
    }
    return pd.DataFrame(columns, index=index)


# how the partial results of several frames become one
_COMBINE = {"size": "sum", "count": "sum", "sum": "sum", "min": "min", "max": "max", "first": "first"}


def _aligned(found: pd.Series, index: pd.Index, **fill: int) -> pd.Series:
    return found if found.index.equals(index) else found.reindex(index, **fill)


class _Keys:
    """The keys of a frame's rows; the objects of a single key are looked up once for all result columns."""

    def __init__(self, frame: pd.DataFrame, keys: int) -> None:
        self.columns = [frame[k] for k in range(keys)]
        key = frame[0]
        self.is_coded = (
            keys == 1 and len(key) > 0 and (key.dtype == object or frame.attrs.get("coded", False))
        )
        if self.is_coded and not _is_dense(key.array):
            codes, found = pd.factorize(key, use_na_sentinel=True)
            dense = pd.Categorical.from_codes(codes, pd.Index(found, dtype=object), validate=False)
            self.columns = [pd.Series(dense, index=key.index, copy=False)]

    def group(self, values: pd.Series) -> Any:
        # where every category is there, pandas takes their codes as they are and need not look for them
        return _grouped(values, self.columns, sort=self.is_coded, observed=not self.is_coded)


def _is_dense(key: Any) -> bool:
    """Whether a key is of categories, and each of them is there."""
    if not isinstance(key, pd.Categorical):
        return False
    return bool(np.bincount(key.codes + 1, minlength=len(key.categories) + 1)[1:].all())


def _grouped(values: pd.Series, by: list[pd.Series], sort: bool = False, observed: bool = True) -> Any:
    # without names: pandas 2 would look a key's name up in the values
    return values.groupby([key.rename(None) for key in by], sort=sort, observed=observed, dropna=True)


def _regrouped(stacked: pd.DataFrame | pd.Series, sort: bool = False) -> Any:
    levels = list(range(stacked.index.nlevels))
    return stacked.groupby(level=levels if len(levels) > 1 else 0, sort=sort, observed=True, dropna=True)


class _Partial:
    """Reduces frames to a row per group, and stacked rows to fewer."""

    has_all = True  # a row of every group, also of one that has only missing values

    def __init__(self, position: int) -> None:
        self.position = position
        self.stack: list[Any] = []
        self._rows = self._floor = 0
        self.dtype: Any = None

    def add(self, values: pd.Series, by: _Keys) -> None:
        """Take in the values of one more frame."""
        self.dtype = values.dtype
        part = self.reduce(values, by)
        if len(part) == 0:
            return
        if by.is_coded:
            part.index = part.index.astype(object)
        self.stack.append(part)
        self._rows += len(part)
        if self._rows > STACKED_ROWS + 2 * self._floor:
            self.stack = [self.combine(pd.concat(self.stack))]
            self._rows = self._floor = len(self.stack[0])

    def reduce(self, values: pd.Series, by: _Keys) -> Any:
        raise NotImplementedError

    def combine(self, stacked: Any, sort: bool = False) -> Any:
        raise NotImplementedError

    def result(self) -> pd.Series:
        """Return the values, one per group, sorted by the keys."""
        return self.combine(pd.concat(self.stack), sort=True)


class _Plain(_Partial):
    """Functions of which the partial results combine by a function of pandas."""

    def __init__(self, position: int, function: str) -> None:
        super().__init__(position)
        self.function = function

    def reduce(self, values: pd.Series, by: _Keys) -> pd.Series:
        if self.function == "sum":
            values = values.astype(_WIDER.get(values.dtype.name, values.dtype))
        return getattr(by.group(values), self.function)()

    def combine(self, stacked: pd.Series, sort: bool = False) -> pd.Series:
        return getattr(_regrouped(stacked, sort), _COMBINE[self.function])()

    def result(self) -> pd.Series:
        found = super().result()
        if self.dtype == object and self.function in ("min", "max", "first"):
            # pandas 3 makes text its string dtype
            return found.astype(object)
        return _fitted(found, self.dtype) if self.function == "sum" else found


class _Mean(_Partial):
    def reduce(self, values: pd.Series, by: _Keys) -> pd.DataFrame:
        grouping = by.group(_real(values))
        return pd.DataFrame({"sum": grouping.sum(), "n": grouping.count()})

    def combine(self, stacked: pd.DataFrame, sort: bool = False) -> pd.DataFrame:
        return _regrouped(stacked, sort).sum()

    def result(self) -> pd.Series:
        found = super().result()
        return _narrow(found["sum"] / found["n"].where(found["n"] > 0), self.dtype)


class _Std(_Partial):
    """Sample standard deviation from counts, means and sums of squared deviations of parts.

    Source: Chan, Golub, LeVeque 1979, Updating formulae and a pairwise algorithm for sample variances.
    """

    has_all = False

    def reduce(self, values: pd.Series, by: _Keys) -> pd.DataFrame:
        grouping = by.group(_real(values))
        n = grouping.count()
        squares = grouping.var(ddof=0) * n
        parts = {"n": n, "mean": grouping.mean(), "squares": squares}
        return pd.DataFrame(parts)[n > 0].astype("float64")

    def combine(self, stacked: pd.DataFrame, sort: bool = False) -> pd.DataFrame:
        # means are taken as distances from the group's first one: sums of far values would round
        firsts = _regrouped(stacked["mean"], sort).first()
        away = stacked["mean"].to_numpy() - firsts.reindex(stacked.index).to_numpy()
        sums = _regrouped(stacked.assign(mean=away * stacked["n"]), sort).sum()
        sums["mean"] /= sums["n"]
        between = stacked["n"] * (away - sums["mean"].reindex(stacked.index).to_numpy()) ** 2
        sums["squares"] += _regrouped(between, sort).sum()
        sums["mean"] += firsts
        return sums

    def result(self) -> pd.Series:
        spread = pd.Series(dtype="float64")
        if self.stack:
            found = super().result()
            spread = np.sqrt(found["squares"] / (found["n"] - 1).where(found["n"] > 1))
        return _narrow(spread.astype(_real(pd.Series(dtype=self.dtype)).dtype), self.dtype)


class _Distinct(_Partial):
    """The distinct values of every group; memory follows their number."""

    has_all = False

    def reduce(self, values: pd.Series, by: _Keys) -> pd.DataFrame:
        columns = [*by.columns, values]
        pairs = pd.concat(columns, axis=1, keys=range(len(columns)))
        return pairs.dropna().drop_duplicates()

    def combine(self, stacked: pd.DataFrame, sort: bool = False) -> Any:
        return stacked.drop_duplicates()

    def result(self) -> pd.Series:
        if not self.stack:
            return pd.Series(dtype="int64")
        pairs = super().result()
        *by, values = [pairs[k] for k in pairs]
        return _grouped(values, by, sort=True).size().astype("int64")


_OTHERS: dict[str, Callable[[int], _Partial]] = {"mean": _Mean, "std": _Std, "nunique": _Distinct}

_FLOATS = {"float16": "float64", "float32": "float64", "Float32": "Float64"}
_WIDER = {
    **_FLOATS,
    **{f"{kind}{bits}": f"{kind}64" for kind in ("int", "uint", "Int", "UInt") for bits in (8, 16, 32)},
    **{f"{kind}{bits}[pyarrow]": f"{kind}64[pyarrow]" for kind in ("int", "uint") for bits in (8, 16, 32)},
}


def _narrow(values: pd.Series, dtype: Any) -> pd.Series:
    return values.astype(dtype) if getattr(dtype, "name", "") in _FLOATS else values


def _fitted(sums: pd.Series, dtype: Any) -> pd.Series:
    """Return sums in the type of the summed values where they fit into it, as pandas does."""
    if getattr(dtype, "name", "") not in _WIDER or dtype.name in _FLOATS:
        return _narrow(sums, dtype)
    with suppress(TypeError, ValueError, OverflowError, pa.ArrowException):
        fitted = sums.astype(dtype)
        if (fitted == sums).all():
            return fitted
    return sums


def _real(values: pd.Series) -> pd.Series:
    """Return whole numbers and bools as floats, so that their sum cannot overflow."""
    dtype = values.dtype
    if not pd.api.types.is_numeric_dtype(dtype):
        raise InvalidInput(f"mean and std need numbers, not {dtype}")
    if isinstance(dtype, np.dtype):
        return values.astype("float64") if dtype.kind != "c" else values
    if isinstance(dtype, pd.ArrowDtype):
        return values.astype("double[pyarrow]")
    return values.astype("float64" if isinstance(dtype, pd.SparseDtype) else "Float64")
