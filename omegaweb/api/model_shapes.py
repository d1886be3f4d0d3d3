"""What the routes of models, tasks and workers take and answer, as the OpenAPI document tells it."""

from __future__ import annotations

from rest_framework import serializers

from omegaweb.api.shapes import Cells, PageMeta, parameter


class ModelName(serializers.Serializer):
    name = serializers.CharField()
    kind = serializers.CharField()


class Model(serializers.Serializer):
    """A model as a list shows it."""

    data = ModelName()
    name = serializers.CharField()
    kind = serializers.CharField()
    version = serializers.IntegerField(allow_null=True)
    bytes = serializers.IntegerField(allow_null=True)
    created = serializers.DateTimeField(allow_null=True)
    modified = serializers.DateTimeField(allow_null=True)
    resource_uri = serializers.CharField()


class ModelList(serializers.Serializer):
    meta = PageMeta()
    objects = Model(many=True)


class Version(Model):
    tags = serializers.ListField(child=serializers.CharField())


class VersionList(serializers.Serializer):
    meta = PageMeta()
    objects = Version(many=True)


class Feature(serializers.Serializer):
    name = serializers.CharField()
    dtype = serializers.CharField(allow_null=True)


class Signature(serializers.Serializer):
    """What is known of it: of a model that was stored as a file, little."""

    methods = serializers.ListField(child=serializers.CharField(), required=False)
    n_features = serializers.IntegerField(required=False)
    features = Feature(many=True, required=False)
    target = serializers.CharField(required=False)
    classes = serializers.ListField(child=serializers.JSONField(), required=False)
    n_classes = serializers.IntegerField(required=False)


class WholeModel(Model):
    """What is known of a model; `tags`, `attributes` and `trained` of one's own only."""

    bucket = serializers.CharField()
    module = serializers.CharField(allow_null=True)
    python = serializers.CharField(allow_null=True)
    packages = serializers.DictField(child=serializers.CharField())
    signature = Signature()
    tags = serializers.DictField(child=serializers.IntegerField(), required=False)
    attributes = serializers.DictField(required=False)
    trained = serializers.DictField(allow_null=True, required=False)

    def get_fields(self) -> dict[str, serializers.Field]:
        # `class` is no name of an attribute in Python
        return {**super().get_fields(), "class": serializers.CharField(allow_null=True)}


class NewModel(serializers.Serializer):
    """`pipeline` is `[[estimator, {parameter: value}], ...]`; several make a pipeline of scikit-learn."""

    name = serializers.CharField()
    pipeline = serializers.ListField(child=serializers.JSONField())


class Values(serializers.Serializer):
    """X, where `?datax=` names no dataset, and y for fit and score.

    `data` is rows (lists, or objects by column), columns by name, or one row or column alone.
    """

    columns = serializers.ListField(child=serializers.CharField(), required=False)
    data = Cells(required=False)
    y = serializers.ListField(child=serializers.JSONField(), required=False)


class Answer(serializers.Serializer):
    model = serializers.CharField()
    result = Cells(allow_null=True)
    resource_uri = serializers.CharField()


class Accepted(Answer):
    """Of a task that goes on; `resource_uri` is the task's. A model that was trained meanwhile has no id."""

    id = serializers.CharField(required=False)
    status = serializers.CharField(required=False)


class TaskError(serializers.Serializer):
    code = serializers.CharField()
    message = serializers.CharField()
    hint = serializers.CharField(allow_null=True)
    traceback = serializers.CharField(required=False)
    results = serializers.CharField(required=False, help_text="The notebook as far as a run of a job came.")


class Task(serializers.Serializer):
    """A task; `model` or `job` is what it is of."""

    id = serializers.CharField()
    status = serializers.ChoiceField(["queued", "running", "done", "failed", "lost", "cancelled"])
    action = serializers.CharField()
    model = serializers.CharField(required=False)
    job = serializers.CharField(required=False)
    bucket = serializers.CharField(allow_null=True)
    submitted = serializers.DateTimeField(allow_null=True)
    started = serializers.DateTimeField(allow_null=True)
    finished = serializers.DateTimeField(allow_null=True)
    result = Cells(allow_null=True)
    error = TaskError(allow_null=True)
    resource_uri = serializers.CharField()


class WorkerState(serializers.Serializer):
    id = serializers.CharField()
    slots = serializers.IntegerField()
    running = serializers.IntegerField()
    labels = serializers.ListField(child=serializers.CharField())
    seen = serializers.DateTimeField()


class WaitingTask(serializers.Serializer):
    id = serializers.CharField()
    status = serializers.CharField()
    action = serializers.CharField()
    store = serializers.CharField()
    name = serializers.CharField()
    label = serializers.CharField()
    bucket = serializers.CharField(allow_null=True)
    submitted = serializers.DateTimeField(allow_null=True)
    started = serializers.DateTimeField(allow_null=True)
    resource_uri = serializers.CharField()


class RuntimeState(serializers.Serializer):
    workers = WorkerState(many=True)
    labels = serializers.ListField(child=serializers.CharField())
    queues = serializers.DictField(child=serializers.DictField(child=serializers.IntegerField()))
    tasks = WaitingTask(many=True)


class AccountVersion(serializers.Serializer):
    userid = serializers.CharField()
    version = serializers.CharField(help_text="Another one when its URLs may have changed.")


class Count(serializers.Serializer):
    total_count = serializers.IntegerField()


class Accounts(serializers.Serializer):
    meta = Count()
    objects = AccountVersion(many=True)


ASKING = [
    parameter("datax", "The dataset that is X; columns as in `sales[a,b]`."),
    parameter("datay", "The dataset that is y."),
    parameter("async", "1: answer at once, with the address of the task."),
    parameter("timeout", "Seconds to wait for the answer, 60 where not given.", float),
    parameter("require", "A label: only workers that have it."),
]
