"""What runners and workers have in common: they serve accounts, say that they are there, and keep tidy."""

from __future__ import annotations

import logging
import os
import platform
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from omegaml.errors import AuthFailed, Forbidden, OmegaError, TimedOut, Unavailable
from omegaml.metadata import COLLECTION
from omegaml.mongo import translated
from omegaml.runtime import actions, folders
from omegaml.runtime.accounts import FIRST, Account, Accounts
from omegaml.runtime.base import DEFAULT, short
from omegaml.runtime.child import may_give_up_rights
from omegaml.runtime.execution import Execution, warn
from omegaml.runtime.limits import Limits
from omegaml.runtime.scheduler import Scheduler
from omegaml.runtime.slots import Slots
from omegaml.runtime.tasks import BEAT, DEAD_AFTER

LOOK = 0.3
ACCOUNTS = 2.0
FORGOTTEN = 5.0
TIDY = 600.0
COLLECT = 6 * 3600.0
PLANNED = 2.0
MOST_PLANNED = 20.0
LETTERS = 5.0
RECOVERING = 1.0
DRAIN = 25.0
ORPHAN_AFTER = timedelta(hours=24)

log = logging.getLogger("omegaml.runner")


class Service:
    """Claims queued tasks of all its accounts and has them carried out until it is told to stop.

    Those who make one add the way by which tasks come to it that are not looked for: `open` and `close`.
    """

    longest_pause = 0.1
    """Seconds between looks for tasks at most, for up to ten accounts."""

    alive_file: Path | None = None
    """Touched every few seconds while it goes about its work: by its age others see that it is well."""

    def __init__(
        self,
        accounts: Accounts,
        slots: int = 1,
        labels: Sequence[str] = (DEFAULT,),
        limits: Limits | None = None,
    ) -> None:
        self.id = f"{platform.node()}-{os.getpid()}-{uuid4().hex[:6]}"
        self.accounts = accounts
        self._slots = Slots(slots, accounts.are_several, limits)
        self.execution = Execution(self.id, self._slots, labels)
        self._schedulers: dict[Account, Scheduler] = {}
        self._stop = threading.Event()
        self._gone = threading.Event()

    def open(self) -> None:
        """Let tasks come in."""

    def close(self) -> None:
        """Let no more come in."""

    def facts(self) -> dict[str, Any]:
        """What is told of it to whoever says which accounts there are."""
        about = {"id": self.id, "host": platform.node(), "slots": self._slots.count}
        return about | {"running": len(self.execution.in_hand), "labels": self.execution.labels}

    @property
    def is_stopping(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        """Take no more tasks and end."""
        self._stop.set()
        self.execution.wake.set()

    def run(self, drain: float = DRAIN) -> None:
        """Work until `stop`, then wait at most `drain` seconds for the tasks in hand."""
        work = (self._beat, self._keep_tidy, self._keep_accounts, self._keep_schedules, self._post_letters)
        threads = [threading.Thread(target=one, daemon=True) for one in work]
        try:
            for account in self.accounts.all():
                self._slots.start(account)
                self.execution.patiently(partial(self._prepare, account))
            self.open()
            with ThreadPoolExecutor(self._slots.count) as pool:
                for thread in threads:
                    thread.start()
                log.info("runner %s takes tasks", self.id)
                if self.accounts.are_several and os.getuid() == 0 and not may_give_up_rights():
                    log.warning("children keep the rights of root: others cannot read what is installed here")
                self._serve(pool)
                self.close()
                self.execution.drain(drain)
        finally:
            self._gone.set()
            self.close()
            self._slots.close()
            self.execution.logs.close()
            self._leave()
        log.info("runner %s stopped", self.id)

    def soon(self, account: Account) -> None:
        """Look at once for a task of the account."""
        account.soon()
        self.execution.wake.set()

    # --- tasks that are looked for

    def _serve(self, pool: ThreadPoolExecutor) -> None:
        looked, checked = 0.0, time.monotonic()
        while not self._stop.is_set():
            self.execution.wake.clear()
            now, accounts = time.monotonic(), [a for a in self.accounts.all() if a.is_prepared]
            if self.execution.in_hand and now - looked > LOOK:
                looked = now
                for account in {account for account, _ in dict(self.execution.in_hand).values()}:
                    self._try(account, partial(self.execution.stop_cancelled, account))
            if now - checked > FORGOTTEN * max(1.0, len(accounts) / 20):
                checked = now
                for account in accounts:
                    # of which the outcome could not be written, or whose claim was answered too late
                    self._try(account, partial(self._give_back, account, self.execution.ids_of(account)))
            claim = partial(self._claim, pool, of=len(accounts))
            if not any([self._try(account, partial(claim, account)) for account in accounts]):
                self.execution.wake.wait(FIRST)

    def _try(self, account: Account, do: Callable[[], Any]) -> Any:
        """Return what `do` returns; False where it fails, or is not to be tried as the service is to stop.

        Whoever may write to a database may have written anything that is read of it: others must not wait.
        """
        if self._stop.is_set():
            return False
        try:
            return do()
        except (AuthFailed, Forbidden):
            account.is_refused(time.monotonic())
        except Exception as error:
            if account.has_failed(time.monotonic(), isinstance(error, Unavailable | TimedOut)):
                warn(error, f"{account}: ")
        return False

    def _claim(self, pool: ThreadPoolExecutor, account: Account, of: int) -> bool:
        """Take the account's next task, if it is time to look and a child is free."""
        now = time.monotonic()
        if not account.is_due(now):
            return False
        task = self.execution.claim(account)
        account.is_well()
        if task is None:
            account.later(now, of, self.longest_pause)
            return False
        account.soon()
        pool.submit(self.execution.carry_out, account, task)
        return True

    def _give_back(self, account: Account, besides: Sequence[str] = ()) -> None:
        """Give back what is claimed and not in hand."""
        for id in account.tasks.give_back(self.id, besides):
            log.warning("task %s was not finished", short(id))

    # --- who is served

    def _prepare(self, account: Account) -> None:
        account.tasks.prepare()
        account.is_prepared = True
        self._beat_for(account)
        log.info("runner %s serves %s", self.id, account)

    def _keep_accounts(self) -> None:
        """See now and then who is to be served."""
        while not self._gone.is_set():
            began = time.monotonic()
            try:
                for account in self.accounts.refresh(self.facts()):
                    self._slots.drop(account)
                    account.om.close()
            except Exception as error:
                warn(error)
            fresh = [one for one in self.accounts.all() if not one.is_prepared and one.is_due(began)]
            for account in reversed(fresh):  # the newest first
                if self._gone.is_set() or time.monotonic() - began > ACCOUNTS:
                    break  # the others come next time: it has to say that it is there
                try:
                    self._prepare(account)
                except Exception as error:
                    if account.is_refused(time.monotonic()):
                        warn(error, f"{account}: ")
                    if isinstance(error, Unavailable | TimedOut):
                        break  # it is one server: the others would wait for it as long
            self._gone.wait(max(0.0, ACCOUNTS - (time.monotonic() - began)))

    def _leave(self) -> None:
        for account in self.accounts.all():
            try:
                self._give_back(account)
                account.tasks.leave(self.id)
            except Exception as error:
                warn(error, f"{account}: ")
                if isinstance(error, Unavailable):
                    break  # it is one server: the others would wait for it as long
        with suppress(OmegaError):
            self.accounts.leave(self.id)

    def _beat(self) -> None:
        # after a pause of the database or of this machine all look dead until they were heard of again
        blind_until = 0.0
        left: list[Account] = []
        while not self._gone.is_set():
            if self.alive_file is not None:
                with suppress(OSError):
                    self.alive_file.touch()
            began, heard = time.monotonic(), list[Account]()
            for account in self.accounts.all():
                try:
                    self._beat_for(account)
                    heard.append(account)
                except (AuthFailed, Forbidden):
                    account.is_refused(time.monotonic())
                except Exception as error:
                    is_away = isinstance(error, Unavailable | TimedOut)
                    if account.has_failed(time.monotonic(), is_away):
                        warn(error, f"{account}: ")
                    if is_away:
                        blind_until = time.monotonic() + DEAD_AFTER
                        break  # it is one server: the others would wait for it as long
            if began > blind_until:
                known = set(heard)
                left = self._recover([one for one in left if one in known] or heard)
            slept = time.time()
            self._gone.wait(BEAT)
            if time.time() - slept > BEAT + DEAD_AFTER / 2:
                blind_until = time.monotonic() + DEAD_AFTER

    def _recover(self, accounts: Sequence[Account]) -> list[Account]:
        """Give back what the dead have left; return the accounts that there was no time for.

        What a database holds must not keep this runner from its next beat: it would look dead to all others.
        """
        end = time.monotonic() + RECOVERING
        for number, account in enumerate(accounts):
            if time.monotonic() > end or self._gone.is_set():
                return list(accounts[number:])
            try:
                for id in account.tasks.recover():
                    log.warning("task %s was left by a runner that died", short(id))
            except (AuthFailed, Forbidden):
                account.is_refused(time.monotonic())
            except Exception as error:
                if account.has_failed(time.monotonic(), isinstance(error, Unavailable)):
                    warn(error, f"{account}: ")
        return []

    def _beat_for(self, account: Account) -> None:
        about = {"host": platform.node(), "pid": os.getpid(), "slots": self._slots.count}
        about["labels"] = self.execution.labels
        account.tasks.beat(self.id, **about, running=len(self.execution.in_hand))

    # --- what is due by itself

    def _keep_schedules(self) -> None:
        """Have jobs run when they are due."""
        looks: dict[Account, float] = {}
        while not self._stop.is_set() and not self._gone.is_set():
            accounts = [account for account in self.accounts.all() if account.is_prepared]
            known = self._schedulers
            self._schedulers = {one: known.get(one) or Scheduler(one, self.soon) for one in accounts}
            pause = min(PLANNED * max(1.0, len(accounts) / 20), MOST_PLANNED)
            now = time.monotonic()
            for account in [one for one in accounts if looks.get(one, 0.0) <= now]:
                left: float | None = None
                try:
                    left = self._schedulers[account].look()
                except (AuthFailed, Forbidden):
                    account.is_refused(now)
                except Exception as error:
                    warn(error, f"{account}: ")
                looks[account] = time.monotonic() + max(0.01, min(pause, left if left is not None else pause))
            looks = {account: looks[account] for account in accounts if account in looks}
            self._gone.wait(max(0.01, min([*looks.values(), now + 1.0]) - time.monotonic()))

    def _post_letters(self) -> None:
        """Have letters sent, in a thread of its own: omegaweb may take its time."""
        while not self._gone.wait(LETTERS):
            for account, scheduler in self._schedulers.items():
                try:
                    scheduler.post(self.accounts.mail)
                except Exception as error:
                    warn(error, f"{account}: ")

    # --- what others have left

    def _keep_tidy(self) -> None:
        collected = time.monotonic()
        while not self._gone.is_set():
            folders.remove_of_the_dead()
            is_due = time.monotonic() - collected > COLLECT
            for account in self.accounts.all():
                try:
                    _tidy(account, collect=is_due)
                except (AuthFailed, Forbidden):
                    pass  # it is disabled, or its password was changed
                except Exception as error:
                    warn(error, f"{account}: ")
            collected = time.monotonic() if is_due else collected
            self._gone.wait(TIDY)


def _tidy(account: Account, collect: bool) -> None:
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
