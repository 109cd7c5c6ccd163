"""Python source: what Bandit says about the code and detect-secrets about what should not be in it.

No list of allowed names could make source harmless, so source beside a model is never clean: a
loader told to trust remote code runs it.  Alone it is clean when neither tool has anything to say
and it does nothing that such tools cannot follow: names that are put together, modules reached
through other modules, native libraries, encodings that make other source of the same bytes.
Both are the optional extra ``scan``; without them source is not read.
"""

from __future__ import annotations

import ast
import functools
import io
import logging
import re
from collections.abc import Iterator
from typing import Any

from assay.supply.findings import Broken, words
from assay.supply.readers.part import Part

NAMES = re.compile(r".*\.(py|pyw|pyi)", re.I)
_LIMIT = 4 << 20
_LONGEST_LINE = 20_000
_REMEDY = "needs the extra: pip install 'assay[scan]'"
_HIDDEN = re.compile("[\u202a-\u202e\u2066-\u2069\u200b-\u200f\ufeff]")
_PROCESSES = frozenset({"B602", "B603", "B604", "B605", "B606", "B607", "B609"})
"""Bandit's tests for programs that are started; it calls most of them low."""
_CODING = re.compile(r"[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_PLAIN_CODINGS = frozenset({"utf-8", "utf8", "utf-8-sig", "ascii", "us-ascii"})
_MODULES = words(
    "os sys subprocess builtins __builtins__ importlib ctypes shutil pty runpy posix nt marshal "
    "pickle _posixsubprocess"
)
_NATIVE = words(
    "ctypes cffi _ctypes marshal pty runpy codeop code posix nt _posixsubprocess imp zipimport pdb "
    "bdb builtins _winapi gc"
)
"""Modules whose use is to run something that is not in the source."""
_DYNAMIC = words("__import__ compile globals breakpoint __builtins__ eval exec")
_STARTS = words(
    "system popen execv execve execvp execl spawnl spawnv posix_spawn startfile check_output Popen "
    "getoutput getstatusoutput run_path run_module exec_module load_module CDLL"
)
"""Attributes of Python's modules that start programs or find modules, whatever they are of."""
_INNER = re.compile(
    r"__(base|bases|mro|subclasses|globals|builtins|code|closure|getattribute|reduce|reduce_ex"
    r"|import|loader|spec)__"
)
_PLUGINS = (
    *("ArtifactoryDetector", "AWSKeyDetector", "AzureStorageKeyDetector", "BasicAuthDetector"),
    *("CloudantDetector", "DiscordBotTokenDetector", "GitHubTokenDetector", "GitLabTokenDetector"),
    *("IbmCloudIamDetector", "IbmCosHmacDetector", "JwtTokenDetector", "KeywordDetector"),
    *("MailchimpDetector", "NpmDetector", "OpenAIDetector", "PrivateKeyDetector"),
    *("PypiTokenDetector", "SendGridDetector", "SlackDetector", "SoftlayerDetector"),
    *("SquareOAuthDetector", "StripeDetector", "TelegramBotTokenDetector", "TwilioKeyDetector"),
)
"""All of detect-secrets' but those that go by entropy, which flag every digest."""


def read(part: Part) -> str:
    """A file of source; the format."""
    text = part.text(_LIMIT, "python.source")
    if "\0" in text:
        raise Broken("python.source", part.start, "source does not hold NUL characters")
    if part.where:
        what = "Python code lies beside a model; who loads it with trust runs the code"
        part.find("python.beside", "suspicious", what)
    check(part, text)
    return "python"


def check(part: Part, text: str) -> None:
    """What the tools find in Python source."""
    part.budget.sources -= 1
    if part.budget.sources < 0:
        raise Broken("python.source", part.start, "there are too many files of source")
    lines = text.split("\n")
    if len(text) > _LIMIT or any(len(line) > _LONGEST_LINE for line in lines):
        part.find("python.source", "unscannable", "the source or a line of it is too long to read")
        return
    if hidden := _HIDDEN.search(text.removeprefix("\ufeff")):
        line = text.count("\n", 0, hidden.start()) + 1
        part.find("python.hidden", "suspicious", f"line {line} holds characters that do not show")
    for line in lines[:2]:
        coding = _CODING.match(line)
        if coding and coding[1].lower().replace("_", "-") not in _PLAIN_CODINGS:
            what = f"the source is to be read as {coding[1][:40]}, which may make another of it"
            part.find("python.source", "unscannable", what)
            return
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        part.find("python.source", "unscannable", "the source cannot be parsed")
        return
    for line, what in _beyond(tree):
        part.find("python.dynamic", "suspicious", f"line {line}: {what}")
    _bandit(part, text)
    _secrets(part, lines)


def _beyond(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """What in source no tool that goes by names could follow: the line, and what it does."""
    plain: set[int] = set()
    """Names in places where Bandit looks at them itself."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name() as name):
                plain.add(id(name))
            case ast.Call(func=ast.Name(id="eval" | "exec") as name):
                plain.add(id(name))
            case _:
                pass
        if id(node) not in plain and (what := _hides(node)):
            yield getattr(node, "lineno", 1), what


def _hides(node: ast.AST) -> str | None:
    match node:
        case ast.Import(names=names) if any(n.name.split(".")[0] in _NATIVE for n in names):
            return "imports a module that runs what is not in the source"
        case ast.ImportFrom(module=str(module)) if module.split(".")[0] in _NATIVE:
            return f"imports {module}, which runs what is not in the source"
        case ast.ImportFrom(module=module, names=names):
            if any(n.name in _MODULES or (n.name == "*" and module in _MODULES) for n in names):
                return "takes modules or names of Python from where a reader does not see them"
        case ast.Name(id=name) if name in _DYNAMIC or name in _MODULES:
            return f"uses {name} so that what it does cannot be told"
        case ast.Call(func=ast.Name(id="getattr"), args=[_, key, *_]):
            if not isinstance(key, ast.Constant) or _is_inner(key.value):
                return "looks up a name that it puts together"
        case ast.Call(func=ast.Attribute(attr="import_module") | ast.Name(id="import_module")):
            if not node.args or not isinstance(node.args[0], ast.Constant):
                return "imports a name that it puts together"
            if str(node.args[0].value).split(".")[0] in _MODULES | _NATIVE:
                return f"imports {node.args[0].value} by its name as text"
        case ast.Attribute(attr=attr, value=value) if attr in _STARTS:
            known = isinstance(value, ast.Name) and value.id in ("os", "subprocess", "platform")
            return None if known else f"calls or mentions {attr} of something"
        case ast.Attribute(attr="modules", value=ast.Name(id="sys")):
            return "finds modules by name"
        case ast.Attribute(attr=attr) if _is_inner(attr):
            return f"reaches {attr} through something else"
        case ast.Subscript(slice=ast.Constant(value=value)) if _is_inner(value):
            return f"reaches {value} through something else"
        case _:
            pass
    return None


def _is_inner(name: object) -> bool:
    return isinstance(name, str) and (name in _MODULES or _INNER.fullmatch(name) is not None)


@functools.cache
def _tests() -> tuple[Any, Any]:
    from bandit.core import config, meta_ast, test_set

    for name in ("bandit", "stevedore"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return meta_ast.BanditMetaAst(), test_set.BanditTestSet(config.BanditConfig(), {})


def _bandit(part: Part, text: str) -> None:
    try:
        from bandit.core import metrics, node_visitor

        meta, tests = _tests()
    except ImportError:
        part.find("python.tools", "unscannable", f"reading Python source {_REMEDY}")
        return
    data = text.encode()
    try:
        visitor = node_visitor.BanditNodeVisitor(
            "source.py", io.BytesIO(data), meta, tests, False, {}, metrics.Metrics()
        )
        visitor.metrics.begin("source.py")
        visitor.process(data)
    except Exception as error:  # Another's code on a hostile file: whatever it raises.
        what = f"Bandit could not read the source ({type(error).__name__})"
        part.find("python.source", "unscannable", what)
        return
    for issue in visitor.tester.results:
        grave = issue.severity in ("MEDIUM", "HIGH") or issue.test_id in _PROCESSES
        if grave and issue.confidence != "UNDEFINED":
            what = f"line {issue.lineno}: {issue.text} (Bandit {issue.test_id})"
            part.find("python.bandit", "suspicious", what)


def _secrets(part: Part, lines: list[str]) -> None:
    try:
        from detect_secrets.core import scan
        from detect_secrets.settings import transient_settings
    except ImportError:
        part.find("python.tools", "unscannable", f"looking for secrets {_REMEDY}")
        return
    with transient_settings({"plugins_used": [{"name": name} for name in _PLUGINS]}):
        for number, line in enumerate(lines, 1):
            # Most lines hold nothing that a detector could match.
            if len(line) < 12:
                continue
            for secret in scan.scan_line(line):
                part.find("python.secret", "suspicious", f"line {number}: a {secret.type}")
