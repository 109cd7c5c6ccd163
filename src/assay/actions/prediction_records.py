"""Predictions on the ledger: one statement for each sealed segment, found by endpoint and day; the
segments themselves, opened for an action that was allowed to; and the log that endpoints write."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from assay.actions.baselines import baseline_of
from assay.actions.people import subject_of
from assay.clock import parse_timestamp
from assay.errors import AssayError, Conflict, Corrupt, NotFound
from assay.evidence.facts import Evidence
from assay.evidence.state import VersionState, kind_of
from assay.store import SHREDDED, Ring, Rings
from assay.types import Digest, check_digest
from assay.workspace.action import Doing
from assay.workspace.layout import Layout
from assay.workspace.view import View

if TYPE_CHECKING:
    import polars as pl

    from assay.monitor.log import PredictionLog
    from assay.monitor.segments import Column, Meta
    from assay.monitor.subjects import SubjectKeys
    from assay.workspace.door import Workspace

KIND = "predictions"
LOSS = "prediction-loss"
PRODUCER = "assay.monitor.log/1"
_DAY = timedelta(days=1)
_MOST_DAYS = 800
"""A longer time is looked for among all segments of the endpoint."""
_DATATYPES = {"float": "FP64", "int": "INT64", "bool": "BOOL"}


class Segment(msgspec.Struct, frozen=True):
    """A sealed stretch of the log, as its statement describes it."""

    index: int
    """Its leaf."""
    id: str
    version: str
    digest: str
    rows: int
    requests: int
    first: str
    """When the first of its requests was answered, and when the last."""
    last: str
    blob: Digest
    ring: str
    subjects: int
    """How many people its rows are about."""


class Loss(msgspec.Struct, frozen=True):
    """What was written to a spool and cannot be read."""

    index: int
    segment: str
    why: str
    """``damaged``, ``shredded`` (its ring was destroyed) or ``foreign`` (of another endpoint)."""
    records: int
    """Requests that are known to be missing; there may be more in `bytes`."""
    bytes: int
    kept_as: str
    """The file's name, set aside for people; empty where nothing is left of it."""


class Log(msgspec.Struct):
    """Rows of a log, and what is not among them."""

    frame: pl.DataFrame
    metas: list[Meta]
    """What the columns mean: one for each segment that was read."""
    erased: int
    """Rows about people who were erased."""
    shredded: int
    """Rows of segments whose ring was destroyed."""


# -- names ----------------------------------------------------------------------------------------


def rings_of(project: str, day: date) -> Iterator[str]:
    """The rings of a month's predictions: another one only after the one before was destroyed."""
    name = f"{project}/predictions.{day:%Y-%m}"
    yield name
    for number in range(2, 100):
        yield f"{name}.{number}"


def ring_for(rings: Rings, project: str, at: datetime) -> Ring:
    """The ring that seals what is predicted at a time; made when its month begins."""
    for name in rings_of(project, at.astimezone(timezone.utc).date()):
        try:
            return rings.ring(name)
        except NotFound as error:
            if error.code == f"{NotFound.kind}.{SHREDDED}":
                continue
        try:
            return rings.create(name)
        except Conflict:  # Another process was faster.
            return rings.ring(name)
    raise Conflict(
        f"the ring of this month's predictions of {project} was destroyed a hundred times",
        remedy="find out who does this",
        code="predictions.ring",
    )


def naming_key(rings: Rings, project: str) -> bytes:
    """The key of the pseudonyms of a project's people: the same for as long as the project is."""
    return rings.ring(f"{project}/evidence").derive("prediction-subjects")


def spools_of(layout: Layout, project: str, endpoint: str) -> Path:
    """Where what an endpoint answered waits to be sealed."""
    from assay.monitor.log import folder_of

    return folder_of(layout.root, project, endpoint)


@functools.lru_cache(maxsize=8)
def _subject_keys(folder: Path, rings: Rings, project: str) -> SubjectKeys:
    from assay.monitor.subjects import SubjectKeys

    return SubjectKeys(folder, rings, project)


