"""Signatures of models in the form that everyone can verify: OpenSSF Model Signing v1.0.

What lives here
    `making` (sign a folder or a file) and `checking` (verify one), over `statement` (which files,
    with which digests), `bundle` (the signature's file: a Sigstore bundle around a DSSE envelope),
    `hashing` (a tree's digests, in parallel) with `cache`, `trust` (whose signatures count) with
    `trust_list` (its file) and `certificates` and `keyless` (chains; Sigstore), and `services`
    (files, tokens and key services that hold the signing key).

May import
    Floor 0, `assay.evidence` and `assay.store`; `securesystemslib` and `sigstore` only when a key
    or a signature needs them.

An attacker who owns it can
    sign what the caller's key may sign, and call a signature good that is not.  What it signed is
    verified by any other implementation of OpenSSF Model Signing.
"""

from assay.supply.signing.checking import Verified, verify
from assay.supply.signing.making import sign
from assay.supply.signing.trust import Trust

__all__ = ["Trust", "Verified", "sign", "verify"]
