"""The children of a runner: so many tasks at a time, each in a process that knows one account only."""

from __future__ import annotations

import logging
import subprocess
import threading
from contextlib import suppress

from omegaml.runtime.accounts import Account
from omegaml.runtime.child import Child, kill_all, spawn
from omegaml.runtime.limits import Limits

log = logging.getLogger("omegaml.runner")


class Slots:
    """Gives out children.

    A child that served an account before has its models loaded, so it is taken again for that one; it never
    serves another: it is ended and a new one takes its slot. As that happens often where there are more
    accounts than slots, one process that has loaded everything but an account waits to become a child.

    Args:
        shared: they are for the accounts of several people.
        limits: of each task.
    """

    def __init__(self, count: int, shared: bool, limits: Limits | None = None) -> None:
        self.count = count
        self._limits = limits
        self._shared = shared
        self._changed = threading.Condition()
        self._free = count
        self._idle: list[Child] = []  # the one used last is the last
        self._busy: list[Child] = []
        self._spare: subprocess.Popen[bytes] | None = spawn(is_closed=True, of=self.count) if shared else None

    def start(self, account: Account) -> None:
        """Start all children for one account, so that its first tasks need not wait for them."""
        children = [self.child(account) for _ in range(self.count) if self.reserve()]
        for child in children:
            child.start()
            self.give(child)

    def reserve(self, timeout: float | None = 0.0) -> bool:
        """Keep a slot for a task, to be followed by `child` or `release`; False if none gets free in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._free, timeout):
                return False
            self._free -= 1
            return True

    def release(self) -> None:
        """Give a reserved slot back unused."""
        with self._changed:
            self._free += 1
            self._changed.notify()

    def child(self, account: Account) -> Child:
        """Return a child for the account, in the slot that is reserved; if it raises, that is free again."""
        try:
            child, old = self._take(account)
        except BaseException:
            self.release()
            raise
        if old is not None:
            try:
                old.close()
            except Exception as error:
                log.error("a child could not be ended: %s", error, exc_info=error)
        return child

    def _take(self, account: Account) -> tuple[Child, Child | None]:
        """Return a child and one that is to be ended for it."""
        old: Child | None = None
        with self._changed:
            child = next((c for c in reversed(self._idle) if c.mongo_url == account.url), None)
            if child is not None:
                self._idle.remove(child)
            else:
                child = Child(
                    account.url, account.om.bucket, self._shared, self._spare, self._limits, self.count
                )
                if len(self._idle) + len(self._busy) >= self.count:
                    old = self._idle.pop(0)
                self._spare = None
                if self._shared:
                    # where no process is to be had now the child says so, when it is started
                    with suppress(OSError):
                        self._spare = spawn(is_closed=True, of=self.count)
            self._busy.append(child)
        return child, old

    def give(self, child: Child) -> None:
        """Take a child back when its task has ended, and free its slot."""
        with self._changed:
            self._busy.remove(child)
            self._idle.append(child)
            self._free += 1
            self._changed.notify()

    def drop(self, account: Account) -> None:
        """End what serves an account: it is disabled or deleted, or its password was changed."""
        with self._changed:
            mine = [child for child in self._idle if child.mongo_url == account.url]
            self._idle = [child for child in self._idle if child not in mine]
            busy = [child for child in self._busy if child.mongo_url == account.url]
        for child in mine:
            child.close()
        for child in busy:
            child.kill()

    def kill(self) -> None:
        """End the children that have a task in hand."""
        with self._changed:
            busy = list(self._busy)
        for child in busy:
            child.kill()

    def close(self) -> None:
        """End all."""
        with self._changed:
            everyone, spare, self._spare = [*self._idle, *self._busy], self._spare, None
        for child in everyone:
            child.close()
        if spare is not None:
            kill_all(spare.pid)
            spare.wait()
