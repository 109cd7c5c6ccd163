"""Sign a model: hash every file, and sign the list of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key

from assay import canonical
from assay.errors import Usage
from assay.evidence import envelope
from assay.evidence.signers import PublicKey, Signer
from assay.supply.signing import bundle, hashing, statement
from assay.supply.signing.cache import Cache


def sign(
    folder: Path,
    signer: Signer,
    *,
    ignore: Iterable[str] = (),
    git: bool = False,
    certificates: Sequence[x509.Certificate] = (),
    threads: int = 0,
    cache: Cache | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """The signature of a model folder, or of a model that is one file: a bundle's JSON document.

    `ignore` are paths below the folder that are left out, and listed as such; git's own files are,
    too, unless `git` says to sign them (no other tool then verifies the signature by default).
    With `certificates`, the signer's first, it can be verified by the root that they lead to;
    otherwise by the key.  Raises `Usage` for a key that not everyone can verify.
    """
    public = public_key(signer.public)
    material = bundle.key_material(bundle.pem_of(public))
    if certificates:
        if certificates[0].public_key() != public:
            raise Usage(
                "the first certificate is not one for the signing key",
                remedy="give the signer's certificate first, then those above it",
                code="signing.certificate",
            )
        material = bundle.chain_material([one.public_bytes(Encoding.DER) for one in certificates])
    left_out: list[str] = []
    if folder.is_dir():
        left_out = [statement.check_ignored(path.rstrip("/")) for path in ignore]
        left_out += [] if git else statement.GIT
    tree = hashing.digests(
        folder, frozenset(left_out), threads=threads, cache=cache, progress=progress
    )
    name = folder.resolve().name or "model"
    payload = statement.encode(name, tree.files, left_out)
    signature = signer.sign(envelope.pae(statement.PAYLOAD_TYPE, payload))
    signer.public.verify(signature, envelope.pae(statement.PAYLOAD_TYPE, payload))
    return bundle.encode(payload, signature, material)


def public_key(public: PublicKey) -> ec.EllipticCurvePublicKey:
    """A signer's key, if it is one that every tool verifies; else `Usage`."""
    key = load_der_public_key(canonical.unb64(public.spki, what="public key"))
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise Usage(
            f"models are not signed with {public.algorithm}: other tools refuse it",
            remedy="sign with a P-256 key: openssl genpkey -algorithm EC "
            "-pkeyopt ec_paramgen_curve:P-256 -out KEY",
            code="signing.key",
        )
    return key
