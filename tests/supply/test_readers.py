"""The walk against the real readers: no name that one of them reaches escapes it.

The readers run with a `find_class` that imports nothing and gives a class that does nothing.
"""

from __future__ import annotations

import contextlib
import io
import pickle
from typing import Any

import joblib
import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from assay.supply.allowed import canonical, uses
from assay.supply.content import scan_content
from assay.supply.findings import Report


class Harmless:
    """Takes whatever a pickle gives it and does nothing."""

    def __new__(cls, *_: Any, **__: Any) -> Harmless:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass

    def append(self, _: Any) -> None:
        pass

    def __setitem__(self, _: Any, __: Any) -> None:
        pass


def reached(data: bytes, reader: Any) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()

    class Reader(reader):  # type: ignore[misc]
        def find_class(self, module: str, name: str, /) -> Any:
            found.add((module, name))
            return Harmless

    with contextlib.suppress(Exception):
        Reader(io.BytesIO(data)).load()
    return found


READERS = (pickle.Unpickler, pickle._Unpickler)  # type: ignore[attr-defined]  # the two of CPython


def check(data: bytes) -> None:
    """What is called clean reaches allowed names only, in every reader, and all are listed."""
    report = Report()
    scan_content(data, 0, len(data), "", "model", report)
    if report.verdict != "clean":
        return  # And a reader may fill the memory with it.
    for reader in READERS:
        for module, name in reached(data, reader):
            assert uses(*canonical(module, name)) is not None, (module, name)
            assert f"{module} {name}" in report.globals


PIECES = [
    *(bytes([code]) for code in range(256)),
    b"cos\nsystem\n", b"cnumpy\nmean\n", b"ccollections\nOrderedDict\n", b"(Vid\ntR", b")R", b"0",
    b"\x8c\x02os", b"\x8c\x06system", b"\x94", b"h\x00", b"h\x01", b"q\x00", b"p0\n", b"g0\n",
    b"\x93", b"Vos\n", b"S'system'\n", b"\x80\x02", b"\x80\x04", b"\x80\x05", b"(", b"t", b"}",
    b"]", b"b", b")\x81", b"iposix\nsystem\n", b"N", b"K\x05", b"C\x03abc", b"X\x02\0\0\0os",
    *(b"\x95" + bytes([n]) + bytes(7) for n in (0, 1, 4, 9, 12, 30, 200)),
    b"B\x04\0\0\0", b"U\x05", b"T\x03\0\0\0", b"G", b"J", b"\x8a\x02", b"(o", b"2", b"1", b".",
]  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=25).map(b"".join))
@example(b"\x80\x04\x95\x04" + bytes(7) + b"N0\x8c\x02os\x8c\x06system\x93.")
@example(b"\x80\x04\x95\xff" + bytes(7) + b"cos\nsystem\n.")
@example(b"(cos\nsystem\n1N.")
def test_no_name_that_a_reader_reaches_escapes_the_walk(data: bytes) -> None:
    check(data)
    check(data + b".")
    check(b"\x80\x04" + data + b".")


BENIGN = [
    pickle.dumps({"a": [1, 2.5, "x", (1,)], "b": np.arange(5)}, protocol) for protocol in range(6)
]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(BENIGN), st.sampled_from(PIECES), st.data())
def test_no_piece_put_into_a_harmless_pickle_escapes_the_walk(
    data: bytes, piece: bytes, draw: st.DataObject
) -> None:
    first = draw.draw(st.integers(0, len(data)))
    last = draw.draw(st.sampled_from([first, min(len(data), first + len(piece))]))
    check(data[:first] + piece + data[last:])


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(PIECES), st.data())
def test_nothing_put_into_a_joblib_file_escapes_the_walk(piece: bytes, draw: st.DataObject) -> None:
    stream = io.BytesIO()
    joblib.dump([np.arange(4), np.array([None, "a"], dtype=object), "end"], stream)
    data = stream.getvalue()
    first = draw.draw(st.integers(0, len(data)))
    last = draw.draw(st.sampled_from([first, min(len(data), first + len(piece))]))
    check(data[:first] + piece + data[last:])