def subject_keys(layout: Layout, rings: Rings, project: str) -> SubjectKeys:
    """The keys of the people of a project; the same for all segments that are read together."""
    return _subject_keys(layout.root / "subjects" / project, rings, project)


def about(project: str, endpoint: str, *days: date) -> dict[str, Digest]:
    """What statements about a log are about: all of it, and its days."""
    name = f"monitor-log:{project}/{endpoint}"
    made = subject_of(name)
    for day in days:
        made |= subject_of(f"{name}/{day.isoformat()}")
    return made


def segment_subject(segment: str) -> dict[str, Digest]:
    """Names a segment before there is a blob: that of a spool."""
    return subject_of(f"monitor-segment:{segment}")


# -- looking --------------------------------------------------------------------------------------


def statements(view: View, project: str, kind: str, subjects: Iterable[Digest]) -> list[Evidence]:
    """The statements of the log itself; who merely says the same is not heard."""
    return [
        item
        for item in view.own(project, *subjects, superseded=True)
        if kind_of(item.statement) == kind and item.producer == PRODUCER
    ]


def segments_of(
    view: View,
    project: str,
    endpoint: str,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Segment]:
    """The segments of an endpoint in the order of time; with `since` and `until`, those that may
    hold something answered at or after the one and before the other."""
    everything = about(project, endpoint)
    subjects = everything
    if since is not None and until is not None and until - since < _MOST_DAYS * _DAY:
        # A segment lies within one day.
        days = [since.astimezone(timezone.utc).date()]
        while days[-1] < until.astimezone(timezone.utc).date():
            days.append(days[-1] + _DAY)
        of_days = about(project, endpoint, *days)
        subjects = {name: digest for name, digest in of_days.items() if name not in everything}
    found = [_segment(i) for i in statements(view, project, KIND, subjects.values())]
    return sorted(
        (
            segment
            for segment in found
            if (since is None or parse_timestamp(segment.last) >= since)
            and (until is None or parse_timestamp(segment.first) < until)
        ),
        key=lambda segment: (segment.first, segment.id),
    )


def _segment(item: Evidence) -> Segment:
    told = item.statement.predicate
    try:
        return Segment(
            index=item.index,
            id=str(told["segment"]),
            version=str(told["version"]),
            digest=str(told["digest"]),
            rows=int(told["rows"]),
            requests=int(told["requests"]),
            first=str(told["from"]),
            last=str(told["to"]),
            blob=check_digest(str(told["blob"])),
            ring=str(told["ring"]),
            subjects=int(told["subjects"]),
        )
    except (KeyError, TypeError, ValueError, AssayError) as error:
        raise Corrupt(
            f"leaf {item.index} does not describe predictions", code="predictions.statement"
        ) from error


def losses_of(view: View, project: str, endpoint: str) -> list[Loss]:
    """What is known to be lost of a log, in the order of the ledger."""
    subjects = about(project, endpoint).values()
    return [
        Loss(
            index=item.index,
            segment=str(told["segment"]),
            why=str(told["why"]),
            records=int(told["records"]),
            bytes=int(told["bytes"]),
            kept_as=str(told["kept_as"]),
        )
        for item in statements(view, project, LOSS, subjects)
        for told in [item.statement.predicate]
    ]


def kept_of_predictions(view: View) -> list[tuple[str, Digest]]:
    """As (ring, digest), every segment: garbage collection keeps them all.  A month of them goes by
    destroying its ring."""
    return [
        (segment.ring, segment.blob)
        for endpoint in view.state.endpoints
        for segment in segments_of(view, *_split(endpoint))
    ]


def _split(endpoint: str) -> tuple[str, str]:
    project, _, name = endpoint.partition("/")
    return project, name


# -- reading --------------------------------------------------------------------------------------


def open_segment(doing: Doing, segment: Segment) -> tuple[pl.DataFrame, Meta]:
    """A segment's rows and what they are; the action that calls this is the decision.

    Raises ``not_found.shredded`` when its ring was destroyed.
    """
    from assay.monitor import segments, subjects

    data = doing.store.read(segment.ring, segment.blob, segments.MOST_BYTES)
    keys = subject_keys(doing.layout, doing.store.rings, doing.project)
    return segments.read(data, open_sealed=lambda rows: subjects.unseal(keys, rows))


