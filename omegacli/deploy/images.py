"""The platform's own image: what goes into it, and having the Docker engine build it."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
import tempfile
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import distribution
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from omegacli.deploy.paths import template
from omegacli.deploy.spec import ClusterSpec
from omegaml import __version__
from omegaml.errors import InvalidInput, NotFound, OmegaError, PreflightFailed, TimedOut, Unavailable

if TYPE_CHECKING:
    from docker import DockerClient

TARGET = "platform"
SOURCE_LABEL = "org.omegaml.source"
SOURCE = (
    "setup.cfg",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "omegacli",
    "omegaml",
    "omegaweb",
    "templates",
)
_NOT_BUILT = re.compile(r"(^|/)(__pycache__|\.[^/]*)(/|$)|\.pyc$")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_LAST = 30  # lines of a failed build that are told


@dataclass(frozen=True)
class Image:
    """One of the images that a cluster is made of.

    Attributes:
        id: its digest on this engine; empty where it is not there.
        size: in bytes.
        source: of ours, what it was built from (`source`); empty where it does not say.
    """

    service: str
    name: str
    id: str = ""
    size: int = 0
    source: str = ""

    @property
    def is_there(self) -> bool:
        return bool(self.id)


def names(spec: ClusterSpec) -> dict[str, str]:
    """Return the image of each service, with the prefix of the registry that they come from, if any."""
    images = spec.images
    given = {
        "omegaml": images.omegaml or f"omegaml:{__version__}",
        "mongodb": images.mongodb,
        "mysql": images.mysql,
        "rabbitmq": images.rabbitmq,
        "nginx": images.nginx,
    }
    prefix = images.prefix.rstrip("/")
    return {service: f"{prefix}/{name}" if prefix else name for service, name in given.items()}


@contextmanager
def engine(timeout: float = 600.0) -> Iterator[DockerClient]:
    """The Docker engine: that of DOCKER_HOST, or of the context that `docker` itself works with.

    Raises: Unavailable where none answers, or this user may not speak to it.
    """
    import docker
    from docker.context import ContextAPI

    host = os.environ.get("DOCKER_HOST")
    client: DockerClient | None = None
    try:
        if not host:
            current = ContextAPI.get_current_context()
            host = current.Host if current is not None else None
        client = docker.DockerClient(base_url=host, timeout=int(timeout)) if host else docker.from_env()
        client.ping()
    except Exception as error:  # of docker, requests or the socket, each in its own words
        if client is not None:
            client.close()
        place = host or "unix:///var/run/docker.sock"
        if "PermissionError" in repr(error):
            raise Unavailable(
                f"this user may not speak to the Docker engine at {place}",
                hint="be a member of the group docker, or root",
            ) from error
        raise Unavailable(
            f"no Docker engine answers at {place}", hint="start it, or name another in DOCKER_HOST"
        ) from error
    try:
        yield client
    finally:
        client.close()


def listed(spec: ClusterSpec) -> list[Image]:
    """Return the images of a cluster and what the engine has of them. Raises: as `engine`."""
    from docker.errors import ImageNotFound

    found = []
    with engine() as client:
        for service, name in names(spec).items():
            try:
                there = client.images.get(name)
                size, said = int(there.attrs["Size"]), there.labels.get(SOURCE_LABEL, "")
                found.append(Image(service, name, str(there.id), size, said))
            except ImageNotFound:
                found.append(Image(service, name))
    return found


def pull(image: Image) -> None:
    """Pull an image.

    Raises: PreflightFailed naming it and the setting where it is not to be had; as `engine`.
    """
    with engine() as client:
        try:
            client.images.pull(image.name)
        except Exception as error:
            said = str(getattr(error, "explanation", "") or error)
            raise PreflightFailed(
                f"the image {image.name} is not to be had: {said}",
                hint=f"name another: --set images.{image.service}=..., or a registry: images.prefix",
            ) from error


def build(spec: ClusterSpec, tell: Callable[[str], None], no_cache: bool = False) -> Image:
    """Build the platform's image and return it.

    Args:
        tell: called with each line that the engine says, while it says it.
        no_cache: build every layer anew, and look for a newer base image.
    Raises: Unavailable with the last lines (a step failed, the base image is not to be had), NotFound (the
        file of `build.ca`), InvalidInput (the engine takes a name or an argument for none), as `engine`.
    """
    name = names(spec)["omegaml"]
    with engine() as client, tempfile.TemporaryFile() as context:
        write_context(spec, context)
        context.seek(0)
        said: list[str] = []
        built = ""
        try:
            for answer in client.api.build(
                fileobj=context,
                custom_context=True,
                encoding="gzip",
                tag=name,
                target=TARGET,
                buildargs=arguments(spec),
                labels={
                    "org.opencontainers.image.title": "omegaml",
                    "org.opencontainers.image.version": __version__,
                    SOURCE_LABEL: source(spec),
                },
                nocache=no_cache,
                pull=no_cache,
                rm=True,
                forcerm=True,
                decode=True,
            ):
                for line in _lines(answer):
                    said.append(line)
                    tell(line)
                if "error" in answer:
                    raise _failed(name, str(answer["error"]), said)
                built = answer.get("aux", {}).get("ID") or built
            there = client.images.get(name)
        except OmegaError:
            raise
        except Exception as error:
            raise _translated(name, error, said) from error
    return Image("omegaml", name, built or str(there.id), int(there.attrs["Size"]))


def arguments(spec: ClusterSpec) -> dict[str, str]:
    """Return the build's arguments: what omega.yml says, and the proxies of this environment."""
    given = {
        "BASE": spec.build.base,
        "PIP_INDEX_URL": spec.build.index,
        "FRAMEWORKS": spec.build.frameworks,
    }
    given |= {name: os.environ.get(name) or os.environ.get(name.lower(), "") for name in _PROXIES}
    return {name: value for name, value in given.items() if value}


