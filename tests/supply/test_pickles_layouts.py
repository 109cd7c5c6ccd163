"""Layouts that numpy and PyTorch would believe, and a machine that follows them must not."""

from __future__ import annotations

import contextlib
import io
import pickle
from typing import Any

import joblib
import numpy as np
import pytest

from assay.supply.findings import Report
from assay.supply.pickles import Walk
from assay.supply.stand_ins import Torch


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def walked(data: bytes, torch: Torch | None = None) -> set[str]:
    report = Report()
    Walk(data, 0, len(data), "", report, torch=torch).walk()
    return {finding["rule"] for finding in report.findings}


def dtype(code: str, copy: bytes = b"\x88") -> bytes:
    return b"cnumpy\ndtype\n" + text(code) + b"\x89" + copy + b"\x87R"


NONE = b"J\xff\xff\xff\xff"


def state(
    base: bytes = b"N", names: bytes = b"N", fields: bytes = b"N", size: bytes = NONE,
    flags: int = 0, align: bytes = NONE, version: int = 3,
) -> bytes:  # fmt: skip
    return b"(K%c" % version + text("|") + base + names + fields + size + align + b"K%ctb" % flags


ARRAY = b"cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
OBJECTS = dtype("O8") + state(flags=63)
PLAIN = dtype("f8") + state()


def array(shape: bytes, kind: bytes, content: bytes) -> bytes:
    return ARRAY + b"(K\x01" + shape + kind + b"\x89" + content + b"tb."


def fields(kind: bytes, offset: int = 0) -> bytes:
    return b"}" + text("a") + kind + b"K%c\x86s" % offset


NAMES = text("a") + b"\x85"
WRONG = {
    "a list shorter than its array": array(b"K\x05\x85", OBJECTS, b"](NNe"),
    "a list longer than its array": array(b"K\x01\x85", OBJECTS, b"](NNe"),
    "a list for numbers": array(b"K\x02\x85", PLAIN, b"](NNe"),
    "bytes for objects": array(b"K\x01\x85", OBJECTS, b"C\x08aaaaaaaa"),
    "a shape that is not followed": array(
        b"\x8a\x11" + b"\1" + b"\0" * 16 + b"\x85", OBJECTS, b"]Na"),
    "a negative shape": array(b"J\xff\xff\xff\xff\x85", OBJECTS, b"]Na"),
    "a dtype that changes in use": dtype("V8") + b"q\x00" + state(size=b"K\x08", align=b"K\x01")
    + b"0cnumpy._core.multiarray\nscalar\nh\x00C\x08aaaaaaaa\x86R0h\x00"
    + state(names=NAMES, fields=fields(OBJECTS), size=b"K\x08", align=b"K\x01", flags=27) + b".",
    "a dtype made, used, then built": dtype("V8")
    + b"q\x000cnumpy._core.multiarray\nscalar\nh\x00C\x08aaaaaaaa\x86R0h\x00"
    + state(names=NAMES, fields=fields(OBJECTS), size=b"K\x08", align=b"K\x01", flags=27) + b".",
    "fields that change in use": dtype("V8") + b"(K\x03" + text("|") + b"N" + NAMES
    + fields(PLAIN) + b"q\x01K\x08K\x01K\x00tb0h\x01" + text("a") + OBJECTS + b"K\x00\x86s.",
    "a dtype in itself": dtype("V8") + b"q\x00" + state(
        names=NAMES, fields=b"}" + text("a") + b"h\x00K\x00\x86s", size=b"K\x08", align=b"K\x01")
    + b".",
    "a base hidden in a long tuple": dtype("V8") + state(
        base=OBJECTS + b"(" + b"K\x01" * 300 + b"t\x86", size=b"K\x08", align=b"K\x01") + b".",
    "hidden objects": dtype("V8") + state(
        names=NAMES, fields=fields(OBJECTS), size=b"K\x08", align=b"K\x01") + b".",
    "a field outside": dtype("V8") + state(
        names=NAMES, fields=fields(PLAIN, 4), size=b"K\x08", align=b"K\x01") + b".",
    "a name without a field": dtype("V8") + state(
        names=text("b") + b"\x85", fields=fields(PLAIN), size=b"K\x08", align=b"K\x01") + b".",
    "a size that is not there": dtype("V8") + state() + b".",
    "a code with a width of its own": dtype("f") + b".",
    "numpy's own type, not a copy": dtype("f8", b"\x89") + b".",
    "flags beyond those known": dtype("f8") + state().replace(b"K\x00tb", b"M\x00\x01tb") + b".",
    "another version": dtype("f8") + state(version=1) + b".",
    "an alignment of nothing": dtype("V8") + state(size=b"K\x08", align=b"K\x00") + b".",
    "a scalar of objects": b"cnumpy._core.multiarray\nscalar\n" + OBJECTS + b"C\x08aaaaaaaa\x86R.",
    "a scalar from an array": b"cnumpy._core.multiarray\nscalar\n" + PLAIN + b"]\x86R.",
    "objects from a buffer": b"cnumpy._core.numeric\n_frombuffer\n(C\x08aaaaaaaa" + OBJECTS
    + b"K\x01\x85" + text("C") + b"tR.",
    "a pointer under numpy's name for it": b"csklearn.utils._bunch\nBunch\n)\x81"
    + text("__array_interface__") + b"}s.",
    "a computed key": b"csklearn.linear_model._base\nLinearRegression\n)\x81}"
    b"cnumpy._core.multiarray\nscalar\n" + dtype("U12")
    + state(size=b"K\x30", align=b"K\x04", flags=8)
    + b"C\x30" + "__setstate__".encode("utf-32-le") + b"\x86RNsb.",
}  # fmt: skip


