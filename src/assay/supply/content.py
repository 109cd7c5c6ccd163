"""What is in a stretch of bytes, and what reading it would do: the choice of reader."""

from __future__ import annotations

import contextlib
import io
import re

from assay.errors import Usage
from assay.formats.compressed import compression, inflate
from assay.formats.detect import detect_stream
from assay.formats.tensors import looks_like_safetensors, read_header
from assay.supply import texts
from assay.supply.archives import Member, check_stored, content, members
from assay.supply.arrays import MAGIC, read_npy_header
from assay.supply.findings import MOST_DEPTH, Broken, Report
from assay.supply.machine import Buffer
from assay.supply.pickles import Walk
from assay.supply.stand_ins import Torch

_IDENTIFIER = re.compile(r"[A-Za-z_][\w.]{0,200} [A-Za-z_][\w.]{0,200}", re.ASCII)
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C
_TORCH_LEGACY = 5
"""Pickles at the start of a file of PyTorch before 1.6; the raw storages follow."""
_TORCH_TEXTS = frozenset({"version", "byteorder", ".format_version", ".storage_alignment"})
_ELEMENTS = {
    **dict.fromkeys(("ByteStorage", "CharStorage", "BoolStorage", "UntypedStorage"), 1),
    **dict.fromkeys(("HalfStorage", "BFloat16Storage", "ShortStorage"), 2),
    **dict.fromkeys(("FloatStorage", "IntStorage"), 4),
    **dict.fromkeys(("DoubleStorage", "LongStorage", "ComplexFloatStorage"), 8),
    "ComplexDoubleStorage": 16,
}


def scan_content(
    buffer: Buffer, start: int, end: int, where: str, name: str, report: Report, depth: int = 0
) -> str:
    """The format of ``buffer[start:end]``; what is wrong with it goes into the report.

    `name` is the file's name, which only tells documentation from unknown files.
    """
    if depth > MOST_DEPTH:
        report.add("nested", "unscannable", where, 0, "archives are nested too deep")
        return "unknown"
    try:
        kind = _read(buffer, start, end, where, name, report, depth)
    except Broken as error:
        report.broken(error, where, start)
        kind = "unknown"
    if kind not in ("pickle", "joblib", "torch-legacy"):
        _probe(buffer, start, end, where, report)
    if kind not in ("zip", "npz", "skops", "torch") and _ends_as_zip(buffer, start, end):
        what = "is a ZIP archive as well, with something before it"
        report.add("polyglot", "unscannable", where, 0, what)
        for member in members(buffer, start, end, where, report)[:1000]:
            _scan_member(buffer, member, where, report, depth, start)
    return kind


def _read(
    buffer: Buffer, start: int, end: int, where: str, name: str, report: Report, depth: int
) -> str:
    size = end - start
    head = buffer[start : min(end, start + 4096)]
    if not head:
        return "empty"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _scan_zip(buffer, start, end, where, report, depth)
    if head.startswith(MAGIC):
        return _scan_npy(buffer, start, end, where, report)
    if head[0] == 0x80:
        return _scan_pickles(buffer, start, end, where, report)
    if looks_like_safetensors(head, size):
        return _scan_safetensors(buffer, start, end, where, report)
    if compression(head) is not None and (
        kind := _scan_compressed(buffer, start, end, where, name, report, depth)
    ):
        return kind
    if head.startswith(b"tree\nversion=v"):
        texts.check_lightgbm(buffer[start:end], start)
        return "lightgbm-text"
    if head.startswith((b"{", b"[", b'"')) and (
        kind := _scan_json(buffer, start, end, where, report)
    ):
        return kind
    if _is_text_pickle(buffer, start, end, where):
        return _scan_pickles(buffer, start, end, where, report)
    if texts.is_plain_text(name, buffer[start : min(end, start + texts.JSON_LIMIT)]):
        return "text"
    if detect_stream(_stream(buffer, start, end), size).format == "onnx":
        return _scan_onnx(buffer[start:end], where, report)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        if re.search(rb'"class_name":\s*"Lambda"', buffer[start:end]):
            what = "a Lambda layer, whose configuration is code"
            report.add("keras.lambda", "malicious", where, 0, what)
        report.add("format", "unscannable", where, 0, "HDF5, which is not read")
        return "hdf5"
    report.add("format", "unscannable", where, 0, "no known format")
    return "unknown"


