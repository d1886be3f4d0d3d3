"""The files of a cluster in containers, below its `build/`: the same again for the same spec."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import yaml

from omegacli.deploy import containers, mongod, web
from omegacli.deploy.base import make_dir, read_text, write_file
from omegacli.deploy.containers import BROKER, BROKER_ADMIN, MONGODB, MYSQL, WEB, Container
from omegacli.deploy.paths import template
from omegacli.deploy.secrets import Secrets
from omegacli.deploy.spec import ACCOUNT, ClusterSpec
from omegaml import __version__, admin, config

if TYPE_CHECKING:
    from jinja2 import Environment

BROKER_ADMINISTRATOR = "omega-admin"
WORKER_ACCOUNT = "runner"


def compose(spec: ClusterSpec, secrets: Secrets) -> dict[str, str]:
    """Return the files of the target compose by their path below `build/`: compose.yml, and what it mounts.

    None but those below `secrets/` holds a secret.
    """
    described = containers.describe(spec)
    files = configuration(spec) | secret_files(spec, secrets)
    missing = {mount.source for one in described for mount in one.mounts} - {*files, "secrets/worker"}
    assert not missing, missing
    about = {
        "version": __version__,
        "project": project(spec),
        "build": str(spec.layout.build),
        "containers": described,
        "digests": {one.name: _digest(one, files, secrets) for one in described},
        "networks": sorted({network for one in described for network in one.networks}),
        "volumes": sorted({volume for one in described for volume in one.volumes}),
    }
    return files | {"compose.yml": _rendered("compose/compose.yml.j2", about)}


def _digest(one: Container, files: dict[str, str], secrets: Secrets) -> str:
    """What is another one when a file that a container sees is, so that it is made anew then.

    It tells nothing of what is in them: it depends on a secret as well.
    """
    seen = [f"{mount.path}\0{text}" for mount in one.mounts for text in _seen(mount.source, files)]
    key = secrets.mongodb_keyfile.encode()
    return hmac.new(key, "\0".join(seen).encode(), hashlib.sha256).hexdigest()[:16]


def _seen(source: str, files: dict[str, str]) -> list[str]:
    return [text for name, text in files.items() if name == source or name.startswith(f"{source}/")]


def configuration(spec: ClusterSpec) -> dict[str, str]:
    """Return the services' configuration; it holds no secret."""
    ports = {"web": WEB, "mongodb": MONGODB, "broker": BROKER}
    return {
        "mongodb/mongod.conf": _mongod(spec),
        "mysql/omegaml.cnf": _mysql(spec),
        "rabbitmq/rabbitmq.conf": _rabbitmq(),
        "rabbitmq/enabled_plugins": "[rabbitmq_management].\n",
        "web/gunicorn.conf.py": _gunicorn(),
        "nginx/nginx.conf": _rendered("nginx/nginx.conf.j2", ports),
    }


def secret_files(spec: ClusterSpec, secrets: Secrets) -> dict[str, str]:
    """Return what each service, and no other, gets to know."""
    as_web = _broker_url("omega-web", secrets.broker_web_password)
    as_worker = _broker_url("omega-worker", secrets.broker_worker_password)
    worker = {
        "OMEGA_RESTAPI_URL": f"http://omegaml:{WEB}",
        "OMEGA_USERID": WORKER_ACCOUNT,
        "OMEGA_APIKEY": secrets.worker_apikey,
        "OMEGA_BROKER": as_worker,
    }
    return {
        "secrets/mongodb/keyfile": secrets.mongodb_keyfile,
        "secrets/mongodb/root_password": secrets.mongodb_root_password,
        "secrets/mongodb/provision_password": secrets.mongodb_provision_password,
        "secrets/mysql/password": secrets.mysql_password,
        "secrets/mysql/root_password": secrets.mysql_root_password,
        "secrets/rabbitmq/definitions.json": _definitions(secrets),
        "secrets/omegaml/web.yml": _web(spec, secrets),
        "secrets/omegaml/broker_web": as_web,
        "secrets/omegaml/broker_worker": as_worker,
        "secrets/omegaml/worker.key": secrets.worker_apikey,
        "secrets/worker/worker.yml": _yaml(worker),
    }


def write(spec: ClusterSpec, files: dict[str, str]) -> bool:
    """Write the files below `build/`, and remove what is not among them; whether anything changed.

    Secrets are closed by their folders: a container that has given up root's rights reads its own file, which
    has this machine's owner and mode.
    """
    build = spec.layout.build
    make_dir(build, 0o755)
    changed = False
    for name, text in files.items():
        path = build / name
        if name.startswith("secrets/"):
            make_dir(build / "secrets")
            make_dir(path.parent)
        mode = 0o400 if path.parent.name == "worker" else 0o444 if name.startswith("secrets/") else 0o644
        changed |= write_file(path, text, mode)
    for path in sorted(build.rglob("*"), reverse=True):
        if path.is_file() and path.relative_to(build).as_posix() not in files:
            path.unlink()
            changed = True
    return changed


