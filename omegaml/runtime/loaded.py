"""The models asked last, so that asking again does not read them again."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaml.metadata import Metadata
    from omegaml.omega import Omega


class LoadedModels:
    """Models by database, bucket, name and stored version.

    One small query per call checks the version. Models from here are only asked, never trained: training
    reads its own copy.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = Lock()
        self._models: OrderedDict[tuple[Any, ...], Any] = OrderedDict()

    def get(self, om: Omega, name: str) -> tuple[Any, Metadata]:
        """Return what `om.models.get(name)` returns, and its metadata. Raises NotFound."""
        meta = om.models.metadata(name)
        place = (id(om.db.client), om.db.name, om.bucket, name)
        key = (*place, meta.id, meta.version, meta.gridfile, meta.modified)
        with self._lock:
            if key in self._models:
                self._models.move_to_end(key)
                return self._models[key], meta
        model = om.models.get(name)
        with self._lock:
            for old in [k for k in self._models if k[:4] == place]:
                del self._models[old]
            self._models[key] = model
            while len(self._models) > self._limit:
                self._models.popitem(last=False)
        return model, meta


MODELS = LoadedModels(limit=4)
