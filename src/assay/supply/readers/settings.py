"""Text beside a model: documentation, vocabularies, settings, XML.

Text is inert while what reads it takes it for text.  YAML can name Python objects to make, and
settings can name modules to import; both are looked for in the forms that YAML's own tools write,
and anything trickier is not read.
"""

from __future__ import annotations

import re
from xml.parsers import expat

from assay.supply.findings import Broken
from assay.supply.readers import imports
from assay.supply.readers.part import Part, leaves_folder

_LIMIT = 512 << 20
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f]")
_NAMES = re.compile(
    r".*\.(md|txt|csv|tsv|rst|log|license|jsonl|cff|vocab|bpe|merges|tiktoken|toml|cfg|ini"
    r"|properties|pbtxt_label|lst|gitattributes|gitignore|gitkeep|dockerignore)"
    r"|(licen[cs]e|notice|copying|copyright|authors|contributors|changelog|readme|usage_policy"
    r"|use_policy|model_card|acceptable_use_policy|vocab|merges|dict|labels|citation)"
    r"([-_][^.]*)?(\.(apache|mit|bsd|lesser|lgpl|gpl|llama|\d+|[a-z]{2}(-[a-z]{2})?|\d[\d.]*))*"
    r"|\.(gitattributes|gitignore|gitkeep)",
    re.I,
)
_YAML = re.compile(r".*\.(ya?ml)|MLmodel", re.I)
TEMPLATES = re.compile(r".*\.(jinja2?|j2)", re.I)
_TAG = re.compile(r"(?:^|[\s,\[{:-])(!(?:<[^>\s]{0,1000}>|[\w!:./%-]*))")
_PYTHON = re.compile(r"python|!!\w*/|object", re.I)
_PLAIN_TAGS = frozenset(
    {"!!str", "!!int", "!!float", "!!bool", "!!null", "!!map", "!!seq", "!!set"}
)
_KEYS = (
    "|".join(map(re.escape, sorted(imports.ALWAYS | imports.DOTTED | imports.CODE)))
    + r"|trust_remote_code|\w*activation_function|\w*attn_implementation|architecture"
    r"|timm_model_name|model_name|megatron_core"
)
_KEY = re.compile(
    rf"([\"'])({_KEYS})\1[ \t]*:|(?<![\w.])({_KEYS})[ \t]*:(?=[\s\"'\[\]{{}},&!*|>]|$)"
)
"""A key that means something, wherever it stands: behind a tag, an anchor or a brace as well."""
_BEFORE = re.compile(r"#[^\n]*|[|>][-+\d]*(?=\s)|[&!][^\s,\[\]{}]*")
_WORD = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'[^']*'|[^\s,}\]]+", re.S)
_NOTHING = ("null", "~", "false", "no", "off", "", "{}", "[]")
_COMMENT = re.compile(r"^[ \t]*#.*$", re.M)
_EXPRESSION = re.compile(r"(?<![\w$])\$(?!\{).*")
_QUOTED_KEY = re.compile(r'(?="((?:[^"\\\n]|\\.)*)"[ \t]*:)')
_ESCAPE = re.compile(r"\\[xuU]")
_HIDDEN_KEY = re.compile(
    r"(?:^|[{,\[]|-[ \t])[ \t]*\?\s|(?:^|[\s{,])\*[^\s:*]{1,1000}[ \t]*:", re.M
)
"""Keys that are escaped, set apart by ``?``, or stand elsewhere: not read as the key they are."""
_RANK = re.compile(r"[A-Za-z0-9+/=]+ \d+")
_RANKS = re.compile(rb"[A-Za-z0-9+/=]+ 0\n")
"""Lines of tiktoken's vocabularies: a piece in base64, and its rank."""
_MOST_MARKS = 16
_BREAKS = frozenset("\x85\u2028\u2029\x0b\x0c")
"""What ends a line in YAML, or in Python's eyes."""
_SCRIPT = re.compile(r"#!\s*/")
_MOST_ELEMENTS = 20_000_000
_DEEPEST = 256


def is_document(name: str) -> bool:
    """Whether a name is one of text: documentation, a vocabulary, settings, a template."""
    return any(names.fullmatch(name) for names in (_NAMES, _YAML, TEMPLATES))


def is_settings(name: str) -> bool:
    """Whether a name is one of YAML, which JSON is a part of."""
    return _YAML.fullmatch(name) is not None


def read(part: Part, head: bytes) -> str | None:
    """The format of text that is known by its name; None for anything else."""
    if _NAMES.fullmatch(part.name):
        text = _text(part)
        if text is None:
            return None
        if _SCRIPT.match(text):
            part.find("text.script", "suspicious", "the text begins as a script does")
        if imports.REQUIREMENTS.fullmatch(part.name):
            _check_dependencies(part, text)
        return "text"
    if is_settings(part.name):
        text = _text(part)
        if text is None:
            return None
        _check_yaml(part, text)
        if imports.ENVIRONMENTS.fullmatch(part.name):
            _check_dependencies(part, text)
        return "yaml"
    if part.name.lower().endswith(".model") and _RANKS.match(head):
        text = _text(part)
        if text is not None and all(_RANK.fullmatch(line) for line in text.splitlines()):
            return "text"
        return None
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"<?xml", b"<PMML")):
        return _check_xml(part)
    return None


