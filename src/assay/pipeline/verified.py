"""Installed files against what they were installed with, and remembering that they are the same.

Verifying reads every file, which takes seconds for large libraries; so the caller's memory keeps
the result for each distribution with a signature of all its files (size, times, inode).  Where
nothing was touched, nothing is read again.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar, cast

import msgspec

from assay.errors import Conflict
from assay.pipeline import installed
from assay.pipeline.installed import Distribution, Listed
from assay.types import Digest

FORMAT = "assay/environment/v1"

_MOST_TOLD = 10
# A file changed within the clock tick in which it was read would look unchanged.
_SETTLED_NS = 2_000_000_000
_TRIES = 3
# What installers note for themselves: not part of what was installed.
_NOTES = frozenset({"INSTALLER", "RECORD", "REQUESTED", "direct_url.json", "uv_cache.json"})
_SIGNATURES = ("RECORD.jws", "RECORD.p7s")

_Files = dict[str, str]
"""Path in the library folder → signature."""
_T = TypeVar("_T")


class Memo(Protocol):
    """An authenticated key-value memory."""

    def get(self, key: str) -> bytes | None: ...
    def put(self, key: str, value: bytes) -> None: ...


def remembered(memo: Memo, key: str, kind: type[_T]) -> _T | None:
    """What `memo` keeps under `key`; None for nothing, or for what is of another form."""
    data = memo.get(key)
    if data is None:
        return None
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except msgspec.DecodeError:
        return None


class Checked(msgspec.Struct, frozen=True):
    """What verifying came to, for files of this signature."""

    signature: str
    digest: str
    problems: list[str]


class Checker:
    """Verifies distributions and folders, reading only what changed since the last time.

    For one moment: it looks at each of them once.
    """

    def __init__(self, memo: Memo, now: Callable[[], int]) -> None:
        self._memo = memo
        self._now = now
        self._looked: dict[str, Checked] = {}

    def distribution(self, known: Distribution, beside: Sequence[str]) -> Checked:
        """One distribution; `beside` are the metadata folders of those that share its folders."""

        def files() -> _Files:
            found: _Files = {}
            for entry in known.entries:
                found.update(installed.walk(known.site, entry))
            for path in known.outside:
                found.update(installed.walk(known.site, path))
            for info in beside:
                found.update(installed.walk(known.site, f"{info}/RECORD"))
            return found

        return self._checked(
            f"{known.site}/{known.info}", files, lambda found: _verify(known, beside, found)
        )

    def tree(self, site: str, entry: str) -> str:
        """The digest of a file or folder that no RECORD describes."""

        def digest(found: _Files) -> tuple[str, list[str]]:
            hashes = {path: installed.hash_file(f"{site}/{path}") or "-" for path in found}
            return _digest("tree", hashes), []

        def files() -> _Files:
            found = dict(installed.walk(site, entry))
            return {path: told for path, told in found.items() if not path.endswith(".pyc")}

        return self._checked(f"{site}/{entry}", files, digest).digest

    def _checked(
        self,
        what: str,
        files: Callable[[], _Files],
        verify: Callable[[_Files], tuple[str, list[str]]],
    ) -> Checked:
        if what not in self._looked:
            self._looked[what] = self._look(what, files, verify)
        return self._looked[what]

    def _look(
        self,
        what: str,
        files: Callable[[], _Files],
        verify: Callable[[_Files], tuple[str, list[str]]],
    ) -> Checked:
        key = f"{FORMAT}/files/{hashlib.sha256(what.encode(errors='surrogateescape')).hexdigest()}"
        found = files()
        signature = _signature(found)
        kept = remembered(self._memo, key, Checked)
        if kept is not None and kept.signature == signature:
            return kept
        for _ in range(_TRIES):
            checked = Checked(signature, *verify(found))
            found = files()
            signature = _signature(found)
            if signature == checked.signature:
                if _newest(found) < self._now() - _SETTLED_NS:
                    self._memo.put(key, msgspec.msgpack.encode(checked))
                return checked
        raise Conflict(
            f"{what} changes while it is checked",
            remedy="wait until the installation is done",
            code="pipeline.environment",
        )


def _signature(found: _Files) -> str:
    text = "\n".join(f"{path}\0{told}" for path, told in sorted(found.items()))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _newest(found: _Files) -> int:
    """The last time that anything about these files changed; never, where nothing can be told."""
    times = [int(told.split(" ")[2]) for told in found.values() if told.count(" ") >= 3]
    return max(times, default=0)


def _digest(kind: str, hashes: dict[str, str]) -> Digest:
    hasher = hashlib.sha256(f"{FORMAT} {kind}\n".encode())
    for path, told in sorted(hashes.items()):
        hasher.update(f"{path}\0{told}\n".encode("utf-8", "surrogateescape"))
    return cast(Digest, "sha256:" + hasher.hexdigest())


def _verify(known: Distribution, beside: Sequence[str], found: _Files) -> tuple[str, list[str]]:
    """The digest of a distribution's files, and what differs from its RECORD.

    As long as nothing does, the digest is over what the RECORD lists, so that it is the same on
    every machine, whichever program installed it; otherwise over what is there.
    """
    site = Path(known.site)
    record = installed.read_record(site / known.info)
    if record is None:
        hashes = {path: installed.hash_file(f"{site}/{path}") or "-" for path in found}
        problem = f"{known.name} {known.version} has no RECORD of its files"
        return _digest("unrecorded", hashes), [problem]
    differing: dict[str, str] = {}
    for path, listed in record.items():
        if _is_derived(path):
            continue
        own = path.startswith(f"{known.info}/")
        if not listed.digest:
            if not own or path.rpartition("/")[2] not in (*_NOTES, *_SIGNATURES):
                actual = installed.hash_file(f"{site}/{path}")
                differing[path] = f"is listed without a digest {actual or '-'}"
            continue
        if (why := _difference(f"{site}/{path}", listed)) is not None:
            differing[path] = why
    others = {f"{info}/RECORD" for info in beside}
    others = others.union(*(installed.read_record(site / info) or () for info in beside))
    for path in found:
        if path not in record and path not in others and path not in known.outside:
            if path.startswith(f"{known.info}/") and path.rpartition("/")[2] in _NOTES:
                continue
            actual = installed.hash_file(f"{site}/{path}")
            differing[path] = f"is not part of it {actual or '-'}"
    content = dict(_content(known, record))
    if not differing:
        return _digest("recorded", content), []
    problems = [
        f"{known.name} {known.version}: {path} {why.rpartition(' ')[0]}"
        for path, why in sorted(differing.items())
    ]
    if len(problems) > _MOST_TOLD:
        rest = len(problems) - _MOST_TOLD
        problems = [*problems[:_MOST_TOLD], f"{known.name} {known.version}: {rest} files more"]
    return _digest("altered", content | differing), problems


def _is_derived(path: str) -> bool:
    return path.endswith(".pyc") and "__pycache__/" in path


def _difference(path: str, listed: Listed) -> str | None:
    """How a file differs from what is listed, then its digest; None when it does not."""
    actual = installed.hash_file(path)
    if actual is None:
        return "is missing or cannot be read -"
    told = base64.urlsafe_b64encode(bytes.fromhex(actual)).rstrip(b"=").decode()
    return None if told == listed.digest else f"was changed {actual}"


def _content(known: Distribution, record: dict[str, Listed]) -> Iterator[tuple[str, str]]:
    """What was installed, but for what depends on the installer and the place."""
    for path, listed in record.items():
        note = path.startswith(f"{known.info}/") and path.rpartition("/")[2] in _NOTES
        if not note and not _is_derived(path) and path not in known.outside:
            yield path, f"{listed.digest} {listed.size}"
