"""How packages are named and pinned: what is found, and what is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import Usage
from assay.supply.packages import (
    Names,
    _distance,
    check_names,
    check_requirements,
    popular,
    read_names,
)

PINNED = "numpy==2.0.1 --hash=sha256:" + "ab" * 32


def rules(text: str, names: Names | None = None) -> list[str]:
    return [f.rule for f in check_requirements(text, names or Names())]


def test_a_pinned_and_hashed_file_has_nothing_to_look_at() -> None:
    assert rules(f"# made by a tool\n{PINNED}\n") == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("numpy", ["pins.unhashed", "pins.unpinned"]),
        ("numpy>=2", ["pins.unhashed", "pins.unpinned"]),
        ("numpy==2.*", ["pins.unhashed", "pins.unpinned"]),
        ("numpy==2.0.1", ["pins.unhashed"]),
        ("numpy==2.0.1 --hash=md5:aa", ["pins.weak_hash"]),
        ("numpy @ https://example.org/numpy.whl", ["pins.url"]),
        ("numpy @ git+https://example.org/numpy@main", ["pins.url"]),
        ("./numpy", ["pins.unreadable"]),
        ("-e .", ["pins.editable"]),
        ("--editable=git+https://example.org/x", ["pins.editable"]),
        ("-r base.txt", ["pins.elsewhere"]),
        ("-c limits.txt", ["pins.elsewhere"]),
        ("--extra-index-url https://pypi.example.org", ["confusion.extra_index"]),
        ("--index-url https://pypi.example.org", ["index.other"]),
        ("-i https://pypi.example.org", ["index.other"]),
        ("-f https://example.org/wheels", ["index.other"]),
        ("--trusted-host pypi.example.org", ["index.untrusted"]),
        ("--index-url http://pypi.example.org", ["index.other", "index.plain"]),
        ("--index-url https://me:secret@pypi.example.org", ["index.other", "index.secret"]),
        ("--pre", []),
    ],
)
def test_each_kind_of_line_is_found(line: str, expected: list[str]) -> None:
    assert rules(line) == expected


def test_passwords_are_never_shown() -> None:
    for line in (
        "--index-url https://me:hunter2@example.org",
        "--extra-index-url=https://me:hunter2@example.org",
        "https://me:hunter2@example.org/x.whl",
        "-e git+https://me:hunter2@example.org/x",
    ):
        found = check_requirements(line)
        assert found
        assert "hunter2" not in repr(found)


def test_a_private_name_that_a_public_index_could_answer_for_is_found() -> None:
    own = Names(private=("acme-*",), index="https://pypi.acme.example/simple")
    line = "acme-models==1.0 --hash=sha256:" + "ab" * 32
    assert rules(line, own) == ["confusion.private"]
    assert rules(f"--index-url https://pypi.acme.example/simple/\n{line}", own) == ["index.other"]
    both = f"--index-url {own.index}\n--extra-index-url https://pypi.org/simple\n{line}"
    assert "confusion.private" in rules(both, own)
    assert "confusion.private" in rules(f"-i https://pypi.acme.example/simple2\n{line}", own)
    assert rules(line) == []


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("reqeusts", "requests"),
        ("requets", "requests"),
        ("numpi", "numpy"),
        ("scikitlearn", "scikit-learn"),
        ("learn-scikit", "scikit-learn"),
        ("tensorfow", "tensorflow"),
        ("transfomers", "transformers"),
        ("rnatplotlib", "matplotlib"),
        ("pandas0", ""),
        ("python-requests", "requests"),
        ("Torch_Vison", "torchvision"),
        ("hugingface-hub", "huggingface-hub"),
        ("sklearn", "scikit-learn"),
        ("pytorch", "torch"),
        ("jinja", "jinja2"),
    ],
)
def test_names_that_look_like_well_known_ones_are_found(name: str, meant: str) -> None:
    found = check_names([name])
    assert [meant in f.what for f in found] == ([True] if meant else [])


@pytest.mark.parametrize(
    "name",
    [
        *("numpy", "torch", "scikit-learn", "types-requests", "Jinja2", "PyYAML", "tf-keras"),
        *("acme-credit-scoring", "a-name-of-its-own", "six", "x", "types-boto3-zz"),
    ],
)
def test_names_of_their_own_are_left_alone(name: str) -> None:
    assert check_names([name]) == []


def test_what_was_looked_at_is_not_shown_again() -> None:
    assert check_names(["reqeusts"], Names(known=("Reqeusts",))) == []
    assert check_names(["sklearn"], Names(known=("sklearn",))) == []
    assert check_names(["acme-requets"], Names(private=("acme-*",))) == []


def test_the_list_of_names_is_sorted_normalised_and_has_no_name_twice() -> None:
    path = Path(__file__).parents[2] / "src" / "assay" / "supply" / "popular_packages.txt"
    names = [n for n in path.read_text().splitlines() if not n.startswith("#")]
    assert names == sorted(set(names))
    assert {"torch", "transformers", "mlflow", "scikit-learn", "xgboost"} <= popular()


@given(st.text("ab-", max_size=6), st.text("ab-", max_size=6))
@settings(max_examples=100, deadline=None)
def test_distance_is_symmetric_and_zero_only_for_the_same(one: str, other: str) -> None:
    assert _distance(one, other) == _distance(other, one)
    assert (_distance(one, other) == 0) == (one == other)
    assert _distance(one, other) <= max(len(one), len(other))


def test_names_of_an_organisation_are_read_strictly(tmp_path: Path) -> None:
    path = tmp_path / "names.toml"
    path.write_text(
        'format = "assay/package-names/v1"\nprivate = ["acme-*"]\nindex = "https://x"\n'
    )
    assert read_names(path).private == ("acme-*",)
    for bad in (
        'private = ["x"]',
        'format = "assay/package-names/v2"',
        'format = "assay/package-names/v1"\nother = 1',
        'format = "assay/package-names/v1"\nprivate = "x"',
        "format =",
        "",
    ):
        path.write_text(bad)
        with pytest.raises(Usage, match="names of packages"):
            read_names(path)


@given(st.text(max_size=80))
@settings(max_examples=100, deadline=None)
def test_any_text_has_findings_and_no_error(text: str) -> None:
    check_requirements(text)
