"""The shape that Cedar's text may have: measured before Cedar's parser sees it.

Cedar 4.12 reads nested text by recursion, and about 500 open brackets (or some thousand operators
in a row) end the whole process with a segmentation fault, which nothing can catch.  Bundles come
from strangers too (`assay verify`), so text beyond any sensible shape is refused first.
"""

from __future__ import annotations

import re

from assay.errors import Usage

MOST_CHARACTERS = 1 << 20
MOST_NESTED = 32
MOST_WORDS = 2000
"""In one policy."""

# Cedar's own lexer: a comment ends at either line break, a string may hold both.
_WORD = re.compile(r'//[^\n\r]*|"(?:[^"\\]|\\.)*"|\w+|[^\w\s]', re.DOTALL)


def check_policies(text: str, what: str) -> None:
    """Raise `Usage` for policies that are too long or too deeply nested."""
    _check(text, what, {"(": ")", "[": "]", "{": "}"}, MOST_WORDS)


def check_schema(text: str, what: str) -> None:
    """Raise `Usage` for a schema that is too long or too deeply nested."""
    _check(text, what, {"(": ")", "[": "]", "{": "}", "<": ">"}, MOST_CHARACTERS)


def _check(text: str, what: str, brackets: dict[str, str], most_words: int) -> None:
    if len(text) > MOST_CHARACTERS:
        raise _wrong(what, f"it is longer than {MOST_CHARACTERS} characters")
    open_: list[str] = []
    words = 0
    for match in _WORD.finditer(text):
        word = match[0]
        if word.startswith("//"):
            continue
        words = 0 if word == ";" else words + 1
        if word in brackets:
            open_.append(brackets[word])
        elif open_ and word == open_[-1]:
            # A bracket that closes no other one closes nothing: Cedar will refuse it.
            open_.pop()
        if len(open_) > MOST_NESTED or words > most_words:
            line = text.count("\n", 0, match.start()) + 1
            why = f"the policy has more than {most_words} words and signs"
            if len(open_) > MOST_NESTED:
                why = f"it is nested more than {MOST_NESTED} brackets deep"
            raise _wrong(f"{what}, line {line}", why)


def _wrong(where: str, why: str) -> Usage:
    return Usage(f"{where}: {why}", remedy="write several smaller ones", code="policy.shape")
