"""What an archive of ZIP's kind is: PyTorch's, Keras's, skops's, NumPy's, or only a folder."""

from __future__ import annotations

from assay.supply import texts
from assay.supply.archives import Member, check_stored, content, members
from assay.supply.findings import Broken
from assay.supply.machine import Buffer
from assay.supply.readers import keras, torches
from assay.supply.readers.part import Part

KINDS = frozenset({"zip", "npz", "skops", "torch", "torchscript", "keras"})


def read(part: Part) -> str:
    """Scan every member; the format."""
    part.budget.follows(part.buffer, part.end - 22)
    found = members(part.buffer, part.start, part.end, part.where, part.report)
    names = {member.name for member in found}
    roots = {
        name.removesuffix("data.pkl") for name in names if name.rpartition("/")[2] == "data.pkl"
    }
    if len(roots) == 1 and (root := roots.pop()) + "version" in names:
        return torches.read(part, found, root, open_member, scan_member)
    for member in found:
        scan_member(part, member)
    if "schema.json" in names:
        return "skops"
    if "config.json" in names and "metadata.json" in names:
        for member in found:
            if member.name == "config.json" and (opened := open_member(part, member)):
                keras.check_archive(part, *opened)
        return "keras"
    return "npz" if names and all(name.endswith(".npy") for name in names) else "zip"


def scan_member(part: Part, member: Member) -> None:
    """Scan one member as a file of its own."""
    opened = open_member(part, member)
    if opened is None:
        return
    inner, first, last = opened
    if member.name.endswith("/") and first == last:
        return
    if member.name == "schema.json":
        inside = f"{part.where}!{member.name}"
        try:
            texts.check_skops(texts.read_json(inner[first:last], first), inside, part.report)
        except Broken as error:
            part.report.broken(error, inside, first)
    part.inside(inner, first, last, member.name)


def open_member(part: Part, member: Member) -> tuple[Buffer, int, int] | None:
    """Where a member's bytes lie: in the archive itself when they are stored as they are."""
    inside = f"{part.where}!{member.name}"
    if member.method == 0:
        check_stored(part.buffer, member, inside, part.report, part.start)
        return part.buffer, member.first, member.first + member.packed
    data = content(part.buffer, member, inside, part.report, part.start)
    if data is None:
        return None
    part.inflated(len(data))
    return data, 0, len(data)


def scan_hidden(part: Part) -> None:
    """An archive at the end of something else: its members, which another reader would see.

    A reader that looks for a directory from the end finds one there, comment and all.
    """
    at = part.buffer.rfind(b"PK\x05\x06", max(part.start, part.end - 22 - 65535), part.end)
    if at < 0 or at + 22 > part.end:
        return
    if at + 22 + int.from_bytes(part.buffer[at + 20 : at + 22], "little") > part.end:
        return
    part.find("polyglot", "unscannable", "is a ZIP archive as well, with something before it")
    if part.budget.follows(part.buffer, at):
        for member in members(part.buffer, part.start, part.end, part.where, part.report)[:1000]:
            scan_member(part, member)
