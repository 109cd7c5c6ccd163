"""``report.md``: the verdict first, in GitHub-flavoured Markdown, whole tables within a size.

GitHub shows summaries of at most 1 MiB and comments of at most 65,536 characters, and strips
``data:`` addresses: there is no image in it.  What does not fit is counted, never silently dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from assay.ci import tables
from assay.ci.escaping import code, prose
from assay.ci.model import Report
from assay.ci.tables import Cell, Section

SUMMARY_BYTES = 1 << 20
COMMENT_BYTES = 60_000
_RESERVED = 600
"""Bytes for the notice that sections are missing, and the end of the page."""

_CELLS: dict[str, Callable[[str], str]] = {"ours": str, "prose": prose, "code": code}
_TONES = {"": "", "good": "", "bad": "**", "warn": "**"}


def render(
    report: Report, *, limit: int = SUMMARY_BYTES, note: str = "", marker: str = ""
) -> bytes:
    """The page, in at most `limit` bytes; `note` and `marker` are ours, and not escaped."""
    page = _Page(limit - _RESERVED)
    head = tables.head(report)
    opening = [marker] if marker else []
    opening.append(f"## {head.mark} assay: {head.word}\n")
    opening.append(f"Reason: {prose(head.why)}\n")
    if note:
        opening.append(f"> {note}\n")
    facts = " · ".join(f"{name} {_cell(cell)}" for name, cell in head.facts)
    page.add("\n".join([*opening, f"{facts}\n"]))
    left_out: list[str] = []
    sections = tables.sections(report)
    for number, section in enumerate(sections):
        # Each may use half of what is left, so that a long one leaves room for the others; the
        # last may use all of it.
        share = page.room if number == len(sections) - 1 else page.room // 2
        text = _section(section, share)
        if text is None:
            left_out.append(section.title.partition(":")[0])
        else:
            page.add(text)
    if left_out:
        names = ", ".join(left_out)
        page.end(
            f"\n**Left out for the size of this page**: {names}. `gates.json` has all of it.\n"
        )
    page.end(_checkpoint(report))
    return page.bytes()


class _Page:
    """Text with a limit in bytes."""

    def __init__(self, limit: int) -> None:
        self._parts: list[bytes] = []
        self.room = limit

    def add(self, text: str) -> None:
        self._parts.append(text.encode())
        self.room -= len(self._parts[-1])

    def end(self, text: str) -> None:
        """What the reserve is for."""
        self._parts.append(text.encode())

    def bytes(self) -> bytes:
        return b"".join(self._parts)


def _section(section: Section, room: int) -> str | None:
    """A table of as many rows as fit, and how many do not; None if not even one does."""
    if section.folded:
        before = f"\n<details><summary>{section.title}</summary>\n\n"
        after = "\n</details>\n"
    else:
        before, after = f"\n### {section.title}\n\n", ""
    aligned = ("---:" if n in section.numeric else "---" for n in range(len(section.columns)))
    before += f"{_line(section.columns)}{_line(aligned)}"
    if section.note:
        after = f"\n{section.note}\n{after}"
    more = "\n{:,} more are left out here for size; `gates.json` has all of them.\n"
    room -= len((before + after + more).encode()) + 20
    rows: list[str] = []
    for row in section.rows:
        line = _line(_cell(cell) for cell in row)
        room -= len(line.encode())
        if room < 0:
            break
        rows.append(line)
    if not rows:
        return None
    missing = len(section.rows) - len(rows)
    return f"{before}{''.join(rows)}{more.format(missing) if missing else ''}{after}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _cell(cell: Cell) -> str:
    strong = _TONES[cell.tone]
    return f"{strong}{_CELLS[cell.kind](cell.text)}{strong}"


def _checkpoint(report: Report) -> str:
    if not report.checkpoint:
        if report.statements:
            return (
                "\nThe signed statements lie beside this page, with a proof that the run's own is "
                "on the ledger.\n"
            )
        return "\nNothing of this run is on a ledger.\n"
    first = " ".join(report.checkpoint.split()[:2])
    return f"\nAs of the ledger's checkpoint {code(first, 120)}.\n"
