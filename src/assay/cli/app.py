"""The command tree, and the one place where errors are printed and turned into exit statuses.

Exit statuses: 0 done, 1 not found / conflict / unavailable, 2 wrong usage, 3 denied by policy,
4 verification failed or stored state corrupt, 70 a mistake in assay itself, 130 stopped.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType

import typer

from assay import __version__
from assay.cli import (
    alerts,
    bom,
    change,
    checking,
    ci,
    data,
    evidence,
    feedback,
    incidents,
    intake,
    keys,
    ledger,
    licences,
    model,
    monitor,
    people,
    policy,
    predictions,
    projects,
    release,
    sampling,
    scan,
    serving,
    setup,
    sign,
    suppressions,
    upkeep,
    vulnerabilities,
    witness,
)
from assay.cli import run as runs
from assay.cli.groups import Group
from assay.cli.output import Stopped, err, show_error
from assay.errors import AssayError, Unavailable, Usage

_STOPPED = 130
"""What the option parser also makes of Ctrl-C."""
_PARTS = (
    *(setup, data, sampling, model, intake, checking, release, serving, evidence),
    *(scan, suppressions, sign, runs, policy, people, projects, keys, upkeep, ci),
    *(ledger, witness, bom, vulnerabilities, licences, monitor, alerts, incidents),
    *(predictions, feedback, change),
)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"assay {__version__}\n")
        raise typer.Exit


def _with(*parts: ModuleType) -> typer.Typer:
    """The whole command, with the commands of these parts."""
    made = typer.Typer(
        cls=Group,
        name="assay",
        help="Test, mark and prove machine-learning models: from data to a served endpoint.",
        epilog="Begin with: assay init, then assay data register and assay model register.",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=False,
    )

    @made.callback()
    def root(  # pyright: ignore[reportUnusedFunction]
        version: bool = typer.Option(
            False,
            "--version",
            callback=_version,
            is_eager=True,
            help="Print the version.",
        ),
    ) -> None:
        """Options of the whole command."""

    for part in parts:
        part.add_to(made)
    return made


app = _with(*_PARTS)


def _holding(words: Sequence[str]) -> typer.Typer:
    """What holds the command that is named first: preparing all of them takes longer than most."""
    for part in _PARTS if words else ():
        alone = _with(part)
        infos = [*alone.registered_commands, *alone.registered_groups]
        if words[0] in [info.name for info in infos]:
            return alone
    return app


def run(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns its exit status, and never ends in a traceback."""
    given = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in given
    try:
        code = _holding(given)(given, standalone_mode=False, prog_name="assay")
    except AssayError as error:
        show_error(error, as_json)
        return error.exit_status
    except typer.TyperException as error:
        return _misused(error, as_json)
    except (typer.Abort, KeyboardInterrupt):
        code = _STOPPED
    except Stopped:
        return _STOPPED
    except BrokenPipeError:
        # Whoever read has gone; what is still in the buffer would raise once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        found = Unavailable(f"{named}{error.strerror or error}", remedy="check disk and rights")
        show_error(found, as_json)
        return found.exit_status
    except Exception as error:
        return _mistake(error, as_json)
    if code == _STOPPED:
        err.print("stopped; run `assay recover` if this was a long action")
    return code if isinstance(code, int) else 0


def _misused(error: typer.TyperException, as_json: bool) -> int:
    """What the option parser found wrong, in the form of every other error."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stdout.write(f"{context.get_help() if context else ''}\n")
        return 2
    command = context.command_path.strip() if context is not None else "assay"
    message = " ".join(error.format_message().split())
    show_error(Usage(message, remedy=f"{command} --help", code="options"), as_json)
    return 2


def _mistake(error: Exception, as_json: bool) -> int:
    """An error nobody meant to raise: one line, and where to report it."""
    if os.environ.get("ASSAY_DEBUG"):
        traceback.print_exception(error, file=sys.stderr)
    first = (str(error).splitlines() or [""])[0][:200]
    found = AssayError(
        f"internal error: {type(error).__name__}: {first}",
        remedy="this is a mistake in assay: run it again with ASSAY_DEBUG=1 and report what it "
        "prints, with `assay --version`",
        code="internal",
    )
    show_error(found, as_json)
    return 70
