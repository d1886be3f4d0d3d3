"""The process that carries out queued tasks: `python -m omegaml.runtime.runner --config FILE`.

FILE is YAML with OMEGA_MONGO_URL (and optionally OMEGA_BUCKET), readable by its owner only. Each slot is one
child process with one task at a time. SIGTERM takes no more tasks, waits for those in hand and ends; what is
not done in time is given back to the queue or reported as lost (`omegaml.runtime.tasks`).
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import queue
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from omegaml.errors import ConfigInvalid, OmegaError, TaskFailed, TimedOut, Unavailable
from omegaml.metadata import COLLECTION
from omegaml.mongo import translated
from omegaml.runtime import actions
from omegaml.runtime.base import Task, error_to_doc
from omegaml.runtime.child import Child
from omegaml.runtime.tasks import BEAT, DEAD_AFTER, Tasks, cancelled

if TYPE_CHECKING:
    from omegaml.omega import Omega

LOOK = 0.3
FORGOTTEN = 5.0
TIDY = 600.0
COLLECT = 6 * 3600.0
DRAIN = 25.0
ORPHAN_AFTER = timedelta(hours=24)

log = logging.getLogger("omegaml.runner")


class Runner:
    """Claims tasks of one database and carries them out until it is told to stop."""

    def __init__(self, om: Omega, mongo_url: str, slots: int = 1) -> None:
        self.id = f"{platform.node()}-{os.getpid()}-{uuid4().hex[:6]}"
        self._om = om
        self._tasks = Tasks(om.db, mongo_url)
        self._children = [Child(mongo_url, om.bucket) for _ in range(slots)]
        self._free: queue.SimpleQueue[Child] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._gone = threading.Event()
        self._give_up = threading.Event()
        self._in_hand: dict[str, Child] = {}
        self._cancelled: set[str] = set()

    def stop(self) -> None:
        """Take no more tasks and end."""
        self._stop.set()

    def run(self, drain: float = DRAIN) -> None:
        """Work until `stop`, then wait at most `drain` seconds for the tasks in hand."""
        threads = [threading.Thread(target=work, daemon=True) for work in (self._beat, self._keep_tidy)]
        try:
            for child in self._children:
                child.start()
                self._free.put(child)
            with ThreadPoolExecutor(len(self._children)) as pool:
                threads[0].start()
                self._patiently(self._tasks.prepare)
                threads[1].start()
                log.info("runner %s takes tasks of database %s", self.id, self._om.db.name)
                self._serve(pool)
                self._drain(drain)
        finally:
            self._gone.set()
            for child in self._children:
                child.close()
            self._leave()
        log.info("runner %s stopped", self.id)

    def _serve(self, pool: ThreadPoolExecutor) -> None:
        pause, looked, checked = 0.02, 0.0, time.monotonic()
        while not self._stop.is_set():
            now = time.monotonic()
            try:
                if self._in_hand and now - looked > LOOK:
                    looked = now
                    self._stop_cancelled()
                if now - checked > FORGOTTEN:
                    checked = now
                    # of which the outcome could not be written, or whose claim was answered too late
                    for id in self._tasks.give_back(self.id, list(self._in_hand)):
                        log.warning("task %s was not finished", id)
                task = None if self._free.empty() else self._tasks.claim(self.id)
            except Exception as error:
                _warn(error)
                self._stop.wait(1.0)
                continue
            if task is not None:
                child = self._free.get()
                self._in_hand[task.id] = child
                pool.submit(self._carry_out, child, task)
                pause = 0.02
            else:
                self._stop.wait(pause)
                pause = min(pause * 1.2, 0.1)

    def _stop_cancelled(self) -> None:
        for id in self._tasks.to_stop(self.id):
            child = self._in_hand.get(id)
            if child is not None and id not in self._cancelled:
                self._cancelled.add(id)
                child.kill()

    def _carry_out(self, child: Child, task: Task) -> None:
        began = time.monotonic()
        try:
            answer = self._answer(child, task)
            if self._is_for_later(task, answer):
                log.warning("task %s is tried again: %s", task.id, answer["error"]["message"])
                return
            kept = self._finish(task, answer)
            how = "failed" if "error" in answer else "done"
            log.info(
                "task %s %s %s %s in %.3f s", task.id, task.action, task.name, how, time.monotonic() - began
            )
            unused = [*task.temporary] if kept else [*task.temporary, *answer["temporary"]]
            actions.drop(actions.scope(self._om, task.bucket), unused)
        except Exception as error:
            _warn(error, f"task {task.id}: ")
        finally:
            self._in_hand.pop(task.id, None)
            self._cancelled.discard(task.id)
            self._free.put(child)

    def _answer(self, child: Child, task: Task) -> dict[str, Any]:
        try:
            answer = child.run(task)
        except Exception as error:  # no process to be had, or no JSON from it
            log.exception("task %s", task.id)
            child.close()
            failed = TaskFailed(f"{task.action} of model {task.name!r} could not be run here: {error}")
            return {"error": error_to_doc(failed), "temporary": []}
        if task.id in self._cancelled and "error" in answer:
            return {"error": error_to_doc(cancelled(task.action, task.name, task.id)), "temporary": []}
        return answer

    def _is_for_later(self, task: Task, answer: dict[str, Any]) -> bool:
        # that the database went away under a task is not the task's fault
        if answer.get("error", {}).get("error") != Unavailable.__name__:
            return False
        return bool(self._patiently(lambda: self._tasks.retry(task.id, self.id), seconds=3600))

    def _finish(self, task: Task, answer: dict[str, Any]) -> bool:
        is_cancelled = task.id in self._cancelled and "error" in answer

        def finish(outcome: dict[str, Any]) -> bool:
            # a result must not be lost because the database is being restarted
            done = self._patiently(
                lambda: self._tasks.finish(task.id, self.id, outcome, is_cancelled), seconds=3600
            )
            return bool(done)

        try:
            return finish(answer)
        except (Unavailable, TimedOut):
            raise
        except OmegaError as error:
            # the result itself is refused: say so instead of leaving the task running
            finish({"error": error_to_doc(error), "temporary": []})
            return False

    def _drain(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self._in_hand and time.monotonic() < end:
            time.sleep(0.02)
        if self._in_hand:
            # first give the tasks back: a killed child would be reported as the task's own fault
            with suppress(OmegaError):
                self._patiently(lambda: self._tasks.give_back(self.id), seconds=3)
            self._give_up.set()
            for child in self._children:
                child.kill()

    def _leave(self) -> None:
        try:
            for id in self._tasks.give_back(self.id):
                log.warning("task %s was not finished", id)
            self._tasks.leave(self.id)
        except Exception as error:
            _warn(error)

    def _beat(self) -> None:
        # after a pause of the database or of this machine all look dead until they were heard of again
        blind_until = 0.0
        while not self._gone.is_set():
            began = time.monotonic()
            try:
                self._tasks.beat(
                    self.id,
                    host=platform.node(),
                    pid=os.getpid(),
                    slots=len(self._children),
                    running=len(self._in_hand),
                )
                for id in self._tasks.recover() if began > blind_until else ():
                    log.warning("task %s was left by a runner that died", id)
            except Exception as error:
                blind_until = time.monotonic() + DEAD_AFTER
                _warn(error)
            slept = time.time()
            self._gone.wait(BEAT)
            if time.time() - slept > BEAT + DEAD_AFTER / 2:
                blind_until = time.monotonic() + DEAD_AFTER

    def _patiently(self, do: Callable[[], Any], seconds: float = 60.0) -> Any:
        end = time.monotonic() + seconds
        while True:
            try:
                return do()
            except (Unavailable, TimedOut):
                if time.monotonic() > end or self._give_up.wait(0.5):
                    raise

    def _keep_tidy(self) -> None:
        collected = time.monotonic()
        while not self._gone.is_set():
            try:
                is_due = time.monotonic() - collected > COLLECT
                self._tidy(collect=is_due)
                collected = time.monotonic() if is_due else collected
            except Exception as error:
                _warn(error)
            self._gone.wait(TIDY)

    def _tidy(self, collect: bool) -> None:
        in_use = self._tasks.in_use()
        limit = datetime.now(UTC) - ORPHAN_AFTER
        with translated():
            buckets = self._om.db[COLLECTION].distinct("bucket")
        for bucket in buckets:
            place = actions.scope(self._om, bucket)
            for meta in place.datasets.find(f"{actions.TEMPORARY}*", hidden=True):
                if meta.name not in in_use and meta.created is not None and meta.created < limit:
                    place.datasets.drop(meta.name, missing_ok=True)
            if collect:  # it looks at every chunk in the database
                freed = place.datasets.gc()
                log.info("freed %s objects of %s bytes in bucket %s", freed.objects, freed.bytes, bucket)


def _warn(error: Exception, where: str = "") -> None:
    if isinstance(error, OmegaError):
        log.warning("%s%s", where, error)
    else:
        log.error("%s%s", where, error, exc_info=error)


def read_config(path: Path) -> dict[str, Any]:
    """Return the runner's settings. Raises ConfigInvalid, also if others may read the file."""
    import yaml

    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigInvalid(f"{path} cannot be read: {error}") from None
    if mode & 0o077:
        raise ConfigInvalid(f"{path} holds a password and others may read it", hint=f"chmod 600 {path}")
    if not isinstance(content, dict) or not content.get("OMEGA_MONGO_URL"):
        raise ConfigInvalid(f"{path} has no OMEGA_MONGO_URL")
    return content


def main(argv: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    parser = argparse.ArgumentParser(prog="omegaml.runtime.runner", description=__doc__)
    parser.add_argument(
        "--config", type=Path, required=True, help="YAML file with OMEGA_MONGO_URL, mode 0600"
    )
    parser.add_argument("--slots", type=int, default=1, help="tasks at a time")
    parser.add_argument("--drain", type=float, default=DRAIN, help="seconds to finish tasks in after SIGTERM")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    try:
        settings = read_config(options.config)
        from omegaml.omega import Omega

        url = settings["OMEGA_MONGO_URL"]
        runner = Runner(Omega(mongo_url=url, bucket=settings.get("OMEGA_BUCKET")), url, max(1, options.slots))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: runner.stop())
        runner.run(options.drain)
    except OmegaError as error:
        log.error("%s", error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
