"""The trust root: which keys a workspace is, signed and versioned.

Version 1 is pinned by its digest in ``assay.toml``; each later version is signed by a threshold of
the root keys of the version before it *and* of its own, as in The Update Framework (section 5.3),
so that whoever holds version 1 can follow the chain to any later one, offline.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from assay import canonical, files
from assay.errors import Corrupt, NotFound, Usage, Verification
from assay.evidence.envelope import Signature
from assay.evidence.signers import PublicKey, Signer
from assay.types import Digest

FORMAT = "assay/trust-root/v1"
_LIMIT = 1 << 20
_NUMBER = re.compile(r"[1-9][0-9]{0,5}")


class Root(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One version of the trust root."""

    format: Literal["assay/trust-root/v1"]
    version: int
    workspace: str
    origin: str
    """The ledger's name, as in its checkpoints."""
    ledger_key: PublicKey
    workspace_keys: tuple[PublicKey, ...]
    root_keys: tuple[PublicKey, ...]
    threshold: int
    recovery: str
    """The offline recovery recipient; empty at the development level."""
    issued: str


class SignedRoot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A root and the signatures over its canonical bytes."""

    root: Root
    signatures: tuple[Signature, ...]

    @property
    def digest(self) -> Digest:
        """What ``assay.toml`` pins for version 1: the digest of the root without signatures."""
        return canonical.digest(canonical.encode(self.root))


def sign(root: Root, signers: Sequence[Signer]) -> SignedRoot:
    """A root signed by each of `signers`."""
    body = canonical.encode(root)
    return SignedRoot(
        root, tuple(Signature(s.public.keyid, canonical.b64(s.sign(body))) for s in signers)
    )


def read_signed(plain: Any) -> SignedRoot:
    """A signed root from plain JSON; raises `Corrupt` for anything else."""
    try:
        signed = msgspec.convert(plain, SignedRoot)
    except msgspec.ValidationError as error:
        raise Corrupt(f"trust root: {error}", code="trust") from error
    _check(signed.root)
    return signed


def _check(root: Root) -> None:
    """Raise `Corrupt` for a root that could not do its work."""
    ids = {key.keyid for key in root.root_keys}
    own = {key.keyid for key in root.workspace_keys}
    makes_sense = (
        1 <= root.threshold <= len(ids) == len(root.root_keys)
        and 1 <= len(own) == len(root.workspace_keys)
        and root.ledger_key.keyid
        and root.version >= 1
    )
    if not makes_sense:
        raise Corrupt("trust root: its threshold, keys or version make no sense", code="trust")


def verify_chain(roots: Sequence[SignedRoot], pinned: Digest | None = None) -> Root:
    """The newest root of a chain that begins with version 1; raises `Verification`.

    `pinned` is the digest of version 1 that is known beforehand; without it the first root vouches
    for itself only.
    """
    if not roots:
        raise Verification("there is no trust root", code="trust")
    first = roots[0]
    if pinned is not None and first.digest != pinned:
        raise Verification(
            f"the first trust root is {first.digest}, and {pinned} is pinned",
            remedy="compare assay.toml with a copy from somebody you trust",
            code="trust.pinned",
        )
    before: Root | None = None
    for expected, signed in enumerate(roots, start=1):
        root = signed.root
        _check(root)
        if root.version != expected:
            raise Verification(
                f"the trust root's version {expected} is missing", code="trust.version"
            )
        if before is not None:
            if (root.workspace, root.origin) != (before.workspace, before.origin):
                raise Verification(
                    f"version {expected} of the trust root is of another workspace", code="trust"
                )
            _threshold(signed, before, f"version {expected} of the trust root, by the one before")
        _threshold(signed, root, f"version {expected} of the trust root")
        before = root
    return roots[-1].root


def _threshold(signed: SignedRoot, by: Root, what: str) -> None:
    keys = {key.keyid: key for key in by.root_keys}
    body = canonical.encode(signed.root)
    good: set[str] = set()
    for signature in signed.signatures:
        key = keys.get(signature.keyid)
        if key is not None:
            key.verify(canonical.unb64(signature.sig, what=f"{what}: signature"), body)
            good.add(signature.keyid)
    if len(good) < by.threshold:
        raise Verification(
            f"{what} has {len(good)} of the {by.threshold} signatures it needs", code="trust"
        )


def save(folder: Path, signed: SignedRoot) -> None:
    """Keep a version as ``N.json``; raises `Usage` if that version is there already."""
    files.make_folder(folder)
    path = folder / f"{signed.root.version}.json"
    try:
        files.write(path, canonical.encode(signed), mode=0o644, replace=False)
    except FileExistsError as error:
        raise Usage(f"{path} exists; a trust root is never changed", code="trust.exists") from error


def load(folder: Path) -> list[SignedRoot]:
    """Every version kept in a folder, in order; raises `NotFound`, or `Corrupt` for a gap."""
    found: list[SignedRoot] = []
    names = [path.stem for path in folder.glob("*.json")] if folder.is_dir() else []
    kept = sorted(int(name) for name in names if _NUMBER.fullmatch(name))
    for version, present in enumerate(kept, start=1):
        if version != present:
            raise Corrupt(
                f"trust root: {folder} holds version {present}, but not version {version}",
                remedy="restore the missing file from a copy; every version is public",
                code="trust.version",
            )
        path = folder / f"{version}.json"
        data = files.read(path, limit=_LIMIT, what="trust root")
        found.append(read_signed(canonical.decode(data, what=f"trust root {path}")))
    if not found:
        raise NotFound(
            f"{folder} holds no trust root", remedy="restore it from a copy", code="trust"
        )
    return found