def _check_dependencies(part: Part, text: str) -> None:
    """MLflow and TorchServe install what these lists name before they load a model."""
    if line := imports.fetched(text):
        what = f"{line!r} brings code that is in no index of yours"
        part.find("text.fetch", "suspicious", what)


def _text(part: Part) -> str | None:
    """All of it, where it is UTF-8 without control characters to its last byte."""
    if part.size > _LIMIT:
        raise Broken("text", part.start, f"there are more than {_LIMIT} bytes of text")
    try:
        text = part.buffer[part.start : part.end].decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if _CONTROL.search(text) else text


def _check_yaml(part: Part, text: str) -> None:
    text = text.removeprefix("\ufeff")
    for line in text.splitlines():
        if line.startswith("%"):
            raise Broken("yaml", part.start, "a directive can give tags other meanings")
    if "\r" in text or not _BREAKS.isdisjoint(text):
        text = "\n".join(text.splitlines())
    if "\ufeff" in text:
        raise Broken("yaml", part.start, "a mark of the byte order stands in the middle")
    escaped = any(_ESCAPE.search(found[1]) for found in _QUOTED_KEY.finditer(text))
    if escaped or _HIDDEN_KEY.search(text):
        part.find("yaml.import", "suspicious", "has a key that is not written out")
    for found in _TAG.finditer(text):
        tag = found[1]
        if tag in _PLAIN_TAGS:
            continue
        python = _PYTHON.search(tag) is not None
        severity = "malicious" if python else "suspicious"
        part.find("yaml.tag", severity, f"holds the tag {tag[:100]!r}, which makes objects")
    plain = _COMMENT.sub("", text)
    for found in _KEY.finditer(plain):
        _check_yaml_key(part, found[2] or found[3], _value(plain, found))
    if any(imports.is_expression(found[0]) for found in _EXPRESSION.finditer(plain)):
        part.find("yaml.code", "suspicious", "a text behind $ that some loaders evaluate")


def _value(text: str, key: re.Match[str]) -> str:
    """What a key is said to be, on its line or the next, behind a tag, an anchor or a block's mark;
    empty where the next line is another key."""
    at = key.end()
    for _ in range(_MOST_MARKS):
        while at < len(text) and text[at].isspace():
            at += 1
        if not (mark := _BEFORE.match(text, at)):
            break
        at = mark.end()
    found = _WORD.match(text, at)
    if found is None:
        return ""
    value = found[0]
    if value.endswith(":") and "\n" in text[key.end() : at]:
        here = key.start() - text.rfind("\n", 0, key.start())
        return "" if at - text.rfind("\n", 0, at) <= here else value
    return value[1:-1] if value[:1] in "\"'" else value


def _check_yaml_key(part: Part, key: str, value: str) -> None:
    if key in imports.CODE or key == "trust_remote_code":
        if value.lower() not in _NOTHING:
            part.find("yaml.code", "suspicious", f"{key}: {value[:60]} brings code with the model")
    elif value[:1] == "*" or "\\" in value:
        part.find("yaml.import", "suspicious", f"{key} has a value that is not written out")
    elif wrong := imports.judge_key(key, value):
        part.find("yaml.import", *wrong)


def _check_xml(part: Part) -> str:
    """XML without a document type, and so without entities; functions are those of PMML."""
    root: list[str] = []
    count = depth = 0

    def begin(name: str, attributes: dict[str, str]) -> None:
        nonlocal count, depth
        count += 1
        depth += 1
        if count > _MOST_ELEMENTS or depth > _DEEPEST:
            raise Broken("xml", part.start, "there are too many elements, or too deep")
        plain = name.rpartition(":")[2].rpartition("}")[2]
        if not root:
            root.append(plain)
        if plain == "Apply" and "." in attributes.get("function", ""):
            what = f"calls {attributes['function'][:100]!r}, a class of the reader's own"
            part.find("pmml.function", "suspicious", what)
        if plain in ("script", "include") or any(
            leaves_folder(v) and k.endswith("href") and not v.startswith("http")
            for k, v in attributes.items()
        ):
            part.find("xml.active", "suspicious", f"the element {plain!r} reaches beyond the file")

    def end(_: str) -> None:
        nonlocal depth
        depth -= 1

    def doctype(*_: object) -> None:
        raise Broken("xml", part.start, "a document type can define entities, which are not read")

    parser = expat.ParserCreate()
    parser.StartElementHandler = begin
    parser.EndElementHandler = end
    parser.StartDoctypeDeclHandler = doctype
    parser.EntityDeclHandler = doctype
    try:
        for position in range(part.start, part.end, 1 << 20):
            parser.Parse(part.buffer[position : min(position + (1 << 20), part.end)], False)
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise Broken("xml", part.start, "the XML is damaged") from error
    if root != ["PMML"]:
        part.find("format", "unscannable", "XML of a kind that is not read")
        return "xml"
    return "pmml"
