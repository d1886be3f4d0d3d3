"""What a runtime can do with a model. Every runtime carries its tasks to `run`.

The words are scikit-learn's (https://scikit-learn.org/stable/glossary.html#methods); any object with a
method of that name will do.
"""

from __future__ import annotations

import os
import platform
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from omegaml.errors import InvalidInput, Mismatch, OmegaError, TaskFailed
from omegaml.runtime import values
from omegaml.runtime.base import Task, error_to_doc

if TYPE_CHECKING:
    from omegaml.omega import Omega

TEMPORARY = ".temp/"
CACHED_MODELS = 4


@dataclass(frozen=True)
class Action:
    """One word a task may use.

    `run(om, task, x, y, params)` does it; `idempotent` says whether doing it twice is the same as once, so
    that a task whose runner died may be repeated.
    """

    run: Callable[[Omega, Task, Any, Any, dict[str, Any]], Any]
    idempotent: bool = True


def run(om: Omega, task: Task) -> Any:
    """Carry out a task and return its result, or `{"dataset": name}` if it was to be stored.

    Raises: InvalidInput (no such action), NotFound (model or dataset), Mismatch (the data does not fit the
    model), TaskFailed (the model raised; has its traceback).
    """
    action = ACTIONS.get(task.action)
    if action is None:
        raise InvalidInput(f"there is no action {task.action!r}", hint=f"one of {', '.join(ACTIONS)}")
    if task.store != "models":
        raise InvalidInput(f"{task.action} works on models, not on {task.store!r}")
    if len(task.args) > 2:
        raise InvalidInput(f"{task.action} takes X and Y, not {len(task.args)} values")
    place = scope(om, task.bucket)
    fetch = place.datasets.get
    x, y = ([fetch(a) if isinstance(a, str) else values.decode(a, fetch) for a in task.args] + [None, None])[
        :2
    ]
    params = {key: values.decode(value, fetch) for key, value in task.kwargs.items()}
    result = action.run(place, task, x, y, params)
    if task.result is None:
        return result
    place.datasets.put(result, task.result)
    return {"dataset": task.result}


def answer(om: Omega, task: Task) -> dict[str, Any]:
    """Carry out a task and return the outcome as JSON: `{"result": ...}` or `{"error": ...}`.

    Results too large for a message are stored; `temporary` lists the datasets they are in.
    """
    place = scope(om, task.bucket)
    stored: list[str] = []
    try:
        result = run(om, task)
        return {"result": values.encode(result, spiller(place, stored)), "temporary": stored}
    except OmegaError as error:
        drop(place, stored)
        return {"error": error_to_doc(error), "temporary": []}


def scope(om: Omega, bucket: str | None) -> Omega:
    """Return `om` for `bucket`; None is the bucket it has."""
    return om if bucket is None or bucket == om.bucket else om[bucket]


def is_idempotent(task: Task) -> bool:
    """Tell whether a task may be repeated when its runner died in it."""
    return task.action in ACTIONS and ACTIONS[task.action].idempotent


def spiller(om: Omega, names: list[str]) -> values.Spill:
    """Return a function that stores a value as a hidden temporary dataset and adds its name to `names`."""

    def spill(obj: Any) -> str:
        name = f"{TEMPORARY}{uuid4().hex}"
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


def _train(om: Omega, task: Task, x: Any, y: Any, params: dict[str, Any]) -> dict[str, Any]:
    model = om.models.get(task.name)
    method = _method(model, task)
    y = _target(y)
    if x is None:
        raise Mismatch(f"{task.action} of model {task.name!r} needs X")
    if y is not None and _rows(x) != _rows(y):
        raise Mismatch(
            f"X has {_rows(x)} rows and Y has {_rows(y)}: model {task.name!r} needs as many of each"
        )
    if task.action == "partial_fit":
        _check_columns(task, model, x)
    with _user_code(task, model, x):
        fitted = method(x, **params) if y is None else method(x, y, **params)
    return _put_back(om, task, model if fitted is None else fitted)


