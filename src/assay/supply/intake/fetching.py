"""The way in: from a locator to files in quarantine, and what is known of where they came from."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from assay.errors import Usage, Verification
from assay.supply.intake import addresses
from assay.supply.intake.locators import Locator
from assay.supply.intake.network import Client
from assay.supply.intake.quarantine import Quarantine
from assay.supply.intake.settings import Settings
from assay.types import Digest

Progress = Callable[[str], None]


class Bucket(Protocol):
    """An object store's bucket, opened by whoever has its credential."""

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """The keys that begin with `prefix`, and the sizes of their objects."""
        ...

    def read(self, key: str) -> Iterator[bytes]:
        """One object, in pieces."""
        ...


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a source said about itself."""

    revision: str
    """What it was: a commit, a digest, or name and version of a wheel."""
    licence: str = ""
    """As declared outside of the files, such as in a wheel's metadata."""
    notes: tuple[str, ...] = ()
    bound: bool = True
    """Whether what came is known to be of that revision."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to fetch, from where, and within which bounds."""

    locator: Locator
    settings: Settings
    only: tuple[str, ...] = ()
    """Patterns of paths; empty for all."""
    mirror: Path | None = None
    own: Path | None = None
    """The workspace's own folder, which is not taken in."""
    bucket: Bucket | None = None
    progress: Progress = field(default=lambda _: None)
    resolver: addresses.Resolve = addresses.resolve

    def client(self, into: Quarantine) -> Client:
        return Client(self.settings, into.source, lambda: into.seconds_left, resolver=self.resolver)

    def wanted(self, path: str) -> bool:
        """Whether a file is asked for; what says who made it and under which licence always is."""
        if self.locator.scheme == "hf" and path in GIT:
            return False
        return (
            not self.only
            or path in ALWAYS
            or any(fnmatch.fnmatchcase(path, pattern) for pattern in self.only)
        )


GIT = frozenset({".gitattributes", ".gitignore", ".gitmodules"})
"""How git keeps a repository: no part of a model, and of a hub's repositories not taken."""
ALWAYS = frozenset({"README.md", "LICENSE", "LICENSE.txt", "LICENSE.md", "model.sig"})


def fetch(request: Request, into: Quarantine) -> Fetched:
    """Fetch everything into quarantine.  Raises what the source's module raises."""
    from assay.supply.intake import buckets, hub, local, packages, registry, web

    locator = request.locator
    if request.mirror is not None and locator.scheme != "file":
        return local.from_mirror(request, request.mirror, into)
    by_scheme: dict[str, Callable[[Request, Quarantine], Fetched]] = {
        "file": local.fetch,
        "hf": hub.fetch,
        "oci": registry.fetch,
        "s3": buckets.fetch,
        "pypi": packages.fetch,
        "https": web.fetch,
    }
    return by_scheme[locator.scheme](request, into)


def check_digest(into: Quarantine, digest: Digest, expected: str) -> None:
    """Raise `Verification` unless the tree, or its one file, has the digest that was asked for."""
    if not expected:
        return
    alone = into.taken[0].digest if len(into.taken) == 1 else digest
    if expected not in (digest, alone):
        raise Verification(
            f"{into.source}: what came has the digest {alone}, not {expected[:80]}",
            remedy="do not use it; find out what the source is serving",
            code="intake.digest",
        )


def chosen(request: Request, paths: Sequence[str], source: str) -> list[str]:
    """Those of `paths` that are asked for; `Usage` when `only` names none of them."""
    found = [path for path in paths if request.wanted(path)]
    named = [path for path in found if path not in ALWAYS] if request.only else found
    if paths and not named:
        some = ", ".join(ascii(path[:60]) for path in paths[:8])
        raise Usage(
            f"{source}: none of its {len(paths):,} files is named by --only",
            remedy=f"it holds {some}{' and more' if len(paths) > 8 else ''}",
            code="intake.only",
        )
    return found
