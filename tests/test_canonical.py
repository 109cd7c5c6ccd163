"""One spelling of each document: RFC 8785, whichever of the two ways writes it."""

from __future__ import annotations

from typing import Any

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from assay import canonical
from assay.errors import Corrupt

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
KEYS = st.one_of(TEXT, st.text(st.characters(max_codepoint=127), max_size=6))
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53) + 1, 2**53 - 1),
    # Beyond, a whole number could be read as another.
    st.floats(-(2.0**52), 2.0**52),
    TEXT,
)
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(KEYS, inner, max_size=5)),
    max_leaves=20,
)


@given(DOCUMENTS)
@example({"\U0001f600": 1, "\uffff": 2, "a": 3})
@example([1.0, 1e21, -0.0, 1, {"b": [], "a": {}}])
def test_every_document_is_spelt_as_the_standard_says(document: Any) -> None:
    assert canonical.encode(document) == rfc8785.dumps(document)
    assert canonical.decode(canonical.encode(document)) == document


def test_every_character_is_spelt_as_the_standard_says() -> None:
    planes = [*range(0x3000), *range(0xD700, 0xD800), *range(0xE000, 0x10400), 0x1F600, 0x10FFFF]
    for first in range(0, len(planes), 512):
        text = "".join(map(chr, planes[first : first + 512]))
        assert canonical.encode(text) == rfc8785.dumps(text)


@pytest.mark.parametrize(
    "value",
    [2**53, -(2**53), 10**30, float("nan"), float("inf"), "\ud800", {"\ud800": 1}, {"a": {1: 2}}],
    ids=repr,
)
def test_what_json_cannot_carry_exactly_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        canonical.encode(value)


@pytest.mark.parametrize(
    "data",
    [
        b'{"b":1,"a":2}',
        b'{"a": 1}',
        b'{"a":1}\n',
        b'"\\u0041"',
        b"1.0",
        b"[1,2,]",
        b'{"a":1,"a":1}',
    ],
    ids=repr,
)
def test_another_spelling_of_the_same_document_is_refused(data: bytes) -> None:
    with pytest.raises(Corrupt):
        canonical.decode(data)
