"""Findings that somebody answers for: ``assay/suppressions/v1``, signed, by digest, until a day.

A suppression names one rule and one file by its SHA-256 digest, so that another file, or the same
one with one byte changed, is found again.  It has a reason, an owner, and ends after at most
`MOST_DAYS`.  It covers *suspicious* findings; *unscannable* and *malicious* ones only where it says
so in ``accepts``.  What is suppressed is still shown and counted.

The file is TOML, to be reviewed in a pull request; beside it lies its signature, a DSSE envelope
whose payload is the very bytes of the file.  Without a signature by a key that the user named, no
entry counts.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from assay import canonical, files
from assay.errors import Corrupt, NotFound, Usage, Verification
from assay.supply.batch import Batch, Found, Scanned
from assay.supply.findings import ORDER, Severity

if TYPE_CHECKING:  # A scan without suppressions loads no cryptography.
    from assay.evidence.envelope import Envelope
    from assay.evidence.signers import PublicKey, Signer

FORMAT = "assay/suppressions/v1"
PAYLOAD_TYPE = "application/vnd.assay.suppressions.v1+toml"
SIGNATURE = ".dsse.json"
"""Appended to the file's name: where its signature lies."""
MOST_DAYS = 180
MOST_ENTRIES = 10_000
_MOST_BYTES = 8 << 20
_MOST_SIGNATURES = 32

Line: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]*\Z")
]
Accepts: TypeAlias = Literal["suspicious", "unscannable", "malicious"]


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One rule in one file that somebody answers for."""

    rule: Annotated[str, Meta(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)*\Z", max_length=80)]
    digest: Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]
    reason: Line
    owner: Line
    added: date
    expires: date
    """The first day on which it does not count any more."""
    accepts: Accepts = "suspicious"
    """The severity it covers, and no other."""
    file: Annotated[str, Meta(max_length=500)] = ""
    """What the file was called, for readers; it decides nothing."""


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole file."""

    format: Literal["assay/suppressions/v1"]
    suppress: Annotated[list[Entry], Meta(max_length=MOST_ENTRIES)] = []


@dataclass(frozen=True, slots=True)
class Trusted:
    """Entries whose signature held, and whose."""

    entries: tuple[Entry, ...]
    signers: tuple[str, ...]
    expired: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Judged:
    """One file, its findings parted, and the severity of what is left."""

    scanned: Scanned
    open: tuple[Found, ...]
    suppressed: tuple[tuple[Found, Entry], ...]
    verdict: str
    """Of what is not suppressed; what the exit status goes by."""


