"""Letters to people: whether this platform sends any, and sending one while nobody waits for it."""

from __future__ import annotations

import logging
import smtplib
from threading import Thread

from django.conf import settings
from django.core.mail import EmailMessage, get_connection

from omegaml.errors import Unavailable

_log = logging.getLogger(__name__)


def is_sent() -> bool:
    """Whether a mail server is configured."""
    return bool(settings.CONFIGURATION.mail_host)


def check() -> None:
    """Open and close a connection to the mail server. Raises Unavailable if it does not take us."""
    try:
        connection = get_connection()
        connection.open()
        connection.close()
    except (OSError, smtplib.SMTPException) as error:
        _log.warning("the mail server takes no mail: %s: %s", type(error).__name__, error)
        raise Unavailable(
            "the mail server does not answer, so that no mail can be sent",
            hint="try again in a while, or ask an administrator",
        ) from None


def post(letter: EmailMessage) -> None:
    """Send a letter while the caller goes on: how long it takes would tell whether there was one to send."""
    Thread(target=_send, args=(letter,), name="mail").start()


def _send(letter: EmailMessage) -> None:
    try:
        letter.send()
    except (OSError, smtplib.SMTPException) as error:
        _log.warning("a letter was not taken: %s: %s", type(error).__name__, error)
