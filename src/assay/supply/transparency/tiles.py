"""A ledger's public files over HTTP: C2SP tlog-tiles, and nothing beside them.

A path is answered only if it has the one form a tile's path has, and is opened below the ledger's
folder name by name, following no link.  What is found is answered only in the one length and form
that a tile has: hashes, or entries that are blinded leaves.  So whatever else somebody puts into
that folder stays there.
"""

from __future__ import annotations

import gzip
import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from assay.errors import AssayError, Unavailable
from assay.evidence import notes, tiles
from assay.evidence.cosignatures import VerifierKey, read_note
from assay.evidence.merkle import WIDTH
from assay.evidence.notes import parse_checkpoint
from assay.supply.transparency import web
from assay.supply.transparency.web import Receive, Reply, Scope, Send

IMMUTABLE = b"public, max-age=31536000, immutable"
MOMENT = b"public, max-age=1, must-revalidate"
OCTETS = b"application/octet-stream"

_PATH = re.compile(
    rb"/tile/(entries|[0-9]|[1-5][0-9]|6[0-3])/((?:x[0-9]{3}/){0,6}[0-9]{3})"
    rb"(?:\.p/([1-9][0-9]{0,2}))?"
)
_GZIP = re.compile(rb"(?:^|[,\s])gzip\s*(?:;\s*q=(?:1|0\.[0-9]*[1-9])[0-9.]*\s*)?(?:,|$)")
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class PublicFiles:
    """What of a ledger's folder anybody may have."""

    def __init__(self, folder: Path, log: VerifierKey, cosigned: Path | None = None) -> None:
        """`cosigned` is the newest checkpoint that witnesses cosigned, where there is one."""
        self._folder = folder
        self._log = log
        self._cosigned = cosigned

    def checkpoint(self, *, witnessed: bool = False) -> bytes:
        """The newest checkpoint, with the cosignatures there are; its tiles are published.

        With `witnessed`, the newest one that has cosignatures.  Raises `Unavailable` while there
        is none: an append that was interrupted before its tiles were written is finished by the
        next one.
        """
        held = self._read_cosigned()
        if witnessed:
            if held is None:
                raise _not_yet("no witness has cosigned a checkpoint")
            return held
        newest = _read(self._folder, ["checkpoint"], notes.LIMIT)
        if newest is None:
            raise _not_yet("there is no checkpoint")
        size = self._checked(newest)
        if size and not self._is_published(size):
            raise _not_yet("the newest tiles are not published")
        if held is not None and read_note(held).text == read_note(newest).text:
            return held
        return newest

    def tile(self, level: str, index: int, width: int) -> bytes | None:
        """The first `width` hashes (or entries) of a tile; None where it is not published.

        A partial tile that is gone is the beginning of the full one.
        """
        each = tiles.ENTRY_BYTES if level == "entries" else 32
        for candidate in dict.fromkeys((width, WIDTH)):
            path = tiles.tile_path(level, index, candidate)
            data = _read(self._folder, path.split("/"), candidate * each)
            if data is not None and len(data) == candidate * each:
                if level == "entries":
                    tiles.bundle_commitments(data, path)  # Raises for anything but blinded leaves.
                return data[: width * each]
        return None

    def _checked(self, note: bytes) -> int:
        return parse_checkpoint(note, self._log.name, self._log.public).size

    def _is_published(self, size: int) -> bool:
        names = {tiles.marker(size), tiles.tile_path(0, (size - 1) // WIDTH)}
        return any(_read(self._folder, name.split("/"), WIDTH * 32) for name in names)

    def _read_cosigned(self) -> bytes | None:
        if self._cosigned is None:
            return None
        note = _read(self._cosigned.parent, [self._cosigned.name], notes.LIMIT)
        with suppress(AssayError):
            if note is not None and self._checked(note) >= 0:
                return note
        return None


def _not_yet(why: str) -> Unavailable:
    return Unavailable(f"the ledger is not published: {why}", code="ledger.published")


def _read(folder: Path, names: list[str], limit: int) -> bytes | None:
    """A regular file of at most `limit` bytes below `folder`, reached through no link; or None."""
    try:
        here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in names[:-1]:
                below = os.open(name, _OPEN | os.O_DIRECTORY, dir_fd=here)
                os.close(here)
                here = below
            handle = os.open(names[-1], _OPEN, dir_fd=here)
        finally:
            os.close(here)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as stream:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        data = stream.read(limit + 1)
    return data if len(data) <= limit else None


class TileServer:
    """``GET /checkpoint``, ``/tile/L/N[.p/W]`` and ``/tile/entries/N[.p/W]``; all else is 404."""

    def __init__(self, files: PublicFiles, *, witnessed: bool = False) -> None:
        self._files = files
        self._witnessed = witnessed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def answer() -> Reply:
            return self.reply(scope["method"], web.raw_path(scope), _accepts_gzip(scope))

        await web.serve(scope, receive, send, answer)

    def reply(self, method: str, path: bytes, compressed: bool = False) -> Reply:
        """The answer to a request for a path, as sent."""
        find: Callable[[], Reply | None]
        found = _PATH.fullmatch(path)
        if path == b"/checkpoint":
            find = self._checkpoint
        elif found is not None:
            level, number = found[1].decode(), found[2].decode()
            width = int(found[3]) if found[3] else WIDTH
            index = int(number.replace("x", "").replace("/", ""))
            if (found[3] and width >= WIDTH) or tiles.numbered(index) != number:
                return _missing()

            def find() -> Reply | None:
                return self._tile(level, index, width, compressed)
        else:
            return _missing()
        if method not in ("GET", "HEAD"):
            return Reply(405, b"only GET\n", headers=[(b"allow", b"GET, HEAD")])
        try:
            return find() or _missing()
        except AssayError as error:
            # What is wrong inside is for the owner's `assay verify`, not for whoever asks.
            text = error.message if isinstance(error, Unavailable) else "the ledger is damaged"
            return Reply(503, f"{text}\n".encode(), headers=[(b"retry-after", b"5")])

    def _checkpoint(self) -> Reply:
        note = self._files.checkpoint(witnessed=self._witnessed)
        return Reply(200, note, cache=MOMENT, headers=_public())

    def _tile(self, level: str, index: int, width: int, compressed: bool) -> Reply | None:
        data = self._files.tile(level, index, width)
        if data is None:
            return None
        headers = _public()
        if level == "entries":
            headers.append((b"vary", b"accept-encoding"))
            if compressed:
                data = gzip.compress(data, 6, mtime=0)
                headers.append((b"content-encoding", b"gzip"))
        return Reply(200, data, OCTETS, IMMUTABLE, headers)


def _public() -> web.Headers:
    # Public and the same for everybody: a page of somebody else may check it too.
    return [(b"access-control-allow-origin", b"*"), (b"accept-ranges", b"none")]


def _missing() -> Reply:
    return Reply(404, b"not found\n", headers=[(b"access-control-allow-origin", b"*")])


def _accepts_gzip(scope: Scope) -> bool:
    given = [value.lower() for name, value in scope["headers"] if name == b"accept-encoding"]
    return any(_GZIP.search(value) for value in given)
