from __future__ import annotations

from django.contrib import admin

from omegaweb.dashboard.models import LandingPage

admin.site.register(LandingPage)
admin.site.enable_nav_sidebar = False  # lists are wide, and the index is one click away
admin.site.site_header = admin.site.site_title = "omega|ml administration"
