from __future__ import annotations

from typing import Any

from django.contrib import admin

from omegaweb.audit.models import Entry


@admin.register(Entry)
class EntryAdmin(admin.ModelAdmin):
    """Read-only: nobody edits what was done."""

    list_display = ("time", "userid", "action", "outcome", "object", "address")
    list_filter = ("action", "outcome")
    search_fields = ("userid", "object", "address")

    def has_add_permission(self, *args: Any) -> bool:
        return False

    has_change_permission = has_delete_permission = has_add_permission
