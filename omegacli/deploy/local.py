"""The local target: MongoDB, omegaweb and the runner as plain processes on this machine, no containers."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import cached_property, partial

import yaml

from omegacli.deploy import backup, checks, mongod, observe, processes, secrets, spec, supervisor, web
from omegacli.deploy.base import Status, make_dir, read_text, remove, write_file
from omegacli.deploy.bootstrap import Bootstrap
from omegacli.deploy.spec import ACCOUNT
from omegacli.deploy.steps import Step
from omegacli.deploy.supervisor import Service
from omegaml import __version__, admin, config, diskfull
from omegaml.config import CLUSTER
from omegaml.errors import (
    AuthFailed,
    Conflict,
    NotFound,
    OmegaError,
    StorageFull,
    TimedOut,
    Unavailable,
)

TAIL = 30
RUNNER = "runner"  # the account of role `worker`, by which the runner serves all others


class Local(Bootstrap):
    """One local cluster."""

    # what is to be done

    def up(self) -> list[Step]:
        """From nothing, or from any state, to a running platform with an account and a context."""
        pages = [
            Step("migrate", "make the tables of the web application", self._migrate),
            Step("loaddata", "put up the landing page, where there is none", self._loaddata),
            Step("superuser", f"let {ACCOUNT} sign in on the pages, with all it has stored", self._superuser),
        ]
        return [
            *self._begin(),
            Step("secrets", "make passwords and keys, once", self._secrets),
            Step("render", "write omega.yml and the services' configuration", self._render),
            Step("data.start", "start the supervisor and MongoDB", self._start),
            Step("data.wait", "wait until MongoDB answers", self._wait_data),
            Step("mongoinit", "make the replica set, the root user and the account", self._mongoinit),
            *(pages if self.has_web else []),
            Step("settings", f"write the context {self.spec.name!r} of {self.config.path}", self._settings),
            Step("app.start", "start what people and tasks need", self._start_app),
            Step("app.wait", "wait until every service runs", self._wait_app),
            Step("smoke", "store an object and read it back", self._smoke),
        ]

    def down(self) -> list[Step]:
        """Stop all services and remove what was generated; data, secrets and omega.yml stay."""
        return [*self.stop(), Step("clean", f"remove {self.layout.build}", self._clean)]

    def destroy(self, volumes: bool, keep: bool = True) -> list[Step]:
        """Remove the cluster; its data, with the secrets that open it, only with `volumes`.

        Args:
            keep: put all of it into a backup first (its path is in `backup` then).
        """
        steps = [
            *self.down(),
            Step("context", f"remove the context {self.spec.name!r}", self._remove_context),
        ]
        if volumes and keep:
            steps.append(Step("backup", f"keep a copy in {self.backups}", self._back_up))
        if volumes:
            steps.append(Step("data", f"remove all data in {self.layout.data}", self._remove_data))
        return [*steps, Step("state", "remove logs and state", lambda: self._remove_state(volumes))]

    def known(self) -> None:
        """Raises: NotFound if no cluster was ever brought up in this root; Forbidden if it is not ours."""
        self._must_be_ours()
        # lost secrets make it no less a cluster: it can still be stopped and removed
        signs = (self.layout.secrets, self.layout.mongodb_data, self.layout.services)
        if not any(sign.exists() for sign in signs):
            raise NotFound(
                f"there is no cluster in {self.layout.root}", hint="omegacli cluster up --target local"
            )

    # what is

    @property
    def has_web(self) -> bool:
        return web.is_part_of(self.spec)

    @property
    def web_url(self) -> str:
        """Where people open the platform."""
        return web.url(self.spec)

    def status(self) -> Status:
        """The state of every service, as found on this machine and not as last written down."""
        self.known()
        states = [observe.supervisor_state(self.layout)]
        # what does not run is asked nothing, so that lost secrets hide no cluster that is down
        url = self.account_url() if self._alive() else ""
        states += observe.service_states(self.layout, self._services(), url)
        running = [state.state == "running" for state in states]
        return Status("ok" if all(running) else "degraded" if any(s.pid for s in states) else "down", states)

    def _alive(self) -> bool:
        found = [supervisor.find(self.layout, service) for service in self._services()]
        return any(found) or processes.running(self.layout.process("supervisor")) is not None

    def wait(self) -> Status:
        """Wait until the status is ok. Raises: TimedOut naming what is not running."""
        deadline = time.monotonic() + self.timeout
        while (status := self.status()).state != "ok":
            if time.monotonic() > deadline:
                missing = ", ".join(f"{s.name} ({s.state})" for s in status.services if s.state != "running")
                hint = "omegacli cluster up" if status.state == "down" else "omegacli cluster logs"
                raise TimedOut(f"after {self.timeout:g} s not running: {missing}", hint=hint)
            time.sleep(0.3)
        return status

    def logs(self, service: str | None, lines: int = 100, follow: bool = False) -> Iterator[tuple[str, str]]:
        """Yield (service, line): the last `lines` of each, then, with `follow`, new ones as they come."""
        self.known()
        names = ["supervisor", *(item.name for item in self._services())]
        if service is not None and service not in names:
            raise NotFound(f"there is no service {service!r}", hint="services: " + ", ".join(names))
        chosen = [service] if service else names
        mask = secrets.load(self.layout).mask
        places = {}
        for name in chosen:
            places[name], found = observe.last(self.layout.log(name), lines)
            yield from ((name, mask(line)) for line in found)
        while follow:
            for name in chosen:
                places[name], found = observe.after(self.layout.log(name), places[name])
                yield from ((name, mask(line)) for line in found)
            time.sleep(0.3)

    def account_url(self) -> str:
        """The URL of the account `admin`, password included."""
        password = secrets.load(self.layout).admin_password
        return admin.account_url(f"127.0.0.1:{self.spec.ports.mongodb}", ACCOUNT, password)

    # steps

    def _preflight(self) -> bool:
        self._must_pass(checks.preflight(self.spec, self.config))
        return False

    def _render(self) -> bool:
        layout = self.layout
        made = secrets.load(layout)
        make_dir(layout.keyfile.parent.parent)
        written = [
            spec.write(self.spec),
            write_file(layout.mongod_conf, mongod.configuration(self.spec), 0o644),
            write_file(layout.keyfile, made.mongodb_keyfile + "\n", 0o400),
        ]
        if self.has_web:
            written.append(write_file(layout.web_config, web.configuration(self.spec, made)))
            make_dir(layout.web_data)
            if not layout.apikey(RUNNER).exists():  # `createworker` takes it for the account
                written.append(write_file(layout.apikey(RUNNER), secrets.apikey() + "\n"))
        written.append(supervisor.write_services(layout, self._described()))
        for folder in (layout.mongodb_data, layout.logs):
            make_dir(folder)
        if layout.runner_config.exists() and read_text(layout.runner_config) != self._runner_settings():
            layout.runner_config.unlink()  # no runner may start with it before `app.start` writes the new one
        if layout.gunicorn_conf.exists() and read_text(layout.gunicorn_conf) != self._gunicorn_settings():
            layout.gunicorn_conf.unlink()  # nor omegaweb, before `migrate`
        return any(written)

    def _described(self) -> list[Service]:
        layout = self.layout
        program = str(mongod.find_mongod())
        text = mongod.configuration(self.spec)
        services = [
            Service(
                "mongodb",
                [program, "--config", str(layout.mongod_conf)],
                port=self.spec.ports.mongodb,
                lockfile=str(layout.mongodb_data / "mongod.lock"),
                config=web.digest(program, text),
            )
        ]
        if self.has_web:
            argv = [sys.executable, "-P", "-m", "gunicorn", "--config", str(layout.gunicorn_conf)]
            services.append(
                Service(
                    "web",
                    argv,
                    port=self.spec.ports.web,
                    needs=str(layout.gunicorn_conf),
                    after="mongodb",
                    stop_seconds=30.0,
                    config=web.digest(*argv, self._gunicorn_settings()),
                )
            )
        if self.spec.runner.enabled:
            argv = [sys.executable, "-P", "-m", checks.RUNNER_MODULE, "--config", str(layout.runner_config)]
            services.append(
                Service(
                    "runner",
                    argv,
                    needs=str(layout.runner_config),
                    after="mongodb",
                    stop_seconds=30.0,
                    config=web.digest(*argv, self._runner_settings(), __version__),
                )
            )
        return services

    def _services(self) -> list[Service]:
        if self.layout.services.exists():
            return supervisor.read_services(self.layout)
        parts = {"mongodb": True, "web": self.has_web, "runner": self.spec.runner.enabled}
        return [Service(name, []) for name, is_part in parts.items() if is_part]

    def _start(self) -> bool:
        """Start the supervisor, which starts or adopts the rest; outdated services are stopped first."""
        services = self._services()
        found = [(service, supervisor.find(self.layout, service)) for service in services]
        outdated = any(process and process.config != service.config for service, process in found)
        known = {service.name for service in services} | {"supervisor"}
        dropped = [
            p for p in self.layout.state.glob("*.json") if p.stem not in known and processes.running(p)
        ]
        watcher = processes.running(self.layout.process("supervisor"))
        if outdated or dropped or (watcher and watcher.config != supervisor.services_digest(self.layout)):
            self._stop()
        if processes.running(self.layout.process("supervisor")):
            return False
        child = supervisor.launch(self.layout)
        deadline = time.monotonic() + self.timeout
        while not processes.running(self.layout.process("supervisor")):
            if child.poll() is not None:  # another may be there, and write itself down again in two seconds
                deadline = min(deadline, time.monotonic() + 3.0)
            if time.monotonic() > deadline:
                raise self._failed("the supervisor did not start", ["supervisor"])
            time.sleep(0.05)
        return True

    def _wait_data(self) -> bool:
        self._until(lambda: admin.answers(self.spec.ports.mongodb), "mongodb", "MongoDB does not answer")
        return False

    def _mongoinit(self) -> bool:
        if self._is_revoked():
            # what was meant to end must not open anything again: another one, and no connection of the old
            secrets.renew_admin_password(self.layout)
            self.warn(f"the password of {ACCOUNT} for MongoDB was revoked on the pages: there is a new one")
        made = secrets.load(self.layout)
        return admin.secure(
            self.spec.ports.mongodb,
            made.mongodb_root_password,
            {ACCOUNT: made.admin_password},
            self.timeout,
            made.mongodb_provision_password if self.has_web else None,
        )

    def _is_revoked(self) -> bool:
        """Whether omegaweb has changed the password of `admin`, as it does with the account's last key.

        One that differs from the context's was written into secrets.yml by hand, and is meant.
        """
        url = self.account_url()
        context = self.config.contexts().get(self.spec.name) or {}
        if not self.has_web or context.get("OMEGA_MONGO_URL") != url:
            return False
        try:
            admin.ping(url, self.timeout)
        except AuthFailed:
            return True
        except OmegaError:
            pass
        return False

    @cached_property
    def _is_set_up(self) -> bool:
        """Whether omegaweb runs as described and serves the account, so that its set-up need not be repeated.

        Each command of that takes more than a second.
        """
        return self._runs_as_described("web") and web.accepts(self.spec, ACCOUNT, self.account_url())

    def _migrate(self) -> bool:
        if self._is_set_up:
            return False
        return "Applying" in self._manage("migrate", "--no-input")

    def _loaddata(self) -> bool:
        if self._is_set_up:
            return False
        return "Installed" in self._manage("loaddata", "landingpage.json", "--if-absent")

    def _superuser(self) -> bool:
        """Let `admin` sign in, and make its MongoDB user and all it has stored that account's own."""
        if self._is_set_up:
            return False
        made = secrets.load(self.layout)
        words = ("createsuperuser", "--noinput", "--if-absent", "--username", ACCOUNT)
        password = ("--password-file", "/dev/stdin")
        key = self.layout.apikey(ACCOUNT)
        self.is_first = not key.exists()
        self._manage(*words, *password, given=made.web_admin_password)
        self._manage("provision", ACCOUNT, *password, given=made.admin_password)
        if self.spec.runner.enabled:
            self._manage("createworker", "--key-file", str(self.layout.apikey(RUNNER)))
        return "made" in self._manage("apikey", ACCOUNT, "--key-file", str(key))

    def _manage(self, *words: str, given: str = "") -> str:
        """Run a command of omegaweb, and tell what it said last where it fails."""
        try:
            return web.manage(self.spec, secrets.load(self.layout), *words, given=given)
        except Unavailable as error:
            lines = error.details.get("logs", {}).get("web", [])
            self.warn("\n".join(["omegaweb said last:", *(f"  {line[:200]}" for line in lines)]))
            raise

    def _settings(self) -> bool:
        before = self.config.path.read_bytes() if self.config.path.exists() else b""
        context = dict(self.config.contexts().get(self.spec.name) or {})
        for name in ("OMEGA_APIKEY", "OMEGA_RESTAPI_URL"):
            context.pop(name, None)  # of a cluster that has no pages any more
        mine = {**self._client_settings(), **self._web_settings(), CLUSTER: str(self.layout.root)}
        self.config.set_context(self.spec.name, {**context, **mine})
        return self.config.path.read_bytes() != before

    def _client_settings(self) -> dict[str, str]:
        return {"OMEGA_USERID": ACCOUNT, "OMEGA_MONGO_URL": self.account_url()}

    def _web_settings(self) -> dict[str, str]:
        if not self.has_web:
            return {}
        file = self.layout.apikey(ACCOUNT)
        if not file.exists():
            raise NotFound(f"there is no {file}", hint="omegacli cluster up")
        key = read_text(file).strip()
        return {"OMEGA_APIKEY": key, "OMEGA_RESTAPI_URL": self.web_url}

    def _runner_settings(self) -> str:
        """One database or, beside omegaweb, all accounts by an account that has no data of its own."""
        settings = self._client_settings()
        if self.has_web:
            key = read_text(self.layout.apikey(RUNNER)).strip()
            settings = {"OMEGA_RESTAPI_URL": self.web_url, "OMEGA_USERID": RUNNER, "OMEGA_APIKEY": key}
        return str(yaml.safe_dump(settings, width=4096, allow_unicode=True))

    def _gunicorn_settings(self) -> str:
        return web.gunicorn(self.spec, web.configuration(self.spec, secrets.load(self.layout)))

    def _start_app(self) -> bool:
        # the supervisor waits for these files: without an account there is nothing to do
        written = []
        if self.has_web:
            written.append(write_file(self.layout.gunicorn_conf, self._gunicorn_settings()))
        if self.spec.runner.enabled:
            written.append(write_file(self.layout.runner_config, self._runner_settings()))
        return any(written)

    def _wait_app(self) -> bool:
        for service in self._services():
            self._until(partial(self._runs, service), service.name, f"{service.name} does not run")
        return False

    def _runs(self, service: Service) -> bool:
        (state,) = observe.service_states(self.layout, [service], self.account_url())
        return state.state == "running"

    def _runs_as_described(self, name: str) -> bool:
        service = next(service for service in self._described() if service.name == name)
        process = supervisor.find(self.layout, service)
        return process is not None and process.config == service.config

    def _smoke(self) -> bool:
        from omegaml.omega import Omega

        settings = config.load(self.config.path, context=self.spec.name, **self._client_settings())
        self._store_and_read(Omega(config=settings))
        if self.has_web and not web.accepts(self.spec, ACCOUNT, self.account_url(), self.timeout):
            raise Unavailable(f"{self.web_url} does not know {ACCOUNT}", hint="omegacli cluster logs web")
        return False

    def _stop(self) -> bool:
        """Stop the supervisor and with it all services; what an earlier, killed one left running as well."""
        layout = self.layout
        watcher = processes.running(layout.process("supervisor"))
        if watcher:
            watcher.send(signal.SIGTERM)
            watcher.gone(sum(service.stop_seconds for service in self._services()) + 10)
        stopped = watcher is not None
        for service in reversed(self._services()):
            process = supervisor.find(layout, service)
            if process:
                stopped |= process.stop(service.stop_seconds)
        for path in layout.state.glob("*.json"):
            orphan = processes.running(path)
            if orphan:
                stopped |= orphan.stop(60.0)
            path.unlink(missing_ok=True)
        return stopped

    def _clean(self) -> bool:
        return remove(self.layout.build)

    def _back_up(self) -> bool:
        self._must_be_down("backed up")
        if not self.layout.mongodb_data.exists():
            return False
        self.backup = backup.archive(self.layout, self.backups, self.spec.name)
        return True

    def _remove_data(self) -> bool:
        self._must_be_down("removed")
        # what opens the data goes last: until then the command can be given again
        return any([remove(path) for path in (self.layout.data, self.layout.secrets, self.layout.spec)])

    def _must_be_down(self, done: str) -> None:
        if self._alive():
            raise Conflict(f"services still run; data was not {done}", hint="omegacli cluster stop")

    def _until(self, ready: Callable[[], bool], service: str, problem: str) -> None:
        """Wait for `ready`. Gives up early on a service that ends again and again."""
        deadline = time.monotonic() + self.timeout
        first = processes.load(self.layout.process(service))
        while not ready():
            current = processes.load(self.layout.process(service))
            restarts = (current.restarts if current else 0) - (first.restarts if first else 0)
            if restarts >= 3:
                raise self._failed(f"{problem}: it ends as soon as it is started", [service])
            if not processes.running(self.layout.process("supervisor")):
                raise self._failed(f"{problem}: the supervisor has ended", ["supervisor", service])
            if time.monotonic() > deadline:
                raise self._failed(f"{problem} after {self.timeout:g} s", [service])
            time.sleep(0.1)

    def _failed(self, problem: str, services: list[str]) -> Unavailable:
        """The error for a service that does not come up, with the last lines of its log, secrets masked."""
        mask = secrets.load(self.layout).mask
        tails = {
            name: [mask(line) for line in observe.last_words(self.layout.log(name), TAIL)]
            for name in services
        }
        for name, lines in tails.items():
            shown = [f"  {observe.readable(line)[:200]}" for line in lines]
            self.warn("\n".join([f"{name} said last:", *shown]) if shown else f"{name} said nothing")
        name = services[-1]
        full = diskfull.reason(self.layout.root)
        if full:
            return StorageFull(
                f"{problem}: {full}",
                hint="free some; what is there is not lost, and `omegacli cluster up` goes on",
                logs=tails,
            )
        problem += mask(observe.reason(self.layout, name))
        return Unavailable(problem, hint=f"omegacli cluster logs {name}", logs=tails)
