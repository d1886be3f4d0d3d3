"""Pages of the dashboard. A name may hold a /, so what is done with an object stands before it."""

from __future__ import annotations

from django.urls import path

from omegaweb.dashboard import (
    dataset_pages,
    deleting,
    external,
    job_pages,
    library,
    model_pages,
    runtime_pages,
    sharing_pages,
    views,
)

DATASET, MODEL, JOB = {"noun": "dataset"}, {"noun": "model"}, {"noun": "job"}

urlpatterns = [
    path("", views.home, name="home"),
    path("steps/", views.steps, name="steps"),
    path("runtime/", runtime_pages.runtime, name="runtime"),
    path("runtime/cancel/<str:id>/", runtime_pages.cancel, name="cancel_task"),
    path(f"library/{library.NAME}", library.library, name="library"),
    path("settings/external/", external.external, name="external"),
    path("datasets/", views.listed, DATASET, name="datasets"),
    path("dataset/", dataset_pages.dataset, name="dataset"),
    path("dataset/<path:name>/", dataset_pages.dataset, name="dataset"),
    path("columns/", dataset_pages.columns, name="columns"),
    path("columns/<path:name>/", dataset_pages.columns, name="columns"),
    path("points/", dataset_pages.points, name="points"),
    path("points/<path:name>/", dataset_pages.points, name="points"),
    path("upload/", dataset_pages.upload, name="upload"),
    path("upload/name/", dataset_pages.upload_name, DATASET, name="upload_name"),
    path("delete/dataset/", deleting.delete, DATASET, name="delete_dataset"),
    path("delete/dataset/<path:name>/", deleting.delete, DATASET, name="delete_dataset"),
    path("held/<int:id>/", sharing_pages.give_up, name="give_up"),
    path("share/dataset/", sharing_pages.share, DATASET, name="share_dataset"),
    path("share/dataset/<path:name>/", sharing_pages.share, DATASET, name="share_dataset"),
    path("models/", views.listed, MODEL, name="models"),
    path("model/", model_pages.model, name="model"),
    path("model/<path:name>/", model_pages.model, name="model"),
    path("delete/model/", deleting.delete, MODEL, name="delete_model"),
    path("delete/model/<path:name>/", deleting.delete, MODEL, name="delete_model"),
    path("share/model/", sharing_pages.share, MODEL, name="share_model"),
    path("share/model/<path:name>/", sharing_pages.share, MODEL, name="share_model"),
    path("jobs/", job_pages.jobs, name="jobs"),
    path("job/", job_pages.job, name="job"),
    path("job/<path:name>/", job_pages.job, name="job"),
    path("runs/", job_pages.runs, name="job_runs"),
    path("runs/<path:name>/", job_pages.runs, name="job_runs"),
    path("run/", job_pages.run, name="run_job"),
    path("run/<path:name>/", job_pages.run, name="run_job"),
    path("schedule/", job_pages.schedule, name="schedule_job"),
    path("schedule/<path:name>/", job_pages.schedule, name="schedule_job"),
    path("report/", job_pages.report, name="job_report"),
    path("report/<path:name>/", job_pages.report, name="job_report"),
    path("notebook/", job_pages.notebook, name="job_notebook"),
    path("notebook/<path:name>/", job_pages.notebook, name="job_notebook"),
    path("upload/job/", job_pages.upload, name="upload_job"),
    path("upload/job/name/", dataset_pages.upload_name, JOB, name="upload_job_name"),
    path("delete/job/", deleting.delete, JOB, name="delete_job"),
    path("delete/job/<path:name>/", deleting.delete, JOB, name="delete_job"),
]
