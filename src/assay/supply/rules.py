"""The catalogue of the scanner's rules: why each matters, and what to do about it.

One table for people, SARIF and the documentation; it lies in ``rules.toml`` beside this file.  A
test holds every reader to having an entry for each of its rules.  `explain` answers for others all
the same, because a missing sentence must not stop a scan.
"""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from pathlib import Path

_TABLE = Path(__file__).with_name("rules.toml")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: a few words, a sentence of why, and what to do."""

    id: str
    title: str
    why: str
    remedy: str


@functools.cache
def catalogue() -> dict[str, Rule]:
    """Rule id → what it means."""
    told = tomllib.loads(_TABLE.read_text(encoding="utf-8"))
    remedies: dict[str, str] = told["remedies"]
    return {
        name: Rule(name, entry["title"], entry["why"], remedies[entry["do"]])
        for name, entry in told["rules"].items()
    }


def explain(rule: str) -> Rule:
    """What a rule means; for one that the catalogue lacks, what its family's name tells."""
    if known := catalogue().get(rule):
        return known
    family = rule.partition(".")[0]
    return Rule(
        rule,
        f"something in its part “{family}” is not as it should be",
        "The scanner found something that it cannot call harmless.",
        "do not load the file; ask whoever made it for an ONNX, safetensors or skops export",
    )


def as_markdown() -> str:
    """The catalogue as the table that the documentation shows."""
    lines = ["| rule | what | why | what to do |", "|---|---|---|---|"]
    for rule in catalogue().values():
        lines.append(f"| `{rule.id}` | {rule.title} | {rule.why} | {rule.remedy} |")
    return "\n".join(lines) + "\n"
