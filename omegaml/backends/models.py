"""Models: anything that can be pickled, with what is needed to know it again without unpickling.

`model.joblib` is a joblib dump without compression, compressed by zstd at level 1: as small as joblib's
zlib and several times faster. `sklearn.joblib` is upstream omegaml's form, for databases shared with it.
"""

from __future__ import annotations

import io
import pickle
import platform
import sys
from collections.abc import Callable, Mapping
from typing import Any

from omegaml.backends.base import Blob
from omegaml.errors import Corrupt, InvalidInput, NotStorable, OmegaError

#: More classes than this are counted, not listed.
MAX_CLASSES = 1000

_may_load = True


def never_load() -> None:
    """Have this process refuse to load any model from now on.

    Loading runs the code of whoever stored it, and what an object is called and is of which kind is written
    by its owner: a process that serves several people cannot tell a model by looking at its metadata.
    """
    global _may_load
    _may_load = False


def check_loading() -> None:
    """Raise InvalidInput where no model may be loaded."""
    if not _may_load:
        raise InvalidInput("models are not loaded here", hint="ask the model, which a runner loads")


class ModelBackend:
    """Any picklable object, estimators foremost: the default in models/."""

    kind, format, payload, name = "model.joblib", 1, Blob, "zstd"

    def accepts(self, obj: object) -> bool:
        return obj is not None and not isinstance(obj, type)

    def encode(self, obj: Any) -> Blob:
        import pyarrow as pa

        raw = io.BytesIO()
        writer = "joblib" if _has_joblib() else "pickle"
        if writer == "joblib":
            import joblib

            _dumped(obj, lambda: joblib.dump(obj, raw, compress=0, protocol=5))
        else:
            _dumped(obj, lambda: pickle.dump(obj, raw, protocol=5))
        data = memoryview(pa.Codec("zstd", compression_level=1).compress(raw.getbuffer()))
        meta = {"writer": writer, "codec": "zstd", "raw_bytes": raw.tell(), "model": describe(obj)}
        return Blob(data, meta, data.nbytes)

    def decode(self, payload: Blob, format: int) -> Any:
        """Raises Corrupt, or OmegaError naming the package that is missing here."""
        check_loading()
        import pyarrow as pa

        meta = payload.meta
        try:
            raw = pa.Codec("zstd").decompress(payload.read(), int(meta["raw_bytes"]))
        except (OSError, pa.ArrowException, KeyError) as e:
            raise Corrupt(f"the stored model cannot be decompressed: {e}") from e
        if meta.get("writer") == "pickle":
            return _loaded(meta, lambda: pickle.loads(raw))
        joblib = _joblib()
        return _loaded(meta, lambda: joblib.load(pa.BufferReader(raw)))  # BytesIO would copy it all


class SklearnJoblibBackend:
    """Models as upstream omegaml keeps them: one joblib file, protocol 4, zlib."""

    kind, format, payload, name = "sklearn.joblib", 1, Blob, "joblib"

    def accepts(self, obj: object) -> bool:
        return obj is not None and not isinstance(obj, type)

    def encode(self, obj: Any) -> Blob:
        joblib, out = _joblib(), io.BytesIO()
        _dumped(obj, lambda: joblib.dump(obj, out, protocol=4, compress=True))
        data = out.getbuffer()
        return Blob(data, {"_om_backend_version": "1", "model": describe(obj)}, data.nbytes)

    def decode(self, payload: Blob, format: int) -> Any:
        check_loading()
        data = payload.read()
        if bytes(data[:4]) == b"PK\x03\x04":
            raise InvalidInput(
                "the model is stored in omegaml's old form, a zip of joblib files, which is not read",
                hint="get and put it once with omegaml 0.14 to 0.18",
            )
        joblib = _joblib()
        return _loaded(payload.meta, lambda: joblib.load(io.BytesIO(data)))


