"""Real advisories about real versions: what each is known to be affected by."""

from __future__ import annotations

from pathlib import Path

import pytest
from osv_records import DUMP, NOW

from assay.supply.advisories import inventory, report
from assay.supply.advisories.database import Database, import_dump
from assay.supply.advisories.matching import Package, match


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Database:
    return import_dump(DUMP, tmp_path_factory.mktemp("real") / "advisories", now=NOW)


def ids(real: Database, name: str, version: str, ecosystem: str = "PyPI") -> set[str]:
    result = match(real, [Package(ecosystem, name, version)])
    assert result.unmatched == ()
    return {advisory.id for finding in result.findings for advisory in finding.advisories}


def test_the_dump_is_what_it_says(real: Database) -> None:
    assert real.records == len(list(DUMP.glob("*.json"))) == 47
    assert real.modified == "2025-08-29T19:45:46.000Z"
    assert real.ecosystems["PyPI"] == 46
    assert real.ecosystems["npm"] == 2


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [
        ("torch", "2.5.1", {"GHSA-53q9-r3pm-6pq6", "GHSA-3749-ghw9-m3mg", "GHSA-887c-mr87-cxwp"}),
        ("torch", "2.6.0+cu124", {"GHSA-3749-ghw9-m3mg", "GHSA-887c-mr87-cxwp"}),
        ("torch", "2.7.1", {"GHSA-887c-mr87-cxwp"}),
        ("torch", "2.8.0", set[str]()),
        ("scikit-learn", "1.4.2", {"GHSA-jw8x-6495-233v"}),
        ("scikit_learn", "0.23.2", {"GHSA-jw8x-6495-233v", "PYSEC-2020-108"}),
        ("scikit-learn", "1.5.0", set[str]()),
        ("urllib3", "1.26.17", {"PYSEC-2023-212", "GHSA-pq67-6m6q-mj2v", "GHSA-48p4-8xcf-vxj5"}),
        ("urllib3", "2.0.6", {"PYSEC-2023-212", "GHSA-pq67-6m6q-mj2v", "GHSA-48p4-8xcf-vxj5"}),
        ("urllib3", "2.5.0", set[str]()),
        ("numpy", "1.9.2", {"PYSEC-2021-854", "PYSEC-2021-855", "PYSEC-2021-857"}),
        ("numpy", "1.19.0rc2", {"PYSEC-2021-857"}),
        ("numpy", "1.19.0", set[str]()),
        ("joblib", "1.1.1", {"PYSEC-2022-288"}),
        ("protobuf", "5.29.4", {"GHSA-8qvm-5x2c-j2w7"}),
        ("protobuf", "4.25.8", set[str]()),
        ("protobuf", "6.30.0rc1", {"GHSA-8qvm-5x2c-j2w7"}),
        ("PyYAML", "5.3", {"PYSEC-2020-96", "PYSEC-2021-142"}),
        ("certifi", "2024.6.2", {"GHSA-248v-346w-9cwc"}),
        ("certifi", "2024.7.4", set[str]()),
        ("Pillow", "9.5.0", {"GHSA-j7hp-h8jx-5ppr", "PYSEC-2023-175"}),
        ("xgboost", "3.0.0", set[str]()),
    ],
)
def test_versions_have_the_advisories_that_they_are_known_for(
    real: Database, name: str, version: str, expected: set[str]
) -> None:
    assert ids(real, name, version) == expected


def test_npm_and_crates_have_theirs(real: Database) -> None:
    assert ids(real, "lodash", "4.17.20", "npm") == {"GHSA-35jh-r3h4-6jhm"}
    assert ids(real, "lodash", "4.17.21", "npm") == set()
    assert ids(real, "electron", "25.8.0", "npm") == {"GHSA-j7hp-h8jx-5ppr"}
    assert ids(real, "electron", "23.0.0", "npm") == set()
    assert ids(real, "libwebp_sys2", "0.1.7", "crates.io") == {"GHSA-j7hp-h8jx-5ppr"}


def test_severities_are_scored_and_what_has_none_is_not_rated(real: Database) -> None:
    result = match(
        real,
        [
            Package("PyPI", "torch", "2.5.1"),
            Package("PyPI", "certifi", "2024.6.2"),
            Package("PyPI", "onnx", "1.12.0"),
        ],
    )
    rated = {f.id: (f.severity, f.score, f.rated_by) for f in result.findings}
    assert rated == {
        "GHSA-53q9-r3pm-6pq6": ("critical", 9.3, "CVSS_V4"),
        "GHSA-3749-ghw9-m3mg": ("low", 3.3, "CVSS_V3"),
        "GHSA-887c-mr87-cxwp": ("medium", 4.8, "CVSS_V4"),
        "GHSA-248v-346w-9cwc": ("low", None, "publisher"),
        "PYSEC-2023-38": ("unrated", None, ""),
    }
    assert [f.severity for f in result.findings] == [
        *("critical", "medium"),
        *("unrated", "low", "low"),
    ]


def test_a_dump_without_whole_ecosystems_is_told_from_one_that_knows_nothing(
    real: Database, tmp_path: Path
) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text("torch==2.8.0\nnumpy\n")
    result = match(real, inventory.from_file(path))
    told = report.predicate(result, real)
    assert (told["packages"], told["unmatched"]) == (2, 1)
    assert told["database"]["ecosystems"] == {"PyPI": 46}
