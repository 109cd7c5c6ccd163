"""Signatures made without a key of one's own: Sigstore's, verified offline by `sigstore`.

The signature's file carries the short-lived certificate, the log's promise and proof, and the
time: nothing is fetched.
"""

from __future__ import annotations

import importlib.util
import logging
from datetime import datetime
from pathlib import Path
from typing import Any

from assay.errors import AssayError, Unavailable, Usage, Verification
from assay.supply.signing.bundle import Bundle
from assay.supply.signing.statement import PAYLOAD_TYPE, refused
from assay.supply.signing.trust import TrustedIdentity, current


def verify(
    signature: Bundle, identities: tuple[TrustedIdentity, ...], now: datetime
) -> tuple[TrustedIdentity, str]:
    """Who of these signed, as ``identity by issuer``; raises `Verification`.

    Raises `Unavailable` when `sigstore` is not installed: nothing else here can tell.
    """
    if importlib.util.find_spec("sigstore") is None:
        raise Unavailable(
            f"the signature {signature.what} was made with Sigstore, which is not installed here",
            remedy="pip install 'assay[signing]', or ask for a signature by a key",
            code="signing.sigstore",
        )
    why: list[str] = []
    for one in identities:
        try:
            _check(signature, one)
            current(one.name, one.expires, now)
        except AssayError as error:
            why.append(f"{one.name}: {error.message}")
        else:
            return one, f"{one.identity} by {one.issuer}"
    raise Verification(
        f"the signature {signature.what} is by nobody who is trusted here ({'; '.join(why)})",
        remedy="trust the identity, if it is to be trusted",
        code="signing.signer",
    )


def _check(signature: Bundle, one: TrustedIdentity) -> None:
    from sigstore.errors import Error
    from sigstore.models import Bundle as Read
    from sigstore.verify import policy

    try:
        read = Read.from_json(signature.data)
        wanted = policy.Identity(identity=one.identity, issuer=one.issuer)
        kind, payload = _verifier(one.trusted_root).verify_dsse(read, wanted)
    except (Error, ValueError, TypeError, KeyError, AttributeError) as error:
        # It is a foreign library that reads hostile bytes: whatever it raises is a refusal.
        raise refused(signature.what, f"Sigstore refuses it ({str(error)[:200]})") from error
    if kind != PAYLOAD_TYPE or payload != signature.payload:
        raise refused(signature.what, "Sigstore reads another payload in it")


def _verifier(trusted_root: Path | None) -> Any:
    from sigstore.errors import Error
    from sigstore.models import ClientTrustConfig, TrustedRoot
    from sigstore.verify import Verifier

    # It warns that it will not look for newer keys, which is what is wanted here.
    logging.getLogger("sigstore._internal.tuf").setLevel(logging.ERROR)
    try:
        if trusted_root is None:
            return Verifier(trusted_root=ClientTrustConfig.production(offline=True).trusted_root)
        return Verifier(trusted_root=TrustedRoot.from_file(str(trusted_root)))
    except (Error, ValueError, OSError) as error:
        raise Usage(
            f"the keys of Sigstore in {trusted_root or 'its package'} cannot be read: {error}",
            remedy="name its trusted_root.json in the trust list",
            code="signing.sigstore",
        ) from error
