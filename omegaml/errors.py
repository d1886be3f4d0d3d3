"""Every error that omega|ml raises on purpose.

    OmegaError
    ├── InvalidInput          2  400   the caller's argument, file or name cannot be used
    │   ├── NotStorable       2  400   a value that no format keeps exactly, so it is refused
    │   ├── Mismatch          2  422   data that does not fit the model or the dataset it is meant for
    │   └── Untrusted         2  400   a model of unknown origin that is not loaded, as it could run code
    ├── NotFound              4  404
    ├── Conflict              5  409   the name is taken, or somebody else changed the object meanwhile
    │   ├── Busy              5  409   many writers change the object at once
    │   └── Stale             5  409   the object was replaced while it was read
    ├── ConfirmationNeeded    3  400
    ├── AuthFailed            6  401
    ├── Forbidden             6  403
    ├── Unavailable           7  503   a server, worker or file system that should answer does not
    │   └── StorageFull       7  503
    ├── TimedOut              8  504
    ├── PreflightFailed       9  409   nothing was changed
    │   └── PortInUse         9  409
    ├── Partial              10  500   some of several things were done
    ├── ConfigInvalid         1  500   a configuration file that cannot be read
    ├── FormatTooNew          1  500   stored by a newer version than this one
    ├── Corrupt               1  500   stored bytes that do not match their digest or manifest
    └── TaskFailed            1  500   user code raised; carries its traceback

The first number is the command line's exit code, the second the REST status. Drivers' own errors are
translated where the driver is called (`omegaml.mongo`), and shown once, in `omegacli.main`.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar


class OmegaError(Exception):
    """Something went wrong that has one clear sentence and, where there is one, a next step."""

    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500
    retry: ClassVar[bool] = False

    def __init__(self, message: str, hint: str | None = None, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details

    @property
    def code(self) -> str:
        """The error's name in JSON: `PortInUse` is `PORT_IN_USE`."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).upper()

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message} ({self.hint})"


class InvalidInput(OmegaError):
    """An argument, file, name or body that cannot be used as it is."""

    exit_code = 2
    http_status = 400


class NotStorable(InvalidInput):
    """A value that no format would give back equal; it is refused rather than changed."""


class Mismatch(InvalidInput):
    """Data that does not fit the model or the dataset it is meant for."""

    http_status = 422


class Untrusted(InvalidInput):
    """A model of unknown origin that could run its maker's code if it were loaded; it is not."""


class NotFound(OmegaError):
    """There is no object of that name."""

    exit_code = 4
    http_status = 404


class Conflict(OmegaError):
    """The name is taken, or the object was changed by somebody else meanwhile."""

    exit_code = 5
    http_status = 409


class Busy(Conflict):
    """Many writers change the object at once, and this one did not get its turn; nothing was stored."""

    retry = True


class Stale(Conflict):
    """The object was replaced or dropped while it was read, and its data is gone."""

    retry = True


class ConfirmationNeeded(OmegaError):
    """Something that destroys was asked for without a confirmation."""

    exit_code = 3
    http_status = 400


class AuthFailed(OmegaError):
    """The server does not know this user or password."""

    exit_code = 6
    http_status = 401


class Forbidden(OmegaError):
    """The user is known and may not do this."""

    exit_code = 6
    http_status = 403


class Unavailable(OmegaError):
    """A server, worker or file system that should answer does not."""

    exit_code = 7
    http_status = 503
    retry = True


class StorageFull(Unavailable):
    """The disk of the database, or of this machine, is full."""

    retry = False


class TimedOut(OmegaError):
    """The answer did not come in time; the work may still be going on."""

    exit_code = 8
    http_status = 504
    retry = True


class PreflightFailed(OmegaError):
    """A check before the work found problems; nothing was changed."""

    exit_code = 9
    http_status = 409


class PortInUse(PreflightFailed):
    """Another program listens on a port that the platform needs."""


class Partial(OmegaError):
    """Some of several things were done and some were not; `details` lists both."""

    exit_code = 10


class ConfigInvalid(OmegaError):
    """A configuration file that cannot be read; the message names the file and line."""


class FormatTooNew(OmegaError):
    """The object was stored by a newer version of omega|ml than this one."""


class Corrupt(OmegaError):
    """Stored bytes do not match their digest or manifest."""


class TaskFailed(OmegaError):
    """User code raised; `details["traceback"]` is its traceback as text."""
