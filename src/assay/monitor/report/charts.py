"""Small drawings: a metric over time, a feature then and now, a group against the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from markupsafe import Markup

from assay.monitor.report import svg, words
from assay.monitor.report.model import Feature, Figure, Slice, Window
from assay.monitor.report.svg import Scale, n
from assay.monitor.report.timeline import dates

_WIDTH, _LEFT, _RIGHT, _TOP, _FLOOR = 480.0, 42.0, 470.0, 12.0, 140.0
_STRIP = (152.0, 164.0)
CROWDED = 90
"""Windows from which on measured intervals are drawn as a band."""
HALF = 0.5
"""The share of labelled rows below which a measured figure is drawn pale."""
SPARK = 120
"""Points of a small line; more are drawn as the highest of each stretch."""
CELLS = 6
"""Categories drawn of one feature: those that changed most."""


# -- a metric over time ---------------------------------------------------------------------------


def performance(name: str, windows: Sequence[Window], reference: Figure | None) -> Markup:
    """One metric: estimated (a band), measured (dots with intervals), and the baseline's."""
    xs = svg.places(len(windows), _LEFT, _RIGHT)
    estimated = [window.estimated.get(name) for window in windows]
    measured = [window.measured.get(name) for window in windows]
    low, high = _range([*estimated, *measured, reference])
    y = Scale(low, high, _FLOOR, _TOP)
    parts: list[Markup] = []
    for value in svg.ticks(low, high):
        parts.append(svg.path(f"M{n(_LEFT)} {n(y(value))}H{n(_RIGHT)}", kind="grid"))
        said = f"{value:.4f}".rstrip("0").rstrip(".") if value else "0"
        parts.append(svg.text(_LEFT - 6, y(value) + 4, said, kind="lab", anchor="end"))
    parts += _reference(reference, y)
    parts.append(svg.path(_between(estimated, xs, y), kind="band"))
    crowded = len(windows) > CROWDED
    if crowded:
        parts.append(svg.path(_between(measured, xs, y), kind="band seen"))
    else:
        whiskers = "".join(
            f"M{n(x)} {n(y(f.lower))}V{n(y(f.upper))}"
            for f, x in zip(measured, xs, strict=True)
            if f is not None and f.lower is not None and f.upper is not None
        )
        parts.append(svg.path(whiskers, kind="whisker"))
    size = "dots small" if crowded else "dots"
    few, many = "", ""
    for window, f, x in zip(windows, measured, xs, strict=True):
        if f is None or not math.isfinite(f.value):
            continue
        dot = f"M{n(x)} {n(y(f.value))}h0"
        if (window.coverage or 0.0) < HALF:
            few += dot
        else:
            many += dot
    parts.append(svg.path(few, kind=f"{size} few"))
    parts.append(svg.path(many, kind=size))
    parts.append(svg.path(svg.lines(_values(estimated, xs, y)), kind="curve s0"))
    parts += _coverage(windows, xs)
    parts += dates(windows, xs, 182, 4)
    said = f"{words.metric(name)}: {_last('estimated', estimated)}; {_last('measured', measured)}"
    return svg.drawing(
        _WIDTH,
        188,
        said,
        *parts,
        described=f"Baseline {words.figure(reference)}. Below: the share of rows with a label.",
    )


def _last(word: str, found: Sequence[Figure | None]) -> str:
    known = [figure for figure in found if figure is not None]
    return f"{word} {words.figure(known[-1])} last" if known else f"not {word}"


def _range(found: Sequence[Figure | None]) -> tuple[float, float]:
    values = [
        value
        for figure in found
        if figure is not None
        for value in (figure.value, figure.lower, figure.upper)
        if value is not None and math.isfinite(value)
    ]
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    # Small changes fill no chart: a tenth of a metric is the least that is drawn from edge to edge.
    room = max((high - low) * 0.08, (0.1 - (high - low)) / 2, 1e-9)
    return low - room, high + room


