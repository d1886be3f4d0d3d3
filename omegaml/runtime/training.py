"""Actions that change a model: each leaves its next version, or the model as it was.

A version says which task made it, so that a task that is carried out again, as whoever had it in hand was
stopped, makes no second one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omegaml.errors import Conflict, Mismatch
from omegaml.runtime.base import Task
from omegaml.runtime.inputs import check_rows, features, target, training_features
from omegaml.runtime.usercode import method_of, user_code

if TYPE_CHECKING:
    from omegaml.metadata import Metadata
    from omegaml.omega import Omega

TRIES = 20
MAX_COLUMNS = 2000
"""The types of so many columns are kept with the model."""


def fit(om: Omega, task: Task, x: Any, y: Any, params: dict[str, Any]) -> dict[str, Any]:
    """Train the model from the start and store it as the next version.

    Of two that fit a model at once each makes its version.
    """
    if done := made_by(om, task):
        return done
    model = om.models.get(task.name)
    method = method_of(model, task)
    x, y = data_of(task, model, x, y)
    with user_code(task, x):
        fitted = method(x, **params) if y is None else method(x, y, **params)
    return put(om, task, _trained(model, fitted), about=given(x, y))


def partial_fit(om: Omega, task: Task, x: Any, y: Any, params: dict[str, Any]) -> dict[str, Any]:
    """Train the newest version further and store the next.

    If somebody else made a version meanwhile, it is trained again from that one, so that every call counts.
    Raises: Conflict after so many tries.
    """
    for _ in range(TRIES):
        if made := made_by(om, task):
            return made
        base = om.models.metadata(_bare(task.name))
        model = om.models.get(task.name)
        method = method_of(model, task)
        given_x, given_y = data_of(task, model, x, y, further=True)
        with user_code(task, given_x):
            fitted = method(given_x, **params) if given_y is None else method(given_x, given_y, **params)
        done = put(om, task, _trained(model, fitted), base, given(given_x, given_y))
        if done is not None:
            return done
    raise Conflict(
        f"model {task.name!r} was changed by others each of the {TRIES} times it was trained",
        hint="try again",
    )


def data_of(task: Task, model: Any, x: Any, y: Any, further: bool = False) -> tuple[Any, Any]:
    """Return X and Y as the model is to be trained on. Raises Mismatch."""
    if x is None:
        raise Mismatch(f"{task.what} needs X")
    x = features(model, task.name, x) if further else training_features(model, x)
    y = target(y)
    if y is not None:
        check_rows(task.name, x, y)
    return x, y


def given(x: Any, y: Any) -> dict[str, Any]:
    """Return what is kept of the data a model is trained on: its `columns`, and the type of the `target`."""
    about: dict[str, Any] = {}
    if hasattr(x, "columns") and len(x.columns) <= MAX_COLUMNS:
        kinds = [str(x.iloc[:, i].dtype) for i in range(x.shape[1])]
        about["columns"] = [
            {"name": str(name), "dtype": kind} for name, kind in zip(x.columns, kinds, strict=True)
        ]
    if hasattr(y, "dtype"):
        about["target"] = str(y.dtype)
    return about


def _named(task: Task) -> dict[str, str]:
    """Return X and Y as far as they were given by name."""
    given = zip("XY", task.args, strict=False)
    return {which: arg for which, arg in given if isinstance(arg, str)}


def _trained(model: Any, answer: Any) -> Any:
    # scikit-learn returns the model; others return nothing, or a record of the training
    return answer if isinstance(answer, type(model)) else model


def _bare(name: str) -> str:
    from omegaml.store.names import Asked

    return Asked.parse(name).name


def made_by(om: Omega, task: Task) -> dict[str, Any] | None:
    """Return what a task has answered that made its version before, None where it has made none.

    Raises: NotFound (no such model).
    """
    # models that are trained again and again have thousands of versions: the server looks through them
    for meta in om.models.versions(_bare(task.name), {"attributes.trained.task": task.id}):
        if _is_by(task, meta):
            return _answer(meta)
    return None


def _is_by(task: Task, meta: Metadata) -> bool:
    trained = meta.attributes.get("trained") or {}
    # what is put by hand keeps the attributes of the version before
    return (trained.get("task"), trained.get("version")) == (task.id, meta.version)


def _answer(meta: Metadata) -> dict[str, Any]:
    trained = meta.attributes["trained"]
    found = {key: trained[key] for key in ("best_params", "best_score", "tried") if key in trained}
    return {"model": meta.name, "version": meta.version, "kind": meta.kind, **found}


def put(
    om: Omega, task: Task, model: Any, base: Metadata | None = None, about: dict[str, Any] | None = None
) -> Any:
    """Store the next version and return `{model, version, kind}`; None where `base` is not the newest."""
    from omegaml import backends

    name = _bare(task.name)
    for _ in range(TRIES):
        newest = base or om.models.metadata(name)
        if _is_by(task, newest):
            return _answer(newest)  # another who has this task in hand was faster
        trained: dict[str, Any] = {"version": (newest.version or 0) + 1}
        trained |= {"action": task.action, "task": task.id, "data": _named(task)}
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
