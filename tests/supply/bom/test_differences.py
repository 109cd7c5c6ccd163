"""Between two bills, and in all of them."""

from __future__ import annotations

from typing import Any

import pytest
from full import contents, dataset, digest, full, library, model
from hypothesis import HealthCheck, given, settings

from assay.errors import Usage
from assay.supply.bom import cyclonedx, index
from assay.supply.bom.differences import diff
from assay.supply.bom.model import Contents, Licence, Metric, Signature, declared

KEY = "ed25519:" + "ab" * 16


def document(**changes: Any) -> dict[str, Any]:
    return cyclonedx.document(full(**changes))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(contents)
def test_a_bill_does_not_differ_from_itself(made: Contents) -> None:
    assert diff(cyclonedx.document(made), cyclonedx.document(made))["same"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(contents, contents)
def test_what_is_added_one_way_is_removed_the_other(one: Contents, other: Contents) -> None:
    there = diff(cyclonedx.document(one), cyclonedx.document(other))
    back = diff(cyclonedx.document(other), cyclonedx.document(one))
    for group in ("components", "datasets"):
        assert there[group]["added"] == back[group]["removed"]
    assert there["same"] == back["same"]


def test_versions_licences_and_digests_of_libraries_are_compared() -> None:
    new = document(
        libraries=(
            library(
                "numpy",
                "2.4.7",
                "35",
                licence=Licence("MIT", "declared", "", "its own metadata", spdx=True),
            ),
            library("scipy", "1.17.1", "36"),
        )
    )
    found = diff(document(), new)["components"]
    assert found["added"] == [{"name": "scipy", "type": "library", "version": "1.17.1"}]
    assert found["removed"] == [{"name": "scikit-learn", "type": "library", "version": "1.9.1"}]
    changed = {c["field"]: (c["old"], c["new"]) for c in found["changed"] if c["name"] == "numpy"}
    assert changed["version"] == ("2.4.6", "2.4.7")
    assert changed["licenses"] == ("BSD-3-Clause", "MIT")
    assert changed["hashes"] == (f"SHA-256:{'33' * 32}", f"SHA-256:{'35' * 32}")


def test_datasets_the_model_and_its_figures_are_compared() -> None:
    new = document(
        datasets=(
            dataset("train", "training", "11", owner=declared("somebody", "its owner")),
            dataset("other", "test", "14"),
        ),
        model=model(version="4", metrics=(Metric("auc", "0.71"), Metric("auc", "0.6", part="F"))),
    )
    found = diff(document(), new)
    assert [d["name"] for d in found["datasets"]["added"]] == ["other (test)"]
    assert [d["name"] for d in found["datasets"]["removed"]] == ["test (test)"]
    owner = {"name": "train (training)", "field": "owner", "old": "credit risk", "new": "somebody"}
    assert owner in found["datasets"]["changed"]
    assert {"name": "", "field": "version", "old": "3", "new": "4"} in found["model"]
    figures = {m["name"]: (m["old"], m["new"]) for m in found["metrics"]}
    assert figures == {
        "auc": ("0.77", "0.71"),
        "auc (F)": (None, "0.6"),
        "findings of the scan": ("0", None),
    }


def test_another_statement_that_says_the_same_is_no_difference() -> None:
    again = document(
        signatures=(Signature(KEY, "workspace", "model-version", digest("99")),),
        code=(full().code[0],),
        issued="2026-12-01T00:00:00.000Z",
    )
    assert diff(document(), again)["same"]


# -- where ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ("numpy", ["numpy"]),
        ("NumPy", ["numpy"]),
        ("numpy@2.4.6", ["numpy"]),
        ("numpy==2.4.6", ["numpy"]),
        ("numpy@2.4", []),
        ("pkg:pypi/numpy", ["numpy"]),
        ("pkg:pypi/scikit_learn@1.9.1", ["scikit-learn"]),
        ("pkg:npm/numpy", []),
        ("scikit.learn", ["scikit-learn"]),
        ("sci", []),
        (digest("33"), ["numpy"]),
        (digest("33").removeprefix("sha256:"), ["numpy"]),
        (digest("11"), ["train"]),
        (digest("bb"), ["credit"]),
        (digest("22"), ["code:credit"]),
        (digest("fe"), []),
        (KEY, [KEY]),
        ("ed25519:" + "ac" * 16, []),
    ],
)
def test_a_package_a_digest_and_a_key_are_found_and_nothing_else(
    asked: str, names: list[str]
) -> None:
    found = index.find(document(), index.wanted(asked))
    assert [f.name for f in found][: len(names) or None] == names


def test_a_parent_model_is_found_by_its_digest() -> None:
    assert index.find(document(), index.wanted(digest("cc")))


@pytest.mark.parametrize("text", ["", "a b", "../etc", "numpy@", "sha256:zz", "pkg:", "ü"])
def test_what_is_no_package_digest_or_key_is_refused(text: str) -> None:
    with pytest.raises(Usage) as caught:
        index.wanted(text)
    assert caught.value.remedy


def test_a_local_version_survives_its_url() -> None:
    made = document(libraries=(library("torch", "2.9+cpu", "33"),))
    url = next(c["purl"] for c in made["components"] if c["type"] == "library")
    assert url == "pkg:pypi/torch@2.9%2Bcpu"
    assert index.find(made, index.wanted("torch@2.9+cpu"))
    assert index.find(made, index.wanted(url))


def test_a_list_that_may_go_on_says_so() -> None:
    assert index.open_ended(document())
    assert not index.open_ended(document(libraries_known="complete"))
    assert index.open_ended({"components": []})
