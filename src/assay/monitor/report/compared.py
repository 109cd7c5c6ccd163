"""What came lately beside the baseline: features, answers and groups, then and now."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from assay.errors import AssayError
from assay.monitor import baseline as baselines
from assay.monitor import effects
from assay.monitor.profiles import Profile, merge
from assay.monitor.report import words
from assay.monitor.report.model import Evidence, Feature, Figure, Part, Reading, Slice
from assay.monitor.watch import SCORE

ROWS = 1_000
"""So many of the newest rows are compared with the baseline, if there are as many."""
WINDOWS = 30
"""Windows over which they may lie, at most; and in which the strongest evidence is looked for."""
METRIC = ("accuracy", "auc", "f1", "brier")
"""What is shown of a group: the first that anybody knows."""

Predicate = Mapping[str, Any]
_INPUTS, _ANSWERS, _ERRORS = "data_drift", "prediction_drift", "performance"


def count_of(value: object) -> int:
    return value if type(value) is int and value >= 0 else 0


def figures(told: object) -> dict[str, Figure]:
    """``{metric: {value, lower, upper}}``; a metric that nobody knows is left out."""
    found: dict[str, Figure] = {}
    if not isinstance(told, Mapping):
        return found
    for name, part in told.items():
        value = number(part.get("value")) if isinstance(part, Mapping) else number(part)
        if value is None:
            continue
        bounds: Predicate = part if isinstance(part, Mapping) else {}
        lower, upper = number(bounds.get("lower")), number(bounds.get("upper"))
        found[str(name)] = Figure(value=value, lower=lower, upper=upper)
    return found


def number(value: object) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known and isinstance(value, int | float) else None


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest windows of a version, together."""

    profile: Profile
    scores: list[int]
    slices: dict[tuple[str, str], int]
    estimated: dict[tuple[str, str], dict[str, Figure]]
    numbers: list[int]

    @property
    def words(self) -> str:
        first, last = min(self.numbers), max(self.numbers)
        which = f"window {last}" if first == last else f"windows {first} to {last}"
        return f"{which}, {words.count(self.profile.rows, 'row')}"


def newest(read: baselines.Baseline, windows: Sequence[Predicate]) -> Newest | None:
    """The newest windows in the cells of this baseline, until they have enough rows."""
    version = str(read.about.get("version", ""))
    profiles: list[Profile] = []
    scores = [0] * (len(read.edges) + 1)
    slices: dict[tuple[str, str], int] = {}
    estimated: dict[tuple[str, str], dict[str, Figure]] = {}
    numbers: list[int] = []
    for told in reversed(windows):
        if len(numbers) >= WINDOWS or sum(p.rows - p.withheld for p in profiles) >= ROWS:
            break
        if str(told.get("version", "")) != version or not told.get("profile"):
            continue
        try:
            profile = Profile.from_dict(told["profile"], read.layout)
        except AssayError:
            continue  # Counted in other cells: there is nothing to compare.
        if profile.state != "ok":
            continue
        profiles.append(profile)
        numbers.append(told["number"])
        held = told.get("scores")
        counts = held.get("counts") if isinstance(held, Mapping) else None
        if isinstance(counts, list) and len(counts) == len(scores):
            scores = [a + count_of(b) for a, b in zip(scores, counts, strict=True)]
        for part in _parts(told.get("slices")):
            key = str(part.get("column")), str(part.get("value"))
            slices[key] = slices.get(key, 0) + count_of(part.get("rows"))
            # The newest estimate: windows are gone through from the newest.
            estimated.setdefault(key, figures(part.get("estimated")))
    if not profiles:
        return None
    return Newest(merge(read.layout, profiles), scores, slices, estimated, numbers)


def _parts(told: object) -> list[Predicate]:
    return [p for p in told if isinstance(p, Mapping)] if isinstance(told, list | tuple) else []


def together(readings: Sequence[Reading]) -> list[Reading]:
    """One reading a window, in their order: what is said with labels comes later than the rest."""
    found: dict[int, Reading] = {}
    for reading in readings:
        held = found.get(reading.number, Reading(number=reading.number))
        found[reading.number] = Reading(
            number=reading.number,
            streams={**held.streams, **reading.streams},
            features={**held.features, **reading.features},
            slices={**held.slices, **reading.slices},
        )
    return [found[number] for number in sorted(found)]


