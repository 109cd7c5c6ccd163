"""What `assay scan` tells a person: each file that is not clean, why that matters, what to do."""

from __future__ import annotations

from assay.cli.output import counted, escape, say
from assay.cli.scan_reports import Outcome, summary
from assay.supply.rules import explain
from assay.supply.suppressions import Judged

_FEW = 10
"""So many clean files are named; of more only the number."""
_MOST_FINDINGS = 5
_MOST_FILES = 200
_COLOURS = {
    "malicious": "bold red",
    "unscannable": "magenta",
    "suspicious": "yellow",
    "clean": "green",
}


def tell(outcome: Outcome, *, everything: bool = False) -> None:
    """Print it.  Every line begins with a word of ours: a line that began with a file's name could
    be taken for a command by the server that shows it."""
    noted = outcome.worst_first()
    clean = [one for one in outcome.judged if not one.open and not one.suppressed]
    most = len(outcome.judged) if everything else _MOST_FILES
    for one in noted[:most]:
        _file(one, everything)
    if len(noted) > most:
        say(f"and {counted(len(noted) - most, 'file')} more; --all or --format json has them")
    if everything or len(outcome.judged) <= _FEW:
        for one in clean:
            _head(one)
    if outcome.trusted is not None:
        for entry in outcome.trusted.expired:
            told = f"{entry.rule} in {entry.file or entry.digest}, {entry.owner}"
            say(f"[yellow]expired[/] on {entry.expires}: {_plain(told)}")
    say(escape(summary(outcome)))
    if outcome.trusted is not None and outcome.trusted.signers:
        say(f"suppressions signed by {_plain(', '.join(outcome.trusted.signers))}")
    if outcome.level is not None:
        say(f"read {_size(outcome.bytes)} in confined processes, isolation: {outcome.level}")


def _head(one: Judged) -> None:
    answer = one.scanned.answer
    word = f"[{_COLOURS[one.verdict]}]{one.verdict:<11}[/]"
    say(f"{word} [bold]{_plain(one.scanned.path)}[/]  {_plain(answer.format)}, {answer.bytes:,} B")


def _file(one: Judged, everything: bool) -> None:
    _head(one)
    most = len(one.open) if everything else _MOST_FINDINGS
    last = ""
    for found in one.open[:most]:
        rule = explain(found.rule)
        what = f"at {found.where}: {found.what}"
        say(f"  {found.severity}: [bold]{_plain(found.rule)}[/] {_plain(what)}")
        if found.rule != last:
            say(f"    why: {escape(rule.why)}")
            say(f"    →  {escape(rule.remedy)}")
        last = found.rule
    hidden = one.scanned.answer.findings_count - len(one.open[:most]) - len(one.suppressed)
    if hidden > 0:
        say(f"  and {counted(hidden, 'finding')} more")
    for found, entry in one.suppressed[:most]:
        what = f"{found.rule} at {found.where}, by {entry.owner}: {entry.reason}"
        say(f"  suppressed until {entry.expires}: {_plain(what)}")
    if len(one.suppressed) > most:
        say(f"  and {len(one.suppressed) - most:,} more suppressed")
    if one.open and one.scanned.answer.digest:
        say(f"  digest {one.scanned.answer.digest}")


def _plain(text: object) -> str:
    """`escape`, and without what older runners of GitHub take for a command within a line."""
    return escape(str(text).replace("##[", "## ["))


def _size(count: int) -> str:
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"