def parse(data: bytes, *, today: date) -> Document:
    """The document; raises `Usage` for a mistake in it, `Corrupt` for another format."""
    try:
        plain = tomllib.loads(data.decode())
        named = plain.get("format")
        if named != FORMAT:
            raise Corrupt(
                f"the suppressions have the format {str(named)[:60]!r}, not {FORMAT}",
                remedy="use a version of assay that knows it, or begin the file with "
                f'format = "{FORMAT}"',
                code="suppressions.format",
            )
        document = msgspec.convert(plain, Document)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _wrong(f"they are not TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise _wrong(str(error)) from error
    seen: set[tuple[str, str, str]] = set()
    for number, entry in enumerate(document.suppress, start=1):
        what = f"entry {number} ({entry.rule})"
        if type(entry.added) is not date or type(entry.expires) is not date:
            raise _wrong(f"{what} gives a time where a day belongs")
        if entry.expires - entry.added > timedelta(days=MOST_DAYS):
            raise _wrong(f"{what} lasts more than {MOST_DAYS} days from the day it was added")
        if entry.expires <= entry.added:
            raise _wrong(f"{what} expires before it was added")
        if entry.added > today + timedelta(days=1):  # A day, for time zones.
            raise _wrong(f"{what} was added on {entry.added}, which is in the future")
        key = (entry.rule, entry.digest, entry.accepts)
        if key in seen:
            raise _wrong(f"{what} stands there twice")
        seen.add(key)
    return document


def _wrong(why: str) -> Usage:
    shown = "".join(c if c.isprintable() else "?" for c in why)[:300]
    return Usage(
        f"the suppressions are not as {FORMAT} has it: {shown}",
        remedy="mend the file and sign it again: assay suppressions sign FILE",
        code="suppressions",
    )


def read(path: Path, *, today: date) -> tuple[bytes, Document]:
    """A file of suppressions as it stands, signed or not."""
    data = files.read(path, limit=_MOST_BYTES, what="suppressions")
    return data, parse(data, today=today)


def render(entries: Iterable[Entry]) -> bytes:
    """The file for these entries: TOML that `parse` reads back as it was."""
    lines = [
        "# Findings that somebody answers for: docs/scan-in-ci.md.  After a change, sign again:",
        "#   assay suppressions sign FILE",
        f'format = "{FORMAT}"',
    ]
    for entry in entries:
        lines += ["", "[[suppress]]"]
        for name in entry.__struct_fields__:
            value = getattr(entry, name)
            if isinstance(value, date):
                lines.append(f"{name} = {value.isoformat()}")
            elif value or name not in ("file",):
                lines.append(f"{name} = {_quoted(value)}")
    return ("\n".join(lines) + "\n").encode()


def _quoted(text: str) -> str:
    """A basic string of TOML; JSON's escapes are a part of TOML's, but for DEL."""
    whole = text.encode("utf-8", "backslashreplace").decode()
    return msgspec.json.encode(whole).decode().replace("\x7f", "\\u007f")


# -- signatures ------------------------------------------------------------------------------------


def signature_path(path: Path) -> Path:
    return path.with_name(path.name + SIGNATURE)


def sign(data: bytes, *signers: Signer) -> bytes:
    """The envelope over the bytes of a file."""
    from assay.evidence import envelope as envelopes
    from assay.evidence.envelope import Envelope, Signature

    signed = envelopes.pae(PAYLOAD_TYPE, data)
    made = Envelope(
        canonical.b64(data),
        PAYLOAD_TYPE,
        tuple(Signature(s.public.keyid, canonical.b64(s.sign(signed))) for s in signers),
    )
    return envelopes.encode(made)


def load(path: Path, keys: Sequence[PublicKey], *, today: date) -> Trusted:
    """The entries of a file that one of `keys` signed; those that expired are set apart.

    Raises `Verification` when the signature is missing, by nobody of `keys`, or over other bytes;
    `Usage`, `Corrupt` and `NotFound` as reading does.
    """
    from assay.evidence import envelope as envelopes

    data = files.read(path, limit=_MOST_BYTES, what="suppressions")
    beside = signature_path(path)
    try:
        made = _envelope(files.read(beside, limit=envelopes.LIMIT, what="signature"))
    except NotFound as error:
        raise Verification(
            f"the suppressions {path} are not signed: there is no {beside.name} beside them",
            remedy=f"have them reviewed and signed: assay suppressions sign {path}",
            code="suppressions.unsigned",
        ) from error
    if made.payloadType != PAYLOAD_TYPE:
        raise Verification(
            f"{beside.name} is the signature of something else",
            remedy=f"assay suppressions sign {path}",
            code="suppressions.payload",
        )
    signers = envelopes.verify(made, {key.keyid: key for key in keys})
    if made.body != data:
        raise Verification(
            f"the suppressions {path} were changed after they were signed",
            remedy=f"review the change, then sign them again: assay suppressions sign {path}",
            code="suppressions.altered",
        )
    document = parse(data, today=today)
    live = tuple(entry for entry in document.suppress if entry.expires > today)
    expired = tuple(entry for entry in document.suppress if entry.expires <= today)
    return Trusted(live, tuple(signers), expired)


def _envelope(data: bytes) -> Envelope:
    from assay.evidence.envelope import Envelope

    try:
        made = msgspec.json.decode(data, type=Envelope)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Corrupt(f"the signature is no envelope: {error}", code="suppressions.dsse") from error
    if not 0 < len(made.signatures) <= _MOST_SIGNATURES:
        raise Corrupt("the envelope has no signature, or too many", code="suppressions.dsse")
    return made


# -- what they change ------------------------------------------------------------------------------


def judge(batch: Batch, trusted: Trusted | None) -> list[Judged]:
    """Each file with its findings parted into open and suppressed ones."""
    known: dict[tuple[str, str, str], Entry] = {}
    for entry in trusted.entries if trusted else ():
        known[entry.rule, entry.digest, entry.accepts] = entry
    return [_judge(scanned, known) for scanned in batch.files]


def _judge(scanned: Scanned, known: Mapping[tuple[str, str, str], Entry]) -> Judged:
    answer = scanned.answer
    left: list[Found] = []
    covered: list[tuple[Found, Entry]] = []
    for found in answer.findings:
        entry = known.get((found.rule, answer.digest, found.severity)) if answer.digest else None
        if entry is None:
            left.append(found)
        else:
            covered.append((found, entry))
    if answer.findings_count != len(answer.findings):
        # There is more than was written down, and nobody can answer for what they did not see.
        return Judged(scanned, tuple(left), tuple(covered), answer.verdict)
    worst: set[Severity] = {found.severity for found in left}
    verdict = next((severity for severity in ORDER if severity in worst), "clean")
    return Judged(scanned, tuple(left), tuple(covered), verdict)


def baseline(
    judged: Iterable[Judged], *, reason: str, owner: str, today: date, days: int
) -> tuple[list[Entry], int]:
    """Entries for every open *suspicious* finding, and how many findings are worse than that.

    What is unscannable or malicious is for a person to accept, one by one.
    """
    made: dict[tuple[str, str], Entry] = {}
    worse = 0
    for one in judged:
        for found in one.open:
            if found.severity != "suspicious" or not one.scanned.answer.digest:
                worse += 1
                continue
            made.setdefault(
                (found.rule, one.scanned.answer.digest),
                entry(
                    rule=found.rule,
                    digest=one.scanned.answer.digest,
                    reason=reason,
                    owner=owner,
                    added=today,
                    expires=today + timedelta(days=days),
                    file=one.scanned.path,
                ),
            )
    return list(made.values()), worse


def entry(**fields: Any) -> Entry:
    """An entry of checked values; raises `Usage`."""
    name = str(fields.get("file", ""))
    fields["file"] = "".join(c if c.isprintable() else "?" for c in name)[-500:]
    try:
        made = msgspec.convert(fields, Entry)
    except msgspec.ValidationError as error:
        raise Usage(
            f"that is no suppression: {error}",
            remedy="give a rule as the scan printed it, a reason and an owner",
            code="suppressions.entry",
        ) from error
    if not timedelta(0) < made.expires - made.added <= timedelta(days=MOST_DAYS):
        raise Usage(
            f"a suppression lasts from 1 to {MOST_DAYS} days",
            remedy=f"--days with at most {MOST_DAYS}; renew it when it has been looked at again",
            code="suppressions.days",
        )
    return made
