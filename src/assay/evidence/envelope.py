"""Envelopes: signed statements, in the form of DSSE v1.

Source: https://github.com/secure-systems-lab/dsse (protocol.md, envelope.md).  What is signed is
the pre-authentication encoding (PAE) of the payload's type and bytes, so the payload is verified
before it is parsed.  One envelope has one spelling: compact JSON with sorted fields and canonical
base64.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import msgspec

from assay import canonical
from assay.errors import Corrupt, Usage, Verification
from assay.evidence.signers import PublicKey, Signer
from assay.evidence.statement import Statement
from assay.types import Digest

PAYLOAD_TYPE = "application/vnd.in-toto+json"
LIMIT = 16 << 20
"""Bytes of an envelope: evidence describes artifacts, it does not contain them."""
_MOST_SIGNATURES = 32


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A signature (base64) and the id of the key that made it."""

    keyid: str
    sig: str


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """A statement's bytes and the signatures over them."""

    payload: str
    payloadType: str  # noqa: N815 - DSSE's own name
    signatures: tuple[Signature, ...]

    @cached_property
    def body(self) -> bytes:
        """The payload's bytes."""
        return canonical.unb64(self.payload, what="envelope payload")

    def statement(self) -> Statement:
        """The statement inside; says nothing about who signed it."""
        return Statement.decode(self.body)


def sign(statement: Statement, *signers: Signer) -> Envelope:
    """The envelope of a statement, signed by each signer."""
    if not signers:
        raise Usage("an envelope needs a signature", code="envelope")
    body = statement.encode()
    signed = pae(PAYLOAD_TYPE, body)
    envelope = Envelope(
        canonical.b64(body),
        PAYLOAD_TYPE,
        tuple(Signature(s.public.keyid, canonical.b64(s.sign(signed))) for s in signers),
    )
    # Nothing is signed that a reader would refuse: on the ledger it could not be taken back.
    if len(encode(envelope)) > LIMIT or len(signers) > _MOST_SIGNATURES:
        raise Usage(
            f"a statement of {len(body)} bytes signed {len(signers)} times is too large",
            remedy="keep what it describes in the store, and name it by its digest",
            code="envelope",
        )
    return envelope


def verify(envelope: Envelope, keys: Mapping[str, PublicKey]) -> list[str]:
    """The ids of the keys, among `keys`, whose signatures hold.

    Signatures by unknown keys are ignored, as DSSE asks.  Raises `Verification` when none is by a
    known key, or one by a known key does not hold: such an envelope was tampered with.
    """
    signed = pae(envelope.payloadType, envelope.body)
    found: list[str] = []
    for signature in envelope.signatures:
        key = keys.get(signature.keyid)
        if key is None:
            continue
        # A key id is only a hint in DSSE; here the key must be the one that is so called.
        if key.keyid != signature.keyid:
            raise Verification(f"the key filed as {signature.keyid} is another", code="envelope")
        key.verify(canonical.unb64(signature.sig, what="envelope signature"), signed)
        found.append(signature.keyid)
    if not found:
        named = ", ".join(signature.keyid[:80] for signature in envelope.signatures)
        raise Verification(
            f"the envelope is signed by nobody known here, but by: {named}",
            remedy="enrol the key, if it is to be trusted",
            code="envelope.unknown_signer",
        )
    return found


def encode(envelope: Envelope) -> bytes:
    """The envelope's bytes, as they stand on the ledger."""
    return msgspec.json.encode(envelope)


def decode(data: bytes) -> Envelope:
    """An envelope from bytes; raises `Corrupt` for any but its one spelling."""
    if len(data) > LIMIT:
        raise Corrupt(f"envelope: larger than {LIMIT} bytes", code="envelope")
    try:
        envelope = msgspec.json.decode(data, type=Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Corrupt(f"envelope: {error}", code="envelope") from error
    # The fields are declared in canonical order and hold plain ASCII, for which msgspec's compact
    # encoding is that of RFC 8785: comparing with it is comparing with the canonical form.
    plain = [envelope.payload, *(t for s in envelope.signatures for t in (s.keyid, s.sig))]
    known = envelope.payloadType == PAYLOAD_TYPE
    count = len(envelope.signatures)
    if not known or not 0 < count <= _MOST_SIGNATURES or not all(map(_is_plain, plain)):
        raise Corrupt("envelope: not one of in-toto statements", code="envelope")
    if len({signature.keyid for signature in envelope.signatures}) != count:
        raise Corrupt("envelope: a key signed it twice", code="envelope")
    if encode(envelope) != data:
        raise Corrupt("envelope: not in canonical form", code="envelope")
    # Signatures by unknown keys are not verified, but they too have one spelling.
    for signature in envelope.signatures:
        canonical.unb64(signature.sig, what="envelope signature")
    _ = envelope.body
    return envelope


def envelope_digest(envelope: Envelope) -> Digest:
    """The digest by which decisions and supersessions name an envelope."""
    return canonical.digest(encode(envelope))


def pae(payload_type: str, body: bytes) -> bytes:
    """DSSE's pre-authentication encoding (protocol.md, "Signature Definition")."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body)


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and not set(text) & {'"', "\\"}
