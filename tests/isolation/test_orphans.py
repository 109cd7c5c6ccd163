"""What is confined ends with whoever started it, however that ends."""

from __future__ import annotations

import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from assay.isolation import group, starting
from assay.isolation.guard import Guard

from .granting import LEVELS, held

DRIVER = Path(__file__).with_name("driver.py")


def wait_for(what: Path, driver: subprocess.Popen[bytes]) -> None:
    """Until foreign code runs and says so."""
    deadline = time.monotonic() + 60
    while not what.exists():
        assert driver.poll() is None, driver.stderr and driver.stderr.read()
        assert time.monotonic() < deadline, "it never began"
        threading.Event().wait(0.02)


@pytest.mark.parametrize("target", ["stay", "stay_with_children"])
@pytest.mark.parametrize("how", LEVELS)
def test_nothing_is_left_of_a_step_whose_driver_was_killed(
    how: str, target: str, tmp_path: Path
) -> None:
    capability = json.dumps(dataclasses.asdict(held(how)))
    folder = tmp_path / "scratch"
    folder.mkdir()
    with subprocess.Popen(
        [sys.executable, str(DRIVER), capability, str(folder), target],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as driver:
        assert driver.stdout is not None
        line = driver.stdout.readline()
        assert line, driver.stderr and driver.stderr.read()
        leader = int(line)
        try:
            wait_for(folder / "here", driver)
            before = [m for m in group.members(leader) if m.alive]
            assert len(before) >= (3 if target != "stay" else 1)
            driver.send_signal(signal.SIGKILL)
            driver.wait()
            assert gone(leader), group.members(leader)
        finally:
            driver.kill()
            if group.members(leader):
                os.killpg(leader, signal.SIGKILL)


def gone(leader: int) -> bool:
    """Whether the group ends by itself, within a time that is far below any limit of a step."""
    return group.wait_until_dead(leader, 20.0)


def test_a_guard_leaves_a_group_alone_that_it_need_not_guard_any_more() -> None:
    with subprocess.Popen(["/bin/sleep", "300"], start_new_session=True) as child:
        Guard(child.pid, sys.executable).dismiss()
        assert child.poll() is None
        child.kill()


def test_a_guard_that_was_killed_is_dismissed_all_the_same() -> None:
    with subprocess.Popen(["/bin/sleep", "300"], start_new_session=True) as child:
        guard = Guard(child.pid, sys.executable)
        guard._child.kill()
        guard.dismiss()
        child.kill()


def test_what_a_thread_started_is_there_when_the_thread_is_not() -> None:
    found: list[subprocess.Popen[bytes]] = []
    words = [
        *(sys.executable, "-I", "-S", "-c"),
        "import ctypes, time; ctypes.CDLL(None).prctl(1, 9, 0, 0, 0); print(1, flush=True);"
        "time.sleep(300)",
    ]

    def ask() -> None:
        found.append(starting.start(words, stdout=subprocess.PIPE))
        assert found[0].stdout is not None
        found[0].stdout.readline()

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    with found[0] as child:
        assert child.poll() is None
        child.kill()


def test_a_program_that_cannot_be_started_is_the_askers_error() -> None:
    with pytest.raises(FileNotFoundError):
        starting.start(["/nowhere"])


def test_a_copy_of_a_process_starts_processes_of_its_own() -> None:
    starting.start(["/bin/true"]).wait()
    reading, writing = os.pipe()
    code = (
        "import os, sys\n"
        "from assay.isolation import starting\n"
        "starting.start(['/bin/true']).wait()\n"
        "if (child := os.fork()) == 0:\n"
        f"    os.write({writing}, b'%d' % starting.start(['/bin/true']).wait())\n"
        "    os._exit(0)\n"
        "os.waitpid(child, 0)\n"
    )
    try:
        subprocess.run([sys.executable, "-c", code], check=True, pass_fds=[writing], timeout=60)
        assert select.select([reading], [], [], 0)[0]
        assert os.read(reading, 10) == b"0"
    finally:
        os.close(reading)
        os.close(writing)
