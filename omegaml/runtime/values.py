"""Values inside tasks and results: JSON that gives back the same value, dtypes included.

Plain JSON values stand for themselves. Everything else is an object with the key `$value`:

    {"$value": "array", "dtype": "<f8", "shape": [2, 3], "data": base64}      numpy arrays
    {"$value": "frame", "data": base64}                                       pandas, Arrow, polars (columnar)
    {"$value": "dataset", "name": ".temp/..."}                                too large: stored, by name

and so on (`_DECODERS`). Nothing here is pickled, so a message cannot run code.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from omegaml.errors import InvalidInput, NotStorable

INLINE = 256 * 1024
"""Bytes that travel inside a message; more goes through a temporary dataset."""

Spill = Callable[[Any], str]
Fetch = Callable[[str], Any]


def encode(obj: Any, spill: Spill | None = None) -> Any:
    """Return `obj` as JSON-able data.

    Args:
        obj: JSON values, tuples, dicts with any keys, numpy arrays and scalars, scipy sparse matrices,
            pandas, Arrow and polars frames and series, bytes, dates, Decimal, UUID, and these nested.
        spill: keeps what is large and returns the name of the dataset it is in; without one all is inline.
    Raises: NotStorable, naming the type that cannot travel.
    """
    try:
        data = _encode(obj, spill)
    except RecursionError:
        raise NotStorable(
            "a value that contains itself, or is nested too deep, cannot be sent to the runtime"
        ) from None
    if spill is None or obj is None or type(obj) in (bool, int, float) or _is_reference(data):
        return data
    text = json.dumps(data).encode()
    if len(text) <= INLINE:
        return data
    import numpy as np

    return {"$value": "json", "data": _reference(spill(np.frombuffer(text, "u1")))}


def decode(data: Any, fetch: Fetch | None = None) -> Any:
    """Return the value that `encode` wrote; `fetch` gets a stored part by its dataset's name."""
    if isinstance(data, list):
        return [decode(item, fetch) for item in data]
    if not isinstance(data, dict):
        return data
    kind = data.get("$value")
    if kind is None:
        return {key: decode(value, fetch) for key, value in data.items()}
    if not isinstance(kind, str) or kind not in _DECODERS:
        raise InvalidInput(f"a value of kind {kind!r} is not known to this version")
    try:
        return _DECODERS[kind](data, fetch)
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise InvalidInput(f"a value of kind {kind!r} cannot be read: {error!r}") from error


def check(obj: Any) -> None:
    """Raise NotStorable if a value could not be sent. Does not look into arrays and frames."""
    root = type(obj).__module__.partition(".")[0]
    if type(obj).__name__ == "MaskedArray" or root not in ("numpy", "pandas", "pyarrow", "polars", "scipy"):
        encode(obj)


def copied(obj: Any) -> Any:
    """Return a value of its own; those that cannot be changed are given as they are."""
    root = type(obj).__module__.partition(".")[0]
    return obj.copy() if root in ("numpy", "pandas", "scipy") else obj


def as_dataset(result: Any) -> Any:
    """Return a model's answer in a form that datasets have: arrays of Python objects as series or frames."""
    import numpy as np

    if isinstance(result, np.ndarray) and result.dtype == object and result.ndim in (1, 2):
        import pandas as pd

        return pd.Series(result) if result.ndim == 1 else pd.DataFrame(result)
    return result


def _fetched(data: dict[str, Any], fetch: Fetch | None) -> Any:
    if fetch is None:
        raise InvalidInput(f"dataset {data['name']!r} cannot be read here")
    return fetch(data["name"])


def _reference(name: str) -> dict[str, str]:
    return {"$value": "dataset", "name": name}


