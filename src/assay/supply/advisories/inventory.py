"""The packages of a bill of materials, a lock with hashes, or an environment.

A component that is a library and has no package URL is still a package: one that cannot be looked
up.  What is no library (a dataset, the model itself, a single file) has no advisories, nor has what
CycloneDX calls *excluded* (a tool that is not in the model), unless its package URL is known.  A
bill that says that its list is *unknown* has one more package than it names: whatever is not there.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

import msgspec
from packaging.requirements import InvalidRequirement, Requirement

from assay import files
from assay.errors import Usage
from assay.supply.advisories.matching import UNLISTED, Package
from assay.supply.advisories.versions import PURL_TYPES

_PURL = re.compile(r"pkg:/*([A-Za-z][A-Za-z0-9.+-]*)/([^?#]+)(?:\?[^#]*)?(?:#.*)?")
_LIBRARIES = frozenset({"library", "framework", "application", "operating-system", "platform", ""})
_MOST_COMPONENTS = 100_000
_DEEPEST = 32
_MOST_BYTES = 256 << 20


def from_purl(purl: str) -> Package | None:
    """The package that a package URL names; None for what is none."""
    found = _PURL.fullmatch(purl) if len(purl) <= 2_000 else None
    if found is None:
        return None
    kind = found[1].lower()
    path, _, version = found[2].strip("/").rpartition("@")
    if not path or "/" in version:  # No version, but perhaps a scope: ``pkg:npm/@scope/name``.
        path, version = found[2].strip("/"), ""
    name = "/".join(unquote(part) for part in path.split("/") if part)
    if not name:
        return None
    return Package(PURL_TYPES.get(kind, kind), name, unquote(version), purl)


def purl_of(package: Package) -> str:
    """A package URL for a package that was named in another way."""
    if package.purl:
        return package.purl
    kinds = {ecosystem: kind for kind, ecosystem in PURL_TYPES.items()}
    kind = kinds.get(package.ecosystem, package.ecosystem.lower() or "generic")
    version = f"@{package.version}" if package.version else ""
    return f"pkg:{kind}/{package.name}{version}"


# -- bills of materials ---------------------------------------------------------------------------


def components(bom: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every component of a CycloneDX document, nested ones included; its subject is not one."""
    if bom.get("bomFormat") != "CycloneDX":
        raise _no_bom("it is no CycloneDX document")
    metadata = bom.get("metadata")
    subject = _mapping(metadata).get("component")
    waiting = [(bom.get("components"), 0), (_mapping(subject).get("components"), 1)]
    count = 0
    while waiting:
        level, depth = waiting.pop()
        if level is None:
            continue
        if not isinstance(level, list) or depth > _DEEPEST:
            raise _no_bom("its components are no list, or nested too deeply")
        for component in cast("list[Any]", level):
            count += 1
            if not isinstance(component, dict) or count > _MOST_COMPONENTS:
                raise _no_bom("a component is no object, or there are too many")
            told = cast("dict[str, Any]", component)
            yield told
            waiting.append((told.get("components"), depth + 1))


def from_bom(bom: Mapping[str, Any]) -> list[Package]:
    """The packages of a CycloneDX document."""
    found: list[Package] = []
    for component in components(bom):
        purl, kind = component.get("purl"), component.get("type", "")
        package = from_purl(purl) if isinstance(purl, str) else None
        looked_up = package is not None and package.ecosystem in ("PyPI", "npm", "crates.io")
        # A library called something else is looked up all the same.
        apart = kind not in _LIBRARIES or component.get("scope") == "excluded"
        if apart and not looked_up:
            continue
        if package is None:
            name, version = component.get("name"), component.get("version")
            package = Package("", _word(name), _word(version), "")
        elif not package.version:
            package = msgspec.structs.replace(package, version=_word(component.get("version")))
        found.append(package)
    if is_open_ended(bom):
        found.append(UNLISTED)
    return found


def is_open_ended(bom: Mapping[str, Any]) -> bool:
    """Whether the bill itself says that nobody knows what else there is."""
    listed = bom.get("compositions")
    return any(
        _mapping(item).get("aggregate") == "unknown"
        for item in (cast("list[Any]", listed) if isinstance(listed, list) else [])
    )


def _word(value: object) -> str:
    return value[:256] if isinstance(value, str) else ""


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def _no_bom(why: str) -> Usage:
    return Usage(
        f"the bill of materials cannot be read: {why}",
        remedy="give CycloneDX JSON, as `assay bom write` makes it",
        code="advisories.bom",
    )


# -- requirement files ----------------------------------------------------------------------------


class Line(msgspec.Struct, frozen=True):
    """One logical line of a requirement file."""

    number: int
    text: str
    """Without comments and options of its own."""
    hashes: tuple[str, ...]
    options: tuple[str, ...]


