"""Somebody else's data out of quarantine: registered as a dataset, if policy says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import msgspec

from assay.actions import intake_sources as sources
from assay.actions.datasets import Declared, RegisterDataset
from assay.actions.intake_records import Held, check_rejected, check_signed, find, release_target
from assay.errors import Usage
from assay.supply.intake import records
from assay.types import Digest
from assay.workspace.action import Doing, Outcome, Target
from assay.workspace.view import View


class ReleaseData(Declared, frozen=True, kw_only=True):
    """Register a table that lies in quarantine as a dataset, if policy says so on its facts.

    Where it came from is what the intake says, and so is its licence where it declares one.
    """

    name: ClassVar[str] = "releaseIntake"
    digest: str
    """Of what was taken in, or the beginning of it."""
    file: str = ""
    """Which of its files is the table; needed where there are several."""
    despite: str = ""
    """Why it is released although somebody rejected it."""

    def target(self, view: View) -> Target:
        self.check()
        found = find(view, self.project, self.digest)
        self._check_licence(found)
        return release_target(view, self.project, found.digest, self.purposes[0], self.despite)

    def _check_licence(self, found: Held) -> None:
        said = str(found.predicate["licence"])
        if said and said != self.licence:
            raise Usage(
                f"{found.place} declares the licence {said!r}, and not {self.licence[:80]!r}",
                remedy=f"register it under what it declares: --licence {said!r}",
                code="intake.licence",
            )

    def apply(self, doing: Doing) -> Outcome:
        found = find(doing.view, self.project, self.digest)
        source = found.predicate["source"]
        with sources.opened(doing, found.digest) as folder:
            path = self._table(folder, found)
            check_signed(found, path.relative_to(folder).as_posix())
            own = set(RegisterDataset.__struct_fields__)
            asked: dict[str, Any] = msgspec.structs.asdict(self)
            declared = {key: value for key, value in asked.items() if key in own}
            origin = f"{source['locator']} at {source['revision']}"
            registered: dict[str, Any] = doing.nested(
                RegisterDataset(**declared, path=str(path), origin=origin)
            )
        # A rejection while it was registered wins, as a revocation would.
        doing.view.follow()
        check_rejected(find(doing.view, self.project, found.digest), self.despite)
        predicate = {
            "digest": found.digest,
            "intake": found.envelope,
            "file": path.relative_to(folder).as_posix(),
            "dataset": self.dataset,
            "content": registered["content"],
            "purpose": ", ".join(self.purposes),
            "despite": self.despite,
        }
        content = {self.dataset: Digest(registered["content"])}
        subject = {f"intake:{found.place}": found.digest, **content}
        statements = [
            doing.attest("intake-release", subject, predicate),
            doing.attest(records.KIND, content, found.predicate, producer=records.PRODUCER),
        ]
        return Outcome({**predicate, "registered": registered}, statements)

    def _table(self, folder: Path, found: Held) -> Path:
        paths = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
        tables = [n for n in paths if n.lower().endswith((".csv", ".parquet", ".json", ".jsonl"))]
        wanted = self.file or (tables[0] if len(tables) == 1 else "")
        if len(paths) == 1 and not self.file:
            wanted = next(iter(paths))
        if wanted not in paths:
            what = f"has no file {self.file[:120]!r}" if self.file else "is not a single table"
            raise Usage(
                f"{found.place} {what}",
                remedy=f"--file with one of: {', '.join(sorted(tables or paths)[:12])}",
                code="intake.file",
            )
        return paths[wanted]
