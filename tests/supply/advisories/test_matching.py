"""Matching packages with advisories, against a brute-force reading of the specification."""

from __future__ import annotations

import importlib
import itertools
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from osv_records import CRITICAL, affected, database, record, simple
from packaging.version import Version

from assay.supply.advisories import report, severity, versions
from assay.supply.advisories.matching import Package, Result, match

SEVERITIES = ("critical", "high", "medium", "low", "unrated")


def look(*records: dict[str, Any], name: str = "a", version: str = "1.0") -> Result:
    return match(database(*records), [Package("PyPI", name, version)])


def ids(result: Result) -> list[str]:
    return [finding.id for finding in result.findings]


# -- the specification, read by brute force -------------------------------------------------------

PYPI = [
    *("0.0.dev1", "0", "0.9", "1.0a1", "1.0rc1", "1.0", "1.0.post1", "1.1.dev3", "1.1"),
    *("1.2", "1.10", "2.0", "2!1.0"),
]
SEMVER = [
    *("0.0.0", "0.9.0", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-2", "1.0.0"),
    *("1.0.0-rc.1", "1.1.0", "1.9.0", "1.10.0", "2.0.0", "2.0.0-0.3"),
]


def semver_key(text: str) -> tuple[Any, ...]:
    """Section 11 of semver.org, written down once more."""
    core, _, pre = text.partition("-")
    numbers = tuple(int(part) for part in core.split("."))
    if not pre:
        return (*numbers, (1,))
    parts = [(0, int(p)) if p.isdigit() else (1, p) for p in pre.split(".")]
    return (*numbers, (0, *parts))


def by_the_book(version: str, ranges: list[list[tuple[str, str]]], listed: list[str], key: Any):
    """IsVulnerable of the OSV schema, section "Evaluation"."""
    if version in listed:
        return True
    for events in ranges:
        limits = [at for kind, at in events if kind == "limit"]
        if limits and not any(at == "*" or key(version) < key(at) for at in limits):
            continue
        vulnerable = False
        walk = sorted(
            (event for event in events if event[0] != "limit"),
            key=lambda event: (event[1] != "0", () if event[1] == "0" else key(event[1])),
        )
        for kind, at in walk:
            if kind == "introduced" and (at == "0" or key(version) >= key(at)):
                vulnerable = True
            elif (kind == "fixed" and key(version) >= key(at)) or (
                kind == "last_affected" and key(version) > key(at)
            ):
                vulnerable = False
        if vulnerable:
            return True
    return False


def ranges_of(pool: list[str]) -> st.SearchStrategy[list[list[tuple[str, str]]]]:
    """Ranges as the schema allows them: events at distinct versions, something introduced."""

    @st.composite
    def one(draw: st.DrawFn) -> list[tuple[str, str]]:
        places = [v for v in pool if v != "0"]
        count = draw(st.integers(0, 4))
        at = draw(st.lists(st.sampled_from(places), min_size=count, max_size=count, unique=True))
        first = draw(st.sampled_from(["0", *(v for v in places if v not in at)]))
        kinds = st.sampled_from(["introduced", "fixed", "last_affected"])
        events = [("introduced", first), *((draw(kinds), version) for version in at)]
        if draw(st.booleans()):
            events.append(("limit", draw(st.sampled_from(["*", *places]))))
        return draw(st.permutations(events))

    return st.lists(one(), max_size=3)


@given(ranges_of(PYPI), st.lists(st.sampled_from(PYPI), max_size=3), st.sampled_from(PYPI))
@settings(max_examples=300, deadline=None)
def test_pypi_is_evaluated_as_the_specification_says(
    ranges: list[list[tuple[str, str]]], listed: list[str], version: str
) -> None:
    what = affected("a", versions=listed)
    what["ranges"] = [
        {"type": "ECOSYSTEM", "events": [{kind: at} for kind, at in events]} for events in ranges
    ]
    result = look(record("X", what), version=version)
    if not ranges and not listed:
        assert [item.package.version for item in result.unmatched] == [version]
        return
    assert bool(result.findings) == by_the_book(version, ranges, listed, Version)
    assert not result.unmatched


@given(ranges_of(SEMVER), st.sampled_from(SEMVER), st.sampled_from(["npm", "crates.io"]))
@settings(max_examples=300, deadline=None)
@example([[("introduced", "1.0.0"), ("last_affected", "1.0.0-rc.1")]], "1.0.0", "npm")
def test_npm_and_crates_are_evaluated_as_the_specification_says(
    ranges: list[list[tuple[str, str]]], version: str, ecosystem: str
) -> None:
    what = affected("a", ecosystem=ecosystem)
    what["ranges"] = [
        {"type": "SEMVER", "events": [{kind: at} for kind, at in events]} for events in ranges
    ]
    result = match(database(record("X", what)), [Package(ecosystem, "a", version)])
    if ranges:
        assert bool(result.findings) == by_the_book(version, ranges, [], semver_key)
    else:
        assert len(result.unmatched) == 1


def test_semantic_versions_are_ordered_as_their_specification_says() -> None:
    told = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2"]
    told += ["1.0.0-beta.11", "1.0.0-rc.1", "1.0.0"]
    keys: list[Any] = [versions.semver(text) for text in told]
    assert None not in keys
    assert all(a < b for a, b in itertools.pairwise(keys))
    assert versions.semver("1.0.0+build.1") == versions.semver("1.0.0")
    for bad in ("1", "1.0", "v1.0.0", "01.0.0", "1.0.0-01", "1.0.0-", "1.0.0-a..b", "", "1.0.0 "):
        assert versions.semver(bad) is None


# -- on the safe side -----------------------------------------------------------------------------


def test_a_local_build_is_what_it_was_built_from() -> None:
    last = record("X", affected("a", {"introduced": "0"}, {"last_affected": "2.0.0"}))
    listed = record("Y", affected("a", versions=["2.0.0"]))
    assert ids(look(last, version="2.0.0+cpu")) == ["X"]
    assert ids(look(listed, version="2.0.0+cpu")) == ["Y"]
    assert ids(look(last, version="2.0.1+cpu")) == []
    assert ids(look(simple("Z", "a", "2.0.0"), version="2.0.0+cpu")) == []


def test_spellings_of_one_version_are_one_version() -> None:
    listed = record("X", affected("a", versions=["1.0"]))
    for version in ("1.0", "1.0.0", "v1.0", "1"):
        assert ids(look(listed, version=version)) == ["X"]
    assert ids(look(listed, version="1.0.1")) == []
    assert ids(look(simple("Y", "Typing_Extensions", "2"), name="typing.extensions")) == ["Y"]


def test_events_at_one_version_are_taken_in_the_order_that_affects_more() -> None:
    again = [{"introduced": "0"}, {"fixed": "1.0"}, {"introduced": "1.0"}, {"fixed": "2.0"}]
    for events in itertools.permutations(again):
        assert ids(look(record("X", affected("a", *events)), version="1.5")) == ["X"]
    for events in itertools.permutations([{"introduced": "1.0"}, {"last_affected": "1.0"}]):
        only = record("X", affected("a", *events))
        assert ids(look(only, version="1.0")) == ["X"]
        assert ids(look(only, version="1.0.1")) == []


@pytest.mark.parametrize(
    "what",
    [
        affected("a"),
        affected("a", {"introduced": "2004d?"}),
        affected("a", {"fixed": "3.0"}),
        affected("a", {"limit": "3.0"}),
        affected("a", {"introduced": "0", "fixed": "1"}),
        affected("a", {"introduced": "0"}, {"unheard": "1"}),
        affected("a", {"introduced": "0"}, {"fixed": "abc"}, kind="GIT"),
    ],
)
def test_what_an_advisory_does_not_tell_leaves_the_package_unmatched(what: dict[str, Any]) -> None:
    result = look(record("X", what))
    assert result.findings == ()
    (item,) = result.unmatched
    assert item.package.name == "a"
    assert "X" in item.why


def test_a_list_of_versions_decides_beside_commits() -> None:
    told = record(
        "X",
        {
            "package": {"ecosystem": "PyPI", "name": "a"},
            "ranges": [{"type": "GIT", "repo": "r", "events": [{"introduced": "0"}]}],
            "versions": ["1.0"],
        },
    )
    assert ids(look(told, version="1.0")) == ["X"]
    assert look(told, version="1.1").unmatched == ()


def test_an_undecided_range_matters_no_more_once_another_advisory_tells() -> None:
    told = record("X", affected("a", {"introduced": "?"}), aliases=["CVE-1"])
    known = simple("Y", "a", "2.0", aliases=["CVE-1", "X"])
    assert look(told, known).unmatched == ()
    assert len(look(told, known, version="3.0").unmatched) == 1


# -- what cannot be looked up ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("package", "why"),
    [
        (Package("PyPI", "a", ""), "not known"),
        (Package("PyPI", "a", "latest"), "no version"),
        (Package("PyPI", "a", "9" * 300), "no version"),
        (Package("PyPI", "", "1"), "no name"),
        (Package("npm", "a", "1.0"), "no version"),
        (Package("Debian:12", "a", "1.0"), "cannot be compared"),
        (Package("", "a", "1.0"), "no package URL"),
        (Package("Maven", "a", "1.0"), "cannot be compared"),
    ],
)
def test_what_cannot_be_looked_up_is_counted_and_never_called_safe(
    package: Package, why: str
) -> None:
    held = database(
        simple("X", "b", "1"),
        record("Y", affected("b", {"introduced": "0"}, ecosystem="npm", kind="SEMVER")),
    )
    result = match(held, [package, Package("PyPI", "b", "2")])
    (item,) = result.unmatched
    assert item.package == package
    assert why in item.why
    told = report.predicate(result, held)
    assert (told["packages"], told["unmatched"]) == (2, 1)
    assert "1 of 2 packages could not be looked up" in report.in_words(told)


