"""Single Python values as BSON, so that each comes back with its exact type.

BSON knows fewer types than Python: it has no tuple, no set, no integer above 64 bits, and reads a 64-bit
integer back as its own class. So everything except `None`, `bool`, `float`, `bytes`, small integers, clean
strings and lists is a document `{"_t": tag, ...}`; plain documents never occur, hence there is no ambiguity.
Nothing is pickled: a value of any other type is refused.
"""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Callable
from typing import Any, Literal

import bson
import numpy as np
import pandas as pd

from omegaml.errors import NotStorable

#: Deeper values are refused, so that reading one never depends on how much stack is left.
LEVELS = 100
#: How deep a value may be that lies in a document of the database: that has 100 levels, two for one here.
INLINE_LEVELS = 30
_INT64 = range(-(2**63), 2**63)


def encode(value: object) -> bytes:
    """Return `value` as one BSON document. Raises NotStorable if it would not come back equal."""
    return bson.encode({"v": tag(value)})


def decode(data: bytes) -> Any:
    """Return the value that `encode` was given."""
    return untag(bson.decode(data)["v"])


def tag(value: object, levels: int = LEVELS) -> Any:
    """Return `value` as something BSON keeps exactly (see the module).

    Raises NotStorable, also where it is nested more than `levels` deep.
    """
    return _tag(value, levels)


def untag(value: Any) -> Any:
    """Return the value that `tag` was given."""
    if type(value) is list:
        return [untag(item) for item in value]
    if isinstance(value, dict):
        return _READERS[value["_t"]](value)
    return int(value) if type(value) is not bool and isinstance(value, int) else value


def tag_tz(tz: dt.tzinfo) -> dict[str, Any]:
    """Return a time zone with its library: to pandas, equal zones of two libraries are not the same."""
    kind = f"{type(tz).__module__}.{type(tz).__qualname__}"
    if type(tz) is dt.timezone:
        offset = tz.utcoffset(None)
        name = tz.tzname(None)
        named = name != dt.timezone(offset).tzname(None)
        return {"lib": "fixed", "offset": _delta(offset), "name": name if named else None}
    if kind.startswith("zoneinfo.") and getattr(tz, "key", None):
        return {"lib": "zoneinfo", "name": tz.key}  # type: ignore[attr-defined]
    if kind == "pytz._FixedOffset":
        return {"lib": "pytz-fixed", "minutes": int(tz._minutes)}  # type: ignore[attr-defined]
    if kind.startswith("pytz.") and getattr(tz, "zone", None):
        return {"lib": "pytz", "name": tz.zone}  # type: ignore[attr-defined]
    if kind.startswith("dateutil.tz."):
        found = _tag_dateutil(tz, kind)
        if found is not None:
            return found
    hint = "use a named zone, as of zoneinfo, or a fixed offset"
    raise NotStorable(f"time zone {tz!r} cannot be stored", hint=hint)


def untag_tz(doc: dict[str, Any]) -> dt.tzinfo:
    """Return the time zone that `tag_tz` was given."""
    lib = doc["lib"]
    if lib == "fixed":
        offset = dt.timedelta(*doc["offset"])
        if doc["name"] is not None:
            return dt.timezone(offset, doc["name"])
        return dt.timezone(offset) if offset else dt.UTC
    if lib == "zoneinfo":
        import zoneinfo

        return zoneinfo.ZoneInfo(doc["name"])
    if lib in ("pytz", "pytz-fixed"):
        return _pytz(doc)
    import dateutil.tz

    if lib == "dateutil-utc":
        return dateutil.tz.tzutc()
    if lib == "dateutil-fixed":
        return dateutil.tz.tzoffset(doc["name"], dt.timedelta(*doc["offset"]))
    zone = dateutil.tz.gettz(doc["name"])
    if zone is None:
        raise NotStorable(f"this machine has no time zone {doc['name']!r}", hint="install its time zone data")
    return zone


def _pytz(doc: dict[str, Any]) -> dt.tzinfo:
    try:
        import pytz
    except ImportError:
        # without pytz nothing can be equal to a pytz zone; the same zone of the standard library is nearest
        if doc["lib"] == "pytz-fixed":
            return dt.timezone(dt.timedelta(minutes=doc["minutes"]))
        import zoneinfo

        return zoneinfo.ZoneInfo(doc["name"])
    if doc["lib"] == "pytz-fixed":
        return pytz.FixedOffset(doc["minutes"])
    return pytz.timezone(doc["name"])