def read_log(
    doing: Doing,
    endpoint: str,
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    version: str = "",
) -> Log:
    """What was answered at or after `since` and before `until`; see `open_segment`."""
    import polars as pl

    log = Log(pl.DataFrame(), [], 0, 0)
    frames: list[pl.DataFrame] = []
    for segment in segments_of(doing.view, doing.project, endpoint, since, until):
        if version and segment.version != version:
            continue
        try:
            frame, meta = open_segment(doing, segment)
        except NotFound as error:
            if error.code != f"{NotFound.kind}.{SHREDDED}":
                raise
            log.shredded += segment.rows
            continue
        log.metas.append(meta)
        log.erased += meta.erased
        if since is not None:
            frame = frame.filter(pl.col("at") >= since)
        if until is not None:
            frame = frame.filter(pl.col("at") < until)
        frames.append(frame)
    if frames:
        log.frame = pl.concat(frames, how="diagonal_relaxed")
    return log


def read_predictions(
    doing: Doing,
    endpoint: str,
    from_: datetime | None = None,
    to: datetime | None = None,
    *,
    version: str = "",
) -> tuple[pl.DataFrame, list[Meta]]:
    """`read_log` for who counts nothing."""
    log = read_log(doing, endpoint, from_, to, version=version)
    return log.frame, log.metas


# -- writing --------------------------------------------------------------------------------------


def subject_column(view: View, found: VersionState) -> str:
    """The column that says whom a row is about, by the registration of the training data."""
    dataset = view.state.datasets.get(f"{found.project}/{found.details.get('dataset')}")
    return str(dataset.details.get("subject_column") or "") if dataset else ""


def extras_of(view: View, found: VersionState, inputs: Iterable[str]) -> list[Column]:
    """What may be given and is logged beside a version's `inputs`: whom a row is about, what is
    sensitive, and what slices are made by, as far as the training data has them."""
    from assay.monitor.segments import Column

    dataset = view.state.datasets.get(f"{found.project}/{found.details.get('dataset')}")
    if dataset is None:
        return []
    kinds = {str(c["name"]): str(c.get("type", "")) for c in dataset.details["schema"]}
    wanted = [subject_column(view, found), *found.details.get("sensitive", [])]
    wanted += (_plan(view, found) or {}).get("slices", [])
    taken = set(inputs)
    return [
        Column(name, _DATATYPES.get(kinds[name], "BYTES"))
        for name in dict.fromkeys(wanted)
        if name in kinds and name not in taken
    ]


def _plan(view: View, found: VersionState) -> dict[str, Any] | None:
    """How the version is watched, by its newest baseline."""
    told = baseline_of(view, found.project, found.name, found.version)
    return None if told is None else told["plan"]


def open_log(
    workspace: Workspace,
    project: str,
    version: str,
    *,
    endpoint: str,
    inputs: Iterable[Any],
    outputs: Iterable[Any],
    extras: Iterable[Any] = (),
) -> PredictionLog:
    """The log of a version that is served: of `inputs`, `outputs` and `extras` as the endpoint has
    them.  Nothing is made before the first answer."""
    from assay.monitor import log
    from assay.monitor.segments import describe

    found = workspace.view.version(project, endpoint, version)
    rings, clock = workspace.store.rings, workspace.clock
    subject = subject_column(workspace.view, found)
    beside = [extra for extra in extras if extra.name != subject]
    digest = found.served or found.artifact
    # A window by rows is made of whole segments: none may hold more than one window.
    rows = ((_plan(workspace.view, found) or {}).get("window") or {}).get("rows", log.MOST_ROWS)
    return log.PredictionLog(
        spools_of(workspace.layout, project, endpoint),
        lambda: ring_for(rings, project, clock.now()),
        describe(endpoint, found.version, digest, inputs, outputs, beside),
        clock=clock,
        naming=naming_key(rings, project),
        subject=subject,
        most_rows=min(rows, log.MOST_ROWS),
    )
