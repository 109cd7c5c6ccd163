"""The walk against the real readers: whatever they would reach, the walk reaches too."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import joblib
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from assay.supply.allowed import canonical, uses
from assay.supply.content import scan_content
from assay.supply.findings import Broken, Report, printable
from assay.supply.pickles import Walk

CHILD = Path(__file__).parent / "readers_child.py"


class Readers:
    """The child process, started again when a case kills it."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None

    def ask(self, kind: str, data: bytes) -> dict[str, set[tuple[str, str]]] | None:
        """What each reader reached; None when reading killed the process."""
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, str(CHILD)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(kind.encode() + len(data).to_bytes(4, "little") + data)
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        if not line:
            self.stop()
            return None
        return {name: {(m, n) for m, n in found} for name, found in json.loads(line).items()}

    def stop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None


@pytest.fixture(scope="module")
def readers() -> Iterator[Readers]:
    made = Readers()
    yield made
    made.stop()


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


WORDS = ("os", "system", "collections", "OrderedDict", "numpy", "dtype", "builtins", "eval", "")
small = st.integers(0, 6)
word = st.sampled_from(WORDS)
ITEMS = st.one_of(
    st.sampled_from(
        [b"%c" % c for c in b"(.0125NR]}abdeolstu)\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94"]
    ),
    word.map(text),
    word.map(lambda w: b"X" + len(w).to_bytes(4, "little") + w.encode()),
    word.map(lambda w: b"V" + w.encode() + b"\n"),
    word.map(lambda w: b"S'" + w.encode() + b"'\n"),
    word.map(lambda w: b"U" + bytes([len(w)]) + w.encode()),
    st.tuples(word, word).map(lambda w: f"c{w[0]}\n{w[1]}\n".encode()),
    st.tuples(word, word).map(lambda w: f"({w[0]}\n{w[1]}\n".encode().replace(b"(", b"(i")),
    st.tuples(word, word).map(lambda w: text(w[0]) + text(w[1]) + b"\x93"),
    st.tuples(st.sampled_from(b"hqK"), small).map(bytes),
    st.tuples(st.sampled_from(b"gpILF"), small).map(lambda t: b"%c%d\n" % t),
    st.sampled_from([b"I01\n", b"I0x1\n", b"I010\n", b"p 1\n", b"g+1\n", b"g1\0\n", b"p1_0\n",
                     b"L5L\n", b"L5\0\n", b"F1\n", b"F1_0\n", b"I1 \n", b"p00\n", b"g1\r\n"]),
    st.integers(0, 40).map(lambda n: b"\x95" + n.to_bytes(8, "little")),
    st.integers(0, 6).map(lambda n: b"\x80" + bytes([n])),
    st.integers(0, 12).map(lambda n: b"C" + bytes([n]) + b"cos\nsystem\n."[:n]),
    st.integers(0, 40).map(lambda n: b"B" + n.to_bytes(4, "little")),
    st.integers(0, 3000).map(lambda n: b"r" + n.to_bytes(4, "little")),
    st.sampled_from([b"\x8a\x01\x05", b"\x8a\x00", b"\x8b\x01\0\0\0\x05", b"J\1\0\0\0", b"M\1\0",
                     b"\x82\x01", b"Pid\n", b"Q", b"\x97", b"\x98", b"G" + b"\0" * 8]),
)  # fmt: skip
STREAMS = st.tuples(
    st.sampled_from([b"", b"\x80\x02", b"\x80\x04"]), st.lists(ITEMS, max_size=30)
).map(lambda parts: parts[0] + b"".join(parts[1]) + b".")


def altered(originals: list[bytes]) -> st.SearchStrategy[bytes]:
    """Real files with a few bytes changed, taken out or put in."""

    @st.composite
    def make(draw: st.DrawFn) -> bytes:
        data = bytearray(draw(st.sampled_from(originals)))
        for _ in range(draw(st.integers(1, 3))):
            at = draw(st.integers(0, len(data) - 1))
            length = draw(st.integers(0, 3))
            data[at : at + length] = draw(st.one_of(st.binary(max_size=3), ITEMS))
        return bytes(data)

    return make()


def _originals() -> list[bytes]:
    import collections
    import datetime

    from sklearn.preprocessing import StandardScaler

    values = [
        [1, "a", None, 2.5, {"a": (1, 2)}, {1}, frozenset([1]), b"b", bytearray(b"c")],
        [collections.OrderedDict(a=1), datetime.date(2020, 1, 1), 1j],
        StandardScaler().fit([[1.0], [2.0]]),
        {"a": np.arange(3), "b": np.array(["x", None], dtype=object), "c": np.float32(1)},
        np.array([(1, "a")], dtype=[("a", "i4"), ("b", "O")]),
    ]
    return [pickle.dumps(value, protocol) for value in values for protocol in range(6)]


ORIGINALS = _originals()


def named(found: set[tuple[str, str]]) -> set[str]:
    return {printable(f"{module} {name}") for module, name in found}


def check(readers: Readers, data: bytes, kind: str = "p") -> None:
    answer = readers.ask(kind, data)
    report = Report()
    try:
        Walk(data, 0, len(data), "", report, joblib=False).walk()
    except Broken as error:
        report.broken(error, "")
    rules = {finding["rule"] for finding in report.findings}
    if answer is not None and not rules & {"pickle.frame", "pickle.persistent", "pickle.buffer"}:
        for reader, found in answer.items():
            if reader != "joblib":
                assert named(found) <= report.globals, (reader, data)
    whole = Report()
    scan_content(data, 0, len(data), "", "model", whole)
    if whole.verdict == "clean":
        assert answer is not None, ("a reader dies of it", data)
        for reader, found in answer.items():
            assert named(found) <= whole.globals, (reader, data)
            for module, name in found:
                assert uses(*canonical(module, name)) is not None, (reader, data)


BOUNDED = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300
)


@BOUNDED
@given(data=STREAMS)
@example(data=b"Vos\nVsystem\n\x80\x04\x93)R.")
@example(data=b"\x80\x04" + text("os") + b"p 1\n0" + text("system") + b"p+2\n0g1\ng2\n\x93.")
def test_readers_reach_nothing_that_the_walk_does_not(readers: Readers, data: bytes) -> None:
    check(readers, data)


@BOUNDED
@given(data=altered(ORIGINALS))
def test_altered_pickles_reach_nothing_unseen(readers: Readers, data: bytes) -> None:
    check(readers, data)


def _joblibs() -> list[bytes]:
    made: list[bytes] = []
    for value in (
        {"a": np.arange(5), "b": np.array(["x", None], dtype=object), "c": [np.zeros((2, 0))]},
        [np.array([(1, "a")], dtype=[("a", "i4"), ("b", "O")]), np.arange(3, dtype="f2"), "end"],
        [np.array(["abc"]), np.array(["2020-01-01"], dtype="M8[D]"), np.asfortranarray([[1, 2]])],
    ):
        for protocol in (2, 4, 5):
            stream = io.BytesIO()
            joblib.dump(value, stream, protocol=protocol)
            made.append(stream.getvalue())
    return made


@BOUNDED
@given(data=altered(_joblibs()))
def test_altered_joblib_files_reach_nothing_unseen(readers: Readers, data: bytes) -> None:
    check(readers, data, "j")
