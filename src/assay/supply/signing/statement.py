"""What a model's signature says: which files, with which digests, and what it does not cover.

Source: https://github.com/ossf/model-signing-spec (v1.0) and, where that is silent, what the tool
`model_signing` 1.1 writes: an in-toto statement whose one subject is the model (its digest is the
SHA-256 over the files' digests, in order) and whose predicate lists the files.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, cast

import msgspec

from assay import canonical
from assay.errors import Usage, Verification
from assay.store import trees
from assay.types import Digest

TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
METHOD = "files"
HASH = "sha256"

WHOLE = "."
"""The name of the only resource of a model that is a single file."""
GIT = (".git", ".gitattributes", ".github", ".gitignore")
"""git's own files at the top of a folder: every implementation leaves them out by default."""

_HEX = re.compile(r"[0-9a-f]{64}")
_MOST_IGNORED = 1_000


class Claim(msgspec.Struct, frozen=True):
    """A model's statement, read."""

    name: str
    """What the signer called the model; nothing depends on it."""
    digest: Digest
    """Of the whole model, see `root`."""
    files: dict[str, Digest]
    """Path → digest, in order."""
    ignored: tuple[str, ...]
    """Paths that the signature does not cover, with all below them."""


def parts(path: str) -> list[str]:
    """What paths are sorted by: component by component, as `model_signing` does."""
    return path.split("/")


def root(digests: Iterable[Digest]) -> Digest:
    """The digest of a model: SHA-256 over its files' digests, in the order of their paths."""
    hasher = hashlib.sha256()
    for digest in digests:
        hasher.update(bytes.fromhex(digest.removeprefix("sha256:")))
    return cast("Digest", f"sha256:{hasher.hexdigest()}")


def encode(name: str, files: Mapping[str, Digest], ignored: Iterable[str]) -> bytes:
    """The statement about a model with these files, as canonical JSON."""
    check_paths(files)
    ordered = {path: files[path] for path in sorted(files, key=parts)}
    serialization: dict[str, Any] = {
        "method": METHOD,
        "hash_type": HASH,
        "allow_symlinks": False,
    }
    if left_out := sorted(set(ignored), key=parts):
        serialization["ignore_paths"] = left_out
    resources = [
        {"name": path, "algorithm": HASH, "digest": digest.removeprefix("sha256:")}
        for path, digest in ordered.items()
    ]
    subject = {"sha256": root(ordered.values()).removeprefix("sha256:")}
    return canonical.encode(
        {
            "_type": TYPE,
            "subject": [{"name": name, "digest": subject}],
            "predicateType": PREDICATE_TYPE,
            "predicate": {"serialization": serialization, "resources": resources},
        }
    )


def check_paths(paths: Iterable[str]) -> None:
    """Raise `Usage` unless these may be the files of one model."""
    named = list(paths)
    if named != [WHOLE]:
        trees.check_paths(iter(named))


def check_ignored(path: str) -> str:
    """`path` if it may be left out; raises `Usage`.  The whole folder may not."""
    if path in ("", WHOLE):
        raise Usage(
            f"{path!r} is the whole model", remedy="name what to leave out", code="signing.ignored"
        )
    trees.check_paths(iter([path]))
    return path


def is_below(path: str, ignored: Collection[str]) -> bool:
    """Whether `path` is one of `ignored` or lies in one of them."""
    if path in ignored:
        return True
    end = path.rfind("/")
    while end > 0:
        if path[:end] in ignored:
            return True
        end = path.rfind("/", 0, end)
    return False


def decode(payload: bytes, what: str) -> Claim:
    """The claim in a payload whose signature has been verified; raises `Verification`.

    Fields that are not known are ignored, as in-toto and the specification ask; what a field that
    is known may say is read strictly, because two readers must not see two models in it.
    """
    try:
        return _claim(_Reader(what), parse(payload, what))
    except Usage as error:
        raise _refused(what, error.message) from error


