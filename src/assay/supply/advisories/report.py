"""What is signed about a check: our predicate, and the one of in-toto beside it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from assay import __version__
from assay.clock import timestamp
from assay.supply.advisories.database import Database
from assay.supply.advisories.inventory import purl_of
from assay.supply.advisories.matching import Finding, Result, Unmatched
from assay.supply.advisories.severity import scores

KIND = "vulnerabilities"
PRODUCER = "assay.supply.vulnerabilities/1"
IN_TOTO = "https://in-toto.io/attestation/vulns/v0.2"
"""Source: https://github.com/in-toto/attestation/blob/main/spec/predicates/vulns_02.md."""

SEVERITIES = ("critical", "high", "medium", "low", "unrated")
MOST_LISTED = 2_000
"""Findings, and packages that could not be looked up, that are listed; all are counted."""


def predicate(result: Result, database: Database) -> dict[str, Any]:
    """``https://assay.dev/evidence/vulnerabilities/v1``."""
    return {
        "database": {**database.about(), "ecosystems": _asked(result, database)},
        "packages": result.packages,
        "listed": result.listed,
        "unlisted": result.unlisted,
        "unmatched": len(result.unmatched),
        **{severity: result.count(severity) for severity in SEVERITIES},
        "not_affected": sum(finding.answered for finding in result.findings),
        "exploited": sum(bool(f.exploited) and not f.answered for f in result.findings),
        "scored": scores(),
        "findings_count": len(result.findings),
        "findings": [_finding(finding) for finding in result.findings[:MOST_LISTED]],
        "unmatched_packages": [_unmatched(item) for item in result.unmatched[:MOST_LISTED]],
    }


def _asked(result: Result, database: Database) -> dict[str, int]:
    """Of each ecosystem that something was asked of: how much the database holds."""
    return {name: database.ecosystems.get(name, 0) for name in result.ecosystems}


def _finding(finding: Finding) -> dict[str, Any]:
    made: dict[str, Any] = {
        "id": finding.id,
        "aliases": list(finding.aliases),
        "package": finding.package.name,
        "version": finding.package.version,
        "purl": purl_of(finding.package),
        "severity": finding.severity,
        "rated_by": finding.rated_by,
        "fixed": list(finding.fixed),
        "summary": finding.summary,
        "vex": finding.vex,
    }
    if finding.score is not None:
        made["score"] = f"{finding.score:.1f}"
    if finding.exploited:
        made["exploited"] = finding.exploited
    if finding.epss:
        made["epss"] = finding.epss
    return made


def _unmatched(item: Unmatched) -> dict[str, str]:
    package = item.package
    return {"package": package.name, "version": package.version, "why": item.why}


def in_toto(result: Result, database: Database, *, started: datetime, finished: datetime) -> Any:
    """The predicate of in-toto: findings that a VEX statement answers are left to that."""
    return {
        "scanner": {
            "uri": f"pkg:pypi/assay@{__version__}",
            "version": __version__,
            "db": {"version": database.digest, "lastUpdate": database.modified},
            "result": [
                {
                    "id": finding.id,
                    "severity": _severities(finding),
                    "annotations": [{"purl": purl_of(finding.package)}],
                }
                for finding in result.findings[:MOST_LISTED]
                if not finding.answered
            ],
        },
        "metadata": {"scanStartedOn": timestamp(started), "scanFinishedOn": timestamp(finished)},
    }


def _severities(finding: Finding) -> list[dict[str, str]]:
    told = [{"method": "assay", "score": finding.severity}]
    if finding.score is not None:
        told.append({"method": finding.rated_by.lower(), "score": f"{finding.score:.1f}"})
    return told


def in_words(told: Mapping[str, Any]) -> str:
    """One sentence about a predicate; never that nothing is known where nothing was asked."""
    open_ = {severity: int(told[severity]) for severity in SEVERITIES if told[severity]}
    looked_up = int(told["packages"]) - int(told["unmatched"])
    if open_:
        head = ", ".join(f"{count} {severity}" for severity, count in open_.items())
    elif looked_up > 0:
        head = f"no advisory is about the {looked_up} packages that were looked up"
        if told["not_affected"]:
            head = f"{told['not_affected']} answered by VEX, no other"
    else:
        head = "nothing could be looked up"
    if told["unmatched"]:
        head += f"; {told['unmatched']} of {told['packages']} packages could not be looked up"
    return head
