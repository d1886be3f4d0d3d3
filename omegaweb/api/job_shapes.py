"""What the routes of jobs take and answer, as the OpenAPI document tells it."""

from __future__ import annotations

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from omegaml.runtime.schedule.header import MOST_RETRIES
from omegaweb.api.model_shapes import ModelName
from omegaweb.api.shapes import Error, ErrorDetail, PageMeta, parameter

STATES = ("queued", "running", "done", "failed", "lost", "cancelled", "skipped")


class Run(serializers.Serializer):
    """One run; `results` names the notebook that it has left, and `report` is where that is shown."""

    id = serializers.CharField()
    status = serializers.ChoiceField(STATES)
    trigger = serializers.CharField()
    attempt = serializers.IntegerField()
    scheduled = serializers.DateTimeField(allow_null=True)
    created = serializers.DateTimeField(allow_null=True)
    started = serializers.DateTimeField(allow_null=True)
    finished = serializers.DateTimeField(allow_null=True)
    results = serializers.CharField(allow_null=True)
    error = serializers.CharField(allow_null=True)
    report = serializers.CharField(allow_null=True)


class Job(serializers.Serializer):
    """A job as a list shows it."""

    data = ModelName()
    name = serializers.CharField()
    kind = serializers.CharField()
    bytes = serializers.IntegerField(allow_null=True)
    created = serializers.DateTimeField(allow_null=True)
    modified = serializers.DateTimeField(allow_null=True)
    last_run = Run(allow_null=True)
    resource_uri = serializers.CharField()


class JobList(serializers.Serializer):
    meta = PageMeta()
    objects = Job(many=True)


class WholeJob(Job):
    """What is known of a job, with its newest runs; `kernel` is the one that its notebook asks for."""

    bucket = serializers.CharField()
    kernel = serializers.CharField(allow_null=True)
    attributes = serializers.DictField()
    runs = Run(many=True)


class RunList(serializers.Serializer):
    meta = PageMeta()
    objects = Run(many=True)


@extend_schema_field(OpenApiTypes.ANY)
class Code(serializers.JSONField):
    """Python code: the text of one cell, or a list of texts."""


class NewJob(serializers.Serializer):
    """`{"code": "print(1)"}`, or a notebook as Jupyter writes it."""

    code = Code(required=False)
    cells = serializers.ListField(child=serializers.JSONField(), required=False)
    metadata = serializers.DictField(required=False)
    nbformat = serializers.IntegerField(required=False)
    nbformat_minor = serializers.IntegerField(required=False)


class Parameters(serializers.Serializer):
    """Values by name, which the notebook is given; `cell_timeout` is seconds that each cell may take."""

    cell_timeout = serializers.FloatField(required=False)


class Ran(serializers.Serializer):
    """A run that is done."""

    job = serializers.CharField()
    job_results = serializers.ListField(child=serializers.CharField())
    job_runs = Run(many=True)
    created = serializers.DateTimeField()
    resource_uri = serializers.CharField()


class Asked(serializers.Serializer):
    """A run that goes on; its id is that of the task."""

    id = serializers.CharField()
    status = serializers.CharField()
    job = serializers.CharField()
    result = serializers.JSONField(allow_null=True)
    resource_uri = serializers.CharField()


class NewSchedule(serializers.Serializer):
    """`schedule` is words as `every 5 minutes`, one of cron's words or its five fields."""

    schedule = serializers.CharField(max_length=500)
    zone = serializers.CharField(max_length=100, default="UTC")
    catch_up = serializers.ChoiceField(["once", "skip"], default="once")
    retries = serializers.IntegerField(min_value=0, max_value=MOST_RETRIES, default=0)
    limit = serializers.FloatField(min_value=1, allow_null=True, default=None)
    parameters = serializers.DictField(default=dict)
    webhook = serializers.CharField(max_length=2000, allow_null=True, default=None)
    mail = serializers.BooleanField(default=False)


class Schedule(serializers.Serializer):
    """When a job runs; without a schedule only `job`, `schedule` and `next`."""

    job = serializers.CharField()
    schedule = serializers.CharField(allow_null=True)
    zone = serializers.CharField(required=False)
    cron = serializers.CharField(required=False, allow_null=True)
    meaning = serializers.CharField(required=False)
    catch_up = serializers.CharField(required=False)
    retries = serializers.IntegerField(required=False)
    label = serializers.CharField(required=False)
    limit = serializers.FloatField(required=False, allow_null=True)
    webhook = serializers.CharField(required=False, allow_null=True)
    mail = serializers.BooleanField(required=False)
    parameters = serializers.DictField(required=False)
    failing = serializers.BooleanField(required=False)
    origin = serializers.CharField(required=False)
    due = serializers.DateTimeField(required=False, allow_null=True)
    next = serializers.ListField(child=serializers.DateTimeField())


class LogLine(serializers.Serializer):
    time = serializers.DateTimeField()
    level = serializers.CharField()
    name = serializers.CharField()
    text = serializers.CharField()
    task = serializers.CharField(allow_null=True)


class Logs(serializers.Serializer):
    job = serializers.CharField()
    run = serializers.CharField(allow_null=True)
    lines = LogLine(many=True)


class RunErrorDetail(ErrorDetail):
    """Of a run that failed also which it was, and what it has left so far."""

    job = serializers.CharField(required=False)
    run = serializers.CharField(required=False)
    results = serializers.CharField(required=False, allow_null=True)
    report = serializers.CharField(required=False, allow_null=True)
    traceback = serializers.CharField(required=False)


class RunError(Error):
    error = RunErrorDetail()


FORMAT = parameter("fmt", "Where no header `Accept` says it.", enum=["html", "slides", "ipynb"])
RUN = parameter("run", "The id of a run; the newest that has left anything where not given.")
LOGGED = parameter("run", "The id of a run; the newest where not given.")
REQUIRE = parameter("require", "A label: only workers that have it.")
RUNNING = [
    parameter("async", "1: answer at once, with the address of the task."),
    parameter("timeout", "Seconds that the run may take while its caller waits, 60 where not given.", float),
    REQUIRE,
]
