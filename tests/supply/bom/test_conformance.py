"""What an independent checker says of our SPDX: the NTIA minimum elements, by its own model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from full import full, library

from assay.supply.bom import spdx
from assay.supply.bom.model import Contents, unknown

checker = pytest.importorskip("ntia_conformance_checker")


def judged(contents: Contents, folder: Path) -> Any:
    path = folder / "bill.spdx.json"
    path.write_bytes(spdx.encode(spdx.document(contents)))
    return checker.NTIAChecker(str(path), sbom_spec="spdx3")


def test_a_bill_without_a_gap_conforms(tmp_path: Path) -> None:
    found = judged(full(), tmp_path)
    assert not found.parsing_errors
    assert found.compliant
    assert found.get_total_number_components() >= 3


@pytest.mark.parametrize(
    ("changes", "lacking"),
    [
        ({"version": ""}, "get_components_without_versions"),
        ({"supplier": unknown("nobody is named")}, "get_components_without_suppliers"),
    ],
)
def test_a_gap_that_we_call_unknown_is_the_one_that_it_finds(
    tmp_path: Path, changes: dict[str, Any], lacking: str
) -> None:
    numpy = library("numpy", **{"version": "2.4.6", "byte": "33", **changes})
    made = full(libraries=(numpy, library("scikit-learn", "1.9.1", "34")))
    found = judged(made, tmp_path)
    assert not found.compliant
    assert [name for name, _ in getattr(found, lacking)()] == ["numpy"]
