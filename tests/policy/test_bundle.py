"""A bundle is one document with one spelling, and is checked for what its authors overlooked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay import canonical
from assay.errors import Corrupt
from assay.policy.bundle import Bundle, build, check

Declared = list[dict[str, Any]]


def edit(folder: Path, name: str, old: str, new: str) -> None:
    before = (folder / name).read_text()
    assert old in before
    (folder / name).write_text(before.replace(old, new, 1))


# -- the document ---------------------------------------------------------------------------------


def test_a_bundle_reads_back_as_it_was_written(bundle: Bundle) -> None:
    raw = bundle.encode()
    assert Bundle.decode(raw) == bundle
    assert Bundle.decode(raw).encode() == raw
    assert bundle.digest == canonical.digest(raw)
    assert json.loads(raw)["format"] == "assay/policy-bundle/v1"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_each_changed_byte_is_refused_or_is_another_bundle(
    bundle: Bundle, data: st.DataObject
) -> None:
    raw = bytearray(bundle.encode())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    try:
        other = Bundle.decode(bytes(raw))
    except Corrupt:
        return
    assert other.digest != bundle.digest
    assert other.encode() == bytes(raw)


@pytest.mark.parametrize(
    "field", ["schema", "policies", "declarations", "producers", "settings", "tests"]
)
def test_whatever_decides_is_part_of_the_digest(bundle: Bundle, field: str) -> None:
    value = getattr(bundle, field)
    other: Any = (
        value + " "
        if isinstance(value, str)
        else [*value, {}]
        if isinstance(value, list)
        else {**value, "zz": "x"}
    )
    assert msgspec.structs.replace(bundle, **{field: other}).digest != bundle.digest


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda _: b"null",
        lambda _: b"[]",
        lambda _: b"{}",
        lambda raw: raw[:-1],
        lambda raw: raw + b"\n",
        lambda raw: b" " + raw,
        lambda raw: raw.replace(b'":', b'": ', 1),
        lambda raw: raw.replace(b"bundle/v1", b"bundle/v2"),
        lambda raw: raw.replace(b'"format"', b'"formas"'),
        lambda raw: raw[:-1] + b',"zz":1}',
        lambda _: b'{"format":"assay/policy-bundle/v1"}',
        lambda raw: raw.replace(b'"tests":{', b'"tests":{"now":"x",', 1),
        lambda raw: b"\xff\xfe" + raw,
        lambda _: b"[" * 100_000,
    ],
)
def test_anything_but_the_canonical_document_is_refused(
    bundle: Bundle, damage: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(Corrupt):
        Bundle.decode(damage(bundle.encode()))


@pytest.mark.parametrize("field", ["schema", "policies", "settings", "tests", "declarations"])
def test_a_field_of_the_wrong_type_is_refused(bundle: Bundle, field: str) -> None:
    document = json.loads(bundle.encode())
    document[field] = 3
    with pytest.raises(Corrupt, match=field):
        Bundle.decode(canonical.encode(document))


def test_the_order_of_declarations_and_line_of_files_changes_nothing(
    folder: Path, declarations: Declared, bundle: Bundle
) -> None:
    assert build(folder, list(reversed(declarations))).digest == bundle.digest


# -- check ----------------------------------------------------------------------------------------


def test_check_finds_a_gate_that_no_test_fails(folder: Path, declarations: Declared) -> None:
    (folder / "x.cedar").write_text(
        '@id("x.untested") @advice("x") forbid (principal, action == Assay::Action::"promote", '
        'resource) when { resource.format == "pickle" };'
    )
    assert check(build(folder, declarations)) == ["x.untested: no test fails this gate alone"]


def test_check_finds_a_permit_that_no_test_uses(folder: Path, declarations: Declared) -> None:
    (folder / "x.cedar").write_text(
        '@id("x.permit") permit (principal in Assay::Role::"fraud/chief", action, resource);'
    )
    assert check(build(folder, declarations)) == ["x.permit: no test is allowed by it"]


def test_check_finds_a_gate_that_can_never_pass(folder: Path, declarations: Declared) -> None:
    edit(folder, "producers.toml", "https://assay.dev/evidence/parity/v1", "https://example.com/v1")
    (problem,) = check(build(folder, declarations))
    assert problem.startswith("gate.parity: it reads parity.disagreement, but no producer is")


def test_check_finds_a_weakened_gate(folder: Path, declarations: Declared) -> None:
    edit(folder, "gates.cedar", "when { resource.revoked };", "when { resource.hold };")
    problems = check(build(folder, declarations))
    assert any("a withdrawn version goes nowhere" in problem for problem in problems)
    assert any(problem.startswith("gate.revoked: no test fails") for problem in problems)


def test_check_finds_a_removed_gate(folder: Path, declarations: Declared) -> None:
    text_of = (folder / "gates.cedar").read_text()
    start, end = text_of.index('@id("gate.hold")'), text_of.index('@id("gate.servable")')
    (folder / "gates.cedar").write_text(text_of[:start] + text_of[end:])
    problems = check(build(folder, declarations))
    assert any("expects gate.hold, which is no gate" in problem for problem in problems)


def test_check_finds_a_gate_without_a_command_for_its_evidence(
    folder: Path, declarations: Declared
) -> None:
    silent = [{**d, "remedy": ""} if d["name"] == "scan.clean" else d for d in declarations]
    problems = check(build(folder, silent))
    assert problems == ["gate.scan: it reads facts, but names no command that produces them"]


def test_check_finds_a_schema_of_another_hand(bundle: Bundle) -> None:
    altered = msgspec.structs.replace(bundle, schema=bundle.schema + "\n// edited")
    assert any("schema" in problem for problem in check(altered))


def test_check_reports_a_bundle_that_does_not_compile(bundle: Bundle) -> None:
    broken = msgspec.structs.replace(bundle, declarations=[])
    (problem,) = check(broken)
    assert "nobody declares" in problem
