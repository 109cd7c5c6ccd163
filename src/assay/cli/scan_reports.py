"""What `assay scan` tells machines: JSON, SARIF 2.1.0, JUnit and GitHub's annotations.

Names of files and members come from whoever made the file: they are spelt out or escaped in every
format, so that none can end a line, close a tag or give a command.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from assay import __version__
from assay.ci.escaping import distinct, prose, shown
from assay.ci.sarif import MOST_RESULTS, SCHEMA
from assay.supply.batch import Found
from assay.supply.findings import ORDER
from assay.supply.rules import explain
from assay.supply.suppressions import Entry, Judged, Trusted

FORMAT = "assay/scan-report/v1"
_MOST_TEXT = 1_000
_MOST_ANNOTATIONS = 10
"""Errors, and warnings, that GitHub shows of one step."""
_LEVELS = {"malicious": "error", "unscannable": "error", "suspicious": "warning"}
_SECURITY = {"malicious": "9.5", "unscannable": "7.0", "suspicious": "5.0"}
"""``security-severity`` as GitHub reads it: critical, high, medium."""
VERDICTS: tuple[str, ...] = (*ORDER, "clean")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything that a scan found, and how it was held."""

    judged: Sequence[Judged]
    trusted: Trusted | None
    level: str | None
    excluded: int = 0

    @property
    def verdict(self) -> str:
        """The worst of all files, of what is not suppressed."""
        there = {one.verdict for one in self.judged}
        return next((verdict for verdict in VERDICTS if verdict in there), "clean")

    @property
    def counts(self) -> dict[str, int]:
        """Verdict → files."""
        found: dict[str, int] = dict.fromkeys(VERDICTS, 0)
        for one in self.judged:
            found[one.verdict] += 1
        return found

    @property
    def suppressed(self) -> int:
        return sum(len(one.suppressed) for one in self.judged)

    @property
    def bytes(self) -> int:
        return sum(one.scanned.answer.bytes for one in self.judged)

    def worst_first(self) -> list[Judged]:
        """The files that are not clean, or were not before suppression."""
        some = [one for one in self.judged if one.open or one.suppressed]
        return sorted(some, key=lambda one: (VERDICTS.index(one.verdict), one.scanned.path))


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The document ``assay/scan-report/v1``."""
    trusted = outcome.trusted
    return {
        "format": FORMAT,
        "scanner": f"assay {__version__}",
        "isolation": outcome.level,
        "verdict": outcome.verdict,
        "counts": outcome.counts,
        "bytes": outcome.bytes,
        "suppressed": outcome.suppressed,
        "excluded": outcome.excluded,
        "suppressions": None
        if trusted is None
        else {
            "signers": list(trusted.signers),
            "entries": len(trusted.entries),
            "expired": [_entry(entry) for entry in trusted.expired],
        },
        "files": [_file(one) for one in outcome.judged],
    }


def _file(one: Judged) -> dict[str, Any]:
    answer = one.scanned.answer
    findings = [_finding(found, None) for found in one.open]
    findings += [_finding(found, entry) for found, entry in one.suppressed]
    return {
        "path": shown(one.scanned.path, _MOST_TEXT),
        "verdict": one.verdict,
        "scanned": answer.verdict,
        "format": answer.format,
        "bytes": answer.bytes,
        "digest": answer.digest or None,
        "findings": findings,
        "findings_count": answer.findings_count,
    }


def _finding(found: Found, entry: Entry | None) -> dict[str, Any]:
    rule = explain(found.rule)
    told: dict[str, Any] = {
        "rule": found.rule,
        "severity": found.severity,
        "where": found.where,
        "what": found.what,
        "why": rule.why,
        "remedy": rule.remedy,
    }
    return told if entry is None else {**told, "suppressed": _entry(entry)}


def _entry(entry: Entry) -> dict[str, str]:
    return {
        "rule": entry.rule,
        "digest": entry.digest,
        "reason": entry.reason,
        "owner": entry.owner,
        "expires": entry.expires.isoformat(),
    }


# -- SARIF -----------------------------------------------------------------------------------------


def sarif(outcome: Outcome) -> bytes:
    """The log; of more than `MOST_RESULTS` findings the most severe."""
    everything = sorted(
        _located(outcome), key=lambda item: (ORDER.index(item[1].severity), item[0].scanned.path)
    )
    kept = everything[:MOST_RESULTS]
    worst: dict[str, str] = {}
    for _, found, _entry in kept:
        worst.setdefault(found.rule, found.severity)
    order = {rule: number for number, rule in enumerate(sorted(worst))}
    seen: dict[str, int] = {}
    notes: list[dict[str, Any]] = []
    if len(everything) > len(kept):
        text = (
            f"{len(everything) - len(kept):,} less severe results of {len(everything):,} were left "
            "out; --format json has all of them"
        )
        notes.append({"level": "warning", "message": {"text": text}})
    run = {
        "tool": {
            "driver": {
                "name": "assay scan",
                "semanticVersion": ".".join(__version__.split("+")[0].split(".")[:3]),
                "version": __version__,
                "rules": [_sarif_rule(rule, worst[rule]) for rule in order],
            }
        },
        "automationDetails": {"id": "assay-scan/"},
        "columnKind": "unicodeCodePoints",
        "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": notes}],
        "results": [_result(one, found, entry, order, seen) for one, found, entry in kept],
    }
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def _located(outcome: Outcome) -> Iterator[tuple[Judged, Found, Entry | None]]:
    for one in outcome.judged:
        yield from ((one, found, None) for found in one.open)
        yield from ((one, found, entry) for found, entry in one.suppressed)


def _sarif_rule(name: str, severity: str) -> dict[str, Any]:
    rule = explain(name)
    told = f"{rule.why} What to do: {rule.remedy}."
    return {
        "id": distinct(name),
        "name": distinct(name),
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.why},
        "help": {"text": told, "markdown": prose(told, _MOST_TEXT)},
        "defaultConfiguration": {"level": _LEVELS[severity]},
        "properties": {
            "tags": ["security", "machine-learning", "supply-chain"],
            "security-severity": _SECURITY[severity],
        },
    }


def _result(
    one: Judged, found: Found, entry: Entry | None, order: dict[str, int], seen: dict[str, int]
) -> dict[str, Any]:
    path = one.scanned.path
    identity = "\x00".join((found.rule, path, found.where.rpartition("+")[0], found.what))
    mark = hashlib.sha256(identity.encode("utf-8", "backslashreplace")).hexdigest()[:32]
    seen[mark] = seen.get(mark, 0) + 1
    place: dict[str, Any] = {"artifactLocation": {"uri": _uri(path)}, "region": {"startLine": 1}}
    result: dict[str, Any] = {
        "ruleId": distinct(found.rule),
        "ruleIndex": order[found.rule],
        "level": _LEVELS[found.severity],
        "message": {"text": _message(f"{found.severity}: at {found.where}: {found.what}")},
        "locations": [{"physicalLocation": place}],
        "partialFingerprints": {
            "assayFinding/v1": f"{mark}:{seen[mark]}",
            "primaryLocationLineHash": f"{mark}:{seen[mark]}",
        },
        "properties": {"where": shown(found.where), "sha256": one.scanned.answer.digest[7:]},
    }
    if entry is not None:
        why = f"{entry.owner}, until {entry.expires}: {entry.reason}"
        result["suppressions"] = [
            {"kind": "external", "status": "accepted", "justification": shown(why, _MOST_TEXT)}
        ]
    return result


def _message(text: str) -> str:
    """Text without links of its own: brackets are escaped as SARIF 3.11.6 says."""
    line = shown(text, _MOST_TEXT)
    return line.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")


def _uri(path: str) -> str:
    """A relative reference: from the current folder where the path lies below it."""
    if posixpath.isabs(path):
        here = os.path.relpath(path)
        path = path if here.startswith("..") else here
    normal = posixpath.normpath("/" + path).lstrip("/")
    return quote(os.fsencode(normal or "model"), safe="/._-~+,=")


# -- JUnit -----------------------------------------------------------------------------------------


def junit(outcome: Outcome) -> bytes:
    """A test case for each file: a malicious or suspicious one failed, an unread one broke."""
    counts = outcome.counts
    totals = {
        "tests": str(len(outcome.judged)),
        "failures": str(counts["malicious"] + counts["suspicious"]),
        "errors": str(counts["unscannable"]),
    }
    root = ElementTree.Element("testsuites", {"name": "assay", **totals})
    suite = ElementTree.SubElement(root, "testsuite", {"name": "assay.scan", **totals})
    for one in outcome.judged:
        name = shown(one.scanned.path, _MOST_TEXT)
        case = ElementTree.SubElement(
            suite, "testcase", {"classname": "assay.scan", "name": name, "time": "0.000"}
        )
        if one.verdict != "clean":
            tag = "error" if one.verdict == "unscannable" else "failure"
            first = one.open[0] if one.open else None
            message = shown(first.what) if first else "more was found than was written down"
            told = ElementTree.SubElement(case, tag, {"type": one.verdict, "message": message})
            told.text = "\n".join(_lines(one))
        elif one.suppressed:
            ElementTree.SubElement(case, "system-out").text = "\n".join(_lines(one))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def _lines(one: Judged) -> Iterator[str]:
    for found in one.open:
        rule = explain(found.rule)
        yield shown(f"{found.severity} {found.rule} at {found.where}: {found.what}", _MOST_TEXT)
        yield f"  {rule.why} {rule.remedy}"
    for found, entry in one.suppressed:
        text = f"suppressed {found.rule} at {found.where}, by {entry.owner} until {entry.expires}"
        yield shown(f"{text}: {entry.reason}", _MOST_TEXT)


# -- GitHub ----------------------------------------------------------------------------------------


def github(outcome: Outcome) -> str:
    """Workflow commands: at most ten errors and ten warnings, as many as GitHub shows."""
    lines: list[str] = []
    left = {"error": _MOST_ANNOTATIONS, "warning": _MOST_ANNOTATIONS}
    more = 0
    for one in outcome.worst_first():
        for found in one.open:
            level = _LEVELS[found.severity]
            if not left[level]:
                more += 1
                continue
            left[level] -= 1
            rule = explain(found.rule)
            file = _property(_annotated(one.scanned.path))
            title = _property(shown(f"{found.severity}: {rule.title} ({found.rule})"))
            text = _data(shown(f"at {found.where}: {found.what}. {rule.remedy}", _MOST_TEXT))
            lines.append(f"::{level} file={file},title={title}::{text}")
    rest = f"; {more:,} findings more than GitHub shows" if more else ""
    lines.append(f"::notice title=assay scan::{_data(summary(outcome) + rest)}")
    return "".join(f"{line}\n" for line in lines)


def summary(outcome: Outcome) -> str:
    """One line with every count that matters."""
    counts = outcome.counts
    files = len(outcome.judged)
    parts = [f"{counts[verdict]:,} {verdict}" for verdict in reversed(VERDICTS) if counts[verdict]]
    line = f"{files:,} file{'' if files == 1 else 's'}: {', '.join(parts) or 'nothing was scanned'}"
    if outcome.suppressed:
        number = outcome.suppressed
        line += f"; {number:,} finding{'' if number == 1 else 's'} suppressed"
    if outcome.excluded:
        line += f"; {outcome.excluded:,} left out as asked"
    return line


def _annotated(path: str) -> str:
    if posixpath.isabs(path):
        here = os.path.relpath(path)
        path = path if here.startswith("..") else here
    return shown(path, _MOST_TEXT)


def _data(text: str) -> str:
    """As the runner unescapes it (actions/toolkit, command.ts)."""
    escaped = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return re.sub(r"##\[", "##%5B", escaped)


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