@pytest.mark.parametrize("trick", WRONG)
def test_a_layout_that_contradicts_itself_is_not_clean(trick: str) -> None:
    assert walked(WRONG[trick]) & {"pickle.call", "pickle.build", "pickle.setitem"}


def test_the_same_layouts_told_truly_are_clean() -> None:
    assert not walked(array(b"K\x02\x85", OBJECTS, b"](NNe"))
    assert not walked(dtype("V8") + state(
        names=NAMES, fields=fields(PLAIN), size=b"K\x08", align=b"K\x01") + b".")  # fmt: skip
    shared = np.dtype([("a", "i4"), ("b", "O")])
    values = [np.zeros(2, shared), np.zeros(3, shared.newbyteorder()), np.zeros((0, 3), object)]
    for protocol in range(6):
        assert not walked(pickle.dumps(values, protocol))


# joblib.


def dumped(value: Any) -> bytes:
    stream = io.BytesIO()
    joblib.dump(value, stream)
    return stream.getvalue()


def verdict(data: bytes) -> str:
    report = Report()
    try:
        Walk(data, 0, len(data), "", report).walk()
    except Exception as error:
        return type(error).__name__
    return report.verdict


def test_a_description_of_an_array_with_a_key_twice_is_refused() -> None:
    data = dumped([np.arange(64, dtype=np.uint8)])
    at = data.index(b"\x8c\x05order")
    twice = data[:at] + text("shape") + b"K\x01\x85" + data[at:]
    # Leave the frame as long as it says.
    length = int.from_bytes(data[3:11], "little") + len(twice) - len(data)
    assert verdict(data) == "clean"
    assert verdict(twice[:3] + length.to_bytes(8, "little") + twice[11:]) == "Broken"


@pytest.mark.parametrize("alignment", [b"K\x56", b"\x88", b"N", b"K\x08", text("x")])
def test_an_alignment_that_is_not_joblibs_is_refused(alignment: bytes) -> None:
    data = dumped([np.arange(64, dtype=np.uint8)])
    at = data.index(b"numpy_array_alignment_bytes") + 28
    assert data[at : at + 2] == b"K\x10"
    changed = data[:at] + alignment + data[at + 2 :]
    length = int.from_bytes(data[3:11], "little") + len(changed) - len(data)
    assert verdict(changed[:3] + length.to_bytes(8, "little") + changed[11:]) == "Broken"