def _tag_dateutil(tz: Any, kind: str) -> dict[str, Any] | None:
    import dateutil.tz

    if isinstance(tz, dateutil.tz.tzutc):
        return {"lib": "dateutil-utc"}
    if isinstance(tz, dateutil.tz.tzoffset):
        return {"lib": "dateutil-fixed", "name": tz._name, "offset": _delta(tz.utcoffset(None))}  # type: ignore[attr-defined]
    path = getattr(tz, "_filename", None)
    if not isinstance(path, str) or not kind.endswith("tzfile"):
        return None
    # a tzfile knows only the path it was read from; its zone name is one of the path's tails
    parts = path.replace("\\", "/").split("/")
    names = ["/".join(parts[start:]) for start in reversed(range(len(parts)))]
    equal = [name for name in names if name and dateutil.tz.gettz(name) == tz]
    # dateutil keeps one object per name, and pandas tells zones of different names apart
    own = [name for name in equal if dateutil.tz.gettz(name) is tz]
    return {"lib": "dateutil", "name": (own or equal)[0]} if equal else None


def _tag(value: Any, levels: int) -> Any:
    kind = type(value)
    if value is None or kind in (bool, float, bytes):
        return value
    if kind is str:
        try:
            value.encode()
        except UnicodeEncodeError:  # lone surrogates, as in file names that are not UTF-8
            return {"_t": "str", "v": value.encode("utf-8", "surrogatepass")}
        return value
    if kind is int:
        return value if value in _INT64 else {"_t": "int", "v": hex(value)}
    if kind in _CONTAINERS:
        if not levels:
            raise NotStorable("a value that contains itself, or is nested too deeply, cannot be stored")
        return _CONTAINERS[kind](value, levels - 1)
    writer = _WRITERS.get(kind)
    if writer is not None:
        return writer(value)
    if value is pd.NA:
        return {"_t": "NA"}
    if value is pd.NaT:
        return {"_t": "NaT"}
    if isinstance(value, np.generic):
        return _scalar(value)
    raise NotStorable(f"a value of type {kind.__module__}.{kind.__qualname__} cannot be stored exactly")


def _many(name: str) -> Callable[[Any, int], dict[str, Any]]:
    return lambda value, levels: {"_t": name, "v": [_tag(item, levels) for item in value]}


def _mapping(value: dict[Any, Any], levels: int) -> dict[str, Any]:
    return {
        "_t": "dict",
        "k": [_tag(key, levels) for key in value],
        "v": [_tag(item, levels) for item in value.values()],
    }


def _scalar(value: np.generic) -> dict[str, Any]:
    dtype = value.dtype
    if dtype.hasobject or dtype.names is not None or dtype.char == "V":
        raise NotStorable(f"a numpy value of dtype {dtype} cannot be stored exactly")
    if isinstance(value, np.str_):
        return {"_t": "np", "d": "U", "v": value.encode("utf-8", "surrogatepass")}
    if isinstance(value, np.bytes_):
        return {"_t": "np", "d": "S", "v": bytes(value)}
    return {"_t": "np", "d": dtype.str, "v": value.tobytes()}


def _read_scalar(doc: dict[str, Any]) -> Any:
    if doc["d"] == "U":
        return np.str_(doc["v"].decode("utf-8", "surrogatepass"))
    if doc["d"] == "S":
        return np.bytes_(doc["v"])
    dtype = np.dtype(doc["d"])
    return np.frombuffer(doc["v"], dtype)[0] if dtype.itemsize else dtype.type()


def _array(value: np.ndarray, levels: int) -> dict[str, Any]:
    fortran = bool(value.flags.f_contiguous and not value.flags.c_contiguous)
    order: Literal["F", "C"] = "F" if fortran else "C"
    if value.dtype == object:
        items = [_tag(item, levels) for item in value.ravel(order=order)]
        return {"_t": "objects", "s": list(value.shape), "o": order, "v": items}
    if value.dtype.hasobject or value.dtype.names is not None or value.dtype.char == "V":
        raise NotStorable(f"an array of dtype {value.dtype} cannot be stored in a cell")
    data = value.tobytes(order)
    return {"_t": "array", "d": value.dtype.str, "s": list(value.shape), "o": order, "v": data}


def _read_array(doc: dict[str, Any]) -> np.ndarray:
    shape, order = tuple(doc["s"]), doc["o"]
    if doc["_t"] == "objects":
        flat = np.empty(len(doc["v"]), object)
        for i, item in enumerate(doc["v"]):
            flat[i] = untag(item)
        return flat.reshape(shape, order=order)
    dtype = np.dtype(doc["d"])
    if not dtype.itemsize:
        return np.zeros(shape, dtype, order=order)
    return np.frombuffer(bytearray(doc["v"]), dtype).reshape(shape, order=order)


def _delta(value: Any) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


def _timestamp(value: pd.Timestamp) -> dict[str, Any]:
    zone = None if value.tzinfo is None else tag_tz(value.tzinfo)
    return {"_t": "timestamp", "v": int(value.asm8.astype("int64")), "u": value.unit, "z": zone}


def _read_timestamp(doc: dict[str, Any]) -> pd.Timestamp:
    value = pd.Timestamp(np.datetime64(int(doc["v"]), doc["u"]))
    return value if doc["z"] is None else value.tz_localize("UTC").tz_convert(untag_tz(doc["z"]))


