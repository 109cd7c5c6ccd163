"""Evidence in words, for the terminal.  The sentences themselves are `assay.actions.passports`'."""

from __future__ import annotations

from typing import Any

from assay.cli.output import escape, say

_SHOWN = 20
_WHERE = 80
"""Characters of a place in a file: a hostile archive names its members as it likes."""


def of(kind: str, predicate: dict[str, Any]) -> list[tuple[str, str]]:
    """A predicate as (title, sentence)."""
    from assay.actions.passports import sentences

    return sentences(kind, predicate)


def scan(found: dict[str, Any]) -> str:
    """The verdict of a scan, in colour."""
    text = "; ".join(text for _, text in of("scan", found))
    return f"[green]{escape(text)}[/]" if found["clean"] else f"[red]{escape(text)}[/]"


def findings(found: dict[str, Any]) -> None:
    """What a scan found, one line each."""
    for finding in found["findings"][:_SHOWN]:
        where = str(finding["where"])
        where = where if len(where) <= _WHERE else f"{where[: _WHERE // 2]}…{where[-_WHERE // 4 :]}"
        say(
            f"    [red]{escape(finding['severity'])}[/] {escape(finding['rule'])} at "
            f"{escape(where)}: {escape(finding['what'])}"
        )
    more = found["findings_count"] - min(_SHOWN, len(found["findings"]))
    if more > 0:
        say(f"    and {more} more (--json lists them)")


def parity(found: dict[str, Any]) -> str:
    """Whether the conversion decides as the original, in colour."""
    text = "; ".join(text for _, text in of("parity", found))
    good = found["decision_disagreement"] == 0
    return f"[green]{escape(text)}[/]" if good else f"[yellow]{escape(text)}[/]"


def flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested Cedar values as (dotted name, text)."""
    rows: list[tuple[str, str]] = []
    for key, value in sorted(values.items()):
        if isinstance(value, dict) and "__extn" in value:
            rows.append((prefix + key, str(value["__extn"]["arg"])))
        elif isinstance(value, dict):
            rows += flat(value, f"{prefix}{key}.")
        else:
            shown = str(value).lower() if isinstance(value, bool) else str(value)
            rows.append((prefix + key, shown))
    return rows


def duration(seconds: int) -> str:
    """About how long something takes."""
    if seconds >= 120:
        return f"about {round(seconds / 60)} min"
    return f"about {seconds} s" if seconds else "no time"
