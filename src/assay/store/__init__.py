"""The store: sealed blobs and trees, key rings, key services, and recovery from files alone.

What lives here
    `Store` (put, open, trees, collect, check), `Rings` (create, rotate, rewrap, destroy, backup)
    and `RingSealer`; `keys` (where the root key lives), `recovery` (what to do when it is lost),
    `blobs` (a local folder or an object store), `sealing` (the published format of sealed bytes).
    Behind them: `ringfile`, `recipients`, `index`, `trees`, `keeping`.

May import
    Floor 0 and `cryptography`; obstore inside the function that connects to S3.

An attacker who owns it can
    if it is the blob store: destroy, withhold, or bring back what was collected; see sizes, times
    and how many contents a ring has; not read, not alter unnoticed, not learn digests or names.
    If it is the rings' folder: destroy rings, or bring back an older file of one that is still
    wrapped by the present root key (also of a destroyed ring: the ledger shows that it was
    destroyed, and moving to a new root key makes such copies useless); not read their keys.
    If it is the root key and both of these: read and write everything sealed here.
"""

from assay.store.blobs import Blobs, LocalBlobs, ObjectBlobs, Stored
from assay.store.index import GRACE
from assay.store.keeping import Collected, Problem
from assay.store.keys import KeyService, LocalKeyService, open_service
from assay.store.recovery import Reopened, carried_backup, generate_recovery, recover
from assay.store.ringfile import BackupMade, Receipt
from assay.store.rings import SHREDDED, Ring, Rings, RingSealer
from assay.store.store import Store
from assay.store.trees import TreeEntry

__all__ = [
    "GRACE",
    "SHREDDED",
    "BackupMade",
    "Blobs",
    "Collected",
    "KeyService",
    "LocalBlobs",
    "LocalKeyService",
    "ObjectBlobs",
    "Problem",
    "Receipt",
    "Reopened",
    "Ring",
    "RingSealer",
    "Rings",
    "Store",
    "Stored",
    "TreeEntry",
    "carried_backup",
    "generate_recovery",
    "open_service",
    "recover",
]
