"""What a page offers to copy: the same request as a REST address, a shell command and a line of Python."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from omegaml.metadata import Metadata
from omegaml.store.names import DEFAULT_BUCKET
from omegaweb.dashboard.library import INSTALL

PUT = 'import omegaml as om\nom.datasets.put(df, "sales")'
TRAIN = (
    'import omegaml as om\nom.models.put(model, "grader")\n'
    'om.runtime.model("grader").fit("points[hours]", "points[points]")'
)

JOB = 'import omegaml as om\nom.jobs.put("daily.ipynb", "daily")\nom.runtime.job("daily").run()'


def first_steps(url: str, userid: str) -> dict[str, str]:
    """What the first steps have to copy, for this visitor."""
    body = json.dumps({"columns": ["hours"], "data": [[6]]})
    ask = [
        f"curl -H {shlex.quote(f'Authorization: {userid}:YOUR_KEY')}",
        "-H 'Content-Type: application/json'",
        f"-d {shlex.quote(body)}",
        f"{url}/api/v1/model/grader/predict/",
    ]
    return {
        "install": INSTALL,
        "init": f"omegacli init --userid {userid} --url {url}",
        "put": r"printf 'hours,points\n1,52\n2,57\n3,64\n4,68\n5,75\n' > points.csv"
        "\nomegacli datasets put points.csv points",
        "train": "import omegaml as om\n"
        "from sklearn.linear_model import LinearRegression\n\n"
        'om.models.put(LinearRegression(), "grader")\n'
        'om.runtime.model("grader").fit("points[hours]", "points[points]")',
        "ask": " \\\n  ".join(ask),
    }


class Snippets:
    """The snippets about one object.

    Args:
        url: the platform's address as the visitor reached it.
        meta: the object.
        filters: conditions as `{"amount__gte": "5"}`, texts as they go into an address.
        literals: the same with values as Python writes them.
    """

    def __init__(
        self,
        url: str,
        userid: str,
        meta: Metadata,
        filters: Mapping[str, str] | None = None,
        literals: Mapping[str, str] | None = None,
    ) -> None:
        self._url = url
        self._meta = meta
        self._filters = dict(filters or {})
        self._literals = dict(literals or {})
        self._headers = [f"Authorization: {userid}:YOUR_KEY"]
        if meta.bucket != DEFAULT_BUCKET:
            self._headers.append(f"Bucket: {meta.bucket}")

    @property
    def route(self) -> str:
        """The object's route of the REST API, without the host."""
        noun = self._meta.prefix.strip("/").removesuffix("s").replace("data", "dataset")
        return f"/api/v1/{noun}/{quote(self._meta.name)}/"

    @property
    def predict(self) -> str:
        return f"{self.route}predict/"

    @property
    def address(self) -> str:
        """The address that gives the rows."""
        query = urlencode(self._filters, quote_via=quote)
        return self._url + self.route + (f"?{query}" if query else "")

    @property
    def curl(self) -> str:
        """The command that gives the rows."""
        return self._curl(self.address)

    @property
    def csv(self) -> str:
        """The command that writes the rows into a file."""
        return self._curl(self.address, "-H 'Accept: text/csv'", "-o rows.csv")

    @property
    def cli(self) -> str:
        """The same with our own command line."""
        given = [f"--filter {shlex.quote(f'{key}={value}')}" for key, value in self._filters.items()]
        bucket = [] if self._meta.bucket == DEFAULT_BUCKET else [f"--bucket {self._meta.bucket}"]
        return " ".join(["omegacli datasets get", shlex.quote(self._meta.name), *given, *bucket])

    @property
    def python(self) -> str:
        """The same in Python."""
        return self._python("datasets")

    @property
    def python_model(self) -> str:
        om = self._om
        return f'import omegaml as om\n{om}.runtime.model({_text(self._meta.name)}).predict("DATASET")'

    @property
    def python_job(self) -> str:
        return f"import omegaml as om\n{self._om}.runtime.job({_text(self._meta.name)}).run()"

    @property
    def cli_job(self) -> str:
        bucket = [] if self._meta.bucket == DEFAULT_BUCKET else [f"--bucket {self._meta.bucket}"]
        return " ".join(["omegacli jobs run", shlex.quote(self._meta.name), *bucket])

    @property
    def curl_job(self) -> str:
        content = "-H 'Content-Type: application/json'"
        return self._curl(f"{self._url}{self.route}run/", "-X POST", content, "-d '{}'")

    def curl_predict(self, signature: Mapping[str, Any]) -> str:
        body = json.dumps(self.example(signature), ensure_ascii=False)
        content = "-H 'Content-Type: application/json'"
        return self._curl(self._url + self.predict, content, f"-d {shlex.quote(body)}")

    def example(self, signature: Mapping[str, Any]) -> dict[str, Any]:
        """A body to predict with, of the columns that the model was fitted on; one row of zeros."""
        features = list(signature.get("features") or [])
        n = len(features) or int(signature.get("n_features") or 1)
        columns = {"columns": features} if features else {}
        return {**columns, "data": [[0] * n]}

    @property
    def _om(self) -> str:
        return "om" if self._meta.bucket == DEFAULT_BUCKET else f"om[{_text(self._meta.bucket)}]"

    def _python(self, store: str) -> str:
        named = {k: v for k, v in self._literals.items() if k.isidentifier()}
        other = {k: v for k, v in self._literals.items() if not k.isidentifier()}
        words = [_text(self._meta.name), *(f"{k}={v}" for k, v in named.items())]
        if other:
            words.append("**{" + ", ".join(f"{_text(k)}: {v}" for k, v in other.items()) + "}")
        return f"import omegaml as om\n{self._om}.{store}.get({', '.join(words)})"

    def _curl(self, address: str, *more: str) -> str:
        headers = " ".join(f"-H {shlex.quote(h)}" for h in self._headers)
        return " \\\n  ".join([f"curl {headers}", *more, shlex.quote(address)])


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
