"""Where a column of numbers is cut: round numbers between its values, about equally many in each.

Everything is done on the values in order, in which ranks are places: *gap* i lies before value i of
the different values, and `below` says how many values lie below each of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

BINS = 16
LEAST = 10
"""The least number of rows that a figure may be about."""
_WHOLE = 2.0**52
"""From here on there is no number between two whole ones."""


def is_whole(finite: Floats) -> bool:
    """Whether there are values, and all are whole numbers."""
    return bool(len(finite)) and bool((finite == np.floor(finite)).all())


def cut(values: Floats, *, bins: int = BINS, least: int = LEAST, ends: bool = True) -> list[float]:
    """Edges for these finite numbers, so that between two lie at least `least` of them, or none.

    Without `ends` there are no narrow cells for the extremes.
    """
    if not len(values):
        return []
    ordered = np.sort(values)
    found, below = _different(ordered)
    if len(found) <= 2 * bins:
        whole = is_whole(found) and bool(np.abs(found).max() < _WHOLE)
        made = _codes(found) if whole else _gaps(found, below, range(len(found) + 1))
    else:
        made = _quantiles(found, below, bins)
        made += _ends(found, below, least) if ends else []
    return fold(sorted(set(made)), ordered, least)


def _different(ordered: Floats) -> tuple[Floats, Integers]:
    """The different values, and how many lie below each, and in all."""
    starts = np.flatnonzero(ordered[1:] != ordered[:-1])
    if len(starts) + 1 == len(ordered):
        return ordered, np.arange(len(ordered) + 1)
    places = np.concatenate(([0], starts + 1))
    return ordered[places], np.append(places, len(ordered))


def _codes(found: Floats) -> list[float]:
    return [edge for value in found.tolist() for edge in (value - 0.5, value + 0.5)]


def _quantiles(found: Floats, below: Integers, bins: int) -> list[float]:
    """The quantiles, and both sides of each value that makes up a whole bin by itself."""
    rows = int(below[-1])
    wanted = rows * np.arange(1, bins) / bins
    after = np.searchsorted(below, wanted)
    nearer = wanted - below[after - 1] < below[after] - wanted
    inner = set((after - nearer).tolist())
    heavy = np.flatnonzero(np.diff(below) * bins >= rows)
    around = {*heavy.tolist(), *(heavy + 1).tolist()}
    slack = rows // (8 * bins)
    made = _gaps(found, below, sorted(inner - around), slack, slack)
    return made + _gaps(found, below, sorted(around))


def _ends(found: Floats, below: Integers, least: int) -> list[float]:
    """Beyond them lie `least` rows or some more, or nothing where many share the last value."""
    rows = int(below[-1])
    if below[1] >= least:
        made = _gaps(found, below, [0])
    else:
        made = _gaps(found, below, [int(np.searchsorted(below, least))], 0, least)
    if rows - below[-2] >= least:
        return made + _gaps(found, below, [len(found)])
    last = int(np.searchsorted(below, rows - least, side="right")) - 1
    return made + _gaps(found, below, [last], least, 0)


def _gaps(
    found: Floats, below: Integers, gaps: Iterable[int], down: int = 0, up: int = 0
) -> list[float]:
    """An edge in each of these gaps, or so many rows further down or up, where that makes it
    rounder."""
    last = len(found) - 1
    made: list[float] = []
    for gap in gaps:
        if gap == 0:
            a, b = float(found[0]) - _step(found[:2]), float(found[0])
        elif gap > last:
            a, b = float(found[-1]), float(found[-1]) + _step(found[-2:])
        else:
            first = int(np.searchsorted(below, below[gap] - down)) - 1
            final = int(np.searchsorted(below, below[gap] + up, side="right")) - 1
            a, b = float(found[max(first, 0)]), float(found[min(final, last)])
        edge = between(a, b)
        if math.isfinite(edge):
            made.append(edge)
    return made


def _step(pair: Floats) -> float:
    """How far beyond its end a range is taken to reach: as far as to the value before."""
    if len(pair) == 2:
        return min(float(pair[1]) - float(pair[0]), 1e300)
    return max(abs(float(pair[0])), 1.0) / 1_000


def between(a: float, b: float) -> float:
    """The roundest number between a and b (a < b), near the middle; b where there is none."""
    middle, width = a / 2 + b / 2, b - a
    if not math.isfinite(width):
        return 0.0 if a < 0 < b else middle
    if width <= 0:
        return b
    largest = math.floor(math.log10(width)) + 1
    for exponent in (largest, largest - 1, largest - 2):
        step = Decimal(1).scaleb(exponent)
        edge = float((Decimal(middle) / step).to_integral_value() * step)
        if a < edge < b:
            return edge
    return middle if a < middle < b else b


def fold(
    made: list[float], ordered: Floats, least: int, *, keep: float | None = None
) -> list[float]:
    """Edges without those beside a cell of fewer than `least` of the values, unless it is empty;
    the edge `keep` stays as long as there is another to go."""
    left = list(made)
    while left:
        places = np.searchsorted(ordered, np.array(left))
        cells = np.diff(places, prepend=0, append=len(ordered))
        small = np.flatnonzero((cells > 0) & (cells < least))
        if not len(small):
            break
        cell = int(small[np.argmin(cells[small])])
        left.pop(_drop(cell, cells, left, keep))
    return left


def _drop(cell: int, cells: Integers, left: list[float], keep: float | None) -> int:
    """Which edge of a cell goes: that towards its smaller neighbour which is not empty."""
    choices = [edge for edge in (cell - 1, cell) if 0 <= edge < len(left)]
    free = [edge for edge in choices if left[edge] != keep] or choices

    def rank(edge: int) -> tuple[bool, int]:
        other = int(cells[edge] if edge < cell else cells[edge + 1])
        return other == 0, other

    return min(free, key=rank)