def _stream(buffer: Buffer, start: int, end: int) -> io.BytesIO:
    return io.BytesIO(buffer[start:end])


def _ends_as_zip(buffer: Buffer, start: int, end: int) -> bool:
    """Whether a reader that looks for a ZIP directory at the end, comment and all, finds one."""
    at = buffer.rfind(b"PK\x05\x06", max(start, end - 22 - 65535), end)
    if at < 0 or at + 22 > end:
        return False
    return at + 22 + int.from_bytes(buffer[at + 20 : at + 22], "little") <= end


def _is_text_pickle(buffer: Buffer, start: int, end: int, where: str) -> bool:
    """Whether something without the mark of a binary pickle is one, or reaches names as one."""
    scratch = Report()
    walk = Walk(buffer, start, end, where, scratch)
    try:
        return walk.walk() == end or _reaches(scratch)
    except Broken:
        return _reaches(scratch)


def _reaches(scratch: Report) -> bool:
    return any(_IDENTIFIER.fullmatch(found) for found in scratch.globals)


def _probe(buffer: Buffer, start: int, end: int, where: str, report: Report) -> None:
    """Read something else as a pickle, as a loader that was told so would."""
    scratch = Report()
    with contextlib.suppress(Broken):
        Walk(buffer, start, end, where, scratch, joblib=False).walk()
    if scratch.count and _reaches(scratch):
        report.merge(scratch)


def _scan_pickles(buffer: Buffer, start: int, end: int, where: str, report: Report) -> str:
    """One pickle or several in a row, to the last byte."""
    position, count = start, 0
    kind = "pickle"
    torch: Torch | None = None
    while position < end:
        walk = Walk(
            buffer, position, end, where, report, base=start, joblib=torch is None, torch=torch
        )
        try:
            position = walk.walk()
        except Broken as error:
            report.broken(error, where, start)
            break
        count += 1
        if walk.arrays:
            kind = "joblib"
        if walk.unpadded:
            _probe(buffer, start, end, where, report)
        if count == 1 and walk.result == _TORCH_MAGIC:
            torch, kind = Torch(_ELEMENTS), "torch-legacy"
        if torch is not None and count == _TORCH_LEGACY:
            expected = sum(8 + size for size in torch.storages.values())
            if position + expected != end:
                what = "the storages do not fill the rest of the file"
                report.add("torch.storage", "unscannable", where, position - start, what)
            break
    if torch is not None and count != _TORCH_LEGACY:
        what = "a PyTorch file without its five pickles"
        report.add("torch.legacy", "unscannable", where, position - start, what)
    return kind


def _scan_npy(buffer: Buffer, start: int, end: int, where: str, report: Report) -> str:
    first, size = read_npy_header(buffer, start, end)
    if size is None:
        _scan_pickles(buffer, first, end, where, report)
    elif size != end - first:
        what = f"the array has {end - first} bytes, not {size}"
        report.add("npy.size", "unscannable", where, first - start, what)
    return "npy"


def _scan_safetensors(buffer: Buffer, start: int, end: int, where: str, report: Report) -> str:
    length = int.from_bytes(buffer[start : start + 8], "little")
    try:
        read_header(_stream(buffer, start, start + 8 + length), end - start)
    except Usage as error:
        report.add("safetensors", "unscannable", where, 0, error.message)
    return "safetensors"


def _scan_compressed(
    buffer: Buffer, start: int, end: int, where: str, name: str, report: Report, depth: int
) -> str | None:
    kind = compression(buffer[start : start + 8])
    if kind == "zlib" and _is_text(buffer[start : start + 64]):
        return None
    try:
        inner = inflate(memoryview(buffer)[start:end], limit=report.room)
    except Usage as error:
        report.add("compressed", "unscannable", where, 0, error.message)
        try:
            inner = inflate(
                memoryview(buffer)[start:end], limit=min(report.room, 64 << 20), partial=True
            )
        except Usage:
            return str(kind)
    report.inflated += len(inner)
    return scan_content(inner, 0, len(inner), f"{where}!{kind}", name, report, depth + 1)


def _is_text(head: bytes) -> bool:
    return all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head)


def _scan_json(buffer: Buffer, start: int, end: int, where: str, report: Report) -> str | None:
    head = buffer[start : start + 64]
    if head[:1] == b"{" and head[1:2] in b"iUIlL" and b"\0" in head:
        if texts.Ubjson(buffer, start, end).cross() != end:
            report.add("ubjson", "unscannable", where, 0, "there are bytes behind the UBJSON")
        return "xgboost-ubj"
    value = texts.read_json(buffer[start:end], start)
    texts.check_json(value, where, report)
    if isinstance(value, dict) and set(value) == {"learner", "version"}:
        return "xgboost-json"
    return "json"


