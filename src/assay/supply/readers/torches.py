"""PyTorch's archives: a pickle and the storages it names; with ``code/``, a TorchScript program.

TorchScript is a language with the syntax of Python.  Loading a model parses its source and runs
none of it but ``__setstate__``; using the model runs the rest, by PyTorch's own interpreter.  What
a program can do is what its operators do, so it is clean only when each is on a list of operators
that compute (`aten::from_file` and `aten::save` reach files) and all the syntax is that which
PyTorch's serializer writes.

Source: ``torch/csrc/jit/serialization/python_print.cpp``, PyTorch 2.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import Any, TypeAlias

from assay.supply.archives import Member
from assay.supply.findings import Broken, words
from assay.supply.machine import Buffer
from assay.supply.pickles import Walk
from assay.supply.readers.lists import load
from assay.supply.readers.part import Part
from assay.supply.readers.pickled import ELEMENTS, probe
from assay.supply.stand_ins import Global, Torch

Opened: TypeAlias = tuple[Buffer, int, int] | None
Open: TypeAlias = Callable[[Part, Member], Opened]
ScanMember: TypeAlias = Callable[[Part, Member], None]

_TEXTS = frozenset({"version", "byteorder", ".format_version", ".storage_alignment"})
_SOURCE_LIMIT = 16 << 20
_SCRIPT_PICKLES = frozenset({"constants.pkl", "traced_inputs.pkl"})
_BUILDERS = frozenset(
    f"build_{kind}"
    for kind in ("intlist", "doublelist", "boollist", "tensorlist", "tensor_from_id")
) | {"restore_type_tag"}


def read(part: Part, found: list[Member], root: str, opened: Open, scan: ScanMember) -> str:
    """Scan an archive whose pickle is ``{root}data.pkl``; the format."""
    # By this PyTorch decides: without it, names like ``__torch__`` would be imported by Python.
    script = any(member.name == f"{root}constants.pkl" for member in found) and any(
        member.name.startswith(f"{root}code/") for member in found
    )
    # Each pickle names its storages, which lie in a folder of the pickle's name.
    storages: dict[str, Torch] = {}
    for member in sorted(found, key=lambda member: not member.name.endswith(".pkl")):
        inside = f"{part.where}!{member.name}"
        short = member.name.removeprefix(root)
        folder, _, key = short.rpartition("/")
        if short == "data.pkl" or (script and _is_pickle(short)):
            torch = storages.setdefault(short.removesuffix(".pkl"), Torch(ELEMENTS))
            if content := opened(part, member):
                _walk(part, inside, content, torch, script=script)
        elif folder in storages and key in storages[folder].storages:
            expected = storages[folder].storages.pop(key)
            if content := opened(part, member):
                inner, first, last = content
                probe(inner, first, last, inside, part.report)
                # PyTorch keeps the shapes of a trace's inputs, and none of their numbers.
                if last - first != expected and not (folder == "traced_inputs" and first == last):
                    what = "the storage has another size than the pickle says"
                    part.report.add("torch.storage", "unscannable", inside, 0, what)
        elif short in _TEXTS or short == ".data/serialization_id":
            if content := opened(part, member):
                inner, first, last = content
                if last - first > 64 or not _is_text(inner[first:last]):
                    what = "is not a short text"
                    part.report.add("torch.member", "suspicious", inside, 0, what)
        elif short == "bytecode.pkl":
            what = "the program is kept as bytecode as well, which is not read"
            part.report.add("torchscript.source", "unscannable", inside, 0, what)
        elif script and short.startswith("code/") and short.endswith(".py"):
            if content := opened(part, member):
                _check_source(part, inside, content)
        else:
            scan(part, member)
    for folder, torch in storages.items():
        for key in sorted(torch.storages)[:10]:
            what = f"the storage {folder}/{key} is missing"
            part.find("torch.storage", "unscannable", what)
    return "torchscript" if script else "torch"


def _is_pickle(short: str) -> bool:
    return short in _SCRIPT_PICKLES or (short.startswith("code/") and short.endswith(".debug_pkl"))


def _is_text(data: bytes) -> bool:
    return all(32 <= byte < 127 or byte in b"\t\r\n" for byte in data)


class _ScriptWalk(Walk):
    """A pickle of TorchScript: its own classes come from the source beside it."""

    def _import(self, module: Any, name: Any) -> None:
        if isinstance(module, str) and isinstance(name, str):
            if module == "__torch__" or module.startswith("__torch__."):
                self.report.reached(module, name)
                if not _is_own(f"{module}.{name}".split(".")):
                    what = f"makes {module}.{name}, which is native code of its own kind"
                    self._find("torchscript.operator", what)
                self._push(Global(module, name, "ns"))
                return
            if module == "torch.jit._pickle" and name in _BUILDERS:
                self.report.reached(module, name)
                self._push(Global(module, name, "c"))
                return
        super()._import(module, name)


def _walk(
    part: Part, inside: str, content: tuple[Buffer, int, int], torch: Torch, *, script: bool
) -> None:
    inner, first, last = content
    kind = _ScriptWalk if script else Walk
    walk = kind(inner, first, last, inside, part.report, joblib=False, torch=torch)
    try:
        if walk.walk() != last:
            what = "there are bytes behind the pickle"
            part.report.add("pickle.trailing", "unscannable", inside, walk.position - first, what)
    except Broken as error:
        part.report.broken(error, inside, first)


_FILES = re.compile(r"(aten|torch)\.(from_file|save|load)|.*(rpc_|PythonOp|python)", re.I)
"""Operators that reach files, other machines or the interpreter."""
_NATIVE = ("quantized", "sparse", "rnn", "xnnpack", "mkldnn")
"""Where PyTorch's native classes of packed weights live."""
_PLAIN_CALLS = words(
    "annotate bool complex device dict float getattr hasattr int isinstance len list max min ord "
    "print range str tuple uninitialized unchecked_cast Tensor abs pow round zip enumerate sorted "
    "unwrap_optional chr hex oct bin divmod fork"
)
_NODES = (
    *(ast.Module, ast.ClassDef, ast.FunctionDef, ast.arguments, ast.arg, ast.Return, ast.Assign),
    *(ast.AnnAssign, ast.AugAssign, ast.For, ast.While, ast.If, ast.Expr, ast.Pass, ast.Raise),
    *(ast.Assert, ast.Call, ast.keyword, ast.Attribute, ast.Subscript, ast.Name, ast.Constant),
    *(ast.Tuple, ast.List, ast.Dict, ast.Slice, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare),
    *(ast.IfExp, ast.Starred, ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop),
    *(ast.With, ast.withitem, ast.Break, ast.Continue, ast.Delete, ast.ListComp, ast.comprehension),
    *(ast.DictComp, ast.JoinedStr, ast.FormattedValue),
)


