"""From histograms to two-cell tables: the questions that are asked of a feature.

A feature's counts are a row of cells of which **the last is "missing"** (as `monitor.profiles`
writes them).  Each question is a *cut*: has the share of these cells, among those, gone up?  Each
is asked in both directions, as two cuts.

===========  ===================================================================================
kind         cuts
===========  ===================================================================================
`ordered`    "at most bin b" among present values, for each b; each bin against the other present
             ones; missing among all rows
`category`   each category against the other present ones; missing among all rows
`rate`       two cells, [bad, good], no missing one: has the share of bad ones gone *up*?
===========  ===================================================================================

A feature's weight is shared among its cuts: a quarter is for missing values; of the rest, two
thirds of an ordered feature's are for "at most b", more for cuts near the middle bin, and one third
for single bins.  A cut is asked once (with two bins, "at most the first" and "the first" are one).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from assay import errors

Floats: TypeAlias = npt.NDArray[np.float64]
Integers: TypeAlias = npt.NDArray[np.int64]
Places: TypeAlias = npt.NDArray[np.intp]

MOST_ROWS = 2**40
"""Counts become doubles, exactly, also when a long history is summed."""


class Cut(NamedTuple):
    """Has the share of the cells `inside` gone up, among the cells of `among`?"""

    feature: str
    inside: tuple[int, ...]
    among: tuple[int, ...]


class Sides(NamedTuple):
    """The cuts without direction: both of a pair have the same two numbers, in turns.

    Each has a range of cells, over all features' cells in a row, among a range of cells of which
    there are few different ones.
    """

    inside: tuple[Places, Places]
    """From where to where the cells reach."""
    ranges: tuple[Places, Places]
    """The same of those among which they are: the different ones."""
    among: Places
    """Which of the `ranges` is each one's."""
    cut: Places
    """The number of the cut that asks whether the share inside has gone up; -1 where none does."""
    turned: Places
    """Of the cut that asks for the share outside."""

    def tables(self, cells: Integers) -> tuple[Floats, Floats]:
        """For each row of cells: the rows inside of each, and those of each of the `ranges`."""
        sums = np.zeros((*cells.shape[:-1], cells.shape[-1] + 1))
        np.cumsum(cells, axis=-1, out=sums[..., 1:])
        inside = np.take(sums, self.inside[1], axis=-1) - np.take(sums, self.inside[0], axis=-1)
        return inside, np.take(sums, self.ranges[1], axis=-1) - np.take(
            sums, self.ranges[0], axis=-1
        )


class Cuts(NamedTuple):
    """The cuts of all features, as ranges over all features' cells in a row."""

    cuts: list[Cut]
    features: list[str]
    cells: dict[str, slice]
    feature: Places
    """For each cut, the place of its feature in `features`."""
    weights: Floats
    """Of the cuts; they sum to one."""
    sides: Sides

    def tables(self, cells: Integers) -> tuple[Floats, Floats]:
        """For each row of cells and each cut: rows inside, and rows among which they are."""
        inside, among = self.sides.tables(cells)
        among = among[..., self.sides.among]
        made = [np.empty((*cells.shape[:-1], len(self.cuts))) for _ in range(2)]
        for here, part in ((self.sides.cut, inside), (self.sides.turned, among - inside)):
            asked = here >= 0
            made[0][..., here[asked]] = part[..., asked]
            made[1][..., here[asked]] = among[..., asked]
        return made[0], made[1]


def cuts_of(
    reference: Mapping[str, Integers],
    kinds: Mapping[str, str],
    weights: Mapping[str, float] | None = None,
) -> Cuts:
    """The cuts of these features; `weights` are in any unit, 1 where not given."""
    found: list[Cut] = []
    shares: list[float] = []
    cells: dict[str, slice] = {}
    start = 0
    given = {name: _weight(name, weights or {}) for name in reference}
    whole = sum(given.values())
    if reference and whole <= 0:
        raise errors.Usage(
            "every feature has the weight 0, so nothing would be watched",
            remedy="give the features that matter a positive weight",
            code="monitor.weights",
        )
    for name, counts in reference.items():
        cells[name] = slice(start, start + len(counts))
        start += len(counts)
        made = _weighed(name, kinds.get(name), len(counts))
        together = sum(made.values())
        found += made
        shares += [given[name] / whole * weight / together for weight in made.values()]
    features = list(reference)
    places = {name: place for place, name in enumerate(features)}
    return Cuts(
        cuts=found,
        features=features,
        cells=cells,
        feature=np.array([places[cut.feature] for cut in found], dtype=np.intp),
        weights=np.array(shares),
        sides=_sides(found, cells),
    )


