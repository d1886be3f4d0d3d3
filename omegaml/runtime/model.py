"""What `om.runtime` is: models by name, tasks by id, and whether anybody is there to carry them out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from omegaml.errors import InvalidInput
from omegaml.runtime import actions, connect, values
from omegaml.runtime.base import DEFAULT, Promise, Task
from omegaml.runtime.messages import check_label
from omegaml.store.names import is_shared

if TYPE_CHECKING:
    from omegaml.omega import Omega
    from omegaml.runtime.job import RuntimeJob
    from omegaml.runtime.together import Parallel, Sequence


MOST_RETRIES = 10


class Runtime:
    """Ask for work on this database and bucket."""

    def __init__(self, om: Omega, carrier: Any = None, **terms: Any) -> None:
        """Args:
        carrier: who carries tasks out; the runtime that is configured where not given.
        terms: `label`, `retries` and `callbacks` of every task.
        """
        self._om = om
        self.carrier: Any = carrier or connect(om, om.in_force.get("OMEGA_RUNTIME") or "local")
        self._terms = terms

    def _with(self, **terms: Any) -> Runtime:
        return Runtime(self._om, self.carrier, **{**self._terms, **terms})

    def carried_by(self, carrier: Any) -> Runtime:
        """Return this runtime with another who carries its tasks out."""
        return Runtime(self._om, carrier, **self._terms)

    @property
    def label(self) -> str:
        """Of the workers that may carry its tasks out."""
        return str(self._terms.get("label", DEFAULT))

    def require(self, label: str) -> Runtime:
        """Return this runtime for workers of that label: `om.runtime.require("gpu").model("m").fit(...)`.

        Calls raise Unavailable, naming the labels there are, where no such worker is. On the local runtime
        such a call is carried out by a runner (`--label gpu`), also one that waits.
        """
        return self._with(label=check_label(label))

    def retry(self, times: int) -> Runtime:
        """Return this runtime for tasks that are tried again, up to so many times, where a model fails.

        It waits 1 s before the first retry, then 2 s, 4 s, ..., all within the task's limit. Data that does
        not fit and what is not there are no reason to try again, and a process that was killed is not either.
        """
        if type(times) is not int or not 0 <= times <= MOST_RETRIES:
            raise InvalidInput(f"{times!r} is no number of retries", hint=f"0 to {MOST_RETRIES}")
        return self._with(retries=times)

    def callback(self, done: str | None = None, failed: str | None = None) -> Runtime:
        """Return this runtime for tasks after which a notebook is run: `done`, or `failed` for other ends.

        It is given `task` (the id), `status`, `action`, `name` and `error` (a sentence, or None). Such tasks
        are left to a runner or worker, also those whose caller waits. Raises: NotFound (no such notebook).
        """
        callbacks = {
            how: self._om.jobs.metadata(name).name
            for how, name in (("done", done), ("failed", failed))
            if name is not None
        }
        return self._with(callbacks=callbacks)

    def progress(self, fraction: float, text: str = "") -> None:
        """Say how far the task is that this code is part of: `om.runtime.progress(0.4, "epoch 3")`.

        It is a line of the task's log, and `progress` of its promise. Raises: InvalidInput (not 0 to 1).
        """
        from omegaml.runtime import progress

        progress.say(self._om, fraction, text)

    def parallel(self) -> Parallel:
        """Return what tasks are asked of that are done at the same time.

        with om.runtime.parallel() as crt:
            crt.model("a").fit("x", "y")
            crt.model("b").fit("x", "y")
        results = crt.run()
        """
        from omegaml.runtime.together import Parallel

        return Parallel(self)

    def sequence(self) -> Sequence:
        """Return what tasks are asked of that are done one after the other, up to the first that fails."""
        from omegaml.runtime.together import Sequence

        return Sequence(self)

    def model(self, name: str, *, limit: float | None = None) -> RuntimeModel:
        """Return the stored model `name` (`name@tag`, `name^` for versions), to be trained or asked.

        `@bob/name` is one that bob shares: it is asked by REST, and runs where bob's models do.

        Args:
            limit: seconds that each of its tasks may take; then the process that carries it out is killed and
                the task fails with TimedOut. A call that waits is carried out by a child process for that.
        """
        if is_shared(name):
            from omegaml.runtime.shared import SharedModel

            return SharedModel(self._om, name, limit)
        return RuntimeModel(self, name, limit)

    def job(self, name: str, *, limit: float | None = None) -> RuntimeJob:
        """Return the notebook `name`, to be run; `limit` is how many seconds each run may take."""
        from omegaml.runtime.job import RuntimeJob

        return RuntimeJob(self._om, self, name, limit)

    def ping(self, *, async_: bool = False, timeout: float | None = 10.0) -> dict[str, Any]:
        """Return `{message, time, host, pid}` of whoever carries out tasks.

        Args:
            async_: ask a runner instead of this process.
            timeout: seconds to wait for the runner.
        Raises: Unavailable (no runner, or no database), TimedOut.
        """
        task = self.new_task("ping", "")
        answer: dict[str, Any] = self.run(task, async_=async_).get(timeout)
        return answer

    def status(self) -> dict[str, Any]:
        """Return `{runners: [{id, host, pid, slots, labels, running, age}], tasks: {status: how many}}`.

        `age` is in seconds since the runner was last heard of; tasks are those of the last 24 hours.
        """
        return self.carrier.status()

    def workers(self) -> list[dict[str, Any]]:
        """Return who takes this account's tasks: `[{id, host, pid, slots, labels, running, age}]`.

        `slots` is how many tasks one takes at a time, `running` how many it has in hand, of all accounts.
        """
        found: list[dict[str, Any]] = self.status()["runners"]
        return found

    def labels(self) -> dict[str, int]:
        """Return the labels that `require` may ask for, and how many workers have each."""
        return {row["label"]: row["workers"] for row in self.queues() if row["workers"]}

    def queues(self) -> list[dict[str, Any]]:
        """Return `[{label, waiting, workers, queue}]`: how many tasks wait for workers of each label.

        On a broker those are tasks of all accounts, and `queue` is its name there; else they are this
        account's. A label is known while a worker or a task has had it in the last hour.
        Raises: Unavailable (the broker), AuthFailed.
        """
        return self.carrier.queues()

    def promise(self, id: str) -> Promise:
        """Return the promise of a task that any process has queued. Raises NotFound."""
        return self.carrier.promise(id)

    def result(self, id: str, timeout: float | None = None) -> Any:
        """Return the result of a task that any process has queued, waiting for it.

        Raises: the task's own error, NotFound (no such task, or older than 24 hours), TimedOut, Unavailable.
        """
        return self.promise(id).get(timeout)

    def cancel(self, id: str) -> bool:
        """Keep a task from running, or stop it; False if it had ended already. Raises NotFound."""
        return self.promise(id).cancel()

    def map(self, tasks: Iterable[Task], processes: int | None = None) -> list[Promise]:
        """Carry out tasks in parallel, by workers or in child processes.

        Returns: their promises, in order, when all have ended.
        """
        return self.carrier.map(list(tasks), processes)

    def run(self, task: Task, *, async_: bool = False) -> Promise:
        """Hand a task to the runtime: to be done by this call, or with `async_` by somebody else, later.

        The task's temporary datasets are dropped once it has ended, whatever comes of it.
        """
        try:
            return self.carrier.enqueue(task) if async_ else self.carrier.submit(task)
        except BaseException:
            self.carrier.release(task)
            raise

    def task(
        self,
        action: str,
        name: str,
        x: Any = None,
        y: Any = None,
        *,
        params: Mapping[str, Any] | None = None,
        result: str | None = None,
        limit: float | None = None,
        waiting: bool = False,
    ) -> Task:
        """Return the task to do `action` with model `name`; large values are kept as temporary datasets.

        Args:
            params: of the model's own method.
            waiting: it goes to this runtime's `submit`, so that they need not be where others find them.
        Raises: NotStorable (a value of a type that cannot be sent).
        """
        kept: list[str] = []

        def keep(value: Any) -> str:
            kept.append(self.carrier.keep(value, self._om.bucket, waiting))
            return kept[-1]

        about: dict[str, Any] = {"result": result, "limit": limit}
        try:
            given = [] if x is None and y is None else [x] if y is None else [x, y]
            args = [values.encode(value, keep) for value in given]
            kwargs = {key: values.encode(value, keep) for key, value in (params or {}).items()}
            return self.new_task(action, name, args=args, kwargs=kwargs, **about, temporary=kept)
        except BaseException:
            self.carrier.release(self.new_task(action, name, **about, temporary=kept))
            raise

    def new_task(self, action: str, name: str, **about: Any) -> Task:
        """Return a task on this runtime's terms: `about` is as the attributes of a Task."""
        return Task(action, name=name, bucket=self._om.bucket, **{**self._terms, **about})

    def require_runner(self, label: str | None = None) -> None:
        """Raise Unavailable, naming what there is, if no runner of the label takes tasks."""
        self.carrier.require_runner(label or self.label)

    def discard(self, task: Task) -> None:
        """Drop the temporary datasets of a task."""
        self.carrier.release(task)