def strongest(readings: Sequence[Reading]) -> Reading:
    """Each stream as of the newest window that says anything about it, and each feature and group
    at its strongest in the newest `WINDOWS`.

    After an alarm evidence is gathered anew: what caused it must not be gone from the page then.
    """
    streams: dict[str, Evidence] = {}
    features: dict[str, Part] = {}
    slices: dict[str, Part] = {}
    for reading in readings:
        streams |= reading.streams
    for reading in readings[-WINDOWS:]:
        for held, found in ((features, reading.features), (slices, reading.slices)):
            for name, part in found.items():
                if name not in held or part.log_e >= held[name].log_e:
                    held[name] = part
    number = readings[-1].number if readings else 0
    return Reading(number=number, streams=streams, features=features, slices=slices)


def features(
    read: baselines.Baseline,
    compared: Newest | None,
    readings: Sequence[Reading],
    last: Reading,
) -> list[Feature]:
    """Every input, every column by which alone the rows are grouped, and the answers."""
    sizes = effects.of_profiles(read.profile, compared.profile) if compared else {}
    kinds = read.profile.kinds()
    found: list[Feature] = []
    for cells, before in zip(read.layout.columns, read.profile.columns, strict=True):
        now = compared.profile[cells.name] if compared else None
        rest = ["other"] if kinds[cells.name] == "category" else []
        part = last.features.get(cells.name, Part(log_e=0.0))
        size = sizes.get(cells.name, {})
        missing = size.get("missing") or [None, None]
        found.append(
            Feature(
                name=cells.name,
                kind=kinds[cells.name],
                log_e=part.log_e,
                limit=_limit(read, last, _INPUTS),
                words=_moved(part, size),
                labels=(*cells.names(), *rest),
                reference=(*before.counts, before.other) if rest else tuple(before.counts),
                current=_cells(now.counts, now.other if rest else None) if now else (),
                history=_history(readings, _INPUTS, cells.name),
                missing_reference=missing[0],
                missing_current=missing[1],
                effects={
                    name: value
                    for name, value in size.items()
                    if name in effects.FIGURES and isinstance(value, float)
                },
            )
        )
    known = {feature.name for feature in found}
    extra = [c.name for c in read.slicing.columns if c.name not in known]
    found += [_grouping(read, name, compared, readings, last) for name in extra]
    return [*found, _scores(read, compared, readings, last)]


def _limit(read: baselines.Baseline, last: Reading, stream: str) -> float:
    evidence = last.streams.get(stream)
    return evidence.limit if evidence else math.log(read.plan.arl)


def _grouping(
    read: baselines.Baseline,
    name: str,
    compared: Newest | None,
    readings: Sequence[Reading],
    last: Reading,
) -> Feature:
    """A column that is no input, and by which rows are grouped: who comes may change, too."""
    cells = next(c for c in read.slicing.columns if c.name == name)
    labels = (*cells.names(), baselines.OTHER, baselines.MISSING)
    before = tuple(int(count) for count in read.slice_counts()[name])
    now = tuple(compared.slices.get((name, label), 0) for label in labels) if compared else ()
    part = last.features.get(name, Part(log_e=0.0))
    return Feature(
        name=name,
        kind="category",
        log_e=part.log_e,
        limit=_limit(read, last, _INPUTS),
        words=_moved(part, {}),
        labels=labels,
        reference=before,
        current=now,
        history=_history(readings, _INPUTS, name),
        effects=_distance(before, now),
    )


def _cells(counts: Sequence[int], other: int | None) -> tuple[int, ...]:
    return tuple(counts) if other is None else (*counts, other)


def _history(readings: Sequence[Reading], stream: str, name: str) -> tuple[float, ...]:
    """Evidence in the windows that were judged; what is not named in one has none."""
    judged = [reading.features for reading in readings if stream in reading.streams]
    return tuple(features[name].log_e if name in features else 0.0 for features in judged)


_UNSEEN = "The baseline never saw this group."
_STATES = {
    "absent": "Requests came without this column.",
    "mistyped": "Text came where numbers were expected, or the reverse.",
    "missing": "Nothing but missing values came.",
    "new": "Values came that the baseline never had.",
}


