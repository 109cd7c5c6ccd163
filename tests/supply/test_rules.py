"""The catalogue of rules: complete, worded, and the one that the documentation shows."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from assay.supply import rules
from assay.supply.findings import ORDER
from assay.supply.scan import scan

ROOT = Path(__file__).parents[2]
SUPPLY = ROOT / "src" / "assay" / "supply"
READERS = [
    *(
        path
        for path in SUPPLY.glob("*.py")
        if path.stem not in ("rules", "suppressions", "packages", "declarations")
    ),
    *(SUPPLY / "readers").glob("*.py"),
]
FINDING = {"add", "find", "_find", "Broken", "_broken", "unread"}
RULE = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)?")


def used(path: Path) -> Iterator[set[str]]:
    """The rules that a reader names, each as the set of what it may be called in full.

    A reader puts its family before a rule in an f-string: ``f"zip.{rule}"``.
    """
    tree = ast.parse(path.read_bytes())
    families = {
        str(node.values[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        and len(node.values) == 2
        and isinstance(node.values[0], ast.Constant)
        and re.fullmatch(r"[a-z0-9_]+\.", str(node.values[0].value))
    }
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(attr=called) | ast.Name(id=called), args=[first, *rest]
            ):
                if called not in FINDING or (called == "add" and not rest):
                    continue
                family = {"pickle."} if called == "_broken" else families
            case ast.Tuple(elts=[first, ast.Constant(value=severity), *_]) if severity in ORDER:
                family = families
            case _:
                continue
        rule = str(first.value) if isinstance(first, ast.Constant) else ""
        if RULE.fullmatch(rule) and rule not in (*ORDER, "clean"):
            yield {rule, *(f"{prefix}{rule}" for prefix in family if "." not in rule)}


def test_every_rule_that_a_reader_uses_is_in_the_catalogue() -> None:
    found = [(path.name, names) for path in READERS for names in used(path)]
    assert len(found) > 60
    missing = sorted((sorted(names), name) for name, names in found if not names & set(known()))
    assert not missing, f"give them an entry in rules.toml: {missing}"


def known() -> dict[str, rules.Rule]:
    return rules.catalogue()


def hostile(folder: Path) -> list[Path]:
    """The files that the benchmark generates; they are only ever read."""
    code = ROOT / "bench" / "_malicious_models.py"
    subprocess.run([sys.executable, code, folder], check=True, capture_output=True, timeout=60)
    return sorted(folder.iterdir())


def test_every_rule_that_hostile_files_meet_is_in_the_catalogue_and_none_is_clean(
    tmp_path: Path,
) -> None:
    missing: set[str] = set()
    missed: list[str] = []
    for path in hostile(tmp_path / "files"):
        told = scan(path)
        missing |= {found["rule"] for found in told["findings"]} - set(known())
        if told["clean"] and path.suffix != ".py":  # Which is no model; a linter has its say there.
            missed.append(path.name)
    assert not missing
    assert not missed


@pytest.mark.parametrize("rule", rules.catalogue().values(), ids=lambda rule: rule.id)
def test_every_rule_says_in_a_sentence_why_and_what_to_do(rule: rules.Rule) -> None:
    assert rule.title
    assert not rule.title.endswith(".")
    assert re.fullmatch(r"[A-Z].*\.", rule.why)
    assert len(rule.remedy) > 20
    assert "|" not in rule.title + rule.why + rule.remedy


def test_a_rule_that_the_catalogue_lacks_is_still_explained() -> None:
    told = rules.explain("martian.egg")
    assert told.id == "martian.egg"
    assert "martian" in told.title
    assert told.why
    assert told.remedy


def test_the_documentation_shows_the_catalogue_as_it_is() -> None:
    page = (ROOT / "docs" / "scan-in-ci.md").read_text(encoding="utf-8")
    told = page.partition("\n## Every rule\n")[2].partition("\n## ")[0].strip() + "\n"
    assert told == rules.as_markdown(), "replace the table by rules.as_markdown()"