def _sides(cuts: list[Cut], cells: Mapping[str, slice]) -> Sides:
    """Both directions of a question have the same range of cells inside, or outside."""
    inside: dict[tuple[int, int, int, int], list[int]] = {}
    for number, cut in enumerate(cuts):
        first, last, start, stop, turned = _range(cut, cells[cut.feature].start)
        own, other = (first, last, start, stop), None
        if (first == start) != (last == stop):
            # Both sides are ranges: one pair, named by the lower one.
            other = (last, stop, start, stop) if first == start else (start, first, start, stop)
        key, upper = (own, False) if other is None or first == start else (other, True)
        inside.setdefault(key, [-1, -1])[turned != upper] = number
    ranges = {key: place for place, key in enumerate(dict.fromkeys(key[2:] for key in inside))}
    columns = np.array(list(inside), dtype=np.intp).reshape(-1, 4).T
    bounds = np.array(list(ranges), dtype=np.intp).reshape(-1, 2).T
    numbers = np.array(list(inside.values()), dtype=np.intp).reshape(-1, 2).T
    return Sides(
        inside=(columns[0], columns[1]),
        ranges=(bounds[0], bounds[1]),
        among=np.array([ranges[key[2:]] for key in inside], dtype=np.intp),
        cut=numbers[0],
        turned=numbers[1],
    )


def _range(cut: Cut, start: int) -> tuple[int, int, int, int, bool]:
    """The cells inside as a range, or those outside; one of both always is one."""
    first, last = cut.inside[0], cut.inside[-1]
    turned = last - first + 1 != len(cut.inside)
    if turned:
        outside = [cell for cell in cut.among if cell not in cut.inside]
        first, last = outside[0], outside[-1]
    return start + first, start + last + 1, start + cut.among[0], start + cut.among[-1] + 1, turned


def as_counts(name: str, values: npt.ArrayLike, cells: int | None = None) -> Integers:
    """Counts as whole numbers, or a refusal that says what is wrong with them."""
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "iufb":
        raise _bad(name, "are not a row of numbers")
    if cells is not None and len(array) != cells:
        raise _bad(name, f"have {len(array)} cells where the reference has {cells}")
    if len(array) and (not np.isfinite(array).all() or (array < 0).any()):
        raise _bad(name, "are not all finite and at least 0")
    # Compared as doubles first: what is far too large would not survive the cast.
    if float(array.sum(dtype=np.float64)) > MOST_ROWS:
        raise _bad(name, f"are more than {MOST_ROWS:,} rows")
    whole = array.astype(np.int64)
    if (whole != array).any():
        raise _bad(name, "are not whole numbers of rows")
    return whole


def row_of(counts: Mapping[str, npt.ArrayLike], cells: Mapping[str, slice], width: int) -> Integers:
    """The counts of all features in a row; 0 for those that are not there."""
    row = np.zeros(width, dtype=np.int64)
    for name, place in cells.items():
        given = counts.get(name)
        if given is None:
            continue
        # What profiles make is a row of whole numbers; the rest is checked for all in one.
        if not (isinstance(given, np.ndarray) and given.dtype == np.int64 and given.ndim == 1):
            given = as_counts(name, given)
        if len(given) != place.stop - place.start:
            given = as_counts(name, given, place.stop - place.start)
        row[place] = given
    if len(row) and (int(row.min()) < 0 or float(row.sum(dtype=np.float64)) > MOST_ROWS):
        for name in cells.keys() & counts.keys():
            as_counts(name, counts[name])
    return row


def _weighed(name: str, kind: str | None, cells: int) -> dict[Cut, float]:
    """The cuts of a feature, with weights in proportion."""
    if kind == "rate":
        if cells != 2:
            raise _bad(name, f"have {cells} cells; a rate has two, [bad, good]")
        return {Cut(name, (0,), (0, 1)): 1.0}
    if kind not in ("ordered", "category"):
        raise errors.Usage(
            f"the kind of {name!r} is {kind!r}; a detector knows ordered, category and rate",
            remedy="give each watched feature one of these kinds",
            code="monitor.kind",
        )
    if cells < 2:
        raise _bad(name, "have fewer than two cells; the last one is always the missing values")
    bins = cells - 1
    present, everything = tuple(range(bins)), tuple(range(cells))
    made: dict[Cut, float] = {}
    if kind == "ordered":
        heads = {present[:size]: float(size * (bins - size)) for size in range(1, bins)}
        _add(made, name, heads, present, 2.0)
    if bins > 1:
        single = {(cell,): 1.0 for cell in present}
        _add(made, name, single, present, 1.0 if kind == "ordered" else 3.0)
    _add(made, name, {(bins,): 1.0}, everything, 1.0)
    return made


def _add(
    made: dict[Cut, float],
    name: str,
    wanted: dict[tuple[int, ...], float],
    among: tuple[int, ...],
    unit: float,
) -> None:
    """Both directions of what is `wanted` and not asked yet; they share `unit`."""
    new: dict[Cut, float] = {}
    for inside, weight in wanted.items():
        outside = tuple(cell for cell in among if cell not in inside)
        for side in (inside, outside):
            cut = Cut(name, side, among)
            if cut not in made:
                new[cut] = weight
    whole = sum(new.values())
    made.update({cut: unit * weight / whole for cut, weight in new.items()})


def _weight(name: str, weights: Mapping[str, float]) -> float:
    weight = float(weights.get(name, 1.0))
    if not (np.isfinite(weight) and weight >= 0):
        raise errors.Usage(
            f"the weight of {name!r} is {weight}; weights are finite and at least 0",
            remedy="mend the weight, or leave it out (then it is 1)",
            code="monitor.weights",
        )
    return weight


def _bad(name: str, what: str) -> errors.Usage:
    return errors.Usage(
        f"the counts of {name!r} {what}",
        remedy="measure window and reference with the same layout of the profile",
        code="monitor.counts",
    )
