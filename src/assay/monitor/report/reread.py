"""The readings of every window, recomputed from what is on the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from assay.errors import AssayError
from assay.monitor import baseline as baselines
from assay.monitor.report.model import Reading
from assay.monitor.watch import Watch


def readings(
    recorded: Sequence[Mapping[str, Any]],
    windows: Sequence[Mapping[str, Any]],
    performances: Sequence[Mapping[str, Any]],
) -> tuple[list[Reading], list[str]]:
    """What the detectors say of each window, and, in sentences, of which nothing can be said.

    All are predicates in the order of the ledger.  Each version has a watch of its own, by its
    last baseline.
    """
    found: list[Reading] = []
    notes: list[str] = []
    by_version = {str(told.get("version", "")): told for told in recorded}
    for version, told in by_version.items():
        try:
            watch = Watch(baselines.read(dict(told)))
        except AssayError:
            continue  # The report says of each baseline that it could not be read.
        for take, given in ((watch.window, windows), (watch.performance, performances)):
            for predicate in given:
                if str(predicate.get("version", "")) != version:
                    continue
                try:
                    found.append(take(predicate).reading)
                except (AssayError, KeyError, TypeError, ValueError):
                    # Later windows are not read without it: they would be compared with less.
                    number = str(predicate.get("number"))[:20]
                    notes.append(
                        f"Window {number} of version {version[:40]} cannot be read by this assay: "
                        "nothing is said of it and of those after it."
                    )
                    break
    return found, notes
