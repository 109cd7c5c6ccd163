"""Proofs that a log broke its promise, which hold without believing who shows them.

A log promises to only ever grow.  Two checkpoints signed by its key that cannot both be true are
the proof (`assay/misbehaviour/v1`):

*fork*
    two trees of which the smaller is not the beginning of the larger.  Between different sizes it
    takes hashes of the larger tree, from which the root it had at the smaller size follows.
*rollback*
    a smaller tree that the log called its largest at a later time (tlog-cosignature).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from assay import canonical
from assay.clock import timestamp
from assay.errors import AssayError, Corrupt, Usage, Verification
from assay.evidence import merkle
from assay.evidence.cosignatures import Note, VerifierKey, check_log, only, read_note
from assay.evidence.merkle import HashAt

FORMAT = "assay/misbehaviour/v1"
LIMIT = 1 << 20
Kind: TypeAlias = Literal["fork", "rollback"]


class Misbehaviour(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Two signed checkpoints that cannot both be true."""

    format: Literal["assay/misbehaviour/v1"]
    kind: Kind
    log: str
    """The log's verifier key, as whoever found this knew it."""
    first: str
    second: str
    path: tuple[str, ...] = ()
    """Of a fork between two sizes: hashes of the larger tree (see `path_between`)."""


class Proven(msgspec.Struct, frozen=True):
    """What a verified proof says."""

    kind: Kind
    log: str
    sizes: tuple[int, int]
    times: tuple[str, str]
    """Of each checkpoint, as the log signed it; empty where it gave none."""


def path_between(old: int, new: int, hash_at: HashAt) -> list[bytes]:
    """The consistency proof, with its first hash also where RFC 6962 leaves it out.

    So both roots follow from it, and what the smaller one *was* can be compared with what was
    signed.  Sizes must differ and not be 0.
    """
    path = merkle.consistency_proof(old, new, hash_at)
    return path if old & (old - 1) else [hash_at(old.bit_length() - 1, 0), *path]


def roots_of(old: int, new: int, path: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The roots at both sizes that `path` leads to; raises `Corrupt` for one of another length."""
    wrong = Corrupt("misbehaviour: the path has a wrong length", code="misbehaviour")
    if not path or any(len(node) != 32 for node in path):
        raise wrong
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    first = second = path[0]
    for node in path[1:]:
        if last == 0:
            raise wrong
        if at & 1 or at == last:
            first, second = merkle.node_hash(node, first), merkle.node_hash(node, second)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            second = merkle.node_hash(second, node)
        at, last = at >> 1, last >> 1
    if last != 0:
        raise wrong
    return first, second


def fork(log: VerifierKey, first: bytes, second: bytes, path: Sequence[bytes] = ()) -> bytes:
    """The file that proves a fork; raises `Verification` when these do not."""
    return _made("fork", log, first, second, path)


def rollback(log: VerifierKey, first: bytes, second: bytes) -> bytes:
    """The file that proves a roll-back to `second`; raises `Verification` when these do not."""
    return _made("rollback", log, first, second, ())


def _made(
    kind: Kind, log: VerifierKey, first: bytes, second: bytes, path: Sequence[bytes]
) -> bytes:
    made = Misbehaviour(
        FORMAT,
        kind,
        str(log),
        only(read_note(first), log).decode(),
        only(read_note(second), log).decode(),
        tuple(canonical.b64(node) for node in path),
    )
    data = canonical.encode(made)
    verify(data, log)
    return data


def read(data: bytes) -> Misbehaviour:
    """Such a file, taken apart; raises `Corrupt`."""
    if len(data) > LIMIT:
        raise Corrupt(f"misbehaviour: larger than {LIMIT:,} bytes", code="misbehaviour")
    try:
        return msgspec.convert(canonical.decode(data, what="misbehaviour"), Misbehaviour)
    except msgspec.ValidationError as error:
        raise Corrupt(f"misbehaviour: {error}", code="misbehaviour") from error


def verify(data: bytes, log: VerifierKey | None = None) -> Proven:
    """What is proven, of the log with this key (by default, of the key that the file names).

    Raises `Verification` for what proves nothing.
    """
    made = read(data)
    try:
        named = VerifierKey.parse(made.log)
    except Usage as error:
        raise Corrupt("misbehaviour: it names no verifier key", code="misbehaviour") from error
    if log is not None and named != log:
        raise Verification(
            f"the file is about the log {named.name}, by another key than the one you know",
            remedy="compare the verifier key with the log's owner",
            code="misbehaviour.log",
        )
    signed = [text.encode() for text in (made.first, made.second)]
    notes = [read_note(note) for note in signed]
    if [only(note, named) for note in notes] != signed:
        raise Corrupt("misbehaviour: signatures of others than the log", code="misbehaviour")
    times = [check_log(note, named) for note in notes]
    sizes = (notes[0].size, notes[1].size)
    if made.kind == "rollback":
        before, after = times
        if made.path or before is None or after is None:
            raise _nothing("a roll-back is told by the times of both, and nothing else")
        if not (sizes[1] < sizes[0] and after > before):
            raise _nothing("the later checkpoint is not the smaller one")
    else:
        _check_fork(notes, [canonical.unb64(node, what="path") for node in made.path])
    said = [timestamp(at) if at is not None else "" for at in times]
    return Proven(made.kind, str(named), sizes, (said[0], said[1]))


def _check_fork(notes: Sequence[Note], path: Sequence[bytes]) -> None:
    small, large = sorted(notes, key=lambda note: note.size)
    if small.size == large.size:
        if path or small.root == large.root:
            raise _nothing("both checkpoints are of the same tree")
    elif small.size == 0:
        if path or small.root == merkle.EMPTY_ROOT:
            raise _nothing("every tree extends the empty one")
    else:
        try:
            was, whole = roots_of(small.size, large.size, path)
        except AssayError as error:
            raise _nothing(error.message) from error
        if whole != large.root:
            raise _nothing("its hashes are not of the larger tree")
        if was == small.root:
            raise _nothing("the larger tree extends the smaller one")


def _nothing(why: str) -> Verification:
    return Verification(
        f"this proves no misbehaviour: {why}",
        remedy="get the file again from whoever says so; if it is the same, they are wrong",
        code="misbehaviour.nothing",
    )
