"""Arrays in NumPy's own format, without pickle and with one spelling.

The padding inside structured types is whatever lay in memory: here it is zero.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

_HEADER = 1 << 16
"""The longest header read: a structured type of some thousand fields."""


def write_npy(array: Any, stream: BinaryIO) -> None:
    """Write an array; raises `ValueError` for one that only pickle could carry."""
    if array.dtype.hasobject:
        raise ValueError("it holds Python objects")
    if array.dtype.metadata is not None:
        raise ValueError("its dtype carries metadata")
    if len(str(np.lib.format.dtype_to_descr(array.dtype)).encode()) > _HEADER // 2:
        raise ValueError("its dtype has too many fields")
    if any(_is_vague(part) for part in _leaves(array.dtype)):
        raise ValueError("its precision differs from machine to machine")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # That NumPy before 1.17 cannot read it.
        np.lib.format.write_array(stream, clean(array), allow_pickle=False)


def read_npy(stream: BinaryIO) -> Any:
    """The array in a stream, which it fills to the end; raises `ValueError`."""
    array = np.lib.format.read_array(stream, allow_pickle=False, max_header_size=_HEADER)
    if stream.read(1):
        raise ValueError("there are bytes behind the array")
    return array


def rewrite_npy(data: bytes) -> bytes:
    """The one spelling of an array's bytes; raises `ValueError`."""
    stream = io.BytesIO()
    write_npy(read_npy(io.BytesIO(data)), stream)
    return stream.getvalue()


def clean(array: Any) -> Any:
    """The array with zeroes for padding: itself where it has none."""
    if not _padded(array.dtype):
        return array
    made = np.zeros(array.shape, array.dtype, order="F" if _is_fortran(array) else "C")
    _copy(array, made)
    return made


def _is_fortran(array: Any) -> bool:
    return bool(array.flags.f_contiguous and not array.flags.c_contiguous)


def _copy(source: Any, target: Any) -> None:
    if source.dtype.names is None:
        target[...] = source
        return
    for name in source.dtype.names:
        _copy(source[name], target[name])


def _padded(dtype: Any) -> bool:
    if dtype.subdtype is not None:
        return _padded(dtype.subdtype[0])
    if dtype.names is None:
        return False
    inner = [dtype.fields[name][0] for name in dtype.names]
    return sum(_size(part) for part in inner) != dtype.itemsize or any(map(_padded, inner))


def _leaves(dtype: Any) -> Iterator[Any]:
    if dtype.subdtype is not None:
        yield from _leaves(dtype.subdtype[0])
    elif dtype.names is None:
        yield dtype
    else:
        for name in dtype.names:
            yield from _leaves(dtype.fields[name][0])


def _is_vague(dtype: Any) -> bool:
    """Whether this is a long double, which has padding of its own."""
    return dtype.kind in "fc" and dtype.itemsize > (8 if dtype.kind == "f" else 16)


def _size(dtype: Any) -> int:
    if dtype.subdtype is None:
        return dtype.itemsize
    base, shape = dtype.subdtype
    return base.itemsize * math.prod(shape)
