"""Chat templates: Jinja programs, which run inside the program that uses the model.

Clean is a template that names nothing beyond what such templates need.  A list of forbidden words
would not do: Jinja joins strings, decodes escapes and looks attributes up by computed names.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

from assay.supply.findings import Severity, words
from assay.supply.readers.part import Part

if TYPE_CHECKING:
    from jinja2 import nodes

_LONGEST = 1 << 20
_MOST_NODES = 50_000

_CALLS = words("raise_exception range namespace strftime_now tojson dict caller")
_METHODS = words(
    "append capitalize count endswith find get index isdigit items join keys lower "
    "lstrip removeprefix removesuffix replace rfind rsplit rstrip split splitlines startswith "
    "strip strftime title upper values zfill"
)
_FILTERS = words(
    "abs batch capitalize center count d default dictsort e escape filesizeformat first float "
    "forceescape from_json groupby indent int items join last length list lower lstrip max min "
    "replace reverse round rstrip safe slice sort split string strip striptags sum title tojson "
    "trim truncate unique upper urlencode wordcount wordwrap"
)
_FILTERS_BY_NAME = {
    "map": words("attribute default"),
    "selectattr": frozenset[str](),
    "rejectattr": frozenset[str](),
    "select": frozenset[str](),
    "reject": frozenset[str](),
    "groupby": words("attribute default case_sensitive"),
    "sort": words("attribute reverse case_sensitive"),
    "sum": words("attribute start"),
    "unique": words("attribute case_sensitive"),
    "min": words("attribute case_sensitive"),
    "max": words("attribute case_sensitive"),
    "join": words("attribute d"),
}
"""Filters that take the name of an attribute or filter: it must be plain text in the template."""
_TESTS = words(
    "boolean defined divisibleby eq equalto even false float ge gt greaterthan in integer iterable "
    "le lessthan lower lt mapping ne none number odd sameas sequence string true undefined upper "
    "callable"
)
_INTERNAL = re.compile(
    r"_.*|(func|gi|cr|ag|tb|co|f)_.*|mro|globals|builtins|import|format_map|format|system|popen|eval"
)
_INTERNALS = re.compile(r"__|\b(globals|builtins|subprocess|popen|getattr|importlib)\b")
_OBJECTS = frozenset({"self", "lipsum", "cycler", "joiner", "config", "request", "environ", "os"})


@functools.cache
def _environment() -> Any:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(
        autoescape=True, extensions=["jinja2.ext.loopcontrols", "jinja2.ext.do"]
    )


def check(part: Part, text: str) -> None:
    """What in a template is beyond chat templates; it is parsed, never rendered."""
    from jinja2 import TemplateError, nodes

    if len(text) > _LONGEST:
        part.find("template", "unscannable", "the chat template is too long to read")
        return
    try:
        # HuggingFace's own tag, which only marks a region.
        plain = re.sub(r"\{%[-+]?\s*(end)?generation\s*[-+]?%\}", "", text)
        tree = _environment().parse(plain)
        found = list(tree.find_all(nodes.Node))
    except (TemplateError, RecursionError, ValueError, OverflowError, MemoryError):
        part.find("template", "unscannable", "the chat template cannot be parsed")
        return
    if len(found) > _MOST_NODES:
        part.find("template", "unscannable", "the chat template has too many parts")
        return
    macros = {node.name for node in found if isinstance(node, nodes.Macro)}
    built = _built_names(found)
    for node in found:
        if isinstance(node, nodes.Getitem) and _builds(node.arg, built, inside=False):
            part.find("template", "suspicious", "the chat template looks up a name that it builds")
        if wrong := _judge(node, macros):
            part.find("template", wrong[0], f"the chat template {wrong[1]}")


def _judge(node: nodes.Node, macros: set[str]) -> tuple[Severity, str] | None:
    """What is wrong with one node of a template."""
    from jinja2 import nodes

    match node:
        case nodes.Import() | nodes.FromImport() | nodes.Include() | nodes.Extends():
            return "malicious", "includes another template"
        case nodes.Getattr(attr=attr) if _INTERNAL.fullmatch(attr):
            return "malicious", f"reads the attribute {attr!r}"
        case nodes.Getitem(arg=nodes.Const(value=str(key))) if _INTERNAL.fullmatch(key):
            return "malicious", f"reads the item {key!r}"
        case nodes.Const(value=str(value)) if _INTERNALS.search(value):
            return "malicious", f"holds the text {value[:100]!r}"
        case nodes.Name(name=name) if name.startswith("_") or name in _OBJECTS - macros:
            return "malicious", f"reads {name!r}"
        case nodes.Call():
            return _judge_call(node, macros)
        case nodes.Filter() if node.name not in _FILTERS and node.name not in _FILTERS_BY_NAME:
            severity = "malicious" if node.name in ("attr", "xmlattr", "pprint") else "suspicious"
            return severity, f"uses the filter {node.name!r}"
        case nodes.Filter() if node.name in _FILTERS_BY_NAME:
            return _judge_filter(node)
        case nodes.Test(name=name) if name not in _TESTS:
            return "suspicious", f"uses the test {name!r}"
        case _:
            return None


def _judge_call(node: nodes.Call, macros: set[str]) -> tuple[Severity, str] | None:
    from jinja2 import nodes

    match node.node:
        case nodes.Name(name=name) if name in _CALLS | macros:
            return None
        case nodes.Getattr(attr=attr) if attr in _METHODS:
            return None
        case nodes.Name(name=name) | nodes.Getattr(attr=name):
            return "suspicious", f"calls {name!r}"
        case _:
            return "malicious", "calls the result of an expression"


def _judge_filter(node: nodes.Filter) -> tuple[Severity, str] | None:
    from jinja2 import nodes

    given = [*node.args, *(pair.value for pair in node.kwargs)]
    keys = {str(pair.key) for pair in node.kwargs}
    if node.dyn_args is not None or node.dyn_kwargs is not None:
        return "malicious", f"gives the filter {node.name!r} computed arguments"
    named = node.name in ("map", "selectattr", "rejectattr", "select", "reject")
    for position, value in enumerate(given):
        is_name = (named and position < 2) or "attribute" in keys
        if is_name and not isinstance(value, nodes.Const) and position == 0:
            return "malicious", f"gives the filter {node.name!r} a computed name"
    if node.name == "map" and not keys & {"attribute"}:
        match node.args:
            case [nodes.Const(value=str(name)), *_] if name in _FILTERS:
                return None
            case _:
                return "malicious", "maps by a filter that is not known"
    if node.name in ("select", "reject", "selectattr", "rejectattr"):
        tests = node.args[1:2] if node.name.endswith("attr") else node.args[:1]
        for test in tests:
            if not isinstance(test, nodes.Const) or str(test.value) not in _TESTS | {"==", "!="}:
                return "malicious", f"gives the filter {node.name!r} a test that is not known"
    return None


def _built_names(found: list[nodes.Node]) -> set[str]:
    """Names that may hold a text which the template puts together."""
    from jinja2 import nodes

    built: set[str] = set()
    for _ in range(4):  # A name made of a name made of a name: further than any template goes.
        before = len(built)
        for node in found:
            match node:
                case nodes.Assign(target=target, node=value):
                    pass
                case nodes.For(target=target, iter=value):
                    pass
                case nodes.AssignBlock(target=target):
                    value = None
                case nodes.Keyword(key=str(key), value=value):
                    target = nodes.Name(key, "store")
                case _:
                    continue
            if value is None or _builds(value, built, inside=True):
                built |= {n.name for n in target.find_all(nodes.Name)}
                built |= {
                    n.attr
                    for n in (target, *target.find_all(nodes.NSRef))
                    if isinstance(n, nodes.NSRef)
                }
                if isinstance(target, nodes.Name):
                    built.add(target.name)
        if len(built) == before:
            break
    return built


def _builds(value: nodes.Node, built: set[str], *, inside: bool) -> bool:
    """Whether an expression may give a text that is not written out in the template.

    `inside` takes a text from the program's data, such as a message's role, for harmless.
    """
    from jinja2 import nodes

    for node in (value, *value.find_all(nodes.Node)):
        match node:
            case nodes.Concat():
                return True
            case nodes.Add() | nodes.Mod() | nodes.Mul():
                if any(isinstance(c.value, str) for c in node.find_all(nodes.Const)):
                    return True
            case nodes.Filter(name="join" | "format" | "replace" | "reverse" | "string"):
                return True
            case nodes.Call(node=nodes.Getattr(attr="join" | "replace" | "format" | "strftime")):
                return True
            case nodes.Name(name=name) if name in built:
                return True
            case nodes.Getattr(attr=attr) if attr in built and not inside:
                return True
            case _:
                pass
    return False
