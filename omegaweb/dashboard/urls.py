"""Pages of the dashboard. A name may hold a /, so what is done with an object stands before it."""

from __future__ import annotations

from django.urls import path

from omegaweb.dashboard import dataset_pages, deleting, external, library, model_pages, sharing_pages, views

DATASET, MODEL = {"noun": "dataset"}, {"noun": "model"}

urlpatterns = [
    path("", views.home, name="home"),
    path("steps/", views.steps, name="steps"),
    path("runtime/", views.runtime, name="runtime"),
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
    path("upload/name/", dataset_pages.upload_name, name="upload_name"),
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
]
