"""Models as skops files, which say what they are made of: for models of unknown origin.

Nothing of a file is made before all it names is on the reviewed list (`omegaml.backends.trusted`), and the
model is given out after its contents were checked (`omegaml.backends.contents`). What a file itself asks to
be trusted counts for nothing, and there is no argument to trust more: whoever has reviewed a file that this
refuses loads it with skops and puts the estimator.
Source: the format as in https://skops.readthedocs.io/en/stable/persistence.html
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

from omegaml.backends import archives, contents
from omegaml.backends.base import Blob
from omegaml.backends.models import check_loading, describe
from omegaml.backends.trusted import LOADERS, TRUSTED
from omegaml.errors import Corrupt, FormatTooNew, InvalidInput, NotStorable, OmegaError, Untrusted

SCHEMA = "schema.json"
OLDEST, NEWEST = 1, 2
"""The protocols of skops whose loaders were reviewed with the list."""
MOST_NAMED = 100
SMALL = 4 << 20
MOST_SEEDS = 1000

_LEAVE_OUT = 'leave out format="skops", which is for models that others load'
_OTHER = "it is damaged, or was made with another version of scikit-learn"
_REVIEW = "if you have reviewed these: put skops.io.load(file, trusted=[...]), in Python"


class SkopsBackend:
    """Estimators of scikit-learn and what is made of them."""

    kind, format, payload, name = "sklearn.skops", 1, Blob, "skops"

    def accepts(self, obj: object) -> bool:
        return obj is not None and not isinstance(obj, type)

    def encode(self, obj: Any) -> Blob:
        """Raises NotStorable for a model that `decode` would refuse."""
        io, what = _skops(), f"{type(obj).__module__}.{type(obj).__qualname__}"
        try:
            data = io.dumps(obj, compression=zipfile.ZIP_DEFLATED, compresslevel=1)
        except (MemoryError, KeyboardInterrupt):
            raise
        except Exception as e:  # skops asks the model's own code for its state, which may raise anything
            raise NotStorable(f"{what} cannot be a skops file: {_said(e)}", hint=_LEAVE_OUT) from e
        try:
            _check(data)
            _refuse(_unknown(data))
            contents.check(obj)
        except (Untrusted, Corrupt) as e:
            raise NotStorable(e.message, hint=_LEAVE_OUT) from e
        return Blob(data, {"model": describe(obj)}, len(data))

    def decode(self, payload: Blob, format: int) -> Any:
        """Raises Untrusted (names what is not on the list), Corrupt, FormatTooNew (by a later skops)."""
        check_loading()
        return load(bytes(payload.read()))


def load(data: bytes) -> Any:
    """Return the model in a skops file. Raises as `SkopsBackend.decode`."""
    io = _skops()
    try:
        # of each part skops goes through all that it is to trust: the fewer names the faster
        model = io.loads(data, trusted=_check(data))
        contents.check(model)
    except io.exceptions.UntrustedTypesFoundException:
        _refuse(_unknown(data))
        raise
    except (OmegaError, MemoryError, KeyboardInterrupt):
        raise
    except Exception as e:  # skops, numpy and scipy raise errors of any class where states do not fit
        raise Corrupt(f"the skops file cannot be loaded here: {_said(e)}", hint=_OTHER) from e
    return model


def about(data: bytes) -> dict[str, Any]:
    """Return `{module, class}` of the model in a small skops file, as the file says. Raises Corrupt."""
    schema = _schema(archives.unpacked(data, SMALL))
    return {key: _printable(str(schema.get(f"__{key}__"))) for key in ("module", "class")}


def _check(data: bytes) -> list[str]:
    """Raise unless all in a file is of a kind that is read, and each trusted name used as it should be.

    Returns: the names on the list that are in it.
    """
    try:
        members = archives.unpacked(data)
        schema = _schema(members)
        _check_protocol(schema.get("protocol"))
        _check_ids(schema, {})
        found: set[str] = set()
        refused: list[str] = []
        left = archives.bound(data)  # skops reads a file anew for each part that names it
        for state in _states(schema):
            loader, name = state["__loader__"], f"{state.get('__module__')}.{state.get('__class__')}"
            found.add(name)
            if "file" in state and (left := left - len(members[state["file"]])) < 0:
                raise Corrupt("it would take far more memory than it is long")
            if not isinstance(loader, str) or loader not in LOADERS:
                refused.append(f"{name} ({loader})")
            elif TRUSTED.get(name, loader) != loader:
                refused.append(f"{name} as {loader}")
            elif loader == "SparseMatrixNode":
                for array in archives.unpacked(members[state["file"]]).values():
                    archives.check_array(array)
            elif loader == "NdArrayNode" and state.get("type") == "numpy":
                archives.check_array(members[state["file"]])
            elif loader == "RandomGeneratorNode":
                _check_seed(state["content"])
    except Corrupt as e:
        raise Corrupt(f"the skops file cannot be used: {e.message}", hint="ask for it again") from e
    except (KeyError, TypeError, ValueError, RecursionError) as e:
        raise Corrupt(f"the skops file cannot be used: {_said(e)}", hint="ask for it again") from e
    _refuse(refused)
    return sorted(found.intersection(TRUSTED))


def _schema(members: dict[str, bytes]) -> dict[str, Any]:
    try:
        schema = json.loads(members[SCHEMA])
    except (KeyError, ValueError, RecursionError) as e:
        raise Corrupt(f"there is no {SCHEMA} in it") from e
    if not isinstance(schema, dict) or "__loader__" not in schema:
        raise Corrupt(f"its {SCHEMA} describes no model")
    return schema


def _check_protocol(protocol: object) -> None:
    if type(protocol) is not int or protocol < OLDEST:
        raise InvalidInput(
            f"the skops file is of protocol {protocol!r}, which is not read",
            hint="save it again with skops 0.16",
        )
    if protocol > NEWEST:
        raise FormatTooNew(
            f"the skops file is of protocol {protocol}; this version reads up to {NEWEST}",
            hint="pip install --upgrade omegaml skops",
        )


def _check_ids(part: Any, meant: dict[Any, int]) -> int:
    """Raise Corrupt where one id means two things: skops would make the first of them only.

    Returns: a number that is the same for parts that say the same.
    """
    if isinstance(part, list):
        return hash(tuple(_check_ids(item, meant) for item in part))
    if not isinstance(part, dict):
        return hash((type(part), part))
    said = hash(tuple((k, _check_ids(v, meant)) for k, v in part.items() if k not in ("__id__", "file")))
    if part.get("__id__") and meant.setdefault(part["__id__"], said) != said:
        raise Corrupt("two of its parts have one id")
    return said


def _check_seed(content: Any) -> None:
    """Raise Corrupt where the state of a random generator asks for more memory than one has."""
    if "seed_seq" in content and int(content["seed_seq"]["content"]["pool_size"]["content"]) > MOST_SEEDS:
        raise Corrupt("it holds a random generator that cannot be")


def _states(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield every object that the file describes, wherever it does so."""
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if "__loader__" in part:
                yield part
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)


def _unknown(data: bytes) -> list[str]:
    """What skops finds in a file that neither it nor the list trusts; nothing is made to tell."""
    return sorted(set(_skops().get_untrusted_types(data=data)) - set(TRUSTED))


def _refuse(names: Sequence[str]) -> None:
    if names:
        names = sorted({_printable(name) for name in names})[:MOST_NAMED]
        some = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
        raise Untrusted(f"the model holds what is not loaded unseen: {some}", hint=_REVIEW, types=names)


def _said(error: Exception) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {_printable(first)}"


def _printable(text: str) -> str:
    """What a file says, fit for a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text[:200])


def _skops() -> Any:
    try:
        import skops.io
        import skops.io.exceptions
    except ModuleNotFoundError as e:
        raise OmegaError(
            "this model needs the package 'skops'", hint="pip install omegaml[skops]", package="skops"
        ) from e
    return skops.io
