"""The witnesses that a ledger's owner asks, and asking them (C2SP tlog-witness, its client).

Which they are lies beside the ledger (`assay/witnesses/v1`).  It protects nothing: whoever verifies
names the witnesses to believe.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from assay import canonical, files
from assay.errors import AssayError, Corrupt, NotFound, Unavailable, Usage, Verification
from assay.evidence import witnessed
from assay.evidence.cosignatures import COSIGNATURE, VerifierKey, merge, read_note, signed_by
from assay.evidence.notes import LIMIT
from assay.supply.transparency.remote import Remote

FORMAT = "assay/witnesses/v1"
_LIMIT = 1 << 20
_MOST = 16
_SIZE = re.compile(rb"(0|[1-9][0-9]{0,18})\n")
_TRIES = 3


class Listed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A witness: where to ask it, and the key it cosigns with."""

    url: str
    vkey: str

    @property
    def key(self) -> VerifierKey:
        return VerifierKey.parse(self.vkey)


class Witnesses(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Those that are asked."""

    format: str = FORMAT
    witnesses: tuple[Listed, ...] = ()

    def with_one(self, url: str, vkey: str) -> Witnesses:
        """One more, or the same at another address; raises `Usage` for what is none."""
        Remote(url)
        key = VerifierKey.parse(vkey)
        if key.kind != COSIGNATURE:
            raise Usage(
                f"{vkey[:120]} is the key of a log, not of a witness",
                remedy="give the verifier key that the witness published",
                code="vkey.witness",
            )
        others = tuple(held for held in self.witnesses if held.key.raw != key.raw)
        if len(others) >= _MOST:
            raise Usage(
                f"there are {len(others)} witnesses already",
                remedy="remove one: assay ledger witness remove VKEY",
                code="witnesses",
            )
        return Witnesses(FORMAT, (*others, Listed(url, vkey)))

    def without(self, vkey: str) -> Witnesses:
        """One fewer; raises `NotFound` where it is not there."""
        left = tuple(held for held in self.witnesses if held.vkey != vkey)
        if len(left) == len(self.witnesses):
            raise NotFound(
                f"{vkey[:120]!r} is no witness of this ledger",
                remedy="assay ledger witness list shows them",
                code="witnesses",
            )
        return Witnesses(FORMAT, left)


def load(path: Path) -> Witnesses:
    """The witnesses in a file; none where there is no file; raises `Corrupt`."""
    try:
        data = files.read(path, limit=_LIMIT, what="witnesses")
    except NotFound:
        return Witnesses()
    plain: Any = canonical.decode(data, what=f"witnesses {path}")
    try:
        found = msgspec.convert(plain, Witnesses)
        if found.format != FORMAT:
            raise Corrupt(
                f"{path}: unknown format {found.format[:40]!r}",
                remedy=f"this assay reads {FORMAT}; use a newer one",
                code="witnesses",
            )
        for listed in found.witnesses:
            Remote(listed.url)
            _ = listed.key
    except (msgspec.ValidationError, Usage) as error:
        raise Corrupt(f"witnesses {path}: {error}", code="witnesses") from error
    return found


def save(path: Path, witnesses: Witnesses) -> None:
    """Write the file anew."""
    files.write(path, canonical.encode(witnesses))


class Asked(msgspec.Struct, frozen=True):
    """What came of asking one witness."""

    witness: str
    url: str
    cosigned: bool
    why: str = ""
    """Where it did not: the reason."""
    alarm: bool = False
    """Whether the reason is that it saw another or a larger ledger."""


Consistency = Callable[[int, int], list[bytes]]


def collect(
    note: bytes,
    witnesses: Sequence[Listed],
    consistency: Consistency,
    *,
    remote: Callable[[str], Remote] = Remote,
) -> tuple[bytes, list[Asked]]:
    """`note` with the cosignatures of all witnesses that gave one, and what came of each.

    `consistency` proves the checkpoint to a witness that saw an older one.  A witness that fails,
    or answers wrongly, costs its cosignature and nothing else.
    """
    asked: list[Asked] = []
    for listed in witnesses:
        key = listed.key
        try:
            note = merge(note, _ask(note, remote(listed.url), consistency), [key])
            if key not in signed_by(read_note(note), [key]):
                raise Unavailable("it answered without a cosignature of its key")
            asked.append(Asked(key.name, listed.url, cosigned=True))
        except AssayError as error:
            alarm = isinstance(error, Verification) and error.code.startswith(_ALARM)
            asked.append(Asked(key.name, listed.url, False, error.message, alarm))
    return note, asked


_ALARM = "verification.witness"


def _ask(note: bytes, remote: Remote, consistency: Consistency) -> bytes:
    """The signature lines of one witness."""
    size = read_note(note).size
    old = size  # Most often it saw this checkpoint's predecessor, or this one; it tells which.
    for _ in range(_TRIES):
        proof = consistency(old, size) if old else []
        answer = remote.ask("POST", "add-checkpoint", witnessed.encode(old, proof, note), LIMIT)
        if answer.status == 200:
            return answer.body
        known = _SIZE.fullmatch(answer.body)
        if answer.status != 409 or known is None:
            said = answer.body[:200].decode("utf-8", "replace").strip()
            raise Unavailable(f"it answers {answer.status}: {said}")
        if int(known[1]) > size:
            raise Verification(
                f"it has seen {int(known[1])} leaves of this ledger, which now has {size}",
                remedy="the ledger was rolled back: restore its newest copy",
                code="witness.newer",
            )
        if int(known[1]) == old:
            raise Verification(
                f"it has seen another ledger of {old} leaves under this name",
                remedy="the ledger was forked: compare its copies",
                code="witness.forked",
            )
        old = int(known[1])
    raise Unavailable("it changes its mind about what it saw")
