"""What a run has left, as a page. What is in it is somebody's code's: it gets no rights wherever it is shown.

Pages are made by a process of their own (`omegaweb.rendering`), as they can take minutes and gigabytes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from typing import Any, BinaryIO
from urllib.parse import quote

from django.http import FileResponse
from django.utils.cache import get_conditional_response

from omegaml.errors import InvalidInput, NotFound, Unavailable
from omegaml.jobs import FORMATS, SUFFIX, full_name
from omegaml.omega import Omega
from omegaml.runtime.runs import Run, Runs
from omegaweb import rendering
from omegaweb.api.parsing import TooLarge

NOTEBOOK = "application/x-ipynb+json"
MOST = 16 << 20
"""Bytes of a notebook that is made a page."""

# no script, no form, no frame of its own, nothing from elsewhere, and an origin that is nobody's
POLICY = (
    "sandbox; default-src 'none'; img-src data:; media-src data:; font-src data:; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
AT_ONCE, PATIENCE = 2, 30.0
LOOKED_AT = 100  # runs among which the newest that has left anything is looked for
_free = threading.BoundedSemaphore(AT_ONCE)
_BLOCK = 1 << 20


def report(request: Any, om: Omega, name: str, run: str | None, format: str) -> Any:
    """Answer with what a run of job `name` has left: the newest that left any, where none is named.

    Args:
        format: html, slides or ipynb.
    Raises: InvalidInput, NotFound, TooLarge, Unavailable.
    """
    if format not in FORMATS:
        raise InvalidInput(f"fmt={format[:40]!r} is not known", hint=f"one of {', '.join(FORMATS)}")
    found = left_by(om, name, run)
    assert found.results is not None
    if format == "ipynb":
        answer: Any = notebook(om, found.results)
    else:
        answer = _page(request, om, found.results, format)
        answer["Content-Security-Policy"] = POLICY
        answer["X-Frame-Options"] = "SAMEORIGIN"
    answer["X-Content-Type-Options"] = "nosniff"
    answer["Run-Id"], answer["Run-Status"] = found.id, found.status
    return answer


def left_by(om: Omega, name: str, run: str | None) -> Run:
    """The run whose results are asked for. Raises NotFound."""
    job, runs = full_name(name), Runs(om.db, om.mongo_url)
    om.jobs.metadata(job)
    known = [runs.get(run)] if run else runs.of(job, om.bucket, LOOKED_AT)
    for one in known:
        if one.results and (one.job, one.bucket) == (job, om.bucket):
            return one
    what = f"run {run[:40]!r} of job {name!r}" if run else f"job {name!r}"
    raise NotFound(f"{what} has left no results", hint=f"POST /api/v1/job/{quote(name)}/run/")


def notebook(om: Omega, name: str) -> FileResponse:
    """Answer with a notebook as it is stored."""
    answer = FileResponse(_fetched(om, name), content_type=NOTEBOOK)
    answer["Content-Disposition"] = attachment(full_name(name))
    return answer


def attachment(name: str) -> str:
    """The header that names the file that is sent."""
    return f"attachment; filename*=UTF-8''{quote(name.rpartition('/')[2], safe='')}"


def _page(request: Any, om: Omega, name: str, format: str) -> Any:
    meta = om.jobs.metadata(name)
    etag = f'"{quote(str(meta.gridfile or meta.modified))}-{format}"'
    answer = get_conditional_response(getattr(request, "_request", request), etag=etag)
    if answer is None:
        hint = f"omegacli jobs get {name} FILE --format {format}"
        if (meta.bytes or 0) > MOST:
            raise TooLarge(f"the notebook is larger than the {MOST:,} bytes that are shown", hint=hint)
        with _fetched(om, name) as file:
            made = rendered(file, format, hint)
        answer = FileResponse(made, content_type="text/html; charset=utf-8")
        answer["ETag"], answer["Cache-Control"] = etag, "private, no-cache"
        if format == "slides":  # these need scripts, which nothing runs here
            answer["Content-Disposition"] = attachment(f"{name.removesuffix(SUFFIX)}.slides.html")
    return answer


def _fetched(om: Omega, name: str) -> BinaryIO:
    """A stored notebook in a file of this machine, which is gone once it is closed."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - returned
    try:
        with om.jobs.open(name) as stored:
            while block := stored.read(_BLOCK):
                file.write(block)
        file.seek(0)
        return file
    except BaseException:
        file.close()
        raise


def rendered(file: BinaryIO, format: str, hint: str) -> BinaryIO:
    """Return the page of a notebook in a file, as a file that is gone once it is closed.

    Args:
        hint: how to get the page where it is too much for this.
    Raises: TooLarge, InvalidInput (it is no notebook, or lacks what it refers to), Unavailable (too many are
        made at the same time).
    """
    if os.fstat(file.fileno()).st_size > MOST:
        raise TooLarge(f"the notebook is larger than the {MOST:,} bytes that are shown", hint=hint)
    if not _free.acquire(timeout=PATIENCE):
        raise Unavailable("too many pages are made at the moment", hint="try again")
    made = tempfile.TemporaryFile()  # noqa: SIM115 - returned
    try:
        with tempfile.TemporaryDirectory() as home, tempfile.TemporaryFile() as said:
            status = _made(file, made, said, format, home)
            if status == rendering.WRONG:
                said.seek(0)
                reason = said.read(2000).decode("utf-8", "replace").strip().rpartition("\n")[2]
                raise InvalidInput(f"the notebook cannot be shown: {reason[:300]}", hint=hint)
        if status:
            raise TooLarge("the notebook takes too much time or memory to be shown", hint=hint)
        made.seek(0)
        return made
    except BaseException:
        made.close()
        raise
    finally:
        _free.release()


def _made(file: BinaryIO, made: BinaryIO, said: BinaryIO, format: str, home: str) -> int:
    command = [sys.executable, "-I", "-m", rendering.__name__, format]
    environment = {"HOME": home, "PATH": os.defpath, "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"}
    try:
        return subprocess.run(
            command,
            stdin=file,
            stdout=made,
            stderr=said,
            cwd=home,
            env=environment,
            timeout=2 * rendering.SECONDS,
        ).returncode
    except subprocess.TimeoutExpired:
        return 1
