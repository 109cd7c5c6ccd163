"""What is normal for a version: its held-out rows as counts, its scores, its errors.

A baseline is measured once, by the version itself, on rows that it was not trained on.  It holds
the cells (`layouts`) in which every later window is counted, and how often each was met; the scores
with the share of positives in each bin, which says how far they can be trusted; figures and losses,
for the whole and for each slice; and the `Plan`.

Slices are the values of a slice column, rarer ones and those never seen together as *other*, or, of
a column of many numbers, its fifths.  Each is a row of counts as well, so that a change in who
comes is seen even when nothing else changes.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from assay.errors import Corrupt, Usage
from assay.monitor import layouts, performance, profiles
from assay.monitor.edges import Floats, cut, fold, is_whole
from assay.monitor.layouts import Category, Cells, Layout, Number
from assay.monitor.performance import Answered, Bools, Codes, Judged
from assay.monitor.plans import Plan
from assay.monitor.profiles import Integers, Profile

KIND = "baseline"
PRODUCER = "assay.monitor.baseline/1"

LEAST_ROWS = 100
"""Fewer rows do not say what is normal."""
LEAST_FIGURED = 50
"""Rows of a slice from which on it is given figures: before, an interval would span everything."""
SLICES = 20
SLICE_BINS = 5
OTHER, MISSING = "other", "missing"
_PREFIXES = ("in.", "extra.", "")


def build(
    frame: pl.DataFrame,
    columns: Sequence[str],
    scores: ArrayLike,
    labels: Sequence[int | str] | None,
    plan: Plan,
    *,
    classes: Sequence[int | str],
    positive: int | str | None = None,
    threshold: float = 0.5,
    training: pl.DataFrame | None = None,
) -> dict[str, Any]:
    """What the predicate ``baseline/v1`` says of rows, as plain JSON; who, where and from which
    data is the caller's to add.

    `columns` are the features in `frame`, which also has the slice columns of the plan; `scores`
    are the model's probabilities for its rows, and `labels` the truth if it is known.  `training`
    has the features of the rows it was trained on.  Raises `Usage` for what cannot be measured.
    """
    if frame.height < LEAST_ROWS:
        raise Usage(
            f"{frame.height:,} rows do not say what is normal",
            remedy=f"measure on at least {LEAST_ROWS} rows, better some thousands",
            code="baseline.rows",
        )
    given = performance.answered(scores, classes, positive, threshold)
    if len(given) != frame.height:
        raise Usage(
            f"there are {len(given):,} scores for {frame.height:,} rows", code="baseline.scores"
        )
    judged = performance.judge(given, labels) if labels is not None else None
    features = frame.select(columns)
    layout = layouts.layout(features)
    cells = slicing(frame, plan.slices)
    profile = profiles.measure(features, layout)
    assigned = slices(frame, cells, prefixes=("",))
    edges = score_edges(given, threshold)
    trained = None if training is None else profiles.measure(training.select(columns), layout)
    return {
        "rows": frame.height,
        "plan": plan.to_dict(),
        "layout": layout.to_dict(),
        "profile": profile.to_dict(),
        "unbiased": _unbiased(frame, layout, profile, cells, assigned),
        "training_profile": None if trained is None else trained.to_dict(),
        "scores": {
            "of": "confidence" if given.positive is None else "positive",
            "positive": None if given.positive is None else given.classes[given.positive],
            "classes": given.classes,
            "threshold": None if given.positive is None else float(threshold),
            "called": _called(given),
            **_histogram(given, judged, edges),
        },
        "performance": performance.figures(judged) if judged else {},
        "loss": performance.losses(judged) if judged else {},
        "slicing": cells.to_dict(),
        "slices": [
            _slice(name, value, rows, given, judged, edges)
            for name, parts in assigned.items()
            for value, rows in parts.parts()
        ],
    }


def _unbiased(
    frame: pl.DataFrame,
    layout: Layout,
    profile: Profile,
    slicing: Layout,
    assigned: Mapping[str, Assigned],
) -> dict[str, dict[str, list[int]]]:
    """Of the columns of text of which not all values are named: the counts in the rows that did not
    choose them, as a detector takes them."""
    rest = frame.filter(~layouts.choosers(frame.height))
    inputs = profiles.measure(rest, layout)
    found = slices(rest, slicing, prefixes=("",))
    return {
        "inputs": {
            cells.name: inputs[cells.name].vector().tolist()
            for cells in layout.columns
            if isinstance(cells, Category) and profile[cells.name].other
        },
        "slices": {
            cells.name: found[cells.name].counts().tolist()
            for cells in slicing.columns
            if isinstance(cells, Category) and assigned[cells.name].counts()[-2]
        },
    }


def score_edges(given: Answered, threshold: float) -> list[float]:
    """The edges of the score's bins, between 0 and 1; the threshold is one of them."""
    at = threshold if given.positive is not None else None
    return [e for e in profiles.score_edges(given.score, threshold=at) if 0 < e < 1]


