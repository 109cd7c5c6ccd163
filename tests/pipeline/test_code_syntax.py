"""The digest of one file: equal digests mean equal code, and no comment changes one."""

from __future__ import annotations

import ast
import io
import tokenize
import warnings
from types import CodeType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import Usage
from assay.pipeline import syntax


def digest(text: str, *, docstrings: bool = True) -> str:
    whole, bare = syntax.digests(syntax.parse(text.encode(), "x.py"))
    return whole if docstrings else bare


CONSTANTS = [
    *("1", "1.0", "True", "1j", "'1'", "b'1'", "0", "0.0", "-0.0", "False", "0j", "-0j", "None"),
    *("''", "b''", "'None'", "...", "'...'", "1e999", "-1e999", "1e999 - 1e999", "'\\ud800'"),
    *("'\\ud801'", "'\\0'", "b'\\0'", "10 ** 30", str(10**30), hex(16**5000), hex(16**5000 + 1)),
    *("0.1", "0.1000000000000001", "'a' 'b'", "'é'", "'e\\u0301'", "(1,)", "(1.0,)", "[1]"),
    *("{1}", "f'{x:1}'", "'\\n'", "'\\\\n'", "f'{x}'", "f'{x!r}'", "f'{x}' 'y'"),
    *("'=int 1'", "'-'", "'[0'"),
]


def test_constants_differ_by_type_and_exact_value() -> None:
    digests = {digest(f"x = {text}\n"): text for text in CONSTANTS}
    assert len(digests) == len(CONSTANTS)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = u'a'", "x = 'a'"),
        ("x = 'ab'", "x = 'a' 'b'"),
        ("x = 1_000", "x = 1000"),
        ("x = 0x10", "x = 16"),
        ("x = 1.50", "x = 1.5"),
        ("x = r'\\d'", "x = '\\\\d'"),
        ("x = (1)", "x = 1"),
        ("x = 1; y = 2", "x = 1\ny = 2"),
        ("if x: pass", "if x:\n\n    # no\n    pass"),
        ("if x: pass\nelse:\n  if y: pass", "if x: pass\nelif y: pass"),
        ("\ufeffx = 1", "x = 1"),
        ("# -*- coding: utf-8 -*-\nx = 1", "x = 1"),
    ],
)
def test_spelling_does_not_count(one: str, other: str) -> None:
    assert digest(one) == digest(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("'''a'''\nx = 1", "'''b'''\nx = 1"),
        ("def f():\n  'a'\n  return 1", "def f():\n  return 1"),
        ("class A:\n  'a'\n  x = 1", "class A:\n  'b'\n  x = 1"),
        ("async def f():\n  'a'\n  return 1", "async def f():\n  'b'\n  return 1"),
        (
            "'a'\nclass A:\n  'b'\n  def f(x=[]):\n    'c'\n    return 'd'",
            "class A:\n  'e'\n  def f(x=[]):\n    return 'd'",
        ),
    ],
)
def test_docstrings_count_where_asked_for(one: str, other: str) -> None:
    assert digest(one) != digest(other)
    assert digest(one, docstrings=False) == digest(other, docstrings=False)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1\n'a'", "x = 1\n'b'"),
        ("def f():\n  f'a'", "def f():\n  f'b'"),
        ("def f():\n  b'a'", "def f():\n  b'b'"),
        ("if x:\n  'a'", "if x:\n  'b'"),
        ("'a'\n'b'", "'a'"),
        ("def f():\n  'a'", "def f():\n  pass"),
    ],
)
def test_what_is_no_docstring_always_counts(one: str, other: str) -> None:
    assert digest(one, docstrings=False) != digest(other, docstrings=False)


def test_each_precision_has_digests_of_its_own() -> None:
    text = b"x = 1\n"
    assert (
        len({digest("x = 1\n"), digest("x = 1\n", docstrings=False), syntax.raw_digest(text)}) == 3
    )


# Programs: statements of a small grammar that reaches most of what a compiler tells apart.

NAMES = st.sampled_from(["a", "b", "c"])
LEAVES = st.sampled_from(CONSTANTS) | NAMES


OPERATORS = st.sampled_from(["+", "and", "==", "is", "@", "//", "if a else"])


