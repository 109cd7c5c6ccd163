"""A place to run pipelines in, copied for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from .running import Place, copy_of, template


@pytest.fixture
def place(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Place:
    return copy_of(template(tmp_path_factory), tmp_path / "place", monkeypatch)
