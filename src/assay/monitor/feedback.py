"""Labels joined to the predictions that they are about: each counted once, or for its own reason.

A label belongs to a prediction by the prediction's id and row alone.  Up to the *watermark*, a
horizon after the window ends, it counts; after that it is late: shown, and used for no figure that
was closed.  Among the labels that one source gives for the same row the latest counts, by the time
the source gives it or else by when it came; where sources differ, none counts.

No label is lost on the way: of every source, what it gave is the sum of what was used and of each
reason for which something was not (`Joined.sources`).

One stolen token must not decide a figure.  So a source counts in a window for no more labels than
others give (`Caps.share`), unless it gave as many before, or is the first that there ever was;
which of its rows those are, the ids say, that the endpoint drew at random, and nobody else chooses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median
from typing import TypeAlias, cast

import polars as pl

from assay.clock import TOLERANCE
from assay.monitor.labels import KEPT, MOMENT, Classes, spellings

GIVEN = pl.Schema({**KEPT, "source": pl.String()})
"""The columns of labels, in the order of the ledger."""
_KEY = ("prediction_id", "row")
_EACH = ("prediction_id", "row", "source")
_FORMER = 8
"""Windows by which it is known how much a source usually gives."""
_GROWTH = 2.0
"""How many times that much it may give."""

OUTCOMES: dict[str, str] = {
    "used": "count in the figure",
    "duplicate": "repeat what the same source said before",
    "corrected": "were replaced by a later, different one of the same source",
    "disputed": "differ from what another source says of the same row",
    "late": "came after the window was closed",
    "early": "came before the prediction was made, or name a time still to come",
    "unknown": "name no prediction that is known",
    "elsewhere": "name a prediction of another endpoint",
    "unreadable": "are nothing that the version which answered could have said",
    "capped": "are over what one source may give",
}
"""What becomes of a label; each becomes exactly one of these."""


@dataclass(frozen=True, slots=True)
class Caps:
    """What one source may give."""

    day: int = 1_000_000
    """Labels received in a day (UTC)."""
    share: float = 0.5
    """The part of a window's labels that may be of one source, where several give some."""
    allowance: int = 0
    """Labels in a window that it may give whatever the others do."""
    usual: Mapping[str, float] = field(default_factory=dict[str, float])
    """Labels in a window that it usually gives, see `usual`."""

    def limit(self, source: str, given: Mapping[str, int]) -> float:
        """How many of its labels count, when the sources, in the order of their first label,
        have `given` so many."""
        if not 0 < self.share <= 1:
            raise ValueError(f"a share of {self.share}")
        known = self.usual or list(given)[:1]
        alone = {*known, *given} <= {source}
        if alone or self.share == 1 or (not self.usual and source in known):
            return math.inf
        others = sum(count for name, count in given.items() if name != source)
        fair = others * self.share / (1 - self.share)
        return max(self.allowance, _GROWTH * self.usual.get(source, 0.0), math.floor(fair))


@dataclass(frozen=True, slots=True)
class Joined:
    """The predictions with a column ``label`` (null where none counts), and what became of labels.

    `counts` has ``rows``, ``labelled`` and ``disputed`` in predictions, and the `OUTCOMES` but the
    disputed in labels.  `sources` has for each source the `OUTCOMES` and their sum, ``given``.
    """

    frame: pl.DataFrame
    counts: dict[str, int]
    sources: dict[str, dict[str, int]]

    @property
    def coverage(self) -> float:
        """The part of the predictions that has a label; 0 where there was no prediction."""
        rows = self.counts["rows"]
        return self.counts["labelled"] / rows if rows else 0.0

    @property
    def labelled(self) -> pl.DataFrame:
        """The predictions that have one."""
        return self.frame.filter(pl.col("label").is_not_null())


def usual(former: Sequence[Mapping[str, Mapping[str, int]]]) -> dict[str, float]:
    """What each source usually gives: the middle of what was used of it in the last windows in
    which anything was.  `former` are the `Joined.sources` of closed windows, in their order."""
    seen: dict[str, list[int]] = {}
    for sources in former[-_FORMER:]:
        for source, counts in sources.items():
            if counts.get("used", 0) > 0:
                seen.setdefault(source, []).append(counts["used"])
    return {source: float(median(counts)) for source, counts in seen.items()}


VersionClasses: TypeAlias = Classes | Mapping[str, Classes]
"""The classes of every version alike; or by version, for a window in which it changed."""


