"""Letters to people: whether this platform sends any, and sending one while nobody waits for it."""

from __future__ import annotations

import logging
import smtplib
import time
from threading import Lock, Thread

from django.conf import settings
from django.core.mail import EmailMessage, get_connection

from omegaml.errors import Unavailable

KEEP, LONGEST = 30.0, 4.0

_log = logging.getLogger(__name__)
_asking = Lock()
_asked = float("-inf")
_takes = True


def is_sent() -> bool:
    """Whether a mail server is configured."""
    return bool(settings.CONFIGURATION.mail_host)


def check() -> None:
    """Raises Unavailable if the mail server did not take us when it was asked, in the last KEEP seconds.

    Anybody has this done. So one caller at a time asks the server, for LONGEST seconds, and the others take
    what was found last: no more than one thread waits for a server that hangs.
    """
    global _asked, _takes
    if time.monotonic() - _asked > KEEP and _asking.acquire(blocking=False):
        _asked = time.monotonic()
        ask = Thread(target=_ask, name="mail-check", daemon=True)
        ask.start()
        ask.join(LONGEST)
        if ask.is_alive():
            _takes = False
    if not _takes:
        raise Unavailable(
            "the mail server does not answer, so that no mail can be sent",
            hint="try again in a while, or ask an administrator",
        )


def _ask() -> None:
    """Open and close a connection, and keep whether that went well."""
    global _takes
    takes = False
    try:
        connection = get_connection()
        connection.open()
        connection.close()
        takes = True
    except (OSError, smtplib.SMTPException) as error:
        _log.warning("the mail server takes no mail: %s: %s", type(error).__name__, error)
    finally:
        _takes = takes
        _asking.release()


def post(letter: EmailMessage) -> None:
    """Send a letter while the caller goes on: how long it takes would tell whether there was one to send."""
    Thread(target=_send, args=(letter,), name="mail").start()


def _send(letter: EmailMessage) -> None:
    try:
        letter.send()
    except (OSError, smtplib.SMTPException) as error:
        _log.warning("a letter was not taken: %s: %s", type(error).__name__, error)
