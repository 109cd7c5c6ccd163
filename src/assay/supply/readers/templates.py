"""Chat templates: Jinja programs, which run inside the program that uses the model.

Clean is a template that names nothing beyond what such templates need.  A list of forbidden words
would not do: Jinja joins strings, decodes escapes and looks attributes up by computed names.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
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
_BY_NAME = {
    "map": -1, "select": -1, "reject": -1, "selectattr": 0, "rejectattr": 0, "groupby": 0,
    "sum": 0, "unique": 1, "min": 1, "max": 1, "join": 1, "sort": 2,
}  # fmt: skip
"""Filters that look an attribute up by name, and which argument is the name (-1: none, unless it
is called ``attribute``): it must be plain text in the template."""
_COUNTS = words("length count int float abs round")
"""Filters that give a number, whatever they are given."""
_TESTS = words(
    "boolean defined divisibleby eq equalto even false float ge gt greaterthan in integer iterable "
    "le lessthan lower lt mapping ne none number odd sameas sequence string true undefined upper "
    "callable"
)
_INTERNAL = re.compile(
    r"_.*|(func|gi|cr|ag|tb|co|f)_.*|mro|globals|builtins|import|format_map|format|system|popen|eval"
)
_FRAMES = (
    r"(func|gi|cr|ag|tb|co|f)_(frame|code|globals|builtins|back|locals|await|closure|defaults|dict"
    r"|func|consts|names|varnames|next|running|yieldfrom|suspended)"
)
_INTERNALS = re.compile(
    rf"__|\b(globals|builtins|subprocess|popen|getattr|importlib)\b|\b{_FRAMES}\b"
)
_HIDDEN = re.compile(rf"_.*|{_FRAMES}|mro|globals|builtins")
"""What no name of a template's own may be: a macro's name or a keyword can become a text."""
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
    traced = _Texts(found, macros)
    anew = {node.name for node in found if isinstance(node, nodes.Name) and node.ctx != "load"}
    anew &= _CALLS | macros
    for node in found:
        if isinstance(node, nodes.Getitem) and traced.builds(node.arg, inside=False):
            part.find("template", "suspicious", "the chat template looks up a name that it builds")
        if isinstance(node, nodes.Call) and getattr(node.node, "name", None) in anew:
            part.find("template", "suspicious", "the chat template calls what it names anew")
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
        case nodes.Name(name=name) if _HIDDEN.fullmatch(name) or name in _OBJECTS - macros:
            return "malicious", f"reads {name!r}"
        case nodes.Macro(name=name) | nodes.Block(name=name) | nodes.Keyword(key=name) if (
            _HIDDEN.fullmatch(name)
        ):
            return "malicious", f"gives something the name {name!r}"
        case nodes.Call():
            return _judge_call(node, macros)
        case nodes.Filter() if node.name not in _FILTERS and node.name not in _BY_NAME:
            severity = "malicious" if node.name in ("attr", "xmlattr", "pprint") else "suspicious"
            return severity, f"uses the filter {node.name!r}"
        case nodes.Filter() if node.name in _BY_NAME:
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

    if node.dyn_args is not None or node.dyn_kwargs is not None:
        return "malicious", f"gives the filter {node.name!r} computed arguments"
    place = _BY_NAME[node.name]
    names = [pair.value for pair in node.kwargs if pair.key == "attribute"]
    names += node.args[place : place + 1] if place >= 0 else []
    for value in names:
        if not isinstance(value, nodes.Const):
            return "malicious", f"gives the filter {node.name!r} a computed name"
        if any(_INTERNAL.fullmatch(name) for name in str(value.value).split(".")):
            return "malicious", f"reads the attribute {str(value.value)[:100]!r}"
    if node.name == "map" and (node.args or not names):
        match node.args:
            case [nodes.Const(value=str(name)), *_] if name in _FILTERS - _BY_NAME.keys():
                return None
            case _:
                return "malicious", "maps by a filter that is not known"
    if node.name in ("select", "reject", "selectattr", "rejectattr"):
        tests = node.args[1:2] if node.name.endswith("attr") else node.args[:1]
        for test in tests:
            if not isinstance(test, nodes.Const) or str(test.value) not in _TESTS | {"==", "!="}:
                return "malicious", f"gives the filter {node.name!r} a test that is not known"
    return None


class _Texts:
    """Which names of a template hold texts, and which may hold one that it puts together.

    Jinja looks attributes up by any text, so a text that is written out nowhere must not be one.
    What comes from the program's data, such as a message's role, is not of the file's choosing.
    """

    def __init__(self, found: list[nodes.Node], macros: set[str]) -> None:
        self._texts: set[str] = set()
        self._built: set[str] = set()
        self._known: dict[int, bool] = {}
        """What `_is_text` said of a node, while the names that hold texts are these."""
        sources = list(_assigned(found, macros))
        for _ in range(8):  # A name made of a name made of a name: further than any template goes.
            before = len(self._texts) + len(self._built)
            self._known.clear()
            for names, value in sources:
                if value is None or self.builds(value, inside=True):
                    self._built |= names
                if value is None or self._is_text(value):
                    self._texts |= names
            if len(self._texts) + len(self._built) == before:
                return
        self._built |= set[str]().union(*(names for names, _ in sources))

    def builds(self, value: nodes.Node, *, inside: bool) -> bool:
        """Whether an expression may give a text that is not written out in the template.

        Outside of an assignment, an attribute that was set anywhere counts as well.
        """
        from jinja2 import nodes

        waiting = [value]
        while waiting:
            node = waiting.pop()
            match node:
                case nodes.Concat() | nodes.Call(node=nodes.Name(name="dict")):
                    return True
                case nodes.Filter(name=name) if name in _COUNTS:
                    continue
                case nodes.Name(name=name) if name in self._built:
                    return True
                case nodes.Getattr(attr=attr) if attr in self._built and not inside:
                    return True
                case nodes.Getattr(attr="name" | "arguments" | "catch_kwargs"):
                    if isinstance(node.node, nodes.Name) and not inside:
                        return True
                case nodes.Getitem(node=inner, arg=nodes.Slice()) if self._is_text(inner):
                    return True
                case nodes.Filter(name="join" | "format" | "replace" | "reverse" | "string"):
                    return True
                case nodes.Filter() | nodes.Call() | nodes.Add() | nodes.Mul() | nodes.Mod():
                    if self._is_text(node):
                        return True
                case _:
                    pass
            waiting += node.iter_child_nodes()
        return False

    def _is_text(self, value: nodes.Node) -> bool:
        """Whether an expression has a text of the template in it."""
        from jinja2 import nodes

        known = self._known.get(id(value))
        if known is not None:
            return known
        match value:
            case nodes.Const(value=str()) | nodes.TemplateData():
                found = True
            case nodes.Name(name=name) if name in self._texts:
                found = True
            case _:
                found = any(map(self._is_text, value.iter_child_nodes()))
        self._known[id(value)] = found
        return found


def _assigned(
    found: list[nodes.Node], macros: set[str]
) -> Iterator[tuple[set[str], nodes.Node | None]]:
    """The names that a template sets, and to what; None for what cannot be followed."""
    from jinja2 import nodes

    parameters = {"varargs", "kwargs"}
    for node in found:
        if isinstance(node, (nodes.Macro, nodes.CallBlock)):
            parameters |= {name.name for name in node.args}
    for node in found:
        match node:
            case nodes.Assign(target=target, node=value) | nodes.For(target=target, iter=value):
                yield _stored(target), value
            case nodes.AssignBlock(target=target):
                yield _stored(target), None
            case nodes.With(targets=targets, values=values):
                for target, value in zip(targets, values, strict=False):
                    yield _stored(target), value
            case nodes.Keyword(key=str(key), value=value):
                yield {key}, value
            case nodes.Call(node=nodes.Name(name=name)) if name in macros or name == "caller":
                for value in node.args:
                    yield parameters, value
            case nodes.Macro(defaults=values) | nodes.CallBlock(defaults=values):
                for value in values:
                    yield parameters, value
            case _:
                pass


def _stored(target: nodes.Node) -> set[str]:
    from jinja2 import nodes

    parts = (target, *target.find_all(nodes.Node))
    names = {part.name for part in parts if isinstance(part, nodes.Name)}
    return names | {part.attr for part in parts if isinstance(part, nodes.NSRef)}
