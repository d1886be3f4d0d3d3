from __future__ import annotations

from django.contrib import admin

from omegaweb.dashboard.models import LandingPage

admin.site.register(LandingPage)
admin.site.site_header = admin.site.site_title = "omega|ml administration"
