"""Quarantines to fetch into, and short ways to do it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from supply.intake.servers import SMALL

from assay.supply.intake import fetching, locators
from assay.supply.intake.fetching import Fetched, Request
from assay.supply.intake.quarantine import Quarantine
from assay.supply.intake.settings import Settings

Take = Callable[..., tuple[Fetched, Quarantine]]


@pytest.fixture
def quarantine(tmp_path: Path) -> Quarantine:
    return Quarantine(tmp_path / "private" / "intake", "test:source", SMALL)


@pytest.fixture
def take(tmp_path: Path) -> Take:
    """Fetch a locator into a quarantine of its own."""
    count = [0]

    def taking(text: str, settings: Settings | None = None, **given: Any):
        count[0] += 1
        held = settings or Settings(limits=SMALL)
        locator = locators.parse(text)
        into = Quarantine(tmp_path / f"q{count[0]}" / "intake", locator.place, held.limits)
        fetched = fetching.fetch(Request(locator, held, **given), into)
        into.finish()
        return fetched, into

    return taking
