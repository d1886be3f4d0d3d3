from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.utils import timezone


class Worker(models.Model):
    """A runner or Celery worker that has joined, by its own word; it repeats that every few seconds."""

    id = models.CharField(max_length=150, primary_key=True)
    host = models.CharField(max_length=255)
    slots = models.PositiveIntegerField()
    running = models.PositiveIntegerField()
    labels = models.JSONField(default=list, help_text="Of the tasks that it takes.")
    address = models.CharField(max_length=255, blank=True, help_text="Where it takes tasks directly.")
    token = models.BinaryField(help_text="By which it and we know each other; encrypted.")
    seen = models.DateTimeField(default=timezone.now)

    DEAD_AFTER = timedelta(seconds=15)

    class Meta:
        ordering = ("id",)

    @classmethod
    def alive(cls) -> models.QuerySet[Worker]:
        """The runners heard of in the last seconds."""
        return cls.objects.filter(seen__gt=timezone.now() - cls.DEAD_AFTER)

    def __str__(self) -> str:
        return str(self.id)
