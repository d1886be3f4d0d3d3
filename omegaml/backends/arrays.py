"""NumPy arrays as NumPy's own file format, without pickle."""

from __future__ import annotations

import io

import numpy as np

from omegaml.backends.base import Blob, check_type
from omegaml.errors import Corrupt, NotStorable


class ArrayBackend:
    """Plain arrays of any shape and fixed-size dtype; byte order and Fortran order are kept."""

    kind, format, payload, name = "ndarray.bin", 1, Blob, "numpy"

    def accepts(self, obj: object) -> bool:
        return isinstance(obj, np.ndarray)

    def encode(self, obj: np.ndarray) -> Blob:
        check_type(obj, np.ndarray)
        if obj.dtype.hasobject:
            raise NotStorable(
                f"an array of dtype {obj.dtype} holds Python objects",
                hint="store it as a list (.tolist()), a Series, or with a fixed-size dtype",
            )
        if _has_more(obj.dtype):
            raise NotStorable(
                "the array's dtype has metadata or is aligned, which the file format does not keep"
            )
        out = io.BytesIO()
        try:
            np.save(out, obj, allow_pickle=False)
        except ValueError as e:
            raise NotStorable(f"an array of dtype {obj.dtype} has no file format: {e}") from e
        meta = {
            "dtype": obj.dtype.name,
            "shape": list(obj.shape),
            "save_method": "np.save",
            "allow_pickle": False,
        }
        data = out.getbuffer()
        return Blob(data, meta, data.nbytes)

    def decode(self, payload: Blob, format: int) -> np.ndarray:
        try:
            array = np.load(io.BytesIO(payload.read()), allow_pickle=False)
        except (ValueError, EOFError) as e:
            raise Corrupt(f"the stored array cannot be read: {e}") from e
        if not isinstance(array, np.ndarray):
            raise Corrupt("the stored bytes are an archive, not one array")
        return array


def _has_more(dtype: np.dtype) -> bool:
    """Tell whether a dtype has what its description in the file does not have."""
    if dtype.metadata or dtype.isalignedstruct:
        return True
    if dtype.subdtype is not None:
        return _has_more(dtype.subdtype[0])
    return any(_has_more(field[0]) for field in (dtype.fields or {}).values())
