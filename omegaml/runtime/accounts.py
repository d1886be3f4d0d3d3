"""Whose tasks a runner carries out: those of one database, or of all accounts of an omegaweb."""

from __future__ import annotations

import json
import logging
import threading
import time
from typing import Any, Protocol

from omegaml import config
from omegaml.errors import NotFound, OmegaError
from omegaml.omega import Omega
from omegaml.runtime.tasks import Tasks

ASKING = 1.0
"""Seconds that a look at the accounts may ask for URLs: a runner that asks for longer would look dead."""

#: Seconds that an account waits for its next turn at first, and at most, when it could not be served.
PAUSE, LONGEST_PAUSE = 1.0, 60.0

#: Seconds between two lines in the log of what keeps an account from being served.
TELL = 60.0

#: Seconds to the next look for tasks after one was found.
FIRST = 0.02

#: Options of a connection that is one of many: with fewer threads and sockets, and less talk.
QUIETLY = "serverMonitoringMode=poll&heartbeatFrequencyMS=30000"

log = logging.getLogger("omegaml.runner")


class Account:
    """One account's database, its queue, and when to look there next.

    Args:
        version: of the URL, as omegaweb tells it.
    """

    def __init__(self, om: Omega, url: str, userid: str = "", version: str = "") -> None:
        self.om = om
        self.url = url
        self.userid = userid
        self.tasks = Tasks(om.db, url)
        self.version = version
        self.is_prepared = False
        self._is_reported = False
        self._due = 0.0
        self._pause = FIRST
        self._trouble = PAUSE
        self._told = -TELL

    def __str__(self) -> str:
        return f"account {self.userid}" if self.userid else f"database {self.om.db.name}"

    def is_due(self, now: float) -> bool:
        return now >= self._due

    def soon(self) -> None:
        """Look there at once: there is a task, or there was."""
        self._due, self._pause = 0.0, FIRST

    def later(self, now: float, of: int, longest: float) -> None:
        """Look there again after a while that grows to `longest`; with many accounts it grows further."""
        self._due = now + self._pause
        self._pause = min(self._pause * 1.2, longest * max(1.0, of / 10))

    def is_well(self) -> None:
        """It was served: what kept it from that is over."""
        self._trouble = PAUSE

    def has_failed(self, now: float, is_away: bool) -> bool:
        """It cannot be served now: wait, longer each time unless it `is_away`; True if that is to be told."""
        self._due = now + self._trouble
        self._trouble = PAUSE if is_away else min(self._trouble * 2, LONGEST_PAUSE)
        is_to_be_told = now - self._told >= TELL
        self._told = now if is_to_be_told else self._told
        return is_to_be_told

    def is_refused(self, now: float) -> bool:
        """The database does not take the login: ask for the URL again, and wait; True for the first time."""
        self.version = ""
        self._due = now + 5.0
        is_first, self._is_reported = not self._is_reported, True
        return is_first


class Accounts(Protocol):
    """The accounts that a runner serves now.

    Attributes:
        are_several: they may be those of several people.
    """

    are_several: bool

    def all(self) -> list[Account]:
        """Return them."""

    def find(self, userid: str) -> Account:
        """Return one. Raises NotFound."""

    def refresh(self, facts: dict[str, Any]) -> list[Account]:
        """See who is to be served, telling `facts` of the runner; return those who no longer are."""

    def mail(self, account: Account, notice: dict[str, Any]) -> bool:
        """Have a notice of a job sent to the account's address; False where that cannot be."""

    def leave(self, id: str) -> None:
        """Tell that the runner of that id has ended. Raises OmegaError."""


