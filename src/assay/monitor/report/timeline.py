"""The evidence of every stream against the alarm line, window by window."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from assay.monitor.report import svg, words
from assay.monitor.report.model import Window
from assay.monitor.report.svg import Scale, n

WIDTH, LEFT, RIGHT = 1000.0, 62.0, 810.0
_TOP, _FLOOR = 16.0, 226.0
_ROWS = (246.0, 282.0)
_LABELS = (300.0, 322.0)
_DATES = 342.0
_LEAST, _MOST = -3, 4
"""Powers of ten of the alarm line between which evidence is drawn."""
HOVER = 130
"""Windows up to which each of them can be pointed at."""
_NAMES = ("data_drift", "prediction_drift", "performance", "estimated_performance", "quality")


def draw(windows: Sequence[Window]) -> Markup:
    """The drawing; `windows` are as many as should be shown."""
    xs = svg.places(len(windows), LEFT, RIGHT)
    streams = sorted(
        {name for window in windows for name in window.streams},
        key=lambda name: (_NAMES.index(name) if name in _NAMES else len(_NAMES), name),
    )
    top = max(
        [1.0, *(_power(window, name) or 0.0 for window in windows for name in window.streams)]
    )
    y = Scale(_LEAST, math.ceil(min(_MOST, top)), _FLOOR, _TOP)
    parts = [
        *_grid(y),
        *_gaps(windows, xs),
        *_versions(windows, xs),
        *_curves(windows, xs, streams, y),
        *_strips(windows, xs),
        *dates(windows, xs, _DATES),
        *_pointed(windows, xs),
    ]
    first, last = windows[0], windows[-1]
    return svg.drawing(
        WIDTH,
        _DATES + 8,
        f"Evidence against the alarm line, {words.span(first.begin, last.end)}",
        *parts,
        described=_told(windows, streams),
        kind="wide",
    )


def _power(window: Window, name: str) -> float | None:
    found = window.streams.get(name)
    return None if found is None else words.ratio(found.log_e, found.limit)


def _grid(y: Scale) -> list[Markup]:
    line = y(0)
    parts = [
        svg.tag(
            "rect",
            x=n(LEFT),
            y=n(_TOP),
            width=n(RIGHT - LEFT),
            height=n(line - _TOP),
            class_="over",
        )
    ]
    said = {-3: "0.1 %", -2: "1 %", -1: "10 %", 0: "alarm", 1: "10 ×", 2: "100 ×", 3: "1,000 ×"}
    for power in range(_LEAST, int(y.high) + 1):
        at = y(power)
        parts.append(
            svg.path(f"M{n(LEFT)} {n(at)}H{n(RIGHT)}", kind="line" if power == 0 else "grid")
        )
        kind = "lab strong bad" if power == 0 else "lab"
        parts.append(
            svg.text(LEFT - 8, at + 4, said.get(power, "10,000 ×"), kind=kind, anchor="end")
        )
    return parts


def _gaps(windows: Sequence[Window], xs: Sequence[float]) -> list[Markup]:
    """Windows of which nothing could be said."""
    half = (RIGHT - LEFT) / max(1, len(windows)) / 2
    steps = "".join(
        f"M{n(x - half)} {n(_TOP)}h{n(2 * half)}V{n(_FLOOR)}h{n(-2 * half)}z"
        for window, x in zip(windows, xs, strict=True)
        if window.state != "ok" or not window.rows
    )
    return [svg.path(steps, kind="gap", title="Windows of which nothing can be said")]


def _versions(windows: Sequence[Window], xs: Sequence[float]) -> list[Markup]:
    parts: list[Markup] = []
    before = windows[0].version
    half = (RIGHT - LEFT) / max(1, len(windows)) / 2
    free = LEFT
    for window, x in zip(windows, xs, strict=True):
        if window.version and window.version != before:
            parts.append(svg.path(f"M{n(x - half)} {n(_TOP)}V{n(_LABELS[1])}", kind="change"))
            if x >= free:
                parts.append(
                    svg.text(
                        x - half + 3,
                        _TOP - 4,
                        f"version {words.shown(window.version, 12)}",
                        kind="lab",
                    )
                )
                free = x + 90
        before = window.version or before
    return parts


def _curves(
    windows: Sequence[Window], xs: Sequence[float], streams: Sequence[str], y: Scale
) -> list[Markup]:
    parts: list[Markup] = []
    ends: list[tuple[float, str, int]] = []
    for number, name in enumerate(streams):
        points: list[svg.Point | None] = []
        for window, x in zip(windows, xs, strict=True):
            power = _power(window, name)
            points.append(None if power is None else (x, y(max(power, _LEAST))))
        kind = f"curve s{min(number, 5)}"
        parts.append(svg.path(svg.lines(points), kind=kind, title=words.stream(name)))
        rung = [
            (point, window)
            for point, window in zip(points, windows, strict=True)
            if point is not None and window.streams[name].crossed
        ]
        parts += [_bell(point, window, name, number) for point, window in rung[-40:]]
        last = [(point, window) for point, window in zip(points, windows, strict=True) if point]
        if last:
            point, window = last[-1]
            found = window.streams[name]
            said = f"{words.stream(name)} {words.of_line(found.log_e, found.limit)}"
            ends.append((point[1], said, number))
    for at, (_, said, number) in zip(
        svg.apart([end[0] for end in ends], 15, _TOP + 4, _FLOOR), ends, strict=True
    ):
        parts.append(svg.text(RIGHT + 8, at + 4, said, kind=f"lab t{min(number, 5)}"))
    return parts


def _bell(point: svg.Point, window: Window, name: str, number: int) -> Markup:
    x, y = point
    when = words.span(window.begin, window.end)
    said = f"Alarm: {words.stream(name)}, window {window.number}, {when}"
    return svg.path(f"M{n(x)} {n(y - 6)}l5.5 9.5h-11z", kind=f"bell f{min(number, 5)}", title=said)


def _strips(windows: Sequence[Window], xs: Sequence[float]) -> list[Markup]:
    """Rows and labels of each window, under the same places."""
    most = max(1, *(window.rows for window in windows)) if windows else 1
    width = max(0.6, (RIGHT - LEFT) / max(1, len(windows)) * 0.72)
    rows = Scale(0, most, _ROWS[1], _ROWS[0])
    share = Scale(0, 1, _LABELS[1], _LABELS[0])
    tops = [(x, rows(window.rows)) for x, window in zip(xs, windows, strict=True)]
    known = [
        (x, share(window.coverage))
        for x, window in zip(xs, windows, strict=True)
        if window.coverage is not None
    ]
    parts = [
        svg.text(LEFT - 8, _ROWS[1] - 2, "rows", kind="lab", anchor="end"),
        svg.path(f"M{n(LEFT)} {n(_ROWS[1])}H{n(RIGHT)}", kind="grid"),
        svg.path(svg.bars(tops, _ROWS[1], width), kind="rows"),
        svg.text(RIGHT + 8, _ROWS[1] - 2, f"at most {most:,}", kind="lab"),
        svg.text(LEFT - 8, _LABELS[1] - 2, "labels", kind="lab", anchor="end"),
        svg.tag(
            "rect",
            x=n(LEFT),
            y=n(_LABELS[0]),
            width=n(RIGHT - LEFT),
            height=n(_LABELS[1] - _LABELS[0]),
            class_="trough",
        ),
        svg.path(svg.bars(known, _LABELS[1], width), kind="labels"),
    ]
    counted = [window for window in windows if window.labelled is not None]
    total = sum(window.rows for window in windows)
    said = "none counted yet"
    if counted and total:
        share = sum(window.labelled or 0 for window in counted) / total
        said = f"counted: {words.percent(share)} of rows"
    parts.append(svg.text(RIGHT + 8, _LABELS[1] - 5, said, kind="lab"))
    return parts


def dates(windows: Sequence[Window], xs: Sequence[float], y: float, most: int = 7) -> list[Markup]:
    """The days on which some of the windows began."""
    step = max(1, math.ceil(len(windows) / most))
    return [
        svg.text(xs[i], y, words.day(windows[i].begin), kind="lab", anchor="middle")
        for i in range(step // 2, len(windows), step)
    ]


def _pointed(windows: Sequence[Window], xs: Sequence[float]) -> list[Markup]:
    """Columns that say in words what stands in them, while there are few enough to point at."""
    if len(windows) > HOVER:
        return []
    half = (RIGHT - LEFT) / max(1, len(windows)) / 2
    return [
        svg.path(
            f"M{n(x - half)} {n(_TOP)}h{n(2 * half)}V{n(_LABELS[1])}h{n(-2 * half)}z",
            kind="hit",
            title=in_words(window),
        )
        for window, x in zip(windows, xs, strict=True)
    ]


def in_words(window: Window) -> str:
    """A window as one line."""
    said = [f"{words.count(window.rows, 'row')}"]
    if window.state != "ok":
        said.append(words.shown(window.state, 40))
    said += [
        f"{words.stream(name)} {words.of_line(found.log_e, found.limit)}"
        for name, found in sorted(window.streams.items())
    ]
    if window.coverage is not None:
        said.append(f"labels {words.percent(window.coverage)}")
    return f"Window {window.number}, {words.span(window.begin, window.end)}: {', '.join(said)}"


def _told(windows: Sequence[Window], streams: Sequence[str]) -> str:
    rung = [
        f"{words.stream(name)} in window {window.number}"
        for window in windows
        for name in streams
        if name in window.streams and window.streams[name].crossed
    ]
    alarms = f"Alarms: {words.listed(rung, 8)}." if rung else "No stream crossed the alarm line."
    return f"{words.count(len(windows), 'window')}. {alarms} The table below has the figures."