def test_objects_that_would_be_mapped_into_memory_are_refused() -> None:
    data = dumped(np.array([None, "x"], dtype=object))
    assert verdict(data) == "clean"
    at = data.index(b"allow_mmap") + 11
    assert data[at : at + 1] == b"\x89"
    assert verdict(data[:at] + b"\x88" + data[at + 1 :]) == "Broken"


def wrapped(before: bytes, nested: bytes) -> bytes:
    """A joblib file of one array of objects, whose pickle is `nested`."""
    described = (
        text("subclass") + b"cnumpy\nndarray\n" + text("shape") + b"K\x01\x85" + text("order")
        + text("C") + text("dtype") + OBJECTS + text("allow_mmap") + b"\x89"
    )  # fmt: skip
    wrapper = b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}(" + described + b"ub"
    return b"\x80\x04" + before + wrapper + nested + b"."


MEMO = text("os") + b"\x940" + text("system") + b"\x940"


def test_a_pickle_in_a_joblib_file_is_followed_with_either_memo() -> None:
    # What joblib reads as numpy's name is os.system to a reader that goes on with its old memo.
    fetched = b"\x80\x05" + text("numpy") + b"\x940" + text("mean") + b"\x940h\x00h\x01\x93."
    data = wrapped(MEMO, fetched)
    reached: list[tuple[str, str]] = []

    class Recording(pickle.Unpickler):
        def find_class(self, module_name: str, global_name: str) -> Any:
            reached.append((module_name, global_name))
            return type("StandIn", (), {"__init__": lambda *_: None, "__setstate__": print})

    with contextlib.suppress(Exception):
        Recording(io.BytesIO(data)).load()
    assert reached[-1] == ("os", "system")
    assert verdict(data) == "malicious"
    assert verdict(wrapped(b"", fetched)) == "clean"


@pytest.mark.parametrize(
    "nested",
    [
        text("a") + b"\x94h\x00\x94\x86.", text("a") + b"\x94" + text("b") + b"q\x01\x86.",
        text("a") + b"2\x86.",
    ],
)  # fmt: skip
def test_a_pickle_in_a_joblib_file_with_a_memo_as_no_pickler_writes_it_is_refused(
    nested: bytes,
) -> None:
    assert verdict(wrapped(b"", nested)) == "unscannable"


def test_no_raw_array_is_crossed_in_the_pickle_of_an_array_of_objects() -> None:
    # joblib reads that pickle with Python's own reader, which runs what follows.
    inner = wrapped(b"", b"")[:-1]
    assert verdict(wrapped(b"", inner + b"cos\nsystem\n" + b"0.")) == "malicious"


# PyTorch.

STORAGE = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x08tQ"


def tensor(offset: int, shape: bytes, steps: bytes, hooks: bytes = b"N") -> bytes:
    return (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + b"K%c" % offset + shape + steps
        + b"\x89" + hooks + b"tR."
    )  # fmt: skip


def test_a_tensor_lies_inside_its_storage() -> None:
    hooks = b"ccollections\nOrderedDict\n)R"
    two = b"K\x02K\x04\x86"
    for good in (
        tensor(0, two, b"K\x04K\x01\x86", hooks), tensor(7, b"K\x01\x85", b"K\x01\x85"),
        tensor(0, two, b"K\x00K\x00\x86"), tensor(99, b"K\x00\x85", b"K\x01\x85"),
        tensor(0, b")", b")"),
    ):  # fmt: skip
        assert not walked(good, Torch({"FloatStorage": 4}))
    for bad in (
        tensor(1, two, b"K\x04K\x01\x86"), tensor(8, b"K\x01\x85", b"K\x01\x85"),
        tensor(0, two, b"K\x01\x85"), tensor(0, b"J\xff\xff\xff\xff\x85", b"K\x01\x85"),
        tensor(0, b"K\x01\x85", b"K\x01\x85", hooks + text("h") + b"cnumpy\nmean\ns"),
        tensor(0, b"K\x01\x85", b"K\x01\x85", b"]"),
    ):  # fmt: skip
        assert walked(bad, Torch({"FloatStorage": 4})) == {"pickle.call"}
