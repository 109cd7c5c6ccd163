"""The real command line over real workspaces, in this process.

The slow steps (converting, assessing) are made once; each test that changes something works on a
copy of the folder: workspace, keys and remembered checkpoints.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from assay.cli.app import run

from .pipelines import HELPERS, SMALL, put

PEOPLE = ("bob", "carol")
DECLARED = (
    *("--owner", "risk", "--origin", "core banking", "--licence", "internal"),
    *("--purpose", "credit-scoring", "--legal-basis", "contract", "--residency", "local"),
)


@dataclass(frozen=True)
class Done:
    """What a command line printed, and its exit status."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def all(self) -> str:
        return self.out + self.err


@dataclass(frozen=True)
class Here:
    """A folder with a workspace in ``ws``, personal keys in ``keys`` and a state folder."""

    folder: Path

    @property
    def ws(self) -> Path:
        return self.folder / "ws"

    def __call__(self, *args: str | Path, by: str = "", typed: str = "", **env: str) -> Done:
        """Run ``assay ARGS`` in the workspace as `by`, with `typed` on standard input."""
        given = {
            "ASSAY_KEYS": str(self.folder / "keys"),
            "XDG_STATE_HOME": str(self.folder / "state"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            **({"ASSAY_ACTOR": by} if by else {}),
            **env,
        }
        clean = {k: v for k, v in os.environ.items() if not k.startswith("ASSAY_")}
        out, err = io.StringIO(), io.StringIO()
        with (
            contextlib.chdir(self.ws),
            mock.patch.dict(os.environ, {**clean, **given}, clear=True),
            mock.patch("sys.stdin", io.StringIO(typed)),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = run([str(arg) for arg in args])
        return Done(code, out.getvalue(), err.getvalue())

    def ok(self, *args: str | Path, by: str = "", typed: str = "", **env: str) -> Done:
        """The same, for what must succeed."""
        done = self(*args, by=by, typed=typed, **env)
        assert done.code == 0, (args, done)
        return done


def table(rows: int, seed: int) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, 3))
    y = (x @ [1.5, -1.0, 0.5] + generator.normal(size=rows) > 0).astype(int)
    return {"income": x[:, 0], "debt": x[:, 1], "age": x[:, 2], "default": y}


def write_csv(path: Path, columns: dict[str, Any]) -> None:
    lines = [",".join(columns)]
    lines += [",".join(str(v) for v in row) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tables and a model trained on the first."""
    import pandas as pd
    import skops.io
    from sklearn.linear_model import LogisticRegression

    folder = tmp_path_factory.mktemp("files")
    train = table(600, 7)
    write_csv(folder / "loans.csv", train)
    write_csv(folder / "holdout.csv", table(500, 8))
    features = pd.DataFrame({k: v for k, v in train.items() if k != "default"})
    skops.io.dump(LogisticRegression().fit(features, train["default"]), folder / "model.skops")
    return folder


def start(folder: Path, *, project: str = "fraud") -> Here:
    """A development workspace founded by alice."""
    here = Here(folder)
    here.ws.mkdir(parents=True)
    here.ok("init", "--development", "--project", project, "--name", "alice")
    return here


def enrol(here: Here, name: str, *roles: str) -> None:
    """A person with a development key of their own."""
    public = here.ok("actor", "new-key", name, "--development").out
    options = [part for role in roles for part in ("--role", role)]
    here.ok("actor", "enrol", name, "--key", public, *options, by="alice")


@pytest.fixture(scope="session")
def _founded(tmp_path_factory: pytest.TempPathFactory) -> Here:
    here = start(tmp_path_factory.mktemp("founded") / "it")
    for name in PEOPLE:
        enrol(here, name, "fraud/approver")
    return here


@pytest.fixture(scope="session")
def _registered(_founded: Here, files: Path, tmp_path_factory: pytest.TempPathFactory) -> Here:
    here = copy_of(_founded, tmp_path_factory.mktemp("registered") / "it")
    for name in ("loans", "holdout"):
        here.ok("data", "register", files / f"{name}.csv", *DECLARED, by="alice")
    here.ok(
        *("model", "register", files / "model.skops", "--name", "credit"),
        *("--purpose", "credit-scoring", "--train", "loans", "--label", "default"),
        *("--positive", "1", "--description", "[bold]says[/] who"),
        by="alice",
    )
    return here


@pytest.fixture(scope="session")
def transcript() -> list[tuple[str, Done]]:
    """The commands that ``model check`` printed on the way to `_open`, and what they did."""
    return []


@pytest.fixture(scope="session")
def _open(
    _registered: Here,
    transcript: list[tuple[str, Done]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Here:
    """All gates open, by running what ``model check`` printed, as printed, and nothing else."""
    here = copy_of(_registered, tmp_path_factory.mktemp("open") / "it")
    checked = here("model", "check", "credit@1", "--for", "production", by="alice")
    for command in printed_commands(checked.out):
        words = command.split()
        assert words[0] == "assay"
        for by in PEOPLE if words[1] == "approve" else ("alice",):
            transcript.append((command, here(*words[1:], by=by)))
    return here


@pytest.fixture(scope="session")
def _ran(_founded: Here, tmp_path_factory: pytest.TempPathFactory) -> Here:
    """A workspace in which `small.py` has run once."""
    here = copy_of(_founded, tmp_path_factory.mktemp("ran") / "it")
    put(here, small=SMALL, helpers=HELPERS)
    here.ok("run", "small.py", by="alice")
    return here


def printed_commands(text: str) -> list[str]:
    """The numbered commands of ``model check``, in order."""
    lines = [line.strip().partition(". ") for line in text.splitlines()]
    return [command for number, dot, command in lines if dot and number.isdigit()]


@pytest.fixture(scope="session")
def _promoted(_open: Here, tmp_path_factory: pytest.TempPathFactory) -> Here:
    here = copy_of(_open, tmp_path_factory.mktemp("promoted") / "it")
    here.ok("promote", "credit@1", "--to", "production", by="alice")
    return here


def copy_of(here: Here, folder: Path) -> Here:
    shutil.copytree(here.folder, folder)
    return Here(folder)


@pytest.fixture
def founded(_founded: Here, tmp_path: Path) -> Here:
    return copy_of(_founded, tmp_path / "founded")


@pytest.fixture
def ran(_ran: Here, tmp_path: Path) -> Here:
    return copy_of(_ran, tmp_path / "ran")


@pytest.fixture
def registered(_registered: Here, tmp_path: Path) -> Here:
    return copy_of(_registered, tmp_path / "registered")


@pytest.fixture
def opened(_open: Here, tmp_path: Path) -> Here:
    return copy_of(_open, tmp_path / "open")


@pytest.fixture
def promoted(_promoted: Here, tmp_path: Path) -> Here:
    return copy_of(_promoted, tmp_path / "promoted")


@pytest.fixture
def empty(tmp_path: Path) -> Here:
    """No workspace and no keys."""
    here = Here(tmp_path / "it")
    here.ws.mkdir(parents=True)
    return here


@pytest.fixture(name="enrol")
def _enrol() -> Callable[..., None]:
    return enrol
