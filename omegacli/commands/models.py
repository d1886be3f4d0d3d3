"""`omegacli models`: store, train and ask models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from omegacli import answers, connect, console, literals, sharing, transfer
from omegaml.errors import Conflict, InvalidInput, NotFound, NotStorable, OmegaError, Unavailable, Untrusted

if TYPE_CHECKING:
    from omegaml.metadata import Metadata

app = typer.Typer()

Name = Annotated[str, typer.Argument(help="Name of the model; name@tag or name^ for a version.")]
Own = Annotated[str, typer.Argument(help="Name of the model.")]
X = Annotated[str, typer.Argument(metavar="X", help="A dataset, as x or 'x[^y]', or a file.")]
OptionalY = Annotated[str | None, typer.Argument(metavar="[Y]", help="A dataset, as y or 'x[y]', or a file.")]
Async = Annotated[bool, typer.Option("--async", help="Leave the work to a runner and print the task's id.")]
Result = Annotated[
    str | None, typer.Option("--result", metavar="NAME", help="Store the result as this dataset.")
]
Replace = Annotated[
    bool, typer.Option("--replace", help="Let --result take the place of an existing dataset.")
]
Param = Annotated[
    list[str] | None, typer.Option("--param", metavar="K=V", help="Argument of the model's method.")
]
Local = Annotated[bool, typer.Option("--local", help="Do the work in this process.")]
Require = Annotated[
    str | None, typer.Option("--require", metavar="LABEL", help="Only on a worker of this label.")
]


@app.command("list")
def list_(
    pattern: Annotated[str | None, typer.Argument(help="As 'sales*'.")] = None,
    regexp: Annotated[
        str | None, typer.Option("--regexp", help="A regular expression instead of a pattern.")
    ] = None,
    hidden: Annotated[
        bool, typer.Option("--hidden", help="Also those whose name begins with . or _.")
    ] = False,
    shared: sharing.SharedOnly = False,
) -> None:
    """List models."""
    if shared:
        sharing.held(connect.omega().models, pattern)
        return
    found = connect.omega().models.find(pattern, regexp=regexp, hidden=hidden)
    rows = [meta.to_dict() for meta in found]
    console.show("models.list", rows, columns=["name", "kind", "version", "bytes", "modified"])


@app.command()
def put(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|CLASS",
            help="A skops file, a joblib or pickle file of your own, or a class as sklearn.svm.SVC.",
        ),
    ],
    name: Own,
    param: Param = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Store it as the next version of an existing model.")
    ] = False,
    tag: Annotated[str | None, typer.Option("--tag", help="Name this version.")] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Run the code that is in a joblib or pickle FILE: it is your own.")
    ] = False,
) -> None:
    """Store a model as NAME: one from a file, or a new one of CLASS made with --param.

    Loading a joblib or pickle file runs code that is in it, so that takes --trust. A skops file says what it
    is made of, and is refused unless all of that is known to be harmless: have others send those.
    """
    store = connect.omega().models
    if not replace and store.exists(name):
        raise Conflict(f"there is a model {name!r} already", hint="add --replace to store the next version")
    model, format = _model(source, literals.pairs(param, "--param"), trust)
    if console.options.dry_run:
        console.plan("models.put", f"store a {type(model).__name__} as {name}", name=name, tag=tag)
        return
    meta = store.put(model, name, replace=replace, tag=tag, format=format)
    console.show("models.put", meta.to_dict(), text="")
    console.say(f"stored {name}, version {meta.version}")


@app.command()
def get(
    name: Name,
    file: Annotated[
        str, typer.Argument(metavar="PATH|-", help="File to write: skops' format for x.skops, else joblib's.")
    ],
    version: Annotated[str | None, typer.Option("--version", help="A version's number or tag.")] = None,
) -> None:
    """Write model NAME to a file that joblib.load reads, or skops.io.load."""
    from omegaml.backends import skops

    model = connect.omega().models.get(name, version=_version(version))
    if file == "-":
        console.check_bytes(name)
    if file.endswith(".skops"):
        data = skops.SkopsBackend().encode(model).read()
        with transfer.target(file) as stream:
            stream.write(data)
    else:
        import joblib

        with transfer.target(file) as stream:
            joblib.dump(model, stream)
    if file != "-":
        console.show("models.get", {"name": name, "path": file}, text="")
        console.say(f"wrote {file}")


@app.command()
def show(name: Name) -> None:
    """Describe model NAME."""
    store = connect.omega().models
    meta = store.metadata(name)
    console.show("models.show", {**meta.to_dict(), "name": name, "tags": meta.tags})


@app.command()
def metadata(name: Name) -> None:
    """Show everything that is kept about model NAME."""
    meta: Metadata = connect.omega().models.metadata(name)
    data = {
        **meta.to_dict(),
        "id": meta.id,
        "format": meta.format,
        "kind_meta": meta.kind_meta,
        "gridfile": meta.gridfile,
        "uri": meta.uri,
    }
    console.show("models.metadata", data, text=console.dumps(data, indent=2))


@app.command()
def versions(name: Own) -> None:
    """List the versions of model NAME, the newest first."""
    store = connect.omega().models
    tags = store.metadata(name).tags
    rows = [
        {
            "name": name,
            "version": meta.version,
            "tags": sorted(tag for tag, version in tags.items() if version == meta.version),
            "kind": meta.kind,
            "bytes": meta.bytes,
            "created": meta.modified,
        }
        for meta in store.versions(name)
    ]
    console.show("models.versions", rows, columns=["version", "tags", "kind", "bytes", "created"])


@app.command()
def promote(
    name: Own,
    version: Annotated[str, typer.Argument(help="A version's number or tag.")],
    tag: Annotated[str, typer.Argument(help="The tag to give it, as production.")],
) -> None:
    """Give a version of model NAME a tag, which `NAME@TAG` then means."""
    store = connect.omega().models
    found = store.metadata(name, version=_version(version)).version
    number = version if found is None else found
    if console.options.dry_run:
        console.plan("models.promote", f"tag {name}@{tag}", name=name, version=number, tag=tag)
        return
    store.promote(name, number, tag)
    console.show("models.promote", {"name": name, "version": number, "tag": tag}, text="")
    console.say(f"{name}@{tag} is version {number}")


@app.command()
def grant(name: Own, to: sharing.To, right: sharing.Right = "read") -> None:
    """Let another account use model NAME."""
    sharing.grant(connect.omega().models, name, to, right)


@app.command()
def revoke(name: Own, to: sharing.To) -> None:
    """Share model NAME with an account no more."""
    sharing.revoke(connect.omega().models, name, to)


@app.command()
def grants(name: Own) -> None:
    """List who may use model NAME."""
    sharing.grants(connect.omega().models, name)


@app.command()
def drop(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of models.")],
    missing_ok: Annotated[
        bool, typer.Option("--missing-ok", help="A model that is not there is no error.")
    ] = False,
) -> None:
    """Delete models with all their versions."""
    store = connect.omega().models
    missing = [name for name in names if not store.exists(name)]
    if missing and not missing_ok:
        raise NotFound(f"there is no model {missing[0]!r}", hint="see `omegacli models list`")
    there = [name for name in names if name not in missing]
    if console.options.dry_run:
        console.plan("models.drop", f"drop {', '.join(there) or 'nothing'}", names=there)
        return
    if there:
        console.confirm(f"Delete {', '.join(there)} with all versions for good?", there[0])
    dropped = [name for name in there if store.drop(name, missing_ok=True)]
    console.show("models.drop", {"dropped": dropped}, text="")
    console.say(f"dropped {', '.join(dropped) or 'nothing'}")


def _takes_x_and_y(action: str, about: str) -> None:
    """Add the command of an action that takes X and perhaps Y."""

    @app.command(action.replace("_", "-"), help=about)
    def command(
        name: Name,
        x: X,
        y: OptionalY = None,
        async_: Async = False,
        result: Result = None,
        replace: Replace = False,
        param: Param = None,
        local: Local = False,
        require: Require = None,
    ) -> None:
        _call(action, name, x, y, async_, result, replace, param, local, require)


def _takes_x(action: str, about: str) -> None:
    """Add the command of an action that takes X alone."""

    @app.command(action.replace("_", "-"), help=about)
    def command(
        name: Name,
        x: X,
        async_: Async = False,
        result: Result = None,
        replace: Replace = False,
        param: Param = None,
        local: Local = False,
        require: Require = None,
    ) -> None:
        _call(action, name, x, None, async_, result, replace, param, local, require)


_takes_x_and_y("fit", "Train model NAME on X and Y; the trained model is its next version.")
_takes_x_and_y("partial_fit", "Train model NAME further on X and Y.")
_takes_x("predict", "Show what model NAME predicts for the rows of X.")
_takes_x("predict_proba", "Show the probability of each class for the rows of X.")
_takes_x("decision_function", "Show how sure model NAME is of each row of X, as its decision function says.")
_takes_x_and_y("score", "Show the model's own score for Y given X.")
_takes_x("transform", "Show X as model NAME transforms it.")


@app.command()
def gridsearch(
    name: Name,
    x: X,
    grid: Annotated[
        str,
        typer.Option(
            "--grid",
            metavar="JSON|FILE|-",
            help="The values to try, as '{\"alpha\": [0.1, 1]}', a file of that, or standard input.",
        ),
    ],
    y: OptionalY = None,
    async_: Async = False,
    result: Result = None,
    replace: Replace = False,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", metavar="K=V", help="Argument of scikit-learn's GridSearchCV, as cv=3."),
    ] = None,
    local: Local = False,
    require: Require = None,
) -> None:
    """Try model NAME with all values of a grid on X and Y; the best one, fitted, is its next version."""
    if grid == "-" and "-" in (x, y):
        raise InvalidInput("standard input can be read once", hint="give the grid or the data as a file")
    tried = {"parameters": _grid(grid)}
    _call("gridsearch", name, x, y, async_, result, replace, param, local, require, tried)


def _call(
    action: str,
    name: str,
    x: str,
    y: str | None,
    async_: bool,
    result: str | None,
    replace: bool,
    param: list[str] | None,
    local: bool,
    require: str | None,
    more: dict[str, Any] | None = None,
) -> None:
    if async_ and local:
        raise InvalidInput("--async and --local exclude each other", hint="leave one out")
    if require is not None:
        raise Unavailable(
            f"no worker has the label {require!r}",
            hint="leave --require out, or see `omegacli runtime status`",
        )
    om = connect.omega()
    params = {**literals.pairs(param, "--param"), **(more or {})}
    if result is not None and not replace and om.datasets.exists(result):
        raise Conflict(f"there is a dataset {result!r} already", hint="add --replace, or choose another name")
    if console.options.dry_run:
        om.models.metadata(name)
        words = [x] if y is None else [x, y]
        text = f"{action} model {name} with {' and '.join(words)}"
        console.plan(f"models.{action.replace('_', '-')}", text, name=name, data=words, result=result)
        return
    given = [_data(om, word) for word in ([x] if y is None else [x, y])]
    schema = f"models.{action.replace('_', '-')}"
    limit = None if async_ else console.options.timeout
    answer = om.runtime.model(name, limit=limit).call(action, *given, result=result, async_=async_, **params)
    if async_:
        console.show(schema, {"task": answer.id, "status": answer.status}, text=answer.id)
        console.say(f"hint: omegacli runtime result {answer.id}")
        return
    answers.show(schema, answer)


def _data(om: Any, word: str) -> Any:
    """A file's content if `word` is one, else the name of a dataset."""
    if word == "-" or (Path(word).suffix and Path(word).is_file() and not om.datasets.exists(word)):
        return transfer.read_file(word, "csv" if word == "-" else None)
    return word


