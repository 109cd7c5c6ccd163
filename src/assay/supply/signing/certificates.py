"""A signer's certificate, up to a root that is trusted.

The path is built and checked by `cryptography`.  Every certificate in a signature has to be part of
the path: one that is beside it would be bytes that nothing protects.
"""

from __future__ import annotations

from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import oid, verification

from assay.clock import timestamp
from assay.errors import Verification
from assay.supply.signing.statement import refused
from assay.supply.signing.trust import CURVES, TrustedRoot

_DEEPEST = 8
_UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
_CODE_SIGNING = oid.ExtendedKeyUsageOID.CODE_SIGNING


def verify(
    chain: tuple[bytes, ...], root: TrustedRoot, now: datetime, what: str
) -> tuple[ec.EllipticCurvePublicKey, str]:
    """The signer's key and who that is; raises `Verification`."""
    signer, *others = [_loaded(der, what) for der in chain]
    at = now
    if root.allow_expired:
        at = min(now, signer.not_valid_before_utc)
    else:
        for certificate in (signer, *others):
            _valid(certificate, now, what)
    policy = (
        verification.PolicyBuilder()
        .store(verification.Store(list(root.certificates)))
        .time(at)
        .max_chain_depth(_DEEPEST)
        .extension_policies(ca_policy=_AUTHORITY, ee_policy=_SIGNER)
    )
    try:
        path = policy.build_client_verifier().verify(signer, others).chain
    except (verification.VerificationError, *_UNREADABLE) as error:
        raise refused(
            what,
            f"its certificate ({signer.subject.rfc4514_string()[:200]}) does not lead to "
            f"{root.name}: {error}",
            "trust the root that it stands under, if it is to be trusted",
        ) from error
    known = {certificate.public_bytes(Encoding.DER) for certificate in path}
    if len(set(chain)) != len(chain) or not known.issuperset(chain):
        raise refused(what, f"it shows certificates that do not lead to {root.name}")
    identity = _identity(signer, root, what)
    public = signer.public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.name not in CURVES:
        raise refused(what, "its certificate is for a key that models are not signed with")
    return public, identity


def _loaded(der: bytes, what: str) -> x509.Certificate:
    try:
        certificate = x509.load_der_x509_certificate(der)
        # What is parsed late raises late.
        _ = certificate.extensions, certificate.subject, certificate.public_key()
    except _UNREADABLE as error:
        raise refused(what, f"it shows a certificate that is none ({error})") from error
    # DER may say of the signature that its last bits do not count, and then two texts mean one.
    if not der.endswith(b"\0" + certificate.signature):
        raise refused(what, "it shows a certificate whose signature is not whole bytes")
    return certificate


def _valid(certificate: x509.Certificate, now: datetime, what: str) -> None:
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise refused(
            what,
            f"the certificate {certificate.subject.rfc4514_string()[:200]} is valid from "
            f"{timestamp(certificate.not_valid_before_utc)} to "
            f"{timestamp(certificate.not_valid_after_utc)} only",
            "have the model signed anew; or say allow_expired for this root in a trust list, if "
            "you know otherwise that the signature is older than that",
        )


def _is_authority(_: object, __: x509.Certificate, extension: x509.BasicConstraints) -> None:
    if not extension.ca:
        raise ValueError("a certificate in the path is not one of an authority")


def _certifies(_: object, __: x509.Certificate, extension: x509.KeyUsage | None) -> None:
    if extension is not None and not extension.key_cert_sign:
        raise ValueError("a certificate in the path may not certify others")


def _signs(_: object, certificate: x509.Certificate, extension: x509.KeyUsage | None) -> None:
    if extension is not None and extension.digital_signature:
        return
    for other in certificate.extensions:
        uses = other.value
        if isinstance(uses, x509.ExtendedKeyUsage) and _CODE_SIGNING in uses:
            return
    raise ValueError("the signer's certificate is not one for signing")


_ANY = verification.Criticality.AGNOSTIC
_AUTHORITY = (
    verification.ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, _ANY, _is_authority)
    .may_be_present(x509.KeyUsage, _ANY, _certifies)
)
_SIGNER = verification.ExtensionPolicy.permit_all().may_be_present(x509.KeyUsage, _ANY, _signs)


def _identity(signer: x509.Certificate, root: TrustedRoot, what: str) -> str:
    """Who the certificate is for, having checked that this is who counts."""
    subject = signer.subject.rfc4514_string()
    issuer = signer.issuer.rfc4514_string()
    names = _names(signer)
    for stated, wanted, kind in ((subject, root.subject, "for"), (issuer, root.issuer, "by")):
        if wanted and stated != wanted:
            raise _other(what, f"its certificate is {kind} {stated[:200]!r}, not {wanted!r}")
    if root.sans and not set(root.sans) & set(names):
        shown = ", ".join(names)[:200] or "nobody"
        raise _other(what, f"its certificate names {shown}, not {' or '.join(root.sans)}")
    matching = [name for name in names if name in root.sans] or names
    return matching[0] if matching else subject


def _names(signer: x509.Certificate) -> list[str]:
    try:
        found = signer.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    kinds = {x509.RFC822Name: "email", x509.DNSName: "dns", x509.UniformResourceIdentifier: "uri"}
    return [f"{kinds[type(one)]}:{one.value}" for one in found if type(one) in kinds]


def _other(what: str, why: str) -> Verification:
    return refused(what, why, "trust that identity, if it is to be trusted")