def test_a_database_without_an_ecosystem_says_nothing_about_it() -> None:
    for held in (
        database(record("X", affected("a", {"introduced": "0"}, ecosystem="npm"))),
        database(simple("X", "a", "2", withdrawn="2025-01-01T00:00:00Z")),
        database(record("X")),
    ):
        result = match(held, [Package("PyPI", "a", "1"), Package("PyPI", "b", "1")])
        assert len(result.unmatched) == 2
        assert (result.listed, result.unlisted) == (0, 0)
        told = report.predicate(result, held)
        assert report.in_words(told).startswith("nothing could be looked up")
        assert told["database"]["ecosystems"] == {"PyPI": 0}


def test_a_package_that_no_advisory_names_is_looked_up_and_told_apart() -> None:
    held = database(simple("X", "a", "1"))
    result = match(held, [Package("PyPI", "a", "2"), Package("PyPI", "never-heard-of", "1")])
    assert (result.listed, result.unlisted, result.unmatched) == (1, 1, ())


def test_withdrawn_advisories_are_kept_and_skipped() -> None:
    told = simple("X", "a", "2", withdrawn="2025-01-01T00:00:00Z")
    held = database(told, simple("Y", "b", "2"))
    assert len(held.entries("PyPI", "a")) == 1
    result = match(held, [Package("PyPI", "a", "1")])
    assert (result.findings, result.unmatched, result.unlisted) == ((), (), 1)


