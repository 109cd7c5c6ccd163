"""Keys: no two sets of components have one encoding, and a change is told in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.pipeline import keys

COMPONENTS = st.dictionaries(st.text(max_size=6), st.text(max_size=6), max_size=5)


@given(COMPONENTS, COMPONENTS)
def test_two_keys_are_equal_only_if_their_components_are(
    a: dict[str, str], b: dict[str, str]
) -> None:
    assert (keys.digest(a) == keys.digest(b)) == (a == b)


@given(COMPONENTS)
def test_the_order_of_components_does_not_matter(a: dict[str, str]) -> None:
    assert keys.digest(a) == keys.digest(dict(reversed(a.items())))


def test_moving_a_letter_from_a_name_to_its_value_changes_the_key() -> None:
    assert keys.digest({"ab": "c"}) != keys.digest({"a": "bc"})
    assert keys.digest({"a": "", "b": ""}) != keys.digest({"a": "b"})


def test_the_key_of_a_fixed_example_never_changes() -> None:
    # A golden value: changing the encoding needs a new format name.
    assert keys.digest({"step": "m:f", "seed": "0"}) == (
        "sha256:" + _by_hand([("seed", "0"), ("step", "m:f")])
    )


def _by_hand(pairs: list[tuple[str, str]]) -> str:
    import hashlib

    data = b"assay/step-key/v1\n"
    for pair in pairs:
        for text in pair:
            data += len(text.encode()).to_bytes(8, "big") + text.encode()
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("a", "b"),
    [(1, 1.0), (0.0, -0.0), (True, 1), ("1", 1), (None, "null"), ([], {}), (2**60, 2**60 + 1)],
)
def test_plain_arguments_that_differ_in_type_or_value_differ_in_the_key(
    a: object, b: object
) -> None:
    assert keys.of_plain("x", a) != keys.of_plain("x", b)


def test_the_order_of_a_dict_does_not_count() -> None:
    assert keys.of_plain("x", {"a": 1, "b": 2}) == keys.of_plain("x", {"b": 2, "a": 1})


def test_a_value_that_is_no_number_has_no_key() -> None:
    with pytest.raises(ValueError, match="JSON"):
        keys.of_plain("x", float("nan"))


def test_one_input_and_a_list_of_one_input_differ() -> None:
    assert keys.of_input("x", ["d"], many=False) != keys.of_input("x", ["d"], many=True)


def test_what_changed_is_told_in_words_what_matters_most_first() -> None:
    before = {"python": "3.11", "code:m": "1", "installed:numpy": "2.1 x", "argument:depth": "3"}
    now = {"python": "3.11", "code:m": "2", "installed:numpy": "2.2 y", "argument:depth": "4"}
    assert keys.changed(before, now | {"input:rows": "d"}) == [
        "code of m changed",
        "argument depth was 3, is 4",
        "input rows is new",
        "installed numpy was 2.1, is 2.2",
    ]


def test_a_library_whose_files_were_edited_is_told_apart_from_a_new_version() -> None:
    assert keys.changed({"installed:a": "1 x"}, {"installed:a": "1 y"}) == [
        "installed a has other files"
    ]
