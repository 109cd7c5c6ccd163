"""Whose signatures count: keys, certificate roots and identities at Sigstore, until when.

Nothing in a signature decides that.  What a signature says about itself only picks the entry that
it is checked against.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from assay import files
from assay.clock import timestamp
from assay.errors import Usage, Verification
from assay.supply.signing.bundle import hint, pem_of

_LIMIT = 1 << 20
CURVES = ("secp256r1", "secp384r1", "secp521r1")
"""What the format knows; each goes with the SHA-2 of its size."""


@dataclasses.dataclass(frozen=True)
class TrustedKey:
    """A public key."""

    name: str
    public: ec.EllipticCurvePublicKey
    expires: datetime | None = None

    @property
    def hint(self) -> str:
        """What signatures call it."""
        return hint(pem_of(self.public))


@dataclasses.dataclass(frozen=True)
class TrustedRoot:
    """Certificates under which a signer's has to stand, and whose that may be.

    Each condition that is given has to hold: `subject` and `issuer` are names as RFC 4514 writes
    them, of `sans` (``email:…``, ``dns:…``, ``uri:…``) one has to be in the certificate.
    """

    name: str
    certificates: tuple[x509.Certificate, ...]
    subject: str = ""
    sans: tuple[str, ...] = ()
    issuer: str = ""
    allow_expired: bool = False
    """Whether a signature counts although the certificates have expired since: nothing then says
    that it was made before."""
    expires: datetime | None = None


@dataclasses.dataclass(frozen=True)
class TrustedIdentity:
    """Somebody at an OpenID provider, for signatures made without a key of one's own (Sigstore)."""

    name: str
    identity: str
    issuer: str
    trusted_root: Path | None = None
    """The file with the keys of that Sigstore; None for the public one, as `sigstore` ships it."""
    expires: datetime | None = None


@dataclasses.dataclass(frozen=True)
class Trust:
    """Everybody whose signature counts."""

    keys: tuple[TrustedKey, ...] = ()
    roots: tuple[TrustedRoot, ...] = ()
    identities: tuple[TrustedIdentity, ...] = ()
    expires: datetime | None = None
    source: str = "what was given"
    """For messages."""

    @classmethod
    def of_key(cls, path: Path) -> Trust:
        """Signatures by the public key in a PEM file."""
        return cls(keys=(TrustedKey(path.name, public_key(_read(path), str(path))),))

    @classmethod
    def of_root(cls, path: Path) -> Trust:
        """Signatures by whoever has a certificate under those in a PEM file."""
        return cls(roots=(TrustedRoot(path.name, certificates(_read(path), str(path))),))

    @classmethod
    def load(cls, path: Path) -> Trust:
        """The trust list in a file, see `assay.supply.signing.trust_list`."""
        from assay.supply.signing import trust_list

        return trust_list.load(path)

    def __or__(self, other: Trust) -> Trust:
        """Whoever is trusted by one of the two.  Each keeps its own time of expiry."""
        mine, theirs = self._bounded(), other._bounded()
        return Trust(
            keys=mine.keys + theirs.keys,
            roots=mine.roots + theirs.roots,
            identities=mine.identities + theirs.identities,
        )

    def _bounded(self) -> Trust:
        """The same, the whole list's time of expiry written into each entry."""
        end = self.expires
        if end is None:
            return self

        def until(own: datetime | None) -> datetime:
            return end if own is None else min(own, end)

        return Trust(
            tuple(dataclasses.replace(key, expires=until(key.expires)) for key in self.keys),
            tuple(dataclasses.replace(root, expires=until(root.expires)) for root in self.roots),
            tuple(dataclasses.replace(one, expires=until(one.expires)) for one in self.identities),
        )


def current(name: str, expires: datetime | None, now: datetime) -> None:
    """Raise `Verification` when an entry no longer counts."""
    if expires is not None and now >= expires:
        raise Verification(
            f"{name} was trusted until {timestamp(expires)} only",
            remedy="renew the entry, if the signer is still to be trusted",
            code="signing.expired",
        )


def public_key(pem: bytes, what: str) -> ec.EllipticCurvePublicKey:
    """A public key that models can be signed with; raises `Usage`."""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        private = b"PRIVATE KEY-----" in pem
        raise Usage(
            f"{what} is {'a private' if private else 'no public'} key in PEM",
            remedy="give the public key: openssl pkey -in KEY -pubout",
            code="signing.public_key",
        ) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in CURVES:
        raise Usage(
            f"{what} is a key that models are not signed with",
            remedy="models are signed with ECDSA on P-256, P-384 or P-521",
            code="signing.public_key",
        )
    return key


def certificates(pem: bytes, what: str) -> tuple[x509.Certificate, ...]:
    """The certificates in a PEM file; raises `Usage`."""
    try:
        found = x509.load_pem_x509_certificates(pem)
    except (ValueError, x509.InvalidVersion) as error:
        raise Usage(
            f"{what} holds no certificates in PEM", remedy="check the file", code="signing.root"
        ) from error
    return tuple(found)


def public_key_file(path: Path) -> ec.EllipticCurvePublicKey:
    """The public key in a PEM file."""
    return public_key(_read(path), str(path))


def certificates_files(paths: Sequence[Path]) -> tuple[x509.Certificate, ...]:
    """The certificates in PEM files, in order."""
    return tuple(one for path in paths for one in certificates(_read(path), str(path)))


def _read(path: Path) -> bytes:
    with files.open_input(path, what="file") as stream:
        return stream.read(_LIMIT)
