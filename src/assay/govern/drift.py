"""The drift plot of a passport: what watching a version has found, against the alarm line.

It is given figures and draws them; every word on it is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec
from markupsafe import Markup

_WIDTH, _LEFT, _RIGHT, _TOP, _FLOOR = 760, 56, 590, 12, 150
_LEAST, _MOST = -3.0, 3.0
"""Powers of ten of the alarm line between which evidence is drawn."""
_TEXT = 40
_ROW = 15
MOST = 400
"""Windows that are drawn: the newest."""


class Line(msgspec.Struct, frozen=True):
    """One kind of evidence over the windows, each as a power of ten of what an alarm needs: 0 is
    the alarm line.  None where nothing could be said."""

    name: str
    powers: tuple[float | None, ...]


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """What watching a version has found."""

    tone: Literal["good", "warn", "bad", "unknown"]
    title: str
    lines: tuple[str, ...] = ()
    """In sentences."""
    begins: tuple[str, ...] = ()
    """The day on which each window began."""
    evidence: tuple[Line, ...] = ()
    source: str = ""


def draw(watched: Watched) -> Markup:
    """The plot; nothing where there is no window to draw."""
    begins = watched.begins[-MOST:]
    evidence = [Line(line.name, line.powers[-MOST:]) for line in watched.evidence][:4]
    if not begins or not evidence:
        return Markup("")
    parts = [*_grid(), *_days(begins)]
    wanted: list[tuple[float, int]] = []
    for number, line in enumerate(evidence):
        points = list(_points(line.powers))
        parts.append(Markup('<path class="curve c{}" d="{}"/>').format(number, _path(points)))
        last = [point for point in points if point]
        wanted.append((last[-1][1] if last else _FLOOR, number))
    free = float(_TOP)
    for i, (y, number) in enumerate(sorted(wanted)):
        # Beside the end of its line, or below the name above it, with room left for those below.
        y = min(max(y, free), _FLOOR - _ROW * (len(wanted) - 1 - i))
        free = y + _ROW
        parts.append(_text(_RIGHT + 8, y + 4, evidence[number].name, f"k{number}"))
    said = "; ".join(f"{line.name}: {_in_words(line.powers)}" for line in evidence)
    head = Markup("<title>{}</title><desc>{}</desc>").format(watched.title, said)
    return Markup('<svg class="drift" role="img" viewBox="0 0 {} {}">{}{}</svg>').format(
        _WIDTH, _FLOOR + 24, head, Markup("").join(parts)
    )


def _in_words(powers: Sequence[float | None]) -> str:
    """The same for who does not see the plot."""
    known = [power for power in powers if power is not None and not math.isnan(power)]
    if not known:
        return "nothing could be said"
    over = sum(power >= 0 for power in known)
    if over:
        return f"over the alarm line in {over} of {len(known)} windows"
    return f"never over the alarm line in {len(known)} windows"


def _y(power: float) -> float:
    inside = min(_MOST, max(_LEAST, power))
    return _FLOOR - (inside - _LEAST) / (_MOST - _LEAST) * (_FLOOR - _TOP)


def _points(powers: Sequence[float | None]) -> Iterator[tuple[float, float] | None]:
    step = (_RIGHT - _LEFT) / max(1, len(powers))
    for i, power in enumerate(powers):
        known = power is not None and not math.isnan(power)
        yield (_LEFT + step * (i + 0.5), _y(power)) if known and power is not None else None


def _path(points: Sequence[tuple[float, float] | None]) -> str:
    """Broken where nothing could be said; a point alone is a dot."""
    steps: list[str] = []
    pen = "M"
    for i, point in enumerate(points):
        if point is None:
            pen = "M"
            continue
        steps.append(f"{pen}{point[0]:.1f} {point[1]:.1f}")
        if pen == "M" and (i + 1 == len(points) or points[i + 1] is None):
            steps.append("h0")
        pen = "L"
    return "".join(steps)


def _grid() -> Iterator[Markup]:
    for power, said in ((2, "100 ×"), (1, "10 ×"), (0, "alarm"), (-1, "10 %"), (-2, "1 %")):
        kind = "limit" if power == 0 else "rule"
        y = f"{_y(power):.1f}"
        yield Markup('<path class="{}" d="M{} {}H{}"/>').format(kind, _LEFT, y, _RIGHT)
        yield _text(_LEFT - 6, _y(power) + 4, said, "end limit" if power == 0 else "end")


def _days(begins: Sequence[str]) -> Iterator[Markup]:
    yield _text(_LEFT, _FLOOR + 18, begins[0], "")
    if len(begins) > 1:
        yield _text(_RIGHT, _FLOOR + 18, begins[-1], "end")


def _text(x: float, y: float, said: str, kind: str) -> Markup:
    return Markup('<text x="{}" y="{:.1f}" class="{}">{}</text>').format(
        x, y, kind, said if len(said) <= _TEXT else f"{said[: _TEXT - 1]}…"
    )
