"""The other side, made of the packages aics-tlog and aics-witness; runs in their environment.

``audit URL VKEY WITNESS``: read a served log: notes, cosignature, every tile and entry.
``submit URL WITNESS NOTE OLD PROOF…``: ask a witness for a cosignature, and verify it.
"""

# pyright: reportMissingImports=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import base64
import sys
from pathlib import Path

import aics_tlog
import aics_witness


def audit(url: str, vkey: str, witness: str) -> None:
    reader = aics_tlog.HttpTileReader(url, proxies={})
    note = aics_tlog.parse_note(Path(sys.argv[5]).read_bytes())
    log, seen = aics_tlog.parse_vkey(vkey), aics_tlog.parse_vkey(witness)
    found = aics_tlog.verify_checkpoint(note, log, [seen], 1)
    assert found.ok, found
    head = aics_tlog.parse_checkpoint(note.text)
    report = aics_tlog.audit_tiles(reader, head.size, head.root)
    sys.stdout.write(f"audited {report.size}\n")


def submit(url: str, witness: str, note: str, old: str, *proof: str) -> None:
    hashes = [base64.b64decode(node) for node in proof]
    with aics_witness.WitnessClient(url, witness, max_age_seconds=None) as client:
        sys.stdout.write(client.submit(Path(note).read_bytes(), (int(old), hashes)))


def main() -> None:
    what, *given = sys.argv[1:]
    if what == "audit":
        audit(*given[:3])
    else:
        submit(*given)


main()
