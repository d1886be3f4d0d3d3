"""The services of a cluster in containers: one description, from which every target's files are made."""

from __future__ import annotations

from dataclasses import dataclass, field

from omegacli.deploy import images
from omegacli.deploy.spec import ClusterSpec

#: Networks: `edge` reaches the outside, `data` and `accounts` nothing but who is in them.
EDGE, DATA, ACCOUNTS = "edge", "data", "accounts"

WEB, MONGODB, BROKER, BROKER_ADMIN, MYSQL = 5000, 27017, 5672, 15672, 3306

PYTHON = "/opt/omegaml/bin/python"


@dataclass(frozen=True)
class Port:
    """What this machine passes on to a container.

    Attributes:
        address: of this machine, at which `number` is reached.
        to: the port in the container.
    """

    address: str
    number: int
    to: int


@dataclass(frozen=True)
class Health:
    """How it is seen that a service works.

    Attributes:
        test: a command in the container that ends with 0 then.
        start: seconds that the first start may take.
    """

    test: tuple[str, ...]
    start: int = 60
    interval: int = 10
    timeout: int = 5
    retries: int = 3


@dataclass(frozen=True)
class Mount:
    """A file or folder below the cluster's `build/` that a container sees, and cannot write."""

    source: str
    path: str


@dataclass(frozen=True)
class Container:
    """One service.

    Attributes:
        command: what it runs instead of the image's own command.
        entrypoint: the same for the image's entry point.
        mounts: its configuration, and the secrets that are its own.
        volumes: where what it keeps lies, by the name of the volume.
        ports: what is reached from outside.
        needs: services that have to work before it does.
        memory: the most it may take, in MiB.
        rights: of root's capabilities those that it keeps.
        fresh: folders in memory that begin empty.
    """

    name: str
    image: str
    health: Health
    networks: tuple[str, ...]
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    user: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    volumes: dict[str, str] = field(default_factory=dict)
    ports: tuple[Port, ...] = ()
    needs: tuple[str, ...] = ()
    replicas: int = 1
    memory: int = 512
    processes: int = 500
    rights: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    read_only: bool = True
    stop_seconds: int = 30


def describe(spec: ClusterSpec) -> tuple[Container, ...]:
    """Return the services, those first that others need."""
    return (_mongodb(spec), _mysql(spec), _rabbitmq(spec), _omegaml(spec), _worker(spec), _nginx(spec))


def _mongodb(spec: ClusterSpec) -> Container:
    # mongod wants a keyfile that is its own and closed to others; what is mounted has this machine's owner
    start = (
        "install -m 400 -o mongodb /run/secrets/keyfile /run/omegaml/keyfile && "
        "exec docker-entrypoint.sh mongod --config /etc/omegaml/mongod.conf"
    )
    return Container(
        "mongodb",
        images.names(spec)["mongodb"],
        Health(_says(MONGODB, _HELLO, "head -c 16 <&3 | wc -c | grep -q 16"), start=60),
        (DATA,),
        entrypoint=("bash", "-c", start),
        mounts=(
            Mount("mongodb/mongod.conf", "/etc/omegaml/mongod.conf"),
            *_secrets("mongodb", "keyfile", "root_password", "provision_password"),
        ),
        volumes={"mongodb": "/data/db", "mongodb-config": "/data/configdb"},
        memory=spec.memory("mongodb"),
        rights=_DROPPING,
        fresh=("/run/omegaml", "/tmp"),
        stop_seconds=60,
    )


def _mysql(spec: ClusterSpec) -> Container:
    # it is refused and counts as an answer; while a new database is made only the socket is served
    ping = "mysqladmin ping --silent --host=127.0.0.1 || mariadb-admin ping --silent --host=127.0.0.1"
    return Container(
        "mysql",
        images.names(spec)["mysql"],
        Health(("CMD-SHELL", ping), start=180),
        (ACCOUNTS,),
        environment={
            "MYSQL_DATABASE": "omegaml",
            "MYSQL_USER": "omegaml",
            "MYSQL_PASSWORD_FILE": "/run/secrets/password",
            "MYSQL_ROOT_PASSWORD_FILE": "/run/secrets/root_password",
        },
        mounts=(
            Mount("mysql/omegaml.cnf", "/etc/mysql/conf.d/omegaml.cnf"),
            *_secrets("mysql", "password", "root_password"),
        ),
        volumes={"mysql": "/var/lib/mysql"},
        memory=spec.memory("mysql"),
        rights=_DROPPING,
        fresh=("/tmp", "/var/run/mysqld"),
        stop_seconds=60,
    )


