"""A bundle: everything about one model version that is needed to check it offline.

The file is one canonical JSON document (``assay/bundle/v1``, see ``docs/formats.md``): the trust
root's chain, a checkpoint, the leaves that matter (nonce, envelope, inclusion proof), the policy
bundles that decided, and the workspace key's signature over all of it.  There is no bit that
nothing covers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from assay import canonical
from assay.errors import Corrupt, Unavailable
from assay.types import Digest

FORMAT = "assay/bundle/v1"
LIMIT = 32 << 20
"""Bytes of a bundle, some thousand leaves: JSON takes fifty times its size to look at."""


class BundleLeaf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One ledger leaf: its position, its opening and the proof that the checkpoint covers it."""

    index: int
    nonce: str
    envelope: Any
    proof: tuple[str, ...]


class BundleSubject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the bundle is about."""

    project: str
    name: str
    version: str
    digest: Digest


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything but the outer signature."""

    format: str
    subject: BundleSubject
    exported: str
    trust: tuple[Any, ...]
    checkpoint: str
    leaves: tuple[BundleLeaf, ...]
    policies: dict[str, Any]
    names: dict[str, str]


class Bundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A body and the exporting workspace's signature over its canonical bytes."""

    body: Body
    keyid: str
    sig: str


def make(
    *,
    subject: BundleSubject,
    exported: str,
    trust: Sequence[Any],
    checkpoint: bytes,
    leaves: Sequence[BundleLeaf],
    policies: Mapping[str, Any],
    names: Mapping[str, str],
    sign: Callable[[Mapping[str, Any]], tuple[str, bytes]],
) -> bytes:
    """The bytes of a bundle; `sign` gives the workspace's key id and signature over the body."""
    body = Body(
        FORMAT,
        subject,
        exported,
        tuple(trust),
        checkpoint.decode(),
        tuple(sorted(leaves, key=lambda leaf: leaf.index)),
        dict(policies),
        dict(names),
    )
    keyid, signature = sign(msgspec.to_builtins(body))
    made = canonical.encode(Bundle(body, keyid, canonical.b64(signature)))
    if len(made) > LIMIT:
        raise Unavailable(
            f"the evidence comes to {len(made):,} bytes, and nobody reads a bundle of more than "
            f"{LIMIT:,}",
            code="bundle.size",
        )
    return made


def read(data: bytes) -> Bundle:
    """A bundle from its bytes; raises `Corrupt` for anything but the canonical form."""
    if len(data) > LIMIT:
        raise Corrupt(f"bundle: it is larger than {LIMIT:,} bytes", code="bundle.size")
    plain = canonical.decode(data, what="bundle")
    try:
        bundle = msgspec.convert(plain, Bundle)
    except msgspec.ValidationError as error:
        raise Corrupt(f"bundle: {error}", code="bundle") from error
    if bundle.body.format != FORMAT:
        raise Corrupt(
            f"bundle: unknown format {bundle.body.format!r}",
            remedy=f"this assay reads {FORMAT}; use a newer one",
            code="bundle",
        )
    return bundle
