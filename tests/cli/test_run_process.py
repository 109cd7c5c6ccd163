"""Finding the process behind a run by the lock it holds, and nothing else."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from assay import files
from assay.cli import run_process
from assay.errors import Unavailable
from assay.workspace.running import Running

HOLDER = """
import os, signal, sys
from pathlib import Path
from assay.workspace.running import Running
with Running(Path(sys.argv[1])).mark("run-1"):
    child = os.fork() if sys.argv[2:] else -1
    if not child:
        signal.pause()
    print(max(child, 0), flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def holding(root: Path, *more: str) -> Generator[tuple[subprocess.Popen[str], int]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(root), *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            yield process, child
        finally:
            if child:
                os.kill(child, 9)
            process.kill()


def test_the_process_that_holds_the_lock_is_found_and_ended(tmp_path: Path) -> None:
    with holding(tmp_path) as (process, _):
        assert run_process.holder(tmp_path / "doing" / "run-1") == process.pid
        assert run_process.stop(tmp_path, "run-1")
        assert process.wait(timeout=30) == -15


def test_of_a_process_and_the_child_it_forked_the_process_is_meant(tmp_path: Path) -> None:
    with holding(tmp_path, "fork") as (process, child):
        assert child > 0
        assert run_process.holder(tmp_path / "doing" / "run-1") == process.pid


def test_a_process_that_has_ended_is_not_found(tmp_path: Path) -> None:
    with holding(tmp_path) as (process, _):
        process.kill()
        process.wait(timeout=30)
        with pytest.raises(Unavailable, match="not in a process of this machine"):
            run_process.stop(tmp_path, "run-1")


def test_nobody_is_signalled_for_a_number_that_a_file_names(tmp_path: Path) -> None:
    files.make_folder(tmp_path / "doing")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bystander:
        (tmp_path / "doing" / "run-1").write_text(str(bystander.pid))
        with pytest.raises(Unavailable):
            run_process.stop(tmp_path, "run-1")
        assert bystander.poll() is None
        bystander.kill()


def test_this_process_is_never_meant(tmp_path: Path) -> None:
    with Running(tmp_path).mark("run-1"):
        assert run_process.holder(tmp_path / "doing" / "run-1") is None


def test_another_run_is_left_alone(tmp_path: Path) -> None:
    with holding(tmp_path) as (process, _):
        (tmp_path / "doing" / "run-2").touch()
        assert run_process.holder(tmp_path / "doing" / "run-2") is None
        assert run_process.holder(tmp_path / "doing" / "run-3") is None
        assert process.poll() is None


def test_one_that_does_not_end_in_time_is_reported_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_process, "PATIENCE", 0.0)
    with holding(tmp_path) as (process, _):
        os.kill(process.pid, 19)  # Stopped: it gets no signal.
        assert not run_process.stop(tmp_path, "run-1")