def _called(given: Answered) -> list[int]:
    """Rows called each class, in the order of `classes`."""
    return np.bincount(given.called, minlength=len(given.classes)).tolist()


def _histogram(given: Answered, judged: Judged | None, edges: list[float]) -> dict[str, Any]:
    counts = profiles.scores(given.score, edges)
    hits = profiles.scores(given.score[judged.hit], edges) if judged else None
    return {
        "edges": edges,
        "counts": counts.tolist(),
        "positives": None if hits is None else hits.tolist(),
    }


def _slice(
    column: str,
    value: str,
    rows: Bools,
    given: Answered,
    judged: Judged | None,
    edges: list[float],
) -> dict[str, Any]:
    found: dict[str, Any] = {"column": column, "value": value, "rows": int(rows.sum())}
    if found["rows"] < LEAST_FIGURED:
        return {**found, "state": "too few rows"}
    part = given.take(rows)
    at = next((e for e in edges if given.positive is not None and e == given.cut), None)
    own = fold(edges, np.sort(part.score), profiles.LEAST, keep=at)
    truth = judged.take(rows) if judged else None
    return {
        **found,
        "state": "ok",
        "scores": _histogram(part, truth, own),
        "performance": performance.figures(truth) if truth else {},
        "loss": performance.losses(truth) if truth else {},
    }


# -- slices ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Assigned:
    """Which slice each row is in: `index` are places in `names`, the last two of which are
    ``other`` and ``missing``."""

    names: list[str]
    index: Codes

    def parts(self) -> list[tuple[str, Bools]]:
        """The rows of each slice that has any."""
        counts = self.counts()
        return [(n, self.index == i) for i, n in enumerate(self.names) if counts[i]]

    def counts(self) -> Integers:
        """Rows in each slice."""
        return np.bincount(self.index, minlength=len(self.names))