def _values(
    found: Sequence[Figure | None], xs: Sequence[float], y: Scale
) -> list[svg.Point | None]:
    return [None if f is None else (x, y(f.value)) for f, x in zip(found, xs, strict=True)]


def _between(found: Sequence[Figure | None], xs: Sequence[float], y: Scale) -> str:
    upper: list[svg.Point | None] = []
    lower: list[svg.Point | None] = []
    for f, x in zip(found, xs, strict=True):
        known = f is not None and f.lower is not None and f.upper is not None
        upper.append((x, y(f.upper)) if known and f and f.upper is not None else None)
        lower.append((x, y(f.lower)) if known and f and f.lower is not None else None)
    return svg.band(upper, lower)


def _reference(reference: Figure | None, y: Scale) -> list[Markup]:
    if reference is None:
        return []
    parts: list[Markup] = []
    if reference.lower is not None and reference.upper is not None:
        top, floor = y(reference.upper), y(reference.lower)
        parts.append(
            svg.tag(
                "rect",
                x=n(_LEFT),
                y=n(top),
                width=n(_RIGHT - _LEFT),
                height=n(max(0.5, floor - top)),
                class_="normal",
            )
        )
    at = y(reference.value)
    parts.append(svg.path(f"M{n(_LEFT)} {n(at)}H{n(_RIGHT)}", kind="base"))
    return parts


def _coverage(windows: Sequence[Window], xs: Sequence[float]) -> list[Markup]:
    width = max(0.6, (_RIGHT - _LEFT) / max(1, len(windows)) * 0.8)
    share = Scale(0, 1, _STRIP[1], _STRIP[0])
    known = [
        (x, share(window.coverage))
        for x, window in zip(xs, windows, strict=True)
        if window.coverage is not None
    ]
    return [
        svg.text(_LEFT - 6, _STRIP[1] - 1, "labels", kind="lab", anchor="end"),
        svg.tag(
            "rect",
            x=n(_LEFT),
            y=n(_STRIP[0]),
            width=n(_RIGHT - _LEFT),
            height=n(_STRIP[1] - _STRIP[0]),
            class_="trough",
        ),
        svg.path(svg.bars(known, _STRIP[1], width), kind="labels"),
    ]


# -- a feature, then and now ----------------------------------------------------------------------


def feature(found: Feature) -> Markup:
    """Shares of the reference (filled) and of what came since (outlined)."""
    before, now = shares(found.reference), shares(found.current)
    if not before or not now or len(before) != len(now):
        return Markup("")
    if found.kind == "category":
        return _categories(found, before, now)
    width, floor = 260.0, 78.0
    xs = svg.places(len(before), 4, width - 4)
    each = (width - 8) / len(before)
    y = Scale(0, max(1e-9, *before, *now), floor, 6)
    was = svg.bars([(x, y(b)) for x, b in zip(xs, before, strict=True)], floor, each * 0.94)
    outline = f"M{n(xs[0] - each / 2)} {n(floor)}"
    for x, share in zip(xs, now, strict=True):
        outline += f"V{n(y(share))}H{n(x + each / 2)}"
    ends = [label for label in found.labels if label]
    parts = [
        svg.path(was, kind="was"),
        svg.path(f"{outline}V{n(floor)}", kind="now"),
        svg.path(f"M4 {n(floor)}H{n(width - 4)}", kind="grid"),
    ]
    if ends:
        parts.append(svg.text(4, 92, words.shown(ends[0], 16), kind="lab"))
        parts.append(svg.text(width - 4, 92, words.shown(ends[-1], 16), kind="lab", anchor="end"))
    return svg.drawing(width, 96, f"{words.shown(found.name, 60)}: then and now", *parts)


