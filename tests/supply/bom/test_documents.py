"""Both documents: valid, the same each time, and one fact is one place."""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from full import SAID, contents, dataset, digest, full, library, model
from hypothesis import HealthCheck, given, settings

from assay.errors import Unavailable, Verification
from assay.supply.bom import cyclonedx, schema, spdx
from assay.supply.bom.model import Contents, Licence, Metric, declared, evidence, unknown

few = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@few
@given(contents)
def test_whatever_a_bill_says_both_documents_hold_to_their_published_schemas(
    made: Contents,
) -> None:
    cyclonedx.validate(cyclonedx.document(made))
    spdx.validate(spdx.document(made))


@few
@given(contents)
def test_the_same_contents_give_the_same_bytes_in_whatever_order_they_come(made: Contents) -> None:
    turned = msgspec.structs.replace(
        made,
        datasets=made.datasets[::-1],
        libraries=made.libraries[::-1],
        steps=made.steps[::-1],
        signatures=made.signatures[::-1],
    )
    assert cyclonedx.encode(cyclonedx.document(made)) == cyclonedx.encode(
        cyclonedx.document(turned)
    )
    assert spdx.encode(spdx.document(made)) == spdx.encode(spdx.document(turned))


def test_the_serial_number_is_a_uuid_that_follows_from_the_rest() -> None:
    first, second = cyclonedx.document(full()), cyclonedx.document(full(project="other"))
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{13}-8[0-9a-f]{3}-[89ab].*", first["serialNumber"])
    assert first["serialNumber"] != second["serialNumber"]


def test_a_full_bill_has_model_card_data_and_formulation() -> None:
    made = cyclonedx.document(full())
    card = made["metadata"]["component"]["modelCard"]
    assert card["modelParameters"]["approach"] == {"type": "supervised"}
    assert card["quantitativeAnalysis"]["performanceMetrics"][0]["confidenceInterval"]
    assert [c["data"][0]["classification"] for c in made["components"] if c["type"] == "data"] == [
        "personal data",
        "personal data",
    ]
    task = made["formulation"][0]["workflows"][0]["tasks"][0]
    assert {"resource": {"ref": "dataset:training:train"}} in task["inputs"]
    assert task["outputs"] == [{"type": "artifact", "resource": {"ref": "model"}}]


def test_the_keyed_digest_of_a_dataset_is_never_given_as_its_hash() -> None:
    made = cyclonedx.document(full())
    for component in made["components"]:
        assert component["type"] != "data" or "hashes" not in component
    other = spdx.document(full())
    found = [e for e in other["@graph"] if e["type"] == "dataset_DatasetPackage"]
    assert {e["verifiedUsing"][0]["algorithm"] for e in found} == {"other"}


def test_what_is_unknown_says_why_and_is_not_left_out() -> None:
    made = cyclonedx.document(full(hardware=unknown("nobody looked")))
    assert {"name": "assay:unknown:hardware", "value": "nobody looked"} in made["metadata"][
        "properties"
    ]


# -- one fact, one place --------------------------------------------------------------------------

Change = Callable[[], Contents]

CHANGES: dict[str, tuple[Change, str]] = {
    "version of a library": (
        lambda: full(
            libraries=(
                library("numpy", "2.4.7", "33"),
                library("scikit-learn", "1.9.1", "34", requires=("numpy",)),
            )
        ),
        "numpy",
    ),
    "licence of a library": (
        lambda: full(
            libraries=(
                library("numpy", "2.4.6", "33"),
                library(
                    "scikit-learn",
                    "1.9.1",
                    "34",
                    requires=("numpy",),
                    licence=Licence("MIT", "declared", "", "its own metadata", spdx=True),
                ),
            )
        ),
        "scikit-learn",
    ),
    "owner of a dataset": (
        lambda: full(
            datasets=(
                dataset("train", "training", "11"),
                dataset("test", "test", "12", owner=declared("somebody", "x", SAID)),
            )
        ),
        "test",
    ),
    "what a fact rests on": (
        lambda: full(
            datasets=(
                dataset("train", "training", "11", format=declared("parquet", "x", SAID)),
                dataset("test", "test", "12"),
            )
        ),
        "train",
    ),
}


@pytest.mark.parametrize("what", sorted(CHANGES))
def test_a_fact_about_a_component_changes_that_component_and_nothing_else(what: str) -> None:
    change, name = CHANGES[what]
    before, after = (_parts(cyclonedx.document(c)) for c in (full(), change()))
    assert {key for key in before | after if before.get(key) != after.get(key)} == {name}


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"model": model(purpose=declared("x", "actor 1", SAID))}, "component"),
        ({"model": model(artifact=evidence(digest("ab"), SAID))}, "component"),
        ({"model": model(metrics=(Metric("auc", "0.5", source=SAID),))}, "component"),
        ({"hardware": declared("a wafer", "actor 1")}, "properties"),
        ({"issued": "2026-11-25T00:00:00.000Z"}, "timestamp"),
        ({"assay": "0.9.1"}, "tools"),
    ],
)
def test_a_fact_about_the_model_or_the_bill_changes_one_part_of_its_metadata(
    changes: dict[str, Any], part: str
) -> None:
    before, after = cyclonedx.document(full()), cyclonedx.document(full(**changes))
    if part == "component" and "artifact" not in str(changes.keys()):
        # It says which step gave these bytes.
        del before["formulation"], after["formulation"]
    differs = {k for k in before if before[k] != after[k] and k != "serialNumber"}
    assert differs == {"metadata"}
    old, new = before["metadata"], after["metadata"]
    assert {key for key in old if old[key] != new[key]} == {part}


