"""Arrays as .npy: numbers, text and times, and never pickled objects."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any, Literal

from assay.errors import Corrupt, Usage
from assay.pipeline.codec_hints import bare, kind, lineage, wrong


class NpyCodec:
    """.npy for arrays of numbers, text and times."""

    name = "npy/1"
    kind: Literal["data", "model"] = "data"
    suffix = ".npy"

    def accepts(self, hint: Any) -> bool:
        found = kind(hint)
        return found is not None and lineage(found)[:1] == ("numpy.ndarray",)

    def encode(self, value: Any, hint: Any, into: Path) -> None:
        import numpy as np

        from assay.formats.npy import write_npy

        if type(value) is not np.ndarray:
            inside = isinstance(value, np.ndarray)
            raise wrong(value, hint, "take numpy.asarray(x)" if inside else "")
        _check_dtype(value.dtype, hint)
        try:
            with into.open("wb") as stream:
                write_npy(value, stream)
        except ValueError as error:
            into.unlink(missing_ok=True)
            raise _array(f"cannot be kept: {error}") from error

    def decode(self, path: Path, hint: Any) -> Any:
        from assay.formats.npy import read_npy

        try:
            with path.open("rb") as stream:
                array = read_npy(stream)
        except (ValueError, EOFError, OSError) as error:
            raise Corrupt(f"the stored array is damaged ({error})", code="codec.npy") from error
        _check_dtype(array.dtype, hint)
        return array


def _array(what: str) -> Usage:
    return Usage(
        f"the array {what}",
        remedy="convert it with .astype(...) to numbers or text of a fixed size, or return a frame",
        code="codec.array",
    )


def _check_dtype(dtype: Any, hint: Any) -> None:
    """Hold an array's type to that of ``NDArray[float64]``."""
    import numpy as np

    for argument in typing.get_args(bare(hint)):
        if typing.get_origin(argument) is not np.dtype:
            continue
        wanted = kind(typing.get_args(argument)[0])
        if not wanted or not issubclass(wanted, np.generic):  # Any
            continue
        if not issubclass(dtype.type, wanted):
            raise Usage(
                f"the annotation says an array of {wanted.__name__}, and it is one of {dtype}",
                remedy=f"call .astype(numpy.{wanted.__name__}) on it, or change the annotation",
                code="step.type",
            )


NPY = NpyCodec()
