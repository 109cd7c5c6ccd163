"""tar archives, ZIP's finer tricks, and names that promise another format."""

from __future__ import annotations

import gzip
import io
import struct
import sys
import tarfile
import zipfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.supply.content import scan_content
from assay.supply.findings import Report

EVIL = b"cos\nsystem\n(Vid\ntR."


def rules(answer: dict[str, Any]) -> set[str]:
    return {finding["rule"] for finding in answer["findings"]}


def tar(*members: tuple[str, bytes] | tarfile.TarInfo, format_: int = tarfile.PAX_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format_) as made:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                made.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                made.addfile(info, io.BytesIO(member[1]))
    return stream.getvalue()


def info(name: str, kind: bytes, link: str = "", **pax: str) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.pax_headers = kind, link, pax
    return made


FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


@pytest.mark.parametrize("format_", FORMATS)
def test_the_members_of_a_tar_are_scanned_where_they_lie(scanned: Any, format_: int) -> None:
    long = "d" * 90 + "/" + "n" * 60 + ".json"
    data = tar(("a.json", b"{}"), (long, b"[1]"), info("d", tarfile.DIRTYPE), format_=format_)
    answer = scanned(data)
    assert (answer["format"], answer["verdict"]) == ("tar", "clean"), answer
    assert scanned(gzip.compress(data), "model.tar.gz")["clean"]
    answer = scanned(tar(("a.json", b"{}"), ("weights", EVIL), format_=format_))
    assert answer["verdict"] == "malicious"
    assert answer["findings"][0]["where"] == "!weights+0"


@pytest.mark.parametrize("name", ["../a.json", "/a.json", "x/../../a.json", "C:/a", "~/a.json"])
def test_a_member_of_a_tar_that_would_leave_the_folder_is_malicious(
    scanned: Any, name: str
) -> None:
    answer = scanned(tar((name, b"{}")))
    assert answer["verdict"] == "malicious"
    assert "tar.path" in rules(answer)


@pytest.mark.parametrize(
    ("member", "rule", "verdict"),
    [
        (info("l", tarfile.SYMTYPE, "a.json"), "tar.link", "suspicious"),
        (info("l", tarfile.SYMTYPE, "/etc/passwd"), "tar.link", "malicious"),
        (info("l", tarfile.LNKTYPE, "../../a"), "tar.link", "malicious"),
        (info("d", tarfile.CHRTYPE), "tar.special", "malicious"),
        (info("d", tarfile.BLKTYPE), "tar.special", "malicious"),
        (info("d", tarfile.FIFOTYPE), "tar.special", "malicious"),
        (info("s", tarfile.GNUTYPE_SPARSE), "tar.kind", "unscannable"),
        (info("m", b"M"), "tar.kind", "unscannable"),
        (info("a", tarfile.REGTYPE, **{"GNU.sparse.major": "1"}), "tar.header", "unscannable"),
        (info("a", tarfile.REGTYPE, hdrcharset="BINARY"), "tar.header", "unscannable"),
        (info("a", tarfile.REGTYPE, size="512"), "tar.header", "unscannable"),
    ],
)
def test_what_a_tar_may_not_hold(
    scanned: Any, member: tarfile.TarInfo, rule: str, verdict: str
) -> None:
    answer = scanned(tar(("a.json", b"{}"), member))
    assert rule in rules(answer), answer
    assert answer["verdict"] == verdict


def test_two_members_of_a_tar_with_one_name_are_refused(scanned: Any) -> None:
    assert scanned(tar(("a", b"{}"), ("./a", b"{}")))["verdict"] == "unscannable"
    answer = scanned(tar(("a.json", b"{}"), ("A.json", b"{}")))
    assert (rules(answer), answer["verdict"]) == ({"tar.duplicate"}, "suspicious")


def test_a_tar_ends_with_zeros_and_at_its_end(scanned: Any) -> None:
    data = tar(("a.json", b"{}"))
    assert "tar.trailing" in rules(scanned(data + b"x" * 512))
    assert "tar.truncated" in rules(scanned(data[:1024]))
    assert "tar.truncated" in rules(scanned(data[:700]))
    assert "tar.padding" in rules(scanned(data[:600] + b"x" + data[601:]))


def test_a_tar_within_a_tar_is_opened_and_not_for_ever(scanned: Any) -> None:
    data = tar(("x", EVIL))
    assert scanned(tar(("inner.tar", data)))["verdict"] == "malicious"
    for _ in range(8):
        data = tar(("inner.tar", data))
    assert "nested" in rules(scanned(data))


HEADS = {"lz4": b"\x04\x22\x4d\x18", "zstd": b"\x28\xb5\x2f\xfd"}


def squeeze(kind: str, data: bytes) -> bytes:
    if kind == "lz4":
        return bytes(pytest.importorskip("lz4.frame").compress(data))
    return bytes(pytest.importorskip("backports.zstd").compress(data))


