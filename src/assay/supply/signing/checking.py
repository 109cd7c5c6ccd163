"""Verify a model: its signature first, then every one of its files."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from assay.errors import AssayError, Usage, Verification
from assay.supply.signing import bundle, certificates, hashing, keyless
from assay.supply.signing.cache import Cache
from assay.supply.signing.statement import WHOLE, Claim, decode, refused
from assay.supply.signing.trust import Trust, current
from assay.types import Digest

Method: TypeAlias = Literal["key", "certificate", "sigstore"]

_HASHES: dict[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}
_SHOWN = 20


class Verified(msgspec.Struct, frozen=True):
    """A model whose signature and files hold."""

    method: Method
    identity: str
    """``sha256:…`` of the key, a name in the certificate, or ``identity by issuer``."""
    digest: Digest
    """Of the model: SHA-256 over the digests of its files, as signed."""
    files: dict[str, Digest]
    """Path → digest of what was signed and read; ``.`` where the model is one file."""
    trusted_as: str
    """The name of the entry that trusts the signer."""
    ignored: tuple[str, ...]
    """Files that are there although no signature covers them."""
    bytes: int
    """How many bytes the signed files have."""


class _By(msgspec.Struct, frozen=True):
    method: Method
    identity: str
    name: str


def verify(
    folder: Path,
    bundle_path: Path,
    trust: Trust,
    *,
    now: datetime | None = None,
    strict: bool = False,
    threads: int = 0,
    cache: Cache | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Verified:
    """Check that the model `folder` (or one file) is what somebody trusted signed.

    Raises `Verification` that names the file and the rule: a signature that is not by anybody in
    `trust`, or a file that is new, missing, changed, renamed or a link.  What the signature leaves
    out on purpose, and the signature's own file, is told in `Verified.ignored`; `strict` refuses
    it, except for that file.  With `cache`, see what `assay.supply.signing.cache` trusts.
    """
    claim, by = read(bundle_path, trust, now=now)
    own = own_path(folder, bundle_path)
    left_out = {*claim.ignored, own} - {""}
    try:
        tree = hashing.digests(folder, left_out, threads=threads, cache=cache, progress=progress)
    except Usage as error:
        raise _differs(folder, [error.message]) from error
    _compare(folder, claim, tree)
    ignored = tuple(path for path in tree.ignored if path != own)
    if strict and ignored:
        raise _differs(
            folder, [f"{path[:120]!a} is not covered by the signature" for path in ignored]
        )
    return Verified(by.method, by.identity, claim.digest, claim.files, by.name, ignored, tree.bytes)


def read(path: Path, trust: Trust, *, now: datetime | None = None) -> tuple[Claim, _By]:
    """What a signature says and who signed it, without looking at the model."""
    at = now or datetime.now(timezone.utc)
    signature = bundle.read(path)
    current(f"the trust list {trust.source}", trust.expires, at)
    if signature.method == "key":
        by = _by_key(signature, trust, at)
    elif signature.method == "certificate":
        by = _by_certificate(signature, trust, at)
    elif not trust.identities:
        raise _unknown(signature, "Sigstore, and no identity there is trusted here")
    else:
        one, identity = keyless.verify(signature, trust.identities, at)
        by = _By("sigstore", identity, one.name)
    return decode(signature.payload, signature.what), by


def own_path(model: Path, signature: Path) -> str:
    """Where the signature lies in the model's folder; empty if it lies elsewhere."""
    folder, file = model.resolve(), signature.resolve()
    return file.relative_to(folder).as_posix() if folder in file.parents else ""


def _by_key(signature: bundle.Bundle, trust: Trust, now: datetime) -> _By:
    key = signature.key
    for one in trust.keys if key is not None else ():
        pem = bundle.pem_of(one.public)
        if key is not None and (key.hint == one.hint or bundle.canonical.b64(pem) == key.raw_bytes):
            current(f"the key {one.name}", one.expires, now)
            signature.check_key(one.public)
            _check(signature, one.public)
            return _By("key", f"sha256:{one.hint}", one.name)
    named = str(key.hint)[:80] if key is not None and key.hint else "another"
    raise _unknown(signature, f"the key {named}, which is not trusted here")


def _by_certificate(signature: bundle.Bundle, trust: Trust, now: datetime) -> _By:
    why: list[AssayError] = []
    for root in trust.roots:
        try:
            public, identity = certificates.verify(
                signature.certificates, root, now, signature.what
            )
            current(f"the certificate root {root.name}", root.expires, now)
            _check(signature, public)
        except AssayError as error:
            why.append(error)
        else:
            return _By("certificate", identity, root.name)
    if len(why) == 1:
        raise why[0]
    told = "; ".join(error.message for error in why)
    raise _unknown(
        signature, f"a certificate under no root that is trusted here{told and f' ({told})'}"
    )


def _check(signature: bundle.Bundle, public: ec.EllipticCurvePublicKey) -> None:
    """Raise `Verification` unless the signature is this key's, in the one spelling it has."""
    try:
        r, s = decode_dss_signature(signature.signature)
        if encode_dss_signature(r, s) != signature.signature:
            raise InvalidSignature
        public.verify(signature.signature, signature.signed, ec.ECDSA(_HASHES[public.curve.name]))
    except (InvalidSignature, ValueError) as error:
        raise refused(
            signature.what, "it does not hold: it, or what it signs, was altered"
        ) from error


def _unknown(signature: bundle.Bundle, whose: str) -> Verification:
    return Verification(
        f"the signature {signature.what} is by {whose}",
        remedy="trust the signer, if the signer is to be trusted: --key, --certificate-root, "
        "or an entry in a trust list",
        code="signing.signer",
    )


def _compare(folder: Path, claim: Claim, tree: hashing.Tree) -> None:
    signed, found = claim.files, tree.files
    if (WHOLE in signed) != (WHOLE in found):
        kinds = ("a folder", "a single file")
        is_, was = kinds[WHOLE in found], kinds[WHOLE in signed]
        raise _differs(folder, [f"it is {is_}, {was} was signed"])
    problems: list[str] = []
    for path in sorted(signed.keys() - found.keys()):
        near = _near(path, found)
        named = f"; there is {near[:120]!a}" if near else ""
        problems.append(f"{path[:120]!a} is missing{named}")
    problems += [
        f"{path[:120]!a} is there, but was not signed"
        for path in sorted(found.keys() - signed.keys())
    ]
    for path in signed.keys() & found.keys():
        if signed[path] != found[path]:
            named = str(folder) if path == WHOLE else ascii(path[:120])
            problems.append(f"{named} was changed: signed as {signed[path]}, it is {found[path]}")
    if problems:
        raise _differs(folder, problems)


def _near(path: str, found: Iterable[str]) -> str:
    """A file whose name differs only by case or Unicode form."""

    def folded(text: str) -> str:
        return unicodedata.normalize("NFKC", text.casefold())

    wanted = folded(path)
    return next((other for other in found if folded(other) == wanted), "")


def _differs(folder: Path, problems: list[str]) -> Verification:
    more = len(problems) - _SHOWN
    told = "; ".join(problems[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
    return Verification(
        f"{folder} is not the model that was signed: {told}",
        remedy="get the model anew from where it was signed; do not load this one",
        code="signing.model",
        details={"problems": problems[:1000]},
    )
