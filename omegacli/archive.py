"""Many datasets in one folder: a file each, and an index that says which is which and what it was."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from omegacli import console, formats, transfer
from omegaml import tabular
from omegaml.errors import FormatTooNew, InvalidInput, NotStorable, OmegaError

if TYPE_CHECKING:
    from omegaml.metadata import Metadata
    from omegaml.store import Store

INDEX = "index.json"
FORMAT = 1
_TABLES = ("DataFrame", "Series", "Table")


def write(
    store: Store, found: Iterable[Metadata], folder: Path, format: str
) -> tuple[list[str], dict[str, str]]:
    """Write datasets to `folder`, which appears when all is written.

    Args:
        format: of tables; everything else is written in a format that holds it. A file that should hold
            all of the object is read again to see that it does.
    Returns: the names that were written, and why others were not.
    """
    import shutil
    import tempfile

    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    entries: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    try:
        for number, meta in enumerate(found):
            try:
                entries.append(_write_one(store, meta, part, number, format))
                console.event(meta.name, "exported")
            except OmegaError as e:
                failed[meta.name] = e.message
                console.event(meta.name, "failed", message=e.message)
        with transfer.target(str(part / INDEX)) as stream:
            stream.write(json.dumps({"format": FORMAT, "datasets": entries}, indent=1).encode() + b"\n")
        os.chmod(part, 0o777 & ~transfer.umask())
        os.replace(part, folder)  # takes the place of an empty folder
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return [entry["name"] for entry in entries], failed


def read_index(folder: Path) -> list[dict[str, Any]]:
    """Return what a folder holds. Raises InvalidInput for what `write` has not written, FormatTooNew."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        if index["format"] > FORMAT:
            raise FormatTooNew(f"{folder} was exported by a newer version", hint="upgrade this installation")
        entries: list[dict[str, Any]] = index["datasets"]
        for entry in entries:
            file = folder / entry["file"]
            is_own = Path(entry["file"]).name == entry["file"] and file.is_file() and not file.is_symlink()
            if not is_own or entry["format"] not in transfer.FORMATS or entry["format"] == "dir":
                raise ValueError(f"{entry['file']} is no file of it")
            if not isinstance(entry["name"], str) or not isinstance(entry.get("attributes") or {}, dict):
                raise ValueError(f"{entry['file']} has no name")
        if len({entry["name"] for entry in entries}) < len(entries):
            raise ValueError("a name is there twice")
    except (FileNotFoundError, NotADirectoryError):
        missing = "has no " + INDEX if folder.is_dir() else "is no folder"
        raise InvalidInput(f"{folder} {missing}", hint="make one with `omegacli datasets export`") from None
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise InvalidInput(
            f"{folder} holds no usable {INDEX}: {e}", hint="make one with `omegacli datasets export`"
        ) from None
    return entries


def restore(store: Store, folder: Path, entry: dict[str, Any], replace: bool) -> None:
    """Store one dataset of a folder as what it was."""
    file, attributes = str(folder / entry["file"]), entry.get("attributes") or None
    if entry["format"] == "binary":
        with transfer.source(file, "binary") as stream:
            store.put(stream, entry["name"], replace=replace, attributes=attributes)
        return
    rows = "rows" if entry.get("kind") == "pandas.dfrows" else None
    store.put(_read_one(file, entry), entry["name"], replace=replace, attributes=attributes, format=rows)


def _write_one(store: Store, meta: Metadata, folder: Path, number: int, format: str) -> dict[str, Any]:
    """Write one dataset to a numbered file, as names hold what files cannot; return its line of the index."""
    entry: dict[str, Any] = {
        "name": meta.name,
        "kind": meta.kind,
        "attributes": console.plain(meta.attributes),
    }
    if meta.kind == "python.file":
        entry |= {"file": f"{number:05d}.bin", "format": "binary"}
        with as_stream(store.get(meta.name)) as stream:
            transfer.copy_stream(stream, str(folder / entry["file"]), meta.bytes)
        return entry
    obj = store.get(meta.name)
    kind = type(obj).__name__
    chosen = format if kind in _TABLES else "npy" if kind == "ndarray" else formats.natural_format(obj)
    suffix = {"excel": "xlsx", "binary": "bin"}.get(chosen, chosen)
    entry |= {"file": f"{number:05d}.{suffix}", "format": chosen}
    entry["index"] = kind == "DataFrame" and tabular.has_telling_index(obj)
    if kind == "Series":
        entry["series"] = {"named": obj.name is not None}
    file = folder / entry["file"]
    transfer.write_file(obj, str(file), chosen)
    is_exact = chosen == "npy" or chosen == ("parquet" if kind in _TABLES else "json")
    if is_exact and kind != "Table" and not _is_equal(_read_one(str(file), entry), obj):
        file.unlink()
        raise NotStorable(f"{chosen} cannot hold all of it exactly")
    return entry


def _read_one(file: str, entry: dict[str, Any]) -> Any:
    if entry["format"] == "json" and not str(entry.get("kind", "")).startswith("pandas."):
        return json.loads(Path(file).read_text(encoding="utf-8"))
    options = {"index_col": 0} if entry["format"] == "csv" and entry.get("index") else {}
    obj = transfer.read_file(file, entry["format"], options)
    if entry.get("series") and type(obj).__name__ == "DataFrame":
        obj = obj.iloc[:, 0]
        return obj if entry["series"]["named"] else obj.rename(None)
    return obj


def _is_equal(found: Any, stored: Any) -> bool:
    """Tell whether two objects are the same, types included."""
    if type(found) is not type(stored):
        return False
    try:
        if hasattr(stored, "equals"):
            same = found.equals(stored) and found.index.equals(stored.index)
            if hasattr(stored, "columns"):
                same = same and found.columns.names == stored.columns.names
            return bool(same and found.index.names == stored.index.names)
        if hasattr(stored, "dtype"):
            return found.dtype == stored.dtype and found.tobytes() == stored.tobytes()
        return bool(found == stored)
    except ValueError:  # cells that are arrays
        return False


def as_stream(content: Any) -> BinaryIO:
    """A stored file as a stream; one that was put as bytes comes back as bytes."""
    return io.BytesIO(content) if isinstance(content, (bytes, bytearray)) else content