# -- what is told of a finding --------------------------------------------------------------------


def test_advisories_that_share_an_alias_are_one_vulnerability_at_its_worst() -> None:
    result = look(
        simple("PYSEC-1", "a", "2.0", aliases=["CVE-1"]),
        simple(
            "GHSA-1",
            "a",
            "1.5",
            aliases=["CVE-1"],
            database_specific={"severity": "HIGH"},
            summary="  Reads\n too much ",
        ),
        simple("PYSEC-2", "a", "2.0", aliases=["CVE-2"]),
    )
    first, second = result.findings
    assert (first.id, first.aliases) == ("GHSA-1", ("CVE-1", "PYSEC-1"))
    assert (first.severity, first.fixed) == ("high", ("1.5", "2.0"))
    assert first.summary == "Reads too much"
    assert (second.id, second.severity) == ("PYSEC-2", "unrated")
    assert (result.count("high"), result.count("unrated"), result.count("low")) == (1, 1, 0)


def test_the_fix_is_the_first_one_after_the_version() -> None:
    told = record(
        "X",
        affected("a", {"introduced": "1.0"}, {"fixed": "1.5"}),
        affected("a", {"introduced": "2.0"}, {"fixed": "2.5"}),
    )
    assert look(told, version="1.2").findings[0].fixed == ("1.5",)
    assert look(told, version="2.2").findings[0].fixed == ("2.5",)
    never = record("Y", affected("a", {"introduced": "0"}))
    assert look(never).findings[0].fixed == ()


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        ([{"type": "CVSS_V3", "score": CRITICAL}], "critical"),
        ([{"type": "CVSS_V3", "score": "CVSS:3.1/AV:L/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N"}], "low"),
        ([{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N"}], "low"),
        (
            [
                {
                    "type": "CVSS_V4",
                    "score": "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N",
                },
                {"type": "CVSS_V3", "score": "CVSS:3.1/AV:L/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N"},
            ],
            "critical",
        ),
        ([{"type": "CVSS_V2", "score": "AV:N/AC:L/Au:N/C:C/I:C/A:C"}], "high"),
        ([{"type": "CVSS_V3", "score": "nonsense"}], "unrated"),
        ([{"type": "CVSS_V3", "score": CRITICAL[:-3]}], "unrated"),
        ([{"type": "CVSS_V9", "score": CRITICAL}], "unrated"),
        ([], "unrated"),
    ],
)
def test_a_vector_is_scored_and_nonsense_is_not_rated(
    score: list[dict[str, str]], expected: str
) -> None:
    result = look(simple("X", "a", "2", severity=score))
    assert [f.severity for f in result.findings] == [expected]
    assert {s: result.count(s) for s in SEVERITIES if result.count(s)} == {expected: 1}


def test_without_the_library_that_scores_the_publishers_word_counts_and_else_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vector = [{"type": "CVSS_V3", "score": CRITICAL}]
    named = simple("X", "a", "2", severity=vector, database_specific={"severity": "MODERATE"})
    bare = simple("Y", "a", "2", severity=vector)

    def absent(_name: str) -> Any:
        raise ImportError("no cvss")

    with monkeypatch.context() as patch:
        patch.setattr(importlib, "import_module", absent)
        severity._library.cache_clear()
        severity.scores.cache_clear()
        severity._score.cache_clear()
        found = {f.id: f.severity for f in look(named, bare).findings}
        assert not severity.scores()
    severity._library.cache_clear()
    severity.scores.cache_clear()
    severity._score.cache_clear()
    assert found == {"X": "medium", "Y": "unrated"}
    assert {f.severity for f in look(named, bare).findings} == {"critical"}


def test_a_malicious_package_is_critical_whatever_is_written_about_it() -> None:
    told = record("MAL-2025-1", affected("evil", {"introduced": "0"}))
    (finding,) = look(told, name="evil", version="0.0.1").findings
    assert (finding.severity, finding.rated_by) == ("critical", "malicious package")


def test_each_package_is_looked_up_once() -> None:
    held = database(simple("X", "a", "2"))
    asked = [Package("PyPI", "a", "1"), Package("PyPI", "A", "1", "pkg:pypi/A@1")]
    result = match(held, [*asked, Package("PyPI", "a", "1.1")])
    assert (result.packages, len(result.findings)) == (2, 2)
