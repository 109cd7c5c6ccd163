"""Arrays as .npy: exactly, with one spelling, and never pickled."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays

from assay.errors import Corrupt, Usage
from assay.formats.npy import read_npy, rewrite_npy, write_npy
from assay.pipeline.codec_arrays import NPY


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "array.npy"


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.arange(20)[::3],
        np.array(1.5),
        np.empty((0, 3)),
        np.array(["a", "bcd"]),
        np.array([b"a", b"b\x00c"]),
        np.array(["2024-01-01", "NaT"], dtype="datetime64[ns]"),
        np.array([1, 2], dtype=">i4"),
        np.array([1 + 2j]),
        np.array([True, False]),
        np.array([0.0, -0.0, np.nan, np.inf], dtype="f2"),
        np.array([(1, 2.5)], dtype=[("a", "i1"), ("b", "f8")]),
    ],
    ids=lambda array: str(array.dtype),
)
def test_an_array_comes_back_exactly(array: Any, path: Path) -> None:
    NPY.encode(array, np.ndarray, path)
    back = NPY.decode(path, np.ndarray)
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()
    first = path.read_bytes()
    NPY.encode(back, np.ndarray, path)
    assert path.read_bytes() == first
    assert np.array_equal(
        np.load(path, allow_pickle=False), back, equal_nan=back.dtype.kind in "fM"
    )


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        dtype=arrays.scalar_dtypes() | arrays.array_dtypes(max_size=3),
        shape=arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    )
)
def test_any_array_has_one_spelling(array: Any) -> None:
    stream = io.BytesIO()
    write_npy(array, stream)
    back = read_npy(io.BytesIO(stream.getvalue()))
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert rewrite_npy(stream.getvalue()) == stream.getvalue()


@pytest.mark.parametrize(
    "fields",
    [
        [("a", "i1"), ("b", "f8")],
        [("a", "i1"), ("b", "f8", (2,)), ("c", "u1")],
        [("a", "u1"), ("n", np.dtype([("x", "i1"), ("y", "i4")], align=True))],
        [("n", np.dtype([("x", "i1"), ("y", "i4")], align=True), (2,))],
    ],
    ids=str,
)
def test_what_lay_in_the_padding_does_not_show(fields: Any) -> None:
    dtype = np.dtype(fields, align=True)
    written: set[bytes] = set()
    for filling in (0, 0xAA):
        raw = np.full(4 * dtype.itemsize, filling, dtype="u1").view(dtype)
        _fill(raw)
        stream = io.BytesIO()
        write_npy(raw, stream)
        written.add(stream.getvalue())
    assert len(written) == 1
    expected: Any = np.zeros(4, dtype)
    name = expected.dtype.names[-1]
    _fill(expected)
    assert np.array_equal(read_npy(io.BytesIO(written.pop()))[name], expected[name])


def _fill(raw: Any) -> None:
    for name in raw.dtype.names:
        if raw[name].dtype.names:
            _fill(raw[name])
        else:
            raw[name] = 7


@pytest.mark.parametrize(
    ("hint", "array", "fits"),
    [
        (npt.NDArray[np.float64], np.zeros(2), True),
        (npt.NDArray[np.floating[Any]], np.zeros(2, "f4"), True),
        (npt.NDArray[np.number[Any]], np.zeros(2, "i1"), True),
        (npt.NDArray[Any], np.zeros(2, "i1"), True),
        (npt.NDArray[np.float64], np.zeros(2, "f4"), False),
        (npt.NDArray[np.int64], np.zeros(2), False),
        (npt.NDArray[np.str_], np.array([b"x"]), False),
    ],
    ids=str,
)
def test_the_type_of_its_items_is_that_of_the_annotation(
    hint: Any, array: Any, fits: bool, path: Path
) -> None:
    if fits:
        NPY.encode(array, hint, path)
        assert NPY.decode(path, hint).dtype == array.dtype
        return
    NPY.encode(array, np.ndarray, path)
    for act in (lambda: NPY.encode(array, hint, path), lambda: NPY.decode(path, hint)):
        with pytest.raises(Usage, match=str(array.dtype)) as refused:
            act()
        assert refused.value.code == "usage.step.type"
        assert "astype" in refused.value.remedy


@pytest.mark.parametrize(
    "array",
    [
        np.array([object()], dtype=object),
        np.array([1, "a"], dtype=object),
        np.array([(1, None)], dtype=[("a", "i1"), ("o", "O")]),
        np.array(["a"], dtype=np.dtypes.StringDType()),
        np.array([1.0], dtype=np.longdouble),
        np.array([1], dtype=np.dtype("i4", metadata={"k": 1})),
        np.zeros(1, dtype=[(f"field{i:04}", "i1") for i in range(5000)]),
    ],
    ids=lambda array: str(array.dtype)[:30],
)
def test_an_array_that_cannot_be_kept_is_refused(array: Any, path: Path) -> None:
    with pytest.raises(Usage) as refused:
        NPY.encode(array, np.ndarray, path)
    assert refused.value.code == "usage.codec.array"
    assert refused.value.remedy


@pytest.mark.parametrize(
    "value",
    [np.ma.array([1]), np.zeros(1, "i1").view(np.recarray), [1], np.float64(1), None],
    ids=lambda v: type(v),
)
def test_another_type_is_refused_naming_both(value: Any, path: Path) -> None:
    with pytest.raises(Usage, match="ndarray") as refused:
        NPY.encode(value, np.ndarray, path)
    assert refused.value.code == "usage.step.type"
    assert type(value).__name__ in refused.value.message


def _pickled(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def test_a_pickle_is_never_read() -> None:
    for data in (pickle.dumps([1]), _pickled(np.array([{}], dtype=object))):
        with pytest.raises(ValueError, match=r"pickle|magic"):
            read_npy(io.BytesIO(data))


@pytest.mark.parametrize("damage", ["empty", "cut", "longer", "pickle", "objects", "zip"])
def test_a_damaged_file_is_refused(damage: str, path: Path) -> None:
    NPY.encode(np.arange(3), np.ndarray, path)
    data = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "cut": data[:-1],
            "longer": data + b"x",
            "pickle": pickle.dumps([1]),
            "objects": _pickled(np.array([{}], dtype=object)),
            "zip": b"PK\x03\x04",
        }[damage]
    )
    with pytest.raises(Corrupt, match="array is damaged"):
        NPY.decode(path, np.ndarray)
