"""A policy folder is read strictly: whatever is wrong in it is refused by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from assay.errors import AssayError, NotFound, Usage
from assay.policy import bundle as bundles
from assay.policy import settings
from assay.policy.bundle import Bundle, build, check, write_defaults
from assay.policy.engine import Engine

Declared = list[dict[str, Any]]
GATE = '@id("x.gate") @advice("No.") forbid (principal, action, resource) when { principal.mfa };\n'


def edit(folder: Path, name: str, old: str, new: str) -> None:
    before = (folder / name).read_text()
    assert old in before
    (folder / name).write_text(before.replace(old, new, 1))


# -- the folder -----------------------------------------------------------------------------------


def test_the_defaults_are_a_complete_and_tested_policy(bundle: Bundle) -> None:
    assert check(bundle) == []


def test_the_defaults_never_replace_a_file(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("mine")
    with pytest.raises(Usage, match=r"settings\.toml"):
        write_defaults(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["settings.toml"]
    assert (tmp_path / "settings.toml").read_text() == "mine"


def test_a_folder_that_does_not_exist_is_not_found(tmp_path: Path, declarations: Declared) -> None:
    with pytest.raises(NotFound, match="policy folder"):
        build(tmp_path / "nowhere", declarations)


@pytest.mark.parametrize("name", ["settings.toml", "producers.toml", "tests.toml"])
def test_a_missing_table_is_not_found(folder: Path, declarations: Declared, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(NotFound, match=re.escape(name)):
        build(folder, declarations)


def test_a_folder_without_policies_is_refused(folder: Path, declarations: Declared) -> None:
    for path in folder.glob("*.cedar"):
        path.unlink()
    with pytest.raises(Usage, match=r"no \*\.cedar file"):
        build(folder, declarations)


def test_a_file_that_would_be_ignored_is_refused(folder: Path, declarations: Declared) -> None:
    (folder / "README.md").write_text("Notes are fine.")
    build(folder, declarations)
    (folder / "gates.cedar.bak").write_text(GATE)
    with pytest.raises(Usage, match=r"gates\.cedar\.bak"):
        build(folder, declarations)


def test_a_policy_reached_by_a_link_is_refused(
    folder: Path, declarations: Declared, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").write_text(GATE)
    (folder / "x.cedar").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Usage, match="symbolic link"):
        build(folder, declarations)


POLICIES: list[tuple[str, str]] = [
    ("permit (principal, action, resource);", "permit.*no @id"),
    ('@advice("x") forbid (principal, action, resource);', "forbid.*no @id"),
    ('@id @advice("x") forbid (principal, action, resource);', "no @id"),
    ('@id("") permit (principal, action, resource);', "no @id"),
    ('@id("Gate One") @advice("x") forbid (principal, action, resource);', "no @id"),
    ('@id("role") @advice("x") forbid (principal, action, resource);', "no @id"),
    ('@id("engine.error") @advice("x") forbid (principal, action, resource);', "no @id"),
    ('@id("x.y") forbid (principal, action, resource);', "no @advice"),
    ('@id("x.y") @advice forbid (principal, action, resource);', "no @advice"),
    ('@id("x.y") @advice("  ") forbid (principal, action, resource);', "no @advice"),
    ('@id("x.y") @advice("x") @why("x") forbid (principal, action, resource);', "@why"),
    ('@id("x.y") @remedy("x") permit (principal, action, resource);', "@remedy"),
    ('@id("x.y") @advice("{nobody}") forbid (principal, action, resource);', "nobody"),
    ('@id("x.y") @advice("a { b") forbid (principal, action, resource);', "fills in"),
    ('@id("x.y") @advice("x") @remedy("assay {x y}") forbid (principal, action, resource);', "x y"),
    ('@id("x.y") @advice("x") @seconds("ten") forbid (principal, action, resource);', "seconds"),
    ('@id("x.y") @advice("x") @seconds("-1") forbid (principal, action, resource);', "seconds"),
    ('@id("gate.scan") @advice("x") forbid (principal, action, resource);', "taken.*gates.cedar"),
    (GATE + GATE, "taken"),
    ('@id("x.y") permit (principal == ?principal, action, resource);', "template"),
    ("@id('x') permit (principal, action, resource);", "cannot read"),
    ('@id("x.y") permit (principal, action, resource)', "cannot read"),
    ("permit", "cannot read"),
    ('@id("x.y") permit (principal, action == Assay::Action::"fly", resource);', "x.y"),
    ('@id("x.y") permit (principal, action == Assay::Actor::"a", resource);', "x.y|Action"),
    ('@id("x.y") permit (principal is Assay::Human, action, resource);', "x.y"),
    ('@id("x.y") permit (principal, action, resource) when { principal.rank > 3 };', "rank"),
    ('@id("x.y") permit (principal, action, resource) when { principal.kind > 3 };', "x.y"),
    (
        '@id("x.y") permit (principal, action == Assay::Action::"promote", resource) '
        'when { context.stage == Assay::Stage::"qa" };',
        "qa",
    ),
    (
        '@id("x.y") @advice("x") forbid (principal, action == Assay::Action::"promote", resource) '
        "unless { context.facts.scan.clean };",
        "x.y",
    ),
    (
        '@id("x.y") @advice("x") forbid (principal, action == Assay::Action::"promote", resource) '
        "unless { context.facts has scan && context.facts.scan.clean };",
        "x.y",
    ),
    (
        '@id("x.y") @advice("x") forbid (principal, action == Assay::Action::"promote", resource) '
        "unless { context.facts has quality.auc_lower && "
        'context.facts.quality.auc_lower.greaterThan(decimal("0.65001")) };',
        "x.y",
    ),
    (
        '@id("x.y") @advice("x") forbid (principal, action == Assay::Action::"promote", resource) '
        "unless { context.facts has luck.amount && context.facts.luck.amount > 3 };",
        r"luck\.amount, which nobody declares",
    ),
]


@pytest.mark.parametrize(("policy", "why"), POLICIES)
def test_a_faulty_policy_is_refused_with_file_and_remedy(
    folder: Path, declarations: Declared, policy: str, why: str
) -> None:
    (folder / "x.cedar").write_text(policy)
    with pytest.raises(Usage, match=why) as caught:
        build(folder, declarations)
    assert caught.value.message.startswith("x.cedar")
    assert caught.value.remedy


def test_text_that_is_not_utf8_or_too_long_is_refused(folder: Path, declarations: Declared) -> None:
    (folder / "x.cedar").write_bytes(b"// \xff")
    with pytest.raises(Usage, match="not UTF-8"):
        build(folder, declarations)
    (folder / "x.cedar").write_bytes(b"// " + b"x" * (1 << 20))
    with pytest.raises(Usage, match="larger than"):
        build(folder, declarations)


SETTINGS: list[tuple[str, str, str]] = [
    ("min_rows = 200", "", "min_rows missing"),
    ("min_rows = 200", "min_rows = 200\nluck = 7", "'luck' is no setting"),
    ("min_rows = 200", 'min_rows = "200"', "not a whole number"),
    ("min_rows = 200", "min_rows = 200.0", "not a whole number"),
    ("min_rows = 200", "min_rows = true", "not a whole number"),
    ("min_rows = 200", "min_rows = -1", "out of range"),
    ("min_rows = 200", "min_rows = 9007199254740993", "out of range"),
    ("min_rows = 200", "min_rows = 200\nmin_rows = 3", "settings.toml"),
    ('"0.6500"', "0.65", "not a decimal in quotes"),
    ('"0.6500"', '"0.65001"', "not a decimal in quotes"),
    ('"0.6500"', '"NaN"', "not a decimal in quotes"),
    ('"0.6500"', '"1"', "not a decimal in quotes"),
    ('"0.6500"', '"٠.٩"', "not a decimal in quotes"),
    ('"0.6500"', '"99999999999999999.0"', "not a decimal in quotes"),
    ('["local"]', '"local"', "not a list"),
    ('["local"]', "[]", "not a list"),
    ('["local"]', "[3]", "not a list"),
    ('["local"]', '[""]', "not a list"),
    ("licences_denied = []", "licences_denied = [1]", "SPDX"),
    ("licences_declared = []", 'licences_declared = ["scipy"]', "NAME = LICENCE"),
    ("licences_declared = []", 'licences_declared = ["a = MIT = b"]', "NAME = LICENCE"),
    ("high_risk = false", "high_risk = 0", "neither true nor false"),
    ("step_ports = []", "step_ports = [0]", "not a list of TCP ports"),
    ("step_ports = []", "step_ports = [65536]", "not a list of TCP ports"),
    ("step_ports = []", "step_ports = [true]", "not a list of TCP ports"),
    ("step_ports = []", 'step_ports = ["443"]', "not a list of TCP ports"),
    ("step_ports = []", "step_ports = 443", "not a list"),
    ("step_ports = []", "", "step_ports missing"),
    ("step_variables = []", 'step_variables = ["A=B"]', "not a list of names of environment"),
    ("step_variables = []", 'step_variables = [""]', "not a list of names of environment"),
    ("step_variables = []", "step_variables = [3]", "not a list of names of environment"),
    ("step_processes = false", 'step_processes = "no"', "neither true nor false"),
    ('executors = ["local", "ray"]', "executors = []", "at least one name"),
    ('= ["declared", "observed", "verified"]', "= []", "at least one name"),
    ('= ["declared", "observed", "verified"]', '= ["verified", "guessed"]', "has guessed"),
    ("\n[default]\n", "\n[defaults]\n", "no section"),
    ("# [projects.fraud]", "[projects.Fraud]", "Fraud"),
    ("# [projects.fraud]", "[projects.fraud]\nluck = 1", r"\[projects.fraud\]: 'luck'"),
    ("# [projects.fraud]", "[projects]\nfraud = 1", "not a table"),
]


@pytest.mark.parametrize(("old", "new", "why"), SETTINGS)
def test_a_faulty_setting_is_refused(
    folder: Path, declarations: Declared, old: str, new: str, why: str
) -> None:
    edit(folder, "settings.toml", old, new)
    with pytest.raises(Usage, match=why) as caught:
        build(folder, declarations)
    assert "settings.toml" in caught.value.message or "project" in caught.value.message
    assert caught.value.remedy


def test_a_project_may_grant_its_steps_what_others_may_not_use(
    folder: Path, declarations: Declared
) -> None:
    own = (
        "[projects.fraud]\nstep_ports = [443, 5432]\nstep_variables = ['TZ', '_X1']\n"
        "step_processes = true\nexecutors = ['ray']\nprovenance_levels = ['verified']"
    )
    edit(folder, "settings.toml", "# [projects.fraud]", own)
    limits = settings.limits(build(folder, declarations).settings, "fraud")
    assert limits["step_ports"] == [443, 5432]
    assert limits["step_variables"] == ["TZ", "_X1"]
    assert (limits["step_processes"], limits["executors"]) == (True, ["ray"])
    assert limits["provenance_levels"] == ["verified"]


def test_a_project_has_its_own_limits(folder: Path, declarations: Declared) -> None:
    edit(folder, "settings.toml", "# [projects.fraud]", "[projects.fraud]\nmin_approvers = 3")
    made = build(folder, declarations)
    assert made.settings["projects"] == {"fraud": {"min_approvers": 3}}
    assert made.settings["default"]["min_approvers"] == 2


PRODUCERS: list[tuple[str, str]] = [
    ('key_kind = "workspace"', 'key_kind = "anyone"'),
    ('key_kind = "workspace"', ""),
    ('key_kind = "workspace"', 'key_kind = "workspace"\nextra = 1'),
    ('producer = "assay.assess.quality/1"', 'producer = ""'),
    ('producer = "assay.assess.quality/1"', "producer = 1"),
    ('["https://assay.dev/evidence/quality/v1"]', "[]"),
    ('"assay.assess.privacy/1"\npredicate_types = ["https://assay.dev/evidence/privacy-membership/v1"]',
     '"assay.assess.quality/1"\npredicate_types = ["https://assay.dev/evidence/quality/v1"]'),
    ("# Whose", "everyone = true\n# Whose"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), PRODUCERS)
def test_a_faulty_producer_is_refused(
    folder: Path, declarations: Declared, old: str, new: str
) -> None:
    edit(folder, "producers.toml", old, new)
    with pytest.raises(Usage, match=r"producers\.toml") as caught:
        build(folder, declarations)
    assert caught.value.remedy


def fact(**changes: Any) -> dict[str, Any]:
    return {
        "name": "x.y",
        "type": "long",
        "predicate_type": "https://example.com/x/v1",
        "path": "y",
        "worse": "lower",
        "order": [],
        "description": "y",
        "remedy": "",
        "seconds": 0,
        **changes,
    }


FACTS: list[tuple[list[dict[str, Any]], str]] = [
    ([fact(name="x")], "its name"),
    ([fact(name="")], "its name"),
    ([fact(name="x..y")], "its name"),
    ([fact(name="X.y")], "its name"),
    ([fact(name="x.y: Long, z")], "its name"),
    ([fact(name='x."y"')], "its name"),
    ([fact(name="x.if")], "its name"),
    ([fact(name="x.y\n")], "its name"),
    ([fact(name=3)], "name"),
    ([fact(type="float")], "type"),
    ([fact(type="set")], "type"),
    ([fact(worse="false")], "worse"),
    ([fact(type="bool")], "worse"),
    ([fact(type="string", worse="lower")], "worse"),
    ([fact(order=["a"])], "order"),
    ([fact(type="string", worse="", order=["a", "a"])], "order"),
    ([fact(path="")], "path"),
    ([fact(seconds=-1)], "seconds"),
    ([fact(seconds="1")], "seconds"),
    ([fact(remedy="run {this}")], "this"),
    ([fact(extra=1)], "extra"),
    ([fact(), fact()], "two assessors"),
    ([fact(), fact(name="x.y.z")], "declared too"),
    ([{}], "name"),
]


@pytest.mark.parametrize(("facts", "why"), FACTS)
def test_a_faulty_declaration_is_refused(
    folder: Path, declarations: Declared, facts: Declared, why: str
) -> None:
    with pytest.raises(Usage, match=why) as caught:
        build(folder, [*declarations, *facts])
    assert caught.value.remedy


def test_a_gate_over_a_fact_of_a_new_assessor_works(folder: Path, declarations: Declared) -> None:
    (folder / "x.cedar").write_text(
        '@id("x.fair") @advice("Unfair.") '
        'forbid (principal, action == Assay::Action::"promote", resource) '
        "unless { context.facts has fair.groups.gap && context.facts.fair.groups.gap < 5 };"
    )
    new = fact(name="fair.groups.gap", worse="higher", remedy="assay fair {model}", seconds=3)
    made = build(folder, [*declarations, new])
    (gate,) = [g for g in Engine(made).gates("promote") if g.gate == "x.fair"]
    assert (gate.remedy, gate.seconds) == ("assay fair {model}", 3)
    assert check(made) != []


def test_no_error_of_a_policy_is_other_than_one_of_ours(
    folder: Path, declarations: Declared
) -> None:
    for name in ("settings.toml", "producers.toml", "tests.toml"):
        kept = (folder / name).read_bytes()
        for damage in (
            b"\xff",
            b"= 3",
            b"[" * 3000,
            b"x = 2026-01-01",
            b"now = 1.5",
            kept[: len(kept) // 2],
        ):
            (folder / name).write_bytes(damage)
            with pytest.raises(AssayError):
                build(folder, declarations)
        (folder / name).write_bytes(kept)
    assert bundles.build(folder, declarations)
