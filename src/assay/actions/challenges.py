"""A challenger against the champion, on labelled requests that neither was trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, cast

import msgspec

from assay.actions.assessment import scorer_of
from assay.actions.changes import ledger_of, plan_called
from assay.actions.models import read_served
from assay.actions.people import subject_of
from assay.actions.release import version_target
from assay.actions.retraining_evidence import horizon_of
from assay.actions.retraining_steps import retraining, retrainings
from assay.clock import parse_timestamp, timestamp
from assay.errors import Usage
from assay.evidence import lineage, plans
from assay.evidence.facts import Evidence
from assay.evidence.plan_records import CHALLENGE, LOOP
from assay.evidence.plans import Rules
from assay.evidence.state import VersionState, kind_of
from assay.isolation.limits import LEVELS
from assay.types import Digest
from assay.workspace.action import Action, Doing, Outcome, Target
from assay.workspace.view import View

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from assay.formats.schema import Column
    from assay.isolation.limits import Level
    from assay.monitor.feedback import Joined

_GROWTH = 0.1
MOST_ROWS = 1_000_000
"""The oldest ones: so that what was compared once is compared again, and more."""


class Challenge(Action, frozen=True, kw_only=True):
    """Ask both versions the logged requests whose labels came, and bet on the difference.

    Each runs in a confined process of its own, on the same rows: those that were answered after
    everything was gathered that either was made of, and that are older than the horizon.  It may be
    asked again at any time, with more rows: see `assay.monitor.challenge` for what is promised.
    """

    name: ClassVar[str] = "assess"
    model: str
    version: str
    """The challenger."""
    champion: str = ""
    """By default the version in production."""
    retraining: str = ""
    """Whose plan says how; without, `rules` do."""
    rules: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    """As `assay.evidence.plans.Rules` has them."""

    def target(self, view: View) -> Target:
        found = view.version(self.project, self.model, self.version)
        champion = self.against(view)
        if champion.version == found.version:
            raise Usage(
                f"{self.model}@{found.version} is compared with itself",
                remedy="name another version to compare with",
                code="challenge.same",
            )
        for each in (found, champion):
            if each.details.get("kind") == "regressor" or not each.details.get("label"):
                raise Usage(
                    f"{self.model}@{each.version} is no classifier with a known label",
                    remedy="compare versions that were registered with --label",
                    code="challenge.kind",
                )
        known = [set(each.details.get("classes") or []) for each in (found, champion)]
        if known[0] != known[1]:
            raise Usage(
                f"{self.model}@{found.version} tells other classes apart than version "
                f"{champion.version}",
                remedy="compare versions that predict the same classes",
                code="challenge.classes",
            )
        if found.details["label"] != champion.details["label"]:
            raise Usage(
                f"{self.model}@{found.version} predicts {found.details['label']}, and version "
                f"{champion.version} predicts {champion.details['label']}",
                remedy="compare versions that predict the same column",
                code="challenge.label",
            )
        self.agreed(view, champion)
        made = version_target(view, self.project, self.model, found.version, {})
        made.subjects.append(f"endpoint:{self.project}/{self.model}")
        return made

    def against(self, view: View) -> VersionState:
        """The champion."""
        named = self.champion
        if self.retraining:
            named = retraining(view, self.project, self.model, self.retraining).begun["champion"]
        return view.version(self.project, self.model, named or "production")

    def agreed(self, view: View, champion: VersionState) -> Rules:
        """How they are compared: as the plan of the retraining says, else as the action does."""
        if self.retraining:
            begun = retraining(view, self.project, self.model, self.retraining).begun
            if begun["plan"]:
                return plan_called(view, self.project, begun["plan"]).plan.challenge
        given: dict[str, Any] = {"slices": list(champion.details.get("sensitive", []))}
        if horizon := horizon_of(view, champion):
            given["horizon"] = horizon
        given |= self.rules
        try:
            made = msgspec.convert(given, Rules)
        except msgspec.ValidationError as error:
            raise Usage(
                f"that is no way to compare versions: {error}",
                remedy="docs/retraining.md lists what can be said",
                code="challenge.rules",
            ) from error
        if not plans.duration(made.horizon):
            raise Usage(
                "no time is waited for labels, so none can have come",
                remedy="say how long labels take: horizon 30d",
                code="challenge.rules",
            )
        return made

    def apply(self, doing: Doing) -> Outcome:
        from assay.monitor import challenge

        view = doing.view
        found, champion = view.version(self.project, self.model, self.version), self.against(view)
        rules = self.agreed(view, champion)
        gathered = {v.version: trained_until(view, v) for v in (found, champion)}
        since = max(parse_timestamp(at) for at in gathered.values())
        until = doing.clock.now() - plans.duration(rules.horizon)
        joined = self._labelled(doing, rules, found, since, until)
        losses, level = self._losses(doing, champion, found, joined.labelled)
        slices = _slices(joined.labelled, rules)
        doing.progress("comparing them")
        verdict = challenge.compare(losses[0], losses[1], rules, slices)
        served = found.served or found.artifact
        predicate: dict[str, Any] = {
            "endpoint": self.model,
            "name": found.name,
            "retraining": self.retraining,
            "champion": _told(champion, gathered),
            "challenger": _told(found, gathered),
            "from": timestamp(since),
            "until": timestamp(until),
            "horizon": rules.horizon,
            "requested": joined.counts["rows"],
            "coverage": joined.coverage,
            **verdict,
            "isolation": level,
        }
        subject = {
            f"{found.name}@{found.version}.onnx": served,
            **subject_of(f"monitor:{self.project}/{self.model}"),
        }
        statement = doing.attest("challenge", subject, predicate, producer=LOOP)
        return Outcome(predicate, [statement])

    def _labelled(
        self, doing: Doing, rules: Rules, found: VersionState, since: datetime, until: datetime
    ) -> Joined:
        """The requests, with the labels that came within the horizon after each."""
        from assay.actions.collecting import caps_between
        from assay.actions.feedback_records import read_labels
        from assay.actions.predictions import ReadPredictions
        from assay.clock import TOLERANCE
        from assay.monitor import feedback

        frame = _no_requests()
        if since < until:
            doing.progress("reading the log")
            asked = ReadPredictions(
                project=self.project,
                endpoint=self.model,
                purpose=str(found.details["purpose"]),
                since=timestamp(since),
                until=timestamp(until),
            )
            read = doing.nested(asked).frame
            if read.height:
                frame = read.sort("at", "prediction_id", "row").head(MOST_ROWS)
        ids = feedback.ids_of(frame) if frame.height else None
        labels = read_labels(doing, self.model, since - 2 * TOLERANCE, ids=ids)
        return feedback.join(
            frame,
            labels,
            until=doing.clock.now(),
            horizon=plans.duration(rules.horizon),
            ids=ids,
            classes=found.details.get("classes") or [],
            caps=caps_between(doing.view, self.project, self.model, since, until),
        )

    def _losses(
        self, doing: Doing, champion: VersionState, found: VersionState, frame: pl.DataFrame
    ) -> tuple[list[dict[str, NDArray[np.float64]]], str]:
        """The losses of both in every row, and how they were confined."""
        import numpy as np

        from assay.monitor import performance

        labels: list[Any] = frame["label"].to_list()
        if not found.details.get("classes"):  # Nobody knows how they are spelt: as JSON.
            labels = [msgspec.json.decode(text) for text in labels]
        losses: list[dict[str, NDArray[np.float64]]] = []
        levels: list[Level] = []
        for version in (champion, found):
            if not labels:
                losses.append({loss: np.empty(0) for loss in plans.LOSSES})
                continue
            doing.progress(f"asking version {version.version}")
            onnx = read_served(doing, self.project, self.model, version.version)
            with scorer_of(onnx) as (scorer, level):
                scores = scorer(_columns(frame, named=scorer.described.features is not None))
                classes = list(scorer.described.classes or version.details.get("classes") or [])
            details = version.details
            answered = performance.answered(
                scores,
                classes or sorted(set(labels), key=str),
                details["positive"],
                details["threshold"],
            )
            judged = performance.judge(answered, labels)
            right = judged.right.astype(np.float64)
            losses.append({"zero_one": 1 - right, "brier": judged.brier})
            levels.append(cast("Level", level))
        return losses, min(levels, key=LEVELS.index, default="none")


def last_challenge(view: View, version: VersionState, name: str) -> Evidence | None:
    """The last challenge of a version within a retraining."""
    about = version.served or version.artifact
    found = [
        item
        for item in ledger_of(view, version.project).told(about, CHALLENGE, LOOP)
        if item.statement.predicate.get("retraining") == name
        and item.statement.predicate["challenger"]["version"] == version.version
    ]
    return found[-1] if found else None


def is_worth_asking(view: View, action: Challenge, now: datetime) -> bool:
    """Whether so much came since the last challenge that asking again may change anything.

    A tenth more each time, so that there are few of them however often the loop looks: they are
    evidence about the version, which is read at every promotion.
    """
    from assay.actions.feedback_records import batches
    from assay.actions.predictions import segments_of

    version = view.version(action.project, action.model, action.version)
    champion = action.against(view)
    rules = action.agreed(view, champion)
    since = max(parse_timestamp(trained_until(view, v)) for v in (version, champion))
    until = now - plans.duration(rules.horizon)
    if since >= until:
        return False
    segments = segments_of(view, action.project, action.model, since, until)
    requests = sum(segment.rows for segment in segments)
    held = last_challenge(view, version, action.retraining)
    if held is None:
        return requests >= rules.least_rows
    labels = sum(
        batch.accepted
        for batch in batches(view, action.project, action.model, since, now)
        if batch.index > held.index
    )
    told = held.statement.predicate
    grown = max(1, math.ceil(_GROWTH * max(told["rows"], rules.least_rows)))
    return requests - told["requested"] >= grown or labels >= grown


def trained_until(view: View, version: VersionState) -> str:
    """Until when rows may have been gathered that a version, or what judged it, was made of.

    What the loop collected says so.  Of other data it is known when it was registered; of a version
    that nobody saw made, when that was.
    """
    ledger = ledger_of(view, version.project)
    registered = _registered(view, version.project, version.artifact, "model-version")
    if not lineage.made_by_step(ledger, version.artifact):
        return registered
    collected = {
        str(r.collected["content"]): str(r.collected["to"])
        for r in retrainings(view, version.project, version.name)
        if r.collected is not None
    }
    seen = lineage.went_into(ledger, version.artifact)
    # As it was then: whoever registers the name anew must not choose since when rows count.
    tested = version.details.get("tested_on")
    test = view.state.datasets.get(f"{version.project}/{version.details.get('test')}")
    if tested is None and test is not None:
        tested = test.content
    if tested:
        seen |= lineage.went_into(ledger, Digest(str(tested)))
    times = [
        collected.get(digest)
        or _registered(view, version.project, Digest(digest), "dataset")
        or registered
        for digest in seen
        if digest in collected or not lineage.made_by_step(ledger, digest)
    ]
    return max(times, key=parse_timestamp)


def _registered(view: View, project: str, digest: Digest, kind: str) -> str:
    """When bytes were first registered; empty where they were not."""
    for item in view.evidence(project, digest):
        if kind_of(item.statement) == kind and item.statement.header.project == project:
            return item.statement.header.issued
    return ""


def _told(version: VersionState, gathered: Mapping[str, str]) -> dict[str, str]:
    return {
        "version": version.version,
        "digest": version.served or version.artifact,
        "until": gathered[version.version],
    }


def _no_requests() -> pl.DataFrame:
    import polars as pl

    return pl.DataFrame(
        schema={
            "prediction_id": pl.String(),
            "row": pl.Int32(),
            "at": pl.Datetime("us", "UTC"),
            "version": pl.String(),
        }
    )


def _columns(frame: pl.DataFrame, *, named: bool) -> list[Column]:
    """The logged inputs as a model takes them; with `named`, what was given beside them as well,
    which another version may take as its own."""
    import polars as pl

    from assay.actions.material import columns_of

    made: dict[str, pl.Series] = {}
    for prefix in ("in.", "extra.") if named else ("in.",):
        for column in frame.columns:
            name = column.removeprefix(prefix)
            if not column.startswith(prefix) or name in made:
                continue
            series = frame[column]
            if series.dtype == pl.List:
                width = int(series.list.len().max() or 0)  # pyright: ignore[reportArgumentType]
                for at in range(width):
                    made[f"{name}.{at}"] = series.list.get(at, null_on_oob=True)
            else:
                made[name] = series
    return columns_of(pl.DataFrame([series.alias(name) for name, series in made.items()]))


def _slices(frame: pl.DataFrame, rules: Rules) -> dict[str, list[Any]]:
    """Which slice each row is in, for each column of the rules; raises `Usage` for a column that
    was not logged."""
    import polars as pl

    from assay.monitor import baseline

    if not frame.height or not rules.slices:
        return {column: [] for column in rules.slices}
    plain: dict[str, pl.Series] = {}
    for column in rules.slices:
        found = [name for name in (f"in.{column}", f"extra.{column}") if name in frame.columns]
        if not found:
            raise Usage(
                f"the log has no column {column!r}, within whose values no harm may be done",
                remedy="register it as sensitive, so that the endpoint takes it as an extra input",
                code="challenge.slice",
            )
        plain[column] = frame[found[0]]
    table = pl.DataFrame([series.alias(name) for name, series in plain.items()])
    assigned = baseline.slices(table, baseline.slicing(table, list(plain)))
    return {
        column: [told.names[at] for at in told.index.tolist()] for column, told in assigned.items()
    }