def _grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pair = st.tuples(inner, inner)
    return st.one_of(
        st.tuples(
            inner, st.sampled_from(["+", "and", "==", "is", "@", "//", "if a else"]), inner
        ).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        pair.map(lambda t: f"[{t[0]}, {t[1]}]"),
        pair.map(lambda t: f"{{({t[0]},): {t[1]}}}"),
        pair.map(lambda t: f"a({t[0]}, b={t[1]})"),
        pair.map(lambda t: f"(lambda c={t[0]}: {t[1]})"),
        pair.map(lambda t: f"[{t[0]} for a in b if {t[1]}]"),
        inner.map(lambda t: f"f'{{({t!s})!r}}'" if "'" not in t and "\\" not in t else t),
        inner.map(lambda t: f"a.b[{t}]"),
    )


EXPRESSIONS = st.recursive(LEAVES, _grow, max_leaves=6)


def _indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.split("\n"))


SIMPLE = st.one_of(
    st.tuples(NAMES, EXPRESSIONS).map(lambda t: f"{t[0]} = {t[1]}"),
    st.tuples(NAMES, EXPRESSIONS).map(lambda t: f"{t[0]}: int = {t[1]}"),
    st.tuples(NAMES, EXPRESSIONS).map(lambda t: f"{t[0]} += {t[1]}"),
    EXPRESSIONS,
    EXPRESSIONS.map(lambda t: f"assert {t}"),
    st.sampled_from(["pass", "import a", "from . import a as b", "from a import *", "del a"]),
)


