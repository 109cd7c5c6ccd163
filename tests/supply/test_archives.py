from __future__ import annotations

import gzip
import io
import pickle
import struct
import zipfile
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.supply.content import scan_content
from assay.supply.findings import Report

EVIL = b"cos\nsystem\n(Vid\ntR."


def archive(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as made:
        for name, data in members:
            made.writestr(name, data)
    return stream.getvalue()


def rules(answer: dict[str, Any]) -> set[str]:
    return {finding["rule"] for finding in answer["findings"]}


PLAIN = archive(("a.json", b"{}"), ("b.json", b'{"a": 1}'))


def changed(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_are_scanned_where_they_lie(scanned: Any, method: int) -> None:
    assert scanned(archive(("a.json", b"{}"), method=method))["clean"]
    answer = scanned(archive(("a.json", b"{}"), ("weights", EVIL), method=method))
    assert answer["verdict"] == "malicious"
    assert answer["findings"][0]["where"] == "!weights+0"


def test_an_archive_in_an_archive_is_opened_and_not_for_ever(scanned: Any) -> None:
    data = archive(("x", EVIL))
    assert scanned(archive(("inner", data)))["verdict"] == "malicious"
    data = archive(("a.json", b"{}"))
    for _ in range(10):
        data = archive(("inner", data))
    assert "nested" in rules(scanned(data))


END = PLAIN.index(b"PK\x05\x06")
CENTRAL = PLAIN.index(b"PK\x01\x02")

TAMPERED = {
    "bytes before": b"#!/bin/sh\n" + PLAIN,
    "bytes behind": PLAIN + b"x",
    "a comment": PLAIN[:-2] + b"\x05\x00hello",
    "a gap": None,
    "the flag of encryption": PLAIN.replace(b"PK\x03\x04\x14\0\0", b"PK\x03\x04\x14\0\x01").replace(
        b"PK\x01\x02\x14\x03\x14\0\0", b"PK\x01\x02\x14\x03\x14\0\x01"),
    "a flag in one header only": changed(PLAIN, 6, b"\x01"),
    "another name in the directory": changed(PLAIN, CENTRAL + 46, b"z"),
    "another length in the directory": changed(PLAIN, CENTRAL + 20, b"\x01"),
    "another checksum": changed(PLAIN, CENTRAL + 16, b"\0\0\0\0"),
    "a directory that lies elsewhere": changed(PLAIN, END + 16, b"\x01"),
    "more entries than there are": changed(PLAIN, END + 8, b"\x03\0\x03\0"),
    "fewer entries than there are": changed(PLAIN, END + 8, b"\x01\0\x01\0"),
    "several disks": changed(PLAIN, END + 4, b"\x01"),
    "no end": PLAIN[:END],
    "an unknown method": archive(("a.json", b"{}" * 9), method=zipfile.ZIP_BZIP2),
}  # fmt: skip


@pytest.mark.parametrize("trick", TAMPERED)
def test_an_archive_that_readers_could_take_differently_is_not_clean(
    scanned: Any, trick: str
) -> None:
    data = TAMPERED[trick]
    if data is None:
        data = PLAIN[:CENTRAL] + b"gap" + PLAIN[CENTRAL:]
        data = changed(data, len(data) - 6, struct.pack("<I", CENTRAL + 3))
    assert scanned(PLAIN)["clean"]
    answer = scanned(data)
    assert not answer["clean"], answer


@pytest.mark.parametrize("trick", ["flag", "crc", "no end", "prefix", "name"])
def test_a_payload_in_a_damaged_archive_is_still_found(scanned: Any, trick: str) -> None:
    data = archive(("model.pkl", EVIL))
    central = data.index(b"PK\x01\x02")
    tampered = {
        "flag": changed(data, 6, b"\x01"),
        "crc": changed(data, 14, b"\0\0\0\0"),
        "no end": data[: data.index(b"PK\x05\x06")],
        "prefix": b"MZ" + data,
        "name": changed(data, central + 46, b"safe"),
    }
    assert scanned(tampered[trick])["verdict"] == "malicious"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_a_name_are_refused(scanned: Any) -> None:
    assert "zip.duplicate" in rules(scanned(archive(("a.json", b"{}"), ("a.json", b"[]"))))


@pytest.mark.parametrize("name", ["../a.json", "/a.json", "x/../../a.json", "C:/a.json"])
def test_a_member_that_would_leave_the_folder_is_malicious(scanned: Any, name: str) -> None:
    answer = scanned(archive((name, b"{}")))
    assert answer["verdict"] == "malicious"
    assert "zip.path" in rules(answer)


def test_members_that_overlap_are_refused(scanned: Any) -> None:
    data = archive(("a.json", b"{}"), ("a.jsom", b"{}"))
    second = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 4)
    data = changed(data, second + 42, b"\0\0\0\0")
    assert not scanned(changed(data, second + 46, b"a.json"))["clean"]


def test_a_bomb_ends_at_the_declared_size(scanned: Any) -> None:
    data = archive(("a.json", b"[" + b" " * (50 << 20) + b"]"), method=zipfile.ZIP_DEFLATED)
    small = struct.pack("<I", 100)
    data = changed(data, 22, small)
    data = changed(data, data.index(b"PK\x01\x02") + 24, small)
    assert "zip.bomb" in rules(scanned(data))


def test_a_bomb_of_a_scan_is_bounded(monkeypatch: pytest.MonkeyPatch, scanned: Any) -> None:
    monkeypatch.setattr("assay.supply.findings.INFLATE_BYTES", 1 << 16)
    data = archive(("a.json", b"[" + b" " * (1 << 20) + b"]"), method=zipfile.ZIP_DEFLATED)
    assert "zip.bomb" in rules(scanned(data))
    assert "compressed" in rules(scanned(gzip.compress(b"[" + b" " * (1 << 20) + b"]")))


def test_compressed_pickles_are_inflated_and_walked(scanned: Any) -> None:
    import bz2
    import lzma
    import zlib

    for squeeze in (gzip.compress, bz2.compress, lzma.compress, zlib.compress):
        assert scanned(squeeze(pickle.dumps([1, 2])))["clean"]
        assert scanned(squeeze(EVIL))["verdict"] == "malicious"
        assert not scanned(squeeze(pickle.dumps([1])) + b"x")["clean"]
        assert not scanned(squeeze(pickle.dumps(list(range(99))))[:-3])["clean"]
        assert not scanned(squeeze(pickle.dumps([1])) + squeeze(EVIL))["clean"]


def test_numpy_archives(scanned: Any) -> None:
    stream = io.BytesIO()
    np.savez(stream, a=np.arange(3), b=np.array(["x", None], dtype=object))
    answer = scanned(stream.getvalue())
    assert (answer["format"], answer["clean"]) == ("npz", True)


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def test_numpy_files_are_read_to_the_last_byte(scanned: Any) -> None:
    records = np.zeros(2, dtype=[("a", "f4", (2, 3)), ("b", "U5"), ("c", [("d", "M8[s]")])])
    for array in (np.arange(3), np.zeros((0, 3)), np.array(1j), records, np.array("text")):
        data = npy(array)
        answer = scanned(data)
        assert (answer["format"], answer["clean"]) == ("npy", True)
        assert not scanned(data + b"x")["clean"]
        assert not scanned(data[:-1])["clean"]


def test_an_object_array_is_a_pickle(scanned: Any) -> None:
    data = npy(np.array([{"a": 1}], dtype=object))
    assert scanned(data)["clean"]
    first = 10 + int.from_bytes(data[8:10], "little")
    answer = scanned(data[:first] + EVIL)
    assert answer["verdict"] == "malicious"
    assert "os system" in answer["globals"]


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}",
        "{'descr': '<f8', 'fortran_order': False}",
        "{'descr': '<q9z', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': [], 'fortran_order': False, 'shape': (1,)}",
        "__import__('os').system('id')",
        "(" * 5000,
    ],
)
def test_a_numpy_header_that_is_not_one_is_refused(scanned: Any, header: str) -> None:
    data = b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header.encode() + b"\0" * 8
    answer = scanned(data)
    assert answer["verdict"] == "unscannable"
    assert "npy.header" in rules(answer)


