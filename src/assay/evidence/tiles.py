"""The ledger's public files: C2SP tlog-tiles, and the authenticated tree read from them.

Nothing a tile says is believed: `Tree` accepts the right edge only when it hashes to the signed
root, and a full tile only when it hashes to its place in the tile above.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from assay import files
from assay.errors import Corrupt, NotFound
from assay.evidence import merkle
from assay.evidence.merkle import WIDTH, Frontier

LEAF_PREFIX = b"assay/leaf/v1\n"
_ENTRY = len(LEAF_PREFIX) + 32
_ENTRY_HEAD = _ENTRY.to_bytes(2, "big") + LEAF_PREFIX
ENTRY_BYTES = 2 + _ENTRY
_CACHED_TILES = 1024

REMEDY = "run `assay recover`; if that fails, restore the file from a copy of the ledger"


def leaf_bytes(commitment: bytes) -> bytes:
    """A leaf as it stands in the tree: the format's name, then SHA-256(nonce ‖ envelope)."""
    return LEAF_PREFIX + commitment


def leaf_hashes(commitments: Iterable[bytes]) -> list[bytes]:
    """The Merkle leaf hash of each commitment."""
    head = b"\x00" + LEAF_PREFIX
    return [hashlib.sha256(head + commitment).digest() for commitment in commitments]


def tile_path(level: int | str, index: int, width: int = WIDTH) -> str:
    """The path of a tile (``level`` a number) or entry bundle (``"entries"``) in the ledger."""
    path = f"tile/{level}/{numbered(index)}"
    return path if width == WIDTH else f"{path}.p/{width}"


def numbered(index: int) -> str:
    """An index in three-digit path elements: 1234067 is ``x001/x234/067``."""
    path = f"{index % 1000:03}"
    while index >= 1000:
        index //= 1000
        path = f"x{index % 1000:03}/{path}"
    return path


def split(data: bytes, width: int = 32) -> list[bytes]:
    """`data` cut into pieces of `width` bytes."""
    return [data[at : at + width] for at in range(0, len(data), width)]


def read_tile(folder: Path, level: int | str, index: int, width: int) -> bytes:
    """The first `width` hashes (or entries) of a tile, from its partial or its full file.

    Raises `Corrupt` naming the file when both are missing, or its length is wrong.
    """
    each = ENTRY_BYTES if level == "entries" else 32
    for candidate in dict.fromkeys((width, WIDTH)):
        path = tile_path(level, index, candidate)
        try:
            data = files.read(folder / path, limit=WIDTH * each, what="ledger tile")
        except NotFound:
            continue
        except Corrupt as error:
            raise Corrupt(f"ledger: {path} is too long", remedy=REMEDY, code="tile") from error
        if len(data) != candidate * each:
            raise Corrupt(
                f"ledger: {path} has {len(data)} bytes, not {candidate * each}",
                remedy=REMEDY,
                code="tile",
            )
        return data[: width * each]
    path = tile_path(level, index, width)
    raise Corrupt(f"ledger: {path} is missing", remedy=REMEDY, code="tile")


def bundle_commitments(data: bytes, path: str) -> list[bytes]:
    """The commitments in an entry bundle; raises `Corrupt` naming `path` for other entries."""
    entries = split(data, ENTRY_BYTES)
    head = len(_ENTRY_HEAD)
    if any(len(entry) != ENTRY_BYTES or entry[:head] != _ENTRY_HEAD for entry in entries):
        raise Corrupt(f"ledger: {path} is not an entry bundle", remedy=REMEDY, code="tile")
    return [entry[head:] for entry in entries]


