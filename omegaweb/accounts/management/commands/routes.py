"""List every route and who may use it: `manage.py routes`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand
from django.urls import URLPattern, get_resolver

from omegaweb import access


class Command(BaseCommand):
    help = "List every route with who may use it: anybody, a role, the permissions of a REST view, or nobody."

    def handle(self, *args: Any, **options: Any) -> None:
        for route, rule in routes(get_resolver()):
            self.stdout.write(f"{route}\t{rule}")


def routes(resolver: Any, prefix: str = "/", app_name: str = "") -> Iterator[tuple[str, str]]:
    """Yield (pattern, rule) of all views below `resolver`; "nobody" where no rule was written."""
    for item in resolver.url_patterns:
        route = prefix + str(item.pattern).removeprefix("^").removesuffix("$")
        if isinstance(item, URLPattern):
            yield route, _rule(item.callback, app_name)
        else:
            yield from routes(item, route, app_name or item.app_name or "")


def _rule(view: Any, app_name: str) -> str:
    rule = access.rule(view, app_name)
    if rule == access.REST:
        allowed = getattr(view, "cls", None) or view.view_class
        return "rest: " + ", ".join(permission.__name__ for permission in allowed.permission_classes)
    return rule or "nobody"
