"""Actions that change a model: each leaves its next version, or the model as it was."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from omegaml.errors import Conflict, InvalidInput, Mismatch
from omegaml.runtime.base import Task
from omegaml.runtime.inputs import check_rows, features, target, training_features
from omegaml.runtime.usercode import method_of, user_code

if TYPE_CHECKING:
    from omegaml.metadata import Metadata
    from omegaml.omega import Omega

TRIES = 20
MAX_COLUMNS = 2000
"""The types of so many columns are kept with the model."""

MAX_TRIED = 100
"""So many combinations of a grid search are kept with the model; its result has all."""


def fit(om: Omega, task: Task, x: Any, y: Any, params: dict[str, Any]) -> dict[str, Any]:
    """Train the model from the start and store it as the next version.

    Of two that fit a model at once each makes its version.
    """
    model = om.models.get(task.name)
    method = method_of(model, task)
    x, y = _data(task, model, x, y)
    with user_code(task, x):
        fitted = method(x, **params) if y is None else method(x, y, **params)
    return _put(om, task, _trained(model, fitted), about=_given(x, y))


def partial_fit(om: Omega, task: Task, x: Any, y: Any, params: dict[str, Any]) -> dict[str, Any]:
    """Train the newest version further and store the next.

    If somebody else made a version meanwhile, it is trained again from that one, so that every call counts.
    Raises: Conflict after so many tries.
    """
    for _ in range(TRIES):
        base = om.models.metadata(_bare(task.name))
        model = om.models.get(task.name)
        method = method_of(model, task)
        given_x, given_y = _data(task, model, x, y, further=True)
        with user_code(task, given_x):
            fitted = method(given_x, **params) if given_y is None else method(given_x, given_y, **params)
        done = _put(om, task, _trained(model, fitted), base, _given(given_x, given_y))
        if done is not None:
            return done
    raise Conflict(
        f"model {task.name!r} was changed by others each of the {TRIES} times it was trained",
        hint="try again",
    )


def gridsearch(om: Omega, task: Task, x: Any, y: Any, params: dict[str, Any]) -> dict[str, Any]:
    """Try all combinations of parameters and store the best, fitted on all data, as the next version.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.model_selection.GridSearchCV.html
    """
    grid = params.pop("parameters", None)
    if not isinstance(grid, dict | list):
        raise InvalidInput(
            f"{task.what} needs the parameters to try",
            hint="parameters={'alpha': [0.1, 1.0]}",
        )
    if params.get("refit", True) is False:
        raise InvalidInput("gridsearch stores the best model, so refit cannot be False", hint="leave it out")
    model = om.models.get(task.name)
    method_of(model, task, "fit")
    x, y = _data(task, model, x, y)
    with user_code(task, x):
        from sklearn.model_selection import GridSearchCV

        search = GridSearchCV(model, grid, **params)
        search.fit(x, y)
        found = _found(search, params.get("refit", True))
        best = search.best_estimator_
    brief = {**found, "tried": sorted(found["tried"], key=_rank)[:MAX_TRIED]}
    return {**_put(om, task, best, about=_plain(brief) | _given(x, y)), **found}


def _found(search: Any, refit: Any) -> dict[str, Any]:
    results = search.cv_results_
    metric = refit if isinstance(refit, str) else "score"
    metrics = [key.removeprefix("mean_test_") for key in results if key.startswith("mean_test_")]
    metric = metric if metric in metrics else metrics[0]
    tried = []
    for number, tested in enumerate(results["params"]):
        one: dict[str, Any] = {
            "params": dict(tested),
            "mean": float(results[f"mean_test_{metric}"][number]),
            "std": float(results[f"std_test_{metric}"][number]),
        }
        if len(metrics) > 1:
            one["scores"] = {m: float(results[f"mean_test_{m}"][number]) for m in metrics}
        tried.append(one)
    best = getattr(search, "best_score_", tried[search.best_index_]["mean"])
    return {"best_params": dict(search.best_params_), "best_score": float(best), "tried": tried}


def _rank(tried: dict[str, Any]) -> float:
    return -tried["mean"] if math.isfinite(tried["mean"]) else math.inf


def _plain(value: Any) -> Any:
    """Return what a metadata document keeps and JSON can show."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _data(task: Task, model: Any, x: Any, y: Any, further: bool = False) -> tuple[Any, Any]:
    if x is None:
        raise Mismatch(f"{task.what} needs X")
    x = features(model, task.name, x) if further else training_features(model, x)
    y = target(y)
    if y is not None:
        check_rows(task.name, x, y)
    return x, y


def _given(x: Any, y: Any) -> dict[str, Any]:
    """What is kept of the data a model is trained on: `columns` with their types, that of the `target`."""
    given: dict[str, Any] = {}
    if hasattr(x, "columns") and len(x.columns) <= MAX_COLUMNS:
        kinds = [str(x.iloc[:, i].dtype) for i in range(x.shape[1])]
        given["columns"] = [
            {"name": str(name), "dtype": kind} for name, kind in zip(x.columns, kinds, strict=True)
        ]
    if hasattr(y, "dtype"):
        given["target"] = str(y.dtype)
    return given


def _trained(model: Any, answer: Any) -> Any:
    # scikit-learn returns the model; others return nothing, or a record of the training
    return answer if isinstance(answer, type(model)) else model


def _bare(name: str) -> str:
    from omegaml.store.names import Asked

    return Asked.parse(name).name


def _put(
    om: Omega, task: Task, model: Any, base: Metadata | None = None, about: dict[str, Any] | None = None
) -> Any:
    """Store the next version; None if there is another than `base` by now."""
    from omegaml import backends

    name = _bare(task.name)
    for _ in range(TRIES):
        newest = base or om.models.metadata(name)
        trained = {"version": (newest.version or 0) + 1, "action": task.action, "task": task.id}
        try:
            meta = om.models.put(
                model,
                name,
                format=backends.by_kind(newest.kind).name,
                attributes={"trained": {**trained, **(about or {})}},
                replaces=newest,
            )
        except Conflict:
            if base is not None:
                return None
            continue
        return {"model": name, "version": meta.version, "kind": meta.kind}
    raise Conflict(f"model {name!r} is being trained by many at once", hint="try again")
