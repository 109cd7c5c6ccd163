"""Labelled rows of the log as a dataset, to train on: what was asked and what turned out true.

The rows are about whom the training data is about, and were given for what it was given for.  So
who collects them must be allowed to read that dataset (its holds, purposes, retention and special
categories apply) and the log, and what comes out is registered under the same declarations.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, cast

from assay.actions.datasets import (
    Declared,
    ReadDataset,
    fingerprints_of,
    registered,
    ring_of,
    seal_fingerprints,
)
from assay.actions.feedback import joined
from assay.actions.monitor_records import recorded
from assay.actions.people import project_target, subject_of
from assay.actions.predictions import Log, ReadPredictions
from assay.clock import parse_timestamp, timestamp
from assay.errors import Conflict, Usage
from assay.evidence.state import DatasetState, VersionState
from assay.types import check_name
from assay.workspace.action import Action, Doing, Outcome, Target
from assay.workspace.view import View

if TYPE_CHECKING:
    import polars as pl

    from assay.monitor.feedback import Caps, Joined

_LATER = timedelta(days=1)


class CollectDataset(Action, frozen=True, kw_only=True):
    """Register the rows of an endpoint's log that have a label as a dataset.

    It has the columns of the training data, as far as they were logged, the label as it turned out,
    and the declarations of the training data.  Rows about people who were erased are not in it, nor
    rows about which sources differ.  The same rows are not registered twice.
    """

    name: ClassVar[str] = "registerDataset"
    endpoint: str
    dataset: str
    from_: str = ""
    to: str = ""
    """RFC 3339: answered at or after the one, before the other; empty for no bound."""
    purpose: str = ""
    """Empty for that of the model."""
    ticket: str = ""
    """For special categories of personal data."""

    @property
    def origin(self) -> str:
        """Where the rows come from, in words."""
        return f"log of endpoint {self.endpoint}, with labels"

    def target(self, view: View) -> Target:
        check_name(self.dataset, what="dataset name")
        version, trained = self._model(view)
        there = view.state.datasets.get(f"{self.project}/{self.dataset}")
        if there is not None and there.details.get("origin") != self.origin:
            raise Conflict(
                f"{self.dataset} is another dataset already, of {there.owner}",
                remedy="give what is collected a name of its own: --name NAME",
                code="collect.name",
            )
        made = project_target(
            view,
            self.project,
            {},
            f"dataset:{self.project}/{self.dataset}",
            # A hold, or an erasure, that slips in meanwhile wins.
            f"dataset:{self.project}/{trained.name}",
            *(f"digest:{d}" for d in subject_of(f"monitor-subjects:{self.project}").values()),
        )
        made.words = {"model": version.name, "data": trained.name, "project": self.project}
        return made

    def _model(self, view: View) -> tuple[VersionState, DatasetState]:
        """The version behind the endpoint, and the data it was trained on."""
        held = recorded(view, self.project, self.endpoint)
        version = view.version(self.project, self.endpoint, held.serving)
        name = str(version.details.get("dataset") or "")
        if not name or not version.details.get("label"):
            raise Usage(
                f"{version.name}@{version.version} does not say what it was trained on, so nobody "
                "said whose such rows are and what they may be used for",
                remedy="register the model with --train DATASET --label COLUMN",
                code="collect.data",
            )
        return version, view.dataset(self.project, name)

    def apply(self, doing: Doing) -> Outcome:
        from assay.data import profile as profiles
        from assay.data import snapshots, tables

        version, trained = self._model(doing.view)
        purpose = self.purpose or str(version.details["purpose"])
        log = self._log(doing, trained, purpose)
        found = self._labelled(doing, log)
        doing.progress("making a table")
        frame, absent = rows_of(
            found.labelled,
            trained.details["schema"],
            label=str(version.details["label"]),
            subject=str(trained.details["subject_column"]),
            leave_out=version.details.get("leave_out") or [],
        )
        declared = self._declared(trained, frame.columns)
        collection: dict[str, Any] = {
            "endpoint": self.endpoint,
            "from": timestamp(cast("datetime", found.labelled["at"].min())),
            "to": timestamp(cast("datetime", found.labelled["at"].max())),
            "predictions": found.counts["rows"],
            "labels": found.counts,
            "sources": found.sources,
            "erased": log.erased,
            "shredded": log.shredded,
            "absent": absent,
            "trained_on": trained.content,
        }
        same = self._same(doing, declared, frame)
        if same is not None:
            value = {"dataset": self.dataset, "content": same.content, "replaces": ""}
            told = {**value, **same.details, "unchanged": True, "collection": collection}
            return Outcome({**told, "changes": None})
        doing.progress("sealing the rows")
        name = f"log of {self.endpoint}"
        content = doing.store.put(
            ring_of(self.project), snapshots.parquet(frame, name), salted=True
        )
        with doing.store.open(ring_of(self.project), content) as stream:
            table = tables.read_stream(stream, name, expect=profiles.schema(frame))
        outcome = registered(
            doing, declared, table, content, origin=self.origin, collection=collection
        )
        value = {**outcome.value, "unchanged": False, "collection": collection}
        return Outcome(value, outcome.statements)

    def _log(self, doing: Doing, trained: DatasetState, purpose: str) -> Log:
        """The rows, for who may read both what the model was trained on and what it was asked."""
        # Nothing of the dataset is needed: but it is what says who may look at such rows.
        with doing.nested(
            ReadDataset(
                project=self.project, dataset=trained.name, purpose=purpose, ticket=self.ticket
            )
        ):
            pass
        doing.progress("reading the log")
        return doing.nested(
            ReadPredictions(
                project=self.project,
                endpoint=self.endpoint,
                purpose=purpose,
                since=self.from_,
                until=self.to,
            )
        )

    def _labelled(self, doing: Doing, log: Log) -> Joined:
        found = None
        if log.frame.height:
            doing.progress("joining the labels")
            now = doing.clock.now()
            found = joined(
                doing,
                self.endpoint,
                log.frame.sort("at", "prediction_id", "row"),
                since=cast("datetime", log.frame["at"].min()),
                closes=now + _LATER,
                until=now,
                caps=caps_between(
                    doing.view,
                    self.project,
                    self.endpoint,
                    parse_timestamp(self.from_) if self.from_ else None,
                    parse_timestamp(self.to) if self.to else None,
                ),
            )
        if found is None or not found.counts["labelled"]:
            counts = {k: v for k, v in found.counts.items() if v} if found else {}
            raise Usage(
                f"no row of {self.endpoint} in this time has a label that counts",
                remedy=f"assay feedback status {self.endpoint} says which labels there are",
                code="collect.empty",
                details={"counts": counts, "erased": log.erased},
            )
        return found

    def _declared(self, trained: DatasetState, columns: list[str]) -> Declared:
        held = trained.details
        subject = str(held["subject_column"])
        return Declared(
            project=self.project,
            dataset=self.dataset,
            owner=trained.owner,
            licence=held["licence"],
            purposes=tuple(held["purposes"]),
            legal_basis=held["legal_basis"],
            residency=tuple(held["residency"]),
            subject_column=subject if subject in columns else "",
            personal=held["personal"],
            personal_columns=tuple(c for c in held.get("personal_columns", []) if c in columns),
            special=held["special"],
            retain_until=held["retain_until"],
        )

    def _same(self, doing: Doing, declared: Declared, frame: pl.DataFrame) -> DatasetState | None:
        """What is registered under this name already, where it is these rows and these words."""
        from assay.data import profile as profiles

        there = doing.view.state.datasets.get(f"{self.project}/{self.dataset}")
        if there is None:
            return None
        rows = seal_fingerprints(doing, frame)
        alike = (
            fingerprints_of(there).get(there.content) == rows
            and there.details.get("schema") == profiles.schema(frame)
            and declared.details().items() <= there.details.items()
            and there.owner == declared.owner
        )
        return there if alike else None


def caps_between(
    view: View, project: str, endpoint: str, since: datetime | None, until: datetime | None
) -> Caps:
    """What one source may give of the requests of a time, as monitoring has it: as much as it gave
    in the windows of this time, or as the others give.

    Where none of these was judged, what it usually gave in a window before: whoever comes first is
    nobody of whom that is known.
    """
    from assay.actions.feedback_records import caps_of
    from assay.monitor import feedback

    figures = list(recorded(view, project, endpoint).figures().values())
    given: dict[str, float] = {}
    for told in figures:
        before = since is not None and parse_timestamp(told["to"]) < since
        if before or (until is not None and parse_timestamp(told["from"]) >= until):
            continue
        sources = cast("dict[str, dict[str, int]]", told.get("sources") or {})
        for source, counts in sources.items():
            given[source] = given.get(source, 0.0) + counts.get("used", 0)
    usual = {source: count for source, count in given.items() if count}
    usual = usual or feedback.usual([told.get("sources") or {} for told in figures])
    return replace(caps_of(view, project, endpoint), usual=usual)


def rows_of(
    labelled: pl.DataFrame,
    schema: Sequence[Mapping[str, Any]],
    *,
    label: str,
    subject: str,
    leave_out: Collection[str] = (),
) -> tuple[pl.DataFrame, list[str]]:
    """Labelled rows of the log with the columns of a dataset, as far as they are there, and the
    names of those that are not.  `leave_out` are those that are no features, which one matrix
    without names does not have.

    Whom a row is about is called by the pseudonym of the log.  Raises `Usage` where nothing but the
    label would be left.
    """
    import polars as pl

    apart = {label, subject, *leave_out}
    spread = _spread(labelled, [str(c["name"]) for c in schema if c["name"] not in apart])
    made: list[pl.Series] = []
    absent: list[str] = []
    for column in schema:
        name, kind = str(column["name"]), str(column["type"])
        if name == label:
            made.append(_typed(labelled["label"].alias(name), kind))
        elif (series := spread.get(name)) is not None:
            made.append(_typed(series.alias(name), kind))
        elif name == subject and labelled["subject"].is_not_null().any():
            made.append(labelled["subject"].alias(name))
        else:
            absent.append(name)
    if len(made) < 2:
        raise Usage(
            "the log has no column of what the model was trained on",
            remedy="its inputs have other names: train on data with the names of the inputs",
            code="collect.columns",
        )
    return pl.DataFrame(made), absent


def _spread(labelled: pl.DataFrame, wanted: list[str]) -> dict[str, pl.Series]:
    """What was given, by name; one matrix without names by the names of the dataset, in order."""
    import polars as pl

    found: dict[str, pl.Series] = {}
    for column in labelled.columns:
        prefix, _, name = column.partition(".")
        if prefix in ("in", "extra") and name not in found:
            found[name] = labelled[column]
    lists = {name: series for name, series in found.items() if series.dtype == pl.List}
    for name, series in lists.items():
        del found[name]
        widths = series.list.len().unique().to_list()
        if len(lists) == 1 and widths == [len(wanted)]:
            found |= {w: series.list.get(at) for at, w in enumerate(wanted)}
    return found


def _typed(series: pl.Series, kind: str) -> pl.Series:
    """Logged numbers as the dataset has them, where every one of them can be that."""
    import polars as pl

    if series.dtype == pl.Float64:
        series = series.fill_nan(None)
    if not series.dtype.is_numeric():
        return series
    whole = bool((series == series.cast(pl.Int64, strict=False)).fill_null(value=True).all())
    match kind:
        case "float":
            return series.cast(pl.Float64)
        case "int" if whole:
            return series.cast(pl.Int64)
        case "bool" if whole and series.cast(pl.Int64).drop_nulls().is_in([0, 1]).all():
            return series.cast(pl.Boolean)
        case "date" if whole:
            return series.cast(pl.Int32).cast(pl.Date)  # Days since 1970.
        case "date":
            return (series * 86_400e6).round().cast(pl.Int64).cast(pl.Datetime("us"))
        case _:
            return series
