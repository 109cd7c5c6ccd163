# ruff: noqa: ARG001, PTH101, PTH102, PTH109, S103, T201 - each makes the call that it is about.
"""Functions that the tests run confined, with grants: files, the log, the surroundings."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import platform
import shutil
import signal
import socket
import sqlite3
import struct
import sys
import tempfile
import threading
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


# --- a scratch folder


def work_in_scratch(told: Told) -> Any:
    """All that a program does with its own files."""
    here = Path.cwd()
    places = [os.environ["HOME"], os.environ["TMPDIR"], tempfile.gettempdir(), str(here)]
    (here / "deep" / "er").mkdir(parents=True)
    first = here / "deep" / "er" / "first"
    first.write_bytes(b"hello")
    with first.open("r+b") as stream:
        stream.write(b"J")
        stream.flush()
        os.fsync(stream.fileno())
        os.posix_fallocate(stream.fileno(), 0, 8192)
        stream.truncate(5)
    with (here / "mapped").open("w+b") as stream:
        stream.truncate(4096)
        with mmap.mmap(stream.fileno(), 4096) as memory:
            memory[:3] = b"map"
            memory.flush()
    first.rename(here / "second")
    shutil.copy(here / "second", here / "third")
    shutil.copy2(here / "second", here / "deep" / "fourth")
    with tempfile.NamedTemporaryFile() as stream:
        stream.write(b"x")
    with tempfile.TemporaryFile() as stream:
        stream.write(b"x")
    (here / "third").unlink()
    (here / "deep" / "er").rmdir()
    with Path(os.devnull).open("wb") as stream:
        stream.write(b"x")
    os.chdir("deep")
    return {"places": places, "text": Path("../second").read_text(), "here": os.getcwd()}


def write(told: Told) -> None:
    Path(told["path"]).write_bytes(b"written")


def append(told: Told) -> None:
    with Path(told["path"]).open("ab") as stream:
        stream.write(b"written")


def make_folder(told: Told) -> None:
    Path(told["path"]).mkdir()


def remove(told: Told) -> None:
    Path(told["path"]).unlink()


def empty_while_reading(told: Told) -> None:
    os.close(os.open(told["path"], os.O_RDONLY | os.O_TRUNC))


def empty_for_nothing(told: Told) -> None:
    os.close(os.open(told["path"], 3 | os.O_TRUNC))


def empty_by_name(told: Told) -> None:
    os.truncate(told["path"], 0)


def move_in(told: Told) -> None:
    Path(told["path"]).rename("stolen")


def move_out(told: Told) -> None:
    Path("made").write_bytes(b"made")
    Path("made").rename(told["path"] + ".moved")


def exchange(told: Told) -> None:
    """renameat2 with RENAME_EXCHANGE."""
    Path("made").write_bytes(b"made")
    number = 316 if platform.machine() == "x86_64" else 276
    if _libc.syscall(ctypes.c_long(number), -100, b"made", -100, told["path"].encode(), 2) != 0:
        raise OSError(ctypes.get_errno(), "renameat2")


def read(told: Told) -> str:
    return Path(told["path"]).read_text()


def link_symbolically(told: Told) -> None:
    Path("link").symlink_to(told["path"])


def link_hard(told: Told) -> None:
    Path("link").hardlink_to(told["path"])


def link_own_file(told: Told) -> None:
    Path("made").write_bytes(b"made")
    Path("link").hardlink_to("made")


def make_pipe(told: Told) -> None:
    os.mkfifo("pipe")


def make_device(told: Told) -> None:
    os.mknod("device", 0o600 | 0o020000, os.makedev(1, 3))


def make_whiteout(told: Told) -> None:
    """RENAME_WHITEOUT leaves a device behind."""
    Path("made").write_bytes(b"made")
    number = 316 if platform.machine() == "x86_64" else 276
    if _libc.syscall(ctypes.c_long(number), -100, b"made", -100, b"other", 4) != 0:
        raise OSError(ctypes.get_errno(), "renameat2")


def make_socket_file(told: Told) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")


def make_unnamed_file(told: Told) -> None:
    os.close(os.open(".", os.O_TMPFILE | os.O_RDWR))


def change_owner(told: Told) -> None:
    Path("made").write_bytes(b"made")
    os.chown("made", 0, 0)


def change_mode(told: Told) -> None:
    """Succeeds and does nothing."""
    os.chmod(told["path"], 0o777)
    os.utime(told["path"], (1, 1))
    with Path(told["path"]).open("rb") as stream:
        os.fchmod(stream.fileno(), 0o777)


def change_time(told: Told) -> None:
    """utimensat, as native code calls it."""
    if _libc.utimensat(-100, told["path"].encode(), struct.pack("4q", 1, 0, 1, 0), 0) != 0:
        raise OSError(ctypes.get_errno(), "utimensat")


def fill(told: Told) -> None:
    Path("large").write_bytes(bytes(told["size"]))


def leave_a_mess(told: Told) -> None:
    """Folders that cannot be listed, files that cannot be read."""
    os.umask(0o777)
    Path("closed").write_bytes(b"closed")
    Path("folder").mkdir(0)
    Path("other").mkdir()


def nest(told: Told) -> None:
    for _ in range(told["depth"]):
        os.mkdir("d")
        os.chdir("d")
    Path("file").write_bytes(b"x")


def many_files(told: Told) -> None:
    for number in range(told["count"]):
        Path(str(number)).touch()


def odd_name(told: Told) -> None:
    Path(os.fsdecode(bytes.fromhex(told["name"]))).touch()


def use_sqlite(told: Told) -> None:
    sqlite3.connect("x.db").execute("create table t (a)")


# --- the log


def talk(told: Told) -> None:
    print("from Python", flush=False)
    sys.stderr.write("error line\n")
    _libc.printf(b"from printf\n")
    os.write(1, b"from write\n")
    print("no newline, \udc80", end="")


def talk_and_crash(told: Told) -> None:
    print("before the crash")
    _libc.printf(b"native before the crash\n")
    signal.raise_signal(signal.SIGSEGV)


def talk_too_much(told: Told) -> str:
    for _ in range(1000):
        print("x" * 1000)
    os.write(2, b"")
    return "done"


def fill_scratch(told: Told) -> None:
    for depth in range(20 if told["how"] == "deep" else 0):
        os.mkdir(f"d{depth}")
        os.chdir(f"d{depth}")
    for number in range(64):  # More than is allowed, and less than fills a disk.
        Path(f"f{number}").write_bytes(b"x" * (1 << 20))
    while True:
        time.sleep(1)


def fill_and_remove(told: Told) -> str:
    for _ in range(64):
        Path("f").write_bytes(b"x" * (1 << 20))
        Path("f").unlink()
    return "done"


def break_the_streams(told: Told) -> str:
    sys.stdout = None
    sys.stderr = sys.__stderr__ = 7  # type: ignore[assignment]
    return "answered"


# --- the environment


def surroundings(told: Told) -> Any:
    return {
        "environment": dict(os.environ),
        "hash": hash("a string"),
        "path": sys.path,
        "flags": {n: getattr(sys.flags, n) for n in ("safe_path", "no_user_site", "no_site")},
        "native": _getenv(told.get("name", "HOME")),
        "threads": threading.active_count(),
        "folder": os.getcwd(),
    }


def _getenv(name: str) -> str | None:
    _libc.getenv.restype = ctypes.c_char_p
    value = _libc.getenv(name.encode())
    return None if value is None else value.decode()


def hang(told: Told) -> None:
    time.sleep(600)
