"""`omegacli datasets`: store, read and query data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from omegacli import answers, archive, connect, console, formats, literals, sharing, transfer
from omegaml.errors import Conflict, InvalidInput, NotFound, OmegaError, Partial

if TYPE_CHECKING:
    from omegaml.metadata import Metadata
    from omegaml.omega import Omega
    from omegaml.store import Store

app = typer.Typer()

Name = Annotated[str, typer.Argument(help="Name of the dataset.")]
Filter = Annotated[
    list[str] | None, typer.Option("--filter", help="As 'x__gt=5'; all of several must match.")
]
Columns = Annotated[str | None, typer.Option("--columns", help="Only these columns, as a,b.")]
Limit = Annotated[int | None, typer.Option("--limit", min=0, help="At most so many rows.")]
Format = Annotated[str | None, typer.Option("--format", help=f"One of {', '.join(transfer.FORMATS)}.")]
Version = Annotated[str | None, typer.Option("--version", help="A version's number or tag.")]

_LIST = ["name", "kind", "rows", "bytes", "modified"]
_FOLDER = "folder"  # attribute of a file object that is a tar stream of a folder
_TABLES = ("pandas.", "arrow.", "polars.")  # kinds that have rows and columns


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
    """List datasets."""
    if shared:
        sharing.held(connect.omega().datasets, pattern)
        return
    found = connect.omega().datasets.find(pattern, regexp=regexp, hidden=hidden)
    console.show("datasets.list", [meta.to_dict() for meta in found], columns=_LIST)


@app.command()
def put(
    file: Annotated[str, typer.Argument(metavar="PATH|-", help="File or folder; - is standard input.")],
    name: Name,
    format: Format = None,
    csv: Annotated[
        list[str] | None, typer.Option("--csv", metavar="K=V", help="Option of pandas.read_csv, as sep=';'.")
    ] = None,
    append: Annotated[bool, typer.Option("--append", help="Add rows to an existing dataset.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the place of an existing dataset.")
    ] = False,
    index: Annotated[
        list[str] | None, typer.Option("--index", metavar="COL", help="Column to index; implies --rows.")
    ] = None,
    rows: Annotated[
        bool, typer.Option("--rows", help="One document per row, for aggregation and other programs.")
    ] = False,
    chunksize: Annotated[
        int | None,
        typer.Option(
            "--chunksize",
            min=1,
            help="Read a CSV so many rows at a time, to need less memory.",
        ),
    ] = None,
) -> None:
    """Store a file or folder as dataset NAME.

    CSV, Parquet, JSON, Excel and numpy files are stored as data, every other file as it is.
    """
    from omegaml.store.names import is_shared  # slow to import, and most commands need no store

    if append and replace:
        raise InvalidInput("--append and --replace exclude each other", hint="leave one out")
    format = "csv" if format is None and file == "-" else transfer.format_of(file, format)
    options = literals.pairs(csv, "--csv")
    store = connect.omega().datasets
    if not (append or replace) and store.exists(name):
        raise Conflict(f"there is a dataset {name!r} already", hint="add --replace or --append")
    replace = replace or is_shared(name)  # another's is looked at above, and put in one way only
    how: dict[str, Any] = {"format": "rows" if rows or index else None, "index": index or None}
    if format in ("binary", "dir") and (rows or index or chunksize or append):
        raise InvalidInput(
            "--append, --rows, --index and --chunksize are for tables", hint="set --format csv or another"
        )
    if chunksize is not None and format != "csv":
        raise InvalidInput("--chunksize is for CSV files", hint="leave --chunksize out")
    if console.options.dry_run:
        with transfer.source(file, format):
            console.plan("datasets.put", f"store {file} as {name}", name=name, format=format)
        return
    if format in ("binary", "dir"):
        if options:
            raise InvalidInput("--csv is for CSV files", hint="add --format csv")
        with transfer.source(file, format) as stream:
            meta = store.put(
                stream, name, replace=replace, attributes={_FOLDER: "tar"} if format == "dir" else None
            )
    elif chunksize is not None:
        parts = transfer.read_chunks(file, chunksize, options)
        meta = store.put_parts(parts, name, append=append, replace=replace, **how)
    else:
        meta = store.put(
            transfer.read_file(file, format, options), name, append=append, replace=append or replace, **how
        )
    console.show("datasets.put", meta.to_dict(), text="")
    console.say(f"stored {name}: {_size(meta)}")


@app.command()
def get(
    name: Name,
    file: Annotated[
        str, typer.Argument(metavar="[PATH|-]", help="File to write; - is standard output.")
    ] = "-",
    format: Format = None,
    filter: Filter = None,
    columns: Columns = None,
    limit: Limit = None,
    version: Version = None,
) -> None:
    """Write dataset NAME to a file, or to standard output as CSV, JSON or the bytes it holds."""
    om = connect.omega()
    meta = _metadata(om, name)
    chosen = format or (transfer.format_of(file, None) if file != "-" else None)
    if format is not None:
        transfer.format_of(file, format)
    as_data = console.options.json and file == "-"  # the rows themselves, in the envelope
    if as_data and (meta.kind == "python.file" or format not in (None, "json")):
        raise InvalidInput("the bytes of a file are no JSON", hint=f"omegacli datasets get {name} PATH")
    if meta.kind == "python.file":
        _get_file(om, meta, name, file, version)
        return
    obj = om.datasets.get(name, **_selection(filter, columns, limit, version))
    if as_data:
        console.show("datasets.get", answers.as_data(obj))
        return
    if chosen in (None, "binary") and format is None:
        chosen = formats.natural_format(obj)
    assert chosen is not None
    if file == "-" and chosen not in ("csv", "json"):
        console.check_bytes(name)
    transfer.write_file(obj, file, chosen)
    _written(name, file, chosen)


@app.command()
def show(name: Name) -> None:
    """Describe dataset NAME: kind, size and columns."""
    om = connect.omega()
    meta = _metadata(om, name)
    data = meta.to_dict()
    is_table = meta.kind.startswith(_TABLES)
    data["columns"] = answers.columns(om.datasets.get(name, limit=0)) if is_table else None
    console.show("datasets.show", data)


@app.command()
def metadata(name: Name) -> None:
    """Show everything that is kept about dataset NAME."""
    meta = _metadata(connect.omega(), name)
    data = {
        **meta.to_dict(),
        "id": meta.id,
        "format": meta.format,
        "collection": meta.collection,
        "gridfile": meta.gridfile,
        "uri": meta.uri,
    }
    console.show("datasets.metadata", data, text=console.dumps(data, indent=2))


@app.command()
def head(
    name: Name,
    n: Annotated[int, typer.Option("--rows", "-n", min=0, help="How many rows.")] = 10,
    columns: Columns = None,
) -> None:
    """Show the first rows of dataset NAME."""
    om = connect.omega()
    _check_table(_metadata(om, name))
    answers.show_rows(
        "datasets.head", om.datasets.get(name, limit=n, **_selection(None, columns, None, None)), n
    )


@app.command()
def query(
    name: Name,
    conditions: Annotated[
        list[str] | None, typer.Argument(metavar="[FILTER]...", help="As 'x__gt=5'.")
    ] = None,
    filter: Filter = None,
    columns: Columns = None,
    limit: Limit = 100,
    version: Version = None,
) -> None:
    """Show the rows of dataset NAME that match all filters."""
    om = connect.omega()
    _check_table(_metadata(om, name))
    both = [*(conditions or []), *(filter or [])]
    answers.show_rows(
        "datasets.query", om.datasets.get(name, **_selection(both, columns, limit, version)), limit
    )


@app.command()
def count(name: Name, filter: Filter = None) -> None:
    """Count the rows of dataset NAME, or those that match all filters."""
    om = connect.omega()
    _metadata(om, name)
    conditions = literals.filters(filter)
    rows = om.datasets.getl(name, **conditions).count() if conditions else om.datasets.count(name)
    console.show("datasets.count", {"name": name, "rows": rows}, text=str(rows))


@app.command()
def drop(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of datasets.")],
    missing_ok: Annotated[
        bool, typer.Option("--missing-ok", help="A dataset that is not there is no error.")
    ] = False,
) -> None:
    """Delete datasets and free their space."""
    store = connect.omega().datasets
    missing = [name for name in names if not store.exists(name)]
    if missing and not missing_ok:
        raise NotFound(f"there is no dataset {missing[0]!r}", hint="see `omegacli datasets list`")
    there = [name for name in names if name not in missing]
    if console.options.dry_run:
        console.plan("datasets.drop", f"drop {', '.join(there) or 'nothing'}", names=there)
        return
    if there:
        console.confirm(f"Delete {', '.join(there)} for good?", there[0])
    dropped = [name for name in there if store.drop(name, missing_ok=True)]
    console.show("datasets.drop", {"dropped": dropped}, text="")
    console.say(f"dropped {', '.join(dropped) or 'nothing'}")


@app.command()
def copy(name: Name, new: Annotated[str, typer.Argument(help="Name of the copy.")]) -> None:
    """Copy dataset NAME to NEW."""
    store = connect.omega().datasets
    if console.options.dry_run:
        _check_new(store, name, new)
        console.plan("datasets.copy", f"copy {name} to {new}", name=name, new=new)
        return
    meta = store.copy(name, new)
    console.show("datasets.copy", {"name": name, "new": new, "rows": getattr(meta, "rows", None)}, text="")
    console.say(f"copied {name} to {new}")


@app.command()
def rename(name: Name, new: Annotated[str, typer.Argument(help="The new name.")]) -> None:
    """Rename dataset NAME to NEW."""
    store = connect.omega().datasets
    if console.options.dry_run:
        _check_new(store, name, new)
        console.plan("datasets.rename", f"rename {name} to {new}", name=name, new=new)
        return
    store.rename(name, new)
    console.show("datasets.rename", {"name": name, "new": new}, text="")
    console.say(f"renamed {name} to {new}")


@app.command()
def grant(name: Name, to: sharing.To, right: sharing.Right = "read") -> None:
    """Let another account use dataset NAME."""
    sharing.grant(connect.omega().datasets, name, to, right)


@app.command()
def revoke(name: Name, to: sharing.To) -> None:
    """Share dataset NAME with an account no more."""
    sharing.revoke(connect.omega().datasets, name, to)


@app.command()
def grants(name: Name) -> None:
    """List who may use dataset NAME."""
    sharing.grants(connect.omega().datasets, name)


@app.command("export")
def export_(
    folder: Annotated[str, typer.Argument(help="Folder to write to; it is made.")],
    pattern: Annotated[str | None, typer.Argument(help="As 'sales*'; everything if left out.")] = None,
    format: Annotated[
        str, typer.Option("--format", help="Of tables: parquet, csv, json or excel.")
    ] = "parquet",
) -> None:
    """Write many datasets to a folder, one file each, with an index that `import` reads."""
    store = connect.omega().datasets
    target = Path(folder).expanduser()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InvalidInput(f"{folder} is not an empty folder", hint="give the name of a new folder")
    if transfer.format_of("-", format) not in ("parquet", "csv", "json", "excel"):
        raise InvalidInput(f"{format} is no format of tables", hint="parquet, csv, json or excel")
    found = store.find(pattern)
    if not found:
        raise NotFound("no dataset has such a name", hint="see `omegacli datasets list`")
    if console.options.dry_run:
        names = [meta.name for meta in found]
        console.plan("datasets.export", f"write {', '.join(names)} to {target}", folder=folder, names=names)
        return
    done, failed = archive.write(store, found, target, format)
    if failed:
        raise Partial(
            f"{len(failed)} of {len(found)} datasets could not be exported: {', '.join(failed)}",
            hint="export those with another --format",
            done=done,
            failed=failed,
        )
    console.show("datasets.export", {"folder": str(target), "datasets": done}, text=str(target))


@app.command("import")
def import_(
    folder: Annotated[str, typer.Argument(help="A folder that `export` has written.")],
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of existing datasets.")] = False,
) -> None:
    """Store the datasets of a folder that `export` has written."""
    source = Path(folder).expanduser()
    entries = archive.read_index(source)
    store = connect.omega().datasets
    names = [entry["name"] for entry in entries]
    taken = [name for name in names if store.exists(name)]
    if taken and not replace:
        raise Conflict(f"there is a dataset {taken[0]!r} already", hint="add --replace")
    if console.options.dry_run:
        console.plan("datasets.import", f"store {', '.join(names)}", names=names, replaced=taken)
        return
    done: list[str] = []
    failed: dict[str, str] = {}
    for entry in entries:
        try:
            archive.restore(store, source, entry, replace)
            done.append(entry["name"])
            console.event(entry["name"], "imported")
        except OmegaError as e:
            failed[entry["name"]] = e.message
            console.event(entry["name"], "failed", message=e.message)
    if failed:
        raise Partial(
            f"{len(failed)} of {len(entries)} datasets could not be imported: {', '.join(failed)}",
            hint="import again with --replace when those are mended",
            done=done,
            failed=failed,
        )
    console.show("datasets.import", {"datasets": done}, text="")


def _get_file(om: Omega, meta: Metadata, name: str, file: str, version: str | None) -> None:
    content = om.datasets.get(name, **_selection(None, None, None, version))
    with archive.as_stream(content) as stream:
        if file == "-":
            console.check_bytes(name)
        if meta.attributes.get(_FOLDER) == "tar" and file != "-":
            transfer.extract_folder(stream, file)
        else:
            transfer.copy_stream(stream, file, meta.bytes)
    _written(name, file, "binary")


def _written(name: str, file: str, format: str) -> None:
    if file == "-":
        return
    path = Path(file).expanduser()
    size = path.stat().st_size if path.is_file() else None
    console.show("datasets.get", {"name": name, "path": str(path), "format": format, "bytes": size}, text="")
    console.say(f"wrote {path}" + (f" ({console.human_bytes(size)})" if size is not None else ""))


def _metadata(om: Omega, name: str) -> Metadata:
    """The metadata of `name`, which may carry a projection or a tag. Raises NotFound."""
    meta: Metadata = om.datasets.metadata(name)
    return meta


def _check_table(meta: Metadata) -> None:
    if not meta.kind.startswith(_TABLES):
        raise InvalidInput(
            f"dataset {meta.name!r} ({meta.kind}) has no rows to show",
            hint=f"omegacli datasets get {meta.name}",
        )


def _check_new(store: Store, name: str, new: str) -> None:
    """Raise NotFound or Conflict as the store would, before a dry run says that all is well."""
    store.metadata(name)
    if store.exists(new):
        raise Conflict(f"there is a dataset {new!r} already", hint="drop it first, or choose another name")


def _selection(
    filter: list[str] | None, columns: str | None, limit: int | None, version: str | None
) -> dict[str, Any]:
    chosen: dict[str, Any] = dict(literals.filters(filter))
    if columns is not None:
        chosen["columns"] = literals.names(columns)
    if limit is not None:
        chosen["limit"] = limit
    if version is not None:
        chosen["version"] = int(version) if version.isdecimal() else version
    return chosen


def _size(meta: Metadata) -> str:
    parts = [f"{meta.rows:,} rows"] if meta.rows is not None else []
    parts += [console.human_bytes(meta.bytes)] if meta.bytes is not None else []
    return ", ".join(parts) or meta.kind
