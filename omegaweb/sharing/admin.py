from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from omegaweb import audit
from omegaweb.sharing.models import Grant


@admin.register(Grant)
class GrantAdmin(admin.ModelAdmin):
    """Grants of all accounts: to be looked at, and taken back; only owners give them."""

    list_display = ("owner", "kind", "bucket", "name", "grantee", "right", "created")
    list_filter = ("kind", "right")
    search_fields = ("owner__username", "grantee__username", "name")

    def has_add_permission(self, *args: Any) -> bool:
        return False

    has_change_permission = has_add_permission

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        for grant in queryset:
            audit.record("grant.revoked", request, object=str(grant), owner=str(grant.owner))
        return super().log_deletions(request, queryset)
