"""Made-up endpoints to show: quiet, alarmed, early, and named by somebody hostile."""

from __future__ import annotations

import math
import random
from datetime import datetime, timedelta, timezone

from assay.clock import timestamp
from assay.monitor.report.model import (
    About,
    Alert,
    Baseline,
    Deadline,
    Evidence,
    Feature,
    Figure,
    Happening,
    Incident,
    Labels,
    Promise,
    Report,
    Slice,
    Window,
)

CATEGORIES = (
    *("student", "employee", "self-employed", "retired", "unpaid"),
    *("armed forces", "other", "new", "none"),
)
START = datetime(2026, 1, 5, tzinfo=timezone.utc)
LIMIT = math.log(365)
PROMISE = Promise(
    every="1 day",
    windows_a_year=365.0,
    false_alarms_a_year=1.0,
    horizon="30 days",
    smallest_shift=0.1,
    slices=("sex", "age_group"),
)
METRICS = {
    "auc": Figure(value=0.842, lower=0.831, upper=0.853),
    "accuracy": Figure(value=0.781, lower=0.77, upper=0.792),
}
BASELINE = Baseline(
    version="3",
    rows=12_400,
    data="acs-2015-test",
    recorded="2026-01-04T09:00:00.000Z",
    leaf=118,
    digest="sha256:" + "a" * 64,
    metrics=METRICS,
)
HOSTILE = (
    "<script>document.title='owned'</script>",
    '"><img src=http://127.0.0.1:9/x onerror=alert(1)>',
    "</style><style>*{display:none}</style>",
    "</svg><svg onload=alert(1)>",
    "</title><script src=//evil.example/x.js></script>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "\u202eevil\u2066\x00\x1b[31m\r\n# EOF",
    "' onmouseover='alert(1)",
    "]]><!--",
    "a" * 5_000,
    "\ud800lone",
    "&lt;script&gt;&#0;",
    "@import url(http://127.0.0.1:9/y)",
)


def at(day: float) -> str:
    return timestamp(START + timedelta(days=day))


def about(days: float, **more: object) -> About:
    known = {
        "project": "fraud",
        "endpoint": "employment",
        "model": "employment",
        "version": "3",
        "stage": "production",
        "workspace": "w-0198c0de",
        "checkpoint_size": 4_211,
        "checkpoint_time": at(days + 0.1),
        "checkpoint_root": "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=",
    }
    return About(**{**known, **more})  # pyright: ignore[reportArgumentType]


def figure(value: float, width: float) -> Figure:
    return Figure(value=value, lower=value - width, upper=value + width)


def windows(
    count: int, *, drift: int | None = None, seed: int = 0, labels: float = 0.9
) -> tuple[Window, ...]:
    """`count` days; after `drift` the evidence grows, and the errors do once labels come."""
    rng = random.Random(seed)  # noqa: S311
    found: list[Window] = []
    levels = {"data_drift": 0.0, "prediction_drift": 0.0, "performance": 0.0, "quality": -2.0}
    rung: set[str] = set()
    for i in range(count):
        moved = drift is not None and i >= drift
        for name in levels:
            push = {"data_drift": 1.1, "prediction_drift": 0.7, "performance": 0.5}.get(name, 0)
            step = push if moved else -0.35 * levels[name]
            levels[name] = max(-3.0, min(14.0, levels[name] + step + rng.gauss(0, 0.6)))
        streams: dict[str, Evidence] = {}
        for name, level in levels.items():
            if name == "performance" and i > count - 8:
                continue
            over = level >= LIMIT
            first = over and name not in rung
            if over:
                rung.add(name)
            streams[name] = Evidence(
                log_e=level, limit=LIMIT, crossed=first, since=drift if moved else None
            )
        loss = 0.06 if moved else 0.0
        rows = int(rng.gauss(900, 120))
        old = i < count - 25
        known = int(rows * labels * min(1.0, (count - i) / 30))
        found.append(
            Window(
                number=i,
                begin=at(i),
                end=at(i + 1),
                rows=rows,
                version="3" if i < count * 0.8 else "4",
                streams=streams,
                estimated={
                    "auc": figure(0.84 - loss * 0.4 + rng.gauss(0, 0.006), 0.015),
                    "accuracy": figure(0.78 - loss * 0.4 + rng.gauss(0, 0.005), 0.012),
                },
                measured={
                    "auc": figure(0.84 - loss + rng.gauss(0, 0.012), 0.028),
                    "accuracy": figure(0.78 - loss + rng.gauss(0, 0.012), 0.026),
                }
                if known > 50
                else {},
                labelled=known if labels else None,
                final=old,
            )
        )
    return tuple(found)


def feature(
    name: str, number: int, *, count: int = 60, moved: bool = False, category: bool = False
) -> Feature:
    rng = random.Random(number)  # noqa: S311
    cells = 9 if category else 18
    weights = [math.exp(-(((i - cells * 0.4) / (cells * 0.25)) ** 2)) for i in range(cells)]
    shift = [
        w * (1 + (1.4 * i / cells if moved else rng.gauss(0, 0.03))) for i, w in enumerate(weights)
    ]
    labels = CATEGORIES if category else tuple(f"{i * 5:g}" for i in range(cells))
    level = 0.0
    history: list[float] = []
    for i in range(count):
        level += (0.5 if moved and i > count * 0.6 else -0.3 * level) + rng.gauss(0, 0.4)
        history.append(level)
    return Feature(
        name=name,
        kind="category" if category else "ordered",
        log_e=level,
        limit=LIMIT,
        words="the share above 45 went from 22 % to 34 %" if moved else "",
        labels=labels,
        reference=tuple(int(9_000 * w) for w in weights),
        current=tuple(int(700 * max(0.0, s)) for s in shift),
        history=tuple(history),
        missing_reference=0.01,
        missing_current=0.04 if moved else 0.011,
        effects={"psi": 0.18 if moved else abs(rng.gauss(0, 0.01)), "js": 0.02, "ks": 0.05},
    )


def slices(count: int = 6) -> tuple[Slice, ...]:
    rng = random.Random(5)  # noqa: S311
    names = [("sex", "female"), ("sex", "male"), ("age_group", "16-24"), ("age_group", "65+")]
    names += [("region", f"region {i}") for i in range(count)]
    return tuple(
        Slice(
            column=column,
            value=value,
            rows=400 - 30 * (i % 10),
            labelled=300 - 25 * (i % 10),
            log_e=LIMIT + 2 if i == 3 else rng.gauss(0, 1),
            limit=LIMIT,
            share_reference=0.02 if i == 3 else 0.2,
            share_current=0.14 if i == 3 else 0.19,
            metric="accuracy",
            reference=figure(0.78, 0.02),
            estimated=figure(0.77 if i != 3 else 0.71, 0.03),
            measured=figure(0.775 if i != 3 else 0.63, 0.05),
            words="training hardly saw this group" if i == 3 else "",
        )
        for i, (column, value) in enumerate(names[:count])
    )


def alert(**more: object) -> Alert:
    known = {
        "id": "3f9a01c2d4e5b677-1",
        "kind": "data_drift",
        "severity": "warning",
        "title": "employment: the inputs are no longer those that the model was tested on "
        "(AGEP, ESR)",
        "raised": at(48),
        "window": 47,
        "since": 41,
        "since_time": at(41),
        "causes": ("AGEP: share 22.0% -> 34.0%, PSI 0.18", "ESR: share 1.1% -> 6.0%, PSI 0.09"),
        "steps": (
            "assay monitor report employment --project fraud --out report.html",
            "assay retrain employment --alert 3f9a01c2d4e5b677-1 --project fraud",
        ),
    }
    return Alert(**{**known, **more})  # pyright: ignore[reportArgumentType]


def quiet(count: int = 60) -> Report:
    return Report(
        about=about(count),
        baseline=BASELINE,
        promise=PROMISE,
        windows=windows(count),
        features=tuple(feature(f"feature_{i:02d}", i, category=i % 3 == 1) for i in range(16)),
        slices=slices(),
        labels=Labels(rows=54_000, labelled=46_000, counts={"duplicate": 12, "late": 31}),
    )


def alarmed(count: int = 60) -> Report:
    """The inputs drift from day 41, an alert names them, labels confirm it."""
    features = [feature("AGEP", 100, moved=True), feature("ESR", 101, moved=True, category=True)]
    features += [feature(f"feature_{i:02d}", i, category=i % 3 == 1) for i in range(20)]
    return Report(
        about=about(count, version="4"),
        baseline=BASELINE,
        promise=PROMISE,
        windows=windows(count, drift=41),
        features=tuple(features),
        slices=slices(),
        alerts=(
            alert(),
            alert(
                id="aa9a01c2d4e5b677-1",
                kind="performance",
                severity="critical",
                title="employment: labels confirm that the performance has fallen "
                "(the slice age_group=65+)",
                window=52,
                since=44,
                raised=at(52),
                since_time=at(44),
                causes=("the slice age_group=65+: share 2.0% -> 14.0%",),
                state="acknowledged",
                note="acknowledged by Ana: the service was opened to pensioners on 15 February",
            ),
            alert(
                id="bb9a01c2d4e5b677-1",
                kind="quality",
                state="resolved",
                title="employment: values are missing (SCHL)",
                raised=at(12),
                note="resolved: no sign of it in the 3 windows or more since window 14",
            ),
        ),
        incidents=(
            Incident(
                id="0198c0de",
                title="Wrong refusals of pensioners",
                severity="critical",
                state="open",
                opened=at(53),
                alerts=("aa9a01c2d4e5b677-1",),
                deadlines=(
                    Deadline(name="GDPR Art. 33: 72 hours", due=at(56), state="reported"),
                    Deadline(name="AI Act Art. 73: 15 days", due=at(68)),
                ),
            ),
        ),
        labels=Labels(
            rows=54_000, labelled=46_000, counts={"duplicate": 12, "late": 31, "unknown": 4}
        ),
        happenings=(
            Happening(
                at=at(50),
                title="Retraining began",
                text="plan 7, for alert 3f9a01c2d4e5b677-1",
                source="leaf 4102",
            ),
            Happening(
                at=at(51),
                title="Challenger 5 won",
                text="0.021 less loss (0.012 to 0.030) on 8,120 labelled requests",
                tone="good",
                source="leaf 4160",
            ),
        ),
    )


def crowded(features: int = 200, count: int = 400) -> Report:
    """As much as anybody should have to look at."""
    made = alarmed(count)
    many = [
        feature(
            f"measurement number {i} of the sensor",
            i,
            count=count,
            moved=i % 40 == 0,
            category=i % 3 == 1,
        )
        for i in range(features)
    ]
    return Report(
        about=made.about,
        baseline=made.baseline,
        promise=PROMISE,
        windows=windows(count, drift=300),
        features=tuple(many),
        slices=slices(40),
        alerts=made.alerts * 12,
        incidents=made.incidents * 12,
        labels=made.labels,
        happenings=made.happenings * 12,
    )
