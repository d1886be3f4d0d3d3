"""Models: listed, described, stored and deleted here; trained and asked by a runner. None is loaded here."""

from __future__ import annotations

import time
from typing import Any, BinaryIO, cast

from django.conf import settings
from django.http import HttpRequest
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.exceptions import MethodNotAllowed, UnsupportedMediaType
from rest_framework.parsers import BaseParser
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from omegaml.backends.base import Blob
from omegaml.backends.modelfile import HEAD, inspect, kind_of
from omegaml.errors import InvalidInput, Mismatch, NotFound, TimedOut
from omegaml.jsonvalues import plain
from omegaml.metadata import Metadata
from omegaml.runtime.estimators import check_pipeline
from omegaml.store.names import check_name
from omegaweb import audit, roles
from omegaweb.api import asking, describing, shapes
from omegaweb.api import model_shapes as forms
from omegaweb.api.listing import Page, listed
from omegaweb.api.parsing import Json, TooLarge
from omegaweb.api.permissions import EditorWrites
from omegaweb.api.scope import address, asked_name, platform
from omegaweb.api.sharing import check_shared, listed_place, only_own, place
from omegaweb.api.waiting import waits
from omegaweb.sharing import giving
from omegaweb.sharing.models import MODEL
from omegaweb.workers.runtime import runtime

TRAINS = ("fit", "partial_fit")
ACTIONS = ("predict", "predict_proba", "transform", "score", "decision_function", *TRAINS)
MAX_BODY = 32 << 20
"""Bytes of values in a body; more is put as a dataset first."""


class ValuesJson(Json):
    """The values of a body."""

    most = MAX_BODY
    hint = "put a dataset and use ?datax="


class FileParser(BaseParser):
    """Leaves the body where it is, to be read piece by piece."""

    media_type = "*/*"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        return stream


class Models(APIView):
    """All models, a page at a time; a new one is made by naming an estimator of scikit-learn."""

    permission_classes = (EditorWrites,)

    @extend_schema(
        operation_id="model_list",
        parameters=[
            *shapes.HEADERS,
            *shapes.PAGING,
            shapes.parameter("search", "A text that the names have in them."),
            shapes.parameter("sort", "name, kind, bytes, created or modified; `-` before it: downwards."),
            shapes.parameter("name", "Answer as `model/<name>/` does."),
            shapes.OF,
        ],
        responses={200: forms.ModelList, **shapes.failures(404)},
    )
    def get(self, request: Request) -> Response:
        """List models. Hidden ones are left out."""
        if request.query_params.get("name"):  # of a name that has a verb of ours in the end
            return Response(_described(request, ""))
        page, asked = Page.of(request), request.query_params
        with listed_place(request) as at:
            found, total = at.om.models.page(
                page.offset, page.limit, asked.get("search", ""), asked.get("sort", "name")
            )
        return Response(listed(request, page, [describing.brief(at.shown(meta)) for meta in found], total))

    @extend_schema(
        operation_id="model_make",
        parameters=shapes.HEADERS,
        request=forms.NewModel,
        responses={201: forms.WholeModel, **shapes.failures(409, 503, 504)},
    )
    def post(self, request: Request) -> Response:
        """`{"name", "pipeline": [["StandardScaler", {}], ["Ridge", {"alpha": 0.5}]]}`; a free name."""
        body = request.data if isinstance(request.data, dict) else {}
        name, pipeline = body.get("name"), body.get("pipeline", body.get("estimator"))
        if not isinstance(name, str):
            raise InvalidInput("the body has no `name`", hint='{"name": "m", "pipeline": [["Ridge", {}]]}')
        check_name(name)
        pipeline = [pipeline] if isinstance(pipeline, str) else pipeline
        check_pipeline(pipeline)  # before anything is started
        with platform(request) as om:
            work = runtime(request.user, om)
            task = work.task(
                "create", name, params={"pipeline": pipeline}, limit=asking.wait(request), waiting=True
            )
            with waits(request):
                work.run(task).get()
            return Response(describing.whole(om.models.metadata(name)), status=201)

    @extend_schema(exclude=True)
    def delete(self, request: Request) -> Response:
        return _deleted(request, "")


