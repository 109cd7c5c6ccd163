from __future__ import annotations

import io
import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from assay.errors import Usage
from assay.formats.tensors import Header, looks_like_safetensors, read_header

W = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def made(header: Any, data: bytes = b"\0" * 8) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def read(data: bytes) -> Header:
    return read_header(io.BytesIO(data), len(data))


def refused(data: bytes) -> str:
    with pytest.raises(Usage) as caught:
        read(data)
    assert caught.value.code == "usage.safetensors"
    assert caught.value.remedy
    return caught.value.message


shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)


@given(
    st.dictionaries(
        st.text("abc.", min_size=1, max_size=5),
        st.tuples(st.sampled_from(["f4", "f8", "i8", "u1", "f2", "?"]), shapes),
        max_size=4,
    ),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), min_size=1, max_size=2),
)
def test_the_librarys_own_files_are_read(tensors: Any, metadata: dict[str, str]) -> None:
    arrays = {name: np.zeros(shape, dtype=dtype) for name, (dtype, shape) in tensors.items()}
    data = save(arrays, metadata=metadata)
    header = read(data)
    assert {name: tuple(t.shape) for name, t in header.tensors.items()} == {
        name: array.shape for name, array in arrays.items()
    }
    assert header.metadata == metadata
    assert looks_like_safetensors(data[:100], len(data))


def test_a_file_of_our_making_is_one_for_the_library_too() -> None:
    assert read(made({"w": W})).tensors["w"].shape == [2]
    assert load(made({"w": W}))["w"].shape == (2,)


BROKEN = {
    "bytes behind the tensors": made({"w": W}, b"\0" * 9),
    "bytes missing": made({"w": W}, b"\0" * 7),
    "a gap": made({"w": {**W, "data_offsets": [4, 12]}}, b"\0" * 12),
    "an overlap": made({"w": W, "v": {**W, "data_offsets": [4, 12]}}, b"\0" * 12),
    "the same bytes twice": made({"w": W, "v": W}),
    "offsets in the wrong order": made({"w": {**W, "data_offsets": [8, 0]}}),
    "a negative offset": made({"w": {**W, "data_offsets": [-8, 0]}}),
    "another size than the shape": made({"w": {**W, "shape": [3]}}),
    "a negative dimension": made({"w": {**W, "shape": [-2]}}),
    "two negative dimensions": made({"w": {**W, "shape": [-1, -2]}}),
    "a shape that overflows": made({"w": {**W, "shape": [1 << 62, 1 << 62]}}),
    "a dimension that is no number": made({"w": {**W, "shape": ["2"]}}),
    "a dimension that is true": made({"w": {**W, "shape": [True, 2]}}),
    "an unknown type": made({"w": {**W, "dtype": "F128"}}),
    "an unknown field": made({"w": {**W, "code": "x"}}),
    "a missing field": made({"w": {"dtype": "F32", "shape": [2]}}),
    "a name given twice": made(
        b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
        b'"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    ),
    "metadata that is not text": made({"__metadata__": {"a": 1}, "w": W}),
    "an unprintable name": made({"w\x1b[31m": W}),
    "a long name": made({"w" * 600: W}),
    "a header that is no object": made(b"[]"),
    "a header that is no JSON": made(b"{x}"),
    "a header nested too deep": made(b'{"a":' + b"[" * 50_000),
    "a header with text behind": made(b"{} x", b""),
    "a header longer than the file": struct.pack("<Q", 100) + b"{}",
    "a header of many gigabytes": struct.pack("<Q", 1 << 62) + b"{}",
    "an empty header": struct.pack("<Q", 0),
    "nothing": b"",
    "half a length": b"\x02\0\0",
}


@pytest.mark.parametrize("trick", BROKEN)
def test_a_broken_file_is_refused(trick: str) -> None:
    refused(BROKEN[trick])


@given(st.binary(max_size=200))
def test_any_header_is_read_or_refused(raw: bytes) -> None:
    for data in (raw, made(b"{" + raw)):
        try:
            assert read(data).length <= len(data)
        except Usage as error:
            assert error.code == "usage.safetensors"  # noqa: PT017 - either is right
