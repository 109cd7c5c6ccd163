"""Actions about the prediction log: seal what was answered, read it, forget a person."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from assay import files
from assay.actions.people import subject_of
from assay.actions.prediction_records import (
    KIND,
    LOSS,
    PRODUCER,
    Log,
    Loss,
    Segment,
    about,
    extras_of,
    kept_of_predictions,
    losses_of,
    naming_key,
    open_log,
    open_segment,
    read_log,
    read_predictions,
    segment_subject,
    segments_of,
    spools_of,
    statements,
    subject_keys,
)
from assay.actions.serving import endpoint_target
from assay.clock import parse_timestamp, timestamp
from assay.errors import AssayError, Usage
from assay.evidence.state import WORKSPACE
from assay.policy import vocabulary as cedar
from assay.types import check_name
from assay.workspace.action import Action, Doing, Outcome, Target
from assay.workspace.view import View

if TYPE_CHECKING:
    from assay.evidence.statement import Statement
    from assay.monitor.segments import Meta
    from assay.monitor.spool import Record, Recovered
    from assay.workspace.door import Workspace

__all__ = [
    "EraseSubjects",
    "Log",
    "Loss",
    "ReadPredictions",
    "SealPredictions",
    "Segment",
    "extras_of",
    "kept_of_predictions",
    "losses_of",
    "open_log",
    "open_segment",
    "pseudonyms",
    "read_log",
    "read_predictions",
    "segments_of",
]

_PSEUDONYM = re.compile(r"[0-9a-f]{32}")
MOST_PEOPLE = 1000
"""Erased by one action."""


class SealPredictions(Action, frozen=True, kw_only=True):
    """Seal what an endpoint answered, and write down how much it is.

    Each spool that no living process writes becomes one segment.  A spool is removed when its
    statement is on the ledger, and one whose statement is there already is not sealed again; what
    cannot be read of it is written down as lost.
    """

    name: ClassVar[str] = "observe"
    redo: ClassVar[bool] = True
    endpoint: str

    def target(self, view: View) -> Target:
        target = endpoint_target(view, self.project, self.endpoint, {})
        # What was answered stays so, whatever is deployed meanwhile.
        return msgspec.structs.replace(target, subjects=[])

    def apply(self, doing: Doing) -> Outcome:
        from assay.monitor import spool

        told: dict[str, Any] = {
            "endpoint": self.endpoint,
            "segments": [],
            "rows": 0,
            "known": 0,
            "lost": [],
        }
        folder = spools_of(doing.layout, self.project, self.endpoint)
        for found in spool.recover(folder, doing.store.rings.ring):
            self._settle(doing, found, told)
        return Outcome(told)

    def _settle(self, doing: Doing, found: Recovered, told: dict[str, Any]) -> None:
        # Locked by now, so whatever another process wrote down about it is on the ledger.
        doing.view.follow()
        subjects = segment_subject(found.path.stem).values()
        sealed = statements(doing.view, self.project, KIND, subjects)
        missed = statements(doing.view, self.project, LOSS, subjects)
        records, meta, loss = self._read(found)
        made: list[Statement] = []
        if sealed:
            told["known"] += 1
        elif records and meta is not None:
            made.append(self._sealed(doing, found, records, meta))
            told["segments"].append(found.path.stem)
            told["rows"] += sum(record.rows for _, record in records)
        if loss and not missed:
            told["lost"].append(loss)
            named = {**segment_subject(found.path.stem), **about(self.project, self.endpoint)}
            made.append(doing.attest("prediction-loss", named, loss, producer=PRODUCER))
        if made:
            doing.record(made)
        files.point("predictions.recorded")
        if loss and loss["kept_as"]:
            found.set_aside()
        else:
            found.remove()
        files.point("predictions.removed")

    def _read(
        self, found: Recovered
    ) -> tuple[list[tuple[int, Record]], Meta | None, dict[str, Any] | None]:
        """The readable records, what they are about, and what is lost, if anything is."""
        lost: dict[str, Any] = {
            "endpoint": self.endpoint,
            "segment": found.path.stem,
            "why": "damaged",
            "records": 0,
            "bytes": 0,
            "kept_as": f"{found.path.stem}.damaged",
        }
        if found.shredded:
            size = found.path.stat().st_size
            return [], None, {**lost, "why": "shredded", "bytes": size, "kept_as": ""}
        records, meta, foreign = self._understood(found)
        missing = len(found.records) - len(records)
        if foreign:
            lost["why"] = "foreign"
        if found.damage is not None:
            lost["bytes"] = found.damage.bytes
            missing += found.damage.records
        elif not missing and not foreign:
            return records, meta, None
        return records, meta, {**lost, "records": missing}

    def _understood(self, found: Recovered) -> tuple[list[tuple[int, Record]], Meta | None, bool]:
        """The records that fit what the spool is about; that; whether it is of another endpoint."""
        from assay.monitor import log, segments

        try:
            meta = msgspec.convert(found.about, segments.Meta)
        except msgspec.ValidationError:
            return [], None, False
        header = found.header
        ours = header is not None and header.ring.startswith(f"{self.project}/predictions")
        if header is None or not ours or (header.kind, meta.endpoint) != (log.KIND, self.endpoint):
            return [], None, True
        records: list[tuple[int, Record]] = []
        for number, data in found.records:
            with contextlib.suppress(msgspec.DecodeError, AssayError):
                record = log.decode(data)
                segments.check(record, meta)
                records.append((number, record))
        return records, meta, False

    def _sealed(
        self, doing: Doing, found: Recovered, numbered: list[tuple[int, Record]], meta: Meta
    ) -> Statement:
        from assay.monitor import segments, subjects

        records = [record for _, record in numbered]
        segment = found.path.stem
        rows = sum(record.rows for record in records)
        doing.progress(f"sealing {rows:,} predictions")
        people = {who for record in records for who in record.subject or () if who is not None}
        keys = subject_keys(doing.layout, doing.store.rings, self.project)
        data = segments.build(
            records,
            msgspec.structs.replace(meta, segment=segment),
            seal=(lambda rows: subjects.seal(keys, rows)) if people else None,
        )
        ring = found.header.ring if found.header is not None else ""
        blob = doing.store.put(ring, data, salted=True)
        files.point("predictions.sealed")
        times = [record.at for record in records]
        first, last = min(times), max(times)
        predicate: dict[str, Any] = {
            "endpoint": self.endpoint,
            "segment": segment,
            "version": meta.version,
            "digest": meta.digest,
            "rows": rows,
            "requests": len(records),
            "from": first,
            "to": last,
            "blob": blob,
            "ring": ring,
            "subjects": len(people),
            "first": numbered[0][0],
            "last": numbered[-1][0],
            "ended": "closed" if found.closed else "died",
        }
        days = {parse_timestamp(at).date() for at in (first, last)}
        named = {
            **segment_subject(segment),
            **about(self.project, self.endpoint, *sorted(days)),
            f"segment:{segment}": blob,
        }
        return doing.attest(KIND, named, predicate, producer=PRODUCER)


class ReadPredictions(Action, frozen=True, kw_only=True):
    """Take rows out of the log, for a purpose: the value is a `Log`."""

    name: ClassVar[str] = "readPredictions"
    endpoint: str
    purpose: str = ""
    """Empty for that of the model."""
    since: str = ""
    until: str = ""
    """RFC 3339: answered at or after the one, before the other; empty for no bound."""
    version: str = ""

    def target(self, view: View) -> Target:
        since, until = self._bounds()
        if since and until and since >= until:
            raise Usage(f"{self.since} is not before {self.until}", code="predictions.time")
        target = endpoint_target(view, self.project, self.endpoint, {})
        held = view.state.endpoints[f"{self.project}/{self.endpoint}"]
        found = view.version(self.project, held["model"], held["version"])
        target.context.update(self._context(view, found.details))
        target.words["purpose"] = ", ".join(target.context["purposes"])
        target.subjects = []  # What is read was answered before, whatever is deployed meanwhile.
        return target

    def _bounds(self) -> tuple[datetime | None, datetime | None]:
        return (
            parse_timestamp(self.since) if self.since else None,
            parse_timestamp(self.until) if self.until else None,
        )

    def _context(self, view: View, details: dict[str, Any]) -> dict[str, Any]:
        own = str(details.get("purpose") or "")
        data = view.state.datasets.get(f"{self.project}/{details.get('dataset')}")
        # Of data that nobody registered it is not known that it is about nobody.
        purposes = data.details["purposes"] if data else [own]
        return {
            "purpose": self.purpose or own,
            "purposes": list(purposes),
            "personal": bool(data.details["personal"]) if data else True,
        }

    def apply(self, doing: Doing) -> Outcome:
        since, until = self._bounds()
        return Outcome(read_log(doing, self.endpoint, since, until, version=self.version))


class EraseSubjects(Action, frozen=True, kw_only=True):
    """Forget people in the prediction log of a project: what was predicted about them until now
    can never be read again, by anyone.  `people` are pseudonyms: see `pseudonyms`."""

    name: ClassVar[str] = "destroyRing"
    # Repeated, since it may have begun: what is half destroyed is lost already.
    redo: ClassVar[bool] = True
    of: str
    """The project."""
    people: tuple[str, ...]
    reason: str
    ticket: str
    until: str

    def target(self, view: View) -> Target:
        check_name(self.of, what="project")
        parse_timestamp(self.until)
        if not 1 <= len(self.people) <= MOST_PEOPLE:
            raise Usage(f"1 to {MOST_PEOPLE} people can be erased at once", code="erase.people")
        if not all(_PSEUDONYM.fullmatch(person) for person in self.people):
            raise Usage(
                "people are erased by their pseudonyms",
                remedy="assay predictions erase makes them of the ids",
                code="erase.pseudonym",
            )
        ring = f"{self.of}/subjects"
        return Target(
            uid=cedar.key_ring_uid(ring),
            entities=[cedar.key_ring_entity(self.of, ring), view.project_entity(self.of)],
            context={"reason": cedar.reason(self.reason), "ticket": cedar.reason(self.ticket)},
            subjects=[f"project:{self.of}"],
            words={"project": self.of},
        )

    def apply(self, doing: Doing) -> Outcome:
        keys = subject_keys(doing.layout, doing.store.rings, self.of)
        count = keys.forget(self.people, self.until)
        predicate = {
            "project": self.of,
            "people": len(self.people),
            "with_key": count,
            "until": self.until,
            "reason": self.reason,
            "ticket": self.ticket,
        }
        named = subject_of(f"monitor-subjects:{self.of}")
        statement = doing.attest("subject-erasure", named, predicate, producer=PRODUCER)
        return Outcome(predicate, [statement])

    @classmethod
    def asked(
        cls, workspace: Workspace, project: str, subjects: Sequence[str], reason: str, ticket: str
    ) -> EraseSubjects:
        """For people by the ids that requests name them by, as of now."""
        return cls(
            project=WORKSPACE,
            of=check_name(project, what="project"),
            people=tuple(sorted(set(pseudonyms(workspace, project, subjects)))),
            reason=reason,
            ticket=ticket,
            until=timestamp(workspace.clock.now()),
        )


def pseudonyms(workspace: Workspace, project: str, subjects: Sequence[str]) -> list[str]:
    """What people are called in the log of a project; raises `Usage` for nobody's id."""
    from assay.monitor.log import pseudonym

    key = naming_key(workspace.store.rings, project)
    found = [pseudonym(key, subject) for subject in subjects]
    if None in found:
        raise Usage("an empty id names nobody", remedy="name a person", code="erase.subject")
    return [person for person in found if person is not None]
