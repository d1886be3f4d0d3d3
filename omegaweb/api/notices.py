"""Letters to accounts about their jobs, which runners and workers have sent."""

from __future__ import annotations

import smtplib
from shlex import quote

from django.conf import settings
from django.core.mail import EmailMessage
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from omegaml.errors import Unavailable
from omegaweb import mail
from omegaweb.accounts.models import User
from omegaweb.api import shapes
from omegaweb.api.permissions import Worker as IsWorker
from omegaweb.api.throttling import counted


class Notice(serializers.Serializer):
    """How a job's runs end from now on."""

    userid = serializers.CharField(max_length=150)
    event = serializers.ChoiceField(["failed", "recovered"])
    job = serializers.CharField(max_length=1000)
    bucket = serializers.CharField(max_length=200)
    run = serializers.CharField(max_length=100)
    error = serializers.CharField(allow_null=True, default=None)


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
        if address is None or not counted("notice", user.pk):
            return Response({"sent": False})
        try:
            letter_of(notice, address).send()
        except (OSError, smtplib.SMTPException):
            raise Unavailable("the mail server takes no mail", hint="try again in a while") from None
        return Response({"sent": True})


def address_of(user: User) -> str | None:
    """Where letters to an account go; None where it has no address, or no mail is sent."""
    return (user.email or None) if mail.is_sent() else None


def letter_of(notice: dict[str, str], address: str) -> EmailMessage:
    """Return what is written to people about a job."""
    job = " ".join(notice["job"].split())[:200]  # a subject is one line
    if notice["event"] == "failed":
        what, why = f"job {job} failed", (notice["error"] or "It was lost.")[:2000]
    else:
        what, why = f"job {job} is well again", "Its last run is done."
    bucket, url = notice["bucket"], settings.CONFIGURATION.url
    lines = [f"{what[0].upper()}{what[1:]}, in bucket {bucket}.", "", why, ""]
    lines.append(f"The runs are shown at {url}; what this one has left is written to a page by")
    lines.append(f"omegacli --bucket {bucket} jobs results {quote(job)} {notice['run']} a.html --format html")
    lines += ["", "These letters end when the job is scheduled without --mail."]
    return EmailMessage(f"[omega|ml] {what}", "\n".join(lines), None, [address])
