"""What is wrong with how packages are named: not pinned, not hashed, not the one that was meant.

These are findings for a person, never verdicts: a name that is one letter away from a well-known
one may be a package of its own.  Nothing is asked of an index.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from importlib.resources import files as resources
from pathlib import Path
from typing import Literal

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from assay import files
from assay.errors import Usage
from assay.supply.advisories.inventory import Line, lines, pinned

FORMAT = "assay/package-names/v1"
_MOST_BYTES = 1 << 20
_SHORTEST = 5
"""Letters of a name from which one letter more, less or other makes a suspicious name."""
_LONG = 10
"""Letters from which two do."""
_STRONG = ("sha256:", "sha384:", "sha512:")
_AFFIXES = ("python", "py", "python3", "lib", "official", "pip", "pypi", "dev", "sdk", "cli")

MEANT = {
    "beautifulsoup": "beautifulsoup4",
    "cv2": "opencv-python",
    "dateutil": "python-dateutil",
    "dotenv": "python-dotenv",
    "huggingface": "huggingface-hub",
    "jinja": "jinja2",
    "jose": "python-jose",
    "jwt": "pyjwt",
    "opencv": "opencv-python",
    "pil": "pillow",
    "pyspark-python": "pyspark",
    "pytorch": "torch",
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "tensorflow-gpu": "tensorflow",
    "urllib": "urllib3",
    "yaml": "pyyaml",
}
"""Names that people write for another package, mostly its import name."""


class Finding(msgspec.Struct, frozen=True):
    """One thing to look at."""

    rule: str
    line: int
    """In the requirement file; 0 where the name came from elsewhere."""
    package: str
    what: str
    remedy: str


class Names(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an organisation says of its own packages."""

    format: Literal["assay/package-names/v1"] = FORMAT
    private: tuple[str, ...] = ()
    """Names that only its own index has; ``acme-*`` for all that begin so."""
    index: str = ""
    """That index."""
    known: tuple[str, ...] = ()
    """Names that were looked at, and are what was meant."""

    def is_private(self, name: str) -> bool:
        return any(fnmatchcase(name, canonicalize_name(pattern)) for pattern in self.private)


NOBODY = Names()


def read_names(path: Path) -> Names:
    """``assay/package-names/v1``: a TOML file that a user names."""
    with files.open_input(path, what="names of packages") as stream:
        data = stream.read(_MOST_BYTES + 1)
    try:
        told = tomllib.loads(data[:_MOST_BYTES].decode())
        if told.get("format") != FORMAT or len(data) > _MOST_BYTES:
            raise ValueError(f'it does not begin with format = "{FORMAT}", or is too large')
        return msgspec.convert(told, Names)
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise Usage(
            f"{path}: no names of packages: {str(error)[:300]}",
            remedy="see docs/vulnerabilities.md#names-of-packages",
            code="packages.names",
        ) from error


# -- requirement files ----------------------------------------------------------------------------


def check_requirements(text: str, names: Names = NOBODY) -> list[Finding]:
    """What to look at in a requirement file."""
    told = list(lines(text))
    found: list[Finding] = []
    for line in told:
        found += _option(line) if line.text.startswith("-") else _requirement(line, names)
    return sorted([*found, *_confusion(told, names)], key=lambda f: (f.line, f.rule))


