from __future__ import annotations

from django.db import models


class LandingPage(models.Model):
    """What people see before they sign in, in plain text; a blank line parts paragraphs."""

    title = models.CharField(max_length=100)
    lead = models.CharField(max_length=300)
    body = models.TextField(blank=True)

    def __str__(self) -> str:
        return str(self.title)