def _gridsearch(om: Omega, task: Task, x: Any, y: Any, params: dict[str, Any]) -> dict[str, Any]:
    parameters = params.pop("parameters", None)
    if not isinstance(parameters, dict | list):
        raise InvalidInput(
            f"gridsearch of model {task.name!r} needs the parameters to try",
            hint="parameters={'alpha': [0.1, 1.0]}",
        )
    model = om.models.get(task.name)
    _method(model, task, "fit")
    with _user_code(task, model, x):
        from sklearn.model_selection import GridSearchCV

        search = GridSearchCV(model, parameters, **params)
        search.fit(x, _target(y))
    tried = search.cv_results_
    return {
        **_put_back(om, task, search.best_estimator_),
        "best_params": search.best_params_,
        "best_score": float(search.best_score_),
        "tried": [
            {"params": tested, "mean": float(mean), "std": float(std)}
            for tested, mean, std in zip(
                tried["params"], tried["mean_test_score"], tried["std_test_score"], strict=True
            )
        ],
    }


def _ask(om: Omega, task: Task, x: Any, y: Any, params: dict[str, Any]) -> Any:
    model = MODELS.get(om, task.name)
    method = _method(model, task)
    if x is None:
        raise Mismatch(f"{task.action} of model {task.name!r} needs X")
    _check_columns(task, model, x)
    y = _target(y)
    with _user_code(task, model, x):
        result = method(x, **params) if y is None else method(x, y, **params)
    return float(result) if task.action == "score" else result


def _put_back(om: Omega, task: Task, model: Any) -> dict[str, Any]:
    from omegaml import backends

    name = task.name.partition("@")[0].rstrip("^")
    format = backends.by_kind(om.models.metadata(name).kind).name
    meta = om.models.put(model, name, format=format)
    return {"model": name, "version": meta.version, "kind": meta.kind}


def _method(model: Any, task: Task, name: str | None = None) -> Callable[..., Any]:
    # a Pipeline raises AttributeError for what its last step cannot do, so hasattr tells the truth
    method = getattr(model, name or task.action, None)
    if not callable(method):
        has = ", ".join(a for a in ACTIONS if callable(getattr(model, a, None)))
        raise Mismatch(
            f"model {task.name!r} ({type(model).__name__}) has no {name or task.action}",
            hint=f"it has {has}" if has else None,
        )
    return method


def _rows(data: Any) -> int:
    shape = getattr(data, "shape", None)
    return int(shape[0]) if shape else len(data)


def _is_frame(data: Any) -> bool:
    return hasattr(data, "columns") and hasattr(data, "iloc")


def _target(y: Any) -> Any:
    # 'x[y]' is a frame of one column; estimators want the values themselves, of shape (n_rows,)
    return y.iloc[:, 0] if _is_frame(y) and y.shape[1] == 1 else y


def _check_columns(task: Task, model: Any, x: Any) -> None:
    known = getattr(model, "feature_names_in_", None)
    if known is not None and _is_frame(x):
        wanted, given = [str(c) for c in known], [str(c) for c in x.columns]
        if wanted == given:
            return
        hint = f"choose columns as in 'name[{','.join(wanted[:3])}{',...' if len(wanted) > 3 else ''}]'"
        missing = [c for c in wanted if c not in given]
        unknown = [c for c in given if c not in wanted]
        if missing or unknown:
            parts = [f"misses {_names(missing)}"] if missing else []
            parts += [f"has {_names(unknown)} which it was not fitted on"] if unknown else []
            raise Mismatch(
                f"the data does not fit model {task.name!r}: it {' and '.join(parts)}",
                hint=hint,
                missing=missing,
                unknown=unknown,
            )
        raise Mismatch(
            f"the data does not fit model {task.name!r}: same columns, other order than {_names(wanted)}",
            hint=hint,
        )
    count = getattr(model, "n_features_in_", None)
    width = _width(x)
    if count is not None and width is not None and width != count:
        raise Mismatch(
            f"the data does not fit model {task.name!r}: it has {width} columns, fitted on {count}",
            features=int(count),
            given=width,
        )


