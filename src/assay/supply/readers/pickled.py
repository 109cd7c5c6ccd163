"""Pickles as files: one or several in a row, PyTorch's old form, and those inside ``.npy``.

Anything else is probed too: read as a pickle, as a loader that was told so would read it.
"""

from __future__ import annotations

import re
from dataclasses import replace

from assay.supply.arrays import read_npy_header
from assay.supply.findings import Broken, Report
from assay.supply.machine import Buffer
from assay.supply.pickles import Walk
from assay.supply.readers import settings
from assay.supply.readers.part import Part
from assay.supply.stand_ins import Torch

_IDENTIFIER = re.compile(r"[A-Za-z_][\w.]{0,200} [A-Za-z_][\w.]{0,200}", re.ASCII)
_IMPORTS = re.compile(rb"(?:c[^\n]*\n[^\n]*\n)*")
_LONGEST_LIST = 1 << 20
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C
_TORCH_LEGACY = 5
"""Pickles at the start of a file of PyTorch before 1.6; the raw storages follow."""
ELEMENTS = {
    **dict.fromkeys(("ByteStorage", "CharStorage", "BoolStorage", "UntypedStorage"), 1),
    **dict.fromkeys(("HalfStorage", "BFloat16Storage", "ShortStorage"), 2),
    **dict.fromkeys(("FloatStorage", "IntStorage"), 4),
    **dict.fromkeys(("DoubleStorage", "LongStorage", "ComplexFloatStorage"), 8),
    "ComplexDoubleStorage": 16,
}
"""Bytes of an element of each of PyTorch's kinds of storage."""


def is_text_pickle(part: Part) -> bool:
    """Whether something without the mark of a binary pickle is one, or calls names as one."""
    scratch = Report()
    walk = Walk(part.buffer, part.start, part.end, part.where, scratch)
    try:
        return walk.walk() == part.end or _reaches(scratch)
    except Broken as error:
        words = _only_names(part.buffer, part.start, error.position)
        return _reaches(scratch) and not (words and _is_prose(scratch, part.name))


def _is_prose(scratch: Report, name: str) -> bool:
    """Whether names that are imported and not called may be words: of text, or of no meaning."""
    return scratch.verdict != "malicious" or settings.is_document(name)


def _reaches(scratch: Report) -> bool:
    return any(_IDENTIFIER.fullmatch(found) for found in scratch.globals)


def _only_names(buffer: Buffer, start: int, position: int) -> bool:
    """Whether what was walked before `position` only imports, and so calls nothing.

    A list of words is that: ``cat`` and ``dog``, each on a line, import ``at.dog``.
    """
    walked = buffer[start : min(position, start + _LONGEST_LIST)]
    return position - start <= _LONGEST_LIST and _IMPORTS.fullmatch(walked) is not None


def probe(buffer: Buffer, start: int, end: int, where: str, report: Report, name: str = "") -> None:
    """Read something else as a pickle, as a loader that was told so would."""
    scratch = Report()
    try:
        Walk(buffer, start, end, where, scratch, joblib=False).walk()
    except Broken as error:
        if error.rule == "pickle.work":
            # A plain unpickler would go on, and what it comes to was not seen.
            report.broken(error, where, start)
        if _only_names(buffer, start, error.position) and _is_prose(scratch, name):
            return
    if scratch.count and _reaches(scratch):
        report.merge(scratch)


def read(part: Part) -> str:
    """One pickle or several in a row, to the last byte."""
    buffer, start, end, where, report = part.buffer, part.start, part.end, part.where, part.report
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
            probe(buffer, start, end, where, report)
        if count == 1 and walk.result == _TORCH_MAGIC:
            torch, kind = Torch(ELEMENTS, modules=True), "torch-legacy"
        if torch is not None and count == _TORCH_LEGACY:
            expected = sum(8 + size for size in torch.storages.values())
            if position + expected != end:
                what = "the storages do not fill the rest of the file"
                part.find("torch.storage", "unscannable", what, position)
            break
    if torch is not None and count != _TORCH_LEGACY:
        what = "a PyTorch file without its five pickles"
        part.find("torch.legacy", "unscannable", what, position)
    return kind


def read_npy(part: Part) -> str:
    """A ``.npy`` file: a header and numbers, or a pickle where the elements are objects."""
    first, size = read_npy_header(part.buffer, part.start, part.end)
    if size is None:
        read(replace(part, start=first))
    elif size != part.end - first:
        what = f"the array has {part.end - first} bytes, not {size}"
        part.find("npy.size", "unscannable", what, first)
    return "npy"
