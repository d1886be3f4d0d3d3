"""The children of a runner: so many tasks at a time, each in a process that knows one account only."""

from __future__ import annotations

import threading

from omegaml.runtime.accounts import Account
from omegaml.runtime.child import Child


class Slots:
    """Gives out children.

    A child that served an account before has its models loaded, so it is taken again for that one; it never
    serves another: it is ended and a new one takes its slot.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._changed = threading.Condition()
        self._unused = count
        self._idle: list[Child] = []  # the one used last is the last
        self._busy: list[Child] = []

    def start(self, account: Account) -> None:
        """Start all children for one account, so that its first tasks need not wait for them."""
        taken = [child for _ in range(self.count) if (child := self.take(account)) is not None]
        for child in taken:
            child.start()
            self.give(child)

    def has_free(self) -> bool:
        with self._changed:
            return bool(self._unused or self._idle)

    def take(self, account: Account, timeout: float | None = 0.0) -> Child | None:
        """Return a child for that account; None if none gets free in `timeout` seconds."""
        old: Child | None = None
        with self._changed:
            if not self._changed.wait_for(lambda: self._unused or self._idle, timeout):
                return None
            child = next((c for c in reversed(self._idle) if c.mongo_url == account.url), None)
            if child is not None:
                self._idle.remove(child)
            else:
                if self._unused:
                    self._unused -= 1
                else:
                    old = self._idle.pop(0)
                child = Child(account.url, account.om.bucket, closed=bool(account.userid))
            self._busy.append(child)
        if old is not None:
            old.close()
        return child

    def give(self, child: Child) -> None:
        """Take a child back when its task has ended."""
        with self._changed:
            self._busy.remove(child)
            self._idle.append(child)
            self._changed.notify()

    def drop(self, account: Account) -> None:
        """End what serves an account: it is disabled or deleted, or its password was changed."""
        with self._changed:
            mine = [child for child in self._idle if child.mongo_url == account.url]
            self._idle = [child for child in self._idle if child not in mine]
            self._unused += len(mine)
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
            everyone = [*self._idle, *self._busy]
        for child in everyone:
            child.close()