def _option(line: Line) -> Iterator[Finding]:
    name, _, value = re.sub(r"^(--?[\w-]+)[ =]+", r"\1=", line.text).partition("=")
    shown = _without_secrets(value)
    match name:
        case "-e" | "--editable":
            yield Finding(
                *("pins.editable", line.number, shown),
                "is a folder that may change after it was looked at",
                "build a wheel of it, and name that with its digest",
            )
        case "-r" | "--requirement" | "-c" | "--constraint":
            yield Finding(
                *("pins.elsewhere", line.number, shown),
                "names another file, which is not followed",
                f"check {shown[:80]} too, or write everything into one file",
            )
        case "--extra-index-url":
            yield Finding(
                *("confusion.extra_index", line.number, shown),
                "a second index: of two packages with one name the newer is taken, whose it is",
                "use one --index-url that has everything, and hashes",
            )
        case "-i" | "--index-url" | "-f" | "--find-links":
            yield Finding(
                *("index.other", line.number, shown),
                "another index than PyPI: advisories are about the packages there",
                "say so in the names of packages, or leave it to pip's own settings",
            )
        case "--trusted-host":
            yield Finding(
                *("index.untrusted", line.number, shown),
                "the certificate of this host is not checked",
                "give the host a certificate",
            )
        case _:
            pass
    if re.search(r"=\s*http://", f"{name}={value}"):
        yield Finding(
            *("index.plain", line.number, shown),
            "what comes from there can be altered on the way",
            "use https://",
        )
    if shown != value:
        yield Finding(
            *("index.secret", line.number, shown),
            "the line holds a password",
            "take it out, and change it: whoever reads the file has it",
        )


def _without_secrets(text: str) -> str:
    return re.sub(r"://[^/@\s]+@", "://…@", text)


def _requirement(line: Line, names: Names) -> Iterator[Finding]:
    try:
        wanted = Requirement(line.text)
    except InvalidRequirement:
        yield Finding(
            *("pins.unreadable", line.number, _without_secrets(line.text)[:80]),
            "is no requirement (PEP 508): a path or an address, perhaps",
            "name a package with an exact version",
        )
        return
    name = canonicalize_name(wanted.name)
    if wanted.url:
        fixed = re.search(r"#(?:.*&)?sha(?:256|384|512)=[0-9a-f]{64,}", wanted.url)
        yield Finding(
            *("pins.url", line.number, name),
            "comes from an address" + ("" if fixed else ", and has no digest"),
            "name the version that an index has, with its digest",
        )
    elif not pinned(wanted):
        yield Finding(
            *("pins.unpinned", line.number, name),
            "may be another version tomorrow",
            f"{name}==VERSION; `uv pip compile --generate-hashes` writes all of them",
        )
    if not line.hashes and not wanted.url:
        yield Finding(
            *("pins.unhashed", line.number, name),
            "whatever the index hands out is installed",
            "add --hash=sha256:…; `uv pip compile --generate-hashes` writes all of them",
        )
    if weak := [h for h in line.hashes if not h.startswith(_STRONG)]:
        yield Finding(
            *("pins.weak_hash", line.number, name),
            f"has a digest that can be forged or is none: {weak[0][:20]}",
            "use sha256",
        )
    yield from check_name(name, names, line=line.number)


def _confusion(told: Sequence[Line], names: Names) -> Iterator[Finding]:
    """Private names that a public index could answer for."""
    options = " ".join(line.text for line in told if line.text.startswith("-"))
    extra = "--extra-index-url" in options
    own = bool(names.index) and re.search(
        rf"(?:^|\s)(?:-i|--index-url)[ =]+{re.escape(names.index.rstrip('/'))}/?(?:\s|$)", options
    )
    for line in told:
        name = _name_of(line)
        if name is None or not names.is_private(name) or (own and not extra):
            continue
        why = (
            "is private, and a second index may hand out another package under that name"
            if extra
            else "is private, and the file does not say that your own index is asked for it"
        )
        yield Finding(
            *("confusion.private", line.number, name),
            why,
            f"--index-url {names.index or 'YOUR-INDEX'} as the only index, and hashes",
        )


def _name_of(line: Line) -> str | None:
    try:
        return None if line.text.startswith("-") else canonicalize_name(Requirement(line.text).name)
    except InvalidRequirement:
        return None


# -- names ----------------------------------------------------------------------------------------


