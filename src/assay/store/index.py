"""Which blob holds which content: one sealed object for each (ring, digest).

``index/<ring id>/<xx>/<name>``, where the name is an HMAC of the digest under a key of the ring:
whoever owns the blob store learns neither digests nor ring names, and cannot write an entry, alter
one, or pass one off as another.  Leases lie beside it: they keep what a put has just shared from
being collected.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec

from assay import canonical
from assay.clock import parse_timestamp, timestamp
from assay.errors import Corrupt, NotFound, Usage, Verification
from assay.store.blobs import Blobs
from assay.store.rings import Ring
from assay.types import Digest

FORMAT = "assay/index/v1"
LEASE = "assay/lease/v1"
GRACE = timedelta(hours=24)
"""How long after a put, or from a lease on, nothing is collected."""
LIMIT = 1 << 14


class Indexed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry: where a content's blob is, and what it should be."""

    format: str
    ring: str
    digest: Digest
    salted: bool
    """The digest is an HMAC under the ring, not the plain SHA-256."""
    tree: bool
    """The content is a tree's manifest."""
    size: int
    blob: str
    put_at: str

    @property
    def since(self) -> datetime:
        """When it was put."""
        return parse_timestamp(self.put_at)


class _Lease(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    until: str


class Index:
    """The index of one blob store, ring by ring."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def name(self, ring: Ring, digest: Digest) -> str:
        """The name that an entry goes by."""
        return hmac.digest(ring.derive("index"), digest.encode(), "sha256").hex()

    def key(self, ring: Ring, name: str) -> str:
        """The object that holds an entry."""
        return f"index/{ring.id}/{name[:2]}/{name}"

    def condemned_key(self, ring: Ring, name: str) -> str:
        """The object that holds an entry while its blob is being collected."""
        return f"condemned/{ring.id}/{name}"

    def encode(self, ring: Ring, entry: Indexed) -> bytes:
        """An entry as it is stored."""
        return ring.seal(canonical.encode(entry), "index", self.name(ring, entry.digest))

    def decode(self, ring: Ring, name: str, data: bytes) -> Indexed:
        """The inverse; `Verification` or `Corrupt` unless this ring wrote it under that name."""
        what = f"index entry {name} of ring {ring.name}"
        opened = ring.open(data, "index", name, what=what)
        try:
            entry = msgspec.convert(canonical.decode(opened, what=what), Indexed)
        except msgspec.ValidationError as error:
            raise Corrupt(f"{what}: {error}", code="index") from error
        if entry.format != FORMAT or entry.ring != ring.name:
            raise Corrupt(
                f"{what}: unknown format {entry.format[:40]!r}",
                remedy=f"this assay reads {FORMAT}; a newer one wrote this entry",
                code="index",
            )
        return entry

    def find(self, ring: Ring, digest: Digest) -> Indexed | None:
        """The entry of a content, or None when there is none."""
        name = self.name(ring, digest)
        try:
            data = self._blobs.get(self.key(ring, name), 0, LIMIT)
        except NotFound:
            return None
        return self.decode(ring, name, data)

    def names(self, ring: Ring) -> Iterator[str]:
        """The names of all entries of a ring."""
        for found in self._blobs.list(f"index/{ring.id}/"):
            yield found.key.rpartition("/")[2]

    def read(self, ring: Ring, name: str) -> Indexed:
        """The entry of that name."""
        return self.decode(ring, name, self._blobs.get(self.key(ring, name), 0, LIMIT))

    # -- leases -----------------------------------------------------------------------------------

    def lease(self, ring: Ring, name: str, now: datetime) -> str:
        """Keep a content from being collected for `GRACE`; returns the key to delete earlier."""
        key = f"leases/{ring.id}/{name}/{secrets.token_hex(8)}"
        lease = canonical.encode(_Lease(LEASE, timestamp(now + GRACE)))
        self._blobs.create(key, ring.seal(lease, "lease", name))
        return key

    def leased(self, ring: Ring, name: str, now: datetime) -> bool:
        """Whether a lease is running; those that ran out are removed."""
        running = False
        for found in list(self._blobs.list(f"leases/{ring.id}/{name}/")):
            try:
                data = self._blobs.get(found.key, 0, LIMIT)
                lease = msgspec.convert(canonical.decode(ring.open(data, "lease", name)), _Lease)
                if parse_timestamp(lease.until) > now:
                    running = True
                else:
                    self._blobs.delete(found.key)
            except NotFound:
                continue  # Given back meanwhile.
            except (Verification, Corrupt, Usage, msgspec.ValidationError):
                running = True  # An altered lease costs space; ignoring it could cost content.
        return running