def lines(text: str) -> Iterator[Line]:
    """The logical lines of a requirement file, options of the file included."""
    number, start, held = 0, 0, ""
    for raw in [*text.splitlines(), ""]:
        number += 1
        start = start or number
        if raw.rstrip().endswith("\\") and not raw.lstrip().startswith("#"):
            held += raw.rstrip()[:-1] + " "
            continue
        whole = re.sub(r"(^|\s)#.*", "", held + raw).strip()
        if whole:
            yield _line(start, whole)
        start, held = 0, ""
    if held.strip():
        yield _line(start or number, held.strip())


def _line(number: int, whole: str) -> Line:
    head, *options = re.split(r"\s+(?=--?[A-Za-z])", whole)
    if whole.startswith("-"):
        return Line(number, whole, (), ())
    hashes = [re.split(r"[=\s]\s*", o, maxsplit=1)[-1] for o in options if o.startswith("--hash")]
    return Line(number, head.strip(), tuple(hashes), tuple(options))


def pinned(requirement: Requirement) -> str:
    """The one version that a requirement allows; empty where it allows others."""
    told = list(requirement.specifier)
    exact = len(told) == 1 and told[0].operator in ("==", "===")
    return told[0].version if exact and not told[0].version.endswith(".*") else ""


def from_requirements(text: str) -> list[Package]:
    """The packages of a requirement file; a line without an exact version has none to look up.

    Lines for other machines count too: whoever installs there has them.
    """
    found: list[Package] = []
    for line in lines(text):
        if line.text.startswith("-"):
            if re.match(r"(-e|--editable|-r|--requirement)\b", line.text):
                found.append(Package("PyPI", line.text[:200], ""))
            continue
        try:
            wanted = Requirement(line.text)
        except InvalidRequirement:
            found.append(Package("PyPI", line.text[:200], ""))
            continue
        version = "" if wanted.url else pinned(wanted)
        found.append(Package("PyPI", wanted.name, version))
    return found


def is_lock(path: Path) -> bool:
    """Whether a file is a lock in TOML by its name: ``uv.lock``, ``poetry.lock``, ``pylock.toml``,
    ``pylock.NAME.toml``."""
    return path.suffix == ".lock" or (path.name.startswith("pylock.") and path.suffix == ".toml")


def from_lock(text: str) -> list[Package]:
    """The packages of a lock file in TOML; a folder or an address may have no version."""
    try:
        told = tomllib.loads(text)
        listed = told.get("packages", told.get("package", []))
        return [
            Package("PyPI", str(package["name"]), str(package.get("version", "")))
            for package in cast("list[dict[str, Any]]", listed)
        ]
    except (tomllib.TOMLDecodeError, RecursionError, TypeError, KeyError, AttributeError) as error:
        raise Usage(
            f"the lock file cannot be read: {str(error)[:200]}",
            remedy="write it again (`uv lock`, `poetry lock`, `pip lock`)",
            code="advisories.input",
        ) from error


def installed(folders: Sequence[Path] | None = None) -> list[Package]:
    """The distributions of this interpreter, or of other library folders."""
    where = sys.path if folders is None else [str(folder) for folder in folders]
    return [
        Package("PyPI", str(name), str(found.metadata["Version"] or ""))
        for found in importlib.metadata.distributions(path=where)
        if (name := found.metadata["Name"])
    ]


# -- any of them ----------------------------------------------------------------------------------


def read_text(path: Path, what: str = "file") -> str:
    """A text file that a user names."""
    with files.open_input(path, what=what) as stream:
        data = stream.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise Usage(f"{path} is larger than {_MOST_BYTES >> 20} MiB", code="advisories.input")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Usage(
            f"{path} is no text in UTF-8",
            remedy="give CycloneDX JSON or a requirement file",
            code="advisories.input",
        ) from error


def read_bom(text: str) -> dict[str, Any] | None:
    """A JSON object; None where the text is something else."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _no_bom(str(error)[:200]) from error


def from_file(path: Path) -> list[Package]:
    """The packages of a CycloneDX document, a requirement file, or a folder of libraries."""
    if path.is_dir():
        if not any(entry.name.endswith((".dist-info", ".egg-info")) for entry in path.iterdir()):
            raise Usage(
                f"{path} is no folder of installed libraries",
                remedy="name site-packages, a CycloneDX document or a requirement file",
                code="advisories.input",
            )
        return installed([path])
    text = read_text(path)
    bom = read_bom(text)
    if bom is not None:
        found = from_bom(bom)
    else:
        found = from_lock(text) if is_lock(path) else from_requirements(text)
    if not found:
        raise Usage(
            f"{path} names no package",
            remedy="give CycloneDX JSON, or a requirement file with exact versions",
            code="advisories.input",
        )
    return found


def from_file_confined(payload: bytes) -> bytes:
    """`from_file` for a path in UTF-8, its answer in JSON: the form for `isolation.run`."""
    return msgspec.json.encode(from_file(Path(payload.decode())))
