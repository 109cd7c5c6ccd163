"""From statements to a `Report`.

It is given predicates, as they are on the ledger, and the readings that were recomputed from them.
A predicate that cannot be read is left out and said, never guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from assay.errors import AssayError
from assay.monitor import baseline as baselines
from assay.monitor.alert_words import causes
from assay.monitor.alerts import Alert as Told
from assay.monitor.report import words
from assay.monitor.report.compared import (
    Predicate,
    count_of,
    features,
    figures,
    newest,
    slices,
    strongest,
    together,
)
from assay.monitor.report.model import (
    About,
    Alert,
    Baseline,
    Happening,
    Incident,
    Labels,
    Promise,
    Reading,
    Report,
    Window,
)

_NO_OUTCOMES = frozenset({"rows", "labelled", "used"})


@dataclass(frozen=True, slots=True)
class Recorded:
    """A baseline as it is on the ledger."""

    predicate: Predicate
    leaf: int | None = None
    issued: str = ""
    digest: str = ""


@dataclass(slots=True)
class Given:
    """What a report is made of; each list in the order of the ledger."""

    about: About
    baselines: Sequence[Recorded] = ()
    windows: Sequence[Predicate] = ()
    performances: Sequence[Predicate] = ()
    readings: Sequence[Reading] = ()
    alerts: Sequence[Told] = ()
    names: Mapping[str, str] = field(default_factory=dict[str, str])
    """What the directory calls the actors that acknowledged."""
    waiting: int = 0
    """Labels that came for windows that are not counted yet."""
    incidents: Sequence[Incident] = ()
    happenings: Sequence[Happening] = ()
    notes: Sequence[str] = ()


def build(given: Given) -> Report:
    """The report."""
    notes = list(given.notes)
    held = _baselines(given.baselines, notes)
    later = _latest(given.performances)
    readings = {reading.number: reading for reading in together(given.readings)}
    whole = [p for p in given.windows if _is_whole(p)]
    kept = list(_latest(whole).values())
    if lost := len(given.windows) - len(whole):
        notes.append(f"{words.count(lost, 'statement')} about a window could not be read.")
    windows = [_window(p, later.get(p["number"]), readings.get(p["number"])) for p in kept]
    version = given.about.version or (windows[-1].version if windows else "")
    mine = held.get(version)
    if mine is None and held and version:
        notes.append(f"Version {version} has no baseline of its own: it is not watched.")
    compared = newest(mine[1], kept) if mine else None
    # What was said of another version is no evidence about this one.
    own = {window.number for window in windows if window.version == version}
    said = [reading for number, reading in readings.items() if number in own]
    last = strongest(said)
    return Report(
        about=given.about,
        baseline=_told(*mine) if mine else None,
        promise=_promise(mine[1]) if mine else None,
        windows=tuple(windows),
        compared=compared.words if compared else "",
        features=tuple(features(mine[1], compared, said, last)) if mine else (),
        slices=tuple(slices(mine[1], compared, kept, later, last)) if mine else (),
        alerts=tuple(_alert(alert, windows, given.names) for alert in given.alerts),
        incidents=tuple(given.incidents),
        labels=_labels(windows, later, given.waiting),
        happenings=tuple(sorted(given.happenings, key=lambda h: h.at)),
        notes=tuple(notes),
    )


def _latest(predicates: Iterable[Predicate]) -> dict[int, Predicate]:
    """Of each window the last that was said, in the order of their numbers."""
    found = {p["number"]: p for p in predicates if type(p.get("number")) is int}
    return dict(sorted(found.items()))


def _is_whole(told: Predicate) -> bool:
    return type(told.get("number")) is int and "from" in told and "to" in told


# -- the baseline ---------------------------------------------------------------------------------


def _baselines(
    recorded: Iterable[Recorded], notes: list[str]
) -> dict[str, tuple[Recorded, baselines.Baseline]]:
    """The last of each version."""
    found: dict[str, tuple[Recorded, baselines.Baseline]] = {}
    for item in recorded:
        version = str(item.predicate.get("version", ""))
        try:
            found[version] = (item, baselines.read(dict(item.predicate)))
        except AssayError as error:
            notes.append(f"A baseline of version {version} could not be read: {error.message}.")
    return found


def _told(item: Recorded, read: baselines.Baseline) -> Baseline:
    data = read.about.get("data")
    return Baseline(
        version=str(item.predicate.get("version", "")),
        rows=read.profile.rows,
        data=str(data.get("name", "")) if isinstance(data, Mapping) else "",
        recorded=item.issued,
        leaf=item.leaf,
        digest=item.digest,
        metrics=figures(read.about.get("performance")),
    )


def _promise(read: baselines.Baseline) -> Promise:
    plan = read.plan
    every = f"{plan.rows:,} rows" if plan.rows is not None else str(plan.window["every"])
    horizon = (
        plan.horizon if isinstance(plan.horizon, str) else f"{plan.horizon['windows']} windows"
    )
    return Promise(
        every=_long(every),
        windows_a_year=plan.windows_a_year,
        false_alarms_a_year=plan.false_alarms_a_year,
        horizon=_long(horizon),
        smallest_shift=plan.smallest_shift,
        slices=tuple(plan.slices),
    )


def _long(text: str) -> str:
    """``1d`` as ``1 day``; what is spelt out already stays."""
    unit = {"m": "minute", "h": "hour", "d": "day", "w": "week"}.get(text[-1:])
    return words.count(int(text[:-1]), unit) if unit and text[:-1].isdigit() else text


# -- windows --------------------------------------------------------------------------------------


def _window(told: Predicate, later: Predicate | None, reading: Reading | None) -> Window:
    labelled = later.get("labelled") if later else None
    return Window(
        number=told["number"],
        begin=str(told["from"]),
        end=str(told["to"]),
        rows=count_of(told.get("rows")),
        version=str(told.get("version", "")),
        state=str(told.get("state", "ok")),
        streams=reading.streams if reading else {},
        estimated=figures(told.get("estimated")),
        measured=figures(later.get("metrics")) if later else {},
        labelled=labelled if type(labelled) is int and labelled >= 0 else None,
        final=bool(later and later.get("final") is True),
    )


def _labels(
    windows: Sequence[Window], later: Mapping[int, Predicate], waiting: int
) -> Labels | None:
    """What came back for all windows together; None before anything came."""
    if not later and not waiting:
        return None
    counts: dict[str, int] = {}
    for told in later.values():
        became = told.get("counts")
        for name, count in became.items() if isinstance(became, Mapping) else ():
            if name not in _NO_OUTCOMES:
                counts[str(name)] = counts.get(str(name), 0) + count_of(count)
    return Labels(
        rows=sum(window.rows for window in windows),
        labelled=sum(window.labelled or 0 for window in windows),
        waiting=waiting,
        counts={name: count for name, count in sorted(counts.items()) if count},
    )


# -- alerts ---------------------------------------------------------------------------------------


def _alert(told: Told, windows: Sequence[Window], names: Mapping[str, str]) -> Alert:
    begun = {window.number: window.begin for window in windows}
    note = told.why
    if (seen := told.acknowledged) is not None:
        word = "closed" if seen.closed else "acknowledged"
        note = f"{word} by {names.get(seen.actor, seen.actor)}: {seen.reason}"
    return Alert(
        id=told.id,
        kind=told.kind,
        severity=told.severity,
        version=told.version,
        state=msgspec.convert(told.state, type=Any),
        title=told.title,
        raised=told.raised,
        window=told.seen,
        since=told.since,
        since_time=begun.get(told.since, told.from_),
        causes=tuple(causes(told)),
        steps=tuple(told.next),
        promise=told.promise,
        note=note,
    )
