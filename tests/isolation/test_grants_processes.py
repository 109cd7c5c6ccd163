"""Processes: a family that cannot grow without bound, leave, or outlive the call."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from assay.errors import Unavailable
from assay.isolation import group
from assay.isolation.grants import Grants
from assay.isolation.limits import MIB

from .granting import LEVELS, Granted, held


@pytest.fixture(params=LEVELS)
def granted(request: pytest.FixtureRequest, tmp_path: Path) -> Granted:
    return Granted(tmp_path, held(request.param), MODULE)


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["/bin/sleep", "300"], start_new_session=True) as process:
        yield process
        process.kill()


MODULE = "granted_processes"
HERE = Path(__file__).parent


@pytest.fixture
def code(tmp_path: Path) -> tuple[Path, ...]:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "confined_beside.py").write_text("NAME = 'found'\n")
    targets = (HERE / "granted_processes.py").read_bytes()
    (folder / "granted_processes.py").write_bytes(targets)
    return (folder,)


def test_a_process_forks_and_waits(granted: Granted) -> None:
    assert granted.do("fork", processes=True) == 7
    assert granted.do("fork_and_return", processes=True, scratch=None) == "once"


def test_without_the_grant_nothing_is_started(granted: Granted) -> None:
    for what in ("fork", "run_the_interpreter"):
        assert granted.do(what, scratch=None, log=granted.log).startswith("stopped: ")
        granted.log.unlink()


def test_it_starts_the_interpreter_with_the_same_modules_and_hashes(
    granted: Granted, code: tuple[Path, ...]
) -> None:
    ours = granted.do("hash_a_string", scratch=None, processes=True)
    said = granted.do("run_the_interpreter", processes=True, code=code)
    assert said == f"{ours} found\n"


def test_a_started_interpreter_reads_the_libraries(granted: Granted) -> None:
    pytest.importorskip("numpy")
    limits = {"memory_bytes": 1024 * MIB}
    assert granted.do("run_the_interpreter_with_library", processes=True, limits=limits) == "3\n"


def test_multiprocessing_starts_processes(granted: Granted, code: tuple[Path, ...]) -> None:
    assert granted.do("spawn", processes=True, code=code) == [0, 0]


def test_other_programs_are_not_started(granted: Granted) -> None:
    for program in ("/bin/sh", "/usr/bin/env"):
        said = granted.do("run_a_program", {"program": program}, scratch=None, processes=True)
        assert said.startswith("stopped: ")


def test_what_lies_in_scratch_is_not_started(granted: Granted) -> None:
    limits = {"file_bytes": 64 * MIB}
    assert granted.do("run_from_scratch", processes=True, limits=limits) == "EACCES EACCES"


@pytest.mark.parametrize(
    "what", ["leave_the_group", "found_a_group", "become_a_sibling", "new_namespace"]
)
def test_it_cannot_leave_its_family(what: str, granted: Granted) -> None:
    assert granted.do(what, processes=True).startswith("stopped: PermissionError")


def test_a_child_cannot_leave_either(granted: Granted) -> None:
    assert granted.do("leave_the_group_in_a_child", processes=True) == 0


def test_it_signals_its_own_only(granted: Granted, victim: subprocess.Popen[bytes]) -> None:
    for pid in (victim.pid, os.getpid()):
        said = granted.do("kill_another", {"victim": pid}, scratch=None, processes=True)
        assert said.startswith("stopped: ")
    assert victim.poll() is None
    assert granted.do("end_a_child", scratch=None, processes=True) == -15
    assert granted.do("abort_in_a_child", scratch=None, processes=True) == -6


def test_signalling_everybody_reaches_nobody_else(
    granted: Granted, victim: subprocess.Popen[bytes]
) -> None:
    if granted.capability.landlock_abi < 6 and not granted.capability.uid_separation:
        pytest.skip("refused altogether")
    with contextlib.suppress(Unavailable):  # It may end itself by it.
        granted.do("kill_everybody", processes=True)
    assert victim.poll() is None


def test_where_signals_cannot_be_held_there_are_none(
    tmp_path: Path, victim: subprocess.Popen[bytes]
) -> None:
    """An older Landlock, and this user's own id."""
    old = Granted(tmp_path, replace(held("landlock"), landlock_abi=4), MODULE)
    said = old.do("kill_another", {"victim": victim.pid}, scratch=None, processes=True)
    assert said.startswith("stopped: PermissionError")
    assert victim.poll() is None


def test_nobody_outlives_the_call(granted: Granted) -> None:
    """`Granted.run` looks for the living, whatever the outcome."""
    assert granted.do("leave_orphans", processes=True) == "left"
    granted.clear()
    error = granted.fails("leave_orphans_and_crash", processes=True)
    assert error.code == "unavailable.isolation.crashed"


def test_nobody_outlives_a_call_that_hangs(granted: Granted) -> None:
    error = granted.fails("leave_orphans_and_hang", processes=True, limits={"wall_seconds": 1.0})
    assert error.code == "unavailable.isolation.timeout"


def test_a_fork_bomb_ends_as_unavailable(granted: Granted) -> None:
    with pytest.raises(Unavailable) as caught:
        granted.run("granted_processes:bomb", b"", Grants(processes=True), threads=12)
    assert caught.value.code == "unavailable.isolation.processes"


def test_a_stubborn_fork_bomb_ends_as_unavailable(granted: Granted) -> None:
    limits = {"cpu_seconds": 1, "wall_seconds": 10.0, "threads": 12}
    error = granted.fails("stubborn_fork_bomb", processes=True, limits=limits)
    assert error.code in ("unavailable.isolation.processes", "unavailable.isolation.cpu")


def test_memory_is_bounded_for_all_together(granted: Granted) -> None:
    told = {"children": 6, "size": 30 * MIB}
    error = granted.fails("memory_bomb", told, processes=True, limits={"memory_bytes": 120 * MIB})
    assert error.code == "unavailable.isolation.memory"


def test_processor_time_is_bounded_for_all_together(granted: Granted) -> None:
    limits = {"cpu_seconds": 1, "wall_seconds": 15.0}
    error = granted.fails("processor_bomb", {"children": 3}, processes=True, limits=limits)
    assert error.code == "unavailable.isolation.cpu"


def test_a_program_does_not_have_the_channel(granted: Granted) -> None:
    said = granted.do("channel_of_a_program", scratch=None, processes=True)
    assert said == "not disturbed"


def test_processes_that_will_not_die_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group, "wait_until_dead", lambda *_: False)
    error = Granted(tmp_path, held("full"), MODULE).fails("fork", processes=True)
    assert error.code == "unavailable.isolation.left"
