"""Objects of others, as `@bob/sales`, and what one shares oneself: all by the REST API (`omegaml.rest`)."""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from omegaml import filtervalues
from omegaml.errors import Forbidden, InvalidInput, NotFound, NotStorable, Unavailable, Untrusted
from omegaml.metadata import Metadata
from omegaml.store import Store
from omegaml.store.names import VERBS, Asked, is_shared

if TYPE_CHECKING:
    from omegaml.config import Config
    from omegaml.query import Q

FILE = "application/octet-stream"
ARROW = "application/vnd.apache.arrow.stream"
MOST_ROUTE = 4000  # servers take some more


class Remote:
    """The REST routes of one kind of objects (dataset, model), for the account and bucket of `config`."""

    def __init__(self, config: Config, bucket: str, noun: str) -> None:
        self._config, self._bucket, self._noun = config, bucket, noun

    def call(self, method: str, route: str, data: Any = None, *, accept: str = "", **how: Any) -> Any:
        """Call a route, as `dataset/@bob/sales/`; return the answer. Raises as `omegaml.rest.call`."""
        from omegaml import rest

        if not self._config.names_account:
            raise Unavailable(
                "sharing goes by REST, and this context names no account: OMEGA_RESTAPI_URL, OMEGA_USERID "
                "and OMEGA_APIKEY",
                hint="omegacli init",
            )
        headers = {"Bucket": self._bucket, **({"Accept": accept} if accept else {}), **how.pop("headers", {})}
        return rest.call(self._config, method, route, data, headers=headers, **how)

    def route(
        self, name: str, rest: str = "", query: Iterable[tuple[str, Any]] = (), *, by_path: bool = False
    ) -> str:
        """The route of an object, or of a verb on it.

        A name that a path cannot carry, as what is between its slashes means something there, goes as
        `?name=`. Raises InvalidInput where the route is one `by_path` only.
        """
        parts = name.split("/")
        asked = [*query]
        if not {"", ".", ".."} & {*parts} and parts[-1] not in VERBS:
            path = f"{self._noun}/{quote(name, safe='/@')}/{rest}"
        elif by_path:
            raise InvalidInput(
                f"{name!r} cannot be the name of something shared", hint="leave out parts as .. or predict"
            )
        else:
            path, asked = f"{self._noun}/{rest}", [("name", name), *asked]
        route = path + (f"?{urlencode(asked)}" if asked else "")
        if len(route) > MOST_ROUTE:
            raise InvalidInput(f"{name!r}: these filters are too long to be sent", hint="give fewer values")
        return route

    # --- grants

    def grant(self, name: str, userid: str, right: str) -> dict[str, Any]:
        route = self.route(name, "grant/")
        return dict(self.call("PUT", route, {"userid": userid, "right": right}).json())

    def revoke(self, name: str, userid: str) -> None:
        self.call("DELETE", self.route(name, "grant/", [("userid", userid)]))

    def grants(self, name: str) -> list[dict[str, Any]]:
        return list(self.call("GET", self.route(name, "grant/")).json()["objects"])

    def held(self) -> list[dict[str, Any]]:
        """What others share with this account, of this kind or as whole buckets."""
        found: list[dict[str, Any]] = []
        while True:
            answer = self.call("GET", f"grant/?limit=500&offset={len(found)}").json()
            found += answer["objects"]
            if not answer["meta"]["next"]:
                return [grant for grant in found if grant["kind"] in (self._noun, "bucket")]

    def found(self, owner: str) -> list[Metadata]:
        """What is in another's bucket, where that is shared as a whole. Raises NotFound where it is not."""
        found: list[Metadata] = []
        while True:
            query = urlencode({"of": owner, "limit": 500, "offset": len(found)})
            answer = self.call("GET", f"{self._noun}/?{query}").json()
            found += [self._metadata(said) for said in answer["objects"]]
            if not answer["meta"]["next"]:
                return found

    def _metadata(self, said: Mapping[str, Any]) -> Metadata:
        sizes = {key: said[key] for key in ("rows", "bytes") if said.get(key) is not None}
        modified = said.get("modified")
        return Metadata(
            said["name"],
            self._bucket,
            "data/" if self._noun == "dataset" else "models/",
            said["kind"],
            version=said.get("version"),
            kind_meta=sizes,
            modified=datetime.fromisoformat(modified) if modified else None,
        )

    # --- datasets

    def get(self, name: str, query: Iterable[tuple[str, Any]], as_: str | None) -> Any:
        """Return a table as it was put, or the bytes of a file. `query` is as `filtervalues` writes it."""
        from omegaml import rest, tablestream

        accept = f"{tablestream.MEDIA_TYPE}, */*;q=0.1"
        headers = {filtervalues.HEADER: "json"}
        answer = self.call("GET", self.route(name, query=query), accept=accept, headers=headers, stream=True)
        kind = answer.headers.get("Content-Type", "")
        if kind.startswith(tablestream.MEDIA_TYPE):
            return tablestream.read(rest.pieces(answer), as_)
        if kind.startswith(FILE):
            return b"".join(rest.pieces(answer))
        answer.close()
        raise InvalidInput(
            f"{name!r} is neither a table nor a file, and is shared as JSON only",
            hint=f"omegacli api GET {self.route(name)}",
        )

    def metadata(self, name: str) -> Metadata:
        answer = self.call("GET", self.route(name, query=[("limit", 0)]), stream=True)
        with answer:
            about: Mapping[str, Any] = {"kind": "python.file", "meta": {}}
            if not answer.headers.get("Content-Type", "").startswith(FILE):
                about = answer.json()
        rows = (about.get("meta") or {}).get("total_count")
        known = {} if rows is None else {"rows": rows}
        return Metadata(name, self._bucket, "data/", about["kind"], kind_meta=known)

    def put(self, obj: Any, name: str, append: bool) -> Metadata:
        """Store a table as another's dataset. It travels as Arrow, which keeps the index and usual dtypes."""
        body = _arrow(obj)
        route = self.route(name, query=[("append", int(append))], by_path=True)
        return self._metadata(self.call("PUT", route, body=body, headers={"Content-Type": ARROW}).json())


