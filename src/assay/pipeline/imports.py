"""What a source file imports and what it can see of source text: found in its syntax tree.

Every import counts, wherever it stands: in functions, in branches, for type checkers only.  Too
many costs a needless run of a step; one too few would be a stale result.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from types import CodeType
from typing import Any


class Sight(IntEnum):
    """How much of the source text running code can see; what it can see counts."""

    SYNTAX = 0
    DOCSTRINGS = 1
    BYTES = 2
    """Line numbers or source text: comments and formatting too."""


@dataclass(frozen=True, slots=True)
class Request:
    """One import, as written: ``from ..a import b, *`` is level 2, base "a", names ("b", "*")."""

    base: str
    names: tuple[str, ...] = ()
    level: int = 0
    ours: bool = False
    """Text that may name a module of ours and need not be one: ``files("pkg.data")``."""


@dataclass(slots=True)
class Found:
    """What one file asks for and can see."""

    requests: list[Request] = field(default_factory=list[Request])
    sight: Sight = Sight.SYNTAX
    exported: tuple[str, ...] | None = ()
    """The names in ``__all__``; None when they cannot be read off the text."""


# Functions that take a module's name as text, of importlib, its resources, pkgutil and runpy.
_IMPORT_BY_NAME = frozenset({"import_module", "__import__", "run_module"})
_LOOK_BY_NAME = frozenset(
    {
        *("find_spec", "find_loader", "get_loader", "resolve_name"),
        *("files", "get_data", "iter_modules", "walk_packages"),
        *("open_text", "open_binary", "read_text", "read_binary", "is_resource", "contents"),
        *("resource_string", "resource_filename", "resource_stream", "resource_listdir"),
    }
)
_DOTTED = re.compile(r"\.*[^\W\d]\w*(?:\.[^\W\d]\w*)*")

# Modules of the standard library that show line numbers, source text or where it lies.
_SEE_BYTES = frozenset(
    {
        *("inspect", "linecache", "traceback", "tokenize", "token", "dis", "symtable", "trace"),
        *("tracemalloc", "faulthandler", "bdb", "pdb", "profile", "cProfile", "pstats", "cgitb"),
        *("marshal", "pyclbr", "py_compile", "compileall", "zipimport", "runpy", "pkgutil", "imp"),
        *("modulefinder", "doctest", "code", "codeop", "gc", "lib2to3"),
        *("importlib.resources", "importlib.abc", "importlib.machinery"),
    }
)
_SEE_DOCSTRINGS = frozenset({"pydoc", "cmd", "unittest", "xmlrpc"})

# Names of attributes and functions that do.
_SHOW_BYTES = frozenset(
    {
        *("__file__", "__path__", "__cached__", "__loader__", "__spec__", "__code__"),
        *("__traceback__", "__source__", "__firstlineno__", "__globals__", "globals"),
        *("tb_frame", "tb_lineno", "tb_lasti", "tb_next", "with_traceback"),
        *("f_back", "f_code", "f_globals", "f_lineno", "f_trace", "f_lasti", "lineno"),
        *("gi_frame", "gi_code", "cr_frame", "cr_code", "cr_origin", "ag_frame", "ag_code"),
        *("_getframe", "_getframemodulename", "_current_frames", "settrace", "setprofile"),
        *("excepthook", "unraisablehook", "findCaller", "format_exc", "print_exc"),
        *("catch_warnings", "showwarning", "formatwarning", "warn_explicit"),
        *("open_code", "getsource", "getsourcelines", "find_spec", "find_loader", "get_loader"),
        *("spec_from_file_location", "spec_from_loader", "module_from_spec"),
        *("__warningregistry__", "__annotate__", "breakpoint"),
        *(name for name in dir(CodeType) if name.startswith("co_")),
    }
)
_SHOW_DOCSTRINGS = frozenset({"__doc__", "__dict__", "vars", "locals", "help", "getdoc"})
# Inside longer text: "%(lineno)d" of logging, an expression for eval().  Those names cannot be
# anything else.
_TOLD_BYTES = re.compile(
    r"__(?:file|path|cached|loader|spec|code|traceback|globals|firstlineno)__|lineno|tb_frame"
)
_TOLD_DOCSTRINGS = re.compile(r"__(?:doc|dict)__")

# Libraries known to look neither at the text nor at the docstrings of the code that uses them.
_BLIND = frozenset(
    {
        *("numpy", "scipy", "pandas", "polars", "pyarrow", "sklearn", "joblib", "threadpoolctl"),
        *("xgboost", "lightgbm", "catboost", "onnx", "onnxruntime", "onnxmltools", "skl2onnx"),
        *("skops", "safetensors", "statsmodels", "imblearn", "category_encoders", "optuna"),
        *("matplotlib", "seaborn", "PIL", "cv2", "skimage", "networkx", "sympy", "duckdb"),
        *("dateutil", "pytz", "tzdata", "tqdm", "yaml", "tomli", "tomlkit", "orjson", "simplejson"),
        *(
            "requests",
            "httpx",
            "urllib3",
            "certifi",
            "boto3",
            "botocore",
            "fsspec",
            "s3fs",
            "gcsfs",
        ),
        *("psycopg", "psycopg2", "sqlalchemy", "openpyxl", "xlsxwriter", "fastparquet", "lxml"),
        *("bs4", "regex", "rapidfuzz", "typing_extensions", "packaging", "cryptography"),
        *("zstandard", "lz4", "xxhash", "blosc", "h5py", "zarr", "numexpr", "bottleneck"),
        *("assay", "_typeshed"),
    }
)
# Libraries that put docstrings into what they make (schemas, help), and look no further.
_READ_DOCSTRINGS = frozenset({"msgspec", "attr", "attrs", "click", "typer", "rich", "pandera"})


def sight_through(third_party: Sequence[str]) -> Sight:
    """What code can see through these libraries: all of it, through one that is not known."""
    names = set(third_party)
    if names - _BLIND - _READ_DOCSTRINGS:
        return Sight.BYTES
    return Sight.DOCSTRINGS if names & _READ_DOCSTRINGS else Sight.SYNTAX


def find(tree: ast.Module) -> Found:
    """What a file imports and can see."""
    nodes = _nodes(tree)
    found = Found(exported=_exported(nodes))
    called = _names_of_importers(nodes)
    for node in nodes:
        match node:
            case ast.Name(id=name):
                _look(found, _of_name(name))
            case ast.Attribute(value=value, attr=name):
                _look(found, _of_name(name))
                if isinstance(value, ast.Name):
                    _look(found, _of_pair(value.id, name))
            case ast.Constant(value=str(text)):
                _look(found, _of_text(text))
            case ast.Call():
                for request in _by_name(node, called):
                    found.requests.append(request)
                    _look(found, _of_module(request.base))
            case ast.Import(names=names):
                for alias in names:
                    found.requests.append(Request(alias.name))
                    _look(found, _of_module(alias.name, named=alias.asname is not None))
            case ast.ImportFrom(module=module, names=names, level=level):
                listed = tuple(alias.name for alias in names)
                found.requests.append(Request(module or "", listed, level))
                if not level and module:
                    _look(found, _of_import(module, listed))
                for name in listed:
                    _look(found, _of_name(name))
            case ast.MatchClass(kwd_attrs=names):
                for name in names:
                    _look(found, _of_name(name))
            case _:
                pass
    return found


_TELLING = (
    *(ast.Name, ast.Attribute, ast.Constant, ast.Call, ast.Import, ast.ImportFrom),
    *(ast.MatchClass, ast.Assign, ast.AugAssign, ast.AnnAssign),
)


def _nodes(tree: ast.Module) -> list[ast.AST]:
    """Those nodes, at any depth, that may tell something (`ast.walk` takes twice the time)."""
    nodes: list[ast.AST] = []
    stack: list[Any] = [tree]
    while stack:
        item = stack.pop()
        if isinstance(item, ast.AST):
            if isinstance(item, _TELLING):
                nodes.append(item)
            stack += [getattr(item, name, None) for name in item._fields]
        elif isinstance(item, list):
            stack += item
    return nodes


def _look(found: Found, sight: Sight) -> None:
    found.sight = max(found.sight, sight)


def _of_module(name: str, *, named: bool = True) -> Sight:
    if any(above in _SEE_BYTES for above in _prefixes(name)):
        return Sight.BYTES
    if name == "ast" and named:  # Under another name its uses cannot be told apart.
        return Sight.BYTES
    return Sight.DOCSTRINGS if name.partition(".")[0] in _SEE_DOCSTRINGS else Sight.SYNTAX


def _of_import(module: str, names: Sequence[str]) -> Sight:
    sights = [_of_module(module, named=False)]
    sights += [_of_module(f"{module}.{name}", named=False) for name in names]
    sights += [_of_pair(module, name) for name in names]
    return max(sights)


def _of_name(name: str) -> Sight:
    if name in _SHOW_BYTES:
        return Sight.BYTES
    return Sight.DOCSTRINGS if name in _SHOW_DOCSTRINGS else Sight.SYNTAX


def _of_pair(owner: str, name: str) -> Sight:
    """``owner.name``: `ast` shows text of files read otherwise; `sys.path` says where they lie."""
    match owner:
        case "ast" if name != "literal_eval":
            return Sight.BYTES
        case "sys" if name in ("path", "argv", "monitoring"):
            return Sight.BYTES
        case "importlib" if name in ("resources", "machinery", "abc"):
            return Sight.BYTES
        case _:
            return Sight.SYNTAX


def _of_text(text: str) -> Sight:
    # Words alone, such as "code" or "globals", are likelier names of columns.
    if _TOLD_BYTES.search(text) or ("_" in text and text in _SHOW_BYTES):
        return Sight.BYTES
    return Sight.DOCSTRINGS if _TOLD_DOCSTRINGS.search(text) else Sight.SYNTAX


def _prefixes(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _names_of_importers(nodes: Sequence[ast.AST]) -> dict[str, str]:
    """``from importlib import import_module as load``: what such functions are called here."""
    return {
        alias.asname: alias.name
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname and alias.name in _IMPORT_BY_NAME | _LOOK_BY_NAME
    }


def _by_name(call: ast.Call, called: Mapping[str, str]) -> Iterator[Request]:
    """The modules that a call names in text: ``import_module("a.b")``, ``files("pkg.data")``."""
    match call.func:
        case ast.Name(id=name):
            function = called.get(name, name)
        case ast.Attribute(attr=function):
            pass
        case _:
            return
    ours = function in _LOOK_BY_NAME
    if not ours and function not in _IMPORT_BY_NAME:
        return
    values = [*call.args, *(keyword.value for keyword in call.keywords)]
    names = [text for value in values for text in _texts(value) if _DOTTED.fullmatch(text)]
    # ``import_module(".b", "a")`` and ``__import__("a", globals(), locals(), ["b"])``.
    bases = [name for name in names if not name.startswith(".")]
    for number, name in enumerate(names):
        bare = name.lstrip(".")
        if ours or number > 0:
            yield Request(bare, level=len(name) - len(bare), ours=True)
        else:
            yield Request(bare, level=len(name) - len(bare))
        for base in bases:
            if base != name:
                for above in _prefixes(base):
                    yield Request(f"{above}.{bare}", ours=True)


def _texts(value: ast.expr) -> Iterator[str]:
    match value:
        case ast.Constant(value=str(text)):
            yield text
        case ast.List(elts=items) | ast.Tuple(elts=items):
            for item in items:
                yield from _texts(item)
        case _:
            pass


def _exported(nodes: Sequence[ast.AST]) -> tuple[str, ...] | None:
    """What ``from … import *`` takes, as far as it names modules: ``__all__``."""
    names: list[str] = []
    for node in nodes:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id="__all__")], value=value)
                | ast.AugAssign(target=ast.Name(id="__all__"), value=value)
                | ast.AnnAssign(target=ast.Name(id="__all__"), value=ast.expr() as value)
            ):
                if not isinstance(value, ast.List | ast.Tuple) or not all(
                    isinstance(item, ast.Constant) for item in value.elts
                ):
                    return None
                names.extend(_texts(value))
            case (
                ast.Attribute(value=ast.Name(id="__all__"))
                | ast.Constant(value="__all__")
                | ast.Name(id="__all__", ctx=ast.Load())
            ):
                return None
            case ast.ImportFrom(names=aliases) if any(
                "__all__" in (alias.name, alias.asname) for alias in aliases
            ):
                return None
            case _:
                pass
    return tuple(names)


def is_standard(name: str) -> bool:
    """Whether a top-level name is the standard library's."""
    return name in sys.stdlib_module_names or name == "__main__"