def _datetime(value: dt.datetime) -> dict[str, Any]:
    fields = [value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond]
    zone = None if value.tzinfo is None else tag_tz(value.tzinfo)
    doc = {"_t": "datetime", "v": fields, "f": value.fold, "z": zone}
    if zone is not None and zone["lib"] == "pytz":
        doc["o"] = _delta(value.utcoffset())
        back = _read_datetime(doc)
        if (back.replace(tzinfo=None), back.utcoffset()) != (value.replace(tzinfo=None), value.utcoffset()):
            raise NotStorable(f"datetime {value!r} is not a time of its own zone", hint="use tz.localize()")
    return doc


def _read_datetime(doc: dict[str, Any]) -> dt.datetime:
    naive = dt.datetime(*doc["v"], fold=doc["f"])
    if doc["z"] is None:
        return naive
    zone = untag_tz(doc["z"])
    if "o" in doc and hasattr(zone, "localize"):
        # a pytz datetime carries the variant of the zone that was in force, which `fromutc` picks
        return zone.fromutc((naive - dt.timedelta(*doc["o"])).replace(tzinfo=zone)).replace(fold=doc["f"])
    return naive.replace(tzinfo=zone)


def _time(value: dt.time) -> dict[str, Any]:
    zone = None if value.tzinfo is None else tag_tz(value.tzinfo)
    fields = [value.hour, value.minute, value.second, value.microsecond]
    return {"_t": "time", "v": fields, "f": value.fold, "z": zone}


def _read_time(doc: dict[str, Any]) -> dt.time:
    hour, minute, second, micro = doc["v"]
    zone = None if doc["z"] is None else untag_tz(doc["z"])
    return dt.time(hour, minute, second, micro, zone, fold=doc["f"])


def _period(value: pd.Period) -> dict[str, Any]:
    doc = {"_t": "period", "v": int(value.ordinal), "f": value.freqstr}
    if _read_period(doc).freq != value.freq:
        raise NotStorable(f"a period of frequency {value.freq!r} cannot be stored exactly")
    return doc


def _read_period(doc: dict[str, Any]) -> pd.Period:
    return pd.Period(ordinal=int(doc["v"]), freq=doc["f"])


_CONTAINERS: dict[type, Callable[[Any, int], Any]] = {
    list: lambda value, levels: [_tag(item, levels) for item in value],
    tuple: _many("tuple"),
    set: _many("set"),
    frozenset: _many("frozenset"),
    dict: _mapping,
    np.ndarray: _array,
}

_WRITERS: dict[type, Callable[[Any], dict[str, Any]]] = {
    complex: lambda v: {"_t": "complex", "v": [v.real, v.imag]},
    dt.datetime: _datetime,
    dt.date: lambda v: {"_t": "date", "v": [v.year, v.month, v.day]},
    dt.time: _time,
    dt.timedelta: lambda v: {"_t": "timedelta", "v": _delta(v)},
    pd.Timestamp: _timestamp,
    pd.Timedelta: lambda v: {"_t": "Timedelta", "v": int(v.asm8.astype("int64")), "u": v.unit},
    pd.Period: _period,
    pd.Interval: lambda v: {"_t": "interval", "v": [tag(v.left), tag(v.right)], "c": v.closed},
    decimal.Decimal: lambda v: {"_t": "decimal", "v": str(v)},
    uuid.UUID: lambda v: {"_t": "uuid", "v": v.bytes},
}

_READERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "str": lambda d: d["v"].decode("utf-8", "surrogatepass"),
    "int": lambda d: int(d["v"], 16),
    "tuple": lambda d: tuple(untag(item) for item in d["v"]),
    "set": lambda d: {untag(item) for item in d["v"]},
    "frozenset": lambda d: frozenset(untag(item) for item in d["v"]),
    "dict": lambda d: {untag(k): untag(v) for k, v in zip(d["k"], d["v"], strict=True)},
    "complex": lambda d: complex(*d["v"]),
    "np": _read_scalar,
    "array": _read_array,
    "objects": _read_array,
    "datetime": _read_datetime,
    "date": lambda d: dt.date(*d["v"]),
    "time": _read_time,
    "timedelta": lambda d: dt.timedelta(*d["v"]),
    "timestamp": _read_timestamp,
    "Timedelta": lambda d: pd.Timedelta(np.timedelta64(int(d["v"]), d["u"])),
    "period": _read_period,
    "interval": lambda d: pd.Interval(untag(d["v"][0]), untag(d["v"][1]), closed=d["c"]),
    "decimal": lambda d: decimal.Decimal(d["v"]),
    "uuid": lambda d: uuid.UUID(bytes=d["v"]),
    "NA": lambda d: pd.NA,
    "NaT": lambda d: pd.NaT,
}
