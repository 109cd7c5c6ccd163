"""Labels on the ledger: one statement for each sealed batch of one source, found by endpoint and
day; and the batches themselves, opened for an action that was allowed to."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from assay.actions.people import subject_of
from assay.actions.prediction_records import segments_of
from assay.clock import parse_timestamp, timestamp
from assay.errors import AssayError, Corrupt, NotFound
from assay.evidence.facts import Evidence
from assay.evidence.state import kind_of
from assay.evidence.statement import Statement
from assay.store import SHREDDED
from assay.types import Digest, check_digest
from assay.workspace.action import Doing
from assay.workspace.layout import Layout
from assay.workspace.view import View

if TYPE_CHECKING:
    import polars as pl

    from assay.monitor.feedback import Caps
    from assay.monitor.labels import Classes

KIND = "labels"
LOSS = "label-loss"
PRODUCER = "assay.monitor.feedback/1"
_BASELINE = "baseline"
_MEASURER = "assay.monitor.baseline/1"
MOST_BYTES = 1 << 30
"""Of one sealed batch."""
_DAY = timedelta(days=1)


class Batch(msgspec.Struct, frozen=True):
    """What one source gave, in one file or in one stretch of requests."""

    index: int
    """Its leaf."""
    id: str
    source: str
    rows: int
    accepted: int
    refused: dict[str, int]
    first: str
    """When the first of it was received, and when the last."""
    last: str
    blob: str
    """Empty where nothing of it was accepted."""
    ring: str
    ids: tuple[str, str]
    """The least and the greatest of the prediction ids in it."""


def spool_of(layout: Layout, project: str, endpoint: str) -> Path:
    """Where the labels of an endpoint wait to be sealed."""
    return layout.root / "spool" / project / endpoint / KIND


def subject(project: str, endpoint: str, *days: date) -> dict[str, Digest]:
    """What a statement about labels of an endpoint is about: all of them, and those of its days."""
    name = f"monitor-labels:{project}/{endpoint}"
    made = subject_of(name)
    for day in days:
        made |= subject_of(f"{name}/{day.isoformat()}")
    return made


def batch_subject(name: str) -> dict[str, Digest]:
    """Names a batch, or a spool of some, before there is a blob."""
    return subject_of(f"monitor-labels-batch:{name}")


def days_of(first: datetime, last: datetime) -> Iterator[date]:
    """Every day (UTC) of a time."""
    day = first.astimezone(timezone.utc).date()
    end = last.astimezone(timezone.utc).date()
    while day <= end:
        yield day
        day += _DAY


def sealed(
    doing: Doing,
    endpoint: str,
    name: str,
    source: str,
    frame: pl.DataFrame,
    refused: Mapping[str, int],
    times: tuple[datetime, datetime],
    *,
    ring: str,
) -> Statement:
    """Seal a batch; the statement about it."""
    from assay.monitor import labels

    about = {**batch_subject(name), **subject(doing.project, endpoint, *days_of(*times))}
    blob, ids = "", ["", ""]
    if frame.height:
        blob = doing.store.put(ring, labels.pack(frame), salted=True)
        about = {f"labels:{name}": blob, **about}
        ids = [cast("str", frame["prediction_id"].min()), cast("str", frame["prediction_id"].max())]
    predicate: dict[str, Any] = {
        "endpoint": endpoint,
        "id": name,
        "source": source,
        "rows": frame.height + sum(refused.values()),
        "accepted": frame.height,
        "refused": {reason: count for reason, count in sorted(refused.items()) if count},
        "from": timestamp(times[0]),
        "to": timestamp(times[1]),
        "ids": ids,
        "blob": blob,
        "ring": ring,
    }
    return doing.attest(KIND, about, predicate, producer=PRODUCER)


# -- looking --------------------------------------------------------------------------------------


def batches(
    view: View,
    project: str,
    endpoint: str,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Batch]:
    """The batches of an endpoint, in the order of the ledger; with `since` and `until`, those of
    which anything was received in that time."""
    if since is None or until is None:
        about = subject(project, endpoint)
    else:
        about = {k: v for day in days_of(since, until) for k, v in _of_day(project, endpoint, day)}
    found = [_batch(i.index, i.statement) for i in _ours(view, project, KIND, about.values())]
    return [
        batch
        for batch in found
        if (since is None or parse_timestamp(batch.last) >= _milliseconds(since))
        and (until is None or parse_timestamp(batch.first) <= until)
    ]


def _ours(
    view: View,
    project: str,
    kind: str,
    subjects: Iterable[Digest],
    *,
    producer: str = PRODUCER,
) -> list[Evidence]:
    """The statements that this workspace made itself; who merely says the same is not heard."""
    return [
        item
        for item in view.own(project, *subjects, superseded=True)
        if kind_of(item.statement) == kind and item.producer == producer
    ]


def is_recorded(view: View, project: str, name: str, kind: str = KIND) -> bool:
    """Whether there is a statement about a batch, or about what is lost of a spool."""
    return bool(_ours(view, project, kind, batch_subject(name).values()))


def losses(view: View, project: str, endpoint: str) -> list[dict[str, Any]]:
    """What was written to a spool of labels and cannot be read, in the order of the ledger."""
    about = subject(project, endpoint).values()
    return [item.statement.predicate for item in _ours(view, project, LOSS, about)]


def _of_day(project: str, endpoint: str, day: date) -> Iterable[tuple[str, Digest]]:
    return list(subject(project, endpoint, day).items())[1:]


def _milliseconds(at: datetime) -> datetime:
    """As exact as a statement says it."""
    return parse_timestamp(timestamp(at))


def _batch(index: int, statement: Statement) -> Batch:
    told = statement.predicate
    try:
        return Batch(
            index=index,
            id=str(told["id"]),
            source=str(told["source"]),
            rows=int(told["rows"]),
            accepted=int(told["accepted"]),
            refused=dict(told["refused"]),
            first=str(told["from"]),
            last=str(told["to"]),
            blob=str(told["blob"]),
            ring=str(told["ring"]),
            ids=(str(told["ids"][0]), str(told["ids"][1])),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise Corrupt(f"leaf {index} does not describe labels", code="labels.statement") from error


def given_today(view: View, project: str, endpoint: str, source: str, now: datetime) -> int:
    """The labels that a source has given on this day (UTC), as far as they are sealed."""
    start = now.astimezone(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    return sum(
        batch.accepted
        for batch in batches(view, project, endpoint, start, now)
        if batch.source == source and parse_timestamp(batch.last) >= start
    )


def classes_by_version(view: View, project: str, model: str) -> dict[str, Classes]:
    """What each version of a model may answer, see `assay.monitor.labels.Classes`."""
    found: dict[str, Classes] = {}
    for version in view.versions(project, model):
        if version.served is None:
            continue  # What cannot be served has answered nothing, and says nothing of the others.
        regressor = version.details.get("kind") == "regressor"
        known = cast("list[int | str]", version.details.get("classes") or [])
        found[version.version] = None if regressor else list(known)
    return found


def classes_of(view: View, project: str, model: str) -> Classes:
    """What any version of a model may answer."""
    each = list(classes_by_version(view, project, model).values())
    if each and all(classes is None for classes in each):
        return None
    if not all(each):  # Of one of them nobody knows, or it gives numbers.
        return []
    return list(dict.fromkeys(label for classes in each for label in classes or ()))


def caps_of(view: View, project: str, endpoint: str) -> Caps:
    """What one source may give, as the newest plan of monitoring says; else the defaults."""
    from assay.monitor.feedback import Caps

    about = subject_of(f"monitor:{project}/{endpoint}").values()
    for item in reversed(_ours(view, project, _BASELINE, about, producer=_MEASURER)):
        plan: Any = item.statement.predicate.get("plan")
        if isinstance(plan, dict):
            cap: Any = cast("dict[str, Any]", plan).get("label_cap")
            return Caps(day=cap) if isinstance(cap, int) and cap > 0 else Caps()
    return Caps()


# -- opening --------------------------------------------------------------------------------------


def read_labels(
    doing: Doing,
    endpoint: str,
    from_: datetime,
    to: datetime | None = None,
    *,
    ids: tuple[str, str] | None = None,
) -> pl.DataFrame:
    """The labels of an endpoint *received* from `from_` until `to` (by default now), in the order
    of the ledger: `assay.monitor.feedback.GIVEN`, and ``batch``, the id in the statement.

    With `ids`, only those of predictions between the two.  Opens sealed batches: whoever calls it
    is an action that policy allowed to.  What a destroyed ring sealed is left out.
    """
    import polars as pl

    from assay.monitor import labels
    from assay.monitor.feedback import GIVEN

    to = to or doing.clock.now()
    parts = [pl.DataFrame(schema={**GIVEN, "batch": pl.String()})]
    for batch in batches(doing.view, doing.project, endpoint, from_, to):
        if not batch.blob or (ids and (batch.ids[1] < ids[0] or batch.ids[0] > ids[1])):
            continue
        try:
            data = doing.store.read(batch.ring, check_digest(batch.blob), MOST_BYTES)
        except NotFound as error:
            if error.code != f"{NotFound.kind}.{SHREDDED}":
                raise
            continue
        frame = labels.unpack(data)
        if frame.height != batch.accepted:
            raise Corrupt(
                f"batch {batch.id} holds {frame.height} labels, and the ledger says "
                f"{batch.accepted}",
                code="labels.rows",
            )
        parts.append(
            frame.with_columns(
                pl.lit(batch.source).alias("source"), pl.lit(batch.id).alias("batch")
            )
        )
    found = pl.concat(parts).filter(pl.col("received").is_between(pl.lit(from_), pl.lit(to)))
    if ids is not None:
        found = found.filter(pl.col("prediction_id").is_between(pl.lit(ids[0]), pl.lit(ids[1])))
    return found


def endpoints_beside(view: View, project: str, endpoint: str) -> list[str]:
    """The other endpoints of a project; of those of other projects nothing is looked at."""
    names = [key.partition("/") for key in view.state.endpoints]
    return [name for of, _, name in names if of == project and name != endpoint]


def ids_in_log(
    doing: Doing, endpoints: Iterable[str], since: datetime, until: datetime
) -> pl.DataFrame:
    """Which predictions there are in the segments of a time: their ids and rows, of erased people
    too, and nothing else of them."""
    import polars as pl

    from assay.monitor import segments

    names = ["prediction_id", "row"]
    parts = [pl.DataFrame(schema={"prediction_id": pl.String, "row": pl.Int32})]
    for endpoint in endpoints:
        for segment in segments_of(doing.view, doing.project, endpoint, since, until):
            try:
                data = doing.store.read(segment.ring, segment.blob, segments.MOST_BYTES)
            except NotFound as error:
                if error.code != f"{NotFound.kind}.{SHREDDED}":
                    raise
                continue
            parts.append(pl.read_parquet(io.BytesIO(data), columns=names).select(names))
    return pl.concat(parts)


def kept_of_labels(view: View) -> list[tuple[str, Digest]]:
    """As (ring, digest), every sealed batch that the ledger names: not collected as garbage."""
    found: dict[tuple[str, Digest], None] = {}
    for key in view.state.endpoints:
        project, _, endpoint = key.partition("/")
        for batch in batches(view, project, endpoint):
            try:
                found[batch.ring, check_digest(batch.blob)] = None
            except AssayError:
                continue  # Nothing of it was accepted.
    return list(found)
