"""A witness: it cosigns checkpoints of logs that only ever grew under its eyes.

C2SP tlog-witness.  Its one duty is never to sign two checkpoints of a log of which one is not the
beginning of the other, nor a smaller one after a larger one.  So what it saw last is on disk,
durably, before a signature leaves it, and one process at a time has the file.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec

from assay import canonical, files
from assay.clock import Clock, not_before
from assay.errors import AssayError, Conflict, Corrupt, NotFound, Unavailable, Usage, Verification
from assay.evidence import merkle, witnessed
from assay.evidence.cosignatures import (
    COSIGNATURE,
    NOTE,
    Note,
    VerifierKey,
    cosign,
    only,
    read_note,
    signed_by,
)
from assay.evidence.signers import Signer

FORMAT = "assay/witness-state/v1"
BODY_LIMIT = witnessed.LIMIT
"""Bytes of the largest request: a checkpoint, the old size and 63 hashes."""
SIZE_MEDIA = b"text/x.tlog.size"
_STATE_LIMIT = 64 << 20


class Seen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The newest checkpoint of a log that was cosigned."""

    size: int
    root: str
    time: int
    """Of the last cosignature: they never run backwards."""
    note: str
    """The checkpoint as the log signed it: what proves a fork."""


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a witness must not forget."""

    format: str
    witness: str
    """Its verifier key, so that no other witness takes this file for its own."""
    logs: dict[str, Seen]


@dataclass(frozen=True, slots=True)
class Answer:
    """What HTTP answers: a status, a body, and a media type where it is not plain text."""

    status: int
    body: bytes
    media: bytes = b"text/plain; charset=utf-8"


def create(path: Path, key: VerifierKey) -> None:
    """The file of a new witness; raises `Conflict` if there is one, which is never begun anew."""
    files.make_folder(path.parent)
    try:
        files.write(path, canonical.encode(State(FORMAT, str(key), {})), replace=False)
    except FileExistsError as error:
        raise Conflict(
            f"{path} exists: a witness that forgets what it saw would sign a fork",
            remedy="name another file, for another witness with another key",
            code="witness.state",
        ) from error


def load(path: Path) -> State:
    """A witness's file; raises `NotFound` or `Corrupt`."""
    try:
        data = files.read(path, limit=_STATE_LIMIT, what="state of the witness")
    except NotFound as error:
        raise NotFound(
            error.message,
            remedy="a new witness: assay witness init; a witness whose file is lost has to be "
            "replaced by one with a new key",
            code="witness.state",
        ) from error
    plain: Any = canonical.decode(data, what=f"state of the witness {path}")
    try:
        state = msgspec.convert(plain, State)
    except msgspec.ValidationError as error:
        raise Corrupt(f"state of the witness {path}: {error}", code="witness.state") from error
    if state.format != FORMAT:
        raise Corrupt(
            f"{path}: unknown format {state.format[:40]!r}",
            remedy=f"this assay reads {FORMAT}; use a newer one",
            code="witness.state",
        )
    return state


class Witness:
    """A witness at work; a context manager that keeps its file for itself meanwhile."""

    def __init__(
        self, path: Path, signer: Signer, logs: Sequence[VerifierKey], clock: Clock
    ) -> None:
        """`logs` are the keys to believe; several of one name are keys of the same log.

        Raises `Verification` when the file at `path` is of another witness.
        """
        self._path = path
        self._signer = signer
        self._clock = clock
        self._turn = threading.Lock()
        self._lock = files.Lock(path.with_name(path.name + ".lock"), wait=False)
        self._logs: dict[str, list[VerifierKey]] = {}
        for key in logs:
            if key.kind != NOTE:
                raise Usage(
                    f"{key} is the key of a witness, not of a log",
                    remedy="give the log's own verifier key",
                    code="vkey.log",
                )
            self._logs.setdefault(key.name, []).append(key)
        self._held = False
        self._state = load(path)
        self.key = VerifierKey.parse(self._state.witness)
        if self.key.kind != COSIGNATURE or self.key.public != signer.public:
            raise Verification(
                f"{path} is of the witness {self._state.witness}, by another key than this",
                remedy="give the key that belongs to this file",
                code="witness.key",
            )

    def __enter__(self) -> Witness:
        self._lock.__enter__()
        self._state = load(self._path)  # As it is now that nobody else writes it.
        self._held = True
        return self

    def __exit__(self, *exc: object) -> None:
        with self._turn:
            self._held = False
            self._lock.__exit__(*exc)

    def add_checkpoint(self, body: bytes) -> Answer:
        """The answer to ``POST /add-checkpoint``: a cosignature, or why there is none."""
        try:
            old, proof, note = _request(body)
        except AssayError as error:
            return _said(400, error.message)
        keys = self._logs.get(note.origin)
        if keys is None:
            return _said(404, "this log is not known here")
        try:
            signed = signed_by(note, keys)
        except AssayError:
            signed = {}
        if not signed:
            return _said(403, "no signature by a key of this log holds")
        if old > note.size:
            return _said(400, "the old size is larger than the checkpoint's")
        with self._turn:
            try:
                return self._advance(old, proof, note, list(signed))
            except Unavailable:
                return _said(503, "nothing can be signed now")

    def _advance(
        self, old: int, proof: Sequence[bytes], note: Note, signed: Sequence[VerifierKey]
    ) -> Answer:
        if not self._held:
            raise Unavailable("the witness's file is not locked", code="witness.lock")
        seen = self._state.logs.get(note.origin)
        known = seen.size if seen is not None else 0
        if old != known:
            return _size(known)
        root = canonical.unb64(seen.root, what="root") if seen is not None else merkle.EMPTY_ROOT
        if old == note.size and root != note.root:
            return _size(known)
        try:
            merkle.verify_consistency(old, note.size, root, note.root, proof)
        except Verification as error:
            return _said(422, error.message)
        last = datetime.fromtimestamp(seen.time, timezone.utc) if seen is not None else None
        at = not_before(self._clock.now(), last)
        kept = only(note, signed[0]).decode()
        now = Seen(note.size, canonical.b64(note.root), int(at.timestamp()), kept)
        state = msgspec.structs.replace(self._state, logs={**self._state.logs, note.origin: now})
        # On disk before anything is signed: what was signed and forgotten would be signed again,
        # of another history.
        files.write(self._path, canonical.encode(state))
        files.point("witness.kept")
        self._state = state
        return Answer(200, cosign(note.text, self.key.name, self._signer, at))


def _request(body: bytes) -> tuple[int, list[bytes], Note]:
    """The old size, the proof and the checkpoint of a request; raises `Corrupt`."""
    old, proof, note = witnessed.decode(body)
    return old, proof, read_note(note)


def _said(status: int, text: str) -> Answer:
    return Answer(status, f"{text}\n".encode())


def _size(size: int) -> Answer:
    return Answer(409, f"{size}\n".encode(), SIZE_MEDIA)