class RuntimeModel:
    """One stored model.

    X and Y are names of datasets, projections and versions allowed (`fit("x[^y]", "x[y]")`), or values of
    shape (n_rows, n_features): frames, with their columns in any order if the model was fitted on a frame;
    lists, arrays, sparse matrices, in the column order of `fit`; dicts of columns. Polars and Arrow tables
    come to the model as pandas frames. Y of one column is taken as values of shape (n_rows,). A text
    vectorizer takes a list, a series or a frame of one column. Every method takes

        result: name of a dataset to store the result as; the call then returns `{"dataset": name}`; arrays of
            Python objects (as text labels) are stored as a series or frame;
        async_: return a Promise at once and leave the work to a runner; its id is good anywhere for 24 h;

    and raises NotFound (model or dataset), Mismatch (the data does not fit, naming the columns; or the model
    is not fitted), TaskFailed (the model raised; has its traceback), with `async_` Unavailable (no runner).
    All other keywords are parameters of the model's own method.
    """

    def __init__(self, runtime: Runtime, name: str, limit: float | None = None) -> None:
        self._runtime = runtime
        self._limit = limit
        self.name = name

    def __repr__(self) -> str:
        return f"RuntimeModel({self.name!r})"

    def fit(self, X: Any, Y: Any = None, **params: Any) -> Any:
        """Train the model and store it as its next version; return `{model, version, kind}`."""
        return self.call("fit", X, Y, **params)

    def partial_fit(self, X: Any, Y: Any = None, **params: Any) -> Any:
        """Train the newest version further and store the next; return `{model, version, kind}`.

        Of several that train a model at once each goes on from the version before its own.
        Raises: Conflict, if that cannot be.
        """
        return self.call("partial_fit", X, Y, **params)

    def predict(self, X: Any, **params: Any) -> Any:
        """Return the model's predictions, of shape (n_rows,) or (n_rows, n_outputs), in the order of X."""
        return self.call("predict", X, **params)

    def predict_proba(self, X: Any, **params: Any) -> Any:
        """Return the probability of each class, of shape (n_rows, n_classes)."""
        return self.call("predict_proba", X, **params)

    def decision_function(self, X: Any, **params: Any) -> Any:
        """Return the confidence per row, of shape (n_rows,) or (n_rows, n_classes)."""
        return self.call("decision_function", X, **params)

    def transform(self, X: Any, **params: Any) -> Any:
        """Return X as the model transforms it, of shape (n_rows, n_outputs)."""
        return self.call("transform", X, **params)

    def score(self, X: Any, Y: Any = None, **params: Any) -> Any:
        """Return the model's own score for Y given X, as a float."""
        return self.call("score", X, Y, **params)

    def gridsearch(self, X: Any, Y: Any = None, *, parameters: Any, **params: Any) -> Any:
        """Try all combinations of `parameters`, fit the best on all data and store it as the next version.

        Args:
            parameters: parameter names to values to try; `params` are those of scikit-learn's GridSearchCV
                (`n_jobs` is 1 where not given).
        Returns: `{model, version, kind, best_params, best_score, tried: [{params, mean, std}]}`, with several
            metrics also `scores: {metric: mean}` of each tried. What it found is kept with the version, too:
            `om.models.metadata(name).attributes["trained"]`.
        """
        return self.call("gridsearch", X, Y, parameters=parameters, **params)

    def map(
        self, action: str, values_of_X: Iterable[Any], *, processes: int | None = None, **params: Any
    ) -> list[Any]:
        """Do `action` for each X, in parallel by workers, or in child processes; return the results in order.

        Raises: the first error; no result of the others is returned then.
        """
        if action in actions.ACTIONS and actions.ACTIONS[action].changes:
            raise InvalidInput(f"{action} changes the model, so it cannot be done in parallel")
        if "result" in params:
            raise InvalidInput(
                "the results of map cannot be stored under one name", hint="leave `result` out"
            )
        tasks: list[Task] = []
        try:
            for x in values_of_X:
                tasks.append(self._runtime.task(action, self.name, x, params=params, limit=self._limit))
            return [promise.get() for promise in self._runtime.map(tasks, processes)]
        finally:
            for task in tasks:
                self._runtime.discard(task)

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
        """Do any of the runtime's actions by its name; see the methods."""
        if async_:
            self._runtime.require_runner()  # before values are stored for nobody
        task = self._runtime.task(
            action, self.name, X, Y, params=params, result=result, limit=self._limit, waiting=not async_
        )
        promise = self._runtime.run(task, async_=async_)
        return promise if async_ else promise.get()
