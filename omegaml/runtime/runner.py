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
import secrets
import signal
import stat
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from omegaml.errors import ConfigInvalid, OmegaError, Unavailable
from omegaml.runtime.accounts import Accounts, OneAccount, WebAccounts
from omegaml.runtime.base import DEFAULT, Task
from omegaml.runtime.direct import Door
from omegaml.runtime.limits import Limits, add_options, from_options
from omegaml.runtime.messages import check_label
from omegaml.runtime.service import DRAIN, Service

WORKER = ("OMEGA_RESTAPI_URL", "OMEGA_USERID", "OMEGA_APIKEY")

log = logging.getLogger("omegaml.runner")


class Runner(Service):
    """A service that tasks are also taken to over a socket, by callers on the same machine."""

    def __init__(
        self,
        accounts: Accounts,
        slots: int = 1,
        labels: Sequence[str] = (DEFAULT,),
        limits: Limits | None = None,
    ) -> None:
        super().__init__(accounts, slots, labels, limits)
        self._token = secrets.token_urlsafe(32)
        self._door = Door(self._token, self._asked)

    def open(self) -> None:
        self._door.open()

    def close(self) -> None:
        self._door.close()

    def facts(self) -> dict[str, Any]:
        """With where and by which token it takes tasks whose callers wait."""
        return super().facts() | {"address": self._door.address, "token": self._token}

    def _asked(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer a direct request (`omegaml.runtime.direct`)."""
        if self.is_stopping:
            raise Unavailable("the runner is being stopped", hint="try again")
        account = self.accounts.find(request["userid"])
        if "task" not in request:
            self.soon(account)
            return {}
        return self.execution.ask(account, Task.from_json(request["task"]))


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
    om = Omega(mongo_url=url, bucket=settings.get("OMEGA_BUCKET"))
    return OneAccount(om, url, str(settings.get("OMEGA_USERID") or ""))


def usual_slots(accounts: Accounts) -> int:
    """How many tasks at a time where nobody says: with one slot, one person's training would keep everybody
    else's models from answering.
    """
    return max(2, os.cpu_count() or 1) if accounts.are_several else 1


def main(argv: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    parser = argparse.ArgumentParser(prog="omegaml.runtime.runner", description=__doc__)
    parser.add_argument(
        "--config", type=Path, required=True, help="YAML file, mode 0600: the database, or the omegaweb"
    )
    parser.add_argument("--slots", type=int, help="tasks at a time; 1, for all accounts one per processor")
    parser.add_argument("--label", action="append", help="of the tasks it takes; default")
    parser.add_argument("--drain", type=float, default=DRAIN, help="seconds to finish tasks in after SIGTERM")
    add_options(parser)
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    try:
        accounts = accounts_of(read_config(options.config))
        runner = Runner(
            accounts,
            max(1, options.slots or usual_slots(accounts)),
            [check_label(label) for label in options.label or (DEFAULT,)],
            from_options(options),
        )
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
