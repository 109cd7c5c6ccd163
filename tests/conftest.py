"""Nothing that a test does may be remembered at home: not a checkpoint, not a key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with the most slow tests come first: two workers then end at about the same time."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session", autouse=True)
def home_untouched(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_STATE_HOME", str(home / "state"))
        patched.setenv("XDG_CONFIG_HOME", str(home / "config"))
        yield
