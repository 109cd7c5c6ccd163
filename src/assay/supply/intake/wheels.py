"""A wheel's files, each compared with the wheel's own record: read in a confined process.

Source: https://packaging.python.org/en/latest/specifications/binary-distribution-format/.  Nothing
is installed, imported or unpacked to disk by whoever reads the archive: the answer is bytes.
"""

from __future__ import annotations

import base64
import csv
import email.message
import email.parser
import hashlib
import io
import re
import zipfile
import zlib
from pathlib import Path

import msgspec

from assay.errors import Usage, Verification
from assay.isolation.limits import GIB, Limits
from assay.isolation.run import run

_LIMITS = Limits(memory_bytes=4 * GIB, cpu_seconds=120, wall_seconds=300, answer_bytes=GIB)
_ENTRIES = 100_000
_DOCUMENT = 32 << 20
_SUGGESTED = 12
_CODE = (".py", ".pyc", ".pyi", ".so", ".pyd", ".txt", ".md", ".json")


class Ask(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which file, or which folder, of which wheel."""

    wheel: str
    path: str


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a wheel, its content, and the SHA-256 that the wheel's RECORD gives it."""

    path: str
    content: bytes
    recorded: str


class Read(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was asked for, and what the metadata says of name, version and licence."""

    members: list[Member]
    heads: dict[str, list[str]]
    project: str
    version: str


def read(wheel: Path, path: str) -> Read:
    """A file or a folder of a wheel, by a confined process; what it says is compared by others.

    Raises `Usage` naming what the wheel holds, and `Verification` for one that contradicts itself.
    """
    ask = msgspec.msgpack.encode(Ask(str(wheel.resolve()), path))
    target = "assay.supply.intake.wheels:read_confined"
    outcome = run(target, ask, inputs=[wheel.resolve()], limits=_LIMITS)
    return msgspec.msgpack.decode(outcome.value, type=Read)


def read_confined(payload: bytes) -> bytes:
    """`read` as `assay.isolation.run` calls it."""
    ask = msgspec.msgpack.decode(payload, type=Ask)
    try:
        with zipfile.ZipFile(ask.wheel) as archive:
            return msgspec.msgpack.encode(_read(archive, ask.path))
    except (zipfile.BadZipFile, zlib.error, OSError, NotImplementedError, EOFError) as error:
        raise _damaged(f"it cannot be read ({type(error).__name__})") from error


def _read(archive: zipfile.ZipFile, path: str) -> Read:
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if len(names) > _ENTRIES or len(set(names)) != len(names):
        raise _damaged("it holds too many files, or two of one name")
    tops = {name.partition("/")[0] for name in names}
    info = [name for name in tops if name.endswith(".dist-info")]
    if len(info) != 1:
        raise _damaged("it has not exactly one .dist-info")
    recorded = _record(_document(archive, f"{info[0]}/RECORD"))
    told = email.parser.BytesParser().parsebytes(
        _document(archive, f"{info[0]}/METADATA"), headersonly=True
    )
    files = {entry.filename: entry for entry in entries if not entry.is_dir()}
    below = f"{path}/"
    wanted = [path] if path in files else sorted(name for name in files if name.startswith(below))
    if not path or not wanted:
        raise _nothing(path, files)
    room = _LIMITS.answer_bytes - (1 << 20)
    members: list[Member] = []
    for name in wanted:
        room -= files[name].file_size
        if room < 0:
            raise Usage(
                "the wheel: what was asked for is larger than a gigabyte",
                remedy="name a single file in it",
                code="intake.size",
            )
        if name not in recorded:
            raise _damaged(f"{name[:100]!a} is not in its RECORD")
        with archive.open(files[name]) as stream:
            content = stream.read(files[name].file_size + 1)
        found = hashlib.sha256(content).hexdigest()
        if found != recorded[name]:
            raise _damaged(f"{name[:100]!a} is not what its RECORD says")
        members.append(Member(name.removeprefix(below) if name != path else name, content, found))
    return Read(members, _heads(told), str(told.get("Name", "")), str(told.get("Version", "")))


def _document(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        with archive.open(name) as stream:
            content = stream.read(_DOCUMENT + 1)
    except KeyError:
        raise _damaged(f"it has no {name[:100]!a}") from None
    if len(content) > _DOCUMENT:
        raise _damaged(f"its {name[:100]!a} is too long")
    return content


def _record(raw: bytes) -> dict[str, str]:
    """Path → SHA-256 in hexadecimal, for every file that has one."""
    found: dict[str, str] = {}
    try:
        for row in csv.reader(io.StringIO(raw.decode("utf-8"), newline="")):
            if len(row) != 3 or row[0] in found:
                raise _damaged("its RECORD cannot be read, or names a file twice")
            kind, _, value = row[1].partition("=")
            if kind == "sha256":
                found[row[0]] = base64.urlsafe_b64decode(f"{value}=").hex()
    except (ValueError, csv.Error) as error:  # Of UTF-8, of base64, and of what is no ASCII in it.
        raise _damaged("its RECORD cannot be read") from error
    return found


def _heads(told: email.message.Message[str, str]) -> dict[str, list[str]]:
    """The headers that declare a licence, in lower case."""
    found: dict[str, list[str]] = {}
    for name in ("license-expression", "license", "classifier"):
        found[name] = [str(value)[:1000] for value in told.get_all(name, [])[:100]]
    return found


def _nothing(path: str, files: dict[str, zipfile.ZipInfo]) -> Usage:
    models = [
        e for n, e in files.items() if not n.lower().endswith(_CODE) and ".dist-info/" not in n
    ]
    models.sort(key=lambda entry: -entry.file_size)
    shown = ", ".join(re.sub(r"[^\x20-\x7e]", "?", e.filename[:100]) for e in models[:_SUGGESTED])
    return Usage(
        f"the wheel: it holds no {path[:100]!a}" if path else "the wheel: no file in it is named",
        remedy=f"add #PATH, one of: {shown}" if shown else "it holds no file that may be a model",
        code="intake.member",
    )


def _damaged(why: str) -> Verification:
    return Verification(
        f"the wheel: {why}", remedy="do not use it; ask who made it", code="intake.wheel"
    )
