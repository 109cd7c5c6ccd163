"""What a scan found, collected with bounds: a hostile file chooses how much there is to say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Severity: TypeAlias = Literal["malicious", "unscannable", "suspicious"]

ORDER: tuple[Severity, ...] = ("malicious", "unscannable", "suspicious")
"""From the worst; the verdict is the worst severity found."""

_MOST_FINDINGS = 100
_MOST_GLOBALS = 10_000
_MOST_TEXT = 300
INFLATE_BYTES = 2 << 30
"""Bytes that all compressed streams of one scan may inflate to together."""
MOST_FILES = 100_000
MOST_BYTES = 1 << 38
"""Bytes of one file: a sparse file claims any number of them at no cost."""
MOST_WORK = 10_000_000
"""Opcodes that all pickles of one file may have together."""
MOST_DEPTH = 5
"""Archives in archives."""


class Broken(Exception):
    """The bytes are not what they claim: raised by a reader, made a finding by its caller."""

    def __init__(self, rule: str, position: int, what: str) -> None:
        super().__init__(what)
        self.rule = rule
        self.position = position
        self.what = what


@dataclass(slots=True)
class Report:
    """The findings of one scan, in the order in which they were met."""

    findings: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    count: int = 0
    globals: set[str] = field(default_factory=set[str])
    files: int = 0
    inflated: int = 0
    work: int = 0
    """Opcodes followed in the file at hand, which `MOST_WORK` bounds."""
    severities: set[Severity] = field(default_factory=set[Severity])

    def add(self, rule: str, severity: Severity, where: str, position: int, what: str) -> None:
        """One finding; `where` is the member's path, empty for the file itself."""
        self.count += 1
        self.severities.add(severity)
        if len(self.findings) < _MOST_FINDINGS:
            self.findings.append(
                {
                    "rule": rule,
                    "severity": severity,
                    "where": f"{printable(where)}+{position}",
                    "what": printable(what),
                }
            )

    def broken(self, error: Broken, where: str, base: int = 0) -> None:
        """A finding for bytes that could not be read."""
        self.add(error.rule, "unscannable", where, error.position - base, error.what)

    def reached(self, module: str, name: str) -> None:
        """Note a name that a pickle would import."""
        if len(self.globals) < _MOST_GLOBALS:
            self.globals.add(printable(f"{module} {name}"))

    def merge(self, other: Report) -> None:
        """Take over what another report found."""
        self.count += other.count
        self.severities |= other.severities
        self.findings += other.findings[: _MOST_FINDINGS - len(self.findings)]
        self.globals |= other.globals

    @property
    def room(self) -> int:
        """Bytes that may still be inflated."""
        return max(0, INFLATE_BYTES - self.inflated)

    @property
    def verdict(self) -> str:
        return next((severity for severity in ORDER if severity in self.severities), "clean")


def printable(text: str) -> str:
    """Text from a hostile file, fit for a terminal, a log and JSON."""
    cut = text if len(text) <= _MOST_TEXT else text[: _MOST_TEXT - 1] + "…"
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in cut)


def words(text: str) -> frozenset[str]:
    """The words of a text: how the lists of known names are written."""
    return frozenset(text.split())
