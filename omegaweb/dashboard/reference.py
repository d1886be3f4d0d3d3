"""The page of the REST API: every route with what it takes and answers, by the schema that programs read."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from drf_spectacular.generators import SchemaGenerator

from omegaweb.access import access
from omegaweb.dashboard.context import platform_url
from omegaweb.dashboard.words import with_code
from omegaweb.roles import VIEWER

_METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True)
class Field:
    """A parameter of a route, or a field of a body or an answer."""

    name: str
    place: str
    type: str
    is_required: bool
    says: str


@dataclass(frozen=True)
class Answer:
    status: str
    says: str
    fields: Sequence[Field]


@dataclass(frozen=True)
class Route:
    """One method of one path."""

    id: str
    method: str
    path: str
    says: str
    more: str
    parameters: Sequence[Field]
    types: Sequence[str]
    body: Sequence[Field]
    answers: Sequence[Answer]
    errors: str

    @property
    def noun(self) -> str:
        return next(part for part in self.path.split("/")[3:] if not part.startswith("{"))

    def curl(self, url: str, userid: str) -> str:
        """The command that calls it."""
        words = [f"curl -X {self.method.upper()}", f"-H {shlex.quote(f'Authorization: {userid}:YOUR_KEY')}"]
        if self.types:
            data = "-d @body.json" if self.types[0] == "application/json" else "--data-binary @FILE"
            words += [f"-H {shlex.quote(f'Content-Type: {self.types[0]}')}", data]
        return " \\\n  ".join([*words, shlex.quote(url + self.path)])


@access(VIEWER)
def reference(request: HttpRequest) -> HttpResponse:
    """All routes, by what they are about."""
    url, userid = platform_url(request), request.user.username
    nouns = [
        (noun, [(route, route.curl(url, userid)) for route in found])
        for noun, found in groupby(routes(), lambda route: route.noun)
    ]
    return render(request, "dashboard/reference.html", {"nouns": nouns})


@cache
def routes() -> Sequence[Route]:
    """Every route, in the order of nouns and paths."""
    schema = SchemaGenerator().get_schema(request=None, public=True)
    known = schema["components"]["schemas"]
    found = [
        _route(method, path, methods[method], known)
        for path, methods in schema["paths"].items()
        for method in _METHODS
        if method in methods
    ]
    return sorted(found, key=lambda route: (route.noun, route.path, _METHODS.index(route.method)))


def _route(method: str, path: str, about: Mapping[str, Any], known: Mapping[str, Any]) -> Route:
    says, _, more = about.get("description", "").partition("\n\n")
    body = about.get("requestBody", {}).get("content", {})
    answers = about["responses"]
    return Route(
        about["operationId"],
        method,
        path,
        with_code(says),
        with_code(more),
        [_parameter(p) for p in about.get("parameters", ()) if p["name"] != "Qualifier"],
        list(body),
        _fields(body.get("application/json", {}).get("schema", {}), known),
        [_answer(status, answers[status], known) for status in answers if status < "400"],
        ", ".join(status for status in answers if status >= "400"),
    )


def _parameter(about: Mapping[str, Any]) -> Field:
    required = about.get("required", False)
    return Field(
        about["name"], about["in"], _type(about["schema"]), required, with_code(about.get("description", ""))
    )


def _answer(status: str, about: Mapping[str, Any], known: Mapping[str, Any]) -> Answer:
    content = about.get("content", {})
    others = ", ".join(kind for kind in content if kind != "application/json")
    says = about.get("description", "") or (f"also as {others}" if others else "")
    return Answer(
        status, with_code(says), _fields(content.get("application/json", {}).get("schema", {}), known)
    )


def _fields(schema: Mapping[str, Any], known: Mapping[str, Any]) -> list[Field]:
    schema = known.get(schema.get("$ref", "").rpartition("/")[2], schema)
    required = schema.get("required", ())
    return [
        Field(name, "body", _type(about), name in required, with_code(about.get("description", "")))
        for name, about in schema.get("properties", {}).items()
    ]


def _type(schema: Mapping[str, Any]) -> str:
    """A type in a word or two."""
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"] if value is not None)
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    named = schema.get("$ref") or next((part.get("$ref") for part in schema.get("allOf", ())), None)
    return named.rpartition("/")[2] if named else str(schema.get("format") or schema.get("type") or "any")
