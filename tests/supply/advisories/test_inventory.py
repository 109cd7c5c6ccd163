"""The packages of bills of materials, requirement files and environments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from osv_records import NOW

from assay.errors import Usage
from assay.supply.advisories import cyclonedx_vex, inventory, vex
from assay.supply.advisories.inventory import from_bom, from_purl, from_requirements
from assay.supply.advisories.matching import Package


@pytest.mark.parametrize(
    ("purl", "expected"),
    [
        ("pkg:pypi/torch@2.5.1", ("PyPI", "torch", "2.5.1")),
        ("pkg:pypi/torch@2.6.0%2Bcu124?arch=x#y", ("PyPI", "torch", "2.6.0+cu124")),
        ("pkg://pypi/torch@2.5.1", ("PyPI", "torch", "2.5.1")),
        ("pkg:PyPI/Torch", ("PyPI", "Torch", "")),
        ("pkg:npm/%40angular/core@1.2.3", ("npm", "@angular/core", "1.2.3")),
        ("pkg:npm/@angular/core@1.2.3", ("npm", "@angular/core", "1.2.3")),
        ("pkg:npm/@angular/core", ("npm", "@angular/core", "")),
        ("pkg:cargo/serde@1.0.0", ("crates.io", "serde", "1.0.0")),
        ("pkg:deb/debian/curl@7.50.3-1", ("deb", "debian/curl", "7.50.3-1")),
        ("pkg:huggingface/org/model@abc", ("Hugging Face", "org/model", "abc")),
    ],
)
def test_package_urls_are_read(purl: str, expected: tuple[str, str, str]) -> None:
    found = from_purl(purl)
    assert found is not None
    assert (found.ecosystem, found.name, found.version) == expected


@pytest.mark.parametrize(
    "bad", ["", "torch", "pkg:", "pkg:pypi", "pkg:pypi/", "http://x/y", "x" * 9]
)
def test_what_is_no_package_url_is_none(bad: str) -> None:
    assert from_purl(bad) is None


@given(st.text(max_size=40), st.text(max_size=12))
@settings(max_examples=100, deadline=None)
def test_any_text_is_a_package_or_none(text: str, version: str) -> None:
    for purl in (text, f"pkg:pypi/{text}@{version}", f"pkg:{text}"):
        found = from_purl(purl)
        assert found is None or found.name


def bom(*components: Any, **more: Any) -> dict[str, Any]:
    return {"bomFormat": "CycloneDX", "specVersion": "1.7", "components": list(components), **more}


def library(name: str, version: str = "1.0", **more: Any) -> dict[str, Any]:
    purl = f"pkg:pypi/{name}@{version}"
    return {"type": "library", "name": name, "version": version, "purl": purl, **more}


def test_every_library_of_a_document_is_a_package_nested_ones_too() -> None:
    found = from_bom(
        bom(
            library("a", components=[library("b", components=[library("c")])]),
            {"type": "framework", "name": "d", "version": "2"},
            {"type": "library", "name": "e", "version": "3", "purl": "pkg:pypi/e"},
            {"type": "library"},
            metadata={
                "component": {"type": "machine-learning-model", "components": [library("f")]}
            },
        )
    )
    assert {(p.ecosystem, p.name, p.version) for p in found} == {
        ("PyPI", "a", "1.0"),
        ("PyPI", "b", "1.0"),
        ("PyPI", "c", "1.0"),
        ("PyPI", "f", "1.0"),
        ("PyPI", "e", "3"),
        ("", "d", "2"),
        ("", "", ""),
    }


def test_a_library_called_something_else_is_looked_up_all_the_same() -> None:
    found = from_bom(
        bom(
            library("hidden", type="data"),
            library("file", type="file"),
            {"type": "data", "name": "rows", "version": "1"},
            {"type": "machine-learning-model", "name": "m", "purl": "pkg:huggingface/o/m@1"},
            library("tool", type="application", scope="excluded"),
            {"type": "application", "name": "scanner", "scope": "excluded"},
            {"type": "application", "name": "server"},
        )
    )
    assert [p.name for p in found] == ["hidden", "file", "tool", "server"]


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"bomFormat": "SPDX"},
        bom(components="x") | {"components": "x"},
        bom("x"),
        bom({"components": [1]}),
        bom({"components": {"a": 1}}),
    ],
)
def test_a_document_that_cannot_be_read_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(Usage, match="bill of materials"):
        from_bom(bad)


def test_components_nested_without_end_are_refused() -> None:
    told = library("x")
    for _ in range(100):
        told = library("y", components=[told])
    with pytest.raises(Usage, match="nested"):
        from_bom(bom(told))


def test_a_lock_with_hashes_is_read_and_what_has_no_exact_version_has_none() -> None:
    text = """
