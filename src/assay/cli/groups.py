"""A group of commands whose help says what each is for in a whole sentence.

The option parser's own cuts a sentence off at the width of the terminal.
"""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

_WHOLE = 1 << 16
"""Longer than any sentence."""

_ROAD = (
    *("init", "doctor", "recover", "data", "run", "why", "model", "intake", "approve", "promote"),
    *(
        "serve",
        "predictions",
        "feedback",
        "monitor",
        "alerts",
        "incident",
        "change",
        "retrain",
        "passport",
        "export",
        "verify",
        "sign",
        "scan",
        "suppressions",
        "bom",
        "vulns",
        "licences",
        "hold",
        "unhold",
        "kill",
        "revoke",
        "supersede",
        "decision",
        "policy",
    ),
    *("actor", "project", "token", "keys", "store", "rebuild"),
    *("ledger", "witness"),
)
"""The commands in the order in which a model meets them."""


class Group(TyperGroup):
    """See above."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The commands of the whole tool along the road, those of a group as they were added."""
        names = super().list_commands(ctx)
        on_the_road = set(names) >= set(_ROAD)
        return [*_ROAD, *(n for n in names if n not in _ROAD)] if on_the_road else names

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Each command and its first sentence, folded and not cut."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, c.get_short_help_str(_WHOLE)) for name, c in found if c and not c.hidden]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)
