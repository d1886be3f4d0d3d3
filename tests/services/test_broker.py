"""What is said of a broker, what waits in its queues, and that TLS to it is verified: on a real RabbitMQ."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pika
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from omegaml.errors import AuthFailed, ConfigInvalid, Forbidden, InvalidInput, OmegaError, Unavailable
from omegaml.runtime import Task, broker
from omegaml.runtime.messages import TASKS, WORKER, queue_arguments, task_queue
from omegaml.runtime.worker import make_app, prepare
from omegaweb.provision import rabbitmq
from tests.conftest import free_port
from tests.services.broker_platform import Started, WorkerProcess, on_celery
from tests.services.command_line import Cli
from tests.services.runtime_processes import OneDatabase, start_runner
from tests.services.servers import RabbitMQ
from tests.services.strict_broker import strict

__all__ = ["start_runner"]
pytestmark = pytest.mark.once


class Authority:
    """Signs certificates; the file `ca` is what it is known by."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"CA {folder.name}")])
        self.ca = folder / "ca.pem"
        self._write(self.ca, self._signed(self._name, self._key, [], is_ca=True))

    def sign(self, *names: str) -> tuple[Path, Path]:
        """Return the files of a certificate for these hosts and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
        kept, private = self._folder / "server.pem", self._folder / "server.key"
        self._write(kept, self._signed(subject, key, names))
        plain = serialization.NoEncryption()
        form = serialization.PrivateFormat.PKCS8
        private.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
        return kept, private

    def _signed(self, subject: x509.Name, key: Any, names: Any, is_ca: bool = False) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        made = x509.CertificateBuilder(self._name, subject, key.public_key(), x509.random_serial_number())
        made = made.not_valid_before(now - datetime.timedelta(hours=1))
        made = made.not_valid_after(now + datetime.timedelta(days=1))
        made = made.add_extension(x509.BasicConstraints(is_ca, None), critical=True)
        if names:
            known = [x509.DNSName(name) if name.isalpha() else _address(name) for name in names]
            made = made.add_extension(x509.SubjectAlternativeName(known), critical=False)
        return made.sign(self._key, hashes.SHA256())

    @staticmethod
    def _write(path: Path, certificate: x509.Certificate) -> None:
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _address(text: str) -> x509.IPAddress:
    return x509.IPAddress(ipaddress.ip_address(text))


@dataclass
class Servers:
    """A broker that listens with and without TLS, known by `ca` as localhost and nothing else."""

    mq: RabbitMQ
    secure: int
    ca: Path
    other: Path

    def url(self, user: str = "ann", password: str = "pw", vhost: str = "") -> str:
        return f"amqp://{user}:{password}@127.0.0.1:{self.mq.port}/{vhost}"

    def tls(self, host: str = "localhost", ca: Path | None = None, user: str = "ann") -> str:
        query = f"?cacertfile={quote(str(ca))}" if ca else ""
        return f"amqps://{user}:{self.mq.password if user == 'boss' else 'pw'}@{host}:{self.secure}/{query}"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    authority, other = (Authority(tmp_path_factory.mktemp(name)) for name in ("ca", "other"))
    certificate, key = authority.sign("localhost")
    secure = free_port()
    options = {"certfile": certificate, "keyfile": key, "cacertfile": authority.ca}
    more = [f"listeners.ssl.default = 127.0.0.1:{secure}"]
    more += [f"ssl_options.{name} = {path}" for name, path in options.items()]
    with RabbitMQ(tmp_path_factory.mktemp("rabbitmq"), more) as mq:
        rabbitmq.ensure_topology(mq.admin_url)
        rabbitmq.ensure_user(mq.admin_url, "ann", "pw")
        rabbitmq.ensure_service(mq.admin_url, WORKER, "pw")
        rabbitmq._call(mq.admin_url, "PUT", "/vhosts/others", {})
        yield Servers(mq, secure, authority.ca, other.ca)


def test_who_may_log_in_is_told_where_and_as_whom(servers: Servers) -> None:
    assert broker.check(servers.url()) == f"the broker at 127.0.0.1:{servers.mq.port} accepts 'ann'"
    secure = f"the broker at localhost:{servers.secure} accepts 'ann' over TLS"
    assert broker.check(servers.tls(ca=servers.ca)) == secure


@pytest.fixture(scope="module")
def strangers() -> Iterator[dict[str, int]]:
    """Ports of a server that says nothing, and of one that speaks another language."""
    silent, other = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))

    def speak() -> None:
        while True:
            try:
                guest, _ = other.accept()
            except OSError:
                return
            with guest:
                guest.recv(8)
                guest.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    threading.Thread(target=speak, daemon=True).start()
    yield {"silent": silent.getsockname()[1], "other": other.getsockname()[1]}
    silent.close()
    other.shutdown(socket.SHUT_RDWR)
    other.close()


WRONG: dict[str, tuple[str, type[OmegaError], str]] = {
    "the password": ("amqp://ann:s3ntinel@127.0.0.1:{plain}", AuthFailed, "not accept the login of 'ann'"),
    "no such vhost": ("amqp://ann:pw@127.0.0.1:{plain}/nowhere", ConfigInvalid, "has no vhost 'nowhere'"),
    "another's vhost": ("amqp://ann:pw@127.0.0.1:{plain}/others", Forbidden, "into the vhost 'others'"),
    "nobody there": ("amqp://ann:s3ntinel@127.0.0.1:1", Unavailable, "nothing listens there"),
    "no such host": ("amqp://ann:s3ntinel@nowhere.invalid", Unavailable, "no host of that name"),
    "TLS to a plain port": ("amqps://ann:s3ntinel@127.0.0.1:{plain}", Unavailable, "does not speak TLS"),
    "plain to a TLS port": ("amqp://ann:s3ntinel@localhost:{secure}", Unavailable, "it wants TLS, or is no"),
    "another server": ("amqp://ann:s3ntinel@127.0.0.1:{other}", Unavailable, "or is no broker"),
    "a server that is silent": ("amqp://ann:s3ntinel@127.0.0.1:{silent}", Unavailable, "answer in time"),
    "no URL": ("http://ann:s3ntinel@127.0.0.1", InvalidInput, "no URL of a broker"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said_in_one_sentence(
    servers: Servers, strangers: dict[str, int], what: str
) -> None:
    form, kind, sentence = WRONG[what]
    url = form.format(plain=servers.mq.port, secure=servers.secure, **strangers)
    with pytest.raises(kind, match=sentence) as caught:
        broker.check(url, timeout=0.5)
    assert type(caught.value) is kind and "s3ntinel" not in str(caught.value)


def test_an_account_sees_how_many_messages_wait_and_how_many_workers_listen(servers: Servers) -> None:
    login = pika.URLParameters(servers.url(WORKER))
    with pika.BlockingConnection(login) as worker:
        channel = worker.channel()
        channel.queue_declare(task_queue("gpu"), durable=True, arguments=queue_arguments())
        channel.queue_bind(task_queue("gpu"), TASKS, "gpu")
        with pika.BlockingConnection(pika.URLParameters(servers.url())) as asking:
            asked = asking.channel()
            asked.confirm_delivery()
            asked.basic_publish(TASKS, "gpu", b"{}", pika.BasicProperties(user_id="ann"))
        waiting = broker.queues(servers.url(), ["gpu", "none"])
        assert waiting == [
            {"label": "gpu", "queue": "omega.q.gpu", "waiting": 1, "workers": 0},
            {"label": "none", "queue": "omega.q.none", "waiting": 0, "workers": 0},
        ]
        channel.basic_consume(task_queue("gpu"), lambda *_: None)
        [row] = broker.queues(servers.tls(ca=servers.ca), ["gpu"])
        assert (row["waiting"], row["workers"]) == (0, 1)
        channel.queue_purge(task_queue("gpu"))


UNTRUSTED: dict[str, tuple[str, str, str]] = {
    "an authority that nobody knows": ("localhost", "", "certificate of the broker at localhost"),
    "another authority": ("localhost", "other", "certificate of the broker at localhost"),
    "another name": ("127.0.0.1", "ca", "not valid for '127.0.0.1'"),
}


@pytest.mark.parametrize("what", UNTRUSTED)
def test_a_certificate_that_is_not_verified_is_refused(servers: Servers, what: str, om_url: str) -> None:
    host, ca, sentence = UNTRUSTED[what]
    url = servers.tls(host, getattr(servers, ca, None), "boss")
    for ask in (
        lambda: broker.check(url),
        lambda: prepare(make_app(url, ["default"]), url),
        on_celery(om_url, url, OMEGA_TIMEOUT=0.5).runtime.ping,
    ):
        with pytest.raises(Unavailable, match=sentence) as caught:
            ask()
        assert servers.mq.password not in str(caught.value)


def test_a_file_of_the_authority_that_is_none_is_named(servers: Servers, tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"missing\.pem .* No such file"):
        broker.check(servers.tls(ca=tmp_path / "missing.pem"))
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(ConfigInvalid, match=r"empty\.pem .* no certificates"):
        broker.check(servers.tls(ca=tmp_path / "empty.pem"))


class TestWithAWorker(OneDatabase):
    """A client and a worker that speak TLS."""

    @pytest.fixture(scope="class")
    @classmethod
    def url(cls, servers: Servers) -> str:
        return servers.tls(ca=servers.ca, user="boss")

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def worker(
        cls, url: str, om_url: str, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[WorkerProcess]:
        settings = {"OMEGA_MONGO_URL": om_url, "OMEGA_USERID": "boss", "OMEGA_BROKER": url}
        start = Started(on_celery(om_url, url), settings, lambda: tmp_path_factory.mktemp("worker"))
        try:
            process = start("--label", "default", "--label", "big", "--concurrency", "3")
            yield process
            assert process.stop() == 0
        finally:
            start.end()

    @pytest.fixture
    def cli(self, cli: Cli, url: str) -> Cli:
        cli.ok("config", "set", f"OMEGA_BROKER={url}", "OMEGA_RUNTIME=celery")
        return cli

    def test_tasks_are_carried_out(self, om_url: str, url: str) -> None:
        om = on_celery(om_url, url)
        assert om.runtime.ping()["message"] == om.runtime.ping(async_=True)["message"] == "pong"
        assert om.runtime.labels() == {"big": 1, "default": 1}

    def test_the_shell_lists_workers_labels_and_queues(self, cli: Cli, worker: WorkerProcess) -> None:
        head, row = (line.split("\t") for line in cli.ok("runtime", "workers").splitlines())
        shown = dict(zip(head, row, strict=True))
        assert (shown["pid"], shown["slots"]) == (str(worker.process.pid), "3")
        assert shown["labels"] == '["default", "big"]'
        assert cli.ok("runtime", "labels") == "label\tworkers\nbig\t1\ndefault\t1\n"
        assert cli.ok("runtime", "queues") == "label\twaiting\tworkers\nbig\t0\t1\ndefault\t0\t1\n"
        big = cli.data("runtime", "queues")[0]
        assert big == {"label": "big", "waiting": 0, "workers": 1, "queue": "omega.q.big"}

    def test_the_doctor_tells_of_broker_and_workers(self, cli: Cli, servers: Servers) -> None:
        [said, workers] = cli.data("doctor", "--only", "broker,workers")
        assert said["message"] == f"the broker at localhost:{servers.secure} accepts 'boss' over TLS"
        assert workers["message"] == "workers that listen: big: 1, default: 1"
        assert (said["status"], workers["status"]) == ("ok", "ok")
        cli.ok("config", "set", "OMEGA_RUNTIME=local")
        assert cli.data("doctor", "--only", "workers")[0]["status"] == "skip"

    def test_the_doctor_fails_where_the_broker_does_not_accept_the_login(
        self, cli: Cli, servers: Servers
    ) -> None:
        cli.ok("config", "set", f"OMEGA_BROKER={servers.url('boss', 's3ntinel')}")
        done = cli.run("doctor", "--only", "broker,workers")
        assert done.returncode == 1 and b"fail\tthe broker at" in done.stdout
        assert b"does not accept the login of 'boss'" in done.stdout
        assert b"workers\tskip\tthe broker does not answer\t" in done.stdout
        assert b"s3ntinel" not in done.stdout + done.stderr
        assert cli.error("runtime", "queues")[0] == AuthFailed.exit_code


def test_where_no_worker_is_the_shell_and_the_doctor_say_so(cli: Cli, servers: Servers) -> None:
    url = f"amqp://boss:{servers.mq.password}@127.0.0.1:{servers.mq.port}/empty"
    vhost = {"configure": ".*", "write": ".*", "read": ".*"}
    for route, body in (("/vhosts/empty", {}), ("/permissions/empty/boss", vhost)):
        rabbitmq._call(servers.mq.admin_url, "PUT", route, body)
    cli.ok("config", "set", f"OMEGA_BROKER={url}", "OMEGA_RUNTIME=celery")
    for what in ("workers", "labels"):
        done = cli.run("runtime", what)
        assert done.returncode == 1 and b"no worker is there" in done.stderr
    assert cli.data("runtime", "queues") == [
        {"label": "default", "waiting": 0, "workers": 0, "queue": "omega.q.default"}
    ]
    [row] = cli.data("doctor", "--only", "workers")
    assert (row["status"], row["hint"]) == ("warn", "omegacli runtime worker --label default")


def test_without_a_broker_the_runner_and_its_own_queue_are_told(cli: Cli, om: Any, start_runner: Any) -> None:
    assert [row["status"] for row in cli.data("doctor", "--only", "broker,workers")] == ["skip", "skip"]
    om.runtime.carrier.tasks.add(Task("ping", label="gpu"), repeatable=True)
    start_runner()
    assert cli.ok("runtime", "queues") == "label\twaiting\tworkers\ndefault\t0\t1\ngpu\t1\t0\n"
    assert cli.data("runtime", "labels") == [{"label": "default", "workers": 1}]
    [worker] = cli.data("runtime", "workers")
    assert (worker["labels"], worker["running"]) == (["default"], 0)


def test_a_broker_that_tells_accounts_nothing_of_its_queues_carries_their_tasks(
    servers: Servers, om_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with strict(servers.mq.port) as port:
        om = on_celery(om_url, f"amqp://ann:pw@127.0.0.1:{port}", OMEGA_TIMEOUT=1)
        settings = {"OMEGA_MONGO_URL": om_url, "OMEGA_USERID": "ann"}
        settings["OMEGA_BROKER"] = f"amqp://{WORKER}:pw@127.0.0.1:{port}"
        with pytest.raises(Unavailable, match="no worker is there"):
            om.runtime.ping()
        start = Started(om, settings, lambda: tmp_path_factory.mktemp("worker"))
        try:
            worker = start("--label", "default", "--label", "big")
            assert om.runtime.ping()["message"] == om.runtime.ping(async_=True)["message"] == "pong"
            assert om.runtime.queues() == [
                {"label": "big", "waiting": None, "workers": 1, "queue": "omega.q.big"},
                {"label": "default", "waiting": None, "workers": 1, "queue": "omega.q.default"},
            ]
            with pytest.raises(Unavailable, match="'gpu'") as caught:
                om.runtime.require("gpu").ping()
            assert caught.value.hint == "labels there are: big, default"
            assert worker.stop() == 0
        finally:
            start.end()
        with pytest.raises(Unavailable, match="no worker is there"):
            om.runtime.ping()


def test_py_amqp_itself_verifies_what_the_worker_connects_by(servers: Servers) -> None:
    for host, ca in (("localhost", None), ("localhost", servers.other), ("127.0.0.1", servers.ca)):
        app = make_app(servers.tls(host, ca), ["default"])
        with app.connection_for_write() as connection, pytest.raises(ssl.SSLCertVerificationError):
            connection.transport.establish_connection()
    app = make_app(servers.tls(ca=servers.ca), ["default"])
    with app.connection_for_write() as connection:
        assert connection.transport.establish_connection().connected