def slicing(frame: pl.DataFrame, columns: Sequence[str]) -> Layout:
    """How a table is cut into slices: the values of text and of few numbers, fifths of others."""
    cells: list[Cells] = []
    for name in columns:
        if name not in frame.columns:
            raise Usage(
                f"there is no column {name[:80]!r} to slice by",
                remedy=f"columns: {', '.join(frame.columns)[:400]}",
                code="baseline.slices",
            )
        column = frame[name]
        values = layouts.numbers(column)
        if values is None or len(np.unique(finite := values[np.isfinite(values)])) <= SLICES:
            spelt = _spelt(column)
            if spelt is None:
                raise Usage(
                    f"column {name[:80]!r} is of type {column.dtype}, by which nothing is sliced",
                    remedy="slice by text, numbers or truth values",
                    code="baseline.slices",
                )
            named = layouts.listed(spelt, SLICES, profiles.LEAST)
            cells.append(Category(name, [v for v in named if v not in (OTHER, MISSING)]))
        else:
            least = max(profiles.LEAST, len(finite) // (4 * SLICE_BINS))
            made = cut(finite, bins=SLICE_BINS, least=least, ends=False)
            cells.append(Number(name, made, is_whole(finite)))
    return Layout(layouts.FORMAT, profiles.LEAST, cells)


def slices(
    frame: pl.DataFrame, slicing: Layout, *, prefixes: Sequence[str] = _PREFIXES
) -> dict[str, Assigned]:
    """Which slice of each slice column every row is in; a column is looked for under each prefix.

    Where it is absent or of another type, all rows are ``missing`` or ``other``.
    """
    found: dict[str, Assigned] = {}
    for cells in slicing.columns:
        names = [*cells.names(), OTHER, MISSING]
        name = next((p + cells.name for p in prefixes if p + cells.name in frame.columns), None)
        if name is None:
            index = np.full(frame.height, len(names) - 1, dtype=np.int64)
        elif isinstance(cells, Number):
            index = _numbered(cells, frame[name])
        else:
            index = _listed(cells, frame[name])
        found[cells.name] = Assigned(names, index)
    return found


def _numbered(cells: Number, column: pl.Series) -> Codes:
    other, missing = cells.cells, cells.cells + 1
    values = layouts.numbers(column)
    if values is None:
        return np.where(column.is_null().to_numpy(), missing, other).astype(np.int64)
    index = np.searchsorted(np.array(cells.edges), values, side="right")
    return np.where(np.isnan(values), missing, np.where(np.isinf(values), other, index))


def _listed(cells: Category, column: pl.Series) -> Codes:
    other, missing = cells.cells, cells.cells + 1
    spelt = _spelt(column)
    if spelt is None:
        return np.full(column.len(), other, dtype=np.int64)
    places = {value: place for place, value in enumerate(cells.values)}
    told = spelt.replace_strict(places, default=other, return_dtype=pl.Int64)
    return told.set(spelt.is_null(), missing).to_numpy().astype(np.int64)


def _spelt(column: pl.Series) -> pl.Series | None:
    """A column as text: a whole number is spelt as one, whatever its type; None for what is
    neither text nor numbers."""
    if layouts.is_text(column.dtype):
        return column.cast(pl.String)
    values = layouts.numbers(column)
    if values is None:
        return None
    spelt = {value: f"{value:.12g}" for value in np.unique(values[np.isfinite(values)]).tolist()}
    numbers = pl.Series(column.name, values, dtype=pl.Float64, nan_to_null=True)
    return numbers.replace_strict(spelt, default=numbers.cast(pl.String), return_dtype=pl.String)


# -- reading ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Baseline:
    """A recorded baseline, read: what windows are measured and compared by."""

    about: dict[str, Any]
    """The whole predicate."""
    plan: Plan
    layout: Layout
    profile: Profile
    training: Profile | None
    slicing: Layout

    @property
    def edges(self) -> list[float]:
        """Of the score's bins, without the ends."""
        return self.about["scores"]["edges"]

    @property
    def borders(self) -> list[float]:
        """The same with 0 and 1, as `detectors.cbpe` takes them."""
        return [0.0, *self.edges, 1.0]

    @property
    def threshold(self) -> float:
        """From which score on it is answered what the score speaks of: with more than two classes
        a score is that of the called class, so from 0."""
        told = self.about["scores"]["threshold"]
        return 0.0 if told is None else float(told)

    def answered(self, scores: ArrayLike) -> Answered:
        """A window's scores, rows × classes, as this version's calls."""
        told = self.about["scores"]
        threshold = 0.5 if told["threshold"] is None else told["threshold"]
        return performance.answered(scores, told["classes"], told["positive"], threshold)

    def slice_of(self, column: str, value: str) -> dict[str, Any] | None:
        """What is recorded of a slice; None for one that the reference has not."""
        found = [s for s in self.about["slices"] if (s["column"], s["value"]) == (column, value)]
        return found[0] if found else None

    def slice_counts(self) -> dict[str, Integers]:
        """Reference rows in each slice, in the order of `Assigned.names`."""
        made: dict[str, Integers] = {}
        for cells in self.slicing.columns:
            rows = {
                s["value"]: s["rows"] for s in self.about["slices"] if s["column"] == cells.name
            }
            made[cells.name] = np.array(
                [rows.get(name, 0) for name in (*cells.names(), OTHER, MISSING)], dtype=np.int64
            )
        return made

    def unbiased(self) -> tuple[dict[str, Integers], dict[str, Integers]]:
        """Counts of the inputs, and of the slices, that exact tests may be held against: without
        the rows that chose which categories are named, see `layouts`."""
        counts, slices = self.profile.vectors(), self.slice_counts()
        told = self.about.get("unbiased", {"inputs": {}, "slices": {}})
        for held, kind in ((counts, "inputs"), (slices, "slices")):
            for name, values in told[kind].items():
                held[name] = np.array(values, dtype=np.int64)
        return counts, slices

    def unfold(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The rows of a model that takes all inputs as one matrix, with a column for each: in the
        order of the reference's columns.  Others as they are."""
        names = [f"in.{cells.name}" for cells in self.layout.columns]
        given = [name for name in frame.columns if name.startswith("in.")]
        if len(given) != 1 or not isinstance(frame.schema[given[0]], pl.List):
            return frame
        matrix = frame[given[0]].list
        return frame.with_columns(
            matrix.get(place, null_on_oob=True).alias(name) for place, name in enumerate(names)
        )

    def observe(self, frame: pl.DataFrame, scores: ArrayLike) -> dict[str, Any]:
        """A window of the prediction log in the cells of this baseline, as plain JSON:
        ``{rows, profile, scores: {counts, called, broken}, slices: [{column, value, rows,
        scores}]}``.

        `scores` are probabilities, rows × classes or of the positive class; rows whose scores are
        none are only counted, as `broken`.  Of fewer rows than the layout's least nothing is said
        but their number.
        """
        frame = self.unfold(frame)
        profile = profiles.measure(frame, self.layout, prefix="in.").to_dict()
        found: dict[str, Any] = {"rows": frame.height, "profile": profile}
        if not profile["columns"]:
            return {**found, "scores": None, "slices": []}
        array = np.asarray(scores, dtype=np.float64)
        whole = performance.probable(array)
        given = self.answered(array[whole])
        found["scores"] = {
            "counts": profiles.scores(given.score, self.edges).tolist(),
            "called": _called(given),
            "broken": int((~whole).sum()),
        }
        found["slices"] = [
            self._observe_slice(name, value, int(rows.sum()), given.score[rows[whole]])
            for name, assigned in slices(frame, self.slicing).items()
            for value, rows in assigned.parts()
        ]
        return found

    def _observe_slice(self, column: str, value: str, rows: int, score: Floats) -> dict[str, Any]:
        """Without scores where the reference has too few rows of the slice, or the window has."""
        known, counts = self.slice_of(column, value), None
        if known is not None and known["state"] == "ok" and len(score) >= self.layout.least:
            counts = profiles.scores(score, known["scores"]["edges"]).tolist()
        return {"column": column, "value": value, "rows": rows, "scores": counts}


def read(predicate: dict[str, Any]) -> Baseline:
    """A baseline from its predicate; raises `Corrupt` for what is none."""
    try:
        layout = Layout.from_dict(predicate["layout"])
        training = predicate["training_profile"]
        found = Baseline(
            predicate,
            Plan.from_dict(predicate["plan"]),
            layout,
            Profile.from_dict(predicate["profile"], layout),
            None if training is None else Profile.from_dict(training, layout),
            Layout.from_dict(predicate["slicing"]),
        )
        _check_scores(predicate["scores"], found.profile.rows)
        for told in predicate["slices"]:
            if told["state"] == "ok":
                _check_scores(told["scores"], told["rows"])
    except (KeyError, TypeError, Usage) as error:
        raise Corrupt(f"not a baseline: {error}", code="baseline") from error
    return found


def _check_scores(told: dict[str, Any], rows: int) -> None:
    edges, counts, positives = told["edges"], told["counts"], told["positives"]
    hits = [0] * len(counts) if positives is None else positives
    if (
        len(counts) != len(edges) + 1
        or any(a >= b for a, b in itertools.pairwise([0.0, *edges, 1.0]))
        or sum(counts) != rows
        or len(hits) != len(counts)
        or any(not 0 <= hit <= count for hit, count in zip(hits, counts, strict=True))
    ):
        raise Corrupt("the scores of the baseline do not add up to its rows", code="baseline")
