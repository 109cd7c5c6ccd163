"""The town, built once for each process and copied for each test."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from workspace.town import Town, built_once, copy_of


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Town:
    return built_once(tmp_path_factory)


@pytest.fixture
def town(built: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Town:
    return copy_of(built, tmp_path / "town", monkeypatch)


@pytest.fixture
def folder(town: Town) -> Path:
    """A model as somebody else hands it over: ONNX and a card."""
    made = town.base / "theirs"
    made.mkdir()
    (made / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Score\n")
    shutil.copy(town.repo / "model.onnx", made / "score.onnx")
    return made
