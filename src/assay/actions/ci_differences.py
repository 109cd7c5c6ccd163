"""What a run changed: figures with intervals, data, schema, dependencies and code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from assay.actions.comparison import Compared, CompareModels
from assay.actions.runs import ReadRun, runs
from assay.assess import privacy, quality
from assay.ci import comparison
from assay.ci.model import Better, Changed, Dataset, Estimate, Metric, Slice
from assay.data import datasheet
from assay.errors import AssayError
from assay.evidence.facts import Evidence
from assay.evidence.state import VersionState, kind_of
from assay.pipeline.records import RunRecord
from assay.types import Digest
from assay.workspace.credentials import Credential
from assay.workspace.door import Workspace
from assay.workspace.view import View

_FIGURES: tuple[tuple[str, str, tuple[str, ...], Better], ...] = (
    ("auc", quality.KIND, ("auc",), "higher"),
    ("accuracy", quality.KIND, ("accuracy",), "higher"),
    ("brier", quality.KIND, ("brier",), "lower"),
    ("log_loss", quality.KIND, ("log_loss",), "lower"),
    ("gap auc", quality.KIND, ("gap", "auc"), "lower"),
    ("membership auc", privacy.KIND, (), "lower"),
)
"""Name, kind of statement, where in its predicate, and which side is better."""
_ATTACKS = ("loss", "rmia")
_OF_SLICES = ("auc", "accuracy")


@dataclass(frozen=True, slots=True)
class Pair:
    """A version of this run, and the one that it is compared with."""

    now: VersionState
    base: VersionState | None


class Found:
    """Reads what differs, for whoever asked."""

    def __init__(
        self, workspace: Workspace, credential: Credential, view: View, project: str, since: int
    ) -> None:
        self._workspace = workspace
        self._credential = credential
        self._view = view
        self._project = project
        self._since = since
        self._before: RunRecord | None = None
        self._looked = False

    # -- figures ----------------------------------------------------------------------------------

    def figures(
        self, pairs: Sequence[Pair], *, seed: int, progress: Callable[[str], None]
    ) -> tuple[list[Metric], list[Slice]]:
        """The figures of every version with their differences, and those of its slices."""
        metrics: list[Metric] = []
        slices: list[Slice] = []
        for pair in pairs:
            prefix = f"{pair.now.name}: " if len(pairs) > 1 else ""
            told = self._judged(pair.now)
            before = self._judged(pair.base) if pair.base is not None else {}
            same = self._paired(pair, told, seed, progress)
            for name, kind, where, better in _FIGURES:
                metric = same.get(name) or _metric(name, told, before, kind, where, better)
                if metric is not None:
                    metrics.append(msgspec.structs.replace(metric, name=f"{prefix}{name}"))
            slices += _slices(told.get(quality.KIND, {}), prefix)
        return metrics, slices

    def _judged(self, version: VersionState) -> dict[str, dict[str, Any]]:
        """The newest assessment of each kind, on the held-out rows as they are now if there is
        one."""
        name = str(version.details.get("test") or "")
        held = self._view.state.datasets.get(f"{self._project}/{name}")
        found: dict[str, dict[str, Any]] = {}
        wanted: set[str] = set()
        for item in self._about(version):
            kind = kind_of(item.statement)
            if kind not in (quality.KIND, privacy.KIND):
                continue
            predicate = item.statement.predicate
            here = held is not None and _content(predicate, "data") == held.content
            if here or kind not in wanted:
                found[kind] = predicate
            if here:
                wanted.add(kind)
        return found

    def _about(self, version: VersionState) -> list[Evidence]:
        """The statements about a version's served bytes that count."""
        gone = self._view.state.superseded_in(self._project)
        trusted = {
            (producer.producer, kind)
            for producer in self._view.policy.producers
            for kind in producer.predicate_types
        }
        return [
            item
            for item in self._view.evidence(self._project, version.served or version.artifact)
            if item.envelope_digest not in gone
            and (item.producer, item.statement.predicateType) in trusted
        ]

    def _paired(
        self,
        pair: Pair,
        told: Mapping[str, dict[str, Any]],
        seed: int,
        progress: Callable[[str], None],
    ) -> dict[str, Metric]:
        """Differences on the same rows, where both versions can be run on those of this run."""
        judged = told.get(quality.KIND)
        if pair.base is None or judged is None or not (pair.now.served and pair.base.served):
            return {}
        name = str(judged.get("datasets", {}).get("data", {}).get("name") or "")
        held = self._view.state.datasets.get(f"{self._project}/{name}")
        if held is None or held.content != _content(judged, "data"):
            return {}
        asked = CompareModels(
            project=self._project,
            model=pair.now.name,
            version=pair.now.version,
            base=pair.base.version,
            data=name,
            seed=seed,
        )
        try:
            found: Compared = self._workspace.perform(self._credential, asked, progress=progress)
        except AssayError as error:
            # Their own intervals are what is left; that is told with each figure.
            progress(f"not compared row by row: {error.message}")
            return {}
        return {metric.name: metric for metric in found.metrics}

    # -- data -------------------------------------------------------------------------------------

    def datasets(self, record: RunRecord | None, pairs: Sequence[Pair]) -> list[Dataset]:
        """The datasets of the run that differ from what the base was made with, or where there is
        no base, from what had their name before the run."""
        names: dict[str, None] = {}
        for task in record.tasks if record is not None else ():
            if isinstance(task.value, dict) and "dataset" in task.value:
                names[str(task.value["dataset"])] = None
        found: list[Dataset] = []
        for name in sorted(names):
            held = self._view.state.datasets.get(f"{self._project}/{name}")
            if held is None:
                continue
            sheets = self._sheets(name, held.contents)
            before = self._content_of_base(name, pairs)
            if before is None:
                earlier = [s for s in sheets if s.index < self._since]
                before = _registered(earlier[-1]) if earlier else None
            if before is None or before == held.content:
                continue
            old = next(
                (
                    s.statement.predicate["details"]
                    for s in reversed(sheets)
                    if _registered(s) == before
                ),
                None,
            )
            found.append(
                Dataset(
                    name=name,
                    before=before,
                    after=held.content,
                    rows_before=old["rows"] if old is not None else None,
                    rows_after=held.details["rows"],
                    new_rows=self._new_rows(held.content, before),
                    columns=_columns(old["schema"] if old else None, held.details["schema"]),
                )
            )
        return found

    def _sheets(self, name: str, contents: Sequence[Digest]) -> list[Evidence]:
        """The registrations under a name, in their order."""
        return [
            item
            for item in self._view.evidence(self._project, *contents)
            if kind_of(item.statement) == "dataset"
            and item.statement.predicate.get("name") == name
            and item.statement.header.project == self._project
        ]

    def _content_of_base(self, name: str, pairs: Sequence[Pair]) -> Digest | None:
        for pair in pairs:
            if pair.base is None:
                continue
            details = pair.base.details
            if details.get("dataset") == name and details.get("trained_on"):
                return Digest(str(details["trained_on"]))
            judged = self._judged(pair.base).get(quality.KIND, {})
            if judged.get("datasets", {}).get("data", {}).get("name") == name:
                return Digest(_content(judged, "data"))
        return None

    def _new_rows(self, content: Digest, before: Digest) -> int | None:
        """From the datasheet of the newer, which compares fingerprints of rows with the last."""
        for item in reversed(self._view.evidence(self._project, content)):
            if kind_of(item.statement) != "datasheet" or item.producer != datasheet.PRODUCER:
                continue
            composition = item.statement.predicate.get("composition", {})
            changes = composition.get("changes", {}).get("value")
            if isinstance(changes, dict) and cast("Any", changes).get("since") == before:
                return int(cast("Any", changes)["new"])
        return None

    # -- dependencies and code --------------------------------------------------------------------

    def dependencies(self, record: RunRecord | None) -> list[Changed]:
        """The distributions that are others than in the last finished run of the pipeline."""
        before = self._last(record)
        if record is None or before is None:
            return []
        return _changed(before.distributions, record.distributions, _version)

    def code(self, record: RunRecord | None) -> list[Changed]:
        """The modules and package files that are others than then."""
        before = self._last(record)
        if record is None or before is None:
            return []
        return _changed(_code(before), _code(record), lambda value, _: value)

    def _last(self, record: RunRecord | None) -> RunRecord | None:
        """The last run of the same pipeline that was finished before this one."""
        if self._looked or record is None:
            return self._before
        self._looked = True
        for told in runs(self._view, self._project):
            other = told["run"] != record.run and told["pipeline"] == record.pipeline
            if other and told["state"] == "done" and "record" in told:
                try:
                    self._before = self._workspace.perform(
                        self._credential, ReadRun(project=self._project, run=str(told["run"]))
                    )
                except AssayError:
                    continue  # Its record may be lost or sealed under a destroyed ring.
                break
        return self._before