@pytest.mark.parametrize("what", sorted(CHANGES))
def test_in_spdx_too_a_fact_changes_one_element(what: str) -> None:
    change, name = CHANGES[what]
    before, after = (_elements(spdx.document(c)) for c in (full(), change()))
    differs = {key for key in before | after if before.get(key) != after.get(key)}
    # A licence or an owner is an element of its own there, named after what it belongs to.
    assert differs
    assert all(key.endswith(f":{name}") for key in differs)


def _parts(document: dict[str, Any]) -> dict[str, Any]:
    found = {component["name"]: component for component in document["components"]}
    rest = {k: v for k, v in document.items() if k not in ("components", "serialNumber")}
    return {**found, "": rest}


def _elements(document: dict[str, Any]) -> dict[str, Any]:
    base = document["@graph"][1]["spdxId"].partition("#")[0]
    plain: dict[str, Any] = msgspec.json.decode(
        msgspec.json.encode(document).replace(base.encode(), b"x")
    )
    return {e.get("spdxId", "x").partition("#")[2]: e for e in plain["@graph"]}


# -- what is refused ------------------------------------------------------------------------------


def _broken(change: Callable[[dict[str, Any]], Any]) -> Verification:
    made = copy.deepcopy(cyclonedx.document(full()))
    change(made)
    with pytest.raises(Verification) as caught:
        cyclonedx.validate(made)
    return caught.value


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda d: d.update(extra=1), "$: "),
        (lambda d: d["metadata"].update(extra=1), "$.metadata"),
        (lambda d: d["components"][2].update(type="nonsense"), "$.components[2].type"),
        (lambda d: d["metadata"].update(timestamp="yesterday"), "$.metadata.timestamp"),
        (lambda d: d.update(serialNumber="urn:uuid:1"), "$.serialNumber"),
        (lambda d: d["components"][2].pop("name"), "$.components[2]"),
        (lambda d: d["metadata"]["component"]["hashes"][0].update(content="zz"), "hashes[0]"),
        (
            lambda d: d["metadata"]["component"]["modelCard"]["modelParameters"].update(depth=3),
            "$.metadata.component.modelCard.modelParameters",
        ),
    ],
)
def test_what_the_schema_does_not_allow_is_refused_naming_the_place(
    change: Callable[[dict[str, Any]], Any], place: str
) -> None:
    error = _broken(change)
    assert place in error.message
    assert error.code == "verification.bom.schema"
    assert error.remedy


def test_a_reference_to_nothing_and_a_name_given_twice_are_refused() -> None:
    dangling = _broken(lambda d: d["dependencies"][0]["dependsOn"].append("library:gone"))
    assert dangling.code == "verification.bom.reference"
    assert "library:gone" in dangling.message
    twice = _broken(lambda d: d["components"][0].update({"bom-ref": "model"}))
    assert "given twice" in twice.message
    again = _broken(lambda d: d["dependencies"].append({"ref": "model", "dependsOn": []}))
    assert "listed twice" in again.message
    composed = _broken(lambda d: d["compositions"][0]["dependencies"].append("nothing"))
    assert "$.compositions[0].dependencies[1]" in composed.message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda g: g["ai_AIPackage"].update(bogus=1), "bogus"),
        (lambda g: g["ai_AIPackage"].update(ai_useSensitivePersonalInformation="maybe"), "maybe"),
        (lambda g: g["CreationInfo"].pop("created"), "created"),
        (lambda g: g["CreationInfo"].update(created="yesterday"), "yesterday"),
        (lambda g: g["Relationship"].update(to=["urn:nothing"]), "urn:nothing"),
        (lambda g: g["Relationship"].pop("relationshipType"), "relationshipType"),
        (lambda g: g["ai_AIPackage"].update(name=3), "$.@graph["),
        (lambda g: g["Tool"].update(spdxId=g["ai_AIPackage"]["spdxId"]), "given twice"),
    ],
)
def test_what_the_model_of_spdx_does_not_allow_is_refused(
    change: Callable[[dict[str, Any]], Any], said: str
) -> None:
    made = spdx.document(full())
    by_type: dict[str, Any] = {}
    for element in made["@graph"]:
        by_type.setdefault(element["type"], element)
    change(by_type)
    with pytest.raises(Verification) as caught:
        spdx.validate(made)
    assert said in caught.value.message
    # How the library names an object in memory is nobody's business, and differs each time.
    assert not re.search(r"\([0-9]{6,}\)", caught.value.message)


def test_a_document_of_spdx_without_its_document_element_or_with_more_fields_is_refused() -> None:
    made = spdx.document(full())
    with pytest.raises(Verification, match=r"\$\.more"):
        spdx.validate({**made, "more": 1})
    rest = [e for e in made["@graph"] if e["type"] != "SpdxDocument"]
    with pytest.raises(Verification, match="0 elements of type SpdxDocument"):
        spdx.validate({**made, "@graph": rest})


@pytest.mark.parametrize("module", [cyclonedx, spdx])
def test_without_the_schemas_nothing_is_called_valid(
    monkeypatch: pytest.MonkeyPatch, module: Any
) -> None:
    schema._validator.cache_clear()
    for name in [n for n in sys.modules if n.startswith(("cyclonedx", "spdx_python_model"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cyclonedx", None)
    monkeypatch.setitem(sys.modules, "spdx_python_model", None)
    with pytest.raises(Unavailable) as caught:
        module.validate(module.document(full()))
    assert "assay[supply]" in caught.value.remedy
    monkeypatch.undo()
    schema._validator.cache_clear()
