"""The documentation, held to the code: what it names exists, and what exists is named."""

from __future__ import annotations

import ast
import functools
import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from assay import types
from assay.evidence.changes import CHANGES
from assay.policy import rules, schema, settings
from assay.workspace.layout import Config

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src" / "assay"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [*DOCS, *(ROOT / n for n in ("README.md", "CONTRIBUTING.md", "SECURITY.md"))]
FORMATS = ROOT / "docs" / "formats.md"
THREATS = ROOT / "docs" / "threat-model.md"
OPERATE = ROOT / "docs" / "operate.md"
POLICY = ROOT / "docs" / "roles-and-policy.md"

_FORMAT = re.compile(r"\bassay/[a-z][a-z-]*/v[0-9]+\b")
_FENCE = re.compile(r"^```([a-z]*)(?: file=\S+)?\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def prose(path: Path) -> str:
    """A page without its code blocks."""
    return _FENCE.sub("", text(path))


def sources() -> list[Path]:
    return sorted(SRC.rglob("*.py"))


def ids(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


# -- formats --------------------------------------------------------------------------------------


def test_every_format_in_the_code_is_described_and_every_described_one_is_in_the_code() -> None:
    written = {name for path in sources() for name in _FORMAT.findall(text(path))}
    assert set(_FORMAT.findall(text(FORMATS))) == written


def _literal_kinds(path: Path) -> Iterator[str]:
    """Predicate kinds that a file names: in `attest`, `_statement`, `predicate_type`, or `KIND`."""
    for node in ast.walk(ast.parse(text(path))):
        if isinstance(node, ast.Call) and node.args:
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            first = node.args[0]
            if called in ("attest", "_statement", "predicate_type") and isinstance(
                first, ast.Constant
            ):
                yield str(first.value)
        elif (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Constant)
            and [getattr(target, "id", "") for target in node.targets] == ["KIND"]
        ):
            yield str(node.value.value)


def _described_kinds() -> dict[str, str]:
    """Kind → its row in the tables of predicates."""
    section = text(FORMATS).partition("\n## Predicates\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([a-z-]+)` (\|.*)$", section, re.MULTILINE)
    return dict(rows)


def test_every_predicate_kind_in_the_code_is_described_and_every_described_one_is_in_the_code() -> (
    None
):
    used = {kind for path in sources() for kind in _literal_kinds(path)} | set(CHANGES)
    assert set(_described_kinds()) == used


@pytest.mark.parametrize("kind", sorted(CHANGES))
def test_every_field_that_changes_the_state_is_described(kind: str) -> None:
    row = _described_kinds()[kind]
    wanted = set(CHANGES[kind].predicate.__struct_fields__)
    assert wanted <= set(re.findall(r"`([a-z_0-9]+)`", row))


@pytest.mark.parametrize("kind", sorted(k for k in CHANGES if CHANGES[k].actions))
def test_the_actions_that_may_change_the_state_are_described(kind: str) -> None:
    named = set(re.findall(r"`([a-zA-Z]+)`", _described_kinds()[kind]))
    assert CHANGES[kind].actions <= named


def test_every_key_of_assay_toml_is_described() -> None:
    section = text(FORMATS).partition("`assay/config/v1`: assay.toml\n")[2].partition("\n## ")[0]
    rows = "".join(re.findall(r"^\|([^|]*)\|", section, re.MULTILINE))
    assert set(re.findall(r"`([a-z_]+)`", rows)) == set(Config.__struct_fields__)


# -- commands -------------------------------------------------------------------------------------

_WORDS = re.compile(r"`(assay(?: [^`\n]+)?)`")


@functools.cache
def command_tree() -> Any:
    from assay.cli.app import app

    return typer.main.get_command(app)


def _shell_commands(block: str) -> Iterator[str]:
    """The `assay ...` commands of a block of shell, without prompts, pipes and redirections."""
    for line in block.replace("\\\n", " ").splitlines():
        for start in re.finditer(r"(?:^|[\s(])(assay [^)]*)", line):
            lexer = shlex.shlex(start[1], posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            words = list(itertools.takewhile(lambda word: not set(word) <= set("<>|&;()"), lexer))
            yield shlex.join(words)


def documented_commands(path: Path) -> list[str]:
    """Every command line of a page or an example."""
    if path.suffix != ".md":
        return [c for c in _shell_commands(text(path)) if "{" not in c]
    found = [
        c
        for kind, b in _FENCE.findall(text(path))
        if kind in ("sh", "console", "")
        for c in _shell_commands(b)
    ]
    return found + [words for words in _WORDS.findall(prose(path)) if "…" not in words]


def command_error(line: str, *, whole: bool) -> str:
    """Why a command line does not parse, or nothing.  Only a `whole` one must be complete."""
    command = command_tree()
    words = shlex.split(line)[1:]
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        # `assay keys backup|recover` in prose is about each of them.
        names = words.pop(0).split("|")
        opens = {"resume", "reject"} & set(command.commands)
        if opens and names[0] not in command.commands:
            # `assay run FILE` and `assay intake SOURCE`, whose first word is no command of theirs.
            command = command.resolve_command(None, names)[1]
            words.insert(0, "FILE")
            break
        if set(command.commands) >= {"comment"} and names[0] not in command.commands:
            names = ["run"]  # `assay ci FILE`
            words.insert(0, "FILE")
        if gone := [name for name in names if name not in command.commands]:
            return f"there is no {gone[0]!r} in {sorted(command.commands)}"
        command = command.commands[names[0]]
    context = typer.Context(command, info_name=line)
    try:
        given, rest, _ = command.make_parser(context).parse_args(list(words))
    except typer.TyperException as error:
        return error.format_message()
    if rest:
        return f"{rest[0]!r} is one argument too many"
    for parameter in command.get_params(context):
        value = given.get(str(parameter.name))
        if whole and parameter.required and value in (None, ()):
            return f"{parameter.name} is missing"
    return ""


def _pages_with_commands() -> list[Path]:
    examples = [p for p in (ROOT / "examples").rglob("*") if p.is_file() and "__" not in str(p)]
    shells = [p for p in examples if p.suffix in ("", ".sh", ".md")]
    return [*DOCS, ROOT / "README.md", *sorted(shells)]


@pytest.mark.parametrize("page", _pages_with_commands(), ids=ids(_pages_with_commands()))
def test_every_command_on_a_page_exists_with_its_options(page: Path) -> None:
    blocks = set[str]()
    if page.suffix != ".md":
        blocks = set(documented_commands(page))
    else:
        for _, block in _FENCE.findall(text(page)):
            blocks |= set(_shell_commands(block))
    wrong = {
        line: error
        for line in documented_commands(page)
        if (error := command_error(line, whole=line in blocks))
    }
    assert not wrong


def test_a_command_that_does_not_exist_is_noticed() -> None:
    assert "no 'enchant'" in command_error("assay model enchant credit@3", whole=False)
    assert "--sparkle" in command_error("assay promote credit@3 --sparkle", whole=False)
    assert "missing" in command_error("assay promote credit@3", whole=True)
    assert "too many" in command_error(
        "assay promote credit@3 credit@4 --to production", whole=True
    )
    assert not command_error("assay promote credit@3 --to production", whole=True)


def test_remedies_in_the_code_name_commands_that_exist() -> None:
    wrong: dict[str, str] = {}
    for path in sources():
        for node in ast.walk(ast.parse(text(path))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for line in re.findall(r"`(assay [a-z][^`\n]*)`", node.value):
                    if "…" not in line and (error := command_error(line, whole=False)):
                        wrong[f"{path.name}:{node.lineno}: {line}"] = error
    assert not wrong


# -- what else is said of the code ----------------------------------------------------------------


def test_every_environment_variable_is_described() -> None:
    read = {name for path in sources() for name in re.findall(r"\bASSAY_[A-Z_]+\b", text(path))}
    assert read == set(re.findall(r"`(ASSAY_[A-Z_]+)`", text(OPERATE)))


def test_every_exit_status_is_described() -> None:
    from assay import errors

    kinds = [
        e for e in vars(errors).values() if isinstance(e, type) and e.__module__ == "assay.errors"
    ]
    rows = dict(re.findall(r"^\| ([0-9]+) \| (.*) \|$", text(OPERATE), re.MULTILINE))
    for error in kinds:
        if error is not errors.AssayError:
            assert f"`{error.kind}`" in rows[str(error.exit_status)]


def test_every_limit_of_the_policy_is_described_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| `([^`]+)` \|", text(POLICY), re.MULTILINE))
    shown = {name: settings._toml(value) for name, value in settings.DEFAULTS.items()}
    assert {name: rows.get(name) for name in shown} == shown


def _default_rules() -> list[rules.Rule]:
    folder = SRC / "policy" / "defaults"
    return rules.read({path.name: text(path) for path in folder.glob("*.cedar")})


def test_every_gate_of_the_default_policy_is_described() -> None:
    gates = {rule.id for rule in _default_rules() if rule.effect == "forbid"}
    assert set(re.findall(r"^\| `([a-z]+\.[a-z_]+)` \|", text(POLICY), re.MULTILINE)) == gates


@pytest.mark.parametrize("role", [*types.PROJECT_ROLES, "admin"])
def test_what_a_role_may_do_is_described_as_the_default_policy_has_it(role: str) -> None:
    full = f"_workspace/{role}" if role == "admin" else role
    allowed: set[str] = set()
    for rule in _default_rules():
        if rule.effect == "permit" and full in rule.roles:
            assert rule.actions is not None
            allowed |= rule.actions
    row = re.search(rf"^\| `{re.escape(full)}` \|[^|]*\|([^|]*)\|$", text(POLICY), re.MULTILINE)
    assert row is not None
    described = set(re.findall(r"`([a-zA-Z]+)`", row[1])) & set(schema.ACTIONS)
    assert described == allowed


# -- the threat model -----------------------------------------------------------------------------

_TEST = re.compile(r"`(tests/[a-z_/]+\.py)::(test_[a-z0-9_]+)`")


@functools.cache
def _tests_in(path: Path) -> frozenset[str]:
    return frozenset(
        node.name
        for node in ast.walk(ast.parse(text(path)))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


@pytest.mark.parametrize("page", PAGES, ids=ids(PAGES))
def test_every_test_that_a_page_cites_exists(page: Path) -> None:
    gone = [
        f"{path}::{name}"
        for path, name in _TEST.findall(text(page))
        if not (ROOT / path).is_file() or name not in _tests_in(ROOT / path)
    ]
    assert not gone


def test_every_item_of_the_threat_lists_has_a_row_with_a_test_or_says_that_it_has_none() -> None:
    rows = re.findall(r"^\| (ML0[1-9]|ML10|MLSecOps [0-9]+)\b.*$", text(THREATS), re.MULTILINE)
    expected = [f"MLSecOps {n}" for n in range(1, 11)] + [f"ML{n:02}" for n in range(1, 11)]
    assert rows == expected
    for row in re.findall(r"^\| (?:ML|MLSecOps )[0-9].*$", text(THREATS), re.MULTILINE):
        assert _TEST.search(row) or "*not yet*" in row or "*no control*" in row, row


@pytest.mark.parametrize("role", [*types.PROJECT_ROLES, "administrator", "workspace key"])
def test_every_insider_has_a_row(role: str) -> None:
    inside = text(THREATS).partition("\n## Insiders\n")[2].partition("\n## ")[0]
    assert re.search(rf"^\| [^|]*{re.escape(role)}[^|]* \|", inside, re.MULTILINE)


# -- links ----------------------------------------------------------------------------------------


def _anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as the common renderers make them."""
    heads = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=ids(PAGES))
def test_every_link_into_the_repository_resolves(page: Path) -> None:
    broken: list[str] = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        inside = path.is_relative_to(ROOT) and path.exists()
        if not inside or (anchor and anchor not in _anchors(path)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=ids(PAGES))
def test_no_page_names_a_folder_of_somebodys_machine(page: Path) -> None:
    assert not re.findall(r"(?<![\w.~])/(?:home|work|root|Users)/\S*", text(page))


def test_every_page_is_on_the_map() -> None:
    linked = set(re.findall(r"\]\(([a-z-]+\.md)", text(ROOT / "docs" / "index.md")))
    assert linked == {path.name for path in DOCS} - {"index.md"}


def test_every_extension_point_is_described() -> None:
    from assay.plugins import GROUPS

    assert set(
        re.findall(r"^\| `(assay\.[a-z_]+)` \|", text(ROOT / "docs" / "extend.md"), re.M)
    ) == (set(GROUPS))
