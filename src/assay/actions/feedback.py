"""Actions about feedback: give labels, seal those that an endpoint took, collect labelled rows.

Labels come as a file or in requests to an endpoint.  Both end as the same: a sealed batch of one
source, and one statement that says how many labels it holds and why others were refused.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import msgspec

from assay import canonical, files
from assay.actions.feedback_recorder import SPOOL_KIND, Kept, Recorder, moment
from assay.actions.feedback_records import (
    LOSS,
    PRODUCER,
    batch_subject,
    caps_of,
    classes_by_version,
    classes_of,
    endpoints_beside,
    given_today,
    ids_in_log,
    is_recorded,
    kept_of_labels,
    read_labels,
    sealed,
    spool_of,
    subject,
)
from assay.actions.prediction_records import ring_for
from assay.actions.serving import endpoint_target
from assay.clock import TOLERANCE
from assay.errors import Usage
from assay.workspace.action import Action, Doing, Durability, Outcome, Target
from assay.workspace.segments import Segments
from assay.workspace.view import View

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import polars as pl

    from assay.monitor.feedback import Caps, Joined
    from assay.monitor.labels import Checked, Classes
    from assay.monitor.spool import Header, Recovered
    from assay.workspace.door import Workspace

__all__ = [
    "AddFeedback",
    "GiveFeedback",
    "SealFeedback",
    "feedback_recorder",
    "joined",
    "kept_of_labels",
    "read_labels",
]


_AROUND = timedelta(hours=1)
"""About a window: a segment of the log, and a request in it, are shorter than this."""


class GiveFeedback(Action, frozen=True, kw_only=True):
    """Give labels to a running endpoint: decided once per token and state, and counted."""

    name: ClassVar[str] = "giveFeedback"
    durability: ClassVar[Durability] = "segment"
    endpoint: str

    def target(self, view: View) -> Target:
        return endpoint_target(view, self.project, self.endpoint, {})


def feedback_recorder(
    workspace: Workspace, project: str, endpoint: str, *, segments: Segments | None = None
) -> Recorder:
    """The feedback hooks of an endpoint that is served: called with a token and a body, it keeps
    the labels durably and says what became of them; `Recorder.permit` decides before a body is
    read, and `Recorder.roll` lets what came be sealed."""
    return Recorder(
        workspace,
        project,
        endpoint,
        ask=GiveFeedback(project=project, endpoint=endpoint),
        segments=segments or Segments(workspace),
    )


def _about_answers(view: View, project: str, endpoint: str) -> Target:
    """An endpoint as a resource, whatever is deployed there meanwhile: what it answered stays."""
    target = endpoint_target(view, project, endpoint, {})
    return msgspec.structs.replace(target, subjects=[])


class AddFeedback(Action, frozen=True, kw_only=True):
    """Give labels in a file (CSV, Parquet or JSON), or as the body of a request.

    Each needs ``id`` (``UUID/row``, as the endpoint named the prediction) and ``label``, and may
    have ``at``, when the truth was found out.  What is wrong is refused and counted, row by row.
    """

    name: ClassVar[str] = "giveFeedback"
    endpoint: str
    path: str = ""
    body: str = ""
    """``{"labels": [...]}``.  Never in the decision: the ledger holds no label in the clear."""
    digest: str = ""
    """Of `body`, in the decision in its place."""

    @classmethod
    def of(cls, project: str, endpoint: str, labels: Sequence[Mapping[str, Any]]) -> AddFeedback:
        """With these labels, each with ``id``, ``label`` and maybe ``at``."""
        body = msgspec.json.encode({"labels": labels})
        return cls(
            project=project, endpoint=endpoint, body=body.decode(), digest=canonical.digest(body)
        )

    def params(self) -> dict[str, Any]:
        return {k: v for k, v in super().params().items() if k != "body"}

    def target(self, view: View) -> Target:
        from assay.data import tables

        if bool(self.path) == bool(self.digest):
            raise Usage(
                "labels come in a file or in a body, and in one of them",
                remedy="assay feedback add NAME FILE",
                code="feedback.given",
            )
        if self.body and canonical.digest(self.body.encode()) != self.digest:
            raise Usage("the digest is of another body", code="feedback.digest")
        if self.path:
            tables.check_path(Path(self.path))
        return _about_answers(view, self.project, self.endpoint)

    def apply(self, doing: Doing) -> Outcome:
        now = doing.clock.now()
        classes = classes_of(doing.view, self.project, self.endpoint)
        checked = self._checked(doing, now, classes)
        self._capped(doing, checked, now)
        doing.progress("sealing the labels")
        statement = sealed(
            doing,
            self.endpoint,
            doing.decision,
            doing.actor,
            checked.frame,
            checked.refused,
            (now, now),
            ring=ring_for(doing.store.rings, self.project, now).name,
        )
        return Outcome({"endpoint": self.endpoint, **checked.told()}, [statement])

    def _checked(self, doing: Doing, now: datetime, classes: Classes) -> Checked:
        from assay.monitor import labels

        if self.digest:
            given = labels.parse(self.body.encode())
            return labels.check(given, now=now, classes=classes)
        from assay.data import tables

        path = Path(self.path)
        doing.progress(f"reading {path.name}")
        # A name is text even where it looks like a number, and so is a class that is one.
        text = ["id", "prediction_id", "at"]
        if classes and all(isinstance(label, str) for label in classes):
            text.append("label")
        table = tables.read_table(path, text=text)
        return labels.check(labels.rows_of(table.frame, path.name), now=now, classes=classes)

    def _capped(self, doing: Doing, checked: Checked, now: datetime) -> None:
        most = caps_of(doing.view, self.project, self.endpoint).day
        given = given_today(doing.view, self.project, self.endpoint, doing.actor, now)
        checked.cap(most - given)


class SealFeedback(Action, frozen=True, kw_only=True):
    """Seal the labels that an endpoint took in requests, and write down how many.

    Each spool that no living process writes becomes one batch for each source.  The spool goes
    when its statements are on the ledger; what was there already is not written again.
    """

    name: ClassVar[str] = "observe"
    redo: ClassVar[bool] = True
    endpoint: str

    def target(self, view: View) -> Target:
        return _about_answers(view, self.project, self.endpoint)

    def apply(self, doing: Doing) -> Outcome:
        from assay.monitor import spool

        told: dict[str, Any] = {"endpoint": self.endpoint, "batches": 0, "labels": 0, "lost": []}
        folder = spool_of(doing.layout, self.project, self.endpoint)
        for found in spool.recover(folder, doing.store.rings.ring):
            # Locked by now, so whatever another process wrote down about it is on the ledger.
            doing.view.follow()
            self._settle(doing, found, told)
        return Outcome(told)

    def _settle(self, doing: Doing, found: Recovered, told: dict[str, Any]) -> None:
        about = {"project": self.project, "endpoint": self.endpoint}
        header = found.header
        ours = (
            header is not None
            and header.kind == SPOOL_KIND
            and header.ring.startswith(f"{self.project}/predictions")
            and found.about == about
        )
        if ours and header is not None and found.records:
            self._record(doing, header, found, told)
        why = ""
        if found.shredded:
            why = "shredded"
        elif found.damage is not None:
            why = "damaged"
        elif found.records and not ours:
            why = "foreign"
        if why:
            self._lose(doing, found, why, told)
        if why in ("damaged", "foreign"):
            found.set_aside()  # For people to look at.
        else:
            found.remove()
        files.point("feedback.cleared")

    def _record(self, doing: Doing, header: Header, found: Recovered, told: dict[str, Any]) -> None:
        for source, (frame, refused, span) in sorted(_by_source(found).items()):
            name = f"{header.id}/{source}"
            if is_recorded(doing.view, self.project, name):
                continue
            statement = sealed(
                doing, self.endpoint, name, source, frame, refused, span, ring=header.ring
            )
            files.point("feedback.sealed")
            doing.record([statement])
            files.point("feedback.recorded")
            told["batches"] += 1
            told["labels"] += frame.height

    def _lose(self, doing: Doing, found: Recovered, why: str, told: dict[str, Any]) -> None:
        """Write down what cannot be read, once."""
        spool = found.path.stem
        size = found.path.stat().st_size
        loss: dict[str, Any] = {
            "endpoint": self.endpoint,
            "spool": spool,
            "why": why,
            "records": found.damage.records if found.damage else len(found.records),
            "bytes": found.damage.bytes if found.damage else size,
            "kept_as": "" if found.shredded else f"{spool}.damaged",
        }
        told["lost"].append(loss)
        if not is_recorded(doing.view, self.project, spool, LOSS):
            about = {**batch_subject(spool), **subject(self.project, self.endpoint)}
            doing.record([doing.attest("label-loss", about, loss, producer=PRODUCER)])


def _by_source(
    found: Recovered,
) -> dict[str, tuple[pl.DataFrame, Counter[str], tuple[datetime, datetime]]]:
    """The labels of a spool, what was refused, and when, by who gave them."""
    import polars as pl

    from assay.monitor.labels import KEPT

    rows: dict[str, list[tuple[Any, ...]]] = {}
    refused: dict[str, Counter[str]] = {}
    times: dict[str, list[datetime]] = {}
    for _, data in found.records:
        kept = msgspec.msgpack.decode(data, type=Kept)
        received = moment(kept.received)
        mine = rows.setdefault(kept.source, [])
        for name, row, label, at in kept.labels:
            mine.append((name, row, label, None if at is None else moment(at), received))
        refused.setdefault(kept.source, Counter()).update(kept.refused)
        times.setdefault(kept.source, []).append(received)
    return {
        source: (
            pl.DataFrame(mine, schema=KEPT, orient="row"),
            refused[source],
            (min(times[source]), max(times[source])),
        )
        for source, mine in rows.items()
    }


def joined(
    doing: Doing,
    endpoint: str,
    predictions: pl.DataFrame,
    *,
    since: datetime,
    closes: datetime,
    until: datetime | None = None,
    known: Callable[[pl.DataFrame], pl.DataFrame] | None = None,
    former: Sequence[Mapping[str, Mapping[str, int]]] = (),
    caps: Caps | None = None,
) -> Joined:
    """The predictions of a window, which began at `since` and has its watermark at `closes`, with
    their labels: see `assay.monitor.feedback.join`.

    Of labels that fit none of them, it is found out whether they are of another window, of people
    who were erased, or of another endpoint; `known` may know some already, and is asked only where
    there are any.  `former` are the `Joined.sources` of the windows closed before, in their order.
    Opens sealed labels: whoever calls it is an action that policy allowed to.
    """
    import polars as pl

    from assay.monitor import feedback

    until = until or doing.clock.now()
    caps = caps or caps_of(doing.view, doing.project, endpoint)
    if former:
        caps = replace(caps, usual=feedback.usual(former))
    ids = feedback.ids_of(predictions)
    # A label cannot come before its prediction, by more than clocks differ.
    given = read_labels(doing, endpoint, since - 2 * TOLERANCE, until, ids=ids)
    lost = feedback.strangers(given, predictions)
    ours = elsewhere = None
    if lost.height:
        times = since - _AROUND, cast("datetime", predictions["at"].max()) + _AROUND
        ours = ids_in_log(doing, [endpoint], *times)
        if known is not None:
            ours = pl.concat([ours, known(lost).select(ours.columns).cast(ours.schema)])
        elsewhere = ids_in_log(doing, endpoints_beside(doing.view, doing.project, endpoint), *times)
    return feedback.join(
        predictions,
        given,
        until=until,
        closes=closes,
        known=ours,
        elsewhere=elsewhere,
        classes=classes_by_version(doing.view, doing.project, endpoint),
        caps=caps,
    )