def write_context(spec: ClusterSpec, file: Any) -> None:
    """Write what the image is built from as a compressed tar archive; the same again for the same content.

    Raises: NotFound (`build.ca` names no file).
    """
    with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive:
        for name, content in _content(spec):
            _add(archive, name, content)


def source(spec: ClusterSpec) -> str:
    """Return what is another one when the image would be built from something else.

    Raises: as `write_context`.
    """
    said = sha256(json.dumps([spec.build.base, spec.build.frameworks]).encode())
    for name, content in _content(spec):
        said.update(f"{name} {len(content)} ".encode() + content)
    return said.hexdigest()[:16]


def _content(spec: ClusterSpec) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of each file that the image is built from."""
    for name in ("Dockerfile", "requirements.txt", "ca/README"):
        yield name, template(f"image/{name}").read_bytes()
    if spec.build.ca:
        path = spec.root / Path(spec.build.ca).expanduser()
        try:
            yield "ca/given.crt", path.read_bytes()
        except OSError as error:
            raise NotFound(
                f"the certificates {path} cannot be read: {error.strerror}",
                hint="config set --cluster build.ca=FILE",
            ) from error
    root = Path(__file__).resolve().parents[2]
    if (root / "setup.cfg").is_file():
        for part, content in _source(root):
            yield f"package/omegaml/{part}", content
    else:
        yield f"package/omegaml-{__version__}-py3-none-any.whl", wheel()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    about = tarfile.TarInfo(name)
    about.size, about.mode = len(content), 0o644
    archive.addfile(about, io.BytesIO(content))


def _source(root: Path) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of what a checkout's package is made of."""
    for part in SOURCE:
        place = root / part
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            name = path.relative_to(root).as_posix()
            if path.is_file() and not _NOT_BUILT.search(name):
                yield name, path.read_bytes()


def wheel() -> bytes:
    """Return a wheel of the package that is installed here, made of its files.

    Source: https://packaging.python.org/en/latest/specifications/binary-distribution-format/
    Raises: NotFound where files of it are missing.
    """
    found = distribution("omegaml")
    info = f"omegaml-{found.version}.dist-info"
    content: dict[str, bytes] = {}
    for path in found.files or ():
        name = PurePosixPath(path).as_posix()
        if (
            name.startswith("..")
            or _NOT_BUILT.search(name)
            or name.endswith(("/RECORD", "/INSTALLER", "/REQUESTED", "/direct_url.json"))
        ):
            continue  # the shell's command, and what the installation has added
        try:
            content[name] = Path(str(path.locate())).read_bytes()
        except OSError as error:
            raise NotFound(
                f"the installed package lacks {name}", hint="reinstall with `pip install --force-reinstall`"
            ) from error
    digests = {
        name: urlsafe_b64encode(sha256(data).digest()).rstrip(b"=").decode() for name, data in content.items()
    }
    record = [f"{name},sha256={digests[name]},{len(data)}" for name, data in content.items()]
    content[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def _lines(answer: dict[str, Any]) -> list[str]:
    text = str(answer.get("stream") or answer.get("status") or "")
    return [line for line in text.splitlines() if line.strip()]


def _failed(name: str, problem: str, said: list[str]) -> OmegaError:
    return Unavailable(
        f"the image {name} was not built: {problem.strip()}",
        hint="what it said last stands above; `-v` shows all of it",
        logs={"build": said[-_LAST:]},
    )


def _translated(name: str, error: Exception, said: list[str]) -> OmegaError:
    from docker.errors import APIError

    if isinstance(error, APIError):
        if error.is_client_error():
            return InvalidInput(
                f"the image {name} is not built: {error.explanation}", hint="images.omegaml, build.base"
            )
        return _failed(name, str(error.explanation), said)
    if "Timeout" in type(error).__name__:  # of requests, by which the SDK speaks
        return TimedOut(
            f"the Docker engine said nothing for too long while it built {name}", hint="--timeout SECONDS"
        )
    return _failed(name, f"the Docker engine went away ({type(error).__name__})", said)
