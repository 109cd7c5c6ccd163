"""The rules of the house: who may import whom, and what every package says about itself."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import assay

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "assay"

FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"errors", "clock", "ids", "canonical", "types", "files", "plugins", "__init__"}),
    frozenset({"evidence", "store", "policy", "isolation", "formats"}),
    frozenset({"catalog"}),
    frozenset(
        {"workspace", "pipeline", "data", "assess", "supply", "serve", "monitor", "govern"}
        | {"confidential", "llm", "ci"}
    ),
    frozenset({"actions"}),
    frozenset({"cli", "server"}),
    frozenset({"demo", "__main__"}),
)
"""Imports go down only; the parts of one floor stand beside each other.  Floor 0 is one part."""

FLOOR_OF = {part: number for number, parts in enumerate(FLOORS) for part in parts}

ONLY_IN = {"sqlalchemy": {"catalog"}, "alembic": {"catalog"}, "cedarpy": {"policy"}}
"""Libraries that have one home: the index has one owner, and only one part decides."""

FLOOR_0_LIBRARIES = {"msgspec", "rfc8785", "uuid6"}

HEAVY = {
    *("numpy", "scipy", "sklearn", "polars", "pandas", "pyarrow", "onnx", "onnxruntime"),
    *("skops", "skl2onnx", "lightgbm", "xgboost", "sqlalchemy", "alembic", "cedarpy"),
    *("starlette", "uvicorn", "obstore", "typer", "rich"),
}

PARTS_OF_A_DOCSTRING = ("What lives here", "May import", "An attacker who owns it can")

MODULES = sorted(SOURCE.rglob("*.py"))
PACKAGES = sorted({module.parent for module in MODULES})
MOST_LINES = 450


def part_of(module: str) -> str | None:
    """The part of the house a dotted name lies in: ``assay.store.sealing`` -> ``store``."""
    root, _, rest = module.partition(".")
    if root != "assay":
        return None
    return rest.split(".")[0] or "__init__"


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Every module a file imports, as (line, dotted name): inside functions too."""
    return imports_in(path.read_bytes(), ("assay", *path.relative_to(SOURCE).parent.parts))


def imports_in(text: bytes, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = list(package[: len(package) - level + 1]) if level else []
                name = ".".join([*base, *([module] if module else [])])
                # `from assay import errors` imports the submodule.
                if name == "assay":
                    yield from ((node.lineno, f"assay.{alias.name}") for alias in names)
                else:
                    yield node.lineno, name
            case ast.Call(
                func=ast.Name(id="__import__")
                | ast.Attribute(attr="import_module")
                | ast.Name(id="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node.lineno, name
            case _:
                pass


def part_of_file(path: Path) -> str:
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


def broken_rule(here: str, there: str) -> str | None:
    """Why a file in the part `here` may not import from the part `there`."""
    if here == there or there == "__init__":
        return None
    if there not in FLOOR_OF:
        return None if hasattr(assay, there) else f"assay has no part {there!r}"
    if FLOOR_OF[there] > FLOOR_OF[here]:
        return f"floor {FLOOR_OF[here]} imports from floor {FLOOR_OF[there]}, above it"
    if FLOOR_OF[there] == FLOOR_OF[here] != 0:
        return f"parts of floor {FLOOR_OF[here]} do not import each other"
    return None


def test_every_part_of_the_house_has_a_floor() -> None:
    parts = {part_of_file(path) for path in MODULES}
    assert parts <= FLOOR_OF.keys(), f"give {sorted(parts - FLOOR_OF.keys())} a floor in FLOORS"


def test_imports_go_down_only() -> None:
    broken: list[str] = []
    for path in MODULES:
        here = part_of_file(path)
        for line, module in imported(path):
            there = part_of(module)
            if there is not None and (why := broken_rule(here, there)):
                broken.append(f"{path.relative_to(ROOT)}:{line}: {module}: {why}")
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    ("here", "there", "allowed"),
    [
        ("store", "files", True),
        ("store", "evidence", False),
        ("errors", "canonical", True),
        ("errors", "evidence", False),
        ("catalog", "evidence", True),
        ("workspace", "assess", False),
        ("assess", "workspace", False),
        ("assess", "data", False),
        ("assess", "cli", False),
        ("actions", "workspace", True),
        ("actions", "assess", True),
        ("cli", "actions", True),
        ("cli", "server", False),
        ("workspace", "actions", False),
    ],
)
def test_the_rule_itself_allows_and_refuses(here: str, there: str, allowed: bool) -> None:
    assert (broken_rule(here, there) is None) is allowed


def test_imports_are_found_wherever_they_hide() -> None:
    text = (
        b"import assay.cli.app as a\n"
        b"from assay import workspace\n"
        b"def f():\n"
        b"    from ..policy import engine\n"
        b"    import importlib\n"
        b"    importlib.import_module('assay.govern')\n"
    )
    found = {part_of(module) for _, module in imports_in(text, ("assay", "store"))}
    assert found == {"cli", "workspace", "policy", "govern", None}


def test_libraries_with_one_home_stay_there() -> None:
    broken: list[str] = []
    for path in MODULES:
        here = part_of_file(path)
        for line, module in imported(path):
            library = module.split(".")[0]
            if here not in ONLY_IN.get(library, {here}):
                broken.append(f"{path.relative_to(ROOT)}:{line}: {library} is not for {here}")
            third_party = library not in sys.stdlib_module_names and library != "assay"
            if FLOOR_OF[here] == 0 and third_party and library not in FLOOR_0_LIBRARIES:
                broken.append(f"{path.relative_to(ROOT)}:{line}: {library} is not for floor 0")
    assert not broken, "\n".join(broken)


def test_every_package_says_what_it_is_and_what_its_owner_can_do() -> None:
    broken: list[str] = []
    for package in PACKAGES:
        if "migrations" in package.parts:
            continue  # Scripts that Alembic loads by path.
        init = package / "__init__.py"
        if not init.exists():
            broken.append(f"{package.relative_to(ROOT)} has no __init__.py")
            continue
        text = ast.get_docstring(ast.parse(init.read_bytes())) or ""
        missing = [part for part in PARTS_OF_A_DOCSTRING if part not in text]
        if missing:
            broken.append(f"{init.relative_to(ROOT)} does not say: {', '.join(missing)}")
    assert not broken, "\n".join(broken)


def test_files_can_be_read_in_one_sitting() -> None:
    lines = {path.relative_to(ROOT): path.read_bytes().count(b"\n") for path in MODULES}
    long = {str(path): count for path, count in lines.items() if count > MOST_LINES}
    assert not long, f"over {MOST_LINES} lines, split by concept: {long}"


def test_nothing_prints() -> None:
    printing = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"print", "pprint"}
    ]
    assert not printing, f"use the skin's console: {printing}"


