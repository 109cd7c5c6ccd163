"""The command line: a thin skin that builds an action and calls the door.

What lives here
    One file for each family of commands; `session` finds the workspace, the person and the
    project; `output` prints for people or, with ``--json``, for machines.

May import
    Everything below it: actions, the workspace, capabilities.

An attacker who owns it can
    ask for whatever the keys of the person at the terminal allow, in that person's name.
"""

import gc
import sys

_COLLECT_AFTER = 100_000
"""Objects between two looks for garbage.  A command makes many that stay, and ends soon: with
Python's 700, a tenth of a short one's time went into looking."""


def main() -> None:
    """The ``assay`` command: runs, prints errors in one place, exits with their status."""
    gc.set_threshold(_COLLECT_AFTER)
    from assay.cli.app import run

    sys.exit(run())
