"""A Python file as syntax: parsed without running anything, and its canonical digest.

The digest is over the abstract syntax tree without positions, so that comments and formatting do
not count, and everything else does: each constant by its type and exact value, each docstring
unless the caller knows that nobody can read it.
"""

from __future__ import annotations

import ast
import hashlib
import re
import warnings
from typing import Any, cast

from assay.errors import Usage
from assay.types import Digest

MOST_SOURCE = 2 << 20
"""Bytes in one source file.  A parsed file takes some hundred times its size in memory."""

_FORMAT = b"assay/code/v1"
# PEP 263: in the first two lines.  Python takes any codec of that name, whose work we cannot judge.
_DECLARED = re.compile(rb"[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_BOM = b"\xef\xbb\xbf"


def parse(data: bytes, shown: str) -> ast.Module:
    """The syntax tree of a file's bytes; `shown` is how messages name the file.  Raises `Usage`."""
    if len(data) > MOST_SOURCE:
        raise _refused(shown, 1, f"has {len(data)} bytes; a source file may have {MOST_SOURCE}")
    if (at := data.find(b"\0")) >= 0:
        raise _refused(shown, 1 + data.count(b"\n", 0, at), "contains a null byte")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = 1 + data.count(b"\n", 0, error.start)
        raise _refused(shown, line, "is not UTF-8", "save it as UTF-8") from error
    for number, text in enumerate(data.removeprefix(_BOM).split(b"\n", 2)[:2], 1):
        declared = _DECLARED.match(text)
        if declared and declared[1].lower().replace(b"_", b"-") not in (b"utf-8", b"utf8"):
            raise _refused(
                shown, number, "declares another encoding than UTF-8", "save it as UTF-8"
            )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(data)
    except SyntaxError as error:
        raise _refused(shown, error.lineno or 1, f"is not valid Python: {error.msg}") from error
    except (RecursionError, MemoryError) as error:
        raise _refused(shown, 1, "is nested too deeply", "split its expressions") from error
    except ValueError as error:
        raise _refused(shown, 1, f"is not valid Python: {error}") from error


def _refused(shown: str, line: int, why: str, remedy: str = "mend the file") -> Usage:
    return Usage(f"{shown}, line {line}: {why}", remedy=remedy, code="pipeline.source")


def raw_digest(data: bytes) -> Digest:
    """The digest of a source file where each of its bytes counts."""
    return _digest(b"bytes", data)


def digests(tree: ast.Module) -> tuple[Digest, Digest]:
    """The digests of what a file says: with its docstrings, and without.

    Files with equal digests compile to equal code, but for line numbers (and docstrings).
    """
    whole, bare = canonical(tree)
    return _digest(b"syntax and docstrings", whole), _digest(b"syntax", bare)


def _digest(kind: bytes, data: bytes) -> Digest:
    hasher = hashlib.sha256(b"%s %s\0" % (_FORMAT, kind))
    hasher.update(data)
    return cast(Digest, "sha256:" + hasher.hexdigest())


def canonical(tree: ast.Module) -> tuple[bytes, bytes]:
    """The tree in prefix order, one token a line: with docstrings, and without.

    A node is its class, followed by each of its fields in the order of its grammar; a list is its
    length followed by its items.  So the tree can be told from it, and nothing is confused.  Not
    recursive: the depth is the parser's to bound.
    """
    tokens: list[str] = []
    documented: list[tuple[int, int]] = []
    stack: list[Any] = [tree]
    while stack:
        item = stack.pop()
        if isinstance(item, ast.Constant):
            # Not its `kind`, which says only that a text was written u"...".
            tokens.append(constant(item.value))
        elif isinstance(item, ast.AST):
            names = item._fields
            tokens.append(f"{type(item).__name__} {len(names)}")
            fields = [getattr(item, name, None) for name in names]
            if isinstance(item, _DOCUMENTED) and has_docstring(item):
                fields[names.index("body")] = _Documented(item.body)
            fields.reverse()
            stack += fields
        elif isinstance(item, list):
            items = cast("list[Any]", item)
            if isinstance(item, _Documented):
                documented.append((len(tokens), len(items)))
            tokens.append(f"[{len(items)}")
            stack += reversed(items)
        elif item is None:
            tokens.append("-")
        else:
            tokens.append(constant(item))
    whole = "\n".join(tokens).encode()
    # A docstring is the two tokens after the length of its body: an Expr, and its Constant.
    for at, length in reversed(documented):
        tokens[at : at + 3] = [f"[{length - 1}"]
    return whole, "\n".join(tokens).encode()


class _Documented(list[Any]):
    """A body that begins with a docstring."""


_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def has_docstring(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef,
) -> bool:
    """Whether the compiler will take the first statement for a docstring."""
    match node.body[:1]:
        case [ast.Expr(value=ast.Constant(value=str()))]:
            return True
        case _:
            return False


def constant(value: Any) -> str:
    """A constant by its type and exact value, on one line and in ASCII."""
    match value:
        case bool() | None:
            return f"={value}"
        case int():
            # In hexadecimal: Python refuses to write very long integers in decimal.
            return f"=int {value:x}"
        case float():
            return f"=float {value.hex()}"
        case complex():
            return f"=complex {value.real.hex()} {value.imag.hex()}"
        case str():
            return f"=str {value!a}"
        case bytes():
            return f"=bytes {value!r}"
        case _ if value is Ellipsis:
            return "=..."
        case _:
            raise TypeError(f"{type(value).__name__} is not a constant of Python's syntax")