def _is_reference(data: Any) -> bool:
    return isinstance(data, dict) and data.get("$value") == "dataset"


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _encode(obj: Any, spill: Spill | None) -> Any:
    if obj is None or type(obj) in (bool, int, str):
        return obj
    if type(obj) is float:
        return obj if math.isfinite(obj) else {"$value": "float", "data": repr(obj)}
    if type(obj) is list:
        return [_encode(item, spill) for item in obj]
    if type(obj) is tuple:
        return {"$value": "tuple", "data": [_encode(item, spill) for item in obj]}
    if type(obj) is dict:
        if all(type(key) is str for key in obj) and "$value" not in obj:
            return {key: _encode(value, spill) for key, value in obj.items()}
        return {"$value": "dict", "data": [[_encode(k, spill), _encode(v, spill)] for k, v in obj.items()]}
    if isinstance(obj, bytes | bytearray):
        return {"$value": "bytes", "data": _text(bytes(obj))}
    root = type(obj).__module__.partition(".")[0]
    if root == "numpy":
        return _encode_numpy(obj, spill)
    if root == "pandas" and (data := _encode_cell(obj)) is not None:
        return data
    if root in ("pandas", "pyarrow", "polars"):
        return _encode_frame(obj, spill)
    if root == "scipy" and hasattr(obj, "tocsr"):
        return _encode_sparse(obj, spill)
    for kind, made in (("datetime", datetime), ("date", date)):
        if type(obj) is made and getattr(obj, "tzinfo", None) is None:
            return {"$value": kind, "data": obj.isoformat()}
    if type(obj) is Decimal or type(obj) is UUID:
        return {"$value": type(obj).__name__.lower(), "data": str(obj)}
    raise _refused(obj)


def _refused(obj: Any) -> NotStorable:
    return NotStorable(
        f"a value of type {type(obj).__module__}.{type(obj).__qualname__} cannot be sent to the runtime",
        hint="store it with om.datasets.put(...) and pass its name",
    )


def _encode_numpy(obj: Any, spill: Spill | None) -> Any:
    import numpy as np

    if not isinstance(obj, np.generic | np.ndarray) or isinstance(obj, np.ma.MaskedArray):
        raise _refused(obj)  # np.asarray would forget the mask
    if isinstance(obj, np.generic):
        array = np.asarray(obj)
        if array.dtype.hasobject or array.dtype.names:
            raise NotStorable(f"a numpy scalar of dtype {array.dtype} cannot be sent to the runtime")
        return {"$value": "scalar", "dtype": array.dtype.str, "data": _text(array.tobytes())}
    array = np.asarray(obj)
    if array.dtype.names or (array.dtype.hasobject and array.dtype != object):
        raise NotStorable(f"an array of dtype {array.dtype} cannot be sent to the runtime")
    if array.dtype == object:
        cells = [_encode(cell, spill) for cell in array.ravel().tolist()]
        return {"$value": "objects", "shape": list(array.shape), "data": cells}
    if spill is not None and array.nbytes > INLINE:
        return _reference(spill(array))
    return {
        "$value": "array",
        "dtype": array.dtype.str,
        "shape": list(array.shape),
        "data": _text(array.tobytes()),
    }


def _encode_cell(obj: Any) -> Any:
    """Return what stands for a pandas scalar, None for anything else."""
    import pandas as pd

    if obj is pd.NA or obj is pd.NaT:
        return {"$value": "NA" if obj is pd.NA else "NaT"}
    if isinstance(obj, pd.Timestamp | pd.Timedelta):
        return {"$value": "cell", "data": _encode_frame(pd.Series([obj]), None)}
    return None


def _decode_missing(data: dict[str, Any], fetch: Fetch | None) -> Any:
    import pandas as pd

    return getattr(pd, data["$value"])