def marker(size: int) -> str:
    """The file that is published last for a tree of `size` leaves (``size > 0``)."""
    if size % WIDTH:
        return tile_path(0, size // WIDTH, size % WIDTH)
    return tile_path(0, size // WIDTH - 1)


class Edge:
    """Where a ledger grows: the frontier, and the commitments of the unfinished entry bundle."""

    __slots__ = ("frontier", "held")

    def __init__(self, frontier: Frontier, held: Sequence[bytes]) -> None:
        self.frontier = frontier
        self.held = list(held)

    def grow(
        self, commitments: Sequence[bytes]
    ) -> tuple[Edge, list[merkle.FullTile], list[tuple[str, bytes]]]:
        """The edge after appending leaves, the tiles that became full, and all full files."""
        frontier = self.frontier.copy()
        full = frontier.extend(leaf_hashes(commitments))
        held = [*self.held, *commitments]
        first = self.frontier.size // WIDTH
        published = [(tile_path(level, index), b"".join(tile)) for level, index, tile in full]
        whole = len(held) // WIDTH
        for number in range(whole):
            bundle = _bundle(held[number * WIDTH : (number + 1) * WIDTH])
            published.append((tile_path("entries", first + number), bundle))
        return Edge(frontier, held[whole * WIDTH :]), full, published

    def partial_files(self, later: int, *, since: int = 0) -> list[tuple[str, bytes]]:
        """The partial tiles and entry bundle of this size not yet full in a tree of `later`.

        Those that were the same in a tree of `since` leaves are left out.
        """
        size = self.frontier.size
        published: list[tuple[str, bytes]] = []
        for level, edge in enumerate(self.frontier.levels):
            index = size >> (8 * (level + 1))
            same = size >> (8 * level) == since >> (8 * level)
            if not edge or same or index != later >> (8 * (level + 1)):
                continue
            published.append((tile_path(level, index, len(edge)), b"".join(edge)))
            if level == 0:
                published.append((tile_path("entries", index, len(edge)), _bundle(self.held)))
        return published


class Folders:
    """Makes folders that last.

    A folder that exists may be the work of a process that was killed before its name was durable:
    each is therefore synced up to the ledger's own folder the first time it is used.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: set[Path] = set()

    def make(self, folder: Path) -> None:
        """Make `folder`, below the root, or make sure that it stays."""
        if folder in self._known and folder.is_dir():
            return
        old = [here for here in (folder, *folder.parents) if here.is_relative_to(self._root)]
        old = [here for here in old if here.exists() and here not in self._known]
        files.make_folder(folder)
        for here in old:
            if here != self._root:
                files.sync_folder(here.parent)
        self._known.update(old)
        self._known.add(folder)


def publish(folders: Folders, root: Path, published: Iterable[tuple[str, bytes]]) -> None:
    """Write tiles durably, `marker` last: where it stands, all others do."""
    for path, data in sorted(published, key=lambda item: item[0].startswith("tile/0/")):
        folders.make((root / path).parent)
        files.write(root / path, data)
        files.point("ledger.publishing")


def _bundle(commitments: Sequence[bytes]) -> bytes:
    return b"".join([_ENTRY_HEAD + commitment for commitment in commitments])


class Tree:
    """The authenticated tree of one checkpoint, read from tiles as needed."""

    def __init__(
        self,
        folder: Path,
        frontier: Frontier,
        unpublished: Iterable[merkle.FullTile] = (),
        trusted: Tree | None = None,
    ) -> None:
        """`frontier` must already be authenticated; `trusted` is an earlier tree it extends.

        `unpublished` are full tiles, consistent with `frontier`, that may not be on disk yet.
        """
        self.frontier = frontier
        self.size = frontier.size
        self._folder = folder
        self._unpublished = {(level, index): tile for level, index, tile in unpublished}
        self._cache: dict[tuple[int, int], list[bytes]] = {} if trusted is None else trusted._cache

    @staticmethod
    def read_frontier(folder: Path, size: int) -> Frontier:
        """The right edge of a tree of `size` as the tiles have it: not authenticated yet."""
        levels: list[list[bytes]] = []
        for level in range(merkle.tile_levels(size)):
            width = (size >> (8 * level)) % WIDTH
            index = size >> (8 * (level + 1))
            levels.append(split(read_tile(folder, level, index, width)) if width else [])
        return Frontier(size, levels)

    def tile(self, level: int, index: int) -> list[bytes]:
        """The hashes of a tile, authenticated; raises `Corrupt` naming a bad or missing file."""
        if (index + 1) * WIDTH > self.size >> (8 * level):
            return self.frontier.levels[level]
        key = (level, index)
        found = self._cache.get(key) or self._unpublished.get(key)
        if found is not None:
            return found
        expected = self.tile(level + 1, index // WIDTH)[index % WIDTH]
        hashes = split(self._read(level, index, WIDTH))
        if merkle.root(hashes) != expected:
            raise Corrupt(
                f"ledger: {tile_path(level, index)} is altered: it does not hash to its place in "
                f"the tree of {self.size} leaves",
                remedy=REMEDY,
                code="tile",
            )
        if len(self._cache) >= _CACHED_TILES:
            self._cache.clear()
        self._cache[key] = hashes
        return hashes

    def _read(self, level: int, index: int, width: int) -> bytes:
        """The first `width` hashes of a tile, as they lie there: not authenticated yet."""
        return read_tile(self._folder, level, index, width)

    def hash_at(self, level: int, index: int) -> bytes:
        """The root of a complete subtree: a `merkle.HashAt`."""
        tile_level, height = divmod(level, 8)
        number, offset = divmod(index << height, WIDTH)
        return merkle.root(self.tile(tile_level, number)[offset : offset + (1 << height)])

    def root_at(self, size: int) -> bytes:
        """The root of the tree when it had `size` leaves; O(log n)."""
        return self.frontier_at(size).root()

    def frontier_at(self, size: int) -> Frontier:
        """The right edge of the tree when it had `size` leaves (at most as many as it has)."""
        if size == self.size:
            return self.frontier
        levels: list[list[bytes]] = []
        for level in range(merkle.tile_levels(size)):
            width = (size >> (8 * level)) % WIDTH
            index = size >> (8 * (level + 1))
            levels.append(self.tile(level, index)[:width] if width else [])
        return Frontier(size, levels)