def _scan_onnx(data: bytes, where: str, report: Report) -> str:
    from assay.formats.onnx_io import inspect, violations

    try:
        for broken, rule, code in violations(inspect(data)):
            report.add(code, "suspicious", where, 0, f"the model {broken}, {rule}")
    except Usage as error:
        report.add("onnx", "unscannable", where, 0, error.message)
    except Exception as error:  # A native parser: whatever it raises, the file is not read.
        report.add("onnx", "unscannable", where, 0, f"cannot be read ({type(error).__name__})")
    return "onnx"


def _scan_zip(buffer: Buffer, start: int, end: int, where: str, report: Report, depth: int) -> str:
    found = members(buffer, start, end, where, report)
    names = {member.name for member in found}
    roots = {
        name.removesuffix("data.pkl") for name in names if name.rpartition("/")[2] == "data.pkl"
    }
    if len(roots) == 1 and (root := roots.pop()) + "version" in names:
        _scan_torch(buffer, found, root, where, report, depth, start)
        return "torch"
    for member in found:
        _scan_member(buffer, member, where, report, depth, start)
    if "schema.json" in names:
        return "skops"
    return "npz" if names and all(name.endswith(".npy") for name in names) else "zip"


def _scan_member(
    buffer: Buffer, member: Member, where: str, report: Report, depth: int, base: int
) -> None:
    inside = f"{where}!{member.name}"
    opened = _open(buffer, member, inside, report, base)
    if opened is None:
        return
    inner, first, last = opened
    if member.name.endswith("/") and first == last:
        return
    if member.name == "schema.json":
        try:
            texts.check_skops(texts.read_json(inner[first:last], first), inside, report)
        except Broken as error:
            report.broken(error, inside, first)
    name = member.name.rpartition("/")[2]
    scan_content(inner, first, last, inside, name, report, depth + 1)


def _open(
    buffer: Buffer, member: Member, inside: str, report: Report, base: int
) -> tuple[Buffer, int, int] | None:
    """Where a member's bytes lie: in the archive itself when they are stored as they are."""
    if member.method == 0:
        check_stored(buffer, member, inside, report, base)
        return buffer, member.first, member.first + member.packed
    data = content(buffer, member, inside, report, base)
    return None if data is None else (data, 0, len(data))


def _scan_torch(
    buffer: Buffer,
    found: list[Member],
    root: str,
    where: str,
    report: Report,
    depth: int,
    base: int,
) -> None:
    """PyTorch's archive: one pickle, the storages it names, and a few words about them."""
    torch = Torch(_ELEMENTS)
    for member in sorted(found, key=lambda member: member.name != f"{root}data.pkl"):
        inside = f"{where}!{member.name}"
        short = member.name.removeprefix(root)
        if short == "data.pkl":
            opened = _open(buffer, member, inside, report, base)
            if opened is not None:
                inner, first, last = opened
                walk = Walk(inner, first, last, inside, report, joblib=False, torch=torch)
                try:
                    if walk.walk() != last:
                        what = "there are bytes behind the pickle"
                        report.add("pickle.trailing", "unscannable", inside, walk.position, what)
                except Broken as error:
                    report.broken(error, inside, first)
        elif short.startswith("data/") and short[5:] in torch.storages:
            opened = _open(buffer, member, inside, report, base)
            if opened is not None:
                inner, first, last = opened
                _probe(inner, first, last, inside, report)
                if last - first != torch.storages.pop(short[5:]):
                    what = "the storage has another size than the pickle says"
                    report.add("torch.storage", "unscannable", inside, 0, what)
        elif short in _TORCH_TEXTS or short == ".data/serialization_id":
            opened = _open(buffer, member, inside, report, base)
            if opened is not None:
                inner, first, last = opened
                if last - first > 64 or not _is_text(inner[first:last]):
                    report.add("torch.member", "suspicious", inside, 0, "is not a short text")
        else:
            _scan_member(buffer, member, where, report, depth, base)
    for key in sorted(torch.storages)[:10]:
        report.add("torch.storage", "unscannable", where, 0, f"the storage {key!r} is missing")
