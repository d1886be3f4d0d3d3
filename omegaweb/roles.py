"""What accounts may do."""

from __future__ import annotations

from typing import Any

VIEWER, EDITOR, ADMIN = ROLES = ("viewer", "editor", "admin")  # each may what the one before may
WORKER = "worker"  # outside that order: carries out the tasks of all accounts and has no data of its own


def may(user: Any, needed: str) -> bool:
    """Tell whether the user's role reaches `needed`."""
    role = getattr(user, "role", None)
    return role in ROLES and ROLES.index(role) >= ROLES.index(needed)