def _registered(item: Evidence) -> Digest:
    return Digest(str(item.statement.predicate["content"]))


# -- figures from predicates -----------------------------------------------------------------------


def _content(predicate: Mapping[str, Any], which: str) -> str:
    return str(predicate.get("datasets", {}).get(which, {}).get("content") or "")


def _at(predicate: Mapping[str, Any], where: Iterable[str]) -> Any:
    found: Any = predicate
    for name in where:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _figure(predicate: Mapping[str, Any], kind: str, where: Iterable[str]) -> Estimate | None:
    if kind == privacy.KIND:
        # The attack that does best is the one that counts.
        areas = [_estimate(_at(predicate, (name, "auc"))) for name in _ATTACKS]
        there = [area for area in areas if area is not None]
        return max(there, key=lambda a: a.value if a.upper is None else a.upper, default=None)
    return _estimate(_at(predicate, where))


def _estimate(found: Any) -> Estimate | None:
    if not isinstance(found, Mapping) or not isinstance(found.get("value"), int | float):
        return None
    told = cast("Mapping[str, Any]", found)
    return Estimate(value=told["value"], lower=told.get("lower"), upper=told.get("upper"))


def _rows(predicate: Mapping[str, Any]) -> int | None:
    rows = predicate.get("rows")
    if isinstance(rows, Mapping):
        return sum(cast("Mapping[str, int]", rows).values())
    return rows if isinstance(rows, int) else None


