"""Making a workspace: all of it or none, and nothing of anybody else's is lost."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from workspace.town import Killed, inside, killed_at

from assay.errors import AssayError
from assay.evidence.signers import MemorySigner
from assay.workspace.opening import Founding, create_workspace, open_workspace


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No real syncing, where crashes are simulated: only what was asked for matters."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.mark.parametrize(
    "every", [pytest.param(1, marks=pytest.mark.slow), pytest.param(7, id="now and then")]
)
@pytest.mark.usefixtures("quick")
def test_the_creation_of_a_workspace_killed_anywhere_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    founder = MemorySigner.generate()
    founding = Founding("alpha", "ada", founder, "personal-key", development=True)
    number, survived = 0, False
    while not survived:
        base = tmp_path / str(number)
        repo = base / "repo"
        repo.mkdir(parents=True)
        inside(base, monkeypatch)
        with killed_at(number):
            try:
                create_workspace(repo, founding)
                survived = True
            except Killed:
                pass
        if (repo / "assay.toml").exists():
            # From here on it is there, whole, and is not made again.
            with pytest.raises(AssayError):
                create_workspace(repo, founding)
            ws = open_workspace(repo)
        else:
            ws = create_workspace(repo, founding)
        assert not (repo / ".assay" / "unfinished").exists()
        assert ws.recover() == []
        assert ws.ledger.check() == []
        assert ws.view.follow().rejected == []
        assert len(ws.engine().gates("promote")) > 10
        names = sorted(path.name for path in (repo / "policy").iterdir())
        assert [name for name in names if not name.startswith(".")] == [
            "gates.cedar",
            "producers.toml",
            "roles.cedar",
            "settings.toml",
            "tests.toml",
        ]
        shutil.rmtree(base)
        number += every
    assert number > 50


def test_a_folder_that_somebody_else_made_is_not_cleared_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside(tmp_path, monkeypatch)
    (tmp_path / ".assay").mkdir()
    (tmp_path / ".assay" / "treasure").write_text("mine")
    founding = Founding("alpha", "ada", MemorySigner.generate(), "personal-key", development=True)
    with pytest.raises(AssayError, match="exists"):
        create_workspace(tmp_path, founding)
    assert (tmp_path / ".assay" / "treasure").read_text() == "mine"
