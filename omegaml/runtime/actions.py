"""What a runtime can do with a model. Every runtime carries its tasks to `run`.

The words are scikit-learn's (https://scikit-learn.org/stable/glossary.html#methods); any object with a
method of that name will do.
"""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from omegaml.errors import InvalidInput, Mismatch, NotStorable, OmegaError, TaskFailed, TimedOut, Unavailable
from omegaml.mongo import translated
from omegaml.runtime import estimators, gridsearch, progress, timing, training, values
from omegaml.runtime.base import Task, error_to_doc
from omegaml.runtime.inputs import check_types, features, target
from omegaml.runtime.loaded import MODELS
from omegaml.runtime.usercode import failed, method_of, user_code
from omegaml.store.names import check_name

if TYPE_CHECKING:
    from omegaml.omega import Omega

TEMPORARY = ".temp/"

FIRST_PAUSE, MAX_PAUSE = 1.0, 60.0
"""Seconds before the first retry of a task; each further one waits twice as long."""

LINKED = "*"
"""What X and Y are called that the model is linked to, or was trained on."""

log = logging.getLogger("omegaml.tasks")


@dataclass(frozen=True)
class Action:
    """One word a task may use.

    Attributes:
        run: does it: `run(om, task, x, y, params)`.
        idempotent: doing the same task twice is as doing it once, so one whose runner died may be repeated.
        changes: it changes what is stored and may take long, so it is kept as a document also where its
            caller waits, and many are not done in parallel.
        store: the store of the objects it acts on.
        in_child: it is kept out of the process of whoever asks.
    """

    run: Callable[[Omega, Task, Any, Any, dict[str, Any]], Any]
    idempotent: bool = True
    changes: bool = False
    store: str = "models"
    in_child: bool = False


def run(om: Omega, task: Task, held: Mapping[str, Any] | None = None) -> Any:
    """Carry out a task and return its result, or `{"dataset": name}` if it was to be stored.

    Args:
        held: large values of the task that are in this process instead of the store, by name.
    Raises: InvalidInput (no such action), NotFound (model or dataset), Mismatch (the data does not fit the
        model), Conflict (the model was changed meanwhile), TaskFailed (the model raised; has its traceback).
        Nothing but an OmegaError.
    """
    for attempt in count(1):
        try:
            return _tried(om, task, held or {})
        except (TaskFailed, TimedOut, Unavailable) as error:
            if attempt > task.retries:
                raise
            pause = min(FIRST_PAUSE * 2 ** (attempt - 1), MAX_PAUSE)
            log.warning("%s; try %d of %d follows in %g s", error, attempt + 1, task.retries + 1, pause)
            time.sleep(pause)


def _tried(om: Omega, task: Task, held: Mapping[str, Any]) -> Any:
    try:
        with translated(om.mongo_url):
            return _run(scope(om, task.bucket), task, held)
    except OmegaError:
        raise
    except UnicodeEncodeError as error:  # JSON can hold half of a pair of surrogates
        raise InvalidInput(
            f"{task.action} of {task.name!r}: the data holds text that is no Unicode"
        ) from error
    except Exception as error:
        raise failed(task, error) from error


def _run(om: Omega, task: Task, held: Mapping[str, Any]) -> Any:
    action = ACTIONS.get(task.action)
    if action is None:
        raise InvalidInput(f"there is no action {task.action!r}", hint=f"one of {', '.join(ACTIONS)}")
    if task.store != action.store:
        raise InvalidInput(f"{task.action} works on {action.store}, not on {task.store!r}")
    if len(task.args) > 2:
        raise InvalidInput(f"{task.action} takes X and Y, not {len(task.args)} values")
    if LINKED in task.args:
        task = replace(task, args=_linked(om, task))
    if task.result is not None:
        check_name(task.result)  # before the work, not after it

    def fetch(name: str) -> Any:
        # a copy, as from the store: what a model does to its data is not seen by who sent it
        return values.copied(held[name]) if name in held else om.datasets.get(name)

    data = [fetch(a) if isinstance(a, str) else values.decode(a, fetch) for a in task.args]
    x, y = [*data, None, None][:2]
    params = {key: values.decode(value, fetch) for key, value in task.kwargs.items()}
    result = action.run(om, task, x, y, params)
    if task.result is None:
        return result
    _store(om, task.action, result, task.result)
    return {"dataset": task.result}


def _linked(om: Omega, task: Task) -> list[Any]:
    """Return X and Y with the names of the datasets that the model is linked to, or was trained on."""
    attributes = om.models.metadata(task.name).attributes
    known = attributes.get("dataset") or (attributes.get("trained") or {}).get("data") or {}
    args = [known.get(which) if arg == LINKED else arg for which, arg in zip("XY", task.args, strict=False)]
    if None in args:
        which = "XY"[args.index(None)]
        raise InvalidInput(
            f"model {task.name!r} is linked to no dataset as its {which}",
            hint=f'om.models.link({task.name!r}, "x[^y]", "x[y]")',
        )
    return args


def _store(om: Omega, action: str, result: Any, name: str) -> None:
    try:
        om.datasets.put(values.as_dataset(result), name)
    except NotStorable as error:
        raise NotStorable(
            f"the result of {action} cannot be stored as a dataset: {error.message}",
            hint="leave `result` out to have it returned",
        ) from error


