"""Routes below /api/."""

from __future__ import annotations

from django.urls import path, re_path
from drf_spectacular.views import SpectacularAPIView

from omegaweb import access
from omegaweb.api import (
    config,
    datasets,
    errors,
    grants,
    jobs,
    models,
    notices,
    schedules,
    service,
    tasks,
    users,
    workers,
)
from omegaweb.dashboard import reference

_NAME = r"(?P<name>[\s\S]+?)"  # a name may have / in it; one of our verbs in the end is none of it
_MODELS = [
    path("v1/model/", models.Models.as_view()),
    re_path(rf"^v1/model/{_NAME}/versions/$", models.Versions.as_view()),
    re_path(rf"^v1/model/{_NAME}/openapi\.json$", models.Schema.as_view()),
    re_path(rf"^v1/model/{_NAME}/(?P<action>{'|'.join(models.ACTIONS)})/$", models.Action.as_view()),
    re_path(rf"^v1/model/{_NAME}/$", models.Model.as_view()),
]
_JOBS = [
    path("v1/job/", jobs.Jobs.as_view()),
    re_path(rf"^v1/job/{_NAME}/run/$", jobs.JobRuns.as_view()),
    re_path(rf"^v1/job/{_NAME}/report/$", jobs.JobReport.as_view()),
    re_path(rf"^v1/job/{_NAME}/schedule/$", schedules.JobSchedule.as_view()),
    re_path(rf"^v1/job/{_NAME}/logs/$", schedules.JobLogs.as_view()),
    re_path(rf"^v1/job/{_NAME}/$", jobs.OneJob.as_view()),
]
_GRANTS = [
    path("v1/grant/", grants.AllGrants.as_view()),
    path("v1/grant/<int:id>/", grants.HeldGrant.as_view()),
    re_path(r"^v1/(?P<kind>dataset|model|bucket)/grant/$", grants.ObjectGrants.as_view(schema=None)),
    re_path(rf"^v1/(?P<kind>dataset|model|bucket)/{_NAME}/grant/$", grants.ObjectGrants.as_view()),
]

urlpatterns = [
    path("v1/ping", service.Ping.as_view(schema=None)),
    path("v1/ping/", service.Ping.as_view(), name="ping"),
    path("v1/config/", config.Config.as_view(), name="api-config"),
    path("v1/worker/", workers.Workers.as_view()),
    path("v1/worker/accounts/", workers.Accounts.as_view()),
    path("v1/worker/notice/", notices.Notices.as_view()),
    path("v1/worker/<str:id>/", workers.OneWorker.as_view()),
    path("v1/user/", users.Users.as_view()),
    path("v1/user/<str:userid>/", users.OneUser.as_view()),
    path("v1/user/<str:userid>/key/", users.Keys.as_view()),
    path("v1/user/<str:userid>/key/<int:key>/", users.OneKey.as_view()),
    path("v1/user/<str:userid>/password/", users.Password.as_view()),
    *_GRANTS,
    *_MODELS,
    *_JOBS,
    path("v1/task/<str:id>/", tasks.Task.as_view()),
    path("v1/runtime/", tasks.Runtime.as_view()),
    path("v1/dataset/", datasets.Datasets.as_view()),
    path("v1/dataset/statistics/", datasets.DatasetStatistics.as_view(schema=None)),
    path("v1/dataset/<path:name>/statistics/", datasets.DatasetStatistics.as_view()),
    path("v1/dataset/<path:name>/", datasets.OneDataset.as_view()),
    path("schema/", access.access(access.REST)(SpectacularAPIView.as_view()), name="schema"),
    path("docs/", reference.reference, name="docs"),
    re_path(r"^[\s\S]*$", access.access(access.ANYBODY)(errors.not_found)),
]
