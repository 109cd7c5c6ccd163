"""The licence that a model declares, and what changed between two intakes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.supply.intake import differences
from assay.supply.intake.licences import declared, of_card


@pytest.mark.parametrize(
    ("front", "licence"),
    [
        ("license: mit", "mit"),
        ("license: 'apache-2.0'", "apache-2.0"),
        ('license: "apache-2.0"  # really', "apache-2.0"),
        ("license:\n- mit\n- apache-2.0\ntags: []", "mit AND apache-2.0"),
        ("license: [mit, apache-2.0]", "mit AND apache-2.0"),
        ("license: other\nlicense_name: acme-1.0", "acme-1.0"),
        ("license: other", "other"),
        ("tags:\n- license: mit", ""),
        ("licence: mit", ""),
        ("license:", ""),
    ],
)
def test_a_cards_front_matter_names_the_licence(front: str, licence: str) -> None:
    assert of_card(f"---\n{front}\n---\n# Text\nlicense: gpl\n") == licence


@pytest.mark.parametrize("text", ["", "# Text\nlicense: mit\n", "\n---\nlicense: mit\n---\n"])
def test_what_stands_outside_of_the_front_matter_is_no_declaration(text: str) -> None:
    assert of_card(text) == ""


@given(st.text(max_size=300))
def test_no_card_is_beyond_being_read(text: str) -> None:
    of_card(text)
    of_card(f"---\n{text}\n---")


def test_the_card_goes_before_what_the_source_says(tmp_path: Path) -> None:
    assert declared(tmp_path, "mit") == "mit"
    assert declared(tmp_path, "other") == ""
    assert declared(tmp_path, "a\nb\x1b[31m") == "ab[31m"
    (tmp_path / "README.md").write_bytes(b"---\nlicense: isc\xff\n---\n")
    assert declared(tmp_path, "mit").startswith("isc")
    (tmp_path / "README.md").unlink()
    (tmp_path / "README.md").symlink_to("/etc/hostname")
    assert declared(tmp_path, "mit") == "mit"


def test_two_intakes_of_the_same_differ_in_nothing() -> None:
    predicate = {
        "source": {"revision": "r"},
        "files": [{"path": "a", "digest": "sha256:1"}],
        "licence": "mit",
        "signer": "unsigned",
        "signature": None,
    }
    scanned = {"verdict": "clean", "globals": ["a b"], "findings": []}
    assert differences.between(predicate, predicate, scanned, scanned) == {}
    signed = {**predicate, "signer": "trusted", "signature": {"identity": "acme"}}
    found = differences.between(predicate, signed, None, scanned)
    assert found["signer"] == {"from": "unsigned", "to": "trusted: acme"}
    assert found["verdict"] == {"from": "not scanned", "to": "clean"}
    assert found["globals"] == {"added": ["a b"], "removed": []}
