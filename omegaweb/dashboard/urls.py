"""Pages of the dashboard. A name may hold a /, so what is done with an object stands before it."""

from __future__ import annotations

from django.urls import path

from omegaweb.dashboard import dataset_pages, external, model_pages, views

urlpatterns = [
    path("", views.home, name="home"),
    path("steps/", views.steps, name="steps"),
    path("runtime/", views.runtime, name="runtime"),
    path("settings/external/", external.external, name="external"),
    path("datasets/", dataset_pages.datasets, name="datasets"),
    path("dataset/", dataset_pages.dataset, name="dataset"),
    path("dataset/<path:name>/", dataset_pages.dataset, name="dataset"),
    path("columns/", dataset_pages.columns, name="columns"),
    path("columns/<path:name>/", dataset_pages.columns, name="columns"),
    path("points/", dataset_pages.points, name="points"),
    path("points/<path:name>/", dataset_pages.points, name="points"),
    path("upload/", dataset_pages.upload, name="upload"),
    path("upload/name/", dataset_pages.upload_name, name="upload_name"),
    path("delete/dataset/", dataset_pages.delete, name="delete_dataset"),
    path("delete/dataset/<path:name>/", dataset_pages.delete, name="delete_dataset"),
    path("models/", model_pages.models, name="models"),
    path("model/", model_pages.model, name="model"),
    path("model/<path:name>/", model_pages.model, name="model"),
    path("delete/model/", model_pages.delete, name="delete_model"),
    path("delete/model/<path:name>/", model_pages.delete, name="delete_model"),
]
