"""The process that carries out queued tasks: `python -m omegaml.runtime.runner --config FILE`.

FILE is YAML, readable by its owner only, with either OMEGA_MONGO_URL (and optionally OMEGA_BUCKET), the one
database to serve, or OMEGA_RESTAPI_URL, OMEGA_USERID and OMEGA_APIKEY of a service account of role `worker`:
then omegaweb says which accounts there are and gives the URL of each one's database, and this process has no
credential of its own. Each slot is one child process with one task of one account at a time.
SIGTERM takes no more tasks, waits for those in hand and ends; what is not done in time is given back to the
queue or reported as lost (`omegaml.runtime.tasks`).
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import secrets
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from omegaml.errors import AuthFailed, ConfigInvalid, Forbidden, OmegaError, TaskFailed, TimedOut, Unavailable
from omegaml.metadata import COLLECTION
from omegaml.mongo import translated
from omegaml.runtime import actions
from omegaml.runtime.accounts import FIRST, Account, Accounts, OneAccount, WebAccounts
from omegaml.runtime.base import Task, error_to_doc
from omegaml.runtime.child import Child, may_give_up_rights
from omegaml.runtime.direct import Door
from omegaml.runtime.slots import Slots
from omegaml.runtime.tasks import BEAT, DEAD_AFTER, cancelled

WORKER = ("OMEGA_RESTAPI_URL", "OMEGA_USERID", "OMEGA_APIKEY")

LOOK = 0.3
ACCOUNTS = 2.0
ANSWERING = 3.0
FORGOTTEN = 5.0
TIDY = 600.0
COLLECT = 6 * 3600.0
DRAIN = 25.0
ORPHAN_AFTER = timedelta(hours=24)

log = logging.getLogger("omegaml.runner")


class Runner:
    """Claims tasks of all its accounts and carries them out until it is told to stop."""

    def __init__(self, accounts: Accounts, slots: int = 1) -> None:
        self.id = f"{platform.node()}-{os.getpid()}-{uuid4().hex[:6]}"
        self._accounts = accounts
        self._slots = Slots(slots, accounts.are_several)
        self._token = secrets.token_urlsafe(32)
        self._door = Door(self._token, self._asked)
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._gone = threading.Event()
        self._give_up = threading.Event()
        self._in_hand: dict[str, tuple[Account, Child | None]] = {}
        self._cancelled: set[str] = set()
        self._is_full = False

    def facts(self) -> dict[str, Any]:
        """What is told of the runner, and where and by which token it takes tasks whose callers wait."""
        about = {"id": self.id, "host": platform.node(), "slots": self._slots.count}
        return about | {
            "running": len(self._in_hand),
            "address": self._door.address,
            "token": self._token,
        }

    def stop(self) -> None:
        """Take no more tasks and end."""
        self._stop.set()
        self._wake.set()

    def run(self, drain: float = DRAIN) -> None:
        """Work until `stop`, then wait at most `drain` seconds for the tasks in hand."""
        work = (self._beat, self._keep_tidy, self._keep_accounts)
        threads = [threading.Thread(target=one, daemon=True) for one in work]
        try:
            for account in self._accounts.all():
                self._slots.start(account)
                self._patiently(partial(self._prepare, account))
            self._door.open()
            with ThreadPoolExecutor(self._slots.count) as pool:
                for thread in threads:
                    thread.start()
                log.info("runner %s takes tasks", self.id)
                if self._accounts.are_several and os.getuid() == 0 and not may_give_up_rights():
                    log.warning("children keep the rights of root: others cannot read what is installed here")
                self._serve(pool)
                self._door.close()
                self._drain(drain)
        finally:
            self._gone.set()
            self._door.close()
            self._slots.close()
            self._leave()
        log.info("runner %s stopped", self.id)

    def _prepare(self, account: Account) -> None:
        account.tasks.prepare()
        account.is_prepared = True
        self._beat_for(account)
        log.info("runner %s serves %s", self.id, account)

    def _keep_accounts(self) -> None:
        """See now and then who is to be served."""
        while not self._gone.is_set():
            try:
                for account in self._accounts.refresh(self.facts()):
                    self._slots.drop(account)
                    account.om.close()
            except Exception as error:
                _warn(error)
            for account in self._accounts.all():
                if account.is_prepared or self._gone.is_set():
                    continue
                try:
                    self._prepare(account)
                except Exception as error:
                    if account.is_refused(time.monotonic()):
                        _warn(error, f"{account}: ")
                    if isinstance(error, Unavailable | TimedOut):
                        break  # it is one server: the others would wait for it as long
            self._gone.wait(ACCOUNTS)

    # --- tasks from the queues

    def _serve(self, pool: ThreadPoolExecutor) -> None:
        looked, checked = 0.0, time.monotonic()
        while not self._stop.is_set():
            self._wake.clear()
            now, accounts = time.monotonic(), [a for a in self._accounts.all() if a.is_prepared]
            try:
                if self._in_hand and now - looked > LOOK:
                    looked = now
                    self._stop_cancelled()
                if now - checked > FORGOTTEN * max(1.0, len(accounts) / 20):
                    checked = now
                    for account in accounts:
                        # of which the outcome could not be written, or whose claim was answered too late
                        for id in account.tasks.give_back(self.id, list(self._in_hand)):
                            log.warning("task %s was not finished", id)
                found = [self._claim(pool, account, len(accounts)) for account in accounts]
            except Exception as error:
                _warn(error)
                self._stop.wait(1.0)
                continue
            if not any(found):
                self._wake.wait(FIRST)

    def _claim(self, pool: ThreadPoolExecutor, account: Account, of: int) -> bool:
        """Take the account's next task, if it is time to look and a child is free."""
        now = time.monotonic()
        if not account.is_due(now):
            return False
        if not self._slots.reserve():
            self._is_full = True
            return False
        task = None
        try:
            task = account.tasks.claim(self.id)
        except (AuthFailed, Forbidden):
            account.is_refused(now)
            return False
        finally:
            if task is None:
                self._slots.release()
        if task is None:
            account.later(now, of)
            return False
        account.soon()
        self._in_hand[task.id] = account, None
        pool.submit(self._carry_out, account, task)
        return True

    def _stop_cancelled(self) -> None:
        in_hand = dict(self._in_hand)
        for account in {account for account, _ in in_hand.values()}:
            for id in account.tasks.to_stop(self.id):
                child = in_hand[id][1] if id in in_hand else None
                if child is not None and id not in self._cancelled:
                    self._cancelled.add(id)
                    child.kill()

    def _carry_out(self, account: Account, task: Task) -> None:
        began = time.monotonic()
        child = self._slots.child(account)
        self._in_hand[task.id] = account, child
        try:
            answer = self._answer(child, task)
            if self._is_for_later(account, task, answer):
                log.warning("task %s is tried again: %s", task.id, answer["error"]["message"])
                return
            kept = self._finish(account, task, answer)
            self._log(account, task, answer, began)
            unused = [*task.temporary] if kept else [*task.temporary, *answer["temporary"]]
            actions.drop(actions.scope(account.om, task.bucket), unused)
        except Exception as error:
            _warn(error, f"task {task.id}: ")
        finally:
            self._release(child, task)

    def _release(self, child: Child, task: Task) -> None:
        self._in_hand.pop(task.id, None)
        self._cancelled.discard(task.id)
        self._slots.give(child)
        if self._is_full:
            self._is_full = False
            self._wake.set()

    def _log(self, account: Account, task: Task, answer: dict[str, Any], began: float) -> None:
        how = "failed" if "error" in answer else "done"
        whose = f" of {account.userid}" if account.userid else ""
        seconds = time.monotonic() - began
        log.info("task %s %s %s%s %s in %.3f s", task.id, task.action, task.name, whose, how, seconds)

    # --- tasks whose caller waits

    def _asked(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer a direct request (`omegaml.runtime.direct`)."""
        if self._stop.is_set():
            raise Unavailable("the runner is being stopped", hint="try again")
        account = self._accounts.find(request["userid"])
        if "task" not in request:
            account.soon()
            self._wake.set()
            return {}
        began = time.monotonic()
        task = Task.from_json(request["task"])
        if not self._slots.reserve(task.limit):
            raise TimedOut(f"all {self._slots.count} slots of the runner were taken all the time")
        child = self._slots.child(account)
        self._in_hand[task.id] = account, child
        try:
            if task.limit is not None:
                task = replace(task, limit=max(0.05, task.limit - (time.monotonic() - began)))
            answer = self._answer(child, task)
        finally:
            self._release(child, task)
        self._log(account, task, answer, began)
        if task.temporary:
            actions.drop(actions.scope(account.om, task.bucket), task.temporary)
        return answer

    def _answer(self, child: Child, task: Task) -> dict[str, Any]:
        try:
            answer = child.run(task)
        except Exception as error:  # no process to be had, or no JSON from it
            log.exception("task %s", task.id)
            child.close()
            failed = TaskFailed(f"{task.what} could not be run here: {error}")
            return {"error": error_to_doc(failed), "temporary": []}
        if task.id in self._cancelled and "error" in answer:
            return {"error": error_to_doc(cancelled(task.what, task.id)), "temporary": []}
        return answer

    def _is_for_later(self, account: Account, task: Task, answer: dict[str, Any]) -> bool:
        # that the database went away under a task is not the task's fault
        if answer.get("error", {}).get("error") != Unavailable.__name__:
            return False
        return bool(self._patiently(lambda: account.tasks.retry(task.id, self.id), seconds=3600))

    def _finish(self, account: Account, task: Task, answer: dict[str, Any]) -> bool:
        is_cancelled = task.id in self._cancelled and "error" in answer

        def finish(outcome: dict[str, Any]) -> bool:
            # a result must not be lost because the database is being restarted
            done = self._patiently(
                lambda: account.tasks.finish(task.id, self.id, outcome, is_cancelled), seconds=3600
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
                for account in {account for account, _ in dict(self._in_hand).values()}:
                    self._patiently(partial(account.tasks.give_back, self.id), seconds=3)
            self._give_up.set()
            self._slots.kill()
            end = time.monotonic() + ANSWERING
            while self._in_hand and time.monotonic() < end:
                time.sleep(0.02)

    def _leave(self) -> None:
        try:
            for account in self._accounts.all():
                for id in account.tasks.give_back(self.id):
                    log.warning("task %s was not finished", id)
                account.tasks.leave(self.id)
        except Exception as error:
            _warn(error)
        with suppress(OmegaError):
            self._accounts.leave(self.id)

    def _beat(self) -> None:
        # after a pause of the database or of this machine all look dead until they were heard of again
        blind_until = 0.0
        while not self._gone.is_set():
            began = time.monotonic()
            for account in self._accounts.all():
                try:
                    self._beat_for(account)
                    for id in account.tasks.recover() if began > blind_until else ():
                        log.warning("task %s was left by a runner that died", id)
                except (AuthFailed, Forbidden):
                    account.is_refused(time.monotonic())
                except Exception as error:
                    blind_until = time.monotonic() + DEAD_AFTER
                    _warn(error, f"{account}: ")
                    if isinstance(error, Unavailable | TimedOut):
                        break  # it is one server: the others would wait for it as long
            slept = time.time()
            self._gone.wait(BEAT)
            if time.time() - slept > BEAT + DEAD_AFTER / 2:
                blind_until = time.monotonic() + DEAD_AFTER

    def _beat_for(self, account: Account) -> None:
        about = {"host": platform.node(), "pid": os.getpid(), "slots": self._slots.count}
        account.tasks.beat(self.id, **about, running=len(self._in_hand))

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
            is_due = time.monotonic() - collected > COLLECT
            for account in self._accounts.all():
                try:
                    self._tidy(account, collect=is_due)
                except (AuthFailed, Forbidden):
                    pass  # it is disabled, or its password was changed
                except Exception as error:
                    _warn(error, f"{account}: ")
            collected = time.monotonic() if is_due else collected
            self._gone.wait(TIDY)

    def _tidy(self, account: Account, collect: bool) -> None:
        in_use = account.tasks.in_use()
        limit = datetime.now(UTC) - ORPHAN_AFTER
        with translated():
            buckets = account.om.db[COLLECTION].distinct("bucket")
        for bucket in buckets:
            place = actions.scope(account.om, bucket)
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
    if not isinstance(content, dict) or not (content.get("OMEGA_MONGO_URL") or content.get(WORKER[0])):
        raise ConfigInvalid(f"{path} has no OMEGA_MONGO_URL and no {WORKER[0]}")
    if content.get(WORKER[0]):
        lacking = [name for name in WORKER if not content.get(name)]
        if lacking or content.get("OMEGA_MONGO_URL"):
            problem = f"lacks {', '.join(lacking)}" if lacking else "names both a database and an omegaweb"
            raise ConfigInvalid(f"{path} {problem}", hint="OMEGA_MONGO_URL alone, or " + ", ".join(WORKER))
    return content


def accounts_of(settings: dict[str, Any]) -> Accounts:
    """Return the accounts that the runner's settings mean."""
    if settings.get(WORKER[0]):
        return WebAccounts(*(str(settings[name]) for name in WORKER))
    from omegaml.omega import Omega

    url = settings["OMEGA_MONGO_URL"]
    return OneAccount(Omega(mongo_url=url, bucket=settings.get("OMEGA_BUCKET")), url)


def main(argv: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    parser = argparse.ArgumentParser(prog="omegaml.runtime.runner", description=__doc__)
    parser.add_argument(
        "--config", type=Path, required=True, help="YAML file, mode 0600: the database, or the omegaweb"
    )
    parser.add_argument("--slots", type=int, help="tasks at a time; 1, for all accounts one per processor")
    parser.add_argument("--drain", type=float, default=DRAIN, help="seconds to finish tasks in after SIGTERM")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    try:
        accounts = accounts_of(read_config(options.config))
        # with one slot, one person's training would keep everybody else's models from answering
        usual = max(2, os.cpu_count() or 1) if accounts.are_several else 1
        runner = Runner(accounts, max(1, options.slots or usual))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: runner.stop())
        # signals are handled in the main thread: were it the one that works, it could hold the very lock of
        # an event that `stop` needs, and wait for itself for ever
        with ThreadPoolExecutor(1) as working:
            working.submit(runner.run, options.drain).result()
    except OmegaError as error:
        log.error("%s", error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
