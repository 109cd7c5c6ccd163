"""The full examination of a ledger's folder: what is missing, altered, left over or foreign.

Everything public is a function of the segments, and every segment is bound by the checkpoint's
root.  So the examination builds each file anew and compares; what differs can be written again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from assay import files
from assay.errors import AssayError, Corrupt, NotFound
from assay.evidence.merkle import WIDTH, Frontier
from assay.evidence.segments import Sealer, Segment, Segments
from assay.evidence.tiles import (
    Edge,
    Tree,
    bundle_commitments,
    leaf_hashes,
    read_tile,
    tile_path,
)

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{12}\.tmp")
_PARTIAL = re.compile(r"(tile/(?:entries|[0-9]+)/(?:x[0-9]{3}/)*[0-9]{3})\.p/([1-9][0-9]{0,2})")
_SEGMENT = re.compile(r"sealed/(?:x[0-9]{3}/)*[0-9]{3}/([0-9]+)-[0-9]+\.seg")


class Problem(msgspec.Struct, frozen=True):
    """A file (relative to the ledger's folder) and what is wrong with it."""

    path: str
    what: str


class Examination:
    """One pass over a ledger of `size` leaves; results in `problems` and `rewrite`."""

    def __init__(
        self, folder: Path, segments: Segments, size: int, root: bytes, tree: Tree | None
    ) -> None:
        """`tree`, where the tiles allow one, tells which of two disagreeing files is right."""
        self.problems: list[Problem] = []
        self.rewrite: dict[str, bytes] = {}
        """Public files to be written again, with their right contents."""
        self._folder = folder
        self._segments = segments
        self._size = size
        self._root = root
        self._tree = tree
        self._expected: set[str] = set()
        self._kept: set[str] = set()

    def run(self, sealer: Sealer | None) -> Examination:
        """Examine all; with a `sealer` the sealed envelopes too."""
        edge: Edge | None = Edge(Frontier(), [])
        position = 0
        while position < self._size:
            end, commitments = self._segment(position, sealer)
            if commitments is None:
                commitments = self._from_bundles(position, end)
            if commitments is None:
                edge = None  # Nothing is left to build the tiles from.
            elif edge is not None:
                edge, _, published = edge.grow(commitments)
                for path, data in [*published, *edge.partial_files(self._size)]:
                    self._compare(path, data)
            position = end
        if edge is None or edge.frontier.root() != self._root:
            self._problem("checkpoint", "the leaves found do not hash to its root")
            self.rewrite.clear()
        self._strays()
        return self

    def _problem(self, path: str, what: str) -> None:
        self.problems.append(Problem(path, what))

    # -- the leaves ---------------------------------------------------------------------------

    def _segment(self, position: int, sealer: Sealer | None) -> tuple[int, list[bytes] | None]:
        """Where the segment that begins at `position` ends, and its commitments if it is good."""
        counts = [
            count
            for first, count in self._segments.listed(position // WIDTH)
            if first == position and first + count <= self._size
        ]
        failed = False
        for count in counts:
            end = position + count
            try:
                segment = self._segments.load(position, count)
                if not self._on_tree(segment):
                    raise Corrupt("its leaves are not those of the checkpoint")
                self._kept.add(segment.path)
                if sealer is not None:
                    for _ in segment.leaves(sealer, position, end):
                        pass
            except AssayError as error:
                failed = True
                path = self._segments.path(position, count)
                self._kept.add(path)
                self._problem(path, error.message)
                continue
            return end, segment.commitments
        if failed:
            return position + counts[0], None
        end = self._next_segment(position)
        self._problem(self._segments.path(position, end - position), "is missing")
        return end, None

    def _next_segment(self, position: int) -> int:
        for number in range(position // WIDTH, self._size // WIDTH + 1):
            for first, _ in self._segments.listed(number):
                if position < first < self._size:
                    return first
        return self._size

    def _on_tree(self, segment: Segment) -> bool:
        """Whether the segment's leaves are on the authenticated tree, where that can be read."""
        hashes = leaf_hashes(segment.commitments)
        for index, found in enumerate(hashes, start=segment.first):
            try:
                if self._tree is not None and self._tree.hash_at(0, index) != found:
                    return False
            except Corrupt:
                continue
        return True

    def _from_bundles(self, start: int, end: int) -> list[bytes] | None:
        """Commitments from the public entry bundles, where a segment is lost."""
        found: list[bytes] = []
        for number in range(start // WIDTH, (end - 1) // WIDTH + 1):
            base = number * WIDTH
            width = min(WIDTH, self._size - base)
            try:
                data = read_tile(self._folder, "entries", number, width)
                held = bundle_commitments(data, tile_path("entries", number, width))
            except AssayError:
                return None
            found += held[max(0, start - base) : end - base]
        return found

    # -- the files ------------------------------------------------------------------------------

    def _compare(self, path: str, data: bytes) -> None:
        if path in self._expected:
            return
        self._expected.add(path)
        try:
            found = files.read(self._folder / path, limit=len(data), what="ledger file")
            what = "" if found == data else "is altered"
        except NotFound:
            what = "is missing"
        except AssayError as error:
            what = error.message
        if what:
            self._problem(path, what)
            self.rewrite[path] = data

    def _strays(self) -> None:
        for path in everything(self._folder):
            if (self._folder / path).is_symlink():
                self._problem(path, "is a symbolic link")
            elif path in self._expected or path in self._kept or path in ("checkpoint", "lock"):
                continue
            elif is_temporary(path):
                self._problem(path, "was left by a process that stopped: run `assay recover`")
            elif (segment := _SEGMENT.fullmatch(path)) and int(segment[1]) >= self._size:
                self._problem(path, "was never committed: run `assay recover`")
            elif (partial := _PARTIAL.fullmatch(path)) and partial[1] in self._expected:
                self._superseded(path, partial[1])
            else:
                self._problem(path, "is not part of the ledger")

    def _superseded(self, path: str, full: str) -> None:
        """A partial tile may stay when its full tile is there, if it is the beginning of it."""
        try:
            data = files.read(self._folder / path, limit=1 << 16)
            whole = files.read(self._folder / full, limit=1 << 16)
        except AssayError:
            return
        width = int(path.rpartition("/")[2])
        if data != whole[: len(whole) // WIDTH * width]:
            self._problem(path, "is altered")


def is_temporary(path: str) -> bool:
    """Whether `files.new_file` left this behind when it was killed."""
    return _TEMPORARY.fullmatch(path.rpartition("/")[2]) is not None


def superseded_partials(folder: Path) -> Iterator[Path]:
    """Partial tiles whose full tile exists."""
    for path in everything(folder):
        partial = _PARTIAL.fullmatch(path)
        if partial and (folder / partial[1]).is_file():
            yield folder / path


def everything(folder: Path) -> list[str]:
    """Every file below `folder`, relative to it, in order; links are listed, not followed."""
    found: list[str] = []
    for here, folders, names in os.walk(folder):
        base = Path(here)
        links = [name for name in folders if (base / name).is_symlink()]
        found += [(base / name).relative_to(folder).as_posix() for name in [*names, *links]]
    return sorted(found)
