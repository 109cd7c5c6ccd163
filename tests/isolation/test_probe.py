"""What a machine offers is tried, and what does not work is left out and said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from assay.isolation import landlock
from assay.isolation import probe as module
from assay.isolation.capability import Capability
from assay.isolation.probe import attempt, find, probe

NOTHING = Capability(
    limits=False,
    landlock_abi=0,
    seccomp=False,
    uid_separation=False,
    user_namespace=False,
    bubblewrap=None,
)
STEPS = [
    ("resource limits", replace(NOTHING, limits=True)),
    ("seccomp", replace(NOTHING, limits=True, seccomp=True)),
    ("Landlock", replace(NOTHING, limits=True, seccomp=True, landlock_abi=4)),
    ("bubblewrap", replace(NOTHING, limits=True, seccomp=True, landlock_abi=4, bubblewrap="/b")),
]


def test_the_answer_is_found_once() -> None:
    assert probe() is probe()


def test_what_is_claimed_holds_when_tried_again() -> None:
    assert attempt(probe()) is None


@pytest.mark.parametrize("broken", ["limits", "seccomp", "landlock_abi", "bubblewrap"])
def test_a_means_that_does_not_work_is_left_out_and_noted(
    broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        module, "attempt", lambda given: "refused" if getattr(given, broken) else None
    )
    found = find(STEPS)
    expected = {
        field: getattr(STEPS[-1][1], field)
        for field in ("limits", "seccomp", "landlock_abi", "bubblewrap")
    }
    expected[broken] = getattr(NOTHING, broken)
    assert {field: getattr(found, field) for field in expected} == expected
    assert any("does not work here: refused" in note for note in found.notes)


def test_a_machine_where_nothing_works_is_at_level_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "attempt", lambda _: "refused")
    found = find(STEPS)
    assert found.level == "none"
    assert len([note for note in found.notes if "refused" in note]) == len(STEPS)


@pytest.mark.parametrize("claimed", ["landlock_abi", "seccomp", "limits", "uid_separation"])
def test_a_means_that_is_not_applied_is_noticed(
    claimed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process confined by nothing, where something is claimed: each attempt gets through."""
    if claimed == "uid_separation" and not probe().uid_separation:
        pytest.skip("only root has a user id to give up")
    real = module.Process
    monkeypatch.setattr(module, "Process", lambda job, _: real(job, NOTHING))
    why = attempt(replace(NOTHING, **{claimed: 1 if claimed == "landlock_abi" else True}))
    assert why is not None
    assert "could still do this" in why
    assert attempt(NOTHING) is None


@pytest.mark.parametrize(
    ("capability", "level"),
    [
        (NOTHING, "none"),
        (replace(NOTHING, limits=True), "limits"),
        (replace(NOTHING, limits=True, landlock_abi=7), "limits"),
        (replace(NOTHING, limits=True, seccomp=True), "process"),
        (replace(NOTHING, limits=True, seccomp=True, landlock_abi=1), "full"),
        (replace(NOTHING, seccomp=True, landlock_abi=1), "none"),
    ],
)
def test_the_level_is_what_all_the_means_amount_to(capability: Capability, level: str) -> None:
    assert capability.level == level


def test_each_version_of_landlock_denies_all_that_it_can() -> None:
    files = [landlock.handled(version)[0].bit_count() for version in range(1, 8)]
    network = [landlock.handled(version)[1].bit_count() for version in range(1, 8)]
    scopes = [landlock.handled(version)[2].bit_count() for version in range(1, 8)]
    assert files == [13, 14, 15, 15, 16, 16, 16]
    assert network == [0, 0, 0, 2, 2, 2, 2]
    assert scopes == [0, 0, 0, 0, 0, 2, 2]


@pytest.mark.parametrize("version", range(1, 8))
def test_the_rules_of_every_older_version_still_hold(version: int) -> None:
    """An older kernel's structure, given to this one, confines as much as it can say."""
    if version > probe().landlock_abi:
        pytest.skip("this kernel is older than that")
    assert attempt(replace(probe(), landlock_abi=version)) is None


def test_notes_say_what_is_weaker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "attempt", lambda _: None)
    notes = " ".join(find(STEPS[:1]).notes)
    assert "no system call filter" in notes
    assert "no Landlock" in notes
    assert "ABI 4" in " ".join(find(STEPS[:3]).notes)
