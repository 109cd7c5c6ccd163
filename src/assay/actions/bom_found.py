"""The statements about one version that count for its bill, and which of them were used.

A statement counts here when the workspace's own key signed it, in this project, and nobody
superseded it.
"""

from __future__ import annotations

from assay.evidence.facts import Evidence
from assay.evidence.state import VersionState, kind_of
from assay.supply.bom.model import Signature
from assay.types import Digest
from assay.workspace.view import View


class Found:
    """Looks statements up, and remembers those that the bill rests on."""

    def __init__(self, view: View, version: VersionState) -> None:
        self.view = view
        self.version = version
        self._kinds = view.state.key_kinds()
        self._gone = view.state.superseded_in(version.project)
        self._used: dict[Digest, Evidence] = {}
        about = [digest for digest in (version.artifact, version.served) if digest]
        self.about = self.counting(*dict.fromkeys(about))
        facts = view.version_facts(version)
        self._worst = {name: sources[0] for name, sources in facts.sources.items() if sources}
        self.registration = self._registration()

    def counting(self, *digests: Digest) -> list[Evidence]:
        """The statements about these bytes that count."""
        project = self.version.project
        return [
            item
            for item in self.view.evidence(project, *digests)
            if item.envelope_digest not in self._gone
            and item.statement.header.project == project
            and any("workspace" in self._kinds.get(keyid, ()) for keyid in item.keyids)
        ]

    def _registration(self) -> Evidence | None:
        """The statement that registered this version: others may be of the same bytes."""
        wanted = (self.version.name, self.version.version)
        for item in self.about:
            p = item.statement.predicate
            if kind_of(item.statement) == "model-version" and wanted == (
                p.get("name"),
                p.get("version"),
            ):
                return self.use(item)
        return None

    @property
    def source(self) -> str:
        """The digest of that statement's envelope."""
        return self.registration.envelope_digest if self.registration else ""

    def use(self, item: Evidence) -> Evidence:
        """Remember that the bill rests on a statement."""
        self._used[item.envelope_digest] = item
        return item

    def last(self, kind: str, *digests: Digest) -> Evidence | None:
        """The newest statement of a kind, about the version or about `digests`."""
        items = self.counting(*digests) if digests else self.about
        found = [item for item in items if kind_of(item.statement) == kind]
        return self.use(found[-1]) if found else None

    def own(self, kind: str, *, or_any: bool = False) -> Evidence | None:
        """The newest statement of a kind that names this version: the same bytes may be another
        one, too.  With `or_any` the newest about the bytes where none does."""
        found = [item for item in self.about if kind_of(item.statement) == kind]
        names = self.version.names
        ours = [i for i in found if any(subject.name in names for subject in i.statement.subject)]
        counting = ours or (found if or_any else [])
        return self.use(counting[-1]) if counting else None

    def by_fact(self, fact: str, kind: str) -> Evidence | None:
        """The statement that policy reads a fact from: of several, the worst."""
        wanted = self._worst.get(fact)
        found = [item for item in self.about if item.envelope_digest == wanted]
        return self.use(found[0]) if found else self.last(kind)

    def issued(self) -> str:
        """When the newest of the statements used was issued."""
        return max((item.statement.header.issued for item in self._used.values()), default="")

    def signatures(self) -> tuple[Signature, ...]:
        """Who signed the statements used."""
        return tuple(
            Signature(
                keyid,
                next(iter(sorted(self._kinds.get(keyid, ()))), "unknown"),
                kind_of(item.statement),
                item.envelope_digest,
            )
            for item in self._used.values()
            for keyid in item.keyids
        )
