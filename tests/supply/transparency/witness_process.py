"""A witness in a process of its own, to be killed: asked once, it dies at the named point.

``python witness_process.py STATE KEY VKEY POINT < request``; prints the answer's status and body.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from assay import files
from assay.clock import SystemClock
from assay.evidence.cosignatures import VerifierKey
from assay.evidence.signers import FileSigner
from assay.supply.transparency.witness import Witness


def main() -> None:
    state, key, vkey, point = sys.argv[1:]

    def die(name: str) -> None:
        if point and point in f"{name}:":
            os.kill(os.getpid(), signal.SIGKILL)

    files.failpoint = die
    files.recorder = lambda operation, *_: die(operation)
    signer, logs = FileSigner.load(Path(key)), [VerifierKey.parse(vkey)]
    with Witness(Path(state), signer, logs, SystemClock()) as witness:
        answer = witness.add_checkpoint(sys.stdin.buffer.read())
    sys.stdout.buffer.write(b"%d\n" % answer.status + answer.body)


main()
