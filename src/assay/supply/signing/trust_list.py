"""A trust list: the file ``assay/trust-list/v1`` (TOML) that says whose model signatures count.

Keys and certificates stand in it as PEM, so that one file under review and version control says
everything.  See ``docs/sign.md``.
"""

from __future__ import annotations

import tomllib
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

import msgspec

from assay import files
from assay.errors import Usage
from assay.supply.signing import trust

FORMAT = "assay/trust-list/v1"
_LIMIT = 4 << 20
_MOST = 10_000


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: str
    expires: datetime | None = None


class _Key(_Entry, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pem: str


class _Root(_Entry, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pem: str
    subject: str = ""
    san: list[str] = msgspec.field(default_factory=list[str])
    issuer: str = ""
    allow_expired: bool = False


class _Identity(_Entry, frozen=True, forbid_unknown_fields=True, kw_only=True):
    identity: str
    issuer: str
    trusted_root: str = ""


class _List(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    format: Literal["assay/trust-list/v1"]
    expires: datetime | None = None
    key: list[_Key] = msgspec.field(default_factory=list[_Key])
    certificate_root: list[_Root] = msgspec.field(default_factory=list[_Root])
    sigstore: list[_Identity] = msgspec.field(default_factory=list[_Identity])


def load(path: Path) -> trust.Trust:
    """The trust list in a file; raises `Usage` for one that says anything unclear."""
    with files.open_input(path, what="trust list") as stream:
        data = stream.read(_LIMIT + 1)
    if len(data) > _LIMIT:
        raise _wrong(path, f"it is larger than {_LIMIT} bytes")
    try:
        document = msgspec.convert(tomllib.loads(data.decode("utf-8")), _List)
    except (ValueError, msgspec.ValidationError, RecursionError) as error:
        raise _wrong(path, str(error)) from error
    entries: list[_Entry] = [*document.key, *document.certificate_root, *document.sigstore]
    names = [entry.name for entry in entries]
    if not entries or len(entries) > _MOST:
        raise _wrong(path, "it trusts nobody, or too many")
    if "" in names or len(set(names)) != len(names):
        raise _wrong(path, "each entry needs a name of its own")
    found = trust.Trust(
        keys=tuple(_key(entry, path) for entry in document.key),
        roots=tuple(_root(entry, path) for entry in document.certificate_root),
        identities=tuple(_identity(entry, path) for entry in document.sigstore),
        expires=_time(document.expires, path),
        source=str(path),
    )
    if len({key.hint for key in found.keys}) != len(found.keys):
        raise _wrong(path, "it lists a key twice")
    return found


def _key(entry: _Key, path: Path) -> trust.TrustedKey:
    public = trust.public_key(entry.pem.encode(), f"the key {entry.name!r} in {path}")
    return trust.TrustedKey(entry.name, public, _time(entry.expires, path))


def _root(entry: _Root, path: Path) -> trust.TrustedRoot:
    if not entry.subject and not entry.san:
        raise _wrong(
            path,
            f"the certificate root {entry.name!r} says nothing about whose certificate counts",
            'add subject = "CN=…" or san = ["email:…"]: otherwise everybody under it would sign',
        )
    for name in entry.san:
        if name.partition(":")[0] not in ("email", "dns", "uri"):
            raise _wrong(path, f"{name[:80]!r} is no email:…, dns:… or uri:…")
    return trust.TrustedRoot(
        entry.name,
        trust.certificates(entry.pem.encode(), f"the certificate root {entry.name!r} in {path}"),
        entry.subject,
        tuple(entry.san),
        entry.issuer,
        entry.allow_expired,
        _time(entry.expires, path),
    )


def _identity(entry: _Identity, path: Path) -> trust.TrustedIdentity:
    if not entry.identity or not entry.issuer:
        raise _wrong(path, f"{entry.name!r} needs both an identity and an issuer")
    root = path.parent / entry.trusted_root if entry.trusted_root else None
    return trust.TrustedIdentity(
        entry.name, entry.identity, entry.issuer, root, _time(entry.expires, path)
    )


def _time(at: datetime | None, path: Path) -> datetime | None:
    if at is not None and at.tzinfo is None:
        raise _wrong(path, f"the time {at} has no timezone", "append Z for UTC")
    return at.astimezone(timezone.utc) if at is not None else None


def _wrong(path: Path, why: str, remedy: str = "") -> Usage:
    return Usage(
        f"the trust list {path} is not of the format {FORMAT}: {why}",
        remedy=remedy or "see the page about signing for an example",
        code="signing.trust_list",
    )
