"""One connection to the platform: its stores and its runtime, for one account and one bucket."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from omegaml import config as settings
from omegaml.errors import AuthFailed, OmegaError, Unavailable

if TYPE_CHECKING:
    from omegaml.config import Config
    from omegaml.jobs import Jobs
    from omegaml.runtime.logger import Logger
    from omegaml.shared import Datasets, Models
    from omegaml.store import Store


class Omega:
    """The platform as one account sees it. Nothing is opened until something is asked for.

    Args:
        config: settings; read from arguments, environment and `config.yml` where not given.
        bucket: the bucket of all stores; the setting OMEGA_BUCKET where not given.
        mongo_url: the database, instead of the one the settings name.
    """

    def __init__(
        self, config: Config | None = None, bucket: str | None = None, mongo_url: str | None = None
    ) -> None:
        self.config = config or settings.load(OMEGA_MONGO_URL=mongo_url, OMEGA_BUCKET=bucket)
        self.bucket: str = bucket or self.config.get("OMEGA_BUCKET")
        self._mongo_url = mongo_url

    def __repr__(self) -> str:
        return f"<Omega bucket {self.bucket}>"

    def __getitem__(self, bucket: str) -> Omega:
        """Return the same platform with another bucket."""
        return Omega(self.config, bucket, self._mongo_url)

    @cached_property
    def mongo_url(self) -> str:
        """The account's own database. Raises Unavailable where nothing says which."""
        url = self._mongo_url or self.config.get("OMEGA_MONGO_URL")
        if url:
            return str(url)
        if self.config.names_account:
            from omegaml import rest

            return rest.mongo_url(self.config)
        raise Unavailable(
            "no platform is configured: neither OMEGA_MONGO_URL nor an account",
            hint="start one with `omegacli cluster up`, or name yours with `omegacli init`",
        )

    @cached_property
    def in_force(self) -> Config:
        """The settings; which runtime and broker nobody has set, the account's platform says.

        Raises: as `omegaml.rest.completed`.
        """
        return self.renewed(refetch=False)

    def renewed(self, *, refetch: bool = True) -> Config:
        """Return `in_force` as the platform says now, as after a password was refused."""
        if self._mongo_url or not self.config.is_incomplete:
            return self.config
        from omegaml import rest

        self.in_force = rest.completed(self.config, refetch=refetch)
        return self.in_force

    @cached_property
    def db(self) -> Any:
        from omegaml import mongo

        client = mongo.connect(self.mongo_url, self.config.get("OMEGA_TIMEOUT"))
        if not (self._mongo_url or self.config.get("OMEGA_MONGO_URL")):
            client = self._accepted(client)
        return client[mongo.database_name(self.mongo_url)]

    def _accepted(self, client: Any) -> Any:
        """The client for the URL that the config route gave; a kept one may hold yesterday's password."""
        from omegaml import mongo, rest

        try:
            with mongo.translated(self.mongo_url):
                client.admin.command("ping")
        except AuthFailed:
            mongo.disconnect(client)
            self.mongo_url = rest.mongo_url(self.config, refetch=True)
            client = mongo.connect(self.mongo_url, self.config.get("OMEGA_TIMEOUT"))
        return client

    def _store(self, prefix: str) -> Store:
        from omegaml.store import Store

        return Store(self.db, self.bucket, prefix)

    @cached_property
    def datasets(self) -> Datasets:
        from omegaml.shared import Datasets

        return Datasets(self.db, self.bucket, "data/", self.config)

    @cached_property
    def models(self) -> Models:
        from omegaml.shared import Models

        return Models(self.db, self.bucket, "models/", self.config)

    @cached_property
    def jobs(self) -> Jobs:
        from omegaml.jobs import Jobs

        return Jobs(self.db, self.bucket, "jobs/", om=self)

    @cached_property
    def scripts(self) -> Store:
        return self._store("scripts/")

    @cached_property
    def runtime(self) -> Any:
        from omegaml.runtime import facade

        return facade(self)

    @cached_property
    def logger(self) -> Logger:
        from omegaml.runtime.logger import Logger

        return Logger(self)

    def status(self) -> dict[str, Any]:
        """Return what answers and what does not.

        `{"context", "bucket", "mongodb": {"ok", "address", "version"}, "runtime": {...}}`; where the database
        does not answer, `{"context", "bucket", "mongodb": {"ok", "error", "hint", "code"}}`.
        """
        from omegaml import mongo

        state: dict[str, Any] = {"context": self.config.context, "bucket": self.bucket}
        try:
            with mongo.translated(self.mongo_url):
                version = self.db.client.server_info()["version"]
                self.db.command("ping")
            state["mongodb"] = {"ok": True, "address": mongo.address(self.mongo_url), "version": version}
        except OmegaError as e:
            e = self.explained(e)
            state["mongodb"] = {"ok": False, "error": e.message, "hint": e.hint, "code": e.code}
            return state
        state["runtime"] = self.runtime.status()
        return state

    def explained(self, error: OmegaError) -> OmegaError:
        """Return an error of this platform, or StorageFull where a full disk is behind it."""
        from omegaml import diskfull

        url = self._mongo_url or self.config.get("OMEGA_MONGO_URL") or ""
        return diskfull.explained(error, url, settings.ConfigFile(self.config.path))

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        from omegaml import mongo

        logger = self.__dict__.pop("logger", None)
        if logger is not None:
            logger.close()
        db = self.__dict__.pop("db", None)
        if db is not None:
            mongo.disconnect(db.client)
        for name in ("datasets", "models", "jobs", "scripts", "runtime"):
            self.__dict__.pop(name, None)