def _check_source(part: Part, inside: str, content: tuple[Buffer, int, int]) -> None:
    inner, first, last = content

    def find(rule: str, severity: Any, line: int, what: str) -> None:
        part.report.add(f"torchscript.{rule}", severity, inside, 0, f"line {line}: {what}")

    if last - first > _SOURCE_LIMIT:
        find("source", "unscannable", 1, "the source is too long to read")
        return
    try:
        tree = ast.parse(inner[first:last].decode("utf-8"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        find("source", "unscannable", 1, "the source cannot be parsed")
        return
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        line = getattr(node, "lineno", 1)
        if not isinstance(node, _NODES):
            find("source", "suspicious", line, f"{type(node).__name__} is not TorchScript")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            name = node.func.id
            # PyTorch numbers what it refers to by itself: ``_0 = __torch__.module.function``.
            if name not in _PLAIN_CALLS and not name.startswith("_") and not name[:1].isupper():
                find("operator", "suspicious", line, f"calls {name}, which is not known")
        if isinstance(node, (ast.Attribute, ast.Name)):
            names, rest = _chain(node)
            if (wrong := _operator(names)) is not None:
                bad = _FILES.match(wrong) is not None
                what = f"uses {wrong}, which is not on the list of operators that only compute"
                find("operator", "malicious" if bad else "suspicious", line, what)
            waiting += rest
        else:
            waiting += ast.iter_child_nodes(node)


def _chain(node: ast.AST) -> tuple[list[str], list[ast.AST]]:
    """The dotted name that an expression is, and what it rests on where that is no name."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        return [node.id, *names[::-1]], []
    return [], [node]


def _is_own(names: list[str]) -> bool:
    """Whether a class is the archive's, or one of PyTorch's native ones that hold numbers only."""
    if names[1:3] == ["torch", "classes"]:
        return names[3:4] in [[name] for name in _NATIVE]
    return len(names) > 1 and names[1:] != ["torch"]


def _operator(names: list[str]) -> str | None:
    """The operator that a dotted name means, where it is not known to be harmless.

    Mentioning it is enough: TorchScript can give an operator, or ``torch`` itself, another name.
    """
    lists = load("torch_operators")
    match names:
        case ["torch", name]:
            return None if name in lists["aten"] else f"aten.{name}"
        case ["ops", space, name]:
            return None if name in lists.get(space, ()) else f"{space}.{name}"
        case ["torch" | "ops", *_]:
            return ".".join(names)
        case ["__torch__", *_] if not _is_own(names):
            return ".".join(names)
        case _:
            return None
