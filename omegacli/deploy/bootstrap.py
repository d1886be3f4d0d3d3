"""What bringing up a cluster has in common, wherever it runs: its lock, its secrets, its client's context."""

from __future__ import annotations

import os
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from omegacli.deploy import checks, secrets
from omegacli.deploy.base import locked, remove
from omegacli.deploy.checks import Check
from omegacli.deploy.spec import ClusterSpec
from omegacli.deploy.steps import Step
from omegaml import config
from omegaml.config import CLUSTER
from omegaml.errors import Forbidden, PortInUse, PreflightFailed, Unavailable

if TYPE_CHECKING:
    from omegaml.omega import Omega


class Bootstrap(ABC):
    """One cluster. Use it in a `with` block: leaving it gives the lock back.

    Args:
        command: what the lock tells others about its holder.
        config_file: where the client's context is written; the usual config.yml if not given.
        timeout: seconds to wait for services.
        warn: called with a sentence when something unusual was met and mended.
        tell: called with a line of what a step that takes long is doing.
    """

    backup: Path | None = None
    """Where `destroy` has put a copy."""

    is_first = False
    """Whether this run made the account with which people sign in."""

    def __init__(
        self,
        cluster: ClusterSpec,
        *,
        command: str = "",
        config_file: Path | None = None,
        timeout: float = 60.0,
        warn: Callable[[str], None] = lambda message: None,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.spec = cluster
        self.layout = cluster.layout
        self.command = command
        self.config = config.ConfigFile(config_file)
        self.timeout = timeout
        self.warn = warn
        self.tell = tell
        self._held = ExitStack()
        self._holds = False
        places = [self.layout.state, *self.layout.state.parents]
        self._missing = [place for place in places if not os.path.lexists(place)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            if self._holds and self._missing and not self.layout.secrets.exists():
                # refused before anything was made: the lock's folder, and those above it, are all there is
                self._remove_lock()
        finally:
            self._held.close()

    # what is to be done

    @abstractmethod
    def up(self) -> list[Step]:
        """From nothing, or from any state, to a running platform with an account and a context."""

    def start(self) -> list[Step]:
        """Start again what `stop` or `down` stopped. Raises: NotFound if there is no cluster."""
        self.known()
        return [step for step in self.up() if step.id != "smoke"]

    def stop(self) -> list[Step]:
        """Stop all services; data, secrets and configuration stay."""
        self.known()
        return [self._lock(), Step("stop", "stop all services", self._stop)]

    @abstractmethod
    def known(self) -> None:
        """Raises: NotFound if no cluster was ever brought up in this root; Forbidden if it is not ours."""

    @property
    def backups(self) -> Path:
        return (config.home() / "backups").absolute()

    @property
    def web_password(self) -> str:
        """With which `admin` signs in on the pages, unless it was changed since."""
        return secrets.load(self.layout).web_admin_password

    def _must_be_ours(self) -> None:
        """Raises: Forbidden where the cluster is somebody else's."""
        stranger = checks.owner(self.layout)
        if stranger and not os.access(self.layout.secrets, os.R_OK):
            raise Forbidden(
                f"the cluster in {self.layout.root} belongs to user {stranger}",
                hint=f"be {stranger}, or choose another with --root",
            )

    # steps

    @abstractmethod
    def _preflight(self) -> bool:
        """Raise PreflightFailed with every problem of this machine."""

    @abstractmethod
    def _stop(self) -> bool:
        """Stop all services; whether any ran."""

    def _begin(self) -> list[Step]:
        return [
            self._lock(),
            Step("preflight", "check this machine; changes nothing", self._preflight, readonly=True),
        ]

    def _lock(self) -> Step:
        return Step("lock", "keep others from changing this cluster meanwhile", self._take_lock, always=True)

    def _take_lock(self) -> bool:
        problem = checks.check_root(self.spec)
        if problem.status == "fail":  # the lock is the first thing written
            raise PreflightFailed(problem.message, hint=problem.hint)
        stale = self._held.enter_context(locked(self.layout, self.command))
        self._holds = True
        if stale:
            self.warn(
                f"took over the lock of process {stale.get('pid')} ({stale.get('command')}), which is gone"
            )
        return False

    def _remove_lock(self) -> None:
        """Remove what was made for the lock, while it is held: whoever waits for it starts anew."""
        with suppress(OSError):
            shutil.rmtree(self.layout.state)
            for place in self._missing[1:]:
                place.rmdir()

    def _must_pass(self, found: list[Check]) -> None:
        """Raise PreflightFailed, or PortInUse where that is all, with every problem; warn of the rest."""
        for check in found:
            if check.status == "warn":
                self.warn(check.message)
        failed = [check for check in found if check.status == "fail"]
        if failed:
            kind = PortInUse if [check.id for check in failed] == ["local.port"] else PreflightFailed
            raise kind(
                "; ".join(check.message for check in failed),
                hint="; ".join(check.hint for check in failed if check.hint) or None,
                problems=[check._asdict() for check in failed],
            )

    def _secrets(self) -> bool:
        return secrets.ensure(self.layout)

    def _remove_context(self) -> bool:
        context = self.config.contexts().get(self.spec.name)
        if not context or context.get(CLUSTER) != str(self.layout.root):
            return False
        self.config.remove_context(self.spec.name)
        return True

    def _remove_state(self, volumes: bool) -> bool:
        removed = remove(self.layout.logs)
        self._missing = [self.layout.state, *([self.layout.root] if volumes else [])]
        self._remove_lock()
        return removed

    def _store_and_read(self, om: Omega) -> None:
        """Raise Unavailable unless what is stored comes back."""
        name, value = ".omega/smoke", {"since": time.time_ns()}
        om.datasets.put(value, name)
        try:
            if om.datasets.get(name) != value:
                raise Unavailable("what was stored did not come back", hint="omegacli cluster logs mongodb")
        finally:
            om.datasets.drop(name, missing_ok=True)
