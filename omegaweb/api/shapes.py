"""What the routes of datasets take and answer, as the OpenAPI document tells it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema_field
from rest_framework import serializers

from omegaml.tablestream import MEDIA_TYPE
from omegaweb.api.bodies import ORIENTS
from omegaweb.api.downloads import ARROW, CSV, PARQUET


class ErrorDetail(serializers.Serializer):
    code = serializers.CharField()
    message = serializers.CharField()
    hint = serializers.CharField(allow_null=True)
    request_id = serializers.CharField()


class Error(serializers.Serializer):
    """What every failure answers."""

    error = ErrorDetail()


class PageMeta(serializers.Serializer):
    limit = serializers.IntegerField()
    offset = serializers.IntegerField()
    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)
    total_count = serializers.IntegerField(allow_null=True)


class DatasetName(serializers.Serializer):
    name = serializers.CharField()
    kind = serializers.CharField()


class Dataset(serializers.Serializer):
    """A dataset without its rows."""

    data = DatasetName()
    name = serializers.CharField()
    kind = serializers.CharField()
    rows = serializers.IntegerField(allow_null=True)
    columns = serializers.IntegerField(allow_null=True)
    bytes = serializers.IntegerField(allow_null=True)
    version = serializers.IntegerField(allow_null=True)
    modified = serializers.DateTimeField(allow_null=True)
    resource_uri = serializers.CharField()


class DatasetList(serializers.Serializer):
    meta = PageMeta()
    objects = Dataset(many=True)


@extend_schema_field(OpenApiTypes.ANY)
class Cells(serializers.JSONField):
    """Rows or columns, as `orient` says."""


class Index(serializers.Serializer):
    type = serializers.CharField()
    values = serializers.ListField(child=serializers.JSONField(allow_null=True))


class Rows(serializers.Serializer):
    """Rows of a dataset: `data` is `{"rows": [...]}`, `{column: {index: value}}` or `{column: [...]}`."""

    name = serializers.CharField()
    kind = serializers.CharField()
    data = Cells()
    dtypes = serializers.DictField(child=serializers.CharField())
    index = Index()
    orient = serializers.ChoiceField(ORIENTS)
    meta = PageMeta()
    resource_uri = serializers.CharField()


@extend_schema_field(OpenApiTypes.ANY)
class IndexBody(serializers.JSONField):
    """`{type, values}`, or the name of a column."""


class RowsBody(serializers.Serializer):
    """A body with `orient` or `index.type` is of the earlier form: it appends, and answers 204."""

    data = Cells()
    dtypes = serializers.DictField(child=serializers.CharField(), required=False)
    index = IndexBody(required=False)
    append = serializers.BooleanField(required=False, default=False)
    orient = serializers.ChoiceField(ORIENTS, required=False)


class Histogram(serializers.Serializer):
    edges = serializers.ListField(child=serializers.JSONField())
    counts = serializers.ListField(child=serializers.IntegerField())


class Top(serializers.Serializer):
    value = serializers.JSONField(allow_null=True)
    count = serializers.IntegerField()


class ColumnStatistics(serializers.Serializer):
    name = serializers.CharField()
    dtype = serializers.CharField()
    nulls = serializers.IntegerField()
    distinct = serializers.IntegerField()
    distinct_is_exact = serializers.BooleanField()
    min = serializers.JSONField(allow_null=True)
    max = serializers.JSONField(allow_null=True)
    mean = serializers.FloatField(allow_null=True)
    std = serializers.FloatField(allow_null=True)
    histogram = Histogram(allow_null=True)
    top = Top(many=True)
    top_is_exact = serializers.BooleanField()


class Statistics(serializers.Serializer):
    name = serializers.CharField()
    rows = serializers.IntegerField()
    columns = ColumnStatistics(many=True)
    meta = PageMeta()
    resource_uri = serializers.CharField()


def parameter(name: str, about: str, type_: Any = str, enum: Sequence[Any] | None = None) -> OpenApiParameter:
    return OpenApiParameter(name, type_, OpenApiParameter.QUERY, description=about, enum=enum)


HEADERS = [
    OpenApiParameter("Bucket", str, OpenApiParameter.HEADER, description="The bucket; the default one else."),
    OpenApiParameter("Qualifier", str, OpenApiParameter.HEADER, description="The database: `default`."),
]
FILTERS = OpenApiParameter(
    "filters",
    {"type": "object", "additionalProperties": {"type": "string"}},
    OpenApiParameter.QUERY,
    description="Conditions that all hold, as `x__gte=5`, `city=Bern`, `t__isnull=false`. Operators: eq ne "
    "gt gte lt lte in nin between contains startswith endswith isnull regex.",
    style="form",
    explode=True,
)
VERSION = parameter("version", "The number or tag of a kept version, as in `name@version`.")
OF = parameter("of", "A userid: what is in the bucket that this account shares.")
COLUMNS = parameter("columns", "Names of columns, separated by commas.")
PAGING = [
    parameter("limit", "How many at most.", OpenApiTypes.INT),
    parameter("offset", "How many to leave out before.", OpenApiTypes.INT),
]
CURSOR = parameter("cursor", "Where a page ended, as `meta.next` says it; instead of `offset`.")


def failures(*statuses: int) -> dict[int, OpenApiResponse]:
    """The error answers of a route, those that every route has included."""
    return {status: OpenApiResponse(Error) for status in (400, 401, 403, *statuses, 429, 503)}


BULK = {(200, media_type): OpenApiTypes.BINARY for media_type in (CSV, ARROW, PARQUET, MEDIA_TYPE)}
BODIES = {
    "application/json": RowsBody,
    CSV: OpenApiTypes.BINARY,
    ARROW: OpenApiTypes.BINARY,
    PARQUET: OpenApiTypes.BINARY,
}
