"""A ledger's public files as a folder, for any static web server.

Every file is verified up to the checkpoint's signed root while it is copied; the checkpoint is
written last, so that whoever reads the folder meanwhile finds all that the checkpoint needs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from assay import files
from assay.errors import AssayError, Conflict, Corrupt
from assay.evidence import merkle, tiles
from assay.evidence.cosignatures import VerifierKey, check_log, read_note
from assay.evidence.merkle import WIDTH
from assay.evidence.notes import LIMIT
from assay.evidence.tiles import Tree
from assay.supply.transparency.tiles import PublicFiles


class Published(msgspec.Struct, frozen=True):
    """What an export wrote."""

    size: int
    written: int
    kept: int


def needed(size: int) -> Iterator[tuple[int | str, int, int]]:
    """Every tile and entry bundle of a tree of `size` leaves: level, index, width."""
    for level in range(merkle.tile_levels(size)):
        hashes = size >> (8 * level)
        for index in range(-(-hashes // WIDTH)):
            width = min(WIDTH, hashes - index * WIDTH)
            yield level, index, width
            if level == 0:
                yield "entries", index, width


def publish(source: PublicFiles, log: VerifierKey, folder: Path, *, witnessed: bool) -> Published:
    """Bring `folder` up to the ledger's checkpoint; raises `Conflict` where it holds another."""
    note = source.checkpoint(witnessed=witnessed)
    head = read_note(note)
    _check_older(folder, log, head.size)
    tree = _tree(source, head.size, head.root)
    written = kept = 0
    for level, index, width in needed(head.size):
        path = folder / tiles.tile_path(level, index, width)
        data = _verified(source, tree, level, index, width)
        if path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data:
            kept += 1
            continue
        _write(path, data)
        written += 1
    _write(folder / "checkpoint", note)
    return Published(head.size, written, kept)


class _Source(Tree):
    """The authenticated tree of a checkpoint, read as whoever asks for its files gets them."""

    def __init__(self, source: PublicFiles, frontier: merkle.Frontier) -> None:
        super().__init__(Path(), frontier)
        self._source = source

    def _read(self, level: int, index: int, width: int) -> bytes:
        return _present(self._source, level, index, width)


def _present(source: PublicFiles, level: int | str, index: int, width: int) -> bytes:
    data = source.tile(str(level), index, width)
    if data is None:
        raise Corrupt(
            f"ledger: {tiles.tile_path(level, index, width)} is missing or of a wrong length",
            remedy=tiles.REMEDY,
            code="tile",
        )
    return data


def _tree(source: PublicFiles, size: int, root: bytes) -> Tree:
    levels: list[list[bytes]] = []
    for level in range(merkle.tile_levels(size)):
        width, index = (size >> (8 * level)) % WIDTH, size >> (8 * (level + 1))
        levels.append(tiles.split(_present(source, level, index, width)) if width else [])
    frontier = merkle.Frontier(size, levels)
    if frontier.root() != root:
        raise Corrupt(
            "ledger: its tiles do not hash to its checkpoint", remedy=tiles.REMEDY, code="tile"
        )
    return _Source(source, frontier)


def _verified(source: PublicFiles, tree: Tree, level: int | str, index: int, width: int) -> bytes:
    if not isinstance(level, str):
        return b"".join(tree.tile(level, index)[:width])
    data = _present(source, level, index, width)
    path = tiles.tile_path(level, index, width)
    if tiles.leaf_hashes(tiles.bundle_commitments(data, path)) != tree.tile(0, index)[:width]:
        raise Corrupt(f"ledger: {path} is altered", remedy=tiles.REMEDY, code="tile")
    return data


def _check_older(folder: Path, log: VerifierKey, size: int) -> None:
    """Raise unless `folder` is new, or holds an earlier export of this log."""
    path = folder / "checkpoint"
    if not path.exists():
        if folder.exists() and any(folder.iterdir()):
            raise Conflict(
                f"{folder} holds other files",
                remedy="name a new folder, or one that an earlier export made",
                code="ledger.export",
            )
        return
    try:
        held = read_note(files.read(path, limit=LIMIT, what="checkpoint"))
        check_log(held, log)
    except AssayError as error:
        raise Conflict(
            f"{folder} holds a checkpoint that is not of this ledger: {error.message}",
            remedy="name a new folder",
            code="ledger.export",
        ) from error
    if held.size > size:
        raise Conflict(
            f"{folder} holds a checkpoint of {held.size} leaves, newer than {size}",
            remedy="export the newest copy of the ledger; if this is it, it was rolled back",
            code="ledger.export",
        )


def _write(path: Path, data: bytes) -> None:
    """A file, readable by the web server, as are the folders that were made for it."""
    files.make_folder(path.parent, 0o755)
    files.write(path, data, mode=0o644)
    os.chmod(path, 0o644)  # noqa: PTH101 - whatever the umask says.
