"""The runtime on Celery workers: tasks go to them through RabbitMQ.

A task that may be done twice and whose caller waits travels in a message and is answered by one; if its
worker dies, the broker hands it to another, three times at most. All others are documents in the user's own
database, as on the local target, and their message says no more than that there is one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import TimeoutError as NotYet
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

from omegaml.errors import AuthFailed, InvalidInput, OmegaError, TimedOut, Unavailable
from omegaml.runtime import actions, values
from omegaml.runtime.base import DEFAULT, Promise, Task, error_from_doc
from omegaml.runtime.broker import queues
from omegaml.runtime.caller import Call, Caller, caller
from omegaml.runtime.local import LocalRuntime, StoredPromise, no_label
from omegaml.runtime.messages import ASK, RUN, check_label
from omegaml.runtime.tasks import cancelled

if TYPE_CHECKING:
    from omegaml.omega import Omega

T = TypeVar("T")

LOOK = 1.0
"""Seconds between looks whether there still is a worker for a task that is waited for."""

HEARD_OF = 2.5
"""Seconds in which a new account hears of workers."""

GRACE = 10.0
"""Seconds that workers are given to find the broker again, or to be started again."""

PATIENCE = 120.0
"""Seconds that a caller goes on waiting while the broker is away."""


class CeleryRuntime(LocalRuntime):
    """Hands all tasks to workers.

    Args:
        broker: the URL; the setting OMEGA_BROKER, which may be the account's, where not given.
        userid: the account whose tasks they are, where that is not who logs in at the broker.
    Raises: InvalidInput if there is no broker to be used.
    """

    def __init__(self, om: Omega, broker: str | None = None, userid: str | None = None) -> None:
        super().__init__(om)
        url = broker or om.in_force.get("OMEGA_BROKER")
        if not url:
            raise InvalidInput(
                "the runtime 'celery' needs a broker", hint="omegacli config set OMEGA_BROKER=amqp://..."
            )
        self._is_given = broker is not None
        self._url = str(url)
        self._userid = userid or unquote(urlsplit(self._url).username or "guest")

    @property
    def _caller(self) -> Caller:
        return caller(self._url)

    @property
    def _timeout(self) -> float:
        return float(self._om.config.get("OMEGA_TIMEOUT"))

    def submit(self, task: Task) -> Promise:
        """Send a task whose caller waits; one that must not be done twice is kept as by `enqueue`.

        Raises: Unavailable (no broker within OMEGA_TIMEOUT seconds, or no worker of the task's label).
        """
        if actions.changes(task) or task.callbacks:
            return self.enqueue(task)
        text = task.to_json()
        self.require_runner(task.label)
        sent = self._caller.send(ASK, task.id, task.label, self._userid, text, replies=True, limit=task.limit)
        return Reply(self, task, sent)

    def enqueue(self, task: Task) -> Promise:
        """Keep a task and tell workers of it. Raises: as `submit`; nothing is left behind then."""
        queued = self.tasks
        self.require_runner(task.label)
        queued.add(task, actions.is_idempotent(task))
        try:
            sent = self._caller.send(
                RUN, task.id, task.label, self._userid, task.id, replies=False, limit=None
            )
            sent.accepted.result(self._timeout)
        except NotYet:
            queued.withdraw(task.id)
            raise Unavailable(f"{self._caller.where} does not confirm the task", hint="try again") from None
        except BaseException:
            queued.withdraw(task.id)
            raise
        return StoredPromise(self._om, queued, task.id, lambda: self._has_worker(task.label))

    def _has_worker(self, label: str) -> bool:
        """Whether a worker is connected, who may not have been heard of in this account's database yet."""
        try:
            return self._caller.away() > 0 or self._is_there(label, LOOK) or bool(self.tasks.runners())
        except Unavailable:
            return True  # it is the broker that is away

    def queues(self) -> list[dict[str, Any]]:
        """Return `[{label, waiting, workers, queue}]`, as the broker counts.

        Where it does not tell, `waiting` is None, and `workers` those that this account has heard of.
        """
        labels = {DEFAULT, *self.tasks.labels()}
        found = self._logged_in(lambda: queues(self._url, labels, self._timeout))
        if any(row["workers"] is None for row in found):
            heard_of = self.tasks.workers_by_label()
            return [row | {"workers": heard_of[row["label"]]} for row in found]
        return found

    def require_runner(self, label: str = DEFAULT) -> None:
        """Raise Unavailable, naming the labels there are, unless a worker of that label is connected."""
        check_label(label)
        self._logged_in(lambda: self._caller.wait_ready(self._timeout))
        began = time.monotonic()
        while not self._is_there(label, self._timeout):
            waited = time.monotonic() - began
            is_known = self._caller.may_count or self.tasks.runners() or waited > HEARD_OF
            # workers look every few seconds for a broker that was away
            if waited > self._timeout or (is_known and self._caller.back() > GRACE):
                raise self._nobody(label)
            time.sleep(0.1)

    def _is_there(self, label: str, seconds: float) -> bool:
        """Whether a worker is connected, or where the broker does not tell, has been heard of just now.

        Raises: Unavailable.
        """
        said = self._caller.has_worker(label, seconds)
        return bool(self.tasks.workers_by_label()[label]) if said is None else said

    def _logged_in(self, do: Callable[[], T]) -> T:
        """Do what needs a login, again where the account has got another password."""
        try:
            return do()
        except AuthFailed:
            url = self._url if self._is_given else self._om.renewed().get("OMEGA_BROKER")
            if not url or url == self._url:
                raise
            self._url = str(url)
            return do()

    def _nobody(self, label: str) -> Unavailable:
        labels: set[str] = set()
        with suppress(OmegaError):
            labels = set(self.tasks.workers_by_label())
        others = sorted(labels - {label})
        if others:
            return no_label(label, others)
        return Unavailable(
            "no worker is there to carry out the task", hint=f"omegacli runtime worker --label {label}"
        )

    def keep(self, value: Any, bucket: str | None, waiting: bool) -> str:
        """Keep a large value in the store, where workers find it."""
        return super().keep(value, bucket, waiting=False)

    def map(self, tasks: Sequence[Task], processes: int | None = None) -> list[Promise]:
        """Spread tasks over the workers; returns when all have ended, in the same order.

        Args:
            processes: how many at a time; as many as the workers take where not given.
        """
        ahead = processes or len(tasks)
        promises: list[Promise] = []
        for number, task in enumerate(tasks):
            if number >= ahead:
                _ended(promises[number - ahead])
            promises.append(self.submit(task))
        for promise in promises:
            _ended(promise)
        return promises


def _ended(promise: Promise) -> None:
    with suppress(OmegaError):
        promise.get()


class Reply:
    """The promise of a task that is answered by a message to this process."""

    def __init__(self, runtime: CeleryRuntime, task: Task, sent: Call) -> None:
        self._runtime = runtime
        self._task = task
        self._sent = sent
        # in the queue at most as long as in the worker: the broker drops it then
        self._until = None if task.limit is None else time.monotonic() + 2 * task.limit + 10
        self._alone_since: float | None = None
        self._outcome: tuple[Any, OmegaError | None] | None = None
        self.seconds: dict[str, float] = {}

    @property
    def id(self) -> str:
        return self._task.id

    @property
    def status(self) -> str:
        """One of queued, done, failed, cancelled: whether it runs already is known to its worker alone."""
        if not self.done():
            return "queued"
        _, error = self._read()
        return "done" if error is None else "cancelled" if error.details.get("cancelled") else "failed"

    @property
    def progress(self) -> None:
        """None: its caller waits."""

    def done(self) -> bool:
        """Tell whether the answer is there."""
        return self._outcome is not None or self._sent.answer.done()

    def get(self, timeout: float | None = None) -> Any:
        """Wait for the answer; see `Promise.get`."""
        caller, end = self._runtime._caller, None if timeout is None else time.monotonic() + timeout
        while not self.done():
            left = LOOK if end is None else min(LOOK, end - time.monotonic())
            if left <= 0:
                raise TimedOut(f"{self._task.what} was not answered within {timeout:g} seconds", task=self.id)
            try:
                self._sent.answer.exception(left)
            except NotYet:
                if left == LOOK:
                    self._look(caller)
                if self._until is not None and time.monotonic() > self._until:
                    caller.drop(self._sent)
                    self._sent.fail(TimedOut(f"no worker took {self._task.what} within its limit"))
        result, error = self._read()
        if error is not None:
            raise error
        return result

    def _look(self, caller: Caller) -> None:
        """Raise Unavailable where nobody is left to answer."""
        if caller.away() > PATIENCE:
            self._sent.fail(Unavailable(f"{caller.where} has been away for too long", hint="try again"))
            caller.drop(self._sent)
            return
        try:
            is_there = caller.away() > 0 or self._runtime._is_there(self._task.label, LOOK)
        except Unavailable:
            is_there = True  # it is the broker, or the database, that is away
        if is_there:
            self._alone_since = None
        elif self._alone_since is None:  # nobody may have looked for long
            self._alone_since = time.monotonic()
        elif time.monotonic() - self._alone_since > GRACE and not self.done():
            caller.drop(self._sent)
            self._sent.fail(self._runtime._nobody(self._task.label))

    def _read(self) -> tuple[Any, OmegaError | None]:
        if self._outcome is None:
            self._outcome = self._decoded()
        return self._outcome

    def _decoded(self) -> tuple[Any, OmegaError | None]:
        problem = self._sent.answer.exception()
        if problem is not None:
            assert isinstance(problem, OmegaError)
            self._runtime.release(self._task)
            return None, problem
        answer = self._sent.answer.result()
        self.seconds = dict(answer.get("seconds") or {})
        if "error" in answer:
            return None, error_from_doc(answer["error"])
        scope = actions.scope(self._runtime._om, self._task.bucket)
        try:
            return values.decode(answer["result"], lambda name: scope.datasets.get(name)), None
        except OmegaError as error:
            return None, error
        finally:
            actions.drop(scope, answer["temporary"])

    def cancel(self) -> bool:
        """Wait for it no more, and have its worker stop it; False if it has been answered."""
        if self.done():
            return False
        self._runtime.tasks.cancel_asked(self._task)
        self._runtime._caller.drop(self._sent)
        self._sent.fail(cancelled(self._task.what, self.id))
        return True
