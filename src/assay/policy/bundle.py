"""From a folder of files to a policy bundle, checked so that no surprise is left for a decision.

A project's policy folder is committed beside its code::

    roles.cedar gates.cedar ...   who may, and what stands in the way
    settings.toml                 the limits, by project
    producers.toml                whose claims count
    tests.toml                    requests and the decisions they must get
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from assay import files
from assay.errors import AssayError, NotFound, Usage
from assay.policy import rules as policies
from assay.policy import settings as limits
from assay.policy import testing
from assay.policy.document import FORMAT, Bundle
from assay.policy.engine import Engine, compile_bundle, read_producers
from assay.policy.schema import generate, read_declarations

__all__ = ["FORMAT", "Bundle", "build", "check", "write_defaults"]

_TABLES = ("settings.toml", "producers.toml", "tests.toml")
_LIMIT = 1 << 20


def build(folder: Path, declarations: Sequence[Mapping[str, Any]]) -> Bundle:
    """Read a policy folder; raises `Usage` with the file, what is wrong, and the remedy.

    `declarations` are those of the assessors installed now; the bundle keeps them, so that
    uninstalling one later changes no policy.
    """
    names = _names(folder)
    declared = read_declarations(declarations)
    settings = _toml(folder / "settings.toml")
    limits.check(settings)
    producers = _toml(folder / "producers.toml")
    if producers.keys() != {"producers"} or not isinstance(producers["producers"], list):
        raise Usage(
            "producers.toml: it is not a list of producers",
            remedy="write one [[producers]] block for each, and nothing else",
            code="policy.producers",
        )
    read_producers(producers["producers"])
    bundle = Bundle(
        schema=generate(declared),
        policies={name: _text(folder / name) for name in names},
        declarations=sorted(msgspec.to_builtins(declared), key=lambda item: item["name"]),
        producers=producers["producers"],
        settings={"default": settings["default"], "projects": settings.get("projects", {})},
        tests=_toml(folder / "tests.toml"),
    )
    testing.read_table(bundle.tests, declared)
    compile_bundle(bundle)
    try:
        bundle.encode()
    except ValueError as error:
        raise Usage(
            f"{folder}: {error}",
            remedy="write decimals and dates in quotes, and no number beyond 2**53",
            code="policy.value",
        ) from error
    return bundle


def write_defaults(folder: Path) -> None:
    """Put the default policy into `folder`; raises `Usage` when a file is there already."""
    source = resources.files("assay.policy") / "defaults"
    contents = {item.name: item.read_bytes() for item in source.iterdir() if item.is_file()}
    if taken := sorted(name for name in contents if (folder / name).exists()):
        raise Usage(
            f"{folder} has a {taken[0]} already, which is not replaced",
            remedy="move the folder away, or keep the policy that is there",
            code="policy.exists",
        )
    files.make_folder(folder, 0o755)
    for name in sorted(contents):
        files.write(folder / name, contents[name], mode=0o644)


def check(bundle: Bundle) -> list[str]:
    """What is wrong with a bundle or missing in it, in plain words; empty when nothing is.

    A bundle of which this says something can still decide; each line is a hole in what its
    authors believe about it.
    """
    try:
        engine = Engine(bundle)
        declared = read_declarations(bundle.declarations)
        table = testing.read_table(bundle.tests, declared)
        results = testing.run(bundle, engine)
    except AssayError as error:
        return [error.message]
    problems: list[str] = []
    if bundle.schema != generate(declared):
        problems.append("the schema is not the one that this version generates from the facts")
    problems += [f"test fails: {result.explanation}" for result in results if not result.passed]

    failed = {tuple(result.expected) for result in results if result.passed}
    permitted = {permit for result in results for permit in result.decision.permits}
    names = {rule.id for rule in engine.rules} | {policies.ROLE, policies.ERROR}
    for case in table.cases:
        for gate in sorted(set(case.expected) - names):
            problems.append(f"the test {case.name!r} expects {gate}, which is no gate")
    trusted = {kind for item in bundle.producers for kind in item["predicate_types"]}
    types = {item.name: item.predicate_type for item in declared}
    for rule in engine.rules:
        if rule.effect == "permit":
            if rule.id not in permitted:
                problems.append(f"{rule.id}: no test is allowed by it")
            continue
        if (rule.id,) not in failed:
            problems.append(f"{rule.id}: no test fails this gate alone")
        if rule.facts and not rule.remedy:
            problems.append(f"{rule.id}: it reads facts, but names no command that produces them")
        for fact in rule.facts:
            if types[fact] not in trusted:
                problems.append(
                    f"{rule.id}: it reads {fact}, but no producer is trusted for {types[fact]}, "
                    "so it can never pass"
                )
    return problems


# -- reading --------------------------------------------------------------------------------------


def _names(folder: Path) -> list[str]:
    """The policy files; anything else in the folder but the tables and documents is refused."""
    if not folder.is_dir():
        raise NotFound(
            f"the policy folder {folder} does not exist",
            remedy="`assay init` writes one",
            code="policy.folder",
        )
    found: list[str] = []
    for path in sorted(folder.iterdir()):
        if path.suffix == ".cedar":
            found.append(path.name)
        elif path.name not in _TABLES and path.suffix != ".md" and not path.name.startswith("."):
            raise Usage(
                f"{path}: it is no part of a policy, and would be ignored",
                remedy=f"move it away; a policy is *.cedar, {', '.join(_TABLES)} and *.md",
                code="policy.file",
            )
    if not found:
        raise Usage(f"{folder} has no *.cedar file", remedy="write one", code="policy.folder")
    return found


def _text(path: Path) -> str:
    try:
        with files.open_input(path, what="policy file") as stream:
            raw = stream.read(_LIMIT + 1)
        if len(raw) > _LIMIT:
            raise Usage(f"{path} is larger than {_LIMIT} bytes", code="policy.size")
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Usage(f"{path} is not UTF-8: {error}", code="policy.text") from error


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_text(path))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise Usage(
            f"{path.name}: {error}", remedy="mend the TOML there", code="policy.toml"
        ) from error
