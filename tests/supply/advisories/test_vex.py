"""VEX: what is read, and what a statement may take away."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from osv_records import NOW, database, simple

from assay.errors import Usage
from assay.supply.advisories import report, vex
from assay.supply.advisories.matching import Package, Result, match
from assay.supply.advisories.vex import Document, Product, Statement, Subcomponent, Vulnerability

DIGEST = "sha256:" + "ab" * 32
OTHER = "sha256:" + "cd" * 32
PURL = "pkg:pypi/torch@2.5.1"


def product(purl: str = PURL, **more: Any) -> Product:
    return Product(at_id=purl, **more)


def model(*parts: str, digest: str = DIGEST) -> Product:
    return Product(
        at_id="https://example.org/model",
        hashes={"sha-256": digest.removeprefix("sha256:")},
        subcomponents=tuple(Subcomponent(at_id=part) for part in parts),
    )


def statement(
    name: str = "CVE-1", *products: Product, status: vex.Status = "not_affected", **more: Any
) -> Statement:
    if status == "not_affected" and "impact_statement" not in more:
        more.setdefault("justification", "vulnerable_code_not_in_execute_path")
    if status == "affected":
        more.setdefault("action_statement", "update")
    return Statement(
        vulnerability=Vulnerability(name), status=status, products=products or (product(),), **more
    )


def document(*statements: Statement) -> Document:
    made = vex.write(statements, author="security", at=NOW, identity="https://example.org/vex/1")
    return vex.decode(json.dumps(made))


def found(*records: dict[str, Any], version: str = "2.5.1") -> Result:
    held = database(*(records or (simple("GHSA-1", "torch", "2.6", aliases=["CVE-1"]),)))
    return match(held, [Package("PyPI", "torch", version)])


def answered(result: Result, *documents: Document, digests: tuple[str, ...] = (DIGEST,)) -> bool:
    told = vex.answer(result, [("leaf 1", d) for d in documents], digests)
    assert [f.id for f in told.findings] == [f.id for f in result.findings]
    (finding,) = told.findings
    counted = sum(told.count(s) for s in report.SEVERITIES)
    assert counted == (0 if finding.answered else 1)
    return finding.answered


# -- what takes a finding away --------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        statement("CVE-1"),
        statement("GHSA-1"),
        statement("CVE-1", status="fixed"),
        statement("CVE-1", product("pkg:pypi/Torch@2.5.1")),
        statement("CVE-1", Product(identifiers=vex.Identifiers(purl=PURL))),
        statement("CVE-1", model()),
        statement("CVE-1", model(PURL)),
        statement("CVE-1", product("pkg:pypi/numpy@1.0"), product()),
    ],
)
def test_a_statement_that_names_what_was_found_answers_it(said: Statement) -> None:
    assert answered(found(), document(said))


@pytest.mark.parametrize(
    "said",
    [
        statement("CVE-2"),
        statement("cve-1"),
        statement("CVE-1", product("pkg:pypi/torch")),
        statement("CVE-1", product("pkg:pypi/torch@2.5")),
        statement("CVE-1", product("pkg:pypi/torch@2.5.1.0")),
        statement("CVE-1", product("pkg:npm/torch@2.5.1")),
        statement("CVE-1", product("pkg:pypi/torchvision@2.5.1")),
        statement("CVE-1", product("https://example.org/torch@2.5.1")),
        statement("CVE-1", model(digest=OTHER)),
        statement("CVE-1", model("pkg:pypi/numpy@1.0")),
        statement("CVE-1", model("pkg:pypi/torch")),
        statement("CVE-1", model(PURL, digest=OTHER)),
        statement("CVE-1", product(subcomponents=(Subcomponent(at_id="pkg:pypi/numpy@1"),))),
        statement("CVE-1", status="under_investigation"),
        statement("CVE-1", status="affected"),
        statement("CVE-1", impact_statement="not reachable, I think"),
        Statement(
            vulnerability=Vulnerability("CVE-9", aliases=("CVE-1", "GHSA-1")),
            status="not_affected",
            justification="component_not_present",
            products=(product(),),
        ),
        msgspec.structs.replace(statement("CVE-1"), products=()),
    ],
)
def test_a_statement_that_does_not_exactly_name_it_leaves_it(said: Statement) -> None:
    assert not answered(found(), document(said))


def test_the_digest_of_a_model_counts_for_that_model_only() -> None:
    said = document(statement("CVE-1", model()))
    assert answered(found(), said, digests=(OTHER, DIGEST))
    assert not answered(found(), said, digests=(OTHER,))
    assert not answered(found(), said, digests=())


def test_of_several_statements_the_last_counts() -> None:
    no, yes = document(statement("CVE-1")), document(statement("CVE-1", status="affected"))
    assert answered(found(), yes, no)
    assert not answered(found(), no, yes)
    early = msgspec.structs.replace(statement("CVE-1"), timestamp="2025-01-01T00:00:00Z")
    late = msgspec.structs.replace(
        statement("CVE-1", status="affected"), timestamp="2025-02-01T00:00:00Z"
    )
    assert not answered(found(), document(late, early))


def test_every_advisory_behind_a_finding_has_to_be_named() -> None:
    two = found(
        simple("GHSA-1", "torch", "2.6", aliases=["CVE-1"]),
        simple("PYSEC-1", "torch", "2.6", aliases=["CVE-1", "CVE-2"]),
    )
    assert len(two.findings) == 1
    assert answered(two, document(statement("CVE-1")))
    assert not answered(two, document(statement("CVE-2")))
    assert not answered(two, document(statement("GHSA-1")))
    assert answered(two, document(statement("GHSA-1"), statement("PYSEC-1")))
    assert not answered(
        two, document(statement("CVE-1"), statement("PYSEC-1", status="under_investigation"))
    )


@given(
    st.lists(
        st.sampled_from(
            [
                statement(name, where, status=status)
                for name in ("CVE-1", "CVE-2", "GHSA-1")
                for where in (product(), model(), product("pkg:pypi/torch"), model(digest=OTHER))
                for status in vex.STATUSES
            ]
        ),
        max_size=6,
    )
)
@settings(max_examples=150, deadline=None)
def test_a_finding_goes_only_where_the_last_exact_word_takes_it_away(said: list[Statement]) -> None:
    exact = [
        s
        for s in said
        if s.vulnerability.name in ("CVE-1", "GHSA-1") and s.products[0] in (product(), model())
    ]
    expected = bool(exact) and exact[-1].status in ("not_affected", "fixed")
    assert answered(found(), *(document(s) for s in said)) is expected


def test_the_statement_shown_says_who_and_why() -> None:
    told = vex.answer(found(), [("leaf 7", document(statement("CVE-1")))])
    (finding,) = told.findings
    assert finding.vex == {
        "status": "not_affected",
        "source": "leaf 7",
        "counts": "no",
        "justification": "vulnerable_code_not_in_execute_path",
    }
    made = report.predicate(told, database(simple("X", "a", "1")))
    assert (made["not_affected"], made["unrated"], made["findings_count"]) == (1, 0, 1)
    assert report.in_words(made) == "1 answered by VEX, no other"


# -- documents ------------------------------------------------------------------------------------

Change = Callable[[dict[str, Any]], object]


def broken(change: Change) -> dict[str, Any]:
    made = vex.write([statement("CVE-1")], author="a", at=NOW, identity="https://example.org/1")
    change(made)
    return made


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda d: d.update({"@context": "https://example.org"}), "@context"),
        (lambda d: d.update({"@context": "https://openvex.dev/ns/v1.0.0"}), "@context"),
        (lambda d: d.update(extra=1), "extra"),
        (lambda d: d.update(author=""), "author"),
        (lambda d: d.update(version=0), "version"),
        (lambda d: d.update(statements=[]), "no statements"),
        (lambda d: d.update(timestamp="yesterday"), "time"),
        (lambda d: d["statements"][0].update(status="fine"), "status"),
        (lambda d: d["statements"][0].update(status="affected"), "action_statement"),
        (lambda d: d["statements"][0].pop("justification"), "justification"),
        (lambda d: d["statements"][0].update(impact_statement="x"), "not both"),
        (lambda d: d["statements"][0].update(justification="because"), "justification"),
        (lambda d: d["statements"][0].update(timestamp="x"), "time"),
        (lambda d: d["statements"][0]["vulnerability"].update(name=""), "no vulnerability"),
        (lambda d: d["statements"][0]["products"][0].update(purl="x"), "purl"),
    ],
)
def test_what_is_no_openvex_is_refused(change: Change, why: str) -> None:
    with pytest.raises(Usage, match=why):
        vex.decode(json.dumps(broken(change)))


@given(st.binary(max_size=80) | st.text(max_size=80).map(str.encode))
@settings(max_examples=80, deadline=None)
def test_any_bytes_are_a_document_or_a_usage_error(data: bytes) -> None:
    with pytest.raises(Usage):
        vex.decode(data)


def test_what_is_written_is_what_is_read() -> None:
    made = vex.write(
        [statement("CVE-1", model(PURL)), statement("CVE-2", status="fixed")],
        author="a",
        at=NOW,
        identity="https://example.org/1",
    )
    assert msgspec.to_builtins(vex.decode(json.dumps(made))) == made
    assert made["@context"] == "https://openvex.dev/ns/v0.2.0"


def test_what_is_not_exact_is_told_before_anybody_signs_it() -> None:
    assert vex.unexact(statement("CVE-1"), []) == ""
    assert vex.unexact(statement("CVE-1", model()), [DIGEST]) == ""
    for said in (
        statement("CVE-1", product("pkg:pypi/torch")),
        statement("CVE-1", model()),
        statement("CVE-1", product(), product("pkg:pypi/numpy")),
        statement("CVE-1", model("pkg:pypi/torch")),
        msgspec.structs.replace(statement("CVE-1"), products=()),
    ):
        assert vex.unexact(said, [OTHER])
