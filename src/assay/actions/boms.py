"""Actions about bills of materials: write one from the evidence, read it, find something in all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import msgspec

from assay import canonical
from assay.actions import bom_declared
from assay.actions.bom_contents import DECLARABLE, gather
from assay.actions.material import private_copy
from assay.actions.people import project_target
from assay.actions.release import version_target
from assay.errors import NotFound, Usage
from assay.evidence.facts import LISTED, Evidence
from assay.evidence.state import VersionState, kind_of
from assay.isolation.limits import GIB, Limits
from assay.isolation.run import run
from assay.supply.bom import cyclonedx, elements, index, listing, spdx
from assay.supply.bom import named as files
from assay.supply.bom.model import Library
from assay.workspace.action import Action, Doing, Outcome, Target
from assay.workspace.view import View

KIND = "bom"
PRODUCER = "assay.supply.bom/1"
_LIMITS = Limits(memory_bytes=4 * GIB, cpu_seconds=120, wall_seconds=240, answer_bytes=1 << 20)
_LONGEST = 1_000
"""Characters of a declaration."""

Format = Literal["cyclonedx", "spdx", "elements"]


class WriteBom(Action, frozen=True, kw_only=True):
    """Write the bill of materials of a version, from what is on record about it."""

    name: ClassVar[str] = "assess"
    model: str
    version: str
    declare: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    """What whoever asks declares, where nothing on record says: see `DECLARABLE`."""
    libraries: str = ""
    """The text of a lock: the libraries that whoever asks declares, see `bom_declared`."""

    def target(self, view: View) -> Target:
        for name, text in self.declare.items():
            if name not in DECLARABLE:
                raise Usage(
                    f"{name[:40]!r} is nothing that can be declared",
                    remedy=f"one of {', '.join(DECLARABLE)}",
                    code="bom.declare",
                )
            if not text.strip() or len(text) > _LONGEST:
                raise Usage(
                    f"what is declared as {name} is empty, or longer than {_LONGEST} characters",
                    remedy=f"say {DECLARABLE[name]}, in a sentence or two",
                    code="bom.declare",
                )
        _ = self._declared("")
        return version_target(view, self.project, self.model, self.version, {})

    def _declared(self, actor: str) -> list[Library]:
        return bom_declared.read(self.libraries, f"actor {actor}") if self.libraries else []

    def apply(self, doing: Doing) -> Outcome:
        found = doing.view.version(self.project, self.model, self.version)
        doing.progress("reading what the model file says of itself, in a confined process")
        contents = gather(
            doing.view,
            found,
            _named(doing, found),
            author=doing.actor,
            declare=self.declare,
            libraries=self._declared(doing.actor),
        )
        doing.progress("writing and checking the documents")
        bill, other = cyclonedx.document(contents), spdx.document(contents)
        cyclonedx.validate(bill)
        spdx.validate(other)
        listed = elements.check(contents)
        unpinned = contents.unpinned
        if contents.libraries_known == "unknown":
            unpinned = max(unpinned, 1)  # A list that nobody knows is not a list of pinned ones.
        summary: dict[str, Any] = {
            "name": found.name,
            "version": found.version,
            "cyclonedx": canonical.digest(cyclonedx.encode(bill)),
            "spdx": canonical.digest(spdx.encode(other)),
            "components": 1 + len(bill["components"]),
            LISTED: listing.digest_of(bill),
            "libraries": contents.libraries_known,
            "unpinned": unpinned,
            **elements.counts(listed),
            "elements": [msgspec.to_builtins(element) for element in listed],
        }
        subject = found.subject
        documents = [
            doing.statement(kind, subject, document, producer=PRODUCER)
            for kind, document in ((cyclonedx.PREDICATE_TYPE, bill), (spdx.PREDICATE_TYPE, other))
        ]
        told = doing.attest(KIND, subject, summary, producer=PRODUCER)
        return Outcome({"model": found.name, **summary}, [*documents, told])


def _named(doing: Doing, found: VersionState) -> files.Named:
    """What the file says of itself.  A folder, or what was quarantined, is not read again."""
    if found.details.get("tree") or found.details.get("quarantined"):
        return files.Named()
    with private_copy(doing, found.artifact, found.details) as copy:
        payload = f"{found.details.get('format', '')}\0{copy}".encode()
        told = run("assay.supply.bom.named:named_confined", payload, inputs=[copy], limits=_LIMITS)
    return files.decode(told.value)


class Bill(msgspec.Struct, frozen=True):
    """The newest bill of one version, as it lies on the ledger."""

    model: str
    version: str
    issued: str
    envelope: str
    """Of the CycloneDX statement."""
    summary: dict[str, Any]
    cyclonedx: dict[str, Any]
    spdx: dict[str, Any]


class ReadBom(Action, frozen=True, kw_only=True):
    """The newest bill of materials of a version."""

    name: ClassVar[str] = "readEvidence"
    model: str
    version: str

    def target(self, view: View) -> Target:
        return project_target(view, self.project, {})

    def apply(self, doing: Doing) -> Outcome:
        found = doing.view.version(self.project, self.model, self.version)
        bill = bill_of(doing.view, found)
        if bill is None:
            ref = f"{found.name}@{found.version}"
            raise NotFound(
                f"{ref} has no bill of materials",
                remedy=f"assay bom write {ref} --project {self.project}",
                code="bom",
            )
        return Outcome(bill)


class FindInBoms(Action, frozen=True, kw_only=True):
    """The versions of a project, and their endpoints, whose bill names a package, digest or key."""

    name: ClassVar[str] = "readEvidence"
    what: str

    def target(self, view: View) -> Target:
        index.wanted(self.what)
        return project_target(view, self.project, {})

    def apply(self, doing: Doing) -> Outcome:
        wanted = index.wanted(self.what)
        found: list[dict[str, Any]] = []
        without: list[str] = []
        open_ended: list[str] = []
        for version in doing.view.versions(self.project):
            ref = f"{version.name}@{version.version}"
            bill = bill_of(doing.view, version)
            if bill is None:
                without.append(ref)
                continue
            places = index.find(bill.cyclonedx, wanted)
            if places:
                found.append(
                    {
                        "model": version.name,
                        "version": version.version,
                        "stage": version.stage,
                        "revoked": version.revoked,
                        "endpoints": _endpoints(doing.view, version),
                        "places": [msgspec.to_builtins(place) for place in places],
                        "bom": bill.envelope,
                        "issued": bill.issued,
                    }
                )
            elif wanted.sort == "package" and index.open_ended(bill.cyclonedx):
                open_ended.append(ref)
        return Outcome(
            {
                "wanted": msgspec.to_builtins(wanted),
                "found": found,
                "without": without,
                "open_ended": open_ended,
            }
        )


def bill_of(view: View, version: VersionState) -> Bill | None:
    """The newest bill of a version that counts; None where there is none.

    Its documents must be those that the summary names: three statements are one bill.
    """
    items = list(_ours(view, version))
    for summary in reversed(items):
        told = summary.statement.predicate
        same = (told.get("name"), told.get("version")) == (version.name, version.version)
        if kind_of(summary.statement) != KIND or not same:
            continue
        first = _document(items, cyclonedx.PREDICATE_TYPE, told.get("cyclonedx"))
        second = _document(items, spdx.PREDICATE_TYPE, told.get("spdx"))
        if first is not None and second is not None:
            return Bill(
                version.name,
                version.version,
                summary.statement.header.issued,
                first.envelope_digest,
                told,
                first.statement.predicate,
                second.statement.predicate,
            )
    return None


def _ours(view: View, version: VersionState) -> Iterator[Evidence]:
    kinds = view.state.key_kinds()
    gone = view.state.superseded_in(version.project)
    for item in view.evidence(version.project, version.artifact):
        if (
            item.producer == PRODUCER
            and item.envelope_digest not in gone
            and item.statement.header.project == version.project
            and any("workspace" in kinds.get(keyid, ()) for keyid in item.keyids)
        ):
            yield item


def _document(items: list[Evidence], kind: str, digest: object) -> Evidence | None:
    for item in reversed(items):
        statement = item.statement
        held = statement.predicate
        if statement.predicateType == kind and canonical.digest(canonical.encode(held)) == digest:
            return item
    return None


def _endpoints(view: View, version: VersionState) -> list[str]:
    prefix = f"{version.project}/"
    return sorted(
        key.removeprefix(prefix)
        for key, endpoint in view.state.endpoints.items()
        if key.startswith(prefix)
        and (endpoint["model"], endpoint["version"]) == (version.name, version.version)
    )