class Model(APIView):
    """One model: what is known of it. Its file is stored as it comes and loaded by a runner only."""

    permission_classes = (EditorWrites,)
    parser_classes = (FileParser,)

    @extend_schema(
        operation_id="model_read",
        parameters=shapes.HEADERS,
        responses={200: forms.WholeModel, **shapes.failures(404)},
    )
    def get(self, request: Request, name: str) -> Response:
        """What is known of a model."""
        return Response(_described(request, name))

    @extend_schema(
        operation_id="model_store",
        parameters=shapes.HEADERS,
        request={"application/octet-stream": OpenApiTypes.BINARY},
        responses={200: forms.WholeModel, 201: forms.WholeModel, **shapes.failures(404, 413, 415)},
    )
    def put(self, request: Request, name: str) -> Response:
        """Store the file that `skops.io.dump`, `joblib.dump` or `pickle.dump` wrote as the next version."""
        only_own(request, "model", name, "stores")  # it is code, and would run as the owner's
        check_name(name)
        if (request.content_type or "").partition(";")[0] in ("application/json", "multipart/form-data"):
            raise UnsupportedMediaType(
                request.content_type, "send the file as the body, as application/octet-stream"
            )
        body = Body(request, settings.CONFIGURATION.max_model_bytes)
        head = body.read(HEAD)
        about = inspect(head)
        body.put_back(head)
        with platform(request) as om:
            is_new = not om.models.exists(name)
            meta = om.models.put_encoded(Blob(cast(BinaryIO, body), {"model": about}), name, kind_of(head))
        return Response(describing.whole(meta), status=201 if is_new else 200)

    @extend_schema(
        operation_id="model_delete",
        parameters=shapes.HEADERS,
        responses={204: OpenApiResponse(description="Deleted."), **shapes.failures(404)},
    )
    def delete(self, request: Request, name: str) -> Response:
        """Delete a model and its versions."""
        return _deleted(request, name)


class Versions(APIView):
    """The versions of a model, the newest first."""

    permission_classes = (EditorWrites,)

    @extend_schema(
        operation_id="model_versions",
        parameters=shapes.HEADERS,
        responses={200: forms.VersionList, **shapes.failures(404)},
    )
    def get(self, request: Request, name: str) -> Response:
        only_own(request, "model", asked_name(request, name), "sees the versions of")
        with platform(request) as om:
            name = asked_name(request, name)
            found, tags = om.models.versions(name), om.models.metadata(name).tags
        objects = [describing.version(meta, tags) for meta in found]
        return Response(listed(request, Page(len(objects), 0), objects, len(objects)))


class Schema(APIView):
    """OpenAPI of one model, from its signature."""

    permission_classes = (EditorWrites,)

    @extend_schema(
        operation_id="model_openapi",
        parameters=shapes.HEADERS,
        responses={200: OpenApiTypes.OBJECT, **shapes.failures(404)},
    )
    def get(self, request: Request, name: str) -> Response:
        with place(request, "model", asked_name(request, name)) as at:
            meta = at.shown(at.om.models.metadata(at.name))
            at.check()
        return Response(describing.openapi(meta, settings.CONFIGURATION.url))


class MayAct(BasePermission):
    """Every account may ask its models; training them takes an editor."""

    def has_permission(self, request: Request, view: Any) -> bool:
        trains = view.kwargs.get("action") in TRAINS
        return roles.may(request.user, roles.EDITOR if trains else roles.VIEWER)


_ASKED: dict[str, Any] = {
    "parameters": [
        *shapes.HEADERS,
        *forms.ASKING,
        OpenApiParameter("action", str, OpenApiParameter.PATH, enum=ACTIONS),
    ],
    "responses": {
        200: forms.Answer,
        202: forms.Accepted,
        **shapes.failures(404, 405, 409, 413, 422, 500, 503, 504),
    },
}


