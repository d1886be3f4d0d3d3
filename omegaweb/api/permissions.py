"""Who may call a REST view. Every view names one of these."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from omegaweb import roles


class Nobody(BasePermission):
    """What a view that names nothing gets."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return False


class Anybody(BasePermission):
    """Also who is not known."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return True


class _Role(BasePermission):
    reading: str
    writing: str

    def has_permission(self, request: Request, view: Any) -> bool:
        return roles.may(request.user, self.reading if request.method in SAFE_METHODS else self.writing)


class Viewer(_Role):
    """Every account, whatever the method."""

    reading = writing = roles.VIEWER


class EditorWrites(_Role):
    """Every account may read; writing takes an editor."""

    reading, writing = roles.VIEWER, roles.EDITOR


class Worker(BasePermission):
    """The service accounts that carry out tasks, and nobody else."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return getattr(request.user, "role", None) == roles.WORKER


class ViewerOrWorker(Viewer):
    """Every account, and the service accounts."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return super().has_permission(request, view) or Worker().has_permission(request, view)


class Admin(_Role):
    """Administrators only."""

    reading = writing = roles.ADMIN
