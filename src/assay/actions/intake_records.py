"""What was taken in, read from its statements: by digest, with what became of it."""

from __future__ import annotations

import re
from typing import Any, Literal, TypeAlias

import msgspec

from assay.actions.material import models_ring
from assay.actions.people import project_target
from assay.errors import Conflict, NotFound, Usage, Verification
from assay.evidence.facts import Evidence
from assay.evidence.state import kind_of
from assay.supply import scan
from assay.supply.intake import records
from assay.types import Digest
from assay.workspace.action import Target
from assay.workspace.door import PRODUCER as DOOR
from assay.workspace.view import View

RELEASE = "intake-release"
REJECTION = "intake-rejection"
_MADE_BY = {
    records.KIND: records.PRODUCER,
    scan.KIND: scan.PRODUCER,
    RELEASE: DOOR,
    REJECTION: DOOR,
}
_SHORTEST = 6

Status: TypeAlias = Literal["quarantined", "released", "rejected"]


class Event(msgspec.Struct, frozen=True):
    """A release or a rejection."""

    index: int
    kind: str
    issued: str
    predicate: dict[str, Any]


class Held(msgspec.Struct, frozen=True):
    """One intake, and what was said of its bytes since."""

    digest: Digest
    index: int
    envelope: str
    issued: str
    predicate: dict[str, Any]
    scan: dict[str, Any] | None
    events: list[Event]

    @property
    def status(self) -> Status:
        if not self.events:
            return "quarantined"
        return "rejected" if self.events[-1].kind == REJECTION else "released"

    @property
    def place(self) -> str:
        return str(self.predicate["source"]["locator"])

    @property
    def named(self) -> str:
        """What statements about these bytes call them, as taken in from there."""
        return f"intake:{self.place}"


def intakes(view: View, project: str) -> list[Held]:
    """Every intake of a project, in the order in which they were taken in."""
    found = _ours(view, view.evidence(project, records.all_of(project)), records.KIND)
    return [_held(view, project, item) for item in found]


def find(view: View, project: str, reference: str) -> Held:
    """The newest intake of the bytes that a digest, or its beginning, names."""
    wanted = reference.removeprefix("sha256:").lower()
    if re.fullmatch(rf"[0-9a-f]{{{_SHORTEST},64}}", wanted) is None:
        raise Usage(
            f"{reference[:80]!r} is no digest, nor the beginning of one",
            remedy=f"give at least {_SHORTEST} hexadecimal digits: assay intake list",
            code="intake.reference",
        )
    named = [h for h in intakes(view, project) if h.digest.startswith(f"sha256:{wanted}")]
    if not named:
        raise NotFound(
            f"nothing with the digest {reference[:80]} was taken in by project {project}",
            remedy="assay intake list",
            code="intake",
        )
    if len({held.digest for held in named}) > 1:
        raise Usage(
            f"{reference[:80]} begins several digests",
            remedy="give more of it: assay intake list",
            code="intake.reference",
        )
    return named[-1]


def previous(view: View, project: str, place: str, digest: Digest) -> Held | None:
    """The intake of the same source that was released last, if it is not these very bytes."""
    released = [
        (held.events[-1].index, held)
        for held in intakes(view, project)
        if held.place == place and held.status == "released"
    ]
    last = max(released, key=lambda pair: pair[0], default=None)
    return last[1] if last is not None and last[1].digest != digest else None


def release_target(view: View, project: str, digest: str, purpose: str, despite: str) -> Target:
    """A release as policy sees it: the project, and every fact about what was fetched."""
    found = find(view, project, digest)
    check_rejected(found, despite)
    facts = view.facts(project, found.digest, names=(found.named,))
    context: dict[str, Any] = {"purpose": purpose, "facts": facts.values}
    made = project_target(view, project, context)
    made.digests = {f"intake:{found.place}": found.digest}
    made.cited = sorted({cited for digests in facts.sources.values() for cited in digests})
    made.words = {"project": project, "purpose": purpose}
    return made


def check_rejected(found: Held, despite: str) -> None:
    """Raise `Conflict` for what was rejected, unless it is said why it is released all the same."""
    if found.status == "rejected" and not despite:
        raise Conflict(
            f"{found.digest} from {found.place} was rejected: "
            f"{found.events[-1].predicate.get('reason', '')}",
            remedy="take in another revision; or say why it may be used all the same: "
            "--despite REASON",
            code="intake.rejected",
        )


def check_signed(found: Held, file: str) -> None:
    """Raise `Verification` for a file that the signature over the others leaves out."""
    if file in (found.predicate["signature"] or {}).get("ignored", ()):
        raise Verification(
            f"{found.place}: the signature does not cover {file[:120]!r}",
            remedy="release a file that is signed; git's own files are no models",
            code="intake.signer",
        )


def kept_of_intakes(view: View) -> list[tuple[str, Digest]]:
    """As (ring, digest), what was taken in and not rejected: it is not collected as garbage."""
    return [
        (models_ring(project), held.digest)
        for project in view.state.projects
        for held in intakes(view, project)
        if held.status != "rejected"
    ]


def _held(view: View, project: str, item: Evidence) -> Held:
    digest = Digest(str(item.statement.predicate["digest"]))
    about = view.evidence(project, digest)
    scans = _ours(view, about, scan.KIND)
    events = [
        Event(e.index, kind_of(e.statement), e.statement.header.issued, e.statement.predicate)
        for e in sorted(
            (*_ours(view, about, RELEASE), *_ours(view, about, REJECTION)), key=lambda e: e.index
        )
    ]
    return Held(
        digest,
        item.index,
        item.envelope_digest,
        item.statement.header.issued,
        item.statement.predicate,
        scans[-1].statement.predicate if scans else None,
        events,
    )


def _ours(view: View, evidence: list[Evidence], kind: str) -> list[Evidence]:
    """Those of a kind that this workspace itself signed, by whom it should be."""
    return [
        item
        for item in evidence
        if kind_of(item.statement) == kind
        and item.producer == _MADE_BY[kind]
        and any(view.state.workspace_key_valid(keyid, item.index) for keyid in item.keyids)
    ]
