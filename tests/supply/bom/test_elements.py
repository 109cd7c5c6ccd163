"""The minimum elements: fifty, and none is called better than what it rests on."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from full import contents, dataset, full, model
from hypothesis import HealthCheck, given, settings

from assay.supply.bom import cyclonedx, elements
from assay.supply.bom.model import Contents, Licence, Told, declared, evidence, unknown

PER_CLUSTER = {
    "Metadata": 10,
    "System level properties": 9,
    "Models": 13,
    "Dataset properties": 10,
    "Infrastructure": 2,
    "Security properties": 4,
    "Key performance indicators": 2,
}


def status(contents: Contents, name: str) -> str:
    return next(e.status for e in elements.check(contents) if e.name == name)


def test_there_are_fifty_in_seven_clusters_numbered_in_order() -> None:
    found = elements.check(full())
    assert [e.number for e in found] == list(range(1, 51))
    assert {c: sum(e.cluster == c for e in found) for c in PER_CLUSTER} == PER_CLUSTER
    assert len({e.name for e in found}) == 50


def test_of_a_full_bill_nothing_is_unknown() -> None:
    told = elements.counts(elements.check(full()))
    assert told["known_unknown"] == 0
    assert told["present"] + told["declared"] == 50


def test_of_a_bill_that_says_nothing_all_but_the_document_itself_is_unknown() -> None:
    empty = Contents(
        project="p",
        workspace="w",
        issued="2026-11-24T14:37:09.123Z",
        author=unknown("nobody"),
        model=msgspec.structs.replace(
            model(),
            **{
                name: Licence(why="x") if name == "licence" else unknown("x")
                for name in model().__struct_fields__
                if name not in ("name", "version", "metrics")
            },
            metrics=(),
        ),
    )
    found = elements.check(empty)
    known = {e.name for e in found if e.status != "known unknown"}
    assert known == {
        *("SBOM version", "SBOM data format name", "SBOM data format version", "SBOM tool name"),
        *("SBOM generation context", "SBOM timestamp", "System producer"),
        *("System name", "System version", "Model name", "Model version"),
    }
    assert all(e.why and not e.where for e in found if e.status == "known unknown")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(contents)
def test_each_element_says_why_and_the_known_ones_where(made: Contents) -> None:
    for element in elements.check(made):
        assert bool(element.where) == (element.status != "known unknown")
        assert element.why or element.status != "known unknown"


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("licence", "Dataset license"),
        ("origin", "Dataset provenance"),
        ("special", "Dataset sensitivity"),
        ("personal", "Dataset sensitivity"),
        ("statistics", "Dataset statistical properties"),
        ("content", "Dataset hash"),
    ],
)
def test_one_dataset_of_which_it_is_unknown_makes_it_unknown_of_all(field: str, name: str) -> None:
    value: Told = Licence(why="nobody") if field == "licence" else unknown("nobody")
    gap: Any = {field: value}
    made = full(datasets=(dataset("train", "training", "11"), dataset("test", "test", "12", **gap)))
    assert status(full(), name) != "known unknown"
    assert status(made, name) == "known unknown"
    assert "test: nobody" in next(e.why for e in elements.check(made) if e.name == name)


def test_what_is_declared_is_never_called_present() -> None:
    for name in ("hardware", "data_flow", "compliance"):
        made = full(**{name: declared("x", "actor 1")})
        assert "present" not in {e.status for e in _changed(full(**{name: unknown("x")}), made)}
        seen = full(**{name: evidence("x", "sha256:" + "00" * 32)})
        assert {e.status for e in _changed(made, seen)} == {"present"}


def test_libraries_that_only_a_file_names_are_not_present() -> None:
    named = [msgspec.structs.replace(library, basis="declared") for library in full().libraries]
    made = full(libraries=tuple(named), libraries_known="unknown", libraries_why="by hand", code=())
    assert status(made, "Infrastructure software") == "declared"
    assert status(made, "SBOM dependency relationships") == "known unknown"
    assert status(made, "System components") == "declared"


def _changed(old: Contents, new: Contents) -> list[elements.Element]:
    before = elements.check(old)
    return [e for b, e in zip(before, elements.check(new), strict=True) if b != e]


def test_where_an_element_stands_is_a_place_of_the_document() -> None:
    document = cyclonedx.document(full())
    for element in elements.check(full()):
        at: list[Any] = [document]
        for part in element.where.removeprefix("$.").replace("[0]", "").split("."):
            at = [inner for item in at for inner in _inside(item, part)]
            assert at, (element.name, element.where, part)


def _inside(item: Any, part: str) -> list[Any]:
    name, _, wanted = part.partition("[type=")
    found = item.get(name) if isinstance(item, dict) else None
    listed = found if isinstance(found, list) else [found]
    kept = [i for i in listed if i is not None]
    return [i for i in kept if i["type"] == wanted.rstrip("]")] if wanted else kept
