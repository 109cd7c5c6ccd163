"""Printing: for a person, or one JSON document for a machine.

What users and files wrote is escaped (`escape`) before it reaches the terminal: it may hold markup
and control characters.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich import markup
from rich.console import Console
from rich.table import Table

from assay import files
from assay.errors import AssayError, Conflict, Usage

out = Console(highlight=False, soft_wrap=True, emoji=False)
_WIDE = 300
err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


class Stopped(Exception):
    """A person ended what was running, and what had been done by then is on record."""


def escape(text: object) -> str:
    """Text of any origin, fit for a terminal: no markup, no control characters, one line."""
    shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in str(text))
    return markup.escape(shown)


_UID = re.compile(r'Assay::(\w+)::"([^"]*)"')


def named(uid: str) -> str:
    """``Assay::ModelVersion::"fraud/credit@3"`` as policy names it, for a person: its kind, and
    its name unless there is only one of the kind."""

    def words(found: re.Match[str]) -> str:
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", found[1]).lower()
        return f"the {kind}" if found[2] == kind else f"{kind} {found[2]}"

    return _UID.sub(words, uid)


def counted(count: int, noun: str) -> str:
    """``1 finding``, ``2 findings``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def emit(as_json: bool, value: Any, human: Callable[[], None]) -> None:
    """Print `value` as one JSON document, or call `human`."""
    if as_json:
        sys.stdout.write(json.dumps(msgspec.to_builtins(value), indent=2, sort_keys=True) + "\n")
    else:
        human()


def say(text: str) -> None:
    """A line for a person.  `text` may carry rich markup; escape what users wrote."""
    out.print(text)


def note(text: str) -> None:
    """A line on standard error, beside what is piped on."""
    err.print(text)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """A plain table, or one line saying that there is nothing and how to change that."""
    if not rows:
        say(empty)
        return
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*(escape(cell) for cell in row))
    if out.is_terminal:
        out.print(drawn, soft_wrap=False)
    else:  # Piped on, a row is a line.
        Console(highlight=False, emoji=False, width=_WIDE).print(drawn)


def statements(evidence: Sequence[Mapping[str, Any]]) -> None:
    """Statements, each with its envelope's digest on a line of its own, to be copied whole."""
    for item in evidence:
        mark = " [yellow](superseded)[/]" if item.get("superseded") else ""
        say(
            f"  leaf {item['leaf']}  [bold]{escape(item['kind'])}[/]{mark}  by "
            f"{escape(item['producer'])}, {escape(item['issued'])}"
        )
        say(f"    {escape(item['envelope'])}")


@contextlib.contextmanager
def progress(as_json: bool) -> Generator[Callable[[str], None]]:
    """A spinner with the current step on standard error; silent for machines."""
    if as_json:
        yield lambda _: None
    elif not err.is_terminal:
        yield lambda text: err.print(f"  … {escape(text)}")
    else:
        with err.status("working") as status:
            yield lambda text: status.update(escape(text))


def measured(values: Mapping[str, str]) -> str:
    """What a gate looked at, in one line."""
    return ", ".join(f"{name} {value}" for name, value in values.items())


def show_error(error: AssayError, as_json: bool) -> None:
    """One error, in one place, in one form."""
    if as_json:
        sys.stdout.write(json.dumps(error.as_dict(), indent=2, sort_keys=True) + "\n")
        return
    reasons = error.details.get("reasons")
    if reasons:
        head = named(error.message.partition(" is denied.")[0])
        err.print(f"[bold red]denied[/]: {escape(head)}")
        for reason, following in zip(reasons, [*reasons[1:], {}], strict=True):
            err.print(f"  [red]✗[/] [bold]{escape(reason['gate'])}[/]  {escape(reason['advice'])}")
            if reason.get("measured"):
                err.print(f"      {escape(measured(reason['measured']))}")
            # One command that opens several gates in a row is named after the last of them.
            if reason.get("remedy") and reason["remedy"] != following.get("remedy"):
                err.print(f"      → {escape(reason['remedy'])}")
        return
    err.print(f"[bold red]{escape(error.kind.replace('_', ' '))}[/]: {escape(error.message)}")
    if error.remedy:
        err.print(f"  → {escape(error.remedy)}")


def check_result(path: Path, *, force: bool) -> None:
    """Raise what `write_result` would, before any work is done for it."""
    if path.is_dir() or not path.parent.is_dir():
        raise Usage(
            f"{path} cannot be written: it is a folder, or its folder does not exist",
            remedy="name a file in a folder that exists",
            code="output",
        )
    if path.exists() and not force:
        raise _exists(path)


def write_result(path: Path, data: bytes, *, force: bool) -> None:
    """Write a file a user asked for, whole or not at all; an existing one only with `force`."""
    check_result(path, force=force)
    try:
        files.write(path, data, mode=0o644, replace=force)
    except FileExistsError as error:
        raise _exists(path) from error


def _exists(path: Path) -> Conflict:
    return Conflict(
        f"{path} exists", remedy="name another file with --out, or add --force", code="output"
    )
