from __future__ import annotations

from django.db import models
from django.utils import timezone


class Entry(models.Model):
    """One thing that somebody did. Entries are only ever added."""

    time = models.DateTimeField(default=timezone.now, db_index=True)
    action = models.CharField(max_length=40)
    userid = models.CharField(max_length=150, blank=True, db_index=True)
    outcome = models.CharField(max_length=10, default="ok")
    object = models.CharField(max_length=300, blank=True)
    address = models.CharField(max_length=45, blank=True)
    path = models.CharField(max_length=300, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    detail = models.JSONField(default=dict)

    class Meta:
        verbose_name = "audit entry"
        verbose_name_plural = "audit entries"
        ordering = ("-time", "-pk")

    def __str__(self) -> str:
        return f"{self.time:%Y-%m-%d %H:%M:%S} {self.userid} {self.action} {self.object}"
