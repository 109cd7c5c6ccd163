"""Reading a ledger: following its checkpoint, and verifying all that is read up to its root.

A follower holds no lock and writes nothing but `CheckpointMemory`.  It refuses a ledger that is
smaller than, or does not extend, any checkpoint it or the memory has seen.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec

from assay import files
from assay.errors import Corrupt, NotFound, Usage, Verification
from assay.evidence import merkle, notes, tiles, tlog_proof
from assay.evidence.audit import Examination
from assay.evidence.memory import CheckpointMemory
from assay.evidence.merkle import WIDTH, Frontier
from assay.evidence.notes import Checkpoint
from assay.evidence.segments import Leaf, Sealer, Segments
from assay.evidence.signers import PublicKey
from assay.evidence.tiles import Tree, leaf_hashes, marker


class Head(msgspec.Struct, frozen=True):
    """A checkpoint, and its authenticated tree once the tiles proved it."""

    note: bytes
    checkpoint: Checkpoint
    tree: Tree


class Follower:
    """Read access to one ledger at one checkpoint at a time; safe to use from several threads."""

    def __init__(
        self,
        folder: Path,
        origin: str,
        key: PublicKey,
        sealer: Sealer,
        remembered: CheckpointMemory | None,
    ) -> None:
        self._folder = folder
        self._origin = notes.check_origin(origin)
        self._key = key
        self._sealer = sealer
        self._memory = remembered
        self._segments = Segments(folder, origin, key)
        self._following = threading.Lock()
        self._head: Head | None = None

    # -- following --------------------------------------------------------------------------------

    @property
    def checkpoint(self) -> Checkpoint:
        """The tree head last followed to."""
        return self._followed().checkpoint

    @property
    def note(self) -> bytes:
        """The signed note of `checkpoint`, as a bundle or proof carries it."""
        return self._followed().note

    def refresh(self) -> Checkpoint:
        """Follow to the checkpoint on disk, proving that it extends every one seen before.

        Raises `Verification` (``ledger.rolled_back``, ``ledger.forked``) or `Corrupt`.
        """
        with self._following:
            # Read before the checkpoint: another process commits first and remembers then, so
            # that a larger memory always means a ledger that shrank.
            remembered = self._memory.note(self._origin) if self._memory else None
            note, checkpoint = self._read_checkpoint()
            head = self._head
            expected = note if self._memory else None
            if head is not None and note == head.note and remembered == expected:
                return head.checkpoint
            known = [head.checkpoint] if head is not None else []
            if self._memory is not None and remembered is not None:
                known.append(self._memory.parse(remembered, self._origin, self._key))
            for old in known:
                self._not_older(checkpoint, old)
            tree = self._load_tree(checkpoint, head.tree if head else None)
            for old in known:
                if tree.root_at(old.size) != old.root:
                    raise self._forked(checkpoint, old)
            # The process that wrote it may have been killed before its name was durable; what is
            # decided or remembered on this checkpoint must not outlive it.
            files.sync_folder(self._folder)
            if self._memory is not None and remembered != note:
                self._memory.remember(note, checkpoint, self._key)
            self._head = Head(note, checkpoint, tree)
            return checkpoint

    def _followed(self) -> Head:
        if self._head is None:
            self.refresh()
        assert self._head is not None  # noqa: S101 - refresh sets it or raises
        return self._head

    def _read_note(self) -> bytes:
        try:
            return files.read(self._folder / "checkpoint", limit=notes.LIMIT, what="checkpoint")
        except NotFound as error:
            raise Corrupt(
                f"ledger: {self._folder / 'checkpoint'} is missing",
                remedy="restore it from a copy of the ledger or from the remembered checkpoint",
                code="checkpoint",
            ) from error

    def _read_checkpoint(self) -> tuple[bytes, Checkpoint]:
        note = self._read_note()
        return note, notes.parse_checkpoint(note, self._origin, self._key)

    def _not_older(self, checkpoint: Checkpoint, old: Checkpoint) -> None:
        if checkpoint.size < old.size:
            raise Verification(
                f"the ledger {self._origin} was rolled back: it has {checkpoint.size} leaves, and "
                f"had {old.size} at {notes.time_text(old)}",
                remedy="restore the newest copy of the ledger folder; find out who replaced it",
                code="ledger.rolled_back",
                details={"size": checkpoint.size, "seen": old.size},
            )
        same = checkpoint.size == old.size
        if checkpoint.time < old.time or (same and checkpoint.root != old.root):
            raise self._forked(checkpoint, old)

    def _forked(self, checkpoint: Checkpoint, old: Checkpoint) -> Verification:
        return Verification(
            f"the ledger {self._origin} was forked: its {checkpoint.size} leaves do not extend "
            f"the {old.size} seen at {notes.time_text(old)}",
            remedy="compare copies of the ledger: somebody with its key rewrote history",
            code="ledger.forked",
            details={"size": checkpoint.size, "seen": old.size},
        )

    def _load_tree(self, checkpoint: Checkpoint, trusted: Tree | None) -> Tree:
        """The tree under a checkpoint; a tail not published yet is taken from its segment."""
        size = checkpoint.size
        if (
            trusted is not None
            and trusted.size == size
            and trusted.root_at(size) == checkpoint.root
        ):
            return trusted
        frontier, full = Frontier(), []
        if size and not self._published(size):
            segment = self._segments.load(*self._segments.find(size - 1, size))
            frontier = Tree.read_frontier(self._folder, segment.first)
            full = frontier.extend(leaf_hashes(segment.commitments))
        elif size:
            frontier = Tree.read_frontier(self._folder, size)
        if frontier.root() != checkpoint.root:
            found = self._examine(checkpoint, None).problems
            named = ", ".join(f"{problem.path} {problem.what}" for problem in found[:3])
            raise Corrupt(
                f"ledger: the files do not hash to the checkpoint's root: {named}",
                remedy=tiles.REMEDY,
                code="ledger.root",
            )
        # A cache filled under another root may only be kept if this tree extends that one.
        tree = Tree(self._folder, frontier, full)
        if trusted is not None and tree.root_at(trusted.size) == trusted.frontier.root():
            return Tree(self._folder, frontier, full, trusted)
        return tree

    def _published(self, size: int) -> bool:
        full = tiles.tile_path(0, (size - 1) // WIDTH)
        return (self._folder / marker(size)).exists() or (self._folder / full).exists()

    # -- reading ----------------------------------------------------------------------------------

    def read(self, start: int, stop: int) -> Iterator[Leaf]:
        """The leaves ``[start, stop)`` of the current checkpoint, each verified up to its root.

        Costs what the range costs, however long the ledger.  Raises `Usage` for a range beyond
        the checkpoint; while iterating `Corrupt`, naming the missing or altered file.
        """
        head = self._followed()
        if not 0 <= start <= stop <= head.checkpoint.size:
            raise Usage(
                f"leaves {start} to {stop} are not on the ledger of {head.checkpoint.size}",
                remedy="follow the ledger with `refresh` first",
                code="ledger.range",
            )
        return self._leaves(head.tree, start, stop)

    def _leaves(self, tree: Tree, start: int, stop: int) -> Iterator[Leaf]:
        while start < stop:
            segment = self._segments.load(*self._segments.find(start, tree.size))
            end = min(stop, segment.end)
            found = leaf_hashes(segment.commitments[start - segment.first : end - segment.first])
            for index in range(start, end):
                if tree.tile(0, index // WIDTH)[index % WIDTH] != found[index - start]:
                    raise Corrupt(
                        f"ledger: {segment.path}: leaf {index} is not the one on the tree",
                        remedy="restore the file from a copy of the ledger",
                        code="segment",
                    )
            yield from segment.leaves(self._sealer, start, end)
            start = end

    def root_at(self, size: int) -> bytes:
        """The root the tree had at `size` leaves, by which a follower's snapshot is believed."""
        return self._sized(size).root_at(size)

    def inclusion(self, index: int, size: int | None = None) -> list[bytes]:
        """The proof that leaf `index` is in the tree of `size` leaves (default: all)."""
        head = self._followed()
        size = head.checkpoint.size if size is None else size
        if not 0 <= index < size:
            raise Usage(f"leaf {index} is not among {size}", code="ledger.range")
        return merkle.inclusion_proof(index, size, self._sized(size).hash_at)

    def consistency(self, old: int, new: int) -> list[bytes]:
        """The proof that the tree of `new` leaves extends that of `old`."""
        if not 0 <= old <= new:
            raise Usage(f"a ledger of {new} leaves cannot extend one of {old}", code="ledger.range")
        return merkle.consistency_proof(old, new, self._sized(new).hash_at)

    def proof(self, index: int) -> bytes:
        """A C2SP tlog-proof that leaf `index` is under the current checkpoint."""
        head = self._followed()
        return tlog_proof.encode(index, self.inclusion(index, head.checkpoint.size), head.note)

    def _sized(self, size: int) -> Tree:
        tree = self._followed().tree
        if not 0 <= size <= tree.size:
            raise Usage(
                f"the ledger has {tree.size} leaves, not {size}",
                remedy="follow it with `refresh` first",
                code="ledger.range",
            )
        return tree

    def _examine(self, checkpoint: Checkpoint, sealer: Sealer | None) -> Examination:
        head = self._head
        tree = head.tree if head is not None and head.checkpoint == checkpoint else None
        return Examination(
            self._folder, self._segments, checkpoint.size, checkpoint.root, tree
        ).run(sealer)
