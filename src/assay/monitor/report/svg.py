"""Drawing by hand: a few marks of SVG, each with its text escaped.

Colours, weights and dashes are classes of the page's one style sheet, so a drawing follows the
reader's light or dark scheme and needs no style of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from assay.monitor.report.words import shown

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to places; what lies outside is drawn at the edge, what is no number nowhere."""

    low: float
    high: float
    first: float
    last: float

    def __call__(self, value: float) -> float:
        if self.high == self.low:
            return (self.first + self.last) / 2
        share = (value - self.low) / (self.high - self.low)
        return self.first + (self.last - self.first) * min(1.0, max(0.0, share))


def places(count: int, first: float, last: float) -> list[float]:
    """The middles of `count` columns of one width."""
    step = (last - first) / max(1, count)
    return [first + step * (i + 0.5) for i in range(count)]


def n(value: float) -> str:
    """A coordinate: a tenth of a unit is finer than a screen."""
    text = f"{value:.1f}".rstrip("0").rstrip(".")
    return "0" if text in ("", "-0") else text


def tag(name: str, *inside: Markup | str, **attributes: object) -> Markup:
    """An element; ``class_`` and ``stroke_width`` are spelt as SVG spells them."""
    told = Markup("").join(
        Markup(' {}="{}"').format(
            key.rstrip("_").replace("_", "-"), n(value) if isinstance(value, float) else str(value)
        )
        for key, value in attributes.items()
        if value not in (None, "")
    )
    if not inside:
        return Markup("<{}{}/>").format(name, told)
    content = Markup("").join(escape(part) for part in inside)
    return Markup("<{0}{1}>{2}</{0}>").format(name, told, content)


def drawing(
    width: float, height: float, title: str, *inside: Markup, described: str = "", kind: str = ""
) -> Markup:
    """A whole drawing; its title is what a reader hears who does not see it."""
    head = tag("title", shown(title))
    if described:
        head += tag("desc", shown(described, 1_000))
    box = f"0 0 {n(width)} {n(height)}"
    return tag("svg", head, *inside, class_=kind, viewBox=box, role="img")


def text(x: float, y: float, said: object, *, kind: str = "", anchor: str = "") -> Markup:
    """A line of text, cut and without characters that turn the direction."""
    return tag("text", shown(said, 60), x=n(x), y=n(y), class_=kind, text_anchor=anchor)


def path(steps: str, *, kind: str = "", title: str = "") -> Markup:
    if not steps:
        return Markup("")
    inside = [tag("title", shown(title))] if title else []
    return tag("path", *inside, d=steps, class_=kind)


def lines(points: Iterable[Point | None]) -> str:
    """The steps of a line that is broken where there is no point; a lone point is a dot."""
    out: list[str] = []
    run: list[Point] = []

    def end() -> None:
        if run:
            (x, y), rest = run[0], run[1:]
            # A line of no length, which round caps make visible.
            tail = "".join(f"L{n(a)} {n(b)}" for a, b in rest) if rest else "h0"
            out.append(f"M{n(x)} {n(y)}{tail}")
            run.clear()

    for point in points:
        if point is None or not all(map(math.isfinite, point)):
            end()
        else:
            run.append(point)
    end()
    return "".join(out)


def band(upper: Sequence[Point | None], lower: Sequence[Point | None]) -> str:
    """The steps of the areas between two lines over the same places."""
    out: list[str] = []
    run: list[tuple[Point, Point]] = []

    def end() -> None:
        if len(run) > 1:
            there = "L".join(f"{n(a)} {n(b)}" for (a, b), _ in run)
            back = "L".join(f"{n(a)} {n(b)}" for _, (a, b) in reversed(run))
            out.append(f"M{there}L{back}z")
        elif run:
            ((x, y), (_, under)) = run[0]
            out.append(f"M{n(x - 2)} {n(y)}h4V{n(under)}h-4z")
        run.clear()

    for above, below in zip(upper, lower, strict=True):
        if above is None or below is None:
            end()
        else:
            run.append((above, below))
    end()
    return "".join(out)


def bars(tops: Sequence[Point], floor: float, width: float) -> str:
    """The steps of bars that stand on `floor`; a small figure that is not zero can be seen."""
    return "".join(
        f"M{n(x - width / 2)} {n(floor)}V{n(min(y, floor - 0.8))}h{n(width)}V{n(floor)}z"
        for x, y in tops
        if y < floor
    )


def apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places as near as can be to those wanted, `gap` apart and between `low` and `high`."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    found = list(wanted)
    floor = low
    for i in order:
        found[i] = floor = max(found[i], floor)
        floor += gap
    ceiling = high
    for i in reversed(order):
        found[i] = ceiling = min(found[i], ceiling)
        ceiling -= gap
    return found


def ticks(low: float, high: float, most: int = 4) -> list[float]:
    """Round values between `low` and `high`."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low] if math.isfinite(low) else []
    raw = span / most
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * m for m in (1, 2, 2.5, 5, 10) if size * m >= raw)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]
