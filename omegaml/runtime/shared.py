"""A model of another, as `@bob/m`: asked by REST, and carried out where bob's models are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from omegaml.errors import InvalidInput
from omegaml.jsonvalues import plain
from omegaml.runtime.inputs import target
from omegaml.runtime.model import RuntimeModel
from omegaml.shared import Remote

if TYPE_CHECKING:
    from omegaml.omega import Omega

ASKS = ("predict", "predict_proba", "transform", "score", "decision_function")


class SharedModel(RuntimeModel):
    """As `RuntimeModel`, for waiting calls: X and Y travel as JSON, and so does the answer.

    Names are those of the caller's own datasets (or shared ones), which are read here and sent as values.
    Numbers come back as arrays of the type that JSON tells: int64, float64, bool or text.
    """

    def __init__(self, om: Omega, name: str, limit: float | None = None) -> None:
        self._om = om
        self._remote = Remote(om.config, om.bucket, "model")
        self._limit = limit
        self.name = name

    def call(
        self,
        action: str,
        X: Any = None,
        Y: Any = None,
        *,
        result: str | None = None,
        async_: bool = False,
        **params: Any,
    ) -> Any:
        what = f"{action} of shared model {self.name!r}"
        if action not in ASKS:
            raise InvalidInput(f"{what}: only its owner does that", hint=f"what there is: {', '.join(ASKS)}")
        given = [*(["result"] if result else []), *(["async_"] if async_ else []), *params]
        if given:
            raise InvalidInput(f"{what}: {given[0]} does not travel", hint="leave it out")
        X, Y = (self._om.datasets.get(data) if isinstance(data, str) else data for data in (X, Y))
        body = _values(X)
        if Y is not None:
            body["y"] = plain(_list(target(Y)))
        query = [] if self._limit is None else [("timeout", self._limit)]
        seconds = None if self._limit is None else self._limit + 30
        answer = self._remote.call(
            "POST", self._remote.route(self.name, f"{action}/", query, by_path=True), body, timeout=seconds
        )
        return _array(answer.json()["result"], action)

    def map(
        self, action: str, values_of_X: Iterable[Any], *, processes: int | None = None, **params: Any
    ) -> list[Any]:
        raise InvalidInput(
            f"map of shared model {self.name!r}: child processes are for models of one's own",
            hint="ask it about all rows in one call",
        )


def _values(x: Any) -> dict[str, Any]:
    if hasattr(x, "to_pandas"):
        x = x.to_pandas()
    if hasattr(x, "columns") and hasattr(x, "iloc"):
        if not x.shape[1]:
            raise InvalidInput("a frame without columns is nothing to ask a model about", hint="give columns")
        columns = [plain(x.iloc[:, i].tolist()) for i in range(x.shape[1])]
        rows = [list(row) for row in zip(*columns, strict=True)]
        return {"columns": [str(label) for label in x.columns], "data": rows}
    if isinstance(x, Mapping):
        return {"data": {str(label): plain(_list(cells)) for label, cells in x.items()}}
    return {"data": plain(_list(x))}


def _list(values: Any) -> Any:
    if hasattr(values, "toarray"):
        values = values.toarray()
    return values.tolist() if hasattr(values, "tolist") else list(values)


def _array(result: Any, action: str) -> Any:
    import numpy as np

    if isinstance(result, dict) and set(result) == {"columns", "data"}:
        import pandas as pd

        return pd.DataFrame(result["data"], columns=result["columns"])
    if action == "score" or not isinstance(result, list):
        return result
    array = np.asarray(result)
    # JSON has no NaN: a number that is none comes as null
    return array.astype(float) if array.dtype == object and _has_numbers_only(array) else array


def _has_numbers_only(array: Any) -> bool:
    cells = [cell for cell in array.flat if cell is not None]
    return bool(cells) and all(type(cell) in (int, float) for cell in cells)
