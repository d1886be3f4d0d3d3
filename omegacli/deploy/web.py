"""omegaweb in the local target: what it is told, how its commands are run, whether it answers.

It is never imported here: it runs in processes of its own, `python -m omegaweb.manage` and gunicorn.
"""

from __future__ import annotations

import hashlib
import http.client
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import yaml

from omegacli.deploy import supervisor
from omegacli.deploy.base import Layout, read_text
from omegacli.deploy.secrets import Secrets
from omegacli.deploy.spec import ACCOUNT, ClusterSpec, Web
from omegaml import __version__, admin
from omegaml.errors import OmegaError, Unavailable

INSTALL = "pip install 'omegaml[web]'"
_NEEDED = (
    *("django", "rest_framework", "constance", "axes", "drf_spectacular"),
    *("whitenoise", "cryptography", "gunicorn"),
)
_LONGEST = 600.0  # seconds that a command of manage.py may take: a migration of much data takes long


def missing() -> list[str]:
    """The packages that omegaweb needs and that are not installed."""
    return [name for name in _NEEDED if find_spec(name) is None]


def is_part_of(spec: ClusterSpec) -> bool:
    """Whether the cluster has pages and a REST API: it shall, and what they need is installed."""
    return spec.web.enabled and not missing()


def url(spec: ClusterSpec) -> str:
    """Where people open it."""
    return f"http://localhost:{spec.ports.web}"


def configuration(spec: ClusterSpec, secrets: Secrets) -> str:
    """Return web.yml (omegaweb.configuration). It holds secrets."""
    server = f"127.0.0.1:{spec.ports.mongodb}"
    database = spec.layout.web_data / "omegaweb.sqlite3"
    values = {
        "secret_key": secrets.web_secret_key,
        "encryption_keys": [secrets.web_encryption_key],
        "database": f"sqlite:///{quote(str(database))}",
        "mongo_url": admin.provision_url(server, secrets.mongodb_provision_password),
        "mongo_server": server,
        "mongo_host": server,
        "url": url(spec),
        "own_account": ACCOUNT,
        **mail(spec),
    }
    if spec.ports.metrics:
        values["metrics_port"] = spec.ports.metrics
    if spec.web.audit_days != Web.audit_days:
        values["audit_days"] = spec.web.audit_days
    if spec.web.proxies:
        values["proxies"] = spec.web.proxies
    return str(yaml.safe_dump(values, sort_keys=False, width=4096, allow_unicode=True))


def mail(spec: ClusterSpec) -> dict[str, Any]:
    """What web.yml says of mail: nothing where none is sent. The password stays in its own file."""
    given = spec.mail
    if not given.host:
        return {}
    values: dict[str, Any] = {"mail_host": given.host, "mail_port": given.port, "mail_tls": given.tls}
    values |= {"mail_from": given.sender, "mail_user": given.user}
    if spec.mail_password_file:
        values["mail_password_file"] = str(spec.mail_password_file)
    return values


def _mail_password(spec: ClusterSpec) -> str:
    if not spec.mail.host or spec.mail_password_file is None:
        return ""
    with suppress(OSError, UnicodeDecodeError):  # the check before `up` says it
        return read_text(spec.mail_password_file)
    return ""


def gunicorn(spec: ClusterSpec, configured: str) -> str:
    """Return gunicorn.conf.py: this machine only. It differs whenever web.yml (`configured`) does."""
    layout = spec.layout
    values = {
        "wsgi_app": "omegaweb.wsgi",
        "bind": [f"127.0.0.1:{port}" for port in (spec.ports.web, spec.ports.metrics) if port],
        "worker_class": "gthread",
        "workers": 1,
        "threads": 8,
        "graceful_timeout": 20,
        "raw_env": [f"OMEGAWEB_CONFIG={layout.web_config}"],
        "chdir": str(_source()),  # a module that happens to lie in the cluster's folder is none of ours
        "control_socket_disable": True,  # it would lie in the home of whoever typed `up`
    }
    # whatever web.yml says, in itself or in a file that it names: another content restarts gunicorn
    said = digest(configured, _mail_password(spec))
    head = f"# Written by `omegacli cluster up`: omega|ml {__version__}, {said}\n"
    return head + "".join(f"{name} = {value!r}\n" for name, value in values.items())


def binds(layout: Layout, port: int) -> bool:
    """Whether gunicorn was told to listen on `port`."""
    try:
        return repr(f"127.0.0.1:{port}") in read_text(layout.gunicorn_conf)
    except OSError:
        return False


def digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def _source() -> Path:
    """The folder in which the package omegaweb lies."""
    return Path(__file__).resolve().parents[2]


def manage(spec: ClusterSpec, secrets: Secrets, *words: str, given: str = "") -> str:
    """Run a command of omegaweb's manage.py and return what it printed.

    Args:
        given: its standard input, by which a secret reaches it and no process list.
    Raises: Unavailable with its last words, secrets masked.
    """
    argv = [sys.executable, "-P", "-m", "omegaweb.manage", *words]
    environment = supervisor.environment() | {"OMEGAWEB_CONFIG": str(spec.layout.web_config)}
    try:
        done = subprocess.run(
            argv,
            input=given,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=_LONGEST,
            cwd=spec.root,
            env=environment,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"omegaweb's `{words[0]}` did not end: {type(error).__name__}") from None
    if done.returncode:
        said = [secrets.mask(line) for line in done.stderr.strip().splitlines()]
        last = said[-1] if said else f"it ended with {done.returncode}"
        hint = "mend that, then type `omegacli cluster up` again: it goes on"
        raise Unavailable(f"omegaweb's `{words[0]}` failed: {last}", hint=hint, logs={"web": said[-30:]})
    return done.stdout


def answers(port: int, timeout: float = 2.0) -> str:
    """What keeps omegaweb on 127.0.0.1:`port` from working, as its /healthz tells; "" if it works."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
        return "" if status == 200 else f"/healthz answers {status}"
    except (OSError, http.client.HTTPException):
        return "it does not answer yet"
    finally:
        connection.close()


def accepts(spec: ClusterSpec, userid: str, mongo_url: str, timeout: float = 3.0) -> bool:
    """Whether omegaweb takes the cluster's key of `userid`, and gives it the login that `mongo_url` has."""
    from omegaml import rest

    try:
        key = spec.layout.apikey(userid).read_text("utf-8").strip()
        given = urlsplit(rest.fetch_config(url(spec), userid, key, timeout)["OMEGA_MONGO_URL"])
    except (OSError, KeyError, OmegaError):
        return False
    wanted = urlsplit(mongo_url)
    return (given.username, given.password, given.path) == (wanted.username, wanted.password, wanted.path)