@functools.cache
def popular() -> frozenset[str]:
    """Well-known names, normalised."""
    text = resources("assay.supply").joinpath("popular_packages.txt").read_text("utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


def check_names(
    given: Iterable[str], names: Names = NOBODY, *, lines_of: Mapping[str, int] | None = None
) -> list[Finding]:
    """What to look at among the names of packages."""
    at = lines_of or {}
    distinct = sorted({canonicalize_name(name) for name in given})
    return [f for name in distinct for f in check_name(name, names, line=at.get(name, 0))]


def check_name(name: str, names: Names = NOBODY, *, line: int = 0) -> Iterator[Finding]:
    """Whether a normalised name looks like a well-known one that it is not."""
    known = {canonicalize_name(other) for other in names.known}
    if name in MEANT and name not in known:
        yield Finding(
            *("names.meant", line, name),
            f"is not the package of {MEANT[name]}",
            f"name {MEANT[name]}, if that is meant",
        )
        return
    if name in known or names.is_private(name) or name in popular():
        return
    alike = _alike(name)
    if alike:
        yield Finding(
            *("names.alike", line, name),
            f"looks like the well-known {alike}, and is not it",
            f"name {alike}, if that is meant; else say known = [{name!r}]",
        )


@functools.lru_cache(maxsize=8192)
def _alike(name: str) -> str:
    """A well-known name that `name` may be mistaken for; empty where there is none."""
    by_shape = _shapes()
    shape = _shape(name)
    for found in (by_shape.get(shape), by_shape.get(_shape("-".join(sorted(name.split("-")))))):
        if found is not None and len(shape) >= _SHORTEST:
            return found
    for affix in _AFFIXES:
        for rest in (name.removeprefix(f"{affix}-"), name.removesuffix(f"-{affix}")):
            if rest != name and len(rest) >= _SHORTEST and rest in _ranked():
                return rest
    if len(name) < _SHORTEST:
        return ""
    letters = _letters(name)
    near = [
        other
        for size in range(len(name) - 2, len(name) + 3)
        for other, has in _by_length().get(size, ())
        # Two slips bring and take away four letters at most.
        if (letters ^ has).bit_count() <= 4 and _near(name, other)
    ]
    return min(near, key=lambda other: (_distance(name, other), other)) if near else ""


def _near(name: str, other: str) -> bool:
    most = 2 if min(len(name), len(other)) >= _LONG else 1
    if min(len(name), len(other)) < _SHORTEST or abs(len(name) - len(other)) > most:
        return False
    # A digit that differs is a version of a name, not a slip; and so is a short part that differs
    # the name of another member of a family (``types-boto3-s3``).
    if re.sub(r"[0-9]", "", name) == re.sub(r"[0-9]", "", other):
        return False
    parts, others = name.split("-"), other.split("-")
    if len(parts) == len(others) > 1:
        apart = [pair for pair in zip(parts, others, strict=True) if pair[0] != pair[1]]
        if any(min(len(a), len(b)) < _SHORTEST for a, b in apart):
            return False
    return _distance(name, other) <= most


def _distance(one: str, other: str) -> int:
    """How many letters to add, drop, change, or swap with their neighbour (optimal string
    alignment)."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        older, before, row = before, row, [i]
        for j, b in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
    return row[-1]


_CONFUSABLE = str.maketrans({"0": "o", "1": "l", "i": "l", "5": "s", "-": None})


def _shape(name: str) -> str:
    """What remains when letters that look alike are one."""
    return name.translate(_CONFUSABLE).replace("rn", "m").replace("vv", "w")


@functools.cache
def _shapes() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in sorted(popular(), reverse=True):
        found[_shape("-".join(sorted(name.split("-"))))] = name
    for name in sorted(popular(), reverse=True):
        found[_shape(name)] = name
    return found


@functools.cache
def _ranked() -> frozenset[str]:
    return frozenset(name for name in popular() if len(name) >= _SHORTEST)


@functools.cache
def _by_length() -> dict[int, list[tuple[str, int]]]:
    found: dict[int, list[tuple[str, int]]] = {}
    for name in sorted(popular()):
        found.setdefault(len(name), []).append((name, _letters(name)))
    return found


def _letters(name: str) -> int:
    """Which letters occur, as bits."""
    found = 0
    for letter in name:
        found |= 1 << (ord(letter) & 63)
    return found
