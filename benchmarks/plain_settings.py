"""omegaweb's settings with the routes of `benchmarks.plain`."""

from __future__ import annotations

from omegaweb.settings import *  # noqa: F403

ROOT_URLCONF = "benchmarks.plain"
