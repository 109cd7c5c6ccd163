"""What a pickle would do, said by hand-made streams that no unpickler is ever given."""

from __future__ import annotations

import contextlib
import io
import pickle
import struct
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.supply.findings import Broken, Report
from assay.supply.pickles import Walk
from assay.supply.scan import scan

SYSTEM = b"cos\nsystem\n"


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def long_text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def stack_global(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


def rules(answer: dict[str, Any]) -> set[str]:
    return {finding["rule"] for finding in answer["findings"]}


CALLS = {
    "GLOBAL": SYSTEM + b"(Vid\ntR.",
    "Python 2's name": b"c__builtin__\neval\n(S'1'\ntR.",
    "STACK_GLOBAL": b"\x80\x04" + stack_global("posix", "system") + text("id") + b"\x85R.",
    "long texts": b"\x80\x04" + long_text("os") + long_text("system") + b"\x93" + b")R.",
    "text opcodes": b"Vos\nVsystem\n\x93(Vid\ntR.",
    "quoted text": b"S'os'\nS'system'\n\x93(Vid\ntR.",
    "escaped text": b"V\\u006fs\nS'\\x73ystem'\n\x93)R.",
    "a name from the memo": b"\x80\x04" + text("os") + b"\x94" + text("system") + b"\x94"
    b"00h\x00h\x01\x93)R.",
    "a memo entry replaced": text("safe") + b"p0\n0" + text("os") + b"p0\n0g0\n"
    + text("system") + b"\x93)R.",
    "a duplicated text": text("os") + b"2" + text("system") + b"0" + text("system") + b"\x93)R.",
    "INST": b"(Vid\nios\nsystem\n.",
    "OBJ": b"(" + SYSTEM + b"Vid\no.",
    "OBJ dropped at once": b"(" + SYSTEM + b"Vid\no0N.",
    "NEWOBJ": b"csubprocess\nPopen\n)\x81.",
    "NEWOBJ_EX": b"csubprocess\nPopen\n)}\x92.",
    "BUILD on a module's function": SYSTEM + b"}b.",
    "only mentioned": b"}V__call__\n" + SYSTEM + b"s.",
    "a dotted name": b"\x80\x04" + stack_global("numpy", "f2py.os.system") + b")R.",
    "a builtin by getattr": b"cbuiltins\ngetattr\n(N.",
    "getattr of a type": b"cbuiltins\ngetattr\n(cbuiltins\nstr\nVmro\ntR.",
    "functools.partial": b"cfunctools\npartial\n(N.",
    "operator.methodcaller": b"coperator\nmethodcaller\n(Vx\ntR.",
    "a helper of numpy": b"cnumpy.f2py.crackfortran\ngetlincoef\n(Vx\ntR.",
    "before it breaks": SYSTEM + b"(Vid\ntR\xff",
    "before it is cut short": SYSTEM + b"(Vid\ntR",
    "in the second of two": pickle.dumps(1) + SYSTEM + b"(Vid\ntR.",
    "in a joblib file": None,
    "a name that is taken off": SYSTEM + b"0N.",
    "a name dropped to the mark": b"(" + SYSTEM + b"1N.",
    "in a frame longer than the file": b"\x80\x04\x95\xff\0\0\0\0\0\0\0" + SYSTEM + b")R.",
}  # fmt: skip


@pytest.mark.parametrize("trick", CALLS)
def test_a_hidden_call_is_malicious(scanned: Any, trick: str) -> None:
    data = CALLS[trick]
    if data is None:
        stream = io.BytesIO()
        joblib.dump({"a": np.arange(100)}, stream)
        data = stream.getvalue()[:-1] + SYSTEM + b")R."
    answer = scanned(data)
    assert answer["verdict"] == "malicious", answer
    assert answer["clean"] is False


REFUSED = {
    "an extension code": (b"\x82\x01.", "pickle.extension"),
    "a persistent id": (b"\x80\x04Vx\nQ.", "pickle.persistent"),
    "a text persistent id": (b"\x80\x02Px\n.", "pickle.persistent"),
    "bytes behind the end": (pickle.dumps([1]) + b"\0\0", "pickle.opcode"),
    "a buffer from outside": (b"\x80\x05\x97.", "pickle.buffer"),
    "an unknown protocol": (b"\x80\x06N.", "pickle.protocol"),
    "a second protocol": (b"\x80\x02\x80\x03N.", "pickle.protocol"),
    "no end": (b"\x80\x02N", "pickle.truncated"),
    "an argument beyond the end": (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
                                   "pickle.truncated"),
    "a missing memo entry": (b"\x80\x02h\x05.", "pickle.memo"),
    "a memo number that fills memory": (b"\x80\x02Nr\xff\xff\xff\x7f.", "pickle.memo"),
    "too little on the stack": (b"\x80\x02R.", "pickle.stack"),
    "a mark that is not there": (b"\x80\x02Nt.", "pickle.stack"),
    "values left at the end": (b"\x80\x02NN.", "pickle.stack"),
    "a value without a key": (b"\x80\x02}(Nu.", "pickle.stack"),
    "an opcode across the end of a frame": (
        b"\x80\x04\x95\x02\0\0\0\0\0\0\0\x8c\x01a.", "pickle.frame"),
    "a frame in a frame": (
        b"\x80\x04\x95\x0b\0\0\0\0\0\0\0\x95\x02\0\0\0\0\0\0\0N..", "pickle.frame"),
    "a frame that goes on behind STOP": (b"\x80\x04\x95\x03\0\0\0\0\0\0\0N.N", "pickle.frame"),
    "text that is no text": (b"\x80\x04\x8c\x01\xff.", "pickle.text"),
    "a call of what is not a name": (b"\x80\x02])R.", "pickle.call"),
    "a construction of what is not a name": (b"\x80\x02])\x81.", "pickle.call"),
    "a name from a number": (b"\x80\x04K\x01K\x02\x93.", "pickle.name"),
    "appending to a dict": (b"\x80\x02}Na.", "pickle.append"),
    "setting an item of a list": (b"\x80\x02]NNs.", "pickle.setitem"),
    "adding to a list": (b"\x80\x04](N\x90.", "pickle.additems"),
    "a state for a list": (b"\x80\x02]}b.", "pickle.build"),
}  # fmt: skip


@pytest.mark.parametrize("trick", REFUSED)
def test_a_stream_that_readers_could_take_differently_is_not_clean(
    scanned: Any, trick: str
) -> None:
    data, rule = REFUSED[trick]
    answer = scanned(data)
    assert rule in rules(answer), answer
    assert answer["verdict"] in ("unscannable", "suspicious")
    assert not answer["clean"]


LOGISTIC = b"csklearn.linear_model._logistic\nLogisticRegression\n"
OBJECT_DTYPE = b"cnumpy\ndtype\n(VO8\nI00\nI01\ntR"

MISUSED = {
    "an estimator is called": LOGISTIC + b")R.",
    "an estimator is constructed with arguments": LOGISTIC + b"(Ntb0N.",
    "a class is kept as a value": b"]" + LOGISTIC + b"a.",
    "an estimator is returned as a class": LOGISTIC + b".",
    "a scoring function is called": b"cnumpy\nmean\nN\x85R.",
    "a method is replaced": LOGISTIC + b")\x81}(V__setstate__\ncnumpy\nmean\nub.",
    "a state is set twice": LOGISTIC + b")\x81}b}b.",
    "attributes are set past the dict": LOGISTIC + b")\x81(N}tb.",
    "a generator gets another constructor": b"cnumpy.random._pickle\n__generator_ctor\n"
    b"(VPCG64\ncnumpy\nmean\ntR.",
    "a bit generator of any class": b"cnumpy.random._pickle\n__bit_generator_ctor\n("
    + LOGISTIC + b"tR.",
    "any codec": b"c_codecs\nencode\n(Vx\nVzip\ntR.",
    "any base": b"ccopyreg\n_reconstructor\n(" + LOGISTIC + b"cbuiltins\nlist\n]tR.",
    "a range poured into a set": b"cbuiltins\nset\n(cbuiltins\nrange\n(I0\nI99\ntRtR.",
    "memory by the number": b"cbuiltins\nbytearray\n(I99999999999\ntR.",
    "an array of any shape": b"cnumpy._core.multiarray\n_reconstruct\n"
    b"(cnumpy\nndarray\n(I999999999\ntS'b'\ntR.",
    "objects said to be numbers": OBJECT_DTYPE
    + b"(I3\nV|\nNNNI-1\nI-1\nI0\ntb.",
    "a type code that is made up": b"cnumpy\ndtype\n(Vf4,O\nI00\nI01\ntR.",
    "a size that its code contradicts": b"cnumpy\ndtype\n(VV8\nI00\nI01\ntR"
    b"(I3\nV|\nNNNI800\nI1\nI0\ntb.",
    "an object array from bytes": b"cnumpy._core.multiarray\n_reconstruct\n"
    b"(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I1\nt" + OBJECT_DTYPE
    + b"(I3\nV|\nNNNI-1\nI-1\nI63\ntbI00\nC\x08aaaaaaaatb.",
}  # fmt: skip


@pytest.mark.parametrize("trick", MISUSED)
def test_an_allowed_name_used_as_no_library_does_is_not_clean(scanned: Any, trick: str) -> None:
    answer = scanned(MISUSED[trick])
    assert not answer["clean"], answer
    assert rules(answer) & {"pickle.call", "pickle.build", "pickle.mention"}


def test_the_names_reached_are_listed_sorted_and_once(scanned: Any) -> None:
    answer = scanned(b"(" + SYSTEM + SYSTEM + b"cnumpy\nmean\nl.")
    assert answer["globals"] == ["numpy mean", "os system"]


def test_findings_name_the_offset(scanned: Any) -> None:
    (finding,) = scanned(b"]" + SYSTEM + b"a.")["findings"]
    assert finding["where"] == "+1"
    assert finding["severity"] == "malicious"
    assert "os.system" in finding["what"]


def test_a_carried_attack_is_pointed_out(scanned: Any) -> None:
    for payload in (SYSTEM + b"(Vid\ntR.", b"\x80\x04"
                    + stack_global("posix", "system") + b")R."):  # fmt: skip
        assert rules(scanned(pickle.dumps({"weights": payload + b"\0" * 16}))) == {"pickle.carried"}


def test_deep_and_wide_streams_end_quickly(scanned: Any) -> None:
    for data in (
        b"\x80\x04" + b"(" * 200_000 + b".",
        b"\x80\x04)" + b"\x85" * 100_000 + b".",
        b"\x80\x04)" + b"2\x86" * 50_000 + b".",
        b"\x80\x04N" + b"2" * 200_000 + b".",
    ):
        scanned(data)


def plain() -> st.SearchStrategy[Any]:
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
        max_leaves=20,
    )


