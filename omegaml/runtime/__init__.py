"""Where models are trained and asked: `om.runtime.model("m").fit(...)`.

A runtime is anything with `submit(Task) -> Promise` (`omegaml.runtime.base`). All of them carry the task to
the one function `omegaml.runtime.actions.run`. Which one is used follows from the setting `OMEGA_RUNTIME`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from omegaml.errors import InvalidInput
from omegaml.runtime.base import Promise, Runtime, Task

if TYPE_CHECKING:
    from omegaml.omega import Omega
    from omegaml.runtime.model import Runtime as Facade

__all__ = ["Promise", "Runtime", "Task", "connect", "facade"]

RUNTIMES = {
    "local": "omegaml.runtime.local:LocalRuntime",
    "celery": "omegaml.runtime.celery:CeleryRuntime",
    "pool": "omegaml.runtime.pool:PoolRuntime",
}


def connect(om: Omega, name: str = "local") -> Runtime:
    """Return the runtime called `name` for this database. Raises InvalidInput if there is none."""
    target = RUNTIMES.get(name)
    if target is None:
        from importlib.metadata import entry_points

        for point in entry_points(group="omegaml.runtimes", name=name):
            loaded: Runtime = point.load()(om)
            return loaded
        raise InvalidInput(
            f"there is no runtime called {name!r}", hint=f"set OMEGA_RUNTIME to {' or '.join(RUNTIMES)}"
        )
    module, _, attribute = target.partition(":")
    made: Any = getattr(import_module(module), attribute)
    runtime: Runtime = made(om)
    return runtime


def facade(om: Omega) -> Facade:
    """Return what `om.runtime` is: models to train and ask, task ids, the runners' state."""
    from omegaml.runtime.model import Runtime as Facade

    return Facade(om)