class Shared(Store):
    """A store whose objects can be shared."""

    def __init__(self, db: Any, bucket: str, prefix: str, config: Config) -> None:
        super().__init__(db, bucket, prefix)
        self.remote = Remote(config, bucket, self.noun)

    def get(self, name: str, **how: Any) -> Any:
        """As of a store. Raises Untrusted for a model that somebody else shares: it stays where it runs."""
        if is_shared(name):
            raise Untrusted(
                f"{self.noun} {name!r} is code of its owner's, which is not run here",
                hint=f"ask it: om.runtime.model({name!r}).predict(X); or ask its owner for a skops file",
            )
        return super().get(name, **how)

    def grant(self, name: str, userid: str, right: str = "read") -> dict[str, Any]:
        """Let another account read an object, or also write it (`right="write"`, datasets only).

        Returns: `{id, owner, userid, kind, bucket, name, right, granted, resource_uri}`.
        Raises: NotFound (the object), InvalidInput (there is nobody of that userid), Unavailable (no REST).
        """
        return self.remote.grant(name, userid, right)

    def revoke(self, name: str, userid: str) -> None:
        """Take a grant back. Raises NotFound where there is none."""
        self.remote.revoke(name, userid)

    def grants(self, name: str) -> builtins.list[dict[str, Any]]:
        """Return who may use an object, as `grant` does. Raises NotFound."""
        return self.remote.grants(name)

    def find(
        self, pattern: str | None = None, *, regexp: str | None = None, hidden: bool = False
    ) -> Sequence[Metadata]:
        """As of a store; with a pattern as `@bob/*`, what is in the bucket that bob shares as a whole."""
        if pattern is None or not is_shared(pattern):
            return super().find(pattern, regexp=regexp, hidden=hidden)
        found = self.remote.found(pattern[1:].partition("/")[0])
        return [m for m in found if fnmatchcase(m.name, pattern) and re.search(regexp or "", m.name)]

    def shared(self) -> builtins.list[dict[str, Any]]:
        """Return what others share with this account, as `grant` does; a bucket has its own name there."""
        return self.remote.held()


