"""Libraries that somebody declares for a bill, where nobody saw which ones there are.

Declared is a lock: each library at one version and with the SHA-256 of what is installed of it.  A
list without these would say a name and mean any of many libraries.
"""

from __future__ import annotations

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from assay.errors import Usage
from assay.supply.advisories import inventory
from assay.supply.bom.model import Library, Told, declared
from assay.supply.bom.parts import is_sha256

_MOST = 2_000
_MOST_CHARACTERS = 4 << 20


def read(lock: str, by: str) -> list[Library]:
    """The libraries of a requirement file in which each is pinned and hashed; else `Usage`."""
    if len(lock) > _MOST_CHARACTERS:
        raise _wrong(0, f"it is longer than {_MOST_CHARACTERS >> 20} MiB")
    found: dict[tuple[str, str], Library] = {}
    for line in inventory.lines(lock):
        library = _library(line, by)
        held = found.setdefault((library.name, library.version), library)
        if held.digest != library.digest:
            raise _wrong(line.number, f"{library.name} is there twice, with other hashes")
    if not 0 < len(found) <= _MOST:
        raise _wrong(0, "it names no library" if not found else f"it names more than {_MOST:,}")
    return list(found.values())


def _library(line: inventory.Line, by: str) -> Library:
    # An index or another file would say what is installed, and is not part of the bill.
    if line.text.startswith("-"):
        raise _wrong(line.number, f"{line.text[:60]!r} names no library")
    try:
        wanted = Requirement(line.text)
    except InvalidRequirement as error:
        raise _wrong(line.number, f"{line.text[:60]!r} is no requirement") from error
    version = "" if wanted.url else inventory.pinned(wanted)
    name = canonicalize_name(wanted.name)
    if not version:
        raise _wrong(line.number, f"{name} has no exact version (==)")
    hashes = sorted({text.removeprefix("sha256:") for text in line.hashes})
    if not hashes or not all(is_sha256(text) and ":" not in text for text in hashes):
        raise _wrong(line.number, f"{name} has no hash, or another one than sha256")
    digests = [f"sha256:{text}" for text in hashes]
    digest: Told = declared(digests[0] if len(digests) == 1 else digests, by)
    return Library(
        name,
        version,
        digest,
        digest_of="archive" if len(digests) == 1 else "archives, of which one is installed",
        use="declared",
        basis="declared",
    )


def _wrong(number: int, why: str) -> Usage:
    where = f"line {number} of the list of libraries" if number else "the list of libraries"
    return Usage(
        f"{where}: {why}",
        remedy="give a lock with exact versions and hashes: uv export, or pip-compile "
        "--generate-hashes",
        code="bom.libraries",
    )
