"""What lies in a model's folder beside the model: text, settings, pictures, tables."""

from __future__ import annotations

from assay.supply.readers import (
    bundles,
    flats,
    ggufs,
    hdf5,
    onnxes,
    pictures,
    pieces,
    saved_models,
    settings,
    sources,
    tables,
    templates,
)
from assay.supply.readers.part import Part

_UNREAD = (
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x7fELF", "native code (ELF)"),
    (b"MZ", "native code (Windows)"),
    (b"\xcf\xfa\xed\xfe", "native code (macOS)"),
    (b"\xca\xfe\xba\xbe", "native code or a Java class"),
    (b"\0asm", "WebAssembly"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"MSCF", "a CAB archive"),
    (b"!<arch>\n", "an archive of native code"),
    (b"%PDF", "a PDF document"),
    (b"\xd0\xcf\x11\xe0", "an OLE document"),
    (b"#!", "a script"),
)


def read_by_magic(part: Part, head: bytes) -> str | None:
    """The format of what says so in its first bytes; None where no reader here knows them."""
    if head.startswith(ggufs.MAGIC):
        return ggufs.read(part)
    if head.startswith(hdf5.MAGIC):
        return hdf5.read(part)
    if head.startswith(b"CBM1"):
        return flats.read_catboost(part)
    if head[4:8] == b"TFL3":
        return flats.read_tflite(part)
    return tables.read(part, head) or pictures.read(part, head)


def read(part: Part, head: bytes) -> str:
    """The format of what is known by its name, or by its structure, or not at all."""
    if sources.NAMES.fullmatch(part.name):
        return sources.read(part)
    if settings.TEMPLATES.fullmatch(part.name):
        templates.check(part, part.text(1 << 20, "template"))
        return "template"
    if kind := settings.read(part, head):
        return kind
    if onnxes.looks_like_onnx(part):
        return onnxes.read(part)
    if saved_models.looks_like_saved_model(part):
        return saved_models.read(part)
    if kind := saved_models.read_beside(part):
        return kind
    if bundles.looks_like_index(part):
        return bundles.read_index(part)
    if bundles.DATA.fullmatch(part.name):
        return "checkpoint-data"  # Numbers without any structure; they were read as a pickle too.
    if pieces.looks_like_pieces(part):
        return pieces.read(part)
    for magic, what in _UNREAD:
        if head.startswith(magic):
            part.find("format", "unscannable", f"{what}, which is not read")
            return "unknown"
    part.find("format", "unscannable", "no known format")
    return "unknown"
