"""Printing: for a person, or one JSON document for a machine."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Generator, Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from assay.errors import AssayError

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def emit(as_json: bool, value: Any, human: Callable[[], None]) -> None:
    """Print `value` as one JSON document, or call `human`."""
    if as_json:
        sys.stdout.write(json.dumps(msgspec.to_builtins(value), indent=2, sort_keys=True) + "\n")
    else:
        human()


def say(text: str) -> None:
    """A line for a person.  `text` may carry rich markup; escape what users wrote."""
    out.print(text)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """A plain table, or one line saying that there is nothing and how to change that."""
    if not rows:
        say(empty)
        return
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*(escape(cell) for cell in row))
    out.print(drawn)


@contextlib.contextmanager
def progress(as_json: bool) -> Generator[Callable[[str], None]]:
    """A spinner with the current step on standard error; silent for machines."""
    if as_json or not err.is_terminal:
        yield (lambda text: None) if as_json else (lambda text: err.print(f"  … {escape(text)}"))
        return
    with err.status("working") as status:
        yield lambda text: status.update(escape(text))


def show_error(error: AssayError, as_json: bool) -> None:
    """One error, in one place, in one form."""
    if as_json:
        sys.stdout.write(json.dumps(error.as_dict(), indent=2, sort_keys=True) + "\n")
        return
    reasons = error.details.get("reasons")
    if reasons:
        head = error.message.partition(" is denied.")[0]
        err.print(f"[bold red]denied[/]: {escape(head)}")
        for reason in reasons:
            err.print(f"  [red]✗[/] [bold]{escape(reason['gate'])}[/]  {escape(reason['advice'])}")
            if reason.get("remedy"):
                err.print(f"      → {escape(reason['remedy'])}")
        return
    err.print(f"[bold red]{escape(error.kind)}[/]: {escape(error.message)}")
    if error.remedy:
        err.print(f"  → {escape(error.remedy)}")
