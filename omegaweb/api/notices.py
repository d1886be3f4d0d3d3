"""Letters to accounts about their jobs, which runners and workers have sent."""

from __future__ import annotations

import smtplib

from django.conf import settings
from django.core.cache import cache
from django.core.mail import EmailMessage
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from omegaml.errors import Unavailable
from omegaml.omega import Omega
from omegaml.runtime.notices import no_mail
from omegaweb import mail
from omegaweb.accounts.models import User
from omegaweb.api import shapes
from omegaweb.api.permissions import Worker as IsWorker
from omegaweb.api.throttling import counted

A_DAY = 20
"""Letters that an account is sent a day, by each process of omegaweb."""


class Notice(serializers.Serializer):
    """How the runs of one of an account's jobs end from now on."""

    userid = serializers.CharField(max_length=150)
    event = serializers.ChoiceField(["failed", "recovered"])
    run = serializers.RegexField(r"^[0-9a-f]{32}$")
    bucket = serializers.RegexField(r"^[\w.-]{1,100}$")


class Sent(serializers.Serializer):
    sent = serializers.BooleanField()


class Notices(APIView):
    """A runner has a letter sent about a job."""

    permission_classes = (IsWorker,)

    @extend_schema(
        operation_id="worker_notice",
        request=Notice,
        responses={200: Sent, **shapes.failures(404, 413, 415)},
    )
    def post(self, request: Request) -> Response:
        asked = Notice(data=request.data)
        asked.is_valid(raise_exception=True)
        notice = asked.validated_data
        user = get_object_or_404(User, username=notice["userid"], is_active=True)
        address = address_of(user)
        if address is None or not counted("notice", user.pk) or not counted_today(user):
            return Response({"sent": False})
        try:
            letter_of(notice, address).send()
        except (OSError, smtplib.SMTPException):
            raise Unavailable("the mail server takes no mail", hint="try again in a while") from None
        return Response({"sent": True})


def address_of(user: User) -> str | None:
    """Where letters to an account go; None where it has no address, or no mail is sent."""
    return (user.email or None) if mail.is_sent() else None


def check_mail(user: User, om: Omega) -> None:
    """Raise InvalidInput if no mail can be sent to an account."""
    if address_of(user) is None:
        raise no_mail()


def counted_today(user: User) -> bool:
    """Count a letter; tell whether it is within what an account is sent a day."""
    key = f"notices-{user.pk}-{timezone.now():%Y%m%d}"
    cache.add(key, 0, 24 * 3600)
    return bool(cache.incr(key) <= A_DAY)


def letter_of(notice: dict[str, str], address: str) -> EmailMessage:
    """Return what is written to people about a job.

    Nothing in it is the account's own text: nobody has confirmed that the address is its owner's.
    """
    is_bad = notice["event"] == "failed"
    what = "one of your jobs fails" if is_bad else "a job of yours is well again"
    where = f"omegacli --bucket {notice['bucket']} jobs"
    lines = [f"On {settings.CONFIGURATION.url} {what}, by its run {notice['run']}.", ""]
    lines += [f"Which one it is, and why: {where} schedule", f"and then: {where} status NAME", ""]
    lines += ["These letters end when the job is scheduled without --mail."]
    return EmailMessage(f"[omega|ml] {what}", "\n".join(lines), None, [address])
