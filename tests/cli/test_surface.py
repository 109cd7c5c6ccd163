"""What every command has in common: help, JSON, errors in one line with a remedy."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from assay.cli.app import app
from assay.cli.session import ask_missing
from assay.errors import NotFound


def commands(node: Any = None, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    node = node or get_command(app)
    if hasattr(node, "commands"):
        found: dict[tuple[str, ...], Any] = {}
        for name, child in node.commands.items():
            found |= commands(child, (*path, name))
        return found
    return {path: node}


COMMANDS = commands()


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_teaches_with_an_example_and_speaks_json(
    empty: Any, path: tuple[str, ...]
) -> None:
    done = empty.ok(*path, "--help")
    assert "Example: " in done.out
    assert "assay " + " ".join(path) in " ".join(done.out.split("Example: ")[1].split())
    assert "--json" in done.out


ALONE = {
    *(("init",), ("verify",), ("actor", "new-key"), ("keys", "new-recovery"), ("data", "sample")),
    *(("ci", "run"), ("ci", "init"), ("ci", "comment")),
    *(("scan",), ("sign",), ("suppressions", "add"), ("suppressions", "sign")),
    *(("suppressions", "show"), ("bom", "check"), ("ledger", "watch")),
    ("monitor", "dashboard"),
    *(("witness", "init"), ("witness", "vkey"), ("witness", "serve")),
}
"""The commands that work without a workspace."""


def test_acting_commands_take_a_person_and_a_project() -> None:
    for path, command in COMMANDS.items():
        if path in ALONE:
            continue
        names = {option for parameter in command.params for option in parameter.opts}
        if path[0] in ("model", "data", "token", "decision", "approve", "promote", "serve"):
            assert {"--as", "--project"} <= names, path


def test_no_option_takes_a_secret() -> None:
    for path, command in COMMANDS.items():
        for parameter in command.params:
            for word in ("pass", "secret", "token-value"):
                assert not [o for o in parameter.opts if word in o], (path, parameter.opts)


@pytest.mark.parametrize("group", ["", "data", "model", "keys", "actor", "policy", "decision"])
def test_a_group_alone_shows_its_help(empty: Any, group: str) -> None:
    done = empty(*([group] if group else []))
    assert done.code == 2
    assert "Commands:" in done.out


def test_a_group_says_what_each_command_is_for_in_a_whole_sentence(empty: Any) -> None:
    for group in ((), *{path[:1] for path in COMMANDS if len(path) > 1}):
        listed = empty.ok(*group, "--help", COLUMNS="50").out.split("Commands:")[1]
        assert "..." not in listed, group
    order = [
        line.split()[0]
        for line in empty.ok("--help").out.split("Commands:")[1].splitlines()
        if line[2:3].strip()
    ]
    assert order.index("init") < order.index("data") < order.index("model") < order.index("serve")
    assert {path[0] for path in COMMANDS} <= set(order)


def test_an_example_can_be_copied_as_it_stands(empty: Any) -> None:
    for path in COMMANDS:
        example = empty.ok(*path, "--help").out.split("Example: ")[1].split("\n\n")[0]
        lines = example.splitlines()
        assert all(line.endswith("\\") for line in lines[:-1]), path


def test_the_version_is_printed(empty: Any) -> None:
    assert empty.ok("--version").out.startswith("assay ")


def test_help_costs_little_and_loads_no_library_that_computes() -> None:
    code = (
        "import resource, sys; from assay.cli.app import run; run(['--help']);"
        "heavy = {'polars', 'numpy', 'sqlalchemy', 'onnx', 'onnxruntime', 'cedarpy', 'sklearn',"
        " 'alembic', 'starlette', 'uvicorn', 'jinja2', 'cryptography'};"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr.strip() == "[]"
    assert "Commands:" in done.stdout


# -- errors ---------------------------------------------------------------------------------------


def one_line(done: Any, code: int) -> None:
    assert done.code == code, done
    lines = done.err.strip().splitlines()
    assert len(lines) == 2, done
    assert lines[1].strip().startswith("→"), done
    assert "Traceback" not in done.all


@pytest.mark.parametrize(
    "args",
    [
        ("dance",),
        ("data", "dance"),
        ("model", "show"),
        ("model", "show", "credit@1", "--dance"),
        ("model", "register", "x", "--threshold", "much"),
        ("promote", "credit@1"),
        ("decision", "list", "--limit", "0"),
    ],
)
def test_what_cannot_be_parsed_is_one_line_and_names_the_help(
    empty: Any, args: tuple[str, ...]
) -> None:
    one_line(empty(*args), 2)
    told = empty(*args, "--json")
    assert told.code == 2
    assert told.json["error"] == "usage.options"


def test_without_a_workspace_every_command_says_how_to_make_one(empty: Any) -> None:
    for path, command in COMMANDS.items():
        if path in ALONE:
            continue
        arguments = ["x@1" for p in command.params if p.param_type_name == "argument"]
        options = [
            part
            for p in command.params
            if p.param_type_name == "option" and p.required
            for part in (p.opts[0], "x")
        ]
        if path == ("actor", "role"):
            arguments = ["x", "grant", "x"]
        if path in {("actor", "enrol"), ("project", "create")}:
            arguments, options = ["x"], ["--kind", "service"] if path[0] == "actor" else []
        if path[-1] in ("register", "import") or path[0] == "intake":
            continue
        done = empty(*path, *arguments, *options)
        one_line(done, 1)
        assert "assay init" in done.err, path


def test_a_broken_configuration_is_one_line(founded: Any) -> None:
    config = founded.ws / "assay.toml"
    whole = config.read_text()
    for broken, code in (
        ("this is no toml [", 2),
        (whole.replace("workspace", "workspaces"), 2),
        (whole.replace("config/v1", "config/v9"), 4),
        (whole.replace('folder = ".assay"', 'folder = "../.assay"'), 2),
        (whole.replace("sha256:", "sha256:0")[: len(whole)], 2),
        ("", 2),
    ):
        config.write_text(broken)
        done = founded("data", "list", by="alice")
        assert done.code == code, (broken, done)
        assert "Traceback" not in done.all
        assert len(done.err.strip().splitlines()) <= 2
    config.write_text(
        whole.replace('trust_root = "sha256:', 'trust_root = "sha256:' + "0" * 64)[:0]
    )
    config.write_bytes(b"\xff\xfe")
    assert founded("data", "list", by="alice").code == 2


def test_a_lost_root_key_leads_to_recovery(founded: Any) -> None:
    (founded.ws / ".assay" / "keys" / "root.key").unlink()
    done = founded("data", "list", by="alice")
    one_line(done, 1)
    assert "assay keys recover" in done.err


def test_another_trust_root_than_the_pinned_one_is_refused(founded: Any) -> None:
    import re

    config = founded.ws / "assay.toml"
    config.write_text(re.sub("sha256:[0-9a-f]{64}", f"sha256:{'0' * 64}", config.read_text()))
    done = founded("data", "list", by="alice")
    assert done.code == 4
    assert "pinned" in done.err


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("model", "show", "nothing@1"), 1),
        (("model", "show", "credit@99"), 1),
        (("model", "show", "credit"), 2),
        (("model", "show", "Credit@1"), 2),
        (("model", "check", "credit@1", "--for", "heaven"), 2),
        (("model", "assess", "credit@1", "--data", "nothing"), 1),
        (("data", "show", "nothing"), 1),
        (("promote", "credit@1", "--to", "heaven"), 2),
        (("serve", "nothing@production"), 1),
        (("kill", "nothing", "--reason", "x"), 1),
        (("decision", "show", "nothing"), 1),
        (("token", "create", "--for", "nobody"), 1),
        (("passport", "credit@1", "--out", "no/such/folder/x.html"), 2),
        (("export", "nothing@1"), 1),
        (("verify", "nothing"), 1),
        (("verify", "assay.toml"), 2),
        (("verify", "policy"), 2),
    ],
)
def test_a_name_that_is_unknown_or_none_is_one_line_with_a_remedy(
    registered: Any, args: tuple[str, ...], code: int
) -> None:
    one_line(registered(*args, by="alice"), code)
    told = registered(*args, "--json", by="alice")
    assert told.code == code
    assert {"error", "message", "remedy"} <= told.json.keys()


@pytest.mark.parametrize(
    ("command", "named"),
    [
        (("data", "register", "x.csv"), ("--owner", "--legal-basis", "--residency")),
        (("model", "register", "x.skops"), ("--name", "--purpose")),
        (("model", "register", "x.skops", "--name", "m"), ("--purpose",)),
    ],
)
def test_all_missing_answers_are_named_in_one_error(
    founded: Any, command: tuple[str, ...], named: tuple[str, ...]
) -> None:
    done = founded(*command, by="alice")
    one_line(done, 2)
    assert all(name in done.err for name in named)


def test_a_choice_is_asked_again_until_it_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.csv").write_text("a\n1\n")
    answers = iter(["whatever", "contract"])
    asked: list[str] = []

    def prompt(text: str, **_: Any) -> str:
        asked.append(text)
        return next(answers)

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("typer.prompt", prompt)
    given = ask_missing(
        {"basis": "", "owner": "me"},
        {"owner": "Who?", "basis": "Which?"},
        "x",
        path=tmp_path / "x.csv",
        choices={"basis": ("consent", "contract")},
    )
    assert given == {"basis": "contract", "owner": "me"}
    assert asked == ["Which?", "Which?"]
    assert "one of consent, contract" in capsys.readouterr().err
    with pytest.raises(NotFound, match="nope"):
        ask_missing({}, {"owner": "Who?"}, "x", path=tmp_path / "nope.csv")
    assert len(asked) == 2


def test_a_passphrase_is_asked_for_before_anything_is_drawn_over_the_question(
    founded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawing: list[bool] = []
    loaded: list[bool] = []
    from assay.cli import output, personal

    load, progress = personal.load_key, output.progress

    @contextlib.contextmanager
    def drawn(as_json: bool) -> Any:
        drawing.append(True)
        with progress(as_json) as tell:
            yield tell
        drawing.clear()

    def asked(name: str) -> Any:
        loaded.append(bool(drawing))
        return load(name)

    monkeypatch.setattr(output, "progress", drawn)
    monkeypatch.setattr(personal, "load_key", asked)
    for command in (("data", "list"), ("doctor",), ("store", "check"), ("store", "collect")):
        assert founded(*command, by="alice").code == 0
    assert loaded
    assert not any(loaded)


def test_what_a_user_wrote_is_never_taken_for_markup_or_terminal_codes(registered: Any) -> None:
    page = registered.ok("passport", "credit@1", "--json", by="alice").json
    assert "[bold]says[/] who" in {claim["text"] for claim in page["declared"]}
    done = registered("model", "show", "credit@\x1b[31m", by="alice")
    assert "\x1b" not in done.all
    odd = registered("data", "show", "[red]x[/]", by="alice")
    assert "[red]x[/]" in odd.all
    held = registered("hold", "credit@1", "--reason", "[link=x]\x1b]0;x\x07", by="alice")
    assert held.code == 0


def test_an_unexpected_error_is_one_line_and_tells_how_to_report_it(
    founded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("[bold]oops[/]\nsecond line")

    monkeypatch.setattr("assay.workspace.opening.open_workspace", fail)
    done = founded("data", "list", by="alice")
    one_line(done, 70)
    assert "internal error: ZeroDivisionError: [bold]oops[/]" in done.err
    assert "ASSAY_DEBUG" in done.err
    told = founded("data", "list", "--json", by="alice")
    assert told.json["error"] == "error.internal"
    assert "Traceback" in founded("data", "list", by="alice", ASSAY_DEBUG="1").err


def test_a_disk_that_fails_is_one_line(founded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device", "/somewhere")

    monkeypatch.setattr("assay.workspace.opening.open_workspace", fail)
    one_line(founded("data", "list", by="alice"), 1)


def test_an_interruption_says_how_to_settle_what_was_begun(
    founded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("assay.workspace.opening.open_workspace", stop)
    done = founded("data", "list", by="alice")
    assert done.code == 130
    assert "assay recover" in done.err


def test_the_installed_command_ends_with_the_status_of_what_it_ran(empty: Any) -> None:
    command = Path(sys.executable).with_name("assay")
    env = {k: v for k, v in os.environ.items() if not k.startswith("ASSAY_")}
    done = subprocess.run(
        [command, "data", "list", "--json"],
        cwd=empty.ws,
        env={**env, "ASSAY_KEYS": str(empty.folder / "keys")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"] == "not_found.workspace"


# -- JSON -----------------------------------------------------------------------------------------

LOOKING = [
    ("doctor",),
    ("recover",),
    ("rebuild",),
    ("rebuild", "--check"),
    ("data", "list"),
    ("data", "show", "loans"),
    ("data", "hold", "loans", "--reason", "x"),
    ("data", "release", "loans", "--reason", "x"),
    ("model", "list"),
    ("model", "show", "credit@1"),
    ("model", "check", "credit@1"),
    ("model", "scan", "credit@1"),
    ("hold", "credit@1", "--reason", "x"),
    ("unhold", "credit@1", "--reason", "x"),
    ("promote", "credit@1", "--to", "development"),
    ("passport", "credit@1"),
    ("export", "credit@1"),
    ("verify", "."),
    ("verify", "credit-1.assay"),
    ("decision", "list"),
    ("policy", "check"),
    ("policy", "test"),
    ("policy", "apply"),
    ("policy", "show"),
    ("actor", "list"),
    ("actor", "role", "bob", "grant", "auditor"),
    ("actor", "disable", "carol"),
    ("actor", "enable", "carol"),
    ("actor", "enrol", "app", "--kind", "service", "--role", "service"),
    ("token", "create", "--for", "app"),
    ("token", "list"),
    ("project", "list"),
    ("project", "create", "churn"),
    ("keys", "status"),
    ("keys", "rotate", "--ring", "fraud/models"),
    ("keys", "new-recovery"),
    ("store", "check"),
    ("store", "collect"),
    ("actor", "erase", "carol"),
]


def test_every_command_prints_exactly_one_json_document(registered: Any) -> None:
    for command in LOOKING:
        done = registered(*command, "--json", by="alice")
        assert done.code in (0, 3), (command, done)
        json.loads(done.out)
        assert "…" not in done.err, command
