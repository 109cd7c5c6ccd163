"""Licences: what is read, what is not guessed, and what a policy says."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import Unavailable, Usage
from assay.supply.licences import expressions, judge, judging, metadata, models, policy
from assay.supply.licences.expressions import UNKNOWN, normalise
from assay.supply.licences.policy import Policy

DEFAULT = Policy()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MIT", "MIT"),
        ("mit", "MIT"),
        ("GPL-3.0", "GPL-3.0-only"),
        ("mit or apache-2.0", "MIT OR Apache-2.0"),
        ("llama3.1", "LicenseRef-scancode-llama-3.1-license-2024"),
        ("gemma", "LicenseRef-scancode-gemma-tou-2024-04-01"),
        ("creativeml-openrail-m", "LicenseRef-CreativeML-OpenRAIL-M"),
        ("OpenMDW-1.0", "LicenseRef-scancode-openmdw-1.0"),
        ("LicenseRef-Llama-3-Community AND MIT", "LicenseRef-Llama-3-Community AND MIT"),
        *((text, UNKNOWN) for text in ("", "BSD", "Apache", "MIT/Apache-2.0", "see LICENSE")),
        *((text, UNKNOWN) for text in ("NOASSERTION", "other", "MIT OR nonsense", "MIT AND")),
        ("MIT OR " * 500 + "MIT", UNKNOWN),
        ("LicenseRef-anything-at-all", UNKNOWN),
    ],
)
def test_an_expression_is_one_whole_or_unknown(text: str, expected: str) -> None:
    assert normalise(text) == expected


@given(st.text(max_size=60))
@settings(max_examples=100, deadline=None)
def test_any_text_is_an_expression_or_unknown_and_stays_so(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once


def heads(**given: Any) -> dict[str, list[str]]:
    return {key.replace("_", "-"): [value] for key, value in given.items()}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (heads(license_expression="MIT"), "MIT"),
        (heads(license_expression="nonsense", license="MIT"), UNKNOWN),
        (heads(license="Apache License 2.0"), "Apache-2.0"),
        (heads(license="New BSD"), "BSD-3-Clause"),
        (heads(license="BSD"), UNKNOWN),
        (heads(license="Copyright 2020, all rights reserved"), UNKNOWN),
        (heads(classifier="License :: OSI Approved :: MIT License"), "MIT"),
        (heads(classifier="License :: OSI Approved :: BSD License"), UNKNOWN),
        (heads(classifier="License :: OSI Approved :: Apache Software License"), UNKNOWN),
        (heads(classifier="License :: OSI Approved"), UNKNOWN),
        (heads(license="BSD", classifier="License :: OSI Approved :: MIT License"), "MIT"),
        (
            {
                "classifier": [
                    "License :: OSI Approved :: MIT License",
                    "License :: OSI Approved :: GNU General Public License v3 (GPLv3)",
                ]
            },
            UNKNOWN,
        ),
        ({}, UNKNOWN),
    ],
)
def test_a_licence_is_what_the_metadata_says_and_never_a_guess(
    told: dict[str, list[str]], expected: str
) -> None:
    assert metadata.expression(told) == expected


def test_a_component_is_under_all_that_it_lists() -> None:
    listed = [{"license": {"id": "MIT"}}, {"expression": "Apache-2.0 OR GPL-3.0-only"}]
    assert metadata.of_component({"licenses": listed}) == "(MIT) AND (Apache-2.0 OR GPL-3.0-only)"
    for bad in (None, [], [{}], [1], [{"license": {"name": "mine"}}], [*listed, {"license": 3}]):
        assert metadata.of_component({"licenses": bad}) == UNKNOWN


@pytest.mark.parametrize(
    ("expression", "verdict"),
    [
        ("MIT", "allowed"),
        ("AGPL-3.0-only", "denied"),
        ("MIT OR AGPL-3.0-only", "allowed"),
        ("MIT AND AGPL-3.0-only", "denied"),
        ("(MIT OR AGPL-3.0-only) AND GPL-3.0-only", "review"),
        ("GPL-3.0-only", "review"),
        ("GPL-3.0-only WITH GCC-exception-3.1", "allowed"),
        ("AGPL-3.0-only WITH GCC-exception-3.1", "denied"),
        ("Apache-2.0 WITH LLVM-exception", "allowed"),
        ("CC-BY-NC-SA-2.5", "denied"),
        ("LicenseRef-scancode-llama-3.1-license-2024", "review"),
        ("LicenseRef-Qwen-RESEARCH", "denied"),
        (UNKNOWN, "unknown"),
        ("nonsense", "unknown"),
    ],
)
def test_the_default_policy_says(expression: str, verdict: str) -> None:
    assert DEFAULT.judge(expression) == verdict


def test_what_forbids_commercial_use_is_denied_although_it_is_allowed() -> None:
    lenient = Policy(allowed=("CC-BY-NC-2.0",), denied=())
    assert lenient.judge("CC-BY-NC-2.0") == "denied"
    research = Policy(allowed=("CC-BY-NC-2.0",), denied=(), commercial=False)
    assert research.judge("CC-BY-NC-2.0") == "allowed"


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_alternatives_take_the_best_and_conjunctions_the_worst(data: st.DataObject) -> None:
    pool = ["MIT", "GPL-3.0-only", "AGPL-3.0-only", "Apache-2.0"]
    parts = data.draw(st.lists(st.sampled_from(pool), min_size=1, max_size=4))
    verdicts = [policy.WORST[DEFAULT.judge(part)] for part in parts]
    assert policy.WORST[DEFAULT.judge(" AND ".join(parts))] == max(verdicts)
    assert policy.WORST[DEFAULT.judge(" OR ".join(parts))] == min(verdicts)


def test_what_is_signed_counts_everything_and_names_what_is_asked() -> None:
    told = judge(
        {
            "a@1": "MIT",
            "b@1": "AGPL-3.0-only",
            "c@1": "who knows",
            "model": "llama3.1",
            "data": "cc-by-nc-4.0",
        },
        DEFAULT,
    )
    assert (told["components"], told["denied_count"], told["unknown_count"]) == (5, 2, 1)
    assert told["denied"] == ["b@1: AGPL-3.0-only", "data: CC-BY-NC-4.0"]
    assert told["unknown"] == ["c@1"]
    asks = {o["licence"]: o["asks"] for o in told["obligations"]}
    assert "no commercial use" in asks["CC-BY-NC-4.0"]
    assert "commercial use is limited" in asks["LicenseRef-scancode-llama-3.1-license-2024"]
    assert not judging.allows(told)
    assert judging.allows(judge({"a@1": "MIT"}, DEFAULT))
    assert not judging.allows({})


def test_a_declaration_fills_in_what_nobody_said_and_overrides_nothing() -> None:
    declared = policy.from_mapping({"declared": {"odd": "MIT", "a@1": "MIT"}}, "test")
    told = judge({"odd@1": UNKNOWN, "odd@2": UNKNOWN, "a@1": "AGPL-3.0-only"}, declared)
    assert (told["unknown_count"], told["denied_count"]) == (0, 1)


def test_of_a_document_everything_is_judged_the_model_too() -> None:
    bom = {
        "bomFormat": "CycloneDX",
        "metadata": {
            "component": {
                "type": "machine-learning-model",
                "name": "m",
                "version": "1",
                "licenses": [{"license": {"name": "gemma"}}],
            }
        },
        "components": [
            {"type": "data", "name": "rows", "licenses": [{"license": {"id": "CC0-1.0"}}]},
            {"type": "library", "name": "a", "version": "1"},
            {"type": "file", "name": "weights.bin"},
            {"type": "library", "name": "b", "licenses": [{"expression": "MIT"}]},
            {"type": "library", "name": "b", "licenses": [{"expression": "AGPL-3.0-only"}]},
        ],
    }
    found = judging.from_bom(bom)
    assert found == {
        "m@1": "LicenseRef-scancode-gemma-tou-2024-04-01",
        "rows": "CC0-1.0",
        "a@1": UNKNOWN,
        "b": "(MIT) AND (AGPL-3.0-only)",
    }
    assert judge(found, DEFAULT)["denied"] == ["b: MIT AND AGPL-3.0-only"]
    with pytest.raises(Usage, match="no component"):
        judging.from_bom({"bomFormat": "CycloneDX"})


def test_only_what_is_an_organisations_own_is_internal() -> None:
    listed = [{"license": {"name": "internal"}}]
    own = [{"expression": models.INTERNAL}]
    for kind in ("data", "machine-learning-model"):
        assert metadata.of_component({"type": kind, "licenses": listed}) == models.INTERNAL
        assert DEFAULT.judge(metadata.of_component({"type": kind, "licenses": own})) == "allowed"
    for told in (listed, own, [{"expression": f"MIT OR {models.INTERNAL}"}]):
        assert metadata.of_component({"type": "library", "licenses": told}) == UNKNOWN
    for text in ("internal", models.INTERNAL):
        assert metadata.expression({"license-expression": [text]}) == UNKNOWN
        assert metadata.expression({"license": [text]}) == UNKNOWN


def test_a_tool_that_is_not_in_the_model_needs_no_licence_to_be_known() -> None:
    told = {
        "bomFormat": "CycloneDX",
        "components": [
            {"type": "application", "name": "scanner", "scope": "excluded"},
            {
                "type": "application",
                "name": "tool",
                "scope": "excluded",
                "licenses": [{"expression": "AGPL-3.0-only"}],
            },
            {"type": "application", "name": "server"},
        ],
    }
    assert judging.from_bom(told) == {"tool": "AGPL-3.0-only", "server": UNKNOWN}


def test_a_folder_of_libraries_is_read_by_its_metadata(tmp_path: Path) -> None:
    for name, head in (("a", "License-Expression: MIT"), ("b", "License: BSD")):
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n{head}\n"
        )
    assert judging.from_file(tmp_path) == {"a@1.0": "MIT", "b@1.0": UNKNOWN}
    (tmp_path / "empty").mkdir()
    (tmp_path / "r.txt").write_text("a==1.0")
    for bad in ("empty", "r.txt"):
        with pytest.raises(Usage):
            judging.from_file(tmp_path / bad)


# -- policies -------------------------------------------------------------------------------------


def test_a_policy_is_read_from_toml_in_one_spelling(tmp_path: Path) -> None:
    path = tmp_path / "licences.toml"
    path.write_text(
        'format = "assay/licence-policy/v1"\nallowed = ["mit", "llama3.1"]\ndenied = []\n'
        'review = ["Apache-2.0"]\nunlisted = "denied"\n'
    )
    made = policy.read(path)
    assert made.allowed == ("MIT", "LicenseRef-scancode-llama-3.1-license-2024")
    assert made.judge("llama3.1".replace("llama3.1", made.allowed[1])) == "allowed"
    assert made.judge("Apache-2.0") == "review"
    assert made.judge("ISC") == "denied"


@pytest.mark.parametrize(
    "text",
    [
        "",
        'allowed = ["MIT"]',
        'format = "assay/licence-policy/v2"',
        'format = "assay/licence-policy/v1"\nallowed = ["nonsense"]',
        'format = "assay/licence-policy/v1"\nallowed = "MIT"',
        'format = "assay/licence-policy/v1"\nextra = 1',
        'format = "assay/licence-policy/v1"\nallowed = ["MIT"]\ndenied = ["MIT"]',
        'format = "assay/licence-policy/v1"\nunlisted = "unknown"',
        'format = "assay/licence-policy/v1"\n[declared]\na = "nonsense"',
        "format = [",
    ],
)
def test_a_policy_that_says_nothing_sensible_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "licences.toml"
    path.write_text(text)
    with pytest.raises(Usage, match="licence policy"):
        policy.read(path)


def test_every_licence_on_the_lists_is_known_and_in_its_own_spelling() -> None:
    for name in (*policy.ALLOWED, *policy.DENIED):
        assert normalise(name) == name
    assert not set(policy.ALLOWED) & set(policy.DENIED)


def test_every_licence_of_a_model_has_terms_with_a_source() -> None:
    for licence in models.LICENCES:
        assert licence.terms.source.startswith("https://")
        assert licence.terms.obligations()
        assert {normalise(name) for name in (licence.id, *licence.names)} == {licence.id}
    named = [{n.lower() for n in (x.id, *x.names)} for x in models.LICENCES]
    assert len(models.BY_NAME) == sum(map(len, named)), "a name is one licence's"


def test_without_the_library_nothing_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_name: str) -> Any:
        raise ImportError("none")

    expressions._licensing.cache_clear()
    expressions._parse.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(importlib, "import_module", absent)
        with pytest.raises(Unavailable, match="license-expression") as caught:
            judge({"a": "MIT"}, DEFAULT)
    assert "assay[supply]" in caught.value.remedy
    expressions._licensing.cache_clear()
    assert DEFAULT.judge("MIT") == "allowed"
