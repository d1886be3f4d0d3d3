"""Calling a model: what it raises becomes one of our errors."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from omegaml.errors import InvalidInput, Mismatch, OmegaError, TaskFailed
from omegaml.runtime.base import Task
from omegaml.runtime.inputs import explain

METHODS = ("fit", "partial_fit", "predict", "predict_proba", "decision_function", "transform", "score")


def method_of(model: Any, task: Task, name: str | None = None) -> Callable[..., Any]:
    """Return the model's method for a task. Raises Mismatch, naming those it has."""
    # a Pipeline raises AttributeError for what its last step cannot do, so getattr tells the truth
    method = getattr(model, name or task.action, None)
    if not callable(method):
        has = ", ".join(m for m in METHODS if callable(getattr(model, m, None)))
        raise Mismatch(
            f"model {task.name!r} ({type(model).__name__}) has no {name or task.action}",
            hint=f"it has {has}" if has else None,
        )
    return method


#: Characters of a model's error that are told: it must fit into messages.
MAX_MESSAGE, MAX_TRACEBACK = 1000, 100_000


@contextmanager
def user_code(task: Task, x: Any) -> Iterator[None]:
    """Turn what a model raises into Mismatch, where its data is the reason, or TaskFailed."""
    try:
        yield
    except OmegaError:
        raise
    # sys.exit in somebody's model must not end the process that serves others
    except (Exception, SystemExit) as error:
        raise _explained(task, x, error) from error


def failed(task: Task, error: BaseException) -> TaskFailed:
    """Return the error of a task that raised `error`, with its traceback as text."""
    first = (str(error).strip().splitlines() or [""])[0][:MAX_MESSAGE]
    details: dict[str, Any] = {"out_of_memory": True} if isinstance(error, MemoryError) else {}
    return TaskFailed(
        f"{task.what} failed: {type(error).__name__}: {first}",
        traceback="".join(traceback.format_exception(error))[-MAX_TRACEBACK:],
        **details,
    )


def _explained(task: Task, x: Any, error: BaseException) -> OmegaError:
    other = failed(task, error)
    text = other.details["traceback"]
    if any(c.__name__ == "NotFittedError" for c in type(error).__mro__):
        return Mismatch(
            f"model {task.name!r} is not fitted yet: {str(error).partition('. ')[0]}",
            hint=f"om.runtime.model({task.name!r}).fit(X, Y) first",
            traceback=text,
            fitted=False,
        )
    what = task.what
    if isinstance(error, TypeError) and "unexpected keyword argument" in str(error) and _is_ours(error):
        return InvalidInput(f"{what}: {error}", traceback=text)
    return explain(what, error, x, text) or other


def _is_ours(error: BaseException) -> bool:
    """Tell whether the call itself was refused, not one that the model made in turn."""
    frames = traceback.extract_tb(error.__traceback__)
    return frames[-1].filename.endswith(("actions.py", "training.py"))