FLOATS = b"ctorch\nFloatStorage\n"


def torch_pickle(count: int, storage: bytes = FLOATS) -> bytes:
    return (
        b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storage"
        + storage + b"X\x01\0\0\x000X\x03\0\0\0cpuK" + bytes([count])
        + b"tQK\0K" + bytes([count]) + b"\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtRs."
    )  # fmt: skip


def torch_file(data: bytes, storage: bytes, *more: tuple[str, bytes]) -> bytes:
    return archive(
        ("m/data.pkl", data), ("m/byteorder", b"little"), ("m/data/0", storage),
        ("m/version", b"3\n"), *more,
    )  # fmt: skip


def test_a_torch_state_dict_is_clean_when_its_storages_have_their_sizes(scanned: Any) -> None:
    answer = scanned(torch_file(torch_pickle(2), b"\0" * 8))
    assert (answer["format"], answer["clean"]) == ("torch", True), answer
    for storage in (b"\0" * 7, b"\0" * 9):
        assert "torch.storage" in rules(scanned(torch_file(torch_pickle(2), storage)))


@pytest.mark.parametrize(
    "data",
    [
        torch_file(EVIL, b""),
        torch_file(torch_pickle(2), b"\0" * 8, ("m/code/x.py", b"import os")),
        torch_file(torch_pickle(2), b"\0" * 8, ("m/extra", EVIL)),
        torch_file(torch_pickle(20), EVIL + b"\0" * (80 - len(EVIL))),
        torch_file(torch_pickle(2, b"ctorch\nload\n"), b"\0" * 8),
        torch_file(torch_pickle(2, b"cos\nFloatStorage\n"), b"\0" * 8),
        archive(("m/data.pkl", torch_pickle(2)), ("m/version", b"3\n")),
        torch_file(torch_pickle(2) + b"N.", b"\0" * 8),
    ],
)
def test_other_torch_files_are_not_clean(scanned: Any, data: bytes) -> None:
    assert not scanned(data)["clean"]


def test_torch_files_of_old_are_five_pickles_and_their_storages(scanned: Any) -> None:
    head = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
    data = head + torch_pickle(2) + pickle.dumps(["0"], 2) + struct.pack("<q", 2) + b"\0" * 8
    answer = scanned(data)
    assert (answer["format"], answer["clean"]) == ("torch-legacy", True), answer
    assert not scanned(data + b"\0")["clean"]
    assert not scanned(data[:-1])["clean"]
    assert not scanned(head)["clean"]
    assert scanned(head + EVIL)["verdict"] == "malicious"


@given(st.data())
def test_altered_archives_never_raise(data: st.DataObject) -> None:
    raw = bytearray(archive(("m/data.pkl", torch_pickle(2)), ("a.npy", npy(np.arange(3)))))
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    scan_content(bytes(raw), 0, len(raw), "", "model", Report())


@given(st.binary(max_size=100), st.sampled_from([b"PK\x03\x04", b"\x93NUMPY", b"\x1f\x8b", b"{"]))
def test_any_bytes_behind_a_magic_never_raise_and_are_never_clean(
    data: bytes, magic: bytes
) -> None:
    report = Report()
    scan_content(magic + data, 0, len(magic + data), "", "model", report)
    assert report.verdict != "clean" or (magic == b"{" and data.strip().endswith(b"}"))