def _block(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    body = st.lists(inner, min_size=1, max_size=3).map(lambda lines: _indent("\n".join(lines)))
    return st.one_of(
        st.tuples(EXPRESSIONS, body).map(lambda t: f"if {t[0]}:\n{t[1]}"),
        st.tuples(EXPRESSIONS, body, body).map(lambda t: f"while {t[0]}:\n{t[1]}\nelse:\n{t[2]}"),
        st.tuples(body, body).map(lambda t: f"try:\n{t[0]}\nexcept a as b:\n{t[1]}"),
        st.tuples(EXPRESSIONS, body).map(lambda t: f"with {t[0]} as c:\n{t[1]}"),
        body.map(lambda t: f"class A(b, metaclass=c):\n{t}".replace("from a import *", "pass")),
        st.tuples(EXPRESSIONS, body).map(
            lambda t: f"@a\ndef b(a, /, c={t[0]}, *, d: int) -> c:\n{t[1]}".replace(
                "from a import *", "pass"
            )
        ),
    )


PROGRAMS = st.lists(st.recursive(SIMPLE, _block, max_leaves=5), min_size=1, max_size=4).map(
    lambda lines: "\n".join(lines) + "\n"
)


def compiled(text: str) -> CodeType | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return compile(text, "x.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return None


def meaning(value: Any) -> Any:
    """A code object or constant, without positions, that compares by type and exact value."""
    match value:
        case CodeType():
            return (
                "code",
                *(value.co_code, value.co_names, value.co_varnames, value.co_freevars),
                *(value.co_cellvars, value.co_flags, value.co_argcount, value.co_stacksize),
                *(value.co_posonlyargcount, value.co_kwonlyargcount, value.co_qualname),
                *(getattr(value, "co_exceptiontable", b""), meaning(value.co_consts)),
            )
        case tuple():
            return ("tuple", *(meaning(item) for item in value))
        case frozenset():
            return ("set", tuple(sorted(str(meaning(item)) for item in value)))
        case int() if not isinstance(value, bool):
            return ("int", hex(value))
        case _:
            return (type(value).__name__, ascii(value))


@settings(max_examples=50, deadline=None)
@given(st.lists(PROGRAMS, min_size=2, max_size=12))
def test_equal_digests_mean_equal_code(texts: list[str]) -> None:
    seen: dict[str, Any] = {}
    for text in texts:
        if (code := compiled(text)) is not None:
            assert seen.setdefault(digest(text), meaning(code)) == meaning(code)


@settings(max_examples=200, deadline=None)
@given(PROGRAMS, st.sampled_from(CONSTANTS), st.sampled_from(CONSTANTS))
def test_replacing_one_constant_changes_the_digest_wherever_it_changes_the_code(
    text: str, old: str, new: str
) -> None:
    other = text.replace(old, new, 1)
    one, two = compiled(text), compiled(other)
    if one is None or two is None:
        return
    if meaning(one) != meaning(two):
        assert digest(text) != digest(other)


def commented(text: str, gaps: list[int]) -> str:
    """The same program with comments, blank lines and other spacing between its tokens."""
    pieces: list[str] = []
    depth = 0
    line = ""
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    for number, token in enumerate(tokens):
        gap = gaps[number % len(gaps)]
        if token.type in (tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER):
            continue
        if token.start[1] == len(token.line) - len(token.line.lstrip()) and not depth:
            line = token.line[: token.start[1]]
            pieces.append("\n" * (gap % 3) + (f"{line}# {gap}\n" if gap % 2 else ""))
            pieces.append(line)
        if token.type in (tokenize.NEWLINE, tokenize.NL):
            pieces.append("   # über\n" if gap % 2 else "\n")
            continue
        depth += (token.string in "([{") - (token.string in ")]}") if token.string else 0
        inside = depth > 0 and gap % 5 == 0
        pieces.append(token.string + (" # in\n\t" if inside else " " * (1 + gap % 2)))
    return "".join(pieces)


@settings(max_examples=200, deadline=None)
@given(PROGRAMS, st.lists(st.integers(0, 9), min_size=3, max_size=9))
def test_comments_and_spacing_never_change_a_digest(text: str, gaps: list[int]) -> None:
    if compiled(text) is None or "f'" in text:  # Spaces in an f-string are text.
        return
    other = commented(text, gaps)
    assert digest(other) == digest(text)
    assert digest(other, docstrings=False) == digest(text, docstrings=False)


@settings(max_examples=30, deadline=None)
@given(st.lists(PROGRAMS, min_size=2, max_size=12))
def test_the_canonical_form_tells_any_two_trees_apart(texts: list[str]) -> None:
    seen: dict[bytes, str] = {}
    for text in texts:
        # Python itself writes no integer as long as those in hexadecimal.
        if "0x" not in text and compiled(text) is not None:
            tree = syntax.parse(text.encode(), "x.py")
            told = ast.dump(tree)
            assert seen.setdefault(syntax.canonical(tree)[0], told) == told


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"x = 1\ny = (\n", "x.py, line 2: is not valid Python"),
        (b"x = '\xff'\n", "x.py, line 1: is not UTF-8"),
        (b"x = 1\ny = '\xff'\n", "x.py, line 2: is not UTF-8"),
        (b"x = 1\n\0", "x.py, line 2: contains a null byte"),
        (b"# coding: latin-1\nx = 1\n", "x.py, line 1: declares another encoding"),
        (b"#!/usr/bin/python\n# vim: set fileencoding=utf-7 :\n", "x.py, line 2: declares another"),
        (b"-" * 1_000_000 + b"1", "nested too deeply"),
        (b"x" + b".a" * 100_000, "nested too deeply"),
        (b"1" + b"+1" * 200_000, "nested too deeply"),
        (b"(" * 100_000, "too many nested parentheses"),
        (b"x = " + b"9" * 5000, "is not valid Python"),
        (b" " * (syntax.MOST_SOURCE + 1), "a source file may have"),
        (b"return = 1", "is not valid Python"),
        (b"x = 1\r\ny = \r\n", "line 2"),
    ],
)
def test_what_cannot_be_parsed_is_refused_with_file_and_line(data: bytes, words: str) -> None:
    with pytest.raises(Usage, match=r"^x\.py, line") as caught:
        syntax.parse(data, "x.py")
    assert words in caught.value.message
    assert caught.value.remedy


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=200)
    | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))
)
def test_no_bytes_do_anything_but_parse_or_be_refused(data: bytes) -> None:
    try:
        tree = syntax.parse(data, "x.py")
    except Usage:
        return
    assert all(told.startswith("sha256:") for told in syntax.digests(tree))


def test_warnings_of_the_parser_stay_inside(recwarn: pytest.WarningsRecorder) -> None:
    assert digest("x = '\\d'\nif x is 1: pass\n")
    assert not recwarn.list