def _metric(
    name: str,
    told: Mapping[str, dict[str, Any]],
    before: Mapping[str, dict[str, Any]],
    kind: str,
    where: tuple[str, ...],
    better: Better,
) -> Metric | None:
    now = _figure(told.get(kind, {}), kind, where)
    if now is None:
        return None
    base = _figure(before.get(kind, {}), kind, where)
    return Metric(
        name=name,
        now=now,
        base=base,
        difference=comparison.figures(now, base) if base is not None else None,
        better=better,
        rows=_rows(told[kind]),
    )


def _slices(predicate: Mapping[str, Any], prefix: str) -> list[Slice]:
    found: list[Slice] = []
    for column, parts in (predicate.get("slices") or {}).get("columns", {}).items():
        for part in parts:
            for metric in _OF_SLICES:
                figure = _estimate(part.get(metric))
                if figure is not None:
                    found.append(
                        Slice(
                            column=column,
                            value=str(part["value"]),
                            metric=f"{prefix}{metric}",
                            estimate=figure,
                            rows=part["rows"],
                        )
                    )
    return found


# -- pairs of names and values ---------------------------------------------------------------------


def _columns(
    before: Sequence[Mapping[str, Any]] | None, after: Sequence[Mapping[str, Any]]
) -> list[Changed]:
    if before is None:
        return []

    def types(schema: Sequence[Mapping[str, Any]]) -> dict[str, str]:
        return {
            str(c["name"]): f"{c.get('type', '')}{', or none' if c.get('nullable') else ''}"
            for c in schema
        }

    return _changed(types(before), types(after), lambda value, _: value)


def _changed(
    before: Mapping[str, str], after: Mapping[str, str], told: Callable[[str, str], str]
) -> list[Changed]:
    found: list[Changed] = []
    for name in sorted({*before, *after}):
        old, new = before.get(name, ""), after.get(name, "")
        if old != new:
            found.append(
                Changed(
                    name=name,
                    before=told(old, new) if old else "",
                    after=told(new, old) if new else "",
                )
            )
    return found


def _version(value: str, other: str) -> str:
    """The version; with the digest of its files where only those differ."""
    version, _, digest = value.partition(" ")
    return value[: len(version) + 20] if other.partition(" ")[0] == version and digest else version


def _code(record: RunRecord) -> dict[str, str]:
    """Modules and package files of all steps together, without what they are called inside."""
    return {
        name.partition(":")[2]: value
        for components in record.code.values()
        for name, value in components.items()
        if name.startswith(("code:", "data:"))
    }