@given(plain(), st.integers(0, 5))
def test_plain_data_in_every_protocol_is_walked_to_its_end(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    report = Report()
    assert Walk(data, 0, len(data), "", report).walk() == len(data)
    assert {finding["rule"] for finding in report.findings} <= {"pickle.carried"}


@given(st.binary(max_size=200))
def test_any_bytes_end_the_walk_or_break_it(data: bytes) -> None:
    for joblib_file in (False, True):
        try:
            end = Walk(data, 0, len(data), "", Report(), joblib=joblib_file).walk()
        except Broken as error:
            where = error.position
        else:
            where = end
        assert 0 <= where <= len(data)


@given(st.data())
def test_altered_model_files_never_raise(data: st.DataObject) -> None:
    stream = io.BytesIO()
    joblib.dump({"a": np.arange(20), "b": np.array(["x", None], dtype=object)}, stream)
    raw = bytearray(stream.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Broken):
        Walk(bytes(raw), 0, len(raw), "", Report()).walk()


def joblib_bytes(value: Any) -> bytes:
    stream = io.BytesIO()
    joblib.dump(value, stream)
    return stream.getvalue()


def test_joblib_arrays_are_crossed_exactly(scanned: Any) -> None:
    # The content of the array is a pickle that calls os.system.
    hostile = np.frombuffer((SYSTEM + b"(Vid\ntR.") * 10, dtype=np.uint8)
    for value in (hostile, np.zeros((3, 0, 2)), np.asfortranarray(np.ones((3, 4))), np.array(1.0)):
        answer = scanned(joblib_bytes([value, "end"]))
        assert answer["clean"], answer
        assert answer["format"] == "joblib"


def test_a_joblib_array_with_other_padding_is_refused(scanned: Any) -> None:
    data = joblib_bytes([np.arange(64, dtype=np.uint8)])
    at = data.index(bytes(range(64))) - 1
    assert data[at] == 0xFF
    answer = scanned(data[:at] + b"." + data[at + 1 :])
    assert "joblib.array" in rules(answer)


def test_a_joblib_array_that_claims_another_length_is_refused(scanned: Any) -> None:
    data = joblib_bytes([np.arange(64, dtype=np.uint8), "end"])
    for length in (63, 65, 255):
        answer = scanned(data.replace(b"K\x40\x85", b"K" + bytes([length]) + b"\x85"))
        assert not answer["clean"]


def test_objects_in_joblib_arrays_are_pickles_and_walked(scanned: Any) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return (print, ("run",))

    answer = scanned(joblib_bytes(np.array([Hostile(), None], dtype=object)))
    assert answer["verdict"] == "malicious"
    assert "builtins print" in answer["globals"]


def test_an_array_without_padding_is_also_read_as_opcodes(scanned: Any) -> None:
    # joblib before 1.2 wrote none; a plain unpickler then runs the bytes of the array.
    content = b"0N" + SYSTEM + b"(Vid\ntR."
    array = np.frombuffer(content + b"\0" * (64 - len(content)), dtype=np.uint8)
    data = joblib_bytes([array])
    key = data.index(b"numpy_array_alignment_bytes")
    start = data.index(content)
    padding = data[:start].rindex(b"b", 0, start) + 1
    raw = data[:key] + b"numpy_array_alignment_other" + data[key + 27 : padding] + data[start:]
    assert scanned(raw)["verdict"] == "malicious"


def test_nothing_that_a_file_names_is_imported(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "booby.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    model = tmp_path / "model.pkl"
    model.write_bytes(b"cbooby\ntrap\n)R.")
    answer = scan(model)
    assert answer["verdict"] == "suspicious"
    assert answer["globals"] == ["booby trap"]
