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


def digest(tree: ast.Module, *, docstrings: bool) -> Digest:
    """The digest of what a file says; `docstrings` says whether those count.

    Files with equal digests compile to equal code, but for line numbers (and docstrings).
    """
    kind = b"syntax and docstrings" if docstrings else b"syntax"
    return _digest(kind, canonical(tree, docstrings=docstrings))


def _digest(kind: bytes, data: bytes) -> Digest:
    hasher = hashlib.sha256(b"%s %s\0" % (_FORMAT, kind))
    hasher.update(data)
    return cast(Digest, "sha256:" + hasher.hexdigest())


def canonical(tree: ast.Module, *, docstrings: bool) -> bytes:
    """The tree in prefix order, one token a line; the inverse exists, so nothing is confused.

    A node is its class, followed by each of its fields in the order of its grammar; a list is its
    length followed by its items.  Not recursive: the depth is the parser's to bound.
    """
    tokens: list[str] = []
    stack: list[Any] = [tree]
    while stack:
        item = stack.pop()
        if item is None:
            tokens.append("-")
        elif isinstance(item, ast.Constant):
            # Not its `kind`, which says only that a text was written u"...".
            tokens.append(constant(item.value))
        elif isinstance(item, ast.AST):
            tokens.append(type(item).__name__)
            names = item._fields
            tokens.append(str(len(names)))
            fields = [getattr(item, name, None) for name in names]
            if not docstrings and isinstance(item, _DOCUMENTED) and has_docstring(item):
                fields[names.index("body")] = item.body[1:]
            stack.extend(reversed(fields))
        elif isinstance(item, list):
            items = cast("list[Any]", item)
            tokens.append(f"[{len(items)}")
            stack.extend(reversed(items))
        else:
            tokens.append(constant(item))
    return "\n".join(tokens).encode()


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
