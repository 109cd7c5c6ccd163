"""``assay.sarif``: findings and closed gates as SARIF 2.1.0, for code scanning.

GitHub keeps the 5,000 most severe results of a run, so no more are written, and a notification
says how many were left out.  It shows nothing that has no place: what has none is placed at the
beginning of the pipeline's file.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from assay import __version__
from assay.ci import model
from assay.ci.escaping import distinct, prose, shown
from assay.ci.model import Finding, Gate, Report

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
MOST_RESULTS = 5_000
_MOST = 1_000


def render(report: Report) -> bytes:
    """The log, with sorted keys."""
    everything = model.findings([*map(_of_gate, report.closed), *report.findings])
    kept = everything[:MOST_RESULTS]
    rules = {finding.rule: finding for finding in reversed(kept)}
    order = {rule: number for number, rule in enumerate(sorted(rules))}
    seen: dict[str, int] = {}
    run = {
        "tool": {
            "driver": {
                "name": "assay",
                "semanticVersion": _semantic(__version__),
                "version": __version__,
                "rules": [_rule(rules[rule]) for rule in order],
            }
        },
        "automationDetails": {"id": f"assay/{distinct(report.pipeline)}/"},
        "columnKind": "unicodeCodePoints",
        "invocations": [_invocation(report, len(everything) - len(kept))],
        "results": [_result(report, finding, order, seen) for finding in kept],
    }
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def _of_gate(gate: Gate) -> Finding:
    looked = ", ".join(
        f"{m.name} {m.value}{f' (limit {m.limit})' if m.limit else ''}" for m in gate.measured
    )
    return Finding(
        rule=f"gate/{gate.id}",
        level="error",
        title=f"Gate {gate.id}" + (f" ({gate.control})" if gate.control else ""),
        message=f"{gate.advice or 'The gate is closed.'}"
        + (f" Measured: {looked}" if looked else ""),
        help=f"Run: {gate.remedy}" if gate.remedy else gate.advice,
    )


def _semantic(version: str) -> str:
    """The part of our version that is one by semver.org."""
    return ".".join([*version.split("+")[0].split(".")[:3]])


def _rule(finding: Finding) -> dict[str, Any]:
    told = shown(finding.help or finding.title or finding.rule, _MOST)
    return {
        "id": distinct(finding.rule),
        "name": distinct(finding.rule),
        "shortDescription": {"text": shown(finding.title or finding.rule)},
        "fullDescription": {"text": shown(finding.title or finding.rule)},
        "help": {"text": told, "markdown": prose(told, _MOST)},
        "defaultConfiguration": {"level": finding.level},
        "properties": {"tags": ["machine-learning", distinct(finding.rule.partition("/")[0], 40)]},
    }


def _result(
    report: Report, finding: Finding, order: dict[str, int], seen: dict[str, int]
) -> dict[str, Any]:
    identity = "\x00".join((finding.rule, finding.path, finding.message))
    mark = hashlib.sha256(identity.encode("utf-8", "backslashreplace")).hexdigest()[:32]
    seen[mark] = seen.get(mark, 0) + 1
    place: dict[str, Any] = {"artifactLocation": {"uri": _uri(finding.path or report.pipeline)}}
    place["region"] = {"startLine": max(1, min(finding.line, 1 << 31))}
    return {
        "ruleId": distinct(finding.rule),
        "ruleIndex": order[finding.rule],
        "level": finding.level,
        "message": {"text": _message(finding.message)},
        "locations": [{"physicalLocation": place}],
        # Without the line, so that a finding stays the same one when code above it moves.
        "partialFingerprints": {
            "assayFinding/v1": f"{mark}:{seen[mark]}",
            "primaryLocationLineHash": f"{mark}:{seen[mark]}",
        },
    }


def _message(text: str) -> str:
    """Text without links of its own: brackets are escaped as SARIF 3.11.6 says."""
    line = shown(text, _MOST) or "–"
    return line.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")


def _uri(path: str) -> str:
    """A relative reference that stays inside the repository, whatever the path says."""
    normal = posixpath.normpath("/" + shown(path).replace("\\", "/")).lstrip("/")
    return quote(normal or "assay.toml", safe="/._-~+,=")


def _invocation(report: Report, left_out: int) -> dict[str, Any]:
    notes: Iterable[dict[str, Any]] = (
        [
            {
                "level": "warning",
                "message": {
                    "text": f"{left_out:,} less severe results were left out of "
                    f"{left_out + MOST_RESULTS:,}; gates.json has all of them"
                },
            }
        ]
        if left_out
        else []
    )
    return {
        "executionSuccessful": report.verdict != "error",
        "toolExecutionNotifications": list(notes),
    }
