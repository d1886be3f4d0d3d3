from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone


class LandingPage(models.Model):
    """What people see before they sign in, in plain text; a blank line parts paragraphs."""

    title = models.CharField(max_length=100)
    lead = models.CharField(max_length=300)
    body = models.TextField(blank=True)

    def __str__(self) -> str:
        return str(self.title)


class FirstCall(models.Model):
    """When an account first asked a model by REST: the last of the first steps."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, primary_key=True)
    at = models.DateTimeField(default=timezone.now)
