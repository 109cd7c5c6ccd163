"""Detectors that keep a promise: so many false alarms a year, and no more.

What lives here
    Exact tests of counts against a pooled reference, e-detectors over them, betting on losses, and
    the estimate of performance before labels are known.  All are pure functions.

May import
    numpy and scipy, and nothing of assay but errors and types.

An attacker who owns it can
    hide a drift or raise a false alarm.
"""