@pytest.mark.parametrize("kind", ["lz4", "zstd"])
def test_frames_of_lz4_and_zstd_are_inflated(
    monkeypatch: pytest.MonkeyPatch, scanned: Any, kind: str
) -> None:
    plain = b"\x80\x04N."
    assert scanned(squeeze(kind, plain))["clean"]
    assert scanned(squeeze(kind, EVIL))["verdict"] == "malicious"
    assert not scanned(squeeze(kind, plain) + b"x")["clean"]
    assert not scanned(squeeze(kind, plain) + squeeze(kind, EVIL))["clean"]
    assert not scanned(squeeze(kind, plain)[:-1])["clean"]
    monkeypatch.setattr("assay.supply.findings.INFLATE_BYTES", 1 << 16)
    assert not scanned(squeeze(kind, b"[" + b" " * (1 << 20) + b"]"))["clean"]
    for library in ("lz4.frame", "backports.zstd", "compression.zstd"):
        monkeypatch.setitem(sys.modules, library, None)
    assert "without its library" in scanned(HEADS[kind] + b"\0" * 20)["findings"][0]["what"]


# ZIP.


def archive(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as made:
        for name, data in members:
            made.writestr(name, data)
    return stream.getvalue()


@pytest.mark.parametrize("other", ["A.JSON", "a.json\0x", "ä.json"])
def test_names_that_some_readers_take_for_one_are_refused(scanned: Any, other: str) -> None:
    first = "Ä.json" if other == "ä.json" else "a.json"
    data = archive((first, b"{}"), (other.replace("\0", "!"), b"{}"))
    data = data.replace(other.replace("\0", "!").encode(), other.encode())
    assert "zip.duplicate" in rules(scanned(data))


def test_another_name_in_an_extra_field_is_refused(scanned: Any) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        entry = zipfile.ZipInfo("a.json")
        entry.extra = struct.pack("<2HBI", 0x7075, 11, 1, 0) + b"b.json"
        made.writestr(entry, b"{}")
    assert "zip.directory" in rules(scanned(stream.getvalue()))


def test_sizes_that_are_given_twice_are_refused(scanned: Any) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        entry = zipfile.ZipInfo("a.json")
        entry.extra = struct.pack("<2HQ", 1, 8, 2) * 2
        made.writestr(entry, b"{}")
    assert "zip.directory" in rules(scanned(stream.getvalue()))


def test_a_bomb_is_refused_by_what_it_claims(monkeypatch: pytest.MonkeyPatch, scanned: Any) -> None:
    monkeypatch.setattr("assay.supply.archives._RATIO_FROM", 1 << 20)
    data = archive(("a.json", b" " * (4 << 20) + b"{}"), method=zipfile.ZIP_DEFLATED)
    assert "zip.bomb" in rules(scanned(data))


# Names.


@pytest.mark.parametrize(
    ("name", "data", "fits"),
    [
        ("model.safetensors", b"\x80\x04N.", False),
        ("model.onnx", archive(("a.json", b"{}")), False),
        ("model.bin", b"\x80\x04N.", True),
        ("model.pt", b"\x80\x04N.", True),
        ("model.ckpt", b"\x80\x04N.", True),
        ("model.joblib", b"\x80\x04N.", True),
        ("model.npy", b"\x80\x04N.", False),
        ("config.json", b"\x80\x04N.", False),
        ("README.md", b"\x80\x04N.", False),
        ("config.json", b"{}", True),
        ("a.safetensors.gz", gzip.compress(b"\x80\x04N.", mtime=0), False),
    ],
)
def test_a_name_that_promises_another_format_is_suspicious(
    scanned: Any, name: str, data: bytes, fits: bool
) -> None:
    answer = scanned(data, name)
    assert ("extension" not in rules(answer)) is fits, answer
    assert answer["clean"] is fits


@pytest.mark.parametrize("magic", [b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07\x01\0", b"\x7fELF", b"MZ"])
def test_what_is_not_read_says_what_it_is(scanned: Any, magic: bytes) -> None:
    answer = scanned(magic + b"\0" * 100)
    assert answer["verdict"] == "unscannable"
    assert "which is not read" in answer["findings"][0]["what"]


BASES = [
    tar(("a.json", b"{}"), ("d" * 60 + "/" + "n" * 70, b"[1]"), format_=format_)
    for format_ in FORMATS
] + [archive(("a.json", b"{}"), ("b.json", b"[" + b" " * 99 + b"]"), method=zipfile.ZIP_DEFLATED)]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(BASES), st.data())
def test_altered_archives_never_raise(base: bytes, data: st.DataObject) -> None:
    raw = bytearray(base)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, min(len(raw) - 1, 2600)))
        raw[at] = data.draw(st.integers(0, 255))
    report = Report()
    scan_content(bytes(raw), 0, len(raw), "", "model", report)
    assert not [told for told in report.findings if "a reader failed" in told["what"]]


def test_a_reader_that_fails_leaves_a_file_that_is_not_clean(
    monkeypatch: pytest.MonkeyPatch, scanned: Any
) -> None:
    monkeypatch.setattr("assay.supply.readers.jsons.read", lambda _: {}["missing"])
    answer = scanned(archive(("a.json", b"{}"), ("b", EVIL)))
    assert answer["verdict"] == "malicious"
    assert {"file.unreadable", "pickle.global"} <= rules(answer)