def _categories(found: Feature, before: Sequence[float], now: Sequence[float]) -> Markup:
    """The categories whose shares changed most, a pair of bars each."""
    chosen = most_changed(before, now)
    names = [found.labels[i] if i < len(found.labels) else f"#{i + 1}" for i in chosen]
    x = Scale(0, max(1e-9, *(max(before[i], now[i]) for i in chosen)), 96, 216)
    parts: list[Markup] = []
    for row, (i, name) in enumerate(zip(chosen, names, strict=True)):
        top = 4.0 + row * 20
        said = words.shown(name, 14)
        parts.append(svg.text(90, top + 11, said, kind="lab", anchor="end"))
        was, is_now = (
            f"M96 {n(top)}H{n(x(before[i]))}v7H96z",
            f"M96 {n(top + 8)}H{n(x(now[i]))}v6H96z",
        )
        parts.append(svg.path(was, kind="was"))
        parts.append(svg.path(is_now, kind="now full"))
        parts.append(
            svg.text(x(max(before[i], now[i])) + 5, top + 11, words.percent(now[i]), kind="lab")
        )
    return svg.drawing(
        260, 8.0 + 20 * len(chosen), f"{words.shown(found.name, 60)}: shares then and now", *parts
    )


def shares(counts: Sequence[int]) -> list[float]:
    """Counts as shares; nothing where nothing was counted."""
    total = sum(counts)
    return [count / total for count in counts] if total > 0 else []


def most_changed(before: Sequence[float], now: Sequence[float], most: int = CELLS) -> list[int]:
    """The cells that changed most, the largest change first."""
    order = sorted(range(len(before)), key=lambda i: (-abs(now[i] - before[i]), -before[i], i))
    return order[:most]


def spark(history: Sequence[float], limit: float, title: str) -> Markup:
    """Evidence over time against the alarm line."""
    if not history:
        return Markup("")
    powers = [words.ratio(value, limit) for value in thinned(history)]
    xs = svg.places(len(powers), 2, 258)
    y = Scale(-3, max(1.0, min(4.0, max(powers))), 32, 3)
    return svg.drawing(
        260,
        35,
        title,
        svg.path(f"M2 {n(y(0))}H258", kind="line"),
        svg.path(
            svg.lines([(x, y(max(p, -3.0))) for x, p in zip(xs, powers, strict=True)]),
            kind="curve s0",
        ),
    )


def thinned(history: Sequence[float], most: int = SPARK) -> list[float]:
    """At most `most` values: the highest of each stretch, so that no alarm is smoothed away."""
    if len(history) <= most:
        return list(history)
    edges = [round(i * len(history) / most) for i in range(most + 1)]
    return [max(history[a:b]) for a, b in pairwise(edges)]


# -- a group --------------------------------------------------------------------------------------


def group(found: Slice, low: float, high: float) -> Markup:
    """The metric of one slice: baseline (tick), estimated (ring), measured (dot), intervals."""
    x = Scale(low, high, 6, 174)
    parts = [svg.path("M6 12H174", kind="grid")]
    if found.reference is not None:
        parts.append(svg.path(f"M{n(x(found.reference.value))} 3v18", kind="base"))
    for figure, y, kind in ((found.estimated, 8.0, "ring"), (found.measured, 16.0, "dot")):
        if figure is None:
            continue
        if figure.lower is not None and figure.upper is not None:
            whisker = "whisker est" if kind == "ring" else "whisker"
            parts.append(
                svg.path(f"M{n(x(figure.lower))} {n(y)}H{n(x(figure.upper))}", kind=whisker)
            )
        parts.append(svg.tag("circle", cx=n(x(figure.value)), cy=n(y), r="3.2", class_=kind))
    said = (
        f"{words.metric(found.metric)}: baseline {words.figure(found.reference)}, estimated "
        f"{words.figure(found.estimated)}, measured {words.figure(found.measured)}"
    )
    return svg.drawing(180, 24, said, *parts, kind="group")


def group_range(found: Sequence[Slice]) -> tuple[float, float]:
    """One scale for all groups, so that they can be compared by eye."""
    return _range([f for s in found for f in (s.reference, s.estimated, s.measured)])
