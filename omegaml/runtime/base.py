"""The seam between asking for work and doing it: a Task goes in, a Promise comes out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import NoneType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable
from uuid import uuid4

from omegaml import errors
from omegaml.errors import InvalidInput, OmegaError

if TYPE_CHECKING:
    from omegaml.runtime.progress import Progress

DEFAULT = "default"
"""The label of every worker that is given none, and of every task that asks for none."""

LONGEST_LINE = 200
"""Characters of what others have written that the log has."""

LONGEST_LIMIT = 1e9
"""Seconds."""

_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("action", "store", "name", "label", "id", "created"), (str,)),
    **dict.fromkeys(("bucket", "result"), (str, NoneType)),
    **dict.fromkeys(("args", "temporary"), (list,)),
    **dict.fromkeys(("kwargs", "callbacks"), (dict,)),
    "limit": (int, float, NoneType),
    "retries": (int,),
}
"""Of what a task is as JSON: anybody may have written it."""


def described(action: str, store: str, name: str) -> str:
    """Return a task as messages name it: `predict of model 'm'`."""
    return f"{action} of {store.removesuffix('s')} {name!r}" if name else action


def short(text: Any) -> str:
    """Return what others may have written as the log may have it: some of it, in one line."""
    text = "".join(c if c.isprintable() else " " for c in str(text)[: LONGEST_LINE + 1])
    return f"{text[:LONGEST_LINE]}…" if len(text) > LONGEST_LINE else text


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class Task:
    """One thing to do, as plain JSON.

    Attributes:
        action: a name in `omegaml.runtime.actions.ACTIONS`.
        store: the store that `name` is in ("models").
        name: the object to act on.
        args: X and Y. A string is the name of a dataset, projections allowed (`"x[^y]"`); anything else is a
            value as `omegaml.runtime.values.encode` writes it.
        kwargs: parameters of the action, encoded alike.
        bucket: the bucket of all names; None is the one of the runtime.
        result: name of a dataset to store the result as; None returns it.
        temporary: datasets that carry values of it, dropped by whoever carries it out when it has ended.
        limit: seconds it may take; the process that carries it out is killed then (TimedOut).
        id: by which the result is found again.
        label: of the workers that may carry it out.
        retries: how often it is tried again where user code fails, after 1 s, 2 s, 4 s, ...
        callbacks: notebooks that are run when it has ended, by `done` and `failed`.
        created: ISO 8601 in UTC.
    """

    action: str
    store: str = "models"
    name: str = ""
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    bucket: str | None = None
    result: str | None = None
    temporary: Sequence[str] = ()
    limit: float | None = None
    label: str = DEFAULT
    retries: int = 0
    callbacks: Mapping[str, str] = field(default_factory=dict)
    id: str = field(default_factory=lambda: uuid4().hex)
    created: str = field(default_factory=_now)

    @property
    def what(self) -> str:
        """The task as messages name it."""
        return described(self.action, self.store, self.name)

    @property
    def is_for_the_queue(self) -> bool:
        """Whether it is queued also where its caller waits and could have it done otherwise."""
        return self.label != DEFAULT or bool(self.callbacks)

    def to_json(self) -> str:
        """Return the task as JSON text. Raises InvalidInput if a value in it is no JSON."""
        try:
            # not by `asdict`, which copies all data before
            return json.dumps(vars(self), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"task {self.action!r} of {self.name!r} is not plain JSON: {error}") from error

    @classmethod
    def from_json(cls, text: str) -> Task:
        """Return the task that `to_json` wrote. Fields it does not know are left out.

        Raises: InvalidInput if it is no task.
        """
        try:
            given = {key: value for key, value in json.loads(text).items() if key in _TYPES}
            wrong = [key for key, value in given.items() if not isinstance(value, _TYPES[key])]
            task = cls(**given)
        except (TypeError, ValueError, AttributeError, RecursionError) as error:
            raise InvalidInput(f"this is no task: {error}") from error
        if not wrong and not all(isinstance(one, str) for one in task.temporary):
            wrong.append("temporary")
        if not wrong and not all(isinstance(one, str) for one in task.callbacks.values()):
            wrong.append("callbacks")
        if not wrong and task.limit is not None and not abs(task.limit) < LONGEST_LIMIT:
            wrong.append("limit")
        if wrong:
            raise InvalidInput(f"this is no task: its {wrong[0]} is none")
        return task


@runtime_checkable
class Promise(Protocol):
    """The result of a task, now or later."""

    @property
    def id(self) -> str:
        """The task's id."""

    @property
    def status(self) -> str:
        """One of queued, running, done, failed, lost (whoever had it in hand died), cancelled."""

    @property
    def progress(self) -> Progress | None:
        """How far the task was when it said so last; None where it has not, or its caller waits."""

    def done(self) -> bool:
        """Tell whether the task has ended, well or not."""

    def get(self, timeout: float | None = None) -> Any:
        """Wait for the task and return its result, or raise its error.

        Raises: TaskFailed (user code raised; the task was lost or cancelled), Mismatch, NotFound, TimedOut
            (after `timeout` seconds; the task goes on), Unavailable (nobody is there to run it).
        """

    def cancel(self) -> bool:
        """Keep the task from running, or stop it; False if it had ended already.

        A model that is being stored at that moment may have its next version all the same.
        """