def answer(om: Omega, task: Task) -> dict[str, Any]:
    """Carry out a task and return the outcome as JSON: `{"result": ...}` or `{"error": ...}`.

    Results too large for a message are stored; `temporary` lists the datasets they are in. `seconds` says how
    long it took to load the model and to ask it.
    """
    with timing.collected() as seconds:
        return {**_answer(om, task), "seconds": seconds}


def _answer(om: Omega, task: Task) -> dict[str, Any]:
    place = scope(om, task.bucket)
    stored: list[str] = []
    try:
        result = run(om, task)
        return {"result": values.encode(result, spiller(place, stored)), "temporary": stored}
    except OmegaError as error:
        drop(place, stored)
        return {"error": error_to_doc(error), "temporary": []}
    except Exception as error:  # the result cannot be written down
        drop(place, stored)
        return {"error": error_to_doc(failed(task, error)), "temporary": []}


def scope(om: Omega, bucket: str | None) -> Omega:
    """Return `om` for `bucket`; None is the bucket it has."""
    return om if bucket is None or bucket == om.bucket else om[bucket]


def is_idempotent(task: Task) -> bool:
    """Tell whether a task may be repeated when its runner died in it."""
    return task.action in ACTIONS and ACTIONS[task.action].idempotent


def changes(task: Task) -> bool:
    """Tell whether a task changes what is stored."""
    return task.action not in ACTIONS or ACTIONS[task.action].changes


def needs_child(task: Task) -> bool:
    """Tell whether a task must not be carried out in the process of whoever asks."""
    return task.action in ACTIONS and ACTIONS[task.action].in_child


def temporary_name() -> str:
    """Return a name for a hidden dataset that is dropped with its task."""
    return f"{TEMPORARY}{uuid4().hex}"


def spiller(om: Omega, names: list[str]) -> values.Spill:
    """Return a function that stores a value as a hidden temporary dataset and adds its name to `names`."""

    def spill(obj: Any) -> str:
        name = temporary_name()
        names.append(name)
        om.datasets.put(obj, name)
        return name

    return spill


def drop(om: Omega, names: Iterable[str]) -> None:
    """Drop temporary datasets; those that are gone already do not matter."""
    for name in names:
        om.datasets.drop(name, missing_ok=True)


def _ping(om: Omega, task: Task, x: Any, y: Any, params: dict[str, Any]) -> dict[str, Any]:
    om.db.command("ping")
    return {
        "message": "pong",
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "host": platform.node(),
        "pid": os.getpid(),
        **params,
    }


def _ask(om: Omega, task: Task, x: Any, y: Any, params: dict[str, Any]) -> Any:
    with timing.measured("load"):
        model, meta = MODELS.get(om, task.name)
    method = method_of(model, task)
    if x is None:
        raise Mismatch(f"{task.what} needs X")
    x, y = features(model, task.name, x), target(y)
    check_types(task.name, x, (meta.attributes.get("trained") or {}).get("columns") or ())
    with user_code(task, x), timing.measured(task.action):
        result = method(x, **params) if y is None else method(x, y, **params)
        return float(result) if task.action == "score" else result


def _in_sequence(om: Omega, task: Task, x: Any, y: Any, params: dict[str, Any]) -> list[Any]:
    """Carry out the tasks whose JSON is the parameter `tasks`, one after the other; return their results."""
    steps = [Task.from_json(text) for text in params["tasks"]]
    results: list[Any] = []
    for n, step in enumerate(steps, 1):
        try:
            results.append(run(om, step))
        except OmegaError as error:
            raise in_step(error, n, len(steps)) from error
        progress.say(om, n / len(steps), f"step {n} of {len(steps)}")
    return results


def in_step(error: OmegaError, n: int, of: int) -> OmegaError:
    """Return an error that says in which step of a sequence it came."""
    same = type(error)(f"step {n} of {of}: {error.message}", hint=error.hint, **error.details)
    same.details["step"] = n
    return same


def _run_notebook(om: Omega, task: Task, x: Any, y: Any, params: dict[str, Any]) -> dict[str, Any]:
    from omegaml.runtime import (
        notebook,  # needs the driver of the database, which not every caller has loaded
    )

    return notebook.run(om, task, x, y, params)


def _notify(om: Omega, task: Task, x: Any, y: Any, params: dict[str, Any]) -> dict[str, Any]:
    from omegaml.runtime import notices

    return notices.notify(om, task, x, y, params)


ACTIONS: dict[str, Action] = {
    "fit": Action(training.fit, changes=True),
    "partial_fit": Action(training.partial_fit, changes=True),
    "predict": Action(_ask),
    "predict_proba": Action(_ask),
    "decision_function": Action(_ask),
    "score": Action(_ask),
    "transform": Action(_ask),
    "gridsearch": Action(gridsearch.gridsearch, changes=True),
    "try": Action(gridsearch.attempt),
    "create": Action(estimators.create, idempotent=False, changes=True),
    "ping": Action(_ping),
    "run": Action(_run_notebook, idempotent=False, changes=True, store="jobs", in_child=True),
    "sequence": Action(_in_sequence, idempotent=False, changes=True, in_child=True),
    "notify": Action(_notify, store="jobs", in_child=True),
}