def _rabbitmq(spec: ClusterSpec) -> Container:
    return Container(
        "rabbitmq",
        images.names(spec)["rabbitmq"],
        # its own command takes a second of a processor each time; it listens when it can serve
        Health(_says(BROKER), start=90),
        (DATA,),
        mounts=(
            Mount("rabbitmq/rabbitmq.conf", "/etc/rabbitmq/conf.d/omegaml.conf"),
            Mount("rabbitmq/enabled_plugins", "/etc/rabbitmq/enabled_plugins"),
            *_secrets("rabbitmq", "definitions.json"),
        ),
        # what is said before the broker itself speaks goes into files, whose folder is not everybody's
        volumes={"rabbitmq": "/var/lib/rabbitmq", "rabbitmq-log": "/var/log/rabbitmq"},
        # the name under which it keeps what it has
        environment={"RABBITMQ_NODENAME": "rabbit@rabbitmq"},
        memory=spec.memory("rabbitmq"),
        rights=_DROPPING,
        fresh=("/tmp",),
        stop_seconds=60,
    )


def _omegaml(spec: ClusterSpec) -> Container:
    request = "GET /healthz HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n"
    return Container(
        "omegaml",
        images.names(spec)["omegaml"],
        Health(_says(WEB, request, "head -n 1 <&3 | grep -q ' 200 '"), start=60),
        (DATA, ACCOUNTS, EDGE),
        command=(PYTHON, "-P", "-m", "gunicorn", "--config", "/etc/omegaml/gunicorn.conf.py"),
        environment={"OMEGAWEB_CONFIG": "/run/secrets/web.yml"},
        mounts=(
            Mount("web/gunicorn.conf.py", "/etc/omegaml/gunicorn.conf.py"),
            *_secrets("omegaml", "web.yml", "broker_web", "broker_worker", "worker.key"),
        ),
        needs=("mongodb", "mysql", "rabbitmq"),
        memory=spec.memory("omegaml"),
        fresh=("/tmp",),
    )


def _worker(spec: ClusterSpec) -> Container:
    command = (PYTHON, "-P", "-m", "omegaml.runtime.worker", "--config", "/run/secrets/worker.yml")
    alive = "test $(( $(date +%s) - $(stat -c %Y /tmp/alive) )) -lt 30"
    return Container(
        "worker",
        images.names(spec)["omegaml"],
        Health(("CMD-SHELL", alive), start=60),
        (DATA, EDGE),
        command=(*command, "--alive-file", "/tmp/alive"),
        # root, as each account's code runs as a user of its own, who cannot look into the folder of secrets
        user="0:0",
        mounts=(Mount("secrets/worker", "/run/secrets"),),
        needs=("omegaml", "mongodb", "rabbitmq"),
        replicas=spec.worker.replicas,
        memory=spec.memory("worker"),
        processes=2000,
        rights=("SETUID", "SETGID", "KILL", "CHOWN", "DAC_OVERRIDE", "FOWNER"),
        fresh=("/tmp",),
    )


def _nginx(spec: ClusterSpec) -> Container:
    ports = {WEB: spec.ports.web, MONGODB: spec.ports.mongodb, BROKER: spec.ports.rabbitmq}
    return Container(
        "nginx",
        images.names(spec)["nginx"],
        Health(_says(WEB), start=30),
        (EDGE, DATA),
        mounts=(Mount("nginx/nginx.conf", "/etc/nginx/nginx.conf"),),
        ports=tuple(Port(spec.ports.address, number, to) for to, number in ports.items()),
        needs=("omegaml", "mongodb", "rabbitmq"),
        memory=spec.memory("nginx"),
        rights=("CHOWN", "SETUID", "SETGID"),
        fresh=("/tmp", "/var/cache/nginx", "/run"),
    )


#: What an image needs that begins as root, gives its folders to its own user, and goes on as that.
_DROPPING = ("CHOWN", "SETUID", "SETGID", "DAC_OVERRIDE", "FOWNER")

# `{hello: 1, $db: "admin"}` as a message of MongoDB: mongosh takes a second of a processor each time
# (https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/#op_msg)
_HELLO_BYTES = (
    b"\x34\0\0\0" b"\1\0\0\0" b"\0\0\0\0" b"\xdd\7\0\0" b"\0\0\0\0" b"\0"
    b"\x1f\0\0\0" b"\x10hello\0\1\0\0\0" b"\2$db\0\6\0\0\0admin\0" b"\0"
)  # fmt: skip
_HELLO = "".join(f"\\x{byte:02x}" for byte in _HELLO_BYTES)


def _says(port: int, text: str = "", answer: str = "") -> tuple[str, ...]:
    """A test that bash alone can do: something listens at the port, and says the right thing to `text`."""
    words = [f"exec 3<>/dev/tcp/127.0.0.1/{port}"]
    if text:
        words += [f"printf '{text}' >&3", answer]
    return ("CMD", "timeout", "5", "bash", "-c", " && ".join(words))


def _secrets(service: str, *names: str) -> tuple[Mount, ...]:
    return tuple(Mount(f"secrets/{service}/{name}", f"/run/secrets/{name}") for name in names)