@runtime_checkable
class Runtime(Protocol):
    """Somebody who carries out tasks.

    Whoever carries out a task drops its temporary datasets when it has ended, well or not. An error is of the
    same class wherever it was raised, with the same message (`error_to_doc`).
    """

    def submit(self, task: Task) -> Promise:
        """Carry out a task whose caller waits for it."""

    def enqueue(self, task: Task) -> Promise:
        """Have a task carried out while the caller goes on; any process can read its result by the id.

        Raises: Unavailable when nobody is there to run it, at once; nothing is left behind then.
        """

    def promise(self, id: str) -> Promise:
        """Return the promise of a task that any process has queued. Raises NotFound."""

    def require_runner(self, label: str = DEFAULT) -> None:
        """Raise Unavailable, naming the labels there are, or the command that starts one, if there is nobody
        who takes queued tasks of that label.
        """

    def status(self) -> dict[str, Any]:
        """Return `{runners: [...], tasks: {status: how many}}`."""

    def queues(self) -> list[dict[str, Any]]:
        """Return `[{label, waiting, workers, queue}]`: of each known label how many tasks wait for somebody,
        and how many are there to take them; `queue` is its name on the broker. Raises Unavailable.
        """

    def keep(self, value: Any, bucket: str | None, waiting: bool) -> str:
        """Keep a value that is too large for a message, and return the name that the task has for it.

        Args:
            waiting: the task goes to `submit`, not to `enqueue`.
        """

    def map(self, tasks: Sequence[Task], processes: int | None = None) -> list[Promise]:
        """Carry out tasks in parallel and return when all have ended, in the same order."""

    def release(self, task: Task) -> None:
        """Drop what was kept for a task."""


class Finished:
    """The promise of a task that has ended; `seconds` says what took how long, where that is known."""

    def __init__(
        self,
        id: str,
        result: Any = None,
        error: OmegaError | None = None,
        seconds: Mapping[str, float] | None = None,
    ) -> None:
        self.id = id
        self.seconds = dict(seconds or {})
        self.status = "done" if error is None else "failed"
        self._result = result
        self._error = error

    @property
    def progress(self) -> None:
        """None: it has ended."""

    def done(self) -> bool:
        """Return True."""
        return True

    def get(self, timeout: float | None = None) -> Any:
        """Return the result or raise the error."""
        if self._error is not None:
            raise self._error
        return self._result

    def cancel(self) -> bool:
        """Return False: it has ended."""
        return False


def error_to_doc(error: OmegaError) -> dict[str, Any]:
    """Return an error as JSON: its class, sentence, hint and details."""
    # a class of somebody else's travels as the nearest of ours
    known = next(c.__name__ for c in type(error).__mro__ if getattr(errors, c.__name__, None) is c)
    details = json.loads(json.dumps(error.details, default=str), parse_constant=str)
    return {"error": known, "message": error.message, "hint": error.hint, "details": details}


def error_from_doc(doc: Mapping[str, Any]) -> OmegaError:
    """Return the error that `error_to_doc` wrote; a class unknown here becomes OmegaError."""
    found = getattr(errors, str(doc["error"]), OmegaError)
    made = found if isinstance(found, type) and issubclass(found, OmegaError) else OmegaError
    error = made(str(doc["message"]), hint=doc.get("hint"))
    error.details = dict(doc.get("details") or {})
    return error
