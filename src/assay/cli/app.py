"""The command tree, and the one place where errors are printed and turned into exit statuses.

Exit statuses: 0 done, 1 not found / conflict / unavailable, 2 wrong usage, 3 denied by policy,
4 verification failed or stored state corrupt.
"""

from __future__ import annotations

import sys

import click
import typer

from assay import __version__
from assay.cli import admin, data, evidence, model, release, setup
from assay.cli.output import err, show_error
from assay.errors import AssayError

app = typer.Typer(
    name="assay",
    help="Test, mark and prove machine-learning models: from data to a monitored endpoint.",
    epilog="Begin with `assay init`, then `assay data register` and `assay model register`.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"assay {__version__}\n")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True),  # noqa: FBT003
) -> None:
    """Options of the whole command."""


setup.add_to(app)
data.add_to(app)
model.add_to(app)
release.add_to(app)
evidence.add_to(app)
admin.add_to(app)


def run() -> None:
    """Run the command line; never ends in a traceback for anything a user can cause."""
    as_json = "--json" in sys.argv
    try:
        code = app(standalone_mode=False)
    except AssayError as error:
        show_error(error, as_json)
        code = error.exit_status
    except click.exceptions.Abort:
        err.print("stopped")
        code = 130
    except click.ClickException as error:
        error.show()
        code = 2
    except KeyboardInterrupt:
        err.print("stopped; run `assay recover` if this was a long action")
        code = 130
    except BrokenPipeError:
        code = 141
    sys.exit(code if isinstance(code, int) else 0)