def _moved(part: Part, size: Mapping[str, Any]) -> str:
    """What changed, in words, where there is anything to say."""
    said = [_STATES[size["state"]]] if size.get("state") in _STATES else []
    if part.words:
        said.append(_sentence(part.words))
    elif part.from_share is not None and part.to_share is not None:
        shares = words.percent(part.from_share), words.percent(part.to_share)
        said.append(f"The share that moved most went from {shares[0]} to {shares[1]}.")
    return " ".join(said)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def _scores(
    read: baselines.Baseline,
    compared: Newest | None,
    readings: Sequence[Reading],
    last: Reading,
) -> Feature:
    """What the model answers, as one more feature."""
    told = read.about["scores"]
    of = f"score of {told['positive']}" if told["of"] == "positive" else "confidence of the answer"
    borders = [f"{border:.3g}" for border in read.borders]
    part = last.features.get(SCORE, Part(log_e=0.0))
    return Feature(
        name=of,
        kind="ordered",
        output=True,
        log_e=part.log_e,
        limit=_limit(read, last, _ANSWERS),
        words=_moved(part, {}),
        labels=tuple(f"{a} to {b}" for a, b in pairwise(borders)),
        reference=tuple(told["counts"]),
        current=tuple(compared.scores) if compared and sum(compared.scores) else (),
        history=_history(readings, _ANSWERS, SCORE),
        effects=_distance(told["counts"], compared.scores) if compared else {},
    )


def _distance(before: Sequence[int], now: Sequence[int]) -> dict[str, float]:
    """PSI of counts, with half a row added to each cell where one is empty."""
    if not sum(before) or not sum(now) or len(before) != len(now):
        return {}
    some = 0.5 if 0 in (*before, *now) else 0.0
    p = [(x + some) / (sum(before) + some * len(before)) for x in before]
    q = [(x + some) / (sum(now) + some * len(now)) for x in now]
    return {"psi": sum((b - a) * math.log(b / a) for a, b in zip(p, q, strict=True))}


# -- groups ---------------------------------------------------------------------------------------


def slices(
    read: baselines.Baseline,
    compared: Newest | None,
    windows: Sequence[Predicate],
    later: Mapping[int, Predicate],
    last: Reading,
) -> list[Slice]:
    """The groups of the baseline, and those that came besides."""
    known = {(s["column"], s["value"]): s for s in read.about["slices"]}
    now = compared.slices if compared else {}
    rows = compared.profile.rows if compared else 0
    measured = _measured(windows, later)
    found: list[Slice] = []
    for key in dict.fromkeys([*known, *now]):
        column, value = key
        before: Predicate = known.get(key, {})
        part = last.slices.get(f"{column}={value}")
        truth, of = measured.get(key, ({}, None))
        kinds = (
            figures(before.get("performance")),
            compared.estimated.get(key, {}) if compared else {},
            figures(truth.get("metrics")),
        )
        metric = next((m for m in METRIC if any(m in kind for kind in kinds)), "")
        count = truth.get("labelled")
        found.append(
            Slice(
                column=column,
                value=value,
                rows=now.get(key, 0),
                labelled=count if type(count) is int else None,
                labelled_of=of,
                log_e=part.log_e if part else None,
                limit=_limit(read, last, _ERRORS),
                share_reference=before.get("rows", 0) / read.profile.rows,
                share_current=now.get(key, 0) / rows if rows else None,
                metric=metric,
                reference=kinds[0].get(metric),
                estimated=kinds[1].get(metric),
                measured=kinds[2].get(metric),
                words=_sentence(part.words) if part and part.words else "" if before else _UNSEEN,
            )
        )
    return found


def _measured(
    windows: Sequence[Predicate], later: Mapping[int, Predicate]
) -> dict[tuple[str, str], tuple[Predicate, int | None]]:
    """Of each group the newest window in which labels say anything of it, with its rows there."""
    rows = {
        (told["number"], str(part.get("column")), str(part.get("value"))): part.get("rows")
        for told in windows
        for part in _parts(told.get("slices"))
    }
    found: dict[tuple[str, str], tuple[Predicate, int | None]] = {}
    for number, told in later.items():
        for part in _parts(told.get("slices")):
            if part.get("labelled") or figures(part.get("metrics")):
                key = str(part.get("column")), str(part.get("value"))
                count = rows.get((number, *key))
                found[key] = part, count if type(count) is int else None
    return found