def _claim(read: _Reader, plain: Any) -> Claim:
    kind = read.text(read.field(plain, "_type"), "_type")
    if kind != TYPE:
        raise read.refused(f"its statement is of type {kind[:100]!r}, not {TYPE}")
    kind = read.text(read.field(plain, "predicateType"), "predicateType")
    if kind != PREDICATE_TYPE:
        raise read.refused(f"it is about {kind[:100]!r}, not {PREDICATE_TYPE}")
    subjects = read.list(read.field(plain, "subject"), "subject")
    if len(subjects) != 1:
        raise read.refused(f"it has {len(subjects)} subjects; a model's signature has one")
    predicate = read.field(plain, "predicate")
    ignored = _ignored(read, read.field(predicate, "serialization"))
    files: dict[str, Digest] = {}
    for resource in read.list(read.field(predicate, "resources"), "resources"):
        path = read.text(read.field(resource, "name"), "a resource's name")
        algorithm = read.text(read.field(resource, "algorithm"), "a resource's algorithm")
        if algorithm != HASH:
            raise read.refused(f"{path[:120]!a} is hashed with {algorithm[:40]!r}, not {HASH}")
        if path in files:
            raise read.refused(f"it lists {path[:120]!a} twice")
        files[path] = read.digest(read.field(resource, "digest"), path)
    check_paths(files)
    left_out = frozenset(ignored)
    for path in files:
        if is_below(path, left_out):
            raise read.refused(f"it both lists {path[:120]!a} and leaves it out")
    _in_order(read, list(files))
    stated = read.digest(read.field(read.field(subjects[0], "digest"), HASH), "the model")
    if stated != root(files.values()):
        raise read.refused("the model's digest is not that of the files it lists")
    name = read.text(read.field(subjects[0], "name"), "the subject's name")
    return Claim(name, stated, files, ignored)


def _ignored(read: _Reader, serialization: Any) -> tuple[str, ...]:
    method = read.text(read.field(serialization, "method"), "the serialization's method")
    hashed = read.text(read.field(serialization, "hash_type"), "the serialization's hash_type")
    if (method, hashed) != (METHOD, HASH):
        raise read.refused(
            f"its files are hashed as {method[:40]!r} with {hashed[:40]!r}",
            f"ask the signer for the method {METHOD!r} with {HASH}, which every tool verifies",
        )
    if type(read.field(serialization, "allow_symlinks")) is not bool:
        raise read.refused("allow_symlinks is neither true nor false")
    listed = read.list(serialization.get("ignore_paths", []), "ignore_paths")
    if len(listed) > _MOST_IGNORED:
        raise read.refused(f"it leaves out {len(listed)} paths, of at most {_MOST_IGNORED}")
    return tuple(check_ignored(read.text(path, "an ignored path")) for path in listed)


def _in_order(read: _Reader, paths: list[str]) -> None:
    """The model's digest depends on the order, so there is one; earlier tools sorted by letters."""
    if paths != sorted(paths, key=parts) and paths != sorted(paths):
        raise read.refused("its files are not sorted by path")


class _Reader:
    """Takes plain JSON apart; raises `Verification` that names the signature and the field."""

    def __init__(self, what: str) -> None:
        self._what = what

    def refused(self, why: str, remedy: str = "") -> Verification:
        return _refused(self._what, why, remedy)

    def field(self, value: Any, name: str) -> Any:
        if type(value) is not dict:
            raise self.refused(f"there is no object that holds {name}")
        found = cast("dict[str, Any]", value)
        if name not in found:
            raise self.refused(f"{name} is missing")
        return found[name]

    def text(self, value: Any, what: str) -> str:
        if type(value) is not str:
            raise self.refused(f"{what} is no text")
        return value

    def list(self, value: Any, what: str) -> list[Any]:
        if type(value) is not list:
            raise self.refused(f"{what} is no list")
        return cast("list[Any]", value)

    def digest(self, value: Any, what: str) -> Digest:
        if type(value) is not str or not _HEX.fullmatch(value):
            raise self.refused(f"the digest of {what[:120]!a} is not 64 hexadecimal digits")
        return cast("Digest", f"sha256:{value}")


def parse(data: bytes, what: str) -> Any:
    """JSON in UTF-8 without repeated keys, special numbers or anything behind it."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key is given twice")
        return found

    def special(text: str) -> Any:
        raise ValueError(f"{text} is no JSON")

    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=unique, parse_constant=special)
    except (ValueError, RecursionError) as error:
        raise _refused(what, f"it is not JSON that has one reading ({error})") from error


def _refused(what: str, why: str, remedy: str = "") -> Verification:
    return Verification(
        f"the signature {what} is refused: {why}",
        remedy=remedy or "get an unaltered copy of the signature from whoever signed the model",
        code="signing.signature",
    )


refused = _refused
"""The error of every signature that is not what it should be."""