class OneAccount:
    """The database of the settings.

    Args:
        userid: whose tasks those of the broker are; nobody's where not given.
    """

    are_several = False

    def __init__(self, om: Omega, url: str, userid: str = "") -> None:
        self._account = Account(om, url)
        self._userid = userid

    def all(self) -> list[Account]:
        return [self._account]

    def find(self, userid: str) -> Account:
        if userid != self._userid:
            raise NotFound(f"this runner serves {self._account} and nobody else")
        return self._account

    def refresh(self, facts: dict[str, Any]) -> list[Account]:
        return []

    def mail(self, account: Account, notice: dict[str, Any]) -> bool:
        return False

    def leave(self, id: str) -> None:
        return None


class WebAccounts:
    """All enabled accounts of an omegaweb; while that is away, those that it named last."""

    are_several = True

    def __init__(self, url: str, userid: str, apikey: str) -> None:
        self._login = (url, userid, apikey)
        self._known: dict[str, Account] = {}
        self._lock = threading.Lock()
        self._gone: list[Account] = []
        self._asked: dict[str, float] = {}
        self._is_away = False

    def all(self) -> list[Account]:
        with self._lock:
            return list(self._known.values())

    def find(self, userid: str) -> Account:
        """Return an account, also one that was made just now. Raises NotFound, Unavailable."""
        with self._lock:
            found = self._known.get(userid)
        return found or self._fetch(userid)

    def refresh(self, facts: dict[str, Any]) -> list[Account]:
        try:
            # saying that it is there, and where, it is told who is to be served
            known = self._ask("POST", "worker/", facts)["objects"]
            versions = {str(one["userid"]): str(one["version"]) for one in known}
        except OmegaError as error:
            if not self._is_away:
                log.warning("%s; going on with %d accounts", error, len(self._known))
            self._is_away = True
            return []
        if self._is_away:
            log.info("omegaweb is there again")
        self._is_away = False
        for userid in set(self._known) - set(versions):
            log.info("account %s is no longer served", userid)
            with self._lock:
                self._gone.append(self._known.pop(userid))
        self._ask_for(versions)
        with self._lock:
            gone, self._gone = self._gone, []
        return gone

    def mail(self, account: Account, notice: dict[str, Any]) -> bool:
        answer = self._ask("POST", "worker/notice/", {"userid": account.userid, **notice})
        return bool(answer["sent"])

    def _ask_for(self, versions: dict[str, str]) -> None:
        """Ask for the URLs that are new, for ASKING seconds; the next look goes on with the others."""
        end = time.monotonic() + ASKING
        known = {account.userid: account.version for account in self.all()}
        stale = [userid for userid, version in versions.items() if known.get(userid) != version]
        # the newest first: somebody may sit in front of it
        self._asked = {userid: self._asked.get(userid, 0.0) for userid in reversed(stale)}
        for userid in sorted(self._asked, key=lambda one: self._asked[one]):
            self._asked[userid] = time.monotonic()
            try:
                self._fetch(userid, versions[userid])
            except OmegaError as error:
                log.warning("account %s: %s", userid, error)
            if time.monotonic() > end:
                break

    def _fetch(self, userid: str, version: str = "") -> Account:
        answer = self._ask("GET", f"config/?user={userid}&view=1")
        url = str(answer["objects"][0]["data"]["OMEGA_MONGO_URL"])
        with self._lock:
            known = self._known.get(userid)
            if known is not None and known.url == url:
                known.version = version
                return known
            if known is not None:  # its password was changed
                self._gone.append(known)
            om = Omega(config.defaults(), mongo_url=f"{url}&{QUIETLY}")
            self._known[userid] = Account(om, url, userid, version)
            return self._known[userid]

    def leave(self, id: str) -> None:
        self._ask("DELETE", f"worker/{id}/")

    def _ask(self, method: str, route: str, body: Any = None) -> Any:
        """Return what omegaweb answers. Raises OmegaError."""
        from omegaml import rest  # takes long to import, and a runner of one database needs none of it

        headers = {"Content-Type": "application/json"}
        data = json.dumps(body).encode() if body is not None else None
        answer = rest.send(*self._login, method, f"/api/v1/{route}", body=data, headers=headers)
        return answer.json() if answer.content else None
