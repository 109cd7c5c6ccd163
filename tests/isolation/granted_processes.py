# ruff: noqa: ARG001, PTH, S103, T201 - every function is told the same; each makes the call it is about.
"""Functions that the tests run confined, with processes of their own."""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import multiprocessing
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Told = dict[str, Any]

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def attempt(payload: bytes) -> bytes:
    """Do one thing; what it returned, or how it was stopped."""
    order = json.loads(payload)
    function: Callable[[Told], Any] = globals()[order["do"]]
    try:
        result = function(order["told"])
    except (OSError, MemoryError) as error:
        return f"stopped: {type(error).__name__}: {error}".encode()
    return json.dumps(result).encode()


def bomb(payload: bytes) -> bytes:
    """Fork until it fails, and let that be seen."""
    while True:
        os.fork()


def hash_a_string(told: Told) -> int:
    return hash("a string")


def fork(told: Told) -> int:
    if (child := os.fork()) == 0:
        os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fork_and_return(told: Told) -> str:
    os.fork()
    return "once"


def run_the_interpreter(told: Told) -> str:
    code = "import sys, json, confined_beside; print(hash('a string'), confined_beside.NAME)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def run_the_interpreter_with_library(told: Told) -> str:
    code = "import numpy, os; print(numpy.arange(3).sum())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def spawn(told: Told) -> Any:
    """A process of the `multiprocessing` kind that starts anew, and one that is a copy."""
    codes: list[int | None] = []
    for method in ("spawn", "fork"):
        context: Any = multiprocessing.get_context(method)
        ours, theirs = context.Pipe()
        child = context.Process(target=_say, args=(theirs, method))
        child.start()
        assert ours.recv() == method
        child.join()
        codes.append(child.exitcode)
    return codes


def _say(pipe: Any, what: str) -> None:
    pipe.send(what)


def run_a_program(told: Told) -> str:
    return subprocess.run([told["program"]], capture_output=True, text=True, check=True).stdout


def run_from_scratch(told: Told) -> str:
    os.umask(0)
    shutil.copy(sys.executable, "python")
    Path("script").write_text("#!" + sys.executable + "\nprint(1)\n")
    for name in ("script", "python"):
        handle = os.open(f"{name}.x", os.O_CREAT | os.O_WRONLY, 0o777)
        os.write(handle, Path(name).read_bytes())
        os.close(handle)
    failed: list[str] = []
    for name in ("./script.x", "./python.x"):
        try:
            subprocess.run([name, "-c", "1"], check=False)
        except OSError as error:
            failed.append(errno.errorcode[error.errno or 0])
    return " ".join(failed)


def leave_the_group(told: Told) -> None:
    os.setsid()


def found_a_group(told: Told) -> None:
    os.setpgid(0, 0)


def leave_the_group_in_a_child(told: Told) -> Any:
    if (child := os.fork()) == 0:
        for leave in (os.setsid, lambda: os.setpgid(0, 0)):
            try:
                leave()
            except PermissionError:
                continue
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def become_a_sibling(told: Told) -> None:
    """clone(CLONE_PARENT): a child of this process's parent."""
    number = 56 if platform.machine() == "x86_64" else 220
    result = _libc.syscall(ctypes.c_long(number), ctypes.c_long(0x8000 | 17), 0, 0, 0, 0)
    if result == 0:
        os._exit(0)
    if result < 0:
        raise OSError(ctypes.get_errno(), "clone")


def new_namespace(told: Told) -> None:
    number = 56 if platform.machine() == "x86_64" else 220
    result = _libc.syscall(ctypes.c_long(number), ctypes.c_long(0x10000000 | 17), 0, 0, 0, 0)
    if result == 0:
        os._exit(0)
    if result < 0:
        raise OSError(ctypes.get_errno(), "clone")


def kill_another(told: Told) -> None:
    os.kill(told["victim"], signal.SIGKILL)


def kill_everybody(told: Told) -> None:
    child = os.fork()
    if child == 0:
        os.kill(-1, signal.SIGKILL)
        os._exit(0)
    os.waitpid(child, 0)


def end_a_child(told: Told) -> int:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    child.terminate()
    return child.wait()


def abort_in_a_child(told: Told) -> int:
    if (child := os.fork()) == 0:
        os.abort()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _orphans(count: int) -> None:
    """Children, and children of children that ended: none is waited for."""
    for _ in range(count):
        if os.fork() == 0:
            if os.fork() == 0:
                _sleep()
            os._exit(0)


def _sleep() -> None:
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    time.sleep(600)
    os._exit(0)


def leave_orphans(told: Told) -> str:
    _orphans(3)
    Path("made").write_bytes(b"made")
    return "left"


def leave_orphans_and_crash(told: Told) -> None:
    _orphans(3)
    signal.raise_signal(signal.SIGSEGV)


def leave_orphans_and_hang(told: Told) -> None:
    _orphans(3)
    time.sleep(600)


def stubborn_fork_bomb(told: Told) -> None:
    while True:
        try:
            os.fork()
        except OSError:
            continue


def memory_bomb(told: Told) -> None:
    """Each child stays below the limit; together they do not."""
    for _ in range(told["children"]):
        if os.fork() == 0:
            memory = mmap.mmap(-1, told["size"])
            for at in range(0, told["size"], 4096):
                memory[at] = 1
            _sleep()
    time.sleep(600)


def processor_bomb(told: Told) -> None:
    for _ in range(told["children"]):
        if os.fork() == 0:
            while True:
                pass
    time.sleep(600)


def channel_of_a_program(told: Told) -> str:
    code = f"import os; os.write({sys.argv[1]}, b'x' * 9)"
    subprocess.run([sys.executable, "-c", code], check=False, close_fds=False)
    return "not disturbed"