def join(
    predictions: pl.DataFrame,
    labels: pl.DataFrame,
    *,
    until: datetime,
    horizon: timedelta | None = None,
    closes: datetime | None = None,
    known: pl.DataFrame | None = None,
    elsewhere: pl.DataFrame | None = None,
    ids: tuple[str, str] | None = None,
    classes: VersionClasses = None,
    caps: Caps | None = None,
) -> Joined:
    """The predictions of a window with their labels as of `until`.

    `predictions` is a frame of the prediction log and `labels` one with the columns `GIVEN`, in the
    order of the ledger.  `closes` is the window's watermark; without, each prediction has one of
    its own, `horizon` after it was made.

    A label that fits no prediction is ``unknown`` if its id lies in `ids`, the first and the last
    id for which this window has to account (by default those of its own predictions), unless it is
    `known`: of a prediction (id and row) in another window, or about somebody who was erased.
    Those of another endpoint are `elsewhere`.
    """
    if closes is None and horizon is None:
        raise ValueError("neither a watermark nor a horizon is given")
    caps = caps or Caps()
    told = labels.select(list(GIVEN)).cast(GIVEN).with_row_index("_place")
    told = told.filter(pl.col("received") <= _at(until))
    told = _recognised(told, predictions, known, ids or ids_of(predictions))
    other = told.filter(pl.lit(value=False))
    if elsewhere is not None:
        other = told.join(_keys(elsewhere), on=_KEY, how="semi")
    watermark = pl.col("_made") + horizon if closes is None else _at(closes)
    told = told.with_columns(
        pl.when(pl.col("_made").is_null())
        .then(
            pl.when(pl.col("_place").is_in(other["_place"].implode()))
            .then(pl.lit("elsewhere"))
            .otherwise(pl.lit("unknown"))
        )
        .when(_early())
        .then(pl.lit("early"))
        .when(pl.col("received") > watermark)
        .then(pl.lit("late"))
        .when(~_readable(classes))
        .then(pl.lit("unreadable"))
        .alias("_outcome")
    )
    for settle in (_repeated, _daily, _latest, _shared, _agreed):
        told = settle(told, caps)
    told = told.with_columns(pl.col("_outcome").fill_null("used"))
    return _joined(predictions, told, classes)


def ids_of(predictions: pl.DataFrame) -> tuple[str, str] | None:
    """The first and the last id; None where there is none."""
    if not predictions.height:
        return None
    ids = predictions["prediction_id"]
    return cast("str", ids.min()), cast("str", ids.max())


def strangers(
    labels: pl.DataFrame, predictions: pl.DataFrame, ids: tuple[str, str] | None = None
) -> pl.DataFrame:
    """The labels, of those between the `ids`, that fit none of the predictions."""
    ids = ids or ids_of(predictions)
    if ids is None:
        return labels.clear()
    between = pl.col("prediction_id").is_between(pl.lit(ids[0]), pl.lit(ids[1]))
    return labels.filter(between).join(_keys(predictions), on=_KEY, how="anti")


