"""Trying all combinations of parameters of a model, by as many workers as are free.

What comes out is what scikit-learn's GridSearchCV finds: the combinations are shared out, each part is one
GridSearchCV of its own, and the splits of the data are the same in all as they follow from `cv` alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from omegaml.errors import InvalidInput
from omegaml.runtime import training
from omegaml.runtime.base import Task
from omegaml.runtime.shares import PARENT, Shares, check_parent
from omegaml.runtime.usercode import method_of, user_code

if TYPE_CHECKING:
    from omegaml.omega import Omega

MAX_TRIED = 100
"""So many combinations of a grid search are kept with the model; its result has all."""

Scores = dict[str, dict[str, list[float]]]
"""`{metric: {"mean": [...], "std": [...]}}`, a number for each combination."""


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
    if done := training.made_by(om, task):
        return done
    model = om.models.get(task.name)
    method_of(model, task, "fit")
    x, y = training.data_of(task, model, x, y)
    with user_code(task, x):
        from sklearn.model_selection import ParameterGrid

        candidates = list(ParameterGrid(grid))
    shares = Shares(om, task, len(candidates))

    def scores_of(numbers: Sequence[int]) -> Scores | None:
        with user_code(task, x):
            return _scores(model, [candidates[n] for n in numbers], x, y, params)

    parts = shares.done("try", scores_of)
    if not any(parts):  # all failed: say why
        with user_code(task, x):
            _scores(model, candidates[:1], x, y, {**params, "error_score": "raise"})
    scores = _merged(shares.numbers, parts, len(candidates))
    with user_code(task, x):
        found = _found(candidates, scores, params.get("refit", True))
        best = _fitted(model, found["best_params"], x, y)
    brief = {**found, "tried": sorted(found["tried"], key=_rank)[:MAX_TRIED]}
    return {**training.put(om, task, best, about=_plain(brief) | training.given(x, y)), **found}


def attempt(om: Omega, task: Task, x: Any, y: Any, params: dict[str, Any]) -> Scores | None:
    """Try the combinations whose numbers are the parameter `numbers`: a part of `gridsearch`.

    Returns: None where the model could be fitted with none of them. Raises: Conflict (its search has ended).
    """
    check_parent(om, params.pop(PARENT, None))
    from sklearn.model_selection import ParameterGrid

    numbers = params.pop("numbers")
    candidates = list(ParameterGrid(params.pop("parameters")))
    model = om.models.get(task.name)
    x, y = training.data_of(task, model, x, y)
    with user_code(task, x):
        return _scores(model, [candidates[n] for n in numbers], x, y, params)


def _scores(
    model: Any, candidates: Sequence[dict[str, Any]], x: Any, y: Any, params: dict[str, Any]
) -> Scores | None:
    from sklearn.model_selection import GridSearchCV

    each = [{name: [value] for name, value in chosen.items()} for chosen in candidates]
    search = GridSearchCV(model, each, **{**params, "refit": False})
    try:
        search.fit(x, y)
    except ValueError as error:
        if re.search(r"All the \d+ fits failed", str(error)):
            return None
        raise
    results = search.cv_results_
    metrics = [key.removeprefix("mean_test_") for key in results if key.startswith("mean_test_")]
    return {
        metric: {what: [float(v) for v in results[f"{what}_test_{metric}"]] for what in ("mean", "std")}
        for metric in metrics
    }


def _merged(numbers: Sequence[Sequence[int]], parts: Sequence[Scores | None], count: int) -> Scores:
    """Return the scores of all combinations, in their order, of those of the parts."""
    metrics = next(part for part in parts if part)
    merged: Scores = {metric: {what: [math.nan] * count for what in ("mean", "std")} for metric in metrics}
    for chosen, scores in zip(numbers, parts, strict=True):
        for metric, both in (scores or {}).items():
            for what, values in both.items():
                for number, value in zip(chosen, values, strict=True):
                    merged[metric][what][number] = value
    return merged


def _fitted(model: Any, best: dict[str, Any], x: Any, y: Any) -> Any:
    from sklearn.base import clone

    chosen = clone(model).set_params(**clone(best, safe=False))
    return chosen.fit(x) if y is None else chosen.fit(x, y)


def _found(candidates: Sequence[dict[str, Any]], scores: Scores, refit: Any) -> dict[str, Any]:
    metric = refit if isinstance(refit, str) else next(iter(scores))
    if metric not in scores or (len(scores) > 1 and not isinstance(refit, str)):
        raise InvalidInput(
            f"with the metrics {', '.join(scores)}, refit has to name the one that decides",
            hint=f"refit={next(iter(scores))!r}",
        )
    tried = []
    for number, chosen in enumerate(candidates):
        one: dict[str, Any] = {"params": dict(chosen)}
        one |= {what: scores[metric][what][number] for what in ("mean", "std")}
        if len(scores) > 1:
            one["scores"] = {name: both["mean"][number] for name, both in scores.items()}
        tried.append(one)
    best = min(tried, key=_rank)  # the first of those that are equal
    return {"best_params": dict(best["params"]), "best_score": best["mean"], "tried": tried}


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