# made by a tool
numpy==2.0.1 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
torch===2.5.1+cpu ; python_version < "3"   # a comment
scipy>=1.0
pandas==2.*
requests[socks]==2.32.4
odd==1.0,<2
thing @ https://example.org/thing-1.0.whl
./local
-e .
-r other.txt
--index-url https://pypi.org/simple
"""
    found = [(p.name, p.version) for p in from_requirements(text)]
    assert found == [
        ("numpy", "2.0.1"),
        ("torch", "2.5.1+cpu"),
        ("scipy", ""),
        ("pandas", ""),
        ("requests", "2.32.4"),
        ("odd", ""),
        ("thing", ""),
        ("./local", ""),
        ("-e .", ""),
        ("-r other.txt", ""),
    ]


def test_files_and_folders_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "bom.json").write_text(json.dumps(bom(library("a"))))
    (tmp_path / "r.txt").write_text("\ufeffa==1.0\n", encoding="utf-8")
    for name in ("bom.json", "r.txt"):
        assert [p.name for p in inventory.from_file(tmp_path / name)] == ["a"]
    raw = inventory.from_file_confined(str(tmp_path / "r.txt").encode())
    assert msgspec.json.decode(raw, type=list[Package]) == [Package("PyPI", "a", "1.0")]
    site = tmp_path / "site-packages"
    info = site / "a-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: a\nVersion: 1.0\n")
    assert inventory.from_file(site) == [Package("PyPI", "a", "1.0")]
    (tmp_path / "empty.txt").write_text("# nothing\n")
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for bad in ("empty.txt", "bad.json", "binary", "."):
        with pytest.raises(Usage):
            inventory.from_file(tmp_path / bad)


def test_locks_in_toml_are_read(tmp_path: Path) -> None:
    listed = '[[package{}]]\nname = "a"\nversion = "1.0"\n[[package{}]]\nname = "b"\n'
    for name, many in (("uv.lock", ""), ("pylock.toml", "s"), ("pylock.gpu.toml", "s")):
        (tmp_path / name).write_text(listed.format(many, many))
        found = inventory.from_file(tmp_path / name)
        assert [(p.name, p.version) for p in found] == [("a", "1.0"), ("b", "")]
    for bad in ("", "[", "package = 1", "[[package]]\nversion = '1'", "package = ['x']"):
        (tmp_path / "uv.lock").write_text(bad)
        with pytest.raises(Usage):
            inventory.from_file(tmp_path / "uv.lock")


def test_what_is_installed_here_is_found() -> None:
    assert {"msgspec", "packaging"} <= {package.name for package in inventory.installed()}


# -- VEX of CycloneDX -----------------------------------------------------------------------------


def said(state: str, ref: str = "t", **analysis: Any) -> dict[str, Any]:
    return {
        "id": "CVE-1",
        "analysis": {"state": state, **analysis},
        "affects": [{"ref": ref}],
    }


def converted(*vulnerabilities: Any) -> vex.Document:
    told = bom(library("torch", "2.5.1", **{"bom-ref": "t"}), vulnerabilities=list(vulnerabilities))
    return vex.decode(json.dumps(cyclonedx_vex.convert(told, at=NOW)))


def test_cyclonedx_vex_is_read_as_openvex() -> None:
    (told,) = converted(said("not_affected", justification="code_not_reachable")).statements
    assert told.status == "not_affected"
    assert told.justification == "vulnerable_code_not_in_execute_path"
    assert told.products[0].at_id == "pkg:pypi/torch@2.5.1"
    statuses = [
        s.status
        for s in converted(
            said("resolved"), said("exploitable", response=["update"]), said("in_triage")
        ).statements
    ]
    assert statuses == ["fixed", "affected", "under_investigation"]


@pytest.mark.parametrize(
    "told",
    [
        said("not_affected"),
        said("not_affected", justification="requires_configuration"),
        said("not_affected", justification=7),
        said("false_positive"),
        {"id": "CVE-1"},
    ],
)
def test_what_has_no_exact_counterpart_takes_nothing_away(told: dict[str, Any]) -> None:
    (statement,) = converted(told).statements
    assert not statement.lowers


def test_what_is_narrowed_to_versions_names_nothing_exactly() -> None:
    told = said("resolved")
    told["affects"][0]["versions"] = [{"version": "2.5.0"}]
    (statement,) = converted(told).statements
    assert vex.unexact(statement, [])


def test_a_document_without_vulnerabilities_is_no_vex() -> None:
    for bad in ((), ("x",), ({"id": ""},)):
        with pytest.raises(Usage):
            converted(*bad)
