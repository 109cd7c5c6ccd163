"""Detectors that keep a promise: so many false alarms a year, and no more.

What lives here
    `tails` (exact tests of counts), `cuts` (what is asked of a histogram), `shift` (has what comes
    in changed: a scan of exact tests against everything before), `betting` (has the loss grown: an
    e-detector), `cbpe` (performance estimated before labels are known).  All are pure functions of
    counts and sums: whoever has the same counts finds the same alarms.

May import
    numpy, and nothing of assay but errors.

An attacker who owns it can
    hide a drift or raise a false alarm.
"""

from assay.monitor.detectors.shift import run

__all__ = ["run"]
