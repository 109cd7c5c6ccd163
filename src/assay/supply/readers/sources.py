"""Python source: what Bandit says about the code and detect-secrets about what should not be in it.

No list of allowed names could make source harmless, so source beside a model is never clean: a
loader told to trust remote code runs it.  Alone it is clean when neither tool has anything to say.
Both are the optional extra ``scan``; without them source is not read.
"""

from __future__ import annotations

import ast
import functools
import io
import logging
import re
from typing import Any

from assay.supply.findings import Broken
from assay.supply.readers.part import Part

NAMES = re.compile(r".*\.(py|pyw|pyi)", re.I)
_LIMIT = 4 << 20
_LONGEST_LINE = 20_000
_REMEDY = "needs the extra: pip install 'assay[scan]'"
_HIDDEN = re.compile("[\u202a-\u202e\u2066-\u2069\u200b-\u200f\ufeff]")
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
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        part.find("python.source", "unscannable", "the source cannot be parsed")
        return
    _bandit(part, text)
    _secrets(part, lines)


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
        if issue.severity in ("MEDIUM", "HIGH") and issue.confidence != "UNDEFINED":
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
