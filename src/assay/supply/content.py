"""What is in a stretch of bytes, and what reading it would do: the choice of reader.

The choice goes by content.  The name decides two things only: which text is documentation, and
whether a loader that goes by the suffix would take the file for something else.
"""

from __future__ import annotations

from dataclasses import replace

from assay.formats.tensors import looks_like_safetensors
from assay.supply import texts
from assay.supply.arrays import MAGIC
from assay.supply.findings import MOST_DEPTH, Broken, Report
from assay.supply.machine import Buffer
from assay.supply.readers import (
    hdf5,
    jsons,
    pickled,
    plain,
    settings,
    sources,
    squeezed,
    suffixes,
    tars,
    tensors,
    zips,
)
from assay.supply.readers.part import Part

_HEAD = 4096
_PICKLES = frozenset({"pickle", "joblib", "torch-legacy"})


def scan_content(
    buffer: Buffer, start: int, end: int, where: str, name: str, report: Report, depth: int = 0
) -> str:
    """The format of ``buffer[start:end]``; what is wrong with it goes into the report.

    `name` is the file's name, `where` its path in a folder or archive, empty for a file alone.
    """
    part = Part.whole(buffer, start, end, where, name, report, scan_part)
    return scan_part(replace(part, depth=depth))


def scan_part(part: Part) -> str:
    """The format of a part; what is wrong with it goes into its report."""
    if part.depth > MOST_DEPTH:
        part.find("nested", "unscannable", "archives are nested too deep")
        return "unknown"
    try:
        part.budget.spend(part.size, part.start)
    except Broken as error:
        part.report.broken(error, part.where, part.start)
        return "unknown"
    kind = "unknown"
    try:
        kind = _read(part)
    except Broken as error:
        part.report.broken(error, part.where, part.start)
    except Exception as error:  # A reader's mistake must not end the scan, nor pass for clean.
        part.find("file.unreadable", "unscannable", f"a reader failed ({type(error).__name__})")
    if kind not in _PICKLES:
        pickled.probe(part.buffer, part.start, part.end, part.where, part.report, part.name)
    if kind not in zips.KINDS and kind != "tar":
        zips.scan_hidden(part)
        _check_polyglot(part, kind)
    suffixes.check(part, kind)
    return kind


def _check_polyglot(part: Part, kind: str) -> None:
    """Report what a reader that looks elsewhere than at the first bytes would take for its own.

    PyTorch tries every file as a tar archive first; HDF5 is looked for behind 512 bytes and their
    doubles.
    """
    if tars.looks_like_tar_to_any(part.head(512)):
        part.find("polyglot", "unscannable", "is a tar archive as well")
    place = 512
    while kind != "hdf5" and place + 8 <= part.size:
        if part.buffer[part.start + place : part.start + place + 8] == hdf5.MAGIC:
            part.find("polyglot", "unscannable", "is an HDF5 file as well", part.start + place)
        place *= 2


def _read(part: Part) -> str:
    head = part.head(_HEAD)
    if not head:
        return "empty"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return zips.read(part)
    if head.startswith(MAGIC):
        return pickled.read_npy(part)
    if head[0] == 0x80:
        return pickled.read(part)
    if looks_like_safetensors(head, part.size):
        return tensors.read(part)
    if kind := plain.read_by_magic(part, head):
        return kind
    if tars.looks_like_tar(head):
        return tars.read(part)
    if kind := squeezed.read(part, head):
        return kind
    if head.startswith(b"tree\nversion=v"):
        texts.check_lightgbm(part.buffer[part.start : part.end], part.start)
        return "lightgbm-text"
    if head.lstrip().startswith((b"{", b"[", b'"')) and (kind := _read_json(part)):
        return kind
    if pickled.is_text_pickle(part):
        return pickled.read(part)
    return plain.read(part, head)


def _read_json(part: Part) -> str | None:
    """JSON; None for text under a text's name that only begins like it, as vocabularies do."""
    try:
        return jsons.read(part)
    except Broken:
        if settings.is_document(part.name) or sources.NAMES.fullmatch(part.name):
            return None
        raise