def _encode_frame(obj: Any, spill: Spill | None) -> Any:
    import bson
    import pyarrow as pa

    from omegaml.backends.columnar import chunks, codec

    try:
        table = codec.encode(obj)
    except (TypeError, AttributeError) as error:
        raise _refused(obj) from error
    except NotStorable as error:
        raise (_refused(obj) if str(error).endswith("is not a table") else error) from None
    if spill is not None and table.rows * len(table.schema.types) * 8 > 4 * INLINE:
        return _reference(spill(obj))
    columns = []
    for number, kind in enumerate(table.schema.types):
        array = table.column(number)
        if isinstance(array, pa.ChunkedArray):
            array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
        columns.append(bytes(chunks.pack(array, kind)))
    data = bson.encode({"schema": table.schema.to_doc(), "rows": table.rows, "columns": columns})
    if spill is not None and len(data) > INLINE:
        return _reference(spill(obj))
    return {"$value": "frame", "data": _text(data)}


def _decode_frame(data: dict[str, Any], fetch: Fetch | None) -> Any:
    import bson

    from omegaml.backends.columnar import chunks, codec
    from omegaml.backends.columnar.schema import Schema

    doc = bson.decode(base64.b64decode(data["data"]))
    schema = Schema.from_doc(doc["schema"])
    columns = [[chunks.unpack(c, kind)] for c, kind in zip(doc["columns"], schema.types, strict=True)]
    return codec.decode(schema, columns, doc["rows"])


def _encode_sparse(obj: Any, spill: Spill | None) -> Any:
    made = obj if obj.format == "csc" else obj.tocsr()
    return {
        "$value": "sparse",
        "type": type(made).__name__,
        "shape": list(made.shape),
        "data": [_encode(part, spill) for part in (made.data, made.indices, made.indptr)],
    }


def _decode_sparse(data: dict[str, Any], fetch: Fetch | None) -> Any:
    from scipy import sparse

    if data["type"] not in ("csr_matrix", "csc_matrix", "csr_array", "csc_array"):
        raise InvalidInput(f"a sparse matrix of type {data['type']!r} is not known to this version")
    parts = tuple(decode(part, fetch) for part in data["data"])
    return getattr(sparse, data["type"])(parts, shape=tuple(data["shape"]))


def _decode_array(data: dict[str, Any], fetch: Fetch | None) -> Any:
    import numpy as np

    return np.frombuffer(base64.b64decode(data["data"]), data["dtype"]).reshape(data["shape"]).copy()


def _decode_scalar(data: dict[str, Any], fetch: Fetch | None) -> Any:
    import numpy as np

    return np.frombuffer(base64.b64decode(data["data"]), data["dtype"])[0]


def _decode_objects(data: dict[str, Any], fetch: Fetch | None) -> Any:
    import numpy as np

    flat = np.empty(len(data["data"]), dtype=object)
    for number, cell in enumerate(data["data"]):
        flat[number] = decode(cell, fetch)
    return flat.reshape(data["shape"])


_DECODERS: dict[str, Callable[[dict[str, Any], Fetch | None], Any]] = {
    "float": lambda data, fetch: float(data["data"]),
    "tuple": lambda data, fetch: tuple(decode(item, fetch) for item in data["data"]),
    "dict": lambda data, fetch: {decode(k, fetch): decode(v, fetch) for k, v in data["data"]},
    "bytes": lambda data, fetch: base64.b64decode(data["data"]),
    "datetime": lambda data, fetch: datetime.fromisoformat(data["data"]),
    "date": lambda data, fetch: date.fromisoformat(data["data"]),
    "decimal": lambda data, fetch: Decimal(data["data"]),
    "uuid": lambda data, fetch: UUID(data["data"]),
    "dataset": _fetched,
    "NA": _decode_missing,
    "NaT": _decode_missing,
    "cell": lambda data, fetch: decode(data["data"], fetch).iloc[0],
    "json": lambda data, fetch: decode(json.loads(decode(data["data"], fetch).tobytes()), fetch),
    "array": _decode_array,
    "scalar": _decode_scalar,
    "objects": _decode_objects,
    "frame": _decode_frame,
    "sparse": _decode_sparse,
}