def describe(obj: Any) -> dict[str, Any]:
    """Return what a model is, for its metadata: class, module, versions of its libraries and signature.

    The signature has, where a scikit-learn estimator was fitted, `n_features`, `features` (names), `classes`
    (or `n_classes` for more than 1,000), and `methods`: which of `fit`, `predict`, `transform`, ... it has.
    Source: attributes as in https://scikit-learn.org/stable/glossary.html#attributes
    """
    cls = type(obj)
    roots = {base.__module__.partition(".")[0] for base in cls.__mro__} - set(sys.stdlib_module_names)
    if "sklearn" in roots:
        roots |= {"numpy", "scipy"}
    versions = {
        root: str(v) for root in sorted(roots) if (v := getattr(sys.modules.get(root), "__version__", None))
    }
    return {
        "class": cls.__qualname__,
        "module": cls.__module__,
        "python": platform.python_version(),
        "versions": versions,
        "signature": _signature(obj),
    }


def _signature(obj: Any) -> dict[str, Any]:
    methods = ["fit", "partial_fit", "predict", "predict_proba", "decision_function", "transform", "score"]
    found: dict[str, Any] = {"methods": [m for m in methods if callable(_attribute(obj, m))]}
    if (n := _attribute(obj, "n_features_in_")) is not None:
        found["n_features"] = int(n)
    if (names := _attribute(obj, "feature_names_in_")) is not None:
        found["features"] = [str(name) for name in names]
    classes = _attribute(obj, "classes_")
    if classes is not None and hasattr(classes, "__len__"):
        if len(classes) > MAX_CLASSES:
            found["n_classes"] = len(classes)
        else:
            found["classes"] = _plain(classes)
    return found


def _attribute(obj: Any, name: str) -> Any:
    try:
        return getattr(obj, name, None)
    except Exception:  # scikit-learn's properties raise errors of many classes before fit
        return None


def _plain(value: Any) -> Any:
    """Return numbers, strings and (nested) lists of them; anything else as text."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        return str(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _dumped(obj: Any, dump: Callable[[], object]) -> None:
    try:
        dump()
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as e:  # pickling runs the model's own code, which may raise anything
        what = f"{type(obj).__module__}.{type(obj).__qualname__}"
        raise NotStorable(
            f"the model of class {what} cannot be pickled: {e}",
            hint="keep no lambdas, local classes, open files or connections in it",
        ) from e


def _loaded(meta: Mapping[str, Any], load: Callable[[], Any]) -> Any:
    about = meta.get("model") or {}
    what = f"{about['module']}.{about['class']}" if about else "the model"
    versions: Mapping[str, str] = about.get("versions") or {}
    try:
        return load()
    except ModuleNotFoundError as e:
        package = (e.name or "").partition(".")[0]
        if package and package != e.name and package in sys.modules:
            raise _other_version(what, versions, e) from e
        name = {"sklearn": "scikit-learn"}.get(package, package)
        own = package == str(about.get("module")).partition(".")[0] and package not in versions
        pinned = f"=={versions[package]}" if package in versions else ""
        raise OmegaError(
            f"{what} needs the package {name!r}, which is not installed here",
            hint=f"make the module {e.name!r} importable, or pip install what has it"
            if own
            else f"pip install {name}{pinned}",
            package=name,
        ) from e
    except AttributeError as e:
        if not _is_of_a_script(about, e):
            raise _other_version(what, versions, e) from e
        raise OmegaError(
            f"{what} was defined in a notebook or script, so it cannot be loaded elsewhere",
            hint="define the class in a module that can be imported, and put the model again",
        ) from e
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as e:  # unpickling runs the model's own code, which may raise anything
        raise _other_version(what, versions, e) from e


def _is_of_a_script(about: Mapping[str, Any], e: AttributeError) -> bool:
    return about.get("module") == "__main__" or repr(sys.modules["__main__"]) in str(e)


def _other_version(what: str, versions: Mapping[str, str], e: Exception) -> OmegaError:
    made = ", ".join(f"{name} {version}" for name, version in versions.items())
    return OmegaError(
        f"{what} cannot be loaded here: {type(e).__name__}: {e}",
        hint=f"it was made with {made}" if made else "its class must be importable under the name it had",
    )


def _has_joblib() -> bool:
    from importlib.util import find_spec

    return "joblib" in sys.modules or find_spec("joblib") is not None


def _joblib() -> Any:
    try:
        import joblib
    except ModuleNotFoundError as e:
        raise OmegaError(
            "this model needs the package 'joblib'", hint="pip install joblib", package="joblib"
        ) from e
    return joblib
