"""The private folder that everything lands in: each name checked, each byte counted and hashed.

Nothing in it is opened or run by whoever fills it.  A source's claims about a file are compared
while it is written, and a file that is not what its source says never gets its name.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from assay import canonical, files
from assay.errors import AssayError, Unavailable, Usage, Verification
from assay.store import trees
from assay.store.trees import TreeEntry
from assay.supply.intake.settings import Limits
from assay.types import Digest

ClaimKind: TypeAlias = Literal["sha256", "git-blob"]


@dataclass(frozen=True, slots=True)
class Claim:
    """What a source says of a file: its SHA-256, or the id that git gives its content."""

    kind: ClaimKind
    value: str
    """Hexadecimal."""
    by: str
    """Who says so, in two or three words: ``LFS oid``, ``wheel RECORD``."""


class Taken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file in quarantine.  `checked` says what it was compared with; empty: nothing said so."""

    path: str
    size: int
    digest: Digest
    checked: str = ""


class Quarantine:
    """One intake's files below `folder`, which must not exist yet.

    `source` is named in every error.  Raises `Usage` (``intake.size``, ``.files``, ``.name``),
    `Unavailable` (``intake.time``) and `Verification` (``intake.digest``).
    """

    def __init__(
        self,
        folder: Path,
        source: str,
        limits: Limits,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self.source = source
        self.limits = limits
        self.taken: list[Taken] = []
        self._monotonic = monotonic
        self._until = monotonic() + limits.seconds
        self._planned: set[str] = set()
        self._bytes = 0
        files.make_folder(folder.parent)
        folder.mkdir(mode=0o700)

    @property
    def seconds_left(self) -> float:
        """How long this intake may still take; raises `Unavailable` when that is over."""
        left = self._until - self._monotonic()
        if left <= 0:
            raise Unavailable(
                f"{self.source}: it took longer than the {self.limits.seconds:,} seconds allowed",
                remedy="try again, mirror it first (--mirror FOLDER), or raise `seconds` in "
                "[projects.NAME.intake] of assay.toml",
                code="intake.time",
            )
        return left

    @property
    def room(self) -> int:
        """Bytes that may still be taken."""
        return self.limits.total_bytes - self._bytes

    def plan(self, named: Sequence[tuple[str, int | None]]) -> None:
        """Announce all files with the sizes that the source claims, before one is fetched.

        Refuses names that are unsafe or collide, too many of them, and too many bytes.
        """
        if not named:
            raise Usage(
                f"{self.source}: it has no files that were asked for",
                remedy="check what it holds, the path in it, and --only",
                code="intake.empty",
            )
        if len(named) > self.limits.files:
            raise Usage(
                f"{self.source}: {len(named):,} files, and one intake takes at most "
                f"{self.limits.files:,}",
                remedy="name what is needed with --only, or raise `files` in assay.toml",
                code="intake.files",
            )
        try:
            trees.check_paths(iter([name for name, _ in named]))
        except Usage as error:
            raise Usage(
                f"{self.source}: {error.message}",
                remedy="leave that file out with --only; a source has no reason for such a name",
                code="intake.name",
            ) from error
        for name, size in named:
            if size is not None and size > self.limits.file_bytes:
                raise self._too_large(f"{_shown(name)} has {size:,} bytes", self.limits.file_bytes)
        claimed = sum(size or 0 for _, size in named)
        if claimed > self.room:
            raise self._too_large(f"its files have {claimed:,} bytes", self.limits.total_bytes)
        self._planned = {name for name, _ in named}

    def add(
        self,
        name: str,
        pieces: Iterable[bytes],
        *,
        size: int | None = None,
        claims: Sequence[Claim] = (),
    ) -> Taken:
        """Write one planned file; it appears only if it is what the source says it is."""
        if name not in self._planned:
            raise Usage(f"{self.source}: {_shown(name)} was not announced", code="intake.name")
        self._planned.discard(name)
        path = self.folder / name
        files.make_folder(path.parent)
        sha256 = hashlib.sha256()
        git = _git_blob(size) if any(claim.kind == "git-blob" for claim in claims) else None
        held = 0
        partial = path.with_name(f".{len(self.taken)}.partial")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(partial, flags, 0o600), "wb") as stream:
                for piece in pieces:
                    held += len(piece)
                    self._bytes += len(piece)
                    if held > self.limits.file_bytes or self.room < 0:
                        raise self._too_large(f"{_shown(name)} goes on and on", self._most())
                    if size is not None and held > size:
                        raise self._differs(name, f"more than the {size:,} bytes", "its source")
                    _ = self.seconds_left
                    sha256.update(piece)
                    if git is not None:
                        git.update(piece)
                    stream.write(piece)
            if size is not None and held != size:
                raise self._differs(name, f"{held:,} bytes instead of {size:,}", "its source")
            for claim in claims:
                found = sha256 if claim.kind == "sha256" or git is None else git
                if found.hexdigest() != claim.value.lower():
                    was = f"{claim.kind} {found.hexdigest()} instead of {claim.value[:64]}"
                    raise self._differs(name, was, claim.by)
            partial.chmod(0o400)
            partial.rename(path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise Unavailable(
                f"{self.source}: cannot write {_shown(name)}: {error.strerror}",
                remedy="free disk space, then try again",
                code="intake.write",
            ) from error
        except AssayError:
            partial.unlink(missing_ok=True)
            raise
        digest = Digest(f"sha256:{sha256.hexdigest()}")
        taken = Taken(name, held, digest, ", ".join(claim.by for claim in claims))
        self.taken.append(taken)
        files.point("intake.taken")
        return taken

    def finish(self) -> Digest:
        """The digest of the tree that the files make; raises unless all that was planned came."""
        if self._planned:
            missing = min(self._planned)
            raise Unavailable(
                f"{self.source}: {_shown(missing)} did not come",
                remedy="try again",
                code="intake.missing",
            )
        self.taken.sort(key=lambda taken: taken.path.encode())
        entries = [TreeEntry(taken.path, taken.size, taken.digest) for taken in self.taken]
        return canonical.digest(trees.encode(entries))

    @property
    def bytes(self) -> int:
        """Bytes taken so far."""
        return self._bytes

    def _most(self) -> int:
        return min(self.limits.file_bytes, self.limits.total_bytes)

    def _too_large(self, what: str, most: int) -> Usage:
        return Usage(
            f"{self.source}: {what}, and one intake takes at most {most:,}",
            remedy="name what is needed with --only, or raise `most_bytes` in "
            "[projects.NAME.intake] of assay.toml",
            code="intake.size",
        )

    def _differs(self, name: str, what: str, by: str) -> Verification:
        return Verification(
            f"{self.source}: {_shown(name)} has {what}, as the {by} says",
            remedy="do not use it; ask whoever runs the source what is being served",
            code="intake.digest",
        )


def _git_blob(size: int | None) -> Any:
    """The hasher of git's object id, which names content as it did before SHA-256."""
    return hashlib.sha1(f"blob {size or 0}\0".encode(), usedforsecurity=False)


def _shown(name: str) -> str:
    return ascii(name[:120])