def _grid(source: str) -> Any:
    """The values to try: `{parameter: [value, ...]}`, or a list of those."""
    import json

    called = {"-": "standard input"}.get(source, source)
    if source.lstrip()[:1] in ("{", "["):
        called, data = "--grid", source.encode()
    else:
        with transfer.source(source, "json") as stream:
            data = stream.read()
    hint = """as in '{"alpha": [0.1, 1]}'"""
    try:
        grid = json.loads(data)
    except ValueError as e:
        raise InvalidInput(f"{called} is no JSON: {e}", hint=hint) from None
    grids = grid if isinstance(grid, list) else [grid]
    if not grids or not all(isinstance(one, dict) and one for one in grids):
        raise InvalidInput(f"{called} holds no values to try", hint=hint)
    for parameter, values in (pair for one in grids for pair in one.items()):
        if not isinstance(values, list) or not values:
            raise InvalidInput(f"{called}: {parameter!r} needs a list of the values to try", hint=hint)
    return grid


def _version(text: str | None) -> Any:
    return int(text) if text is not None and text.isdecimal() else text


def _model(source: str, params: dict[str, Any], trust: bool) -> tuple[Any, str | None]:
    """The model, and the format to store it in if that is not the usual one."""
    file = Path(source).expanduser()
    if file.is_dir():
        raise InvalidInput(f"{source} is a folder and a file is expected", hint="give a skops or joblib file")
    if file.exists():
        if params:
            raise InvalidInput("--param is for a class", hint="leave --param out")
        return _load(file, trust)
    module, dot, attribute = source.rpartition(".")
    if not dot or not all(part.isidentifier() for part in source.split(".")):
        raise InvalidInput(f"there is no file {source}", hint="give a file, or a class as sklearn.svm.SVC")
    from importlib import import_module

    try:
        model = getattr(import_module(module), attribute)(**params)
    except ImportError as e:
        raise InvalidInput(f"{source} cannot be imported: {e}", hint="is its package installed?") from None
    except AttributeError:
        raise InvalidInput(f"{module} has no {attribute}", hint="check the name of the class") from None
    except (TypeError, ValueError) as e:
        raise InvalidInput(f"{source} cannot be made with these --param: {e}") from None
    return _checked(model, source), None


