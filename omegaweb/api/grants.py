"""`grant/`: who may use what of one's own, and what one may use of others."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from omegaml.errors import InvalidInput
from omegaml.store.names import DEFAULT_BUCKET
from omegaweb.api import shapes
from omegaweb.api.listing import Page, listed
from omegaweb.api.permissions import EditorWrites, Viewer
from omegaweb.api.scope import address, asked_name, bucket_of
from omegaweb.api.sharing import only_own
from omegaweb.sharing import giving
from omegaweb.sharing.models import BUCKET, KINDS, READ, RIGHTS, Grant


class OneGrant(serializers.Serializer):
    """What somebody lets somebody else use."""

    id = serializers.IntegerField()
    owner = serializers.CharField()
    userid = serializers.CharField(help_text="Who may use it.")
    kind = serializers.ChoiceField(KINDS)
    bucket = serializers.CharField()
    name = serializers.CharField(help_text="As the grantee names it: `@owner/name`; a bucket by its own.")
    right = serializers.ChoiceField(RIGHTS)
    granted = serializers.DateTimeField()
    resource_uri = serializers.CharField()


class GrantList(serializers.Serializer):
    meta = shapes.PageMeta()
    objects = OneGrant(many=True)


class NewGrant(serializers.Serializer):
    userid = serializers.CharField(max_length=100)
    right = serializers.ChoiceField(RIGHTS, default=READ)


_OF = [*shapes.HEADERS, OpenApiParameter("kind", str, OpenApiParameter.PATH, enum=KINDS)]


class AllGrants(APIView):
    """What others share with the caller, or with `?given=1` what the caller shares with others."""

    permission_classes = (Viewer,)

    @extend_schema(
        operation_id="grant_list",
        parameters=[*shapes.PAGING, shapes.parameter("given", "1: what I share.", enum=["0", "1"])],
        responses={200: GrantList, **shapes.failures()},
    )
    def get(self, request: Request) -> Response:
        """List grants."""
        page, user = Page.of(request), request.user
        found = giving.given(user) if request.query_params.get("given") == "1" else giving.held(user)
        part = [shown(grant) for grant in found[page.offset : page.offset + page.limit]]
        return Response(listed(request, page, part, found.count()))


class HeldGrant(APIView):
    """A grant that somebody has given to the caller."""

    permission_classes = (Viewer,)

    @extend_schema(
        operation_id="grant_give_up",
        responses={204: OpenApiResponse(description="Given up."), **shapes.failures(404)},
    )
    def delete(self, request: Request, id: int) -> Response:
        """Give up what another shares with the caller: it opens nothing any more, nor is it listed."""
        giving.give_up(request, id)
        return Response(status=204)


class ObjectGrants(APIView):
    """Who may use a dataset, a model or a bucket of the caller's own."""

    permission_classes = (EditorWrites,)

    @extend_schema(
        operation_id="grant_of", parameters=_OF, responses={200: GrantList, **shapes.failures(404)}
    )
    def get(self, request: Request, kind: str, name: str = "") -> Response:
        """List who may use it."""
        objects = [shown(grant) for grant in giving.current(request.user, *_own(request, kind, name))]
        return Response(listed(request, Page(len(objects), 0), objects, len(objects)))

    @extend_schema(
        operation_id="grant_give",
        parameters=_OF,
        request=NewGrant,
        responses={200: OneGrant, 201: OneGrant, **shapes.failures(404)},
    )
    def put(self, request: Request, kind: str, name: str = "") -> Response:
        """Let somebody use it: `{"userid": "ann", "right": "read"}`, or `write`."""
        asked = NewGrant(data=request.data)
        asked.is_valid(raise_exception=True)
        grant, is_new = giving.give(request, *_own(request, kind, name), **asked.validated_data)
        return Response(shown(grant), status=201 if is_new else 200)

    @extend_schema(exclude=True)  # as PUT
    def post(self, request: Request, kind: str, name: str = "") -> Response:
        return self.put(request, kind, name)

    @extend_schema(
        operation_id="grant_revoke",
        parameters=[*_OF, shapes.parameter("userid", "Who may not use it any more.")],
        responses={204: OpenApiResponse(description="Revoked."), **shapes.failures(404)},
    )
    def delete(self, request: Request, kind: str, name: str = "") -> Response:
        """Take a grant back; from the next request on it opens nothing."""
        userid = request.query_params.get("userid")
        if not userid:
            raise InvalidInput("nobody is named", hint="add ?userid=")
        giving.revoke(request, *_own(request, kind, name), userid)
        return Response(status=204)


def _own(request: Request, kind: str, name: str) -> tuple[str, str, str]:
    """The kind, bucket and name of an object of the caller's own. Raises as `only_own` for one of another."""
    name = asked_name(request, name)
    if kind == BUCKET:
        return kind, name, ""
    only_own(request, kind, name, "shares")
    return kind, bucket_of(request) or DEFAULT_BUCKET, name


def shown(grant: Grant) -> dict[str, Any]:
    is_bucket = grant.kind == BUCKET
    name = grant.bucket if is_bucket else grant.shared_name
    return {
        "id": grant.pk,
        "owner": grant.owner.username,
        "userid": grant.grantee.username,
        "kind": grant.kind,
        "bucket": grant.bucket,
        "name": name,
        "right": grant.right,
        "granted": grant.created,
        "resource_uri": "/api/v1/dataset/" if is_bucket else address(grant.kind, name),
    }