def url(spec: ClusterSpec) -> str:
    """Where people open the platform."""
    return f"http://{spec.host}:{spec.ports.web}"


def project(spec: ClusterSpec) -> str:
    """The name under which the engine knows the cluster's containers, networks and volumes."""
    return f"omegaml-{spec.name.lower()}"


def _mongod(spec: ClusterSpec) -> str:
    net = {"bindIpAll": True, "port": MONGODB}
    return mongod.settings(spec, net, "/run/omegaml/keyfile", "/data/db", _cache(spec))


def _cache(spec: ClusterSpec) -> float:
    """GB for the cache: half of what the container has, and not more than omega.yml says."""
    return min(spec.mongodb.cache_gb, round(spec.memory("mongodb") / 2048, 2))


def _mysql(spec: ClusterSpec) -> str:
    buffer = spec.memory("mysql") // 4
    return (
        "[mysqld]\nskip-name-resolve\ncharacter-set-server=utf8mb4\nmax_connections=100\n"
        f"innodb_buffer_pool_size={buffer}M\nperformance_schema=OFF\n"
    )


def _rabbitmq() -> str:
    return (
        "load_definitions = /run/secrets/definitions.json\n"
        "log.console = true\nlog.console.level = warning\nlog.file = false\n"
        "vm_memory_high_watermark.relative = 0.6\ndisk_free_limit.absolute = 500MB\n"
    )


def _gunicorn() -> str:
    values: dict[str, Any] = {
        "wsgi_app": "omegaweb.wsgi",
        "bind": [f"0.0.0.0:{WEB}"],
        "worker_class": "gthread",
        "workers": 1,
        "threads": 8,
        "graceful_timeout": 20,
        "worker_tmp_dir": "/dev/shm",
        "control_socket_disable": True,
    }
    return "".join(f"{name} = {value!r}\n" for name, value in values.items())


def _web(spec: ClusterSpec, secrets: Secrets) -> str:
    server = f"mongodb:{MONGODB}"
    administrator = _login(BROKER_ADMINISTRATOR, secrets.broker_admin_password)
    values = {
        "secret_key": secrets.web_secret_key,
        "encryption_keys": [secrets.web_encryption_key],
        "database": f"mysql://{_login('omegaml', secrets.mysql_password)}@mysql:{MYSQL}/omegaml",
        "mongo_url": admin.provision_url(server, secrets.mongodb_provision_password),
        "mongo_server": server,
        "mongo_host": f"{spec.host}:{spec.ports.mongodb}",
        "broker_admin_url": f"http://{administrator}@rabbitmq:{BROKER_ADMIN}/",
        "broker_server": f"amqp://rabbitmq:{BROKER}",
        "broker_url": f"amqp://{spec.host}:{spec.ports.rabbitmq}",
        "web_broker_url_file": "/run/secrets/broker_web",
        "url": url(spec),
        "hosts": ["omegaml"],
        "own_account": ACCOUNT,
        "proxies": spec.web.proxies + 1,
        **web.mail(spec),
    }
    return _yaml(values)


def _broker_url(name: str, password: str) -> str:
    return config.check_broker(f"amqp://{_login(name, password)}@rabbitmq:{BROKER}")


def _login(name: str, password: str) -> str:
    return f"{name}:{quote(password, safe='')}"


def _definitions(secrets: Secrets) -> str:
    """RabbitMQ's first user, who makes the others: https://www.rabbitmq.com/docs/definitions."""
    user = {
        "name": BROKER_ADMINISTRATOR,
        "password_hash": _salted(secrets.broker_admin_password),
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": ["administrator"],
    }
    everything = dict.fromkeys(("configure", "write", "read"), ".*")
    permission = {"user": BROKER_ADMINISTRATOR, "vhost": "/", **everything}
    return json.dumps({"vhosts": [{"name": "/"}], "users": [user], "permissions": [permission]}, indent=1)


def _salted(password: str) -> str:
    """Return a password as RabbitMQ keeps it (https://www.rabbitmq.com/docs/passwords).

    The salt follows from the password, so that the file is the same each time; no two passwords of ours are.
    """
    salt = hashlib.sha256(f"salt of {password}".encode()).digest()[:4]
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _yaml(values: dict[str, Any]) -> str:
    return str(yaml.safe_dump(values, sort_keys=False, width=4096, allow_unicode=True))


def _rendered(name: str, about: dict[str, Any]) -> str:
    return str(_environment().from_string(read_text(template(name))).render(about))


def _environment() -> Environment:
    from jinja2 import Environment, StrictUndefined

    made = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    made.filters["json"] = _json
    return made


def _json(value: Any) -> str:
    """`value` as JSON, which is YAML, in which compose replaces nothing."""
    return json.dumps(value, ensure_ascii=False).replace("$", "$$")
