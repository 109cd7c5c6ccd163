"""Short ways to take something in and to let it out again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workspace.town import Town

from assay import canonical
from assay.actions.intake import Intake, ReleaseIntake
from assay.actions.intake_records import find
from assay.store import trees
from assay.store.trees import TreeEntry
from assay.workspace.layout import CONFIG

CARD = "---\nlicense: {}\n---\n# Score\n"


class Payload:
    """What a poisoned file would do to whoever loads it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, ("__import__('os').getpid()",)


def take(town: Town, locator: object, who: str = "eve", **given: Any) -> dict[str, Any]:
    return town.do(who, Intake(project="alpha", locator=str(locator), **given))


def digest_of(path: Path) -> str:
    """The digest of a file, or of a folder as a tree."""
    if path.is_file():
        return canonical.digest_file(path)
    entries = [
        TreeEntry(
            file.relative_to(path).as_posix(), file.stat().st_size, canonical.digest_file(file)
        )
        for file in path.rglob("*")
        if file.is_file()
    ]
    return canonical.digest(trees.encode(entries))


def pinned(town: Town, path: Path, **given: Any) -> dict[str, Any]:
    """Taken in by its digest."""
    return take(town, path, digest=digest_of(path), **given)


def release(digest: str, **given: Any) -> ReleaseIntake:
    made: dict[str, Any] = {"project": "alpha", "model": "theirs", "purpose": "scoring"}
    return ReleaseIntake(digest=digest, **{**made, **given})


def settings(town: Town, text: str) -> None:
    """Append to ``[projects.alpha.intake]``."""
    path = town.repo / CONFIG
    path.write_text(f"{path.read_text()}\n[projects.alpha.intake]\n{text}\n")
    town.reopen()


def status(town: Town, digest: str) -> str:
    town.ws.view.follow()
    return find(town.ws.view, "alpha", digest).status