class Action(APIView):
    """Ask or train a model: predict, predict_proba, transform, score, decision_function, fit, partial_fit.

    `?datax=` and `?datay=` name datasets; else the body has the values (`omegaweb.api.asking.inputs`).
    `?async=1` answers 202 at once and the task's address; `?timeout=` is in seconds.
    """

    permission_classes = (MayAct,)
    parser_classes = (ValuesJson,)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        self._authenticated = time.perf_counter()

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        self._began = time.perf_counter()
        return super().dispatch(request, *args, **kwargs)

    @extend_schema(operation_id="model_ask_dataset", request=None, **_ASKED)
    def get(self, request: Request, name: str, action: str) -> Response:
        """Ask a model about a dataset."""
        if action in TRAINS:
            raise MethodNotAllowed("GET", f"{action} changes the model: use POST")
        return self._act(request, name, action)

    @extend_schema(exclude=True)  # as POST, for the clients that send it so
    def put(self, request: Request, name: str, action: str) -> Response:
        return self._act(request, name, action)

    @extend_schema(operation_id="model_act", request=forms.Values, **_ASKED)
    def post(self, request: Request, name: str, action: str) -> Response:
        """Ask or train a model; fit and partial_fit answer 202."""
        return self._act(request, name, action)

    def _act(self, request: Request, name: str, action: str) -> Response:
        limit, later = asking.wait(request), asking.is_async(request)
        x, y = asking.inputs(request, name)
        if y is not None and action not in (*TRAINS, "score"):
            raise InvalidInput(f"{action} takes no y", hint="leave it out")
        check_shared(request, name, action, x, y, later)
        with place(request, "model", name) as at:
            # another's model runs where that account's models do
            work = asking.required(request, runtime(at.owner, at.om))
            task = work.task(action, at.name, x, y, limit=None if later else limit, waiting=not later)
            began = time.perf_counter()
            if later:
                return accepted(request, work.run(task, async_=True).id, name)
            try:
                with waits(request):
                    promise = work.run(task)
                    result = asking.answered(promise.get(2 * limit + 10))  # it may have to wait for a worker
                at.check()
            except Mismatch as error:
                if error.details.get("fitted") is False:  # the request is right, but for its time
                    raise InvalidInput(
                        error.message, hint=f"POST {address('model', name)}fit/ first"
                    ) from error
                raise
            except TimedOut as error:
                raise TimedOut(
                    f"{action} of model {name!r} was ended after {limit:g} s", hint="use ?async=1"
                ) from error
        took = time.perf_counter() - began
        response = Response(
            {"model": name, "result": result, "resource_uri": f"{address('model', name)}{action}/"},
            status=202 if action in TRAINS else 200,  # as the earlier clients expect it
        )
        response["Server-Timing"] = self._timing(took, getattr(promise, "seconds", {}), action)
        return response

    def _timing(self, took: float, seconds: dict[str, float], action: str) -> str:
        """Where the time went (https://www.w3.org/TR/server-timing/), in milliseconds."""
        load, asked = seconds.get("load", 0.0), seconds.get(action, 0.0)
        parts = {"auth": self._authenticated - self._began, "queue": took - load - asked}
        parts |= {"load": load, action: asked}
        return ", ".join(f"{name};dur={1000 * max(0.0, value):.2f}" for name, value in parts.items())


class Body:
    """A request's body as a file; what is larger than `limit`, or ends too soon, is not stored."""

    def __init__(self, request: Request, limit: int) -> None:
        length = request.META.get("CONTENT_LENGTH") or ""
        if not str(length).isdigit():
            raise InvalidInput("the request does not say how long its body is", hint="send Content-Length")
        self._length = int(length)
        if self._length > limit:
            raise TooLarge(
                f"the file is larger than {limit:,} bytes", hint="ask for a higher max_model_bytes"
            )
        self._stream = request.stream
        self._read = 0
        self._back = b""

    def put_back(self, data: bytes) -> None:
        """Have `data` read again."""
        self._back = data

    def read(self, size: int = -1) -> bytes:
        if self._back:
            data, self._back = self._back, b""
            return data
        data = self._stream.read(size) if self._stream is not None else b""
        self._read += len(data)
        if not data and self._read < self._length:
            raise InvalidInput("the body ended before its end", hint="send it again")
        return bytes(data)


def accepted(request: Request, id: str, name: str, noun: str = "model") -> Response:
    """The answer to a request whose task goes on."""
    where = f"/api/v1/task/{id}/"
    response = Response(
        {"id": id, "status": "queued", noun: name, "result": None, "resource_uri": where}, status=202
    )
    response["Location"] = where
    if "Prefer" in request.headers:
        response["Preference-Applied"] = "respond-async"
    return response


def _described(request: Request, name: str) -> Any:
    with place(request, "model", asked_name(request, name)) as at:
        meta = at.shown(_known(at.om, at.name))
        at.check()
        return plain(describing.shared(meta) if at.prefix else describing.whole(meta))


def _known(om: Any, name: str) -> Metadata:
    found: Metadata = om.models.metadata(name)
    if found.prefix != "models/":
        raise NotFound(f"there is no model {name!r}")
    return found


def _deleted(request: Request, name: str) -> Response:
    name = asked_name(request, name)
    if not name:
        raise InvalidInput("no model is named", hint="DELETE /api/v1/model/<name>/")
    only_own(request, "model", name, "deletes")
    with platform(request) as om:
        om.models.drop(name)
        giving.dropped(request, MODEL, om.bucket, name)
    audit.record("model.deleted", request, object=f"model {name}")
    return Response(status=204)