def _width(x: Any) -> int | None:
    shape = getattr(x, "shape", None)
    if shape is not None:
        return int(shape[1]) if len(shape) == 2 else None
    if isinstance(x, list | tuple) and x and all(isinstance(row, list | tuple) for row in x):
        return len(x[0])
    return None


def _names(columns: list[str]) -> str:
    shown = ", ".join(repr(c) for c in columns[:5])
    return f"{shown} and {len(columns) - 5} more" if len(columns) > 5 else shown


@contextmanager
def _user_code(task: Task, model: Any, x: Any) -> Iterator[None]:
    try:
        yield
    except OmegaError:
        raise
    # sys.exit in somebody's model must not end the process that serves others
    except (Exception, SystemExit) as error:
        text = "".join(traceback.format_exception(error))
        raise _explain(task, model, x, error, text) from error


def _explain(task: Task, model: Any, x: Any, error: BaseException, text: str) -> OmegaError:
    what = f"{task.action} of model {task.name!r}"
    if any(c.__name__ == "NotFittedError" for c in type(error).__mro__):
        return Mismatch(
            f"model {task.name!r} ({type(model).__name__}) is not fitted yet",
            hint=f"om.runtime.model({task.name!r}).fit(X, Y) first",
            traceback=text,
        )
    if isinstance(error, ValueError | TypeError):
        said = str(error)
        if "could not convert string to float" in said and (bad := _columns_where(x, _is_text)):
            return Mismatch(f"{what}: column {_names(bad)} holds text, not numbers", traceback=text)
        if (
            said.startswith("Input")
            and "NaN" in said
            and (bad := _columns_where(x, lambda c: c.isna().any()))
        ):
            return Mismatch(f"{what}: column {_names(bad)} has missing values", traceback=text)
    first = (str(error).strip().splitlines() or [""])[0]
    return TaskFailed(f"{what} failed: {type(error).__name__}: {first}", traceback=text)


def _columns_where(x: Any, test: Callable[[Any], Any]) -> list[str]:
    return [str(c) for i, c in enumerate(x.columns) if test(x.iloc[:, i])] if _is_frame(x) else []


def _is_text(column: Any) -> bool:
    return any(isinstance(cell, str) for cell in column.head(1000))


class _Models:
    """The models asked last, so that asking again does not read them again.

    An entry is valid for one stored version: its identity is checked with one small query per call.
    Entries are only asked, never trained: training reads its own copy.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = Lock()
        self._models: OrderedDict[tuple[Any, ...], Any] = OrderedDict()

    def get(self, om: Omega, name: str) -> Any:
        meta = om.models.metadata(name)
        place = (id(om.db.client), om.db.name, om.bucket, name)
        key = (*place, meta.id, meta.version, meta.gridfile, meta.modified)
        with self._lock:
            if key in self._models:
                self._models.move_to_end(key)
                return self._models[key]
        model = om.models.get(name)
        with self._lock:
            for old in [k for k in self._models if k[:4] == place]:
                del self._models[old]
            self._models[key] = model
            while len(self._models) > self._limit:
                self._models.popitem(last=False)
        return model


MODELS = _Models(CACHED_MODELS)

ACTIONS: dict[str, Action] = {
    "fit": Action(_train, idempotent=False),
    "partial_fit": Action(_train, idempotent=False),
    "predict": Action(_ask),
    "predict_proba": Action(_ask),
    "decision_function": Action(_ask),
    "score": Action(_ask),
    "transform": Action(_ask),
    "gridsearch": Action(_gridsearch, idempotent=False),
    "ping": Action(_ping),
}
