"""The append-only ledger of a workspace: a Merkle log in a folder of plain files.

Durability is Sunlight's: the segment of an append is durable, then the checkpoint is swapped (that
is the commit), then the public tiles are written from the segment.  A crash before the swap leaves
a segment nobody counts; a crash after it leaves tiles that are published by the next writer, and
that readers meanwhile derive from the segment.  One writer at a time holds a lock; readers hold
none, and need no write access.

Everything read is verified up to the signed root, and the checkpoint against the newest one this
process and `CheckpointMemory` have seen.  See `follower` for how it is read, `segments` for what
lies sealed, `tiles` for what is public, `audit` for the full examination.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from datetime import timezone
from pathlib import Path

from assay import files
from assay.clock import Clock, not_before
from assay.errors import AssayError, Conflict, Corrupt, NotFound, Unavailable, Usage, Verification
from assay.evidence import merkle, notes, tiles
from assay.evidence.audit import (
    Problem,
    everything,
    is_temporary,
    superseded_partials,
)
from assay.evidence.follower import Follower, Head
from assay.evidence.memory import CheckpointMemory
from assay.evidence.merkle import WIDTH
from assay.evidence.notes import Checkpoint
from assay.evidence.segments import Entry, Leaf, Sealer, build
from assay.evidence.signers import PublicKey, Signer
from assay.evidence.tiles import Edge, Folders, Tree, leaf_bytes, leaf_hashes, marker

__all__ = [
    "CheckpointMemory",
    "Entry",
    "Leaf",
    "Ledger",
    "Problem",
    "Sealer",
    "leaf_bytes",
]


class Ledger(Follower):
    """One ledger, to be read and, with its key, appended to; safe to use from several threads."""

    def __init__(
        self,
        folder: Path,
        origin: str,
        key: PublicKey,
        sealer: Sealer,
        *,
        signer: Signer | None,
        remembered: CheckpointMemory | None,
        clock: Clock,
    ) -> None:
        """Use `create` or `open`."""
        super().__init__(folder, origin, key, sealer, remembered)
        self._signer = signer
        self._clock = clock
        self._folders = Folders(folder)
        self._edge: Edge | None = None

    @classmethod
    def create(
        cls,
        folder: Path,
        origin: str,
        signer: Signer,
        sealer: Sealer,
        clock: Clock,
        *,
        remembered: CheckpointMemory | None = None,
    ) -> Ledger:
        """Make an empty ledger; raises `Conflict` when `folder` holds one already."""
        made = cls(
            folder, origin, signer.public, sealer, signer=signer, remembered=remembered, clock=clock
        )
        if remembered is not None and remembered.note(origin) is not None:
            raise Conflict(
                f"a ledger {origin} was used before on this machine",
                remedy="give the new ledger another origin, or restore the old one",
                code="ledger.exists",
            )
        note = notes.sign_checkpoint(origin, 0, merkle.EMPTY_ROOT, clock.now(), signer)
        files.make_folder(folder)
        try:
            files.write(folder / "checkpoint", note, replace=False)
        except FileExistsError as error:
            raise Conflict(
                f"{folder} already holds a ledger", remedy="open it", code="ledger.exists"
            ) from error
        files.point("ledger.created")
        made.refresh()
        return made

    @classmethod
    def open(
        cls,
        folder: Path,
        origin: str,
        key: PublicKey,
        sealer: Sealer,
        *,
        signer: Signer | None = None,
        remembered: CheckpointMemory | None = None,
        clock: Clock,
    ) -> Ledger:
        """Open an existing ledger; `append` needs `signer`, whose key must be `key`.

        Raises `Verification` when it is not this ledger or was rolled back or forked.  Damaged
        tiles do not stop it from opening: `recover` and `check` then work, all else raises.
        """
        if signer is not None and signer.public != key:
            raise Verification(
                f"the key to sign the ledger {origin} is not its key {key.keyid}",
                remedy="load the ledger key the trust root names",
                code="ledger.key",
            )
        opened = cls(folder, origin, key, sealer, signer=signer, remembered=remembered, clock=clock)
        if not (folder / "checkpoint").exists() and not (folder / "sealed").exists():
            raise NotFound(f"{folder} holds no ledger", remedy="run `assay init`", code="ledger")
        opened._read_checkpoint()
        with contextlib.suppress(Corrupt):
            opened.refresh()
        return opened

    # -- appending --------------------------------------------------------------------------------

    def append(
        self,
        entries: Sequence[Entry],
        *,
        expect: int | None = None,
        guard: Callable[[Ledger], None] | None = None,
    ) -> range:
        """Add leaves, all or none; returns their indexes once they are durable.

        Under the writer's lock the ledger is followed to its newest state, compared with `expect`
        (a size) and shown to `guard`, which may raise to stop.  Raises `Conflict` (nothing was
        done) or `Unavailable`; with the code ``unavailable.ledger.uncertain`` the disk failed
        during the commit itself, and only `refresh` tells whether it took place.
        """
        if self._signer is None:
            raise Usage(
                "the ledger was opened without its key: it can only be read",
                remedy="open it in the workspace that owns it",
                code="ledger.read_only",
            )
        if not self._folder.is_dir():
            raise Corrupt(f"ledger: {self._folder} is missing", code="ledger")
        with files.Lock(self._folder / "lock"):
            self.refresh()
            head = self._followed()
            size = head.checkpoint.size
            if expect is not None and expect != size:
                raise Conflict(
                    f"the ledger has {size} leaves, not {expect}: somebody appended first",
                    remedy="look at the new leaves and try again",
                    code="ledger.size",
                )
            if guard is not None:
                guard(self)
            if not entries:
                return range(size, size)
            self._drop_uncommitted(size)
            edge = self._settled_edge(head)
            data, commitments = build(self._origin, size, entries, self._sealer, self._signer)
            edge, full, published = edge.grow(commitments)
            at = not_before(self._clock.now(), head.checkpoint.time)
            note = notes.sign_checkpoint(
                self._origin, edge.frontier.size, edge.frontier.root(), at, self._signer
            )
            seconds = at.astimezone(timezone.utc).replace(microsecond=0)
            checkpoint = Checkpoint(self._origin, edge.frontier.size, edge.frontier.root(), seconds)
            self._commit(head, note, self._segments.path(size, len(entries)), data)
            with self._following:
                tree = Tree(self._folder, edge.frontier, full, head.tree)
                self._head, self._edge = Head(note, checkpoint, tree), edge
            # Committed: a full disk must not make this look undone.  What is left over is done by
            # the next append, which does fail if it cannot.
            with contextlib.suppress(Unavailable):
                partials = edge.partial_files(checkpoint.size, since=size)
                tiles.publish(self._folders, self._folder, [*published, *partials])
                files.point("ledger.published")
                if self._memory is not None:
                    self._memory.remember(note, checkpoint, self._key)
                    files.point("ledger.remembered")
                self._clean(size, checkpoint.size)
                files.point("ledger.cleaned")
            return range(size, checkpoint.size)

    def _commit(self, head: Head, note: bytes, path: str, data: bytes) -> None:
        """Stage the segment, then swap the checkpoint `head` for `note`: the commit."""
        staged = self._folder / path
        try:
            self._folders.make(staged.parent)
            files.write(staged, data)
            files.point("ledger.staged")
            if self._read_note() != head.note:
                raise Conflict(
                    "the checkpoint was replaced by somebody who does not hold the lock",
                    remedy="let only one assay version write this ledger, then try again",
                    code="ledger.checkpoint",
                )
            files.write(self._folder / "checkpoint", note)
            files.point("ledger.committed")
        except AssayError as error:
            if not self._is_swapped(note):
                with contextlib.suppress(OSError):
                    staged.unlink(missing_ok=True)
                raise
            raise Unavailable(
                f"the disk failed while the ledger was committed: {error.message}",
                remedy="check the disk, then look whether the action is on the ledger",
                code="ledger.uncertain",
            ) from error

    def _is_swapped(self, note: bytes) -> bool:
        """Whether a failed swap may have taken place; when the disk cannot say, it may have."""
        try:
            return self._read_note() == note
        except AssayError:
            return True

    def _settled_edge(self, head: Head) -> Edge:
        """Where to grow, after the tiles of the last append are sure to be published."""
        size = head.checkpoint.size
        published = size == 0 or (self._folder / marker(size)).exists()
        if published and self._edge is not None and self._edge.frontier.size == size:
            return self._edge
        if published:
            return self._edge_at(head.tree, size)
        segment = self._segments.load(*self._segments.find(size - 1, size))
        before = self._edge_at(head.tree, segment.first)
        edge, _, published_files = before.grow(segment.commitments)
        if edge.frontier.root() != head.checkpoint.root:
            raise Corrupt(f"ledger: {segment.path} is not the last append", code="segment")
        tiles.publish(self._folders, self._folder, [*published_files, *edge.partial_files(size)])
        self._clean(segment.first, size)
        return edge

    def _edge_at(self, tree: Tree, size: int) -> Edge:
        frontier = tree.frontier_at(size)
        width = size % WIDTH
        if width == 0:
            return Edge(frontier, [])
        path = tiles.tile_path("entries", size // WIDTH, width)
        data = tiles.read_tile(self._folder, "entries", size // WIDTH, width)
        held = tiles.bundle_commitments(data, path)
        if leaf_hashes(held) != frontier.levels[0]:
            raise Corrupt(f"ledger: {path} is altered", remedy=tiles.REMEDY, code="tile")
        return Edge(frontier, held)

    def _drop_uncommitted(self, size: int) -> list[str]:
        """Remove what an append left that never swapped the checkpoint (only under the lock)."""
        dropped: list[str] = []
        for first, count in self._segments.listed(size // WIDTH):
            if first >= size:
                path = self._segments.path(first, count)
                files.remove(self._folder / path)
                dropped.append(path)
        return dropped

    def _clean(self, old: int, new: int) -> None:
        """Remove the partial tiles of the tiles that became full between two sizes.

        Not durably: a partial tile that comes back after a crash is superseded all the same.
        """
        for level in ["entries", *range(merkle.tile_levels(new))]:
            shift = 8 if isinstance(level, str) else 8 * (level + 1)
            if old >> shift != new >> shift:
                folder = self._folder / (tiles.tile_path(level, old >> shift) + ".p")
                with contextlib.suppress(OSError):
                    for partial in list(folder.iterdir()):
                        partial.unlink()
                    folder.rmdir()

    # -- repair -----------------------------------------------------------------------------------

    def recover(self) -> list[str]:
        """Finish or undo what a crash interrupted; says what was done.

        Also writes again every public file that is missing or altered, where the segments still
        hold what it must contain.
        """
        with files.Lock(self._folder / "lock"):
            _, checkpoint = self._read_checkpoint()
            done: list[str] = []
            for path in filter(is_temporary, everything(self._folder)):
                files.remove(self._folder / path)
                done.append(f"removed {path}, left by a process that stopped")
            done += [
                f"removed {path}: its append was never committed"
                for path in self._drop_uncommitted(checkpoint.size)
            ]
            files.point("ledger.dropped")
            rewrite = self._examine(checkpoint, None).rewrite
            tiles.publish(self._folders, self._folder, rewrite.items())
            done += [f"wrote {path} again from its segment" for path in rewrite]
            for path in list(superseded_partials(self._folder)):
                path.unlink(missing_ok=True)
            files.point("ledger.recovered")
            self._edge = None
            self.refresh()
            return done

    def check(self) -> list[Problem]:
        """Every file compared with what the leaves say it must be, every envelope opened."""
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(Unavailable):  # A reader without write access goes without.
                stack.enter_context(files.Lock(self._folder / "lock"))
            try:
                _, checkpoint = self._read_checkpoint()
            except (Corrupt, Verification) as error:
                return [Problem("checkpoint", error.message)]
            problems: list[Problem] = []
            try:
                self.refresh()
            except (Corrupt, Verification) as error:
                named = error.kind == "verification" or "memory" in error.code
                problems = [Problem("checkpoint", error.message)] if named else []
            found = self._examine(checkpoint, self._sealer).problems
            return problems + found
