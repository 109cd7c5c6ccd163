"""From counts to readings and signals: a pure function of what is on the ledger.

`Watch` takes in, in their order, the windows of one version and the figures of those whose labels
are known, and says of each what the detectors say.  Nothing of it is stored: whoever has the
baseline and the windows comes to the same readings, on another machine and years later.

The false alarms that the plan puts up with are shared among the streams (`SHARES`), so that all of
them together keep its promise.  Deterministic findings (`quality`, `log`) are no statistics, and
cost nothing of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from assay.monitor import effects
from assay.monitor.baseline import MISSING, OTHER, Baseline
from assay.monitor.detectors import betting, cbpe, shift
from assay.monitor.detectors.betting import Losses, Risk
from assay.monitor.profiles import Integers, Profile
from assay.monitor.report.model import Evidence, Part, Reading

SHARES: dict[str, float] = {
    "data_drift": 0.4,
    "performance": 0.4,
    "prediction_drift": 0.1,
    "estimated_performance": 0.1,
}
"""Of the false alarms, for each stream that promises something."""
MARGIN = 0.1
"""A loss this much above what was measured before release is not worth an alarm."""
DOUBT = 0.01
"""That one of the tolerated losses is too low, because the reference was a lucky draw: a third of
it for the whole, a third for all slices together, a third for the estimate without labels."""
HALF = 0.5
SCORE = "score"
_CAUSES = 5
_SURE = 20.0
"""-log of what chance may do to a finding that is called no chance."""

Stream = Literal[
    "data_drift", "performance", "prediction_drift", "estimated_performance", "quality", "log"
]


@dataclass(frozen=True, slots=True)
class Said:
    """What is said of one window: the reading, and the signals that follow from it."""

    reading: Reading
    signals: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    judged: frozenset[str] = frozenset()
    """The kinds of signals that could be judged: of the others nothing is known, which is not the
    same as nothing being wrong."""
    effects: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """By feature: how far it is from the reference, see `assay.monitor.effects`."""


class Watch:
    """The detectors of one version; see the module.  Raises `Corrupt` for what is no baseline."""

    def __init__(self, baseline: Baseline) -> None:
        self.baseline = baseline
        told = baseline.about
        self._promise = baseline.plan.promise
        self._order: list[int] = []
        self._labelled: list[int] = []
        # A slice column that is a feature, too, would bring the same evidence twice.
        features = {column.name for column in baseline.layout.columns}
        self._extra = [c for c in baseline.slicing.columns if c.name not in features]
        self._sizes = effects.Against(baseline.profile)
        counts, kinds = self._reference()
        self._data = self._shift(counts, kinds, "data_drift")
        scores = np.array([*told["scores"]["counts"], 0], dtype=np.int64)
        self._scores = self._shift({SCORE: scores}, {SCORE: "ordered"}, "prediction_drift")
        self._calibration = _calibration(baseline)
        self._limits = _limits(told)
        self._risk = self._risk_of(self._limits, "performance")
        # The rate that is expected of the reference itself, so that only a change counts.
        self._expected: Risk | None = None
        if self._calibration is not None:
            expected = cbpe.expected_losses(told["scores"]["counts"], self._calibration)
            limit = {"": betting.tolerated(expected, margin=MARGIN, doubt=DOUBT / 3)}
            self._expected = self._risk_of(limit, "estimated_performance")

    # -- one window at a time ---------------------------------------------------------------------

    def window(self, window: Mapping[str, Any]) -> Said:
        """Take in the next window (a ``window/v1`` predicate of this version)."""
        number = int(window["number"])
        self._order.append(number)
        if window["state"] != "ok" or not window["profile"]["columns"]:
            return self._unsaid(window)
        profile = Profile.from_dict(window["profile"], self.baseline.layout)
        sizes = self._sizes.of(profile)
        counts = {**profile.vectors(), **self._slice_counts(window["slices"])}
        streams: dict[str, Evidence] = {}
        signals: list[dict[str, Any]] = []
        features: dict[str, Part] = {}
        data = self._data.update(counts)
        streams["data_drift"] = self._evidence(data)
        causes = [self._cause(c, profile, sizes) for c in data.causes]
        features |= {c["feature"]: _part(c) for c in causes}
        if data.crossed:
            signals.append(self._signal("data_drift", window, streams["data_drift"], causes))
        # Scores that are none count as missing, so that a model that answers nonsense is noticed.
        told = [*window["scores"]["counts"], window["scores"].get("broken", 0)]
        scores = self._scores.update({SCORE: told})
        streams["prediction_drift"] = self._evidence(scores)
        causes = [self._score_cause(c) for c in scores.causes]
        features |= {c["feature"]: _part(c) for c in causes}
        if scores.crossed:
            signals.append(
                self._signal("prediction_drift", window, streams["prediction_drift"], causes)
            )
        self._estimate(window, streams, signals)
        signals += self._quality(window, sizes, profile)
        return Said(
            Reading(number=number, streams=streams, features=features),
            signals,
            frozenset(streams) | {"quality", "log"},
            sizes,
        )

    def performance(self, told: Mapping[str, Any]) -> Said:
        """Take in the figures of the next window whose labels are known (``performance/v1``)."""
        number = int(told["number"])
        if self._risk is None or not told["labelled"]:
            return Said(Reading(number=number))
        self._labelled.append(number)
        losses = {"": _losses(told["loss"]["zero_one"])}
        for part in told["slices"]:
            name = f"{part['column']}={part['value']}"
            if name in self._limits and part["loss"]:
                losses[name] = _losses(part["loss"]["zero_one"])
        found = self._risk.update(losses)
        since = {name: self._labelled[max(at, 1) - 1] for name, at in found.since.items()}
        evidence = Evidence(
            log_e=max(0.0, found.log_e),
            limit=found.log_limit,
            crossed=found.crossed,
            since=since.get(max(found.by_stream, key=lambda name: found.by_stream[name])),
        )
        slices = {
            name: Part(log_e=max(0.0, found.by_stream[name]), words=self._rate(name, losses[name]))
            for name in losses
            if name
        }
        signals: list[dict[str, Any]] = []
        if found.crossed:
            led = sorted(losses, key=lambda name: -found.by_stream[name])[:_CAUSES]
            causes = [
                {
                    "slice": name or "all rows",
                    "log_evidence": found.by_stream[name],
                    "words": self._rate(name, losses[name]),
                }
                for name in led
                if found.by_stream[name] > 0
            ]
            whole = losses[""]
            signal = self._signal("performance", told, evidence, causes)
            signals.append(
                {
                    **signal,
                    "measure": "error_rate",
                    "value": whole.total / whole.n if whole.n else None,
                    "limit": self._limits[""],
                }
            )
        reading = Reading(number=number, streams={"performance": evidence}, slices=slices)
        return Said(reading, signals, frozenset({"performance"}))

    # -- what they are made of --------------------------------------------------------------------

    def _reference(self) -> tuple[dict[str, Integers], dict[str, str]]:
        counts, slices = self.baseline.unbiased()
        kinds: dict[str, str] = dict(self.baseline.profile.kinds())
        for cells in self._extra:
            counts[cells.name] = slices[cells.name]
            kinds[cells.name] = "category"
        return counts, kinds

    def _slice_counts(self, told: Iterable[Mapping[str, Any]]) -> dict[str, Integers]:
        found: dict[str, Integers] = {}
        for cells in self._extra:
            names = [*cells.names(), OTHER, MISSING]
            rows = {s["value"]: s["rows"] for s in told if s["column"] == cells.name}
            found[cells.name] = np.array([rows.get(name, 0) for name in names], dtype=np.int64)
        return found

    def _arl(self, stream: str) -> float:
        return self.baseline.plan.arl / SHARES[stream]

    def _shift(
        self, counts: Mapping[str, Integers], kinds: Mapping[str, str], stream: str
    ) -> shift.Shift:
        tolerance = self.baseline.plan.smallest_shift
        return shift.Shift(counts, kinds, arl=self._arl(stream), tolerance=tolerance)

    def _risk_of(self, limits: Mapping[str, float], stream: str) -> Risk | None:
        if not limits:
            return None
        # Half of the attention to the whole, half to the slices, which have fewer rows each.
        weights = {name: 1.0 / max(1, len(limits) - 1) for name in limits if name}
        return Risk(limits, self._arl(stream), weights={**weights, "": 1.0})

    def _evidence(self, reading: shift.Reading) -> Evidence:
        """With the window's own number in place of the detector's count of them."""
        since = reading.since
        return Evidence(
            log_e=reading.log_evidence,
            limit=reading.log_limit,
            crossed=reading.crossed,
            since=None if since is None else self._order[since - 1],
        )

    def _unsaid(self, window: Mapping[str, Any]) -> Said:
        """A window without rows, or with too few to say anything of them."""
        self._data.update({})
        self._scores.update({})
        if self._expected is not None:
            self._expected.update(Losses(0, 0.0))
        signals: list[dict[str, Any]] = []
        if window["state"] == "empty":
            signals.append({**_where("log", window), "measure": "empty", "value": 0})
        return Said(Reading(number=int(window["number"])), signals, frozenset({"log"}))

    def _signal(
        self,
        stream: Stream,
        window: Mapping[str, Any],
        evidence: Evidence,
        causes: Sequence[Mapping[str, Any]],
    ) -> dict[str, Any]:
        return {
            **_where(stream, window),
            "log_evidence": evidence.log_e,
            "limit": evidence.limit,
            "since": evidence.since,
            "causes": [dict(cause) for cause in causes[:_CAUSES]],
            "promise": self._promise,
        }

    # -- causes -----------------------------------------------------------------------------------

    def _cause(
        self, cause: shift.Cause, profile: Profile, sizes: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Any]:
        """A cut of a feature (or of a slice column that is none) in words."""
        extra = [c for c in self._extra if c.name == cause.feature]
        columns = extra or [c for c in profile.layout.columns if c.name == cause.feature]
        names = [*columns[0].names(), OTHER, MISSING]
        told = _told(cause, names, self.baseline.profile.kinds().get(cause.feature) == "ordered")
        psi = sizes.get(cause.feature, {}).get("psi")
        return told if psi is None else {**told, "psi": psi}

    def _score_cause(self, cause: shift.Cause) -> dict[str, Any]:
        borders = self.baseline.borders
        names = [f"{a:.3g} to {b:.3g}" for a, b in itertools.pairwise(borders)]
        return _told(cause, [*names, MISSING], ordered=True)

    def _rate(self, name: str, losses: Losses) -> str:
        if not losses.n:
            return "no label yet"
        rate = losses.total / losses.n
        return (
            f"wrong in {100 * rate:.1f} % of {losses.n:,} labelled rows; "
            f"up to {100 * self._limits[name]:.1f} % is tolerated"
        )

    # -- streams of their own ---------------------------------------------------------------------

    def _estimate(
        self,
        window: Mapping[str, Any],
        streams: dict[str, Evidence],
        signals: list[dict[str, Any]],
    ) -> None:
        if self._calibration is None or self._expected is None:
            return
        counts = window["scores"]["counts"]
        losses = cbpe.expected_losses(counts, self._calibration)
        found = self._expected.update(losses)
        evidence = Evidence(
            log_e=max(0.0, found.log_e),
            limit=found.log_limit,
            crossed=found.crossed,
            since=self._order[max(found.since[""], 1) - 1],
        )
        streams["estimated_performance"] = evidence
        if found.crossed and losses.n:
            value, limit = losses.total / losses.n, self._expected.m[""]
            told = {
                "slice": "all rows",
                "log_evidence": found.log_e,
                "words": f"by their scores {100 * value:.1f} % of the answers are wrong; up to "
                f"{100 * limit:.1f} % is tolerated",
            }
            signal = self._signal("estimated_performance", window, evidence, [told])
            signals.append({**signal, "measure": "error_rate", "value": value, "limit": limit})

    def _quality(
        self, window: Mapping[str, Any], sizes: Mapping[str, Mapping[str, Any]], profile: Profile
    ) -> list[dict[str, Any]]:
        """Columns that cannot be used as they came: nothing to be calculated, one only looks."""
        found: list[dict[str, Any]] = []
        rows = profile.rows - profile.withheld
        for before, now in zip(self.baseline.profile.columns, profile.columns, strict=True):
            if HALF * rows > max(now.absent, now.mistyped, now.missing):
                continue
            parts = {"absent": now.absent, "type": now.mistyped, "missing": now.missing}
            was = {"absent": before.absent, "type": before.mistyped, "missing": before.missing}
            for measure, count in parts.items():
                share, usual = count / rows, was[measure] / max(1, before.rows)
                if share < HALF or usual >= HALF / 2:
                    continue
                # Of a few rows half may be missing by chance, if some always are.
                if usual and rows * betting.divergence(share, usual) < _SURE:
                    continue
                cause = {
                    "feature": now.name,
                    "from_share": usual,
                    "to_share": share,
                    "words": f"{_UNUSABLE[measure]} in {100 * share:.0f} % of the rows, where it "
                    f"was {100 * usual:.0f} %",
                }
                if (psi := sizes[now.name]["psi"]) is not None:
                    cause["psi"] = psi
                signal = {**_where("quality", window), "measure": measure, "key": now.name}
                found.append({**signal, "value": share, "limit": HALF, "causes": [cause]})
        return found


_UNUSABLE = {
    "absent": "the column did not come",
    "type": "text came for numbers, or the reverse,",
    "missing": "the value is missing",
}


def _where(kind: str, window: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kind": kind,
        "number": int(window["number"]),
        "from": window["from"],
        "to": window["to"],
        "version": window["version"],
    }


def _told(cause: shift.Cause, names: Sequence[str], ordered: bool) -> dict[str, Any]:
    cells = [names[cell] for cell in cause.cells]
    run = list(range(cause.cells[0], cause.cells[-1] + 1))
    if ordered and len(cells) > 1 and list(cause.cells) == run:
        # What is in no cell lies beyond the last one.
        beyond = cells[-1] == OTHER and len(cells) > 1
        last = cells[-2] if beyond else cells[-1]
        cells = [cells[0] if last == cells[0] else f"{cells[0]} … {last}"]
    shown = ", ".join(cells[:3]) + (f" and {len(cells) - 3} more" if len(cells) > 3 else "")
    before, after = 100 * cause.from_share, 100 * cause.to_share
    return {
        "feature": cause.feature,
        "from_share": cause.from_share,
        "to_share": cause.to_share,
        "log_evidence": cause.log_evidence,
        "words": f"the share of {shown} went from {before:.1f} % to {after:.1f} %",
    }


def _part(cause: Mapping[str, Any]) -> Part:
    return Part(
        log_e=cause["log_evidence"],
        words=cause["words"],
        from_share=cause["from_share"],
        to_share=cause["to_share"],
    )


def _losses(told: Mapping[str, Any]) -> Losses:
    return Losses(int(told["n"]), float(told["sum"]))


def _calibration(baseline: Baseline) -> cbpe.Calibration | None:
    return _calibrated(baseline, baseline.about["scores"])


def _calibrated(baseline: Baseline, scores: Mapping[str, Any]) -> cbpe.Calibration | None:
    """How far scores can be trusted, from their histogram; None where no label was known, and where
    too few reference rows lie on one side of the threshold for it to bound a bin: it is not known
    then what was answered in the bin around it."""
    borders = [0.0, *scores["edges"], 1.0]
    if scores["positives"] is None or baseline.threshold not in borders:
        return None
    return cbpe.calibrate(scores["counts"], scores["positives"], borders, baseline.threshold)


def estimated(baseline: Baseline, observed: Mapping[str, Any]) -> dict[str, Any]:
    """Performance without labels: `observed` (`Baseline.observe`) with ``estimated``, ``{metric:
    {value, lower, upper}}``, for the whole and in each slice that has scores."""
    if observed["scores"] is None:
        return {**observed, "estimated": {}}
    parts: list[dict[str, Any]] = []
    for part in observed["slices"]:
        known = baseline.slice_of(part["column"], part["value"])
        told = known["scores"] if known is not None and part["scores"] is not None else None
        figures = {} if told is None else _figures(baseline, told, part["scores"])
        parts.append({**part, "estimated": figures})
    whole = _figures(baseline, baseline.about["scores"], observed["scores"]["counts"])
    return {**observed, "slices": parts, "estimated": whole}


def _figures(
    baseline: Baseline, scores: Mapping[str, Any], counts: Sequence[int]
) -> dict[str, dict[str, float]]:
    calibration = _calibrated(baseline, scores)
    if calibration is None:
        return {}
    # With more than two classes a score says how sure the called one is, and no more.
    binary = baseline.about["scores"]["of"] == "positive"
    return {
        name: {"value": e.value, "lower": e.lower, "upper": e.upper}
        for name, e in cbpe.estimate(counts, calibration).items()
        if binary or name == "accuracy"
    }


def _limits(told: Mapping[str, Any]) -> dict[str, float]:
    """The mean loss that is tolerated, of the whole and of each slice with enough rows; of the
    whole also if it is 1, which is no limit, as long as a slice has one."""
    if not told["loss"]:
        return {}
    parts = {
        f"{part['column']}={part['value']}": _losses(part["loss"]["zero_one"])
        for part in told["slices"]
        if part["state"] == "ok" and part["loss"]
    }
    doubt = DOUBT / 3 / max(1, len(parts))
    limits = {n: betting.tolerated(v, margin=MARGIN, doubt=doubt) for n, v in parts.items()}
    whole = _losses(told["loss"]["zero_one"])
    limits[""] = betting.tolerated(whole, margin=MARGIN, doubt=DOUBT / 3)
    limits = {name: limit for name, limit in limits.items() if limit < 1 or not name}
    return limits if min(limits.values()) < 1 else {}