def loaded_by(*modules: str) -> set[str]:
    """The names of all modules in a fresh process that imported `modules`."""
    code = (
        "import sys, json, importlib; before = set(sys.modules);"
        f"[importlib.import_module(name) for name in {modules!r}];"
        "json.dump(sorted(set(sys.modules) - before), sys.stdout)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    return set(json.loads(done.stdout))


def test_importing_assay_loads_nothing_but_itself() -> None:
    assert loaded_by("assay") == {"assay"}


def test_floor_0_loads_only_its_libraries() -> None:
    loaded = loaded_by(*(f"assay.{name}" for name in sorted(FLOORS[0] - {"__init__"})))
    assert {name.split(".")[0] for name in loaded} & HEAVY == set()


@pytest.mark.parametrize(
    "package",
    [
        package.name
        for package in PACKAGES
        if 0 < FLOOR_OF.get(package.name, 0) <= FLOOR_OF["serve"]
    ],
)
def test_a_package_loads_no_framework_until_a_module_of_it_is_used(package: str) -> None:
    loaded = {name.split(".")[0] for name in loaded_by(f"assay.{package}")}
    assert loaded & HEAVY == set()


def declared_dependencies() -> set[str]:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = pyproject["project"]
    build = (ROOT / "requirements" / "build.in").read_text().splitlines()
    listed = [
        *project["dependencies"],
        *(item for extra in project["optional-dependencies"].values() for item in extra),
        *pyproject["dependency-groups"]["dev"],
        *(line for line in build if line and not line.startswith("#")),
    ]
    names = {re.match(r"[A-Za-z0-9_.-]+", item)[0].lower() for item in listed}  # pyright: ignore[reportOptionalSubscript]
    return names - {"assay"}


def test_each_dependency_has_its_line_and_each_line_its_dependency() -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| ")]
    named = {name.strip() for row in rows for name in row.split(",")} - {"package"}
    assert named == declared_dependencies()


@pytest.mark.parametrize("lock", ["core", "demo", "dev"])
def test_each_lock_pins_every_line_by_hash_and_names_no_index(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    pinned = re.findall(r"^[a-z0-9][^\n]*", text, re.M)
    assert pinned
    assert all("==" in line and line.endswith("\\") for line in pinned)
    assert not re.search(r"^\s*-(-index|-extra-index|-find-links|i |f )", text, re.M)
    assert "file://" not in text


def test_the_smaller_locks_are_parts_of_the_developers_lock() -> None:
    def pins(lock: str) -> set[str]:
        text = (ROOT / "requirements" / f"{lock}.txt").read_text()
        return {line.split(" ")[0] for line in text.splitlines() if re.match(r"[a-z0-9]", line)}

    assert pins("core") <= pins("demo") <= pins("dev")
