"""The library as a file for pip: of the version of the platform, whatever else bears its name elsewhere."""

from __future__ import annotations

import hashlib
import io
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from functools import cache
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path

from django.http import HttpRequest, HttpResponse

from omegaml import __version__
from omegaweb.access import access
from omegaweb.roles import VIEWER

NAME = f"omegaml-{__version__}-py3-none-any.whl"
INSTALL = f"pip install './{NAME}[sklearn]'"
_PACKAGES = ("omegaml", "omegacli", "omegaweb")
_LEFT_OUT = ("__pycache__/", "omegaweb/static/")  # of this installation only
# what the packages are made of: a database, a key or a link that was left beside it is no part of them
_PARTS = ("css", "html", "js", "json", "md", "py", "svg", "txt", "typed", "yml", "LICENSE")
_TAGS = "Wheel-Version: 1.0\nGenerator: omegaweb\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@access(VIEWER)
def library(request: HttpRequest) -> HttpResponse:
    """Give the wheel to whoever is signed in."""
    answer = HttpResponse(wheel(), content_type="application/zip")
    answer["Content-Disposition"] = f'attachment; filename="{NAME}"'
    return answer


@cache
def wheel() -> bytes:
    """What is installed here, as a wheel (packaging.python.org, binary distribution format)."""
    about = f"omegaml-{__version__}.dist-info"
    content = io.BytesIO()
    record = []
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in (*_files(), *_described(about)):
            file.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)  # always of the same bytes
            digest = urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={digest},{len(data)}\n")
        file.writestr(zipfile.ZipInfo(f"{about}/RECORD"), "".join([*record, f"{about}/RECORD,,\n"]))
    return content.getvalue()


def _files() -> Iterator[tuple[str, bytes]]:
    for package in _PACKAGES:
        spec = find_spec(package)
        assert spec is not None and spec.origin is not None
        folder = Path(spec.origin).parent
        yield from _below(folder, package)
        if package == "omegacli" and not (folder / "templates").exists():  # a checkout has them beside it
            yield from _below(folder.parent / "templates", "omegacli/templates")


def _below(folder: Path, name: str) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        place = f"{name}/{path.relative_to(folder).as_posix()}"
        known = path.name.rpartition(".")[2] in _PARTS and path.is_file() and not path.is_symlink()
        if known and not any(part in place for part in _LEFT_OUT):
            yield place, path.read_bytes()


def _described(about: str) -> Iterator[tuple[str, bytes]]:
    ours = distribution("omegaml")
    metadata = ours.read_text("METADATA") or ours.read_text("PKG-INFO") or ""
    yield f"{about}/METADATA", metadata.encode()
    yield f"{about}/entry_points.txt", (ours.read_text("entry_points.txt") or "").encode()
    yield f"{about}/WHEEL", _TAGS.encode()
    for licence in (
        file for file in ours.files or () if file.name == "LICENSE" and "vendor" not in file.parts
    ):
        yield f"{about}/licenses/LICENSE", licence.read_binary()
        return
