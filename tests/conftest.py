"""Nothing that a test does may be remembered at home: not a checkpoint, not a key."""

from __future__ import annotations

from collections.abc import Generator

import pytest


@pytest.fixture(scope="session", autouse=True)
def home_untouched(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_STATE_HOME", str(home / "state"))
        patched.setenv("XDG_CONFIG_HOME", str(home / "config"))
        yield
