"""omega|ml: store data, models and notebooks with one line, and run them where the platform runs.

    import omegaml as om
    om.datasets.put(df, "sales")
    om.datasets.get("sales", amount__gte=100)

Importing reads no file and opens no connection; the first use of `om.datasets` and its like does.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaml.jobs import Jobs
    from omegaml.omega import Omega
    from omegaml.query import Q as Q
    from omegaml.runtime.logger import Logger
    from omegaml.runtime.model import Runtime
    from omegaml.shared import Datasets, Models
    from omegaml.store import Store

    datasets: Datasets
    models: Models
    jobs: Jobs
    scripts: Store
    runtime: Runtime
    logger: Logger

__version__ = "0.1.0"
_PASSED_ON = frozenset({"datasets", "models", "scripts", "logger", "status", "bucket", "db"})
_default: Omega | None = None


def setup(**settings: Any) -> Omega:
    """Choose the platform that `om.datasets` and its like mean from now on, and return it.

    Args:
        settings: `context`, `bucket`, `mongo_url`, or any setting by name (OMEGA_USERID=...).
    """
    global _default
    from omegaml.config import load
    from omegaml.omega import Omega

    context, bucket, url = (settings.pop(k, None) for k in ("context", "bucket", "mongo_url"))
    _default = Omega(load(context=context, OMEGA_MONGO_URL=url, **settings), bucket)
    return _default


def _current() -> Omega:
    return _default or setup()


def __getattr__(name: str) -> Any:
    if name in _PASSED_ON:
        return getattr(_current(), name)
    if name == "Q":
        from omegaml.query import Q

        return Q
    if name == "Omega":
        from omegaml.omega import Omega

        return Omega
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Platform(ModuleType):
    """Lets `om["bucket"]` work on the module itself, and `om.runtime` and `om.jobs`.

    Importing `omegaml.runtime` or `omegaml.jobs` sets these names; `om.runtime` stays the running one.
    """

    def __getitem__(self, bucket: str) -> Omega:
        return _current()[bucket]

    @property
    def runtime(self) -> Runtime:
        return _current().runtime

    @runtime.setter
    def runtime(self, module: ModuleType) -> None: ...

    @property
    def jobs(self) -> Jobs:
        return _current().jobs

    @jobs.setter
    def jobs(self, module: ModuleType) -> None: ...


sys.modules[__name__].__class__ = _Platform
