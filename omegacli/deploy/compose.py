"""The target compose: the platform in containers of one Docker engine, by `docker compose`."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import yaml

from omegacli.deploy import checks, containers, images, render, secrets, spec
from omegacli.deploy.base import ServiceState, Status, make_dir, read_text, remove, write_file
from omegacli.deploy.bootstrap import Bootstrap
from omegacli.deploy.containers import Container
from omegacli.deploy.paths import template
from omegacli.deploy.spec import ACCOUNT
from omegacli.deploy.steps import Step
from omegaml import config
from omegaml.config import CLUSTER
from omegaml.errors import (
    NotFound,
    OmegaError,
    PreflightFailed,
    TimedOut,
    Unavailable,
)

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container as Running

TAIL = 30
_LONGEST = 600.0  # seconds that a command inside a container may take
_PROJECT, _SERVICE = "com.docker.compose.project", "com.docker.compose.service"
_CONFIGURATION = "org.omegaml.configuration"


class Compose(Bootstrap):
    """One cluster in containers."""

    has_web = True

    # what is to be done

    def up(self) -> list[Step]:
        """From nothing, or from any state, to a running platform with an account and a context."""
        data = ", ".join(one.name for one in self._data)
        return [
            *self._begin(),
            Step("secrets", "make passwords and keys, once", self._secrets),
            Step("render", "write omega.yml, compose.yml and the services' configuration", self._render),
            Step("validate", "have `docker compose` read it", self._validate),
            Step("images", "build ours and pull the others, where they are not there", self._images),
            Step("data.start", f"start {data}", self._start_data),
            Step("data.wait", "wait until they work", self._wait_data),
            Step("mongoinit", "secure MongoDB: replica set, root user, accounts' maker", self._mongoinit),
            Step("broker", "make exchanges and service users of RabbitMQ", self._broker),
            Step("migrate", "make the tables of the web application", self._migrate),
            Step("loaddata", "put up the landing page, where there is none", self._loaddata),
            Step("superuser", f"make the accounts {ACCOUNT} and of the workers", self._superuser),
            Step("settings", f"write the context {self.spec.name!r} of {self.config.path}", self._settings),
            Step("app.start", "start all others", self._start_app),
            Step("app.wait", "wait until every service works", self._wait_app),
            Step("smoke", "store an object, read it back, ask a worker", self._smoke),
        ]

    def down(self) -> list[Step]:
        """Remove the containers and networks; data, secrets and configuration stay."""
        self.known()
        return [self._lock(), Step("down", "remove containers and networks", self._down)]

    def destroy(self, volumes: bool, keep: bool = True) -> list[Step]:
        """Remove the cluster; its data, with the secrets that open it, only with `volumes`.

        Raises: PreflightFailed (a copy of the data cannot be kept yet).
        """
        if volumes and keep:
            raise PreflightFailed(
                "this version makes no copy of the data in containers",
                hint="keep one yourself, then --no-backup",
            )
        steps = [
            *self.down(),
            Step("context", f"remove the context {self.spec.name!r}", self._remove_context),
        ]
        if volumes:
            steps.append(
                Step("data", "remove the volumes, with all data, and the secrets", self._remove_data)
            )
        return [*steps, Step("state", "remove the state", lambda: self._remove_state(volumes))]

    def known(self) -> None:
        """Raises: NotFound if no cluster was ever brought up in this root; Forbidden if it is not ours."""
        self._must_be_ours()
        if not self.layout.compose.exists():
            raise NotFound(
                f"there is no cluster in {self.layout.root}", hint="omegacli cluster up --target compose"
            )

    # what is

    @cached_property
    def described(self) -> tuple[Container, ...]:
        return containers.describe(self.spec)

    @property
    def _data(self) -> list[Container]:
        """The services that need no other."""
        return [one for one in self.described if not one.needs]

    @property
    def web_url(self) -> str:
        """Where people open the platform."""
        return render.url(self.spec)

    def status(self) -> Status:
        """The state of every service, as the engine tells it."""
        self.known()
        with images.engine(30) as client:
            found: dict[str, list[Running]] = {}
            for one in self._containers(client):
                found.setdefault(one.labels[_SERVICE], []).append(one)
            states = [_state(one, found.get(one.name, [])) for one in self.described if one.replicas]
        running = [state.state == "running" for state in states]
        some = any(found.values()) and any(state.state != "stopped" for state in states)
        return Status("ok" if all(running) else "degraded" if some else "down", states)

    def _containers(self, client: DockerClient) -> list[Running]:
        """The containers of its services, without those in which a command is run."""
        query = {"label": f"{_PROJECT}={render.project(self.spec)}"}
        found = client.containers.list(all=True, filters=query, ignore_removed=True)
        return [one for one in found if one.labels.get("com.docker.compose.oneoff") != "True"]

    def wait(self) -> Status:
        """Wait until the status is ok. Raises: TimedOut naming what is not running."""
        self._until([one.name for one in self.described])
        return self.status()

    def logs(self, service: str | None, lines: int = 100, follow: bool = False) -> Iterator[tuple[str, str]]:
        """Yield (service, line): the last `lines` of each, then, with `follow`, new ones as they come."""
        self.known()
        names = [one.name for one in self.described]
        if service is not None and service not in names:
            raise NotFound(f"there is no service {service!r}", hint="services: " + ", ".join(names))
        mask = secrets.load(self.layout).mask
        words = ["logs", "--no-color", "--tail", str(lines), *(["--follow"] if follow else [])]
        argv = self.argv(*words, *([service] if service else []))
        with subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace"
        ) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    origin, _, text = line.rstrip("\n").partition(" | ")
                    yield origin.strip().rpartition("-")[0] or origin.strip(), mask(text)
            finally:
                process.terminate()

    def argv(self, *words: str) -> list[str]:
        """The command line of `docker compose` for this cluster; what lies in overrides/ comes last."""
        files = [self.layout.compose, *sorted((self.layout.root / "overrides").glob("*.y*ml"))]
        named = [word for file in files for word in ("--file", str(file))]
        return ["docker", "compose", "--project-name", render.project(self.spec), *named, *words]

    # steps

    def _preflight(self) -> bool:
        self._must_pass(checks.containers(self.spec, self.config))
        return False

    def _render(self) -> bool:
        make_dir(self.layout.build, 0o755)
        written = [spec.write(self.spec)]
        written.append(render.write(self.spec, render.compose(self.spec, secrets.load(self.layout))))
        return any(written)

    def _validate(self) -> bool:
        self._compose("config", "--quiet")
        return False

    def _images(self) -> bool:
        found = images.listed(self.spec)
        missing = [one for one in found if not one.is_there]
        refused: list[PreflightFailed] = []
        for one in missing:
            if one.service != "omegaml":
                self.tell(f"pulling {one.name}")
                try:
                    images.pull(one)
                except PreflightFailed as error:
                    refused.append(error)
        if refused:
            hints = [error.hint for error in refused if error.hint]
            raise PreflightFailed("; ".join(error.message for error in refused), hint="; ".join(hints))
        # one that was built here is built anew where the source is another one meanwhile; a named one stays
        is_named = bool(self.spec.images.omegaml or self.spec.images.prefix)
        outdated = [
            one for one in found if one.source and not is_named and one.source != images.source(self.spec)
        ]
        if outdated or any(one.service == "omegaml" for one in missing):
            images.build(self.spec, self.tell)
        return bool(missing or outdated)

    def _start_data(self) -> bool:
        return self._started([one.name for one in self._data])

    def _wait_data(self) -> bool:
        self._until([one.name for one in self._data])
        return False

    @cached_property
    def _is_set_up(self) -> bool:
        """Whether omegaweb runs as described and serves the account, so that its set-up need not be repeated.

        Each command of that takes two seconds.
        """
        from omegaml import rest

        wanted = yaml.safe_load(read_text(self.layout.compose))["services"]["omegaml"]["labels"][
            _CONFIGURATION
        ]
        with images.engine(30) as client:
            found = [one for one in self._containers(client) if one.labels[_SERVICE] == "omegaml"]
            image = client.images.get(images.names(self.spec)["omegaml"]).id
            if not found or any(
                (one.labels.get(_CONFIGURATION), one.attrs["Image"], one.status) != (wanted, image, "running")
                for one in found
            ):
                return False
        try:
            key = read_text(self.layout.apikey(ACCOUNT)).strip()
            return bool(rest.fetch_config(self.web_url, ACCOUNT, key, 5.0))
        except (OSError, OmegaError):
            return False

    def _mongoinit(self) -> bool:
        if self._is_set_up:
            return False
        given = read_text(template("mongodb/mongoinit.js"))
        said = self._compose("exec", "-T", "mongodb", "mongosh", "--quiet", "--norc", given=given)
        if '"ok":1' in said:
            return True
        if '"code":13' in said:
            return False
        raise Unavailable(
            f"MongoDB was not secured: {said.strip()[-500:]}", hint="omegacli cluster logs mongodb"
        )

    def _broker(self) -> bool:
        if self._is_set_up:
            return False
        files = ("--web-file", "/run/secrets/broker_web", "--worker-file", "/run/secrets/broker_worker")
        self._manage("createbroker", *files)
        return False

    def _migrate(self) -> bool:
        return not self._is_set_up and "Applying" in self._manage("migrate", "--no-input")

    def _loaddata(self) -> bool:
        loaddata = ("loaddata", "landingpage.json", "--if-absent")
        return not self._is_set_up and "Installed" in self._manage(*loaddata)

    def _superuser(self) -> bool:
        """Let `admin` sign in, give it a key and its database, and workers their account."""
        if self._is_set_up:
            return False
        made = secrets.load(self.layout)
        file = self.layout.apikey(ACCOUNT)
        self.is_first = not file.exists()
        words = ("createsuperuser", "--noinput", "--if-absent", "--username", ACCOUNT)
        self._manage(*words, "--password-file", "/dev/stdin", given=made.web_admin_password)
        self._manage("provision", ACCOUNT, "--password-file", "/dev/stdin", given=made.admin_password)
        self._manage("createworker", "--key-file", "/run/secrets/worker.key")
        known = "" if self.is_first else read_text(file).strip()
        key = self._key(known)
        make_dir(file.parent)
        return write_file(file, key + "\n")

    def _key(self, known: str) -> str:
        """The key by which the cluster calls itself as `admin`: the known one, while that is good."""
        script = "umask 077 && cat > /tmp/key && " + " ".join(
            (*_MANAGE, "apikey", ACCOUNT, "--key-file", "/tmp/key", ">&2", "&&", "cat", "/tmp/key")
        )
        return self._compose(*_RUN, "omegaml", "sh", "-c", script, given=known).strip()

    def _settings(self) -> bool:
        before = self.config.path.read_bytes() if self.config.path.exists() else b""
        context = dict(self.config.contexts().get(self.spec.name) or {})
        self.config.set_context(
            self.spec.name, {**context, **self._client_settings(), CLUSTER: str(self.layout.root)}
        )
        return self.config.path.read_bytes() != before

    def _client_settings(self) -> dict[str, str]:
        key = read_text(self.layout.apikey(ACCOUNT)).strip()
        return {"OMEGA_USERID": ACCOUNT, "OMEGA_APIKEY": key, "OMEGA_RESTAPI_URL": self.web_url}

    def _start_app(self) -> bool:
        return self._started([one.name for one in self.described])

    def _wait_app(self) -> bool:
        self._until([one.name for one in self.described])
        return False

    def _smoke(self) -> bool:
        from omegaml.omega import Omega

        om = Omega(config=config.load(self.config.path, context=self.spec.name, **self._client_settings()))
        self._store_and_read(om)
        if any(one.name == "worker" and one.replicas for one in self.described):
            om.runtime.ping()
        om.close()
        return False

    def _stop(self) -> bool:
        return self._changed("stop")

    def _down(self) -> bool:
        return self._changed("down", "--remove-orphans")

    def _remove_data(self) -> bool:
        self._compose("down", "--volumes", "--remove-orphans")
        # what opens the data goes last: until then the command can be given again
        layout = self.layout
        return any([remove(path) for path in (layout.data, layout.build, layout.secrets, layout.spec)])

    # by the engine

    def _started(self, services: Sequence[str]) -> bool:
        """Have services made or made anew where they differ from compose.yml, and started."""
        before = self._ids()
        up = ("up", "--detach", "--no-build", "--pull", "never", "--no-deps")
        self._compose(*up, *services)
        failed = [
            one.name for one in self.status().services if one.name in services and one.state == "failed"
        ]
        if failed:  # what kept them from working may be gone: they begin anew, and at once
            self._compose(*up, "--force-recreate", *failed)
        return self._ids() != before

    def _changed(self, *words: str) -> bool:
        before = self._ids()
        self._compose(*words)
        return self._ids() != before

    def _ids(self) -> set[str]:
        """The containers that run."""
        return set(self._compose("ps", "--quiet", "--status", "running").split())

    def _manage(self, *words: str, given: str = "") -> str:
        """Run a command of omegaweb in a container of its own."""
        return self._compose(*_RUN, "omegaml", *_MANAGE, *words, given=given)

    def _compose(self, *words: str, given: str = "") -> str:
        """Run `docker compose` and return what it printed.

        Raises: Unavailable with its last words, secrets masked.
        """
        try:
            done = subprocess.run(
                self.argv(*words),
                input=given,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_LONGEST,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"`docker compose {words[0]}` did not end: {type(error).__name__}") from None
        if done.returncode == 0:
            return done.stdout
        mask = secrets.load(self.layout).mask
        said = [mask(line) for line in (done.stderr.strip() or done.stdout.strip()).splitlines()]
        self.warn(
            "\n".join(
                [f"`docker compose {words[0]}` said last:", *(f"  {line[:200]}" for line in said[-TAIL:])]
            )
        )
        last = said[-1] if said else f"it ended with {done.returncode}"
        raise Unavailable(
            f"`docker compose {words[0]}` failed: {last}",
            hint="mend that, then type `omegacli cluster up` again: it goes on",
            logs={"compose": said[-TAIL:]},
        )

    def _until(self, services: Sequence[str]) -> None:
        """Wait until services work.

        Raises: TimedOut, Unavailable (one ends again and again), after their last words.
        """
        deadline = time.monotonic() + self.timeout
        while True:
            states = [state for state in self.status().services if state.name in services]
            bad = [state for state in states if state.state != "running"]
            if not bad:
                return
            failed = [state for state in bad if state.state == "failed"]
            bad = failed or bad
            if failed or time.monotonic() > deadline:
                self._tell(bad)
                names = ", ".join(f"{state.name} ({state.message or state.state})" for state in bad)
                kind = Unavailable if failed else TimedOut
                problem = (
                    f"not working: {names}" if failed else f"after {self.timeout:g} s not working: {names}"
                )
                raise kind(problem, hint=f"omegacli cluster logs {bad[0].name}")
            time.sleep(0.5)

    def _tell(self, states: list[ServiceState]) -> None:
        for state in states:
            lines = [text for _, text in self.logs(state.name, TAIL)]
            self.warn("\n".join([f"{state.name} said last:", *(f"  {line[:200]}" for line in lines)]))


_MANAGE = (containers.PYTHON, "-P", "-m", "omegaweb.manage")
_RUN = ("run", "--rm", "--no-deps", "-T")


def _state(described: Container, found: list[Running]) -> ServiceState:
    """One service of one or more containers: running only if all of them are healthy."""
    if not found:
        return ServiceState(described.name, "stopped")
    worst, message, restarts, since = "running", "", 0, None
    order = ("running", "starting", "stopped", "failed")
    for one in found:
        about = one.attrs["State"]
        health = (about.get("Health") or {}).get("Status", "")
        restarts += int(one.attrs.get("RestartCount", 0))
        since = about.get("StartedAt", "")[:19] + "Z"
        if about["Status"] == "running":
            state = {"healthy": "running", "unhealthy": "failed"}.get(health, "starting")
        elif about["Status"] == "restarting" and one.attrs.get("RestartCount", 0) >= 3:
            state = "failed"
        else:
            state = "starting" if about["Status"] == "restarting" else "stopped"
        if state == "failed":
            message = (
                f"it ends as soon as it is started, with {about.get('ExitCode')}"
                if not health or about["Status"] != "running"
                else "its health check fails"
            )
        worst = max(worst, state, key=order.index)
    if len(found) < described.replicas:
        worst, message = (
            max(worst, "starting", key=order.index),
            f"{len(found)} of {described.replicas} are there",
        )
    port = described.ports[0].number if described.ports else None
    return ServiceState(described.name, worst, port=port, restarts=restarts, since=since, message=message)