def _checked(model: Any, source: str) -> Any:
    if not any(hasattr(model, method) for method in ("fit", "predict", "transform")):
        raise InvalidInput(
            f"{source} gives a {type(model).__name__}, which is no model",
            hint="a model has fit, predict or transform",
        )
    return model


def _load(file: Path, trust: bool) -> tuple[Any, str | None]:
    from omegaml.backends import modelfile, skops

    try:
        with file.open("rb") as stream:
            head = stream.read(modelfile.HEAD)
            if modelfile.kind_of(head) == "sklearn.skops":
                return _checked(skops.load(head + stream.read()), str(file)), "skops"
    except OSError as e:
        raise InvalidInput(f"{file} cannot be read: {e.strerror}") from None
    if not head:
        raise InvalidInput(f"{file} is empty", hint="give a skops or joblib file")
    if not trust:
        raise Untrusted(
            f"{file} is no skops file, and loading any other runs the code that is in it",
            hint="is it your own? add --trust; others' models: have them send what skops.io.dump writes",
        )
    return _unpickled(file), None


def _unpickled(file: Path) -> Any:
    import joblib

    try:
        return _checked(joblib.load(file), str(file))
    except OmegaError:
        raise
    except ImportError as e:
        raise NotStorable(
            f"{file} needs a package that is not installed: {e}", hint="install it and try again"
        ) from None
    except Exception as e:  # unpickling runs the file's code, which may raise anything
        raise InvalidInput(
            f"{file} is no joblib or pickle file: {type(e).__name__}", hint="make it with joblib.dump"
        ) from None
