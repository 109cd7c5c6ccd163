"""Follow somebody else's log by its tiles, and say when it breaks its promise.

A look takes the checkpoint, its signature, and the hashes by which the tree seen before is, or is
not, the beginning of this one.  A fork is written down so that anybody can check it.  The entries
that were added are fetched and hashed too: what a log committed to, it has to show.

Leaves of ours are blinded: they tell how many statements there are and when they came, not what
they say.  So a statement is *unexpected* here when somebody told which leaves to expect.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from assay import canonical, files
from assay.clock import Clock, parse_timestamp, timestamp
from assay.errors import AssayError, Corrupt, NotFound, Unavailable, Usage, Verification
from assay.evidence import merkle, misbehaviour, tiles
from assay.evidence.cosignatures import Note, VerifierKey, as_json, check_log, quorum, read_note
from assay.evidence.merkle import WIDTH
from assay.evidence.notes import LIMIT
from assay.evidence.tiles import Tree
from assay.supply.transparency.expectations import Expected
from assay.supply.transparency.remote import Remote

FORMAT = "assay/monitor-state/v1"
MOST_LEAVES = 1 << 16
"""Entries that one look fetches; the next look goes on."""
_STATE_LIMIT = 1 << 20
_MOST_NAMED = 20

Verdict: TypeAlias = Literal["fine", "stale", "unreachable", "misbehaviour", "unverified"]
EXIT: Mapping[Verdict, int] = {
    "fine": 0,
    "stale": 1,
    "unreachable": 1,
    "misbehaviour": 4,
    "unverified": 4,
}


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was seen of a log last."""

    format: str
    log: str
    note: str
    """The newest checkpoint, exactly as it was signed."""
    checked: int
    """Entries up to here were fetched and hash to the tree."""
    since: str
    """When this checkpoint was first seen."""


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one look found."""

    verdict: Verdict
    log: str
    url: str
    at: str
    what: list[str]
    """In words: each thing that is wrong, or the one thing that is so."""
    size: int | None = None
    seen: int | None = None
    """The size at the look before."""
    time: str = ""
    """When the log signed its checkpoint, if it says so."""
    checked: int = 0
    unexpected: list[int] = []
    """Indexes of leaves that nobody expected (the first of them)."""
    cosignatures: list[Mapping[str, str]] = []

    @property
    def exit_status(self) -> int:
        return EXIT[self.verdict]


class Found(msgspec.Struct, frozen=True):
    """A report, and the proof of misbehaviour where there is one (`assay/misbehaviour/v1`)."""

    report: Report
    proof: bytes | None = None


def load(path: Path, log: VerifierKey) -> State | None:
    """What was seen before, None the first time; raises `Corrupt`, or `Usage` for another log."""
    try:
        data = files.read(path, limit=_STATE_LIMIT, what="state of the monitor")
    except NotFound:
        return None
    try:
        plain: Any = canonical.decode(data, what="its content")
        state = msgspec.convert(plain, State)
        parse_timestamp(state.since)
        if state.format != FORMAT or state.checked < 0:
            raise Corrupt(f"it is not of the format {FORMAT}")
        if state.log != str(log):
            raise Usage(
                f"{path} is about the log {state.log[:120]}",
                remedy="give each log that is watched a file of its own",
                code="monitor.state",
            )
        note = read_note(state.note.encode())
        check_log(note, log)
    except (msgspec.ValidationError, Verification, Corrupt) as error:
        why = error.message if isinstance(error, AssayError) else str(error)
        raise Corrupt(
            f"state of the monitor {path}: {why}",
            remedy="restore it from a copy; with a new file what was seen before is forgotten",
            code="monitor.state",
        ) from error
    return state


class _Tiles(Tree):
    """The tree under a checkpoint, from tiles that are fetched when needed and then verified."""

    def __init__(self, remote: Remote, note: Note) -> None:
        self._remote = remote
        levels: list[list[bytes]] = []
        for level in range(merkle.tile_levels(note.size)):
            width = (note.size >> (8 * level)) % WIDTH
            index = note.size >> (8 * (level + 1))
            held = fetch(remote, level, index, width) if width else b""
            levels.append(tiles.split(held))
        frontier = merkle.Frontier(note.size, levels)
        if frontier.root() != note.root:
            raise Verification(
                f"its tiles do not hash to the root of its checkpoint of {note.size} leaves",
                remedy="ask the log's owner, or read it from another mirror",
                code="monitor.tiles",
            )
        super().__init__(Path(), frontier)

    def _read(self, level: int, index: int, width: int) -> bytes:
        return fetch(self._remote, level, index, width)


def fetch(remote: Remote, level: int | str, index: int, width: int) -> bytes:
    """A tile, or entry bundle, of at least `width`: cut to it, and not verified.

    A partial tile may be gone once the full one is there.  Raises `Unavailable`.
    """
    limit = WIDTH * (2 + 0xFFFF) if level == "entries" else WIDTH * 32
    try:
        data = remote.get(tiles.tile_path(level, index, width), limit)
    except Unavailable:
        if width == WIDTH:
            raise
        data = remote.get(tiles.tile_path(level, index), limit)
    if level == "entries":
        return data
    if len(data) not in (width * 32, WIDTH * 32):
        raise Unavailable(
            f"{remote.url}: a tile of {width} hashes has {len(data)} bytes", code="remote"
        )
    return data[: width * 32]


def entry_hashes(bundle: bytes, width: int) -> list[bytes]:
    """The leaf hashes of the first `width` entries of a bundle (of any log); raises
    `Verification` for fewer."""
    found: list[bytes] = []
    at = 0
    while len(found) < width:
        size = int.from_bytes(bundle[at : at + 2], "big")
        if at + 2 + size > len(bundle):
            raise Verification("an entry bundle ends in the middle", code="monitor.entries")
        found.append(merkle.leaf_hash(bundle[at + 2 : at + 2 + size]))
        at += 2 + size
    return found


class Monitor:
    """Looks at one log; what it saw is kept in a file."""

    def __init__(
        self,
        remote: Remote,
        log: VerifierKey,
        path: Path,
        clock: Clock,
        expected: Expected | None = None,
    ) -> None:
        self._remote = remote
        self._log = log
        self._path = path
        self._clock = clock
        self._expected = expected or Expected()

    def look(self) -> Found:
        """One look.  The file is brought forward only when all is well.

        Raises `Corrupt` or `Usage` for the file; what the log does wrong is in the report.
        """
        files.make_folder(self._path.parent)
        with files.Lock(self._path.with_name(self._path.name + ".lock")):
            return _Look(
                self._remote, self._log, self._path, self._clock.now(), self._expected
            ).run()


class _Look:
    """One look at a log, step by step."""

    def __init__(
        self, remote: Remote, log: VerifierKey, path: Path, now: datetime, expected: Expected
    ) -> None:
        self._remote = remote
        self._log = log
        self._path = path
        self._now = now
        self._expected = expected
        self._state = load(path, log)
        self._seen = read_note(self._state.note.encode()) if self._state else None
        self._told: dict[str, Any] = {"seen": self._seen.size if self._seen else None}
        self._proof: bytes | None = None

    def run(self) -> Found:
        try:
            return self._run()
        except Unavailable as error:
            return self._found("unreachable", [error.message])
        except (Verification, Corrupt) as error:
            verdict = "misbehaviour" if self._proof else "unverified"
            return self._found(verdict, [error.message])

    def _run(self) -> Found:
        raw = self._remote.get("checkpoint", LIMIT)
        note = read_note(raw)
        at = check_log(note, self._log)
        self._told |= {"size": note.size, "time": timestamp(at) if at else ""}
        tree = self._extended(raw, note, at)
        wrong = self._known(tree)
        checked = self._entries(tree)
        self._told["checked"] = checked
        wrong += self._unexpected(tree, note)
        expected = self._expected
        if expected.witnesses:
            found = quorum(note, self._log, expected.witnesses, expected.least, now=self._now)
            self._told["cosignatures"] = as_json(found)
        if wrong:
            return self._found("misbehaviour", wrong)
        since = self._now
        if self._state is not None and self._seen is not None and self._seen.text == note.text:
            since = parse_timestamp(self._state.since)
        files.write(
            self._path,
            canonical.encode(
                State(FORMAT, str(self._log), raw.decode(), checked, timestamp(since))
            ),
        )
        age = int((self._now - (at or since)).total_seconds())
        if expected.max_age is not None and age > expected.max_age:
            return self._found("stale", [f"its checkpoint is {age} seconds old"])
        return self._found("fine", [f"{note.size} leaves, and it only grew"])

    def _extended(self, raw: bytes, note: Note, at: datetime | None) -> Tree:
        """The tree of this checkpoint, which extends what was seen; raises `Verification`."""
        seen, state = self._seen, self._state
        if seen is None or state is None:
            return _Tiles(self._remote, note)
        before = state.note.encode()
        if note.size == seen.size:
            if note.root != seen.root:
                self._prove(misbehaviour.fork(self._log, before, raw))
                raise _forked(seen.size, note.size)
            return _Tiles(self._remote, note)
        if note.size < seen.size:
            self._rolled_back(before, raw, note, at)
        tree = _Tiles(self._remote, note)
        if seen.size and tree.root_at(seen.size) != seen.root:
            path = misbehaviour.path_between(seen.size, note.size, tree.hash_at)
            self._prove(misbehaviour.fork(self._log, before, raw, path))
            raise _forked(seen.size, note.size)
        return tree

    def _rolled_back(self, before: bytes, raw: bytes, note: Note, at: datetime | None) -> None:
        """Raise `Verification` for a checkpoint that is smaller than the one seen."""
        seen = read_note(before)
        seen_at = check_log(seen, self._log)
        if at is not None and seen_at is not None and at > seen_at:
            self._prove(misbehaviour.rollback(self._log, before, raw))
        elif note.size:
            self._compare(seen, before, raw, note)
        why = "" if self._proof else "; an old copy may be shown instead of the log"
        raise Verification(
            f"it was rolled back: {seen.size} leaves were seen, and it shows {note.size}{why}",
            code="monitor.rolled_back",
        )

    def _compare(self, seen: Note, before: bytes, raw: bytes, note: Note) -> None:
        """Raise `Verification` if the smaller tree was never the beginning of the one seen, as far
        as the tiles of that one are still there."""
        try:
            tree = _Tiles(self._remote, seen)
            if tree.root_at(note.size) == note.root:
                return
            path = misbehaviour.path_between(note.size, seen.size, tree.hash_at)
        except AssayError:
            return
        self._prove(misbehaviour.fork(self._log, before, raw, path))
        raise _forked(seen.size, note.size)

    def _prove(self, proof: bytes) -> None:
        self._proof = proof

    def _known(self, tree: Tree) -> list[str]:
        """What is not there of the leaves that must be."""
        wrong: list[str] = []
        for index, leaf in self._expected.known.items():
            if index >= tree.size:
                wrong.append(f"leaf {index} is known to exist, and the log has {tree.size}")
            elif tree.tile(0, index // WIDTH)[index % WIDTH] != leaf:
                wrong.append(f"leaf {index} is another one than the one that is known")
        return wrong[:_MOST_NAMED]

    def _entries(self, tree: Tree) -> int:
        """Fetch the entries that are new, and hold them against the tree; up to where."""
        start = self._state.checked if self._state is not None else 0
        stop = min(tree.size, start + MOST_LEAVES)
        for number in range(start // WIDTH, -(-stop // WIDTH)):
            width = min(WIDTH, tree.size - number * WIDTH)
            found = entry_hashes(fetch(self._remote, "entries", number, width), width)
            if found != tree.tile(0, number)[:width]:
                raise Verification(
                    f"the entries {number * WIDTH} to {number * WIDTH + width - 1} are not those "
                    "that the tree commits to",
                    remedy="ask the log's owner, or read it from another mirror",
                    code="monitor.entries",
                )
        return max(start, stop)

    def _unexpected(self, tree: Tree, note: Note) -> list[str]:
        """What is new and was not to be."""
        seen = self._seen.size if self._seen is not None else 0
        wrong: list[str] = []
        most, only = self._expected.most_new, self._expected.only
        if most is not None and self._seen is not None and note.size - seen > most:
            wrong.append(f"{note.size - seen} leaves are new, and at most {most} were expected")
        if only is not None:
            strange = [
                index
                for index in range(seen, note.size)
                if tree.tile(0, index // WIDTH)[index % WIDTH] not in only
            ]
            if strange:
                self._told["unexpected"] = strange[:_MOST_NAMED]
                wrong.append(f"{len(strange)} new leaves were not expected")
        return wrong

    def _found(self, verdict: Verdict, what: list[str]) -> Found:
        report = Report(
            verdict=verdict,
            log=str(self._log),
            url=self._remote.url,
            at=timestamp(self._now),
            what=what,
            **self._told,
        )
        return Found(report, self._proof)


def _forked(old: int, new: int) -> Verification:
    return Verification(
        f"it was forked: its tree of {max(old, new)} leaves does not extend the one of "
        f"{min(old, new)}, and its key signed both",
        code="monitor.forked",
    )