class Models(Shared):
    """The models of a bucket, and those of others by `@owner/name`."""

    def link(self, name: str, X: str, Y: str | None = None) -> Metadata:
        """Let `"*"` mean these datasets where model `name` is trained or asked: `predict("*")`.

        Args:
            X: name of a dataset, projections allowed (`"x[^y]"`), as Y.
        A model that is linked to none means those that it was trained on, if they were given by name.
        Raises: NotFound (no such model), InvalidInput (no name).
        """
        data = {"X": X, "Y": Y}
        for which, dataset in data.items():
            if dataset is not None:
                Asked.parse(dataset)
            elif which == "X":
                raise InvalidInput("a model is linked to a dataset by its name", hint='link("m", "x[^y]")')
        while True:
            doc = self.catalog.require(Asked.parse(name).name)
            if self.catalog.update(doc, {}, {"$set": {"attributes.dataset": data}}) is not None:
                return self.metadata(name)


class Datasets(Shared):
    """The account's own datasets; `@bob/sales` is one that bob shares, which get, put and metadata reach."""

    def get(
        self,
        name: str,
        *,
        version: int | str | None = None,
        columns: Iterable[str] | None = None,
        as_: str | None = None,
        limit: int | None = None,
        q: Q | None = None,
        **filters: Any,
    ) -> Any:
        if not is_shared(name):
            return super().get(name, version=version, columns=columns, as_=as_, limit=limit, q=q, **filters)
        if version is not None:
            raise InvalidInput(f"{name!r}: versions stay their owner's", hint="leave the version out")
        if q is not None:
            raise InvalidInput(f"{name!r}: a Q does not travel", hint="give filters by keyword: x__gt=5")
        query: list[tuple[str, Any]] = [] if limit is None else [("limit", limit)]
        if columns is not None:
            query.append(("columns", filtervalues.dumps("columns", [str(label) for label in columns])))
        for key, value in filters.items():
            column = f"{key}__eq" if key in filtervalues.RESERVED else key
            query.append((column, filtervalues.dumps(key, value)))
        return self.remote.get(name, query, as_)

    def put(self, obj: Any, name: str, *, append: bool = False, **how: Any) -> Metadata:
        if not is_shared(name):
            return super().put(obj, name, append=append, **how)
        given = [key for key, value in how.items() if value is not None and (key, value) != ("replace", True)]
        if given:
            raise InvalidInput(f"{name!r}: {given[0]} is for datasets of one's own", hint="leave it out")
        return self.remote.put(obj, name, append)

    def metadata(self, name: str, version: int | str | None = None) -> Metadata:
        if is_shared(name) and version is None:
            return self.remote.metadata(name)
        return super().metadata(name, version)

    def drop(self, name: str, *, missing_ok: bool = False) -> bool:
        if is_shared(name):
            raise Forbidden(f"only its owner deletes dataset {name!r}", hint="ask for it")
        return super().drop(name, missing_ok=missing_ok)

    def exists(self, name: str) -> bool:
        if not is_shared(name):
            return super().exists(name)
        try:
            self.remote.metadata(name)
        except NotFound:
            return False
        return True


def _arrow(obj: Any) -> bytes:
    import pandas as pd
    import pyarrow as pa

    if isinstance(obj, pd.Series):
        obj = obj.to_frame(name="value" if obj.name is None else obj.name)
    if hasattr(obj, "to_arrow"):
        obj = obj.to_arrow()
    try:
        table = pa.Table.from_pandas(obj) if isinstance(obj, pd.DataFrame) else obj
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise NotStorable(f"the table does not fit into Arrow: {' '.join(str(error).split())}") from None
    if not isinstance(table, pa.Table):
        raise InvalidInput(f"a {type(obj).__name__} is no table", hint="put a frame")
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()
