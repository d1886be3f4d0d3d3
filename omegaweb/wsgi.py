"""The application as gunicorn runs it: `gunicorn omegaweb.wsgi`."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "omegaweb.settings")
application = get_wsgi_application()

from omegaweb.trimming import keep_trimming  # noqa: E402 - it needs what was set up just now

keep_trimming()
