from __future__ import annotations

from django.urls import path

from omegaweb.dashboard import views

urlpatterns = [path("", views.home, name="home")]