def _keys(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(_KEY).cast({"row": pl.Int32})


def _at(moment: datetime) -> pl.Expr:
    return pl.lit(moment).dt.convert_time_zone("UTC").cast(MOMENT)


def _recognised(
    told: pl.DataFrame,
    predictions: pl.DataFrame,
    known: pl.DataFrame | None,
    ids: tuple[str, str] | None,
) -> pl.DataFrame:
    """The labels that are for these predictions, with when and by which version each was answered;
    and those that are for none."""
    here = predictions.select(
        *_KEY,
        pl.col("at").cast(MOMENT).alias("_made"),
        pl.col("version").alias("_version"),
    ).cast({"row": pl.Int32})
    if here.select(_KEY).is_duplicated().any():
        # One label would count twice.
        raise ValueError("a prediction is there twice")
    ours = told.join(here, on=_KEY, how="inner")
    lost = strangers(told, predictions, ids)
    if known is not None:
        lost = lost.join(_keys(known), on=_KEY, how="anti")
    nobody = [pl.lit(None, MOMENT).alias("_made"), pl.lit(None, pl.String).alias("_version")]
    return pl.concat([ours, lost.with_columns(nobody)]).sort("_place")


def _early() -> pl.Expr:
    before = pl.col("received") < pl.col("_made") - TOLERANCE
    ahead = pl.col("at") > pl.col("received") + TOLERANCE
    return before | ahead.fill_null(value=False)


def _readable(classes: VersionClasses) -> pl.Expr:
    """Whether the version that answered could have said it."""
    if not isinstance(classes, Mapping):
        return _among(classes)
    # Of a version that nobody knows, nothing can be read.
    readable = pl.lit(value=False)
    for version, its in classes.items():
        readable = pl.when(pl.col("_version") == version).then(_among(its)).otherwise(readable)
    return readable


def _among(classes: Classes) -> pl.Expr:
    if classes is None:
        return ~pl.col("label").str.starts_with('"')
    return pl.col("label").is_in(spellings(classes)) if classes else pl.lit(value=True)


# -- what becomes of those that could count -------------------------------------------------------
#
# Each step looks at the labels of which nothing is said yet, and says something of some of them.


def _said(told: pl.DataFrame, which: pl.Series, outcome: str) -> pl.DataFrame:
    """`told` with an outcome for the places in `which`."""
    if which.is_empty():
        return told
    hit = pl.col("_place").is_in(which.implode())
    return told.with_columns(
        pl.when(hit).then(pl.lit(outcome)).otherwise(pl.col("_outcome")).alias("_outcome")
    )


def _open(told: pl.DataFrame) -> pl.DataFrame:
    return told.filter(pl.col("_outcome").is_null())


def _repeated(told: pl.DataFrame, _: Caps) -> pl.DataFrame:
    """The very same label with the very same time, wherever it stands: an old batch that is sent
    again takes back no correction."""
    dated = _open(told).filter(pl.col("at").is_not_null())
    first = pl.col("_place").min().over(*_EACH, "label", "at")
    return _said(told, dated.filter(pl.col("_place") > first)["_place"], "duplicate")


def _daily(told: pl.DataFrame, caps: Caps) -> pl.DataFrame:
    """What is over a day's rows of a source."""
    day = pl.col("received").dt.truncate("1d")
    over = _open(told).filter(pl.int_range(pl.len()).over("source", day) >= caps.day)
    return _said(told, over["_place"], "capped")


def _latest(told: pl.DataFrame, _: Caps) -> pl.DataFrame:
    """One label of a source for a row: the latest by its own time, else by when it came; of the
    same time the last on the ledger."""
    ordered = _open(told).sort(pl.coalesce("at", "received"), "_place")
    former = pl.col("label").shift(1).over(_EACH)
    again = (former == pl.col("label")).fill_null(value=False)
    ordered = ordered.with_columns(again.alias("_again"))
    told = _said(told, ordered.filter("_again")["_place"], "duplicate")
    ordered = ordered.filter(~pl.col("_again"))
    last = pl.int_range(pl.len()).over(_EACH) == pl.len().over(_EACH) - 1
    return _said(told, ordered.filter(~last)["_place"], "corrected")


def _shared(told: pl.DataFrame, caps: Caps) -> pl.DataFrame:
    """What is over a source's share of the window."""
    standing = _open(told)
    given = dict(standing.group_by("source", maintain_order=True).len().iter_rows())
    limits = {source: caps.limit(source, given) for source in given}
    bound = {name: int(limit) for name, limit in limits.items() if limit < given[name]}
    if not bound:
        return told
    drawn = standing.filter(pl.col("source").is_in(list(bound))).sort(
        "source", pl.col("prediction_id").str.tail(12), "prediction_id", "row"
    )
    rank = pl.int_range(pl.len()).over("source")
    limit = pl.col("source").replace_strict(bound, return_dtype=pl.Int64)
    return _said(told, drawn.filter(rank >= limit)["_place"], "capped")


def _agreed(told: pl.DataFrame, _: Caps) -> pl.DataFrame:
    """Where sources differ about a row, nobody is believed."""
    differ = pl.col("label").n_unique().over(_KEY) > 1
    return _said(told, _open(told).filter(differ)["_place"], "disputed")


# -- the result -----------------------------------------------------------------------------------


def _joined(here: pl.DataFrame, told: pl.DataFrame, classes: VersionClasses) -> Joined:
    used = told.filter(pl.col("_outcome") == "used").unique(_KEY, keep="first")
    columns = used.select(*_KEY, _typed(classes).alias("label"))
    frame = here.join(
        columns.cast({"row": here.schema["row"]}), on=_KEY, how="left", maintain_order="left"
    )
    sources: dict[str, dict[str, int]] = {}
    for source, outcome, count in told.group_by("source", "_outcome").len().iter_rows():
        counts = sources.setdefault(str(source), {"given": 0, **dict.fromkeys(OUTCOMES, 0)})
        counts[outcome] = int(count)
        counts["given"] += int(count)
    disputed = told.filter(pl.col("_outcome") == "disputed").select(_KEY).n_unique()
    counts = {
        "rows": here.height,
        "labelled": used.height,
        **{name: sum(s[name] for s in sources.values()) for name in ("given", *OUTCOMES)},
        "disputed": disputed if told.height else 0,
    }
    return Joined(frame, counts, {name: sources[name] for name in sorted(sources)})


def _typed(classes: VersionClasses) -> pl.Expr:
    """Labels as the model spells its classes: whole numbers or text; numbers where it gives such;
    and as JSON where nobody knows, or versions differ."""
    of = list(classes.values()) if isinstance(classes, Mapping) else [classes]
    kinds = {_kind(its) for its in of}
    match kinds.pop() if len(kinds) == 1 else "any":
        case "number":
            return pl.col("label").cast(pl.Float64)
        case "whole":
            return pl.col("label").cast(pl.Int64)
        case "text":
            return pl.col("label").str.json_decode(pl.String)
        case _:
            return pl.col("label")


def _kind(classes: Classes) -> str:
    if classes is None:
        return "number"
    kinds = {type(label) for label in classes}
    return "whole" if kinds == {int} else "text" if kinds == {str} else "any"
