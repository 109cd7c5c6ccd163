# ruff: noqa: PTH208 - every probe makes the call it is about.
"""Functions that the tests run confined, with grants: what they may do, and what they may not."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import fcntl
import json
import mmap
import multiprocessing
import os
import platform
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
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


def bomb(payload: bytes) -> bytes:
    """Fork until it fails, and let that be seen."""
    while True:
        os.fork()


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


# --- the network


def connect(told: Told) -> str:
    with socket.create_connection((told.get("host", "127.0.0.1"), told["port"]), 5) as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream.sendmsg([b"he", b"llo"])
        return stream.recv(100).decode()


def connect_with_asyncio(told: Told) -> str:
    async def talk() -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", told["port"])
        writer.writelines([b"he", b"llo"])
        await writer.drain()
        answer = await reader.read(100)
        writer.close()
        return answer.decode()

    return asyncio.run(talk())


def connect_while_sending(told: Told) -> None:
    """TCP Fast Open: connects without `connect`."""
    with socket.socket() as stream:
        stream.sendto(b"x", 0x20000000, ("127.0.0.1", told["port"]))


def connect_while_sending_a_message(told: Told) -> None:
    with socket.socket() as stream:
        stream.sendmsg([b"x"], [], 0x20000000, ("127.0.0.1", told["port"]))


def set_fast_open(told: Told) -> None:
    with socket.socket() as stream:
        stream.setsockopt(socket.IPPROTO_TCP, 30, 1)


def filter_packets(told: Told) -> None:
    with socket.socket() as stream:
        stream.setsockopt(socket.SOL_SOCKET, 26, b"\0" * 16)


def connect_by_mptcp(told: Told) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262) as stream:
        stream.connect(("127.0.0.1", told["port"]))


def connect_again(told: Told) -> None:
    """Dissolve an allowed connection and make another with the same socket."""
    with socket.socket() as stream:
        stream.connect(("127.0.0.1", told["allowed"]))
        _libc.connect(stream.fileno(), struct.pack("HHIQ", 0, 0, 0, 0), 16)
        stream.connect(("127.0.0.1", told["port"]))


def send_by_udp(told: Told) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", ("127.0.0.1", told["udp"]))


def listen(told: Told) -> None:
    with socket.socket() as listener:
        listener.listen()


def bind(told: Told) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))


def ping(told: Told) -> None:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP).close()


def raw(told: Told) -> None:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP).close()


def unix_socket(told: Told) -> None:
    socket.socket(socket.AF_UNIX).close()


def unix_datagram_pair(told: Told) -> None:
    """Such a socket can send to any other named one."""
    for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM):
        end.close()


def netlink(told: Told) -> None:
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()


def pass_a_descriptor(told: Told) -> None:
    """Sent to oneself, and received."""
    one, other = socket.socketpair()
    socket.send_fds(one, [b"x"], [0])
    _, handles, _, _ = socket.recv_fds(other, 10, 1)
    assert handles


def pass_a_descriptor_to_the_parent(told: Told) -> str:
    channel = socket.socket(fileno=os.dup(int(sys.argv[1])))
    with Path("/dev/urandom").open("rb") as stream:
        # An empty body would be a frame out of turn: no byte of data, only the descriptor.
        channel.sendmsg([], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", stream.fileno()))])
    return "sent"


def ask_who_is_at_the_other_end(told: Told) -> None:
    channel = socket.socket(fileno=os.dup(int(sys.argv[1])))
    channel.getsockopt(socket.SOL_SOCKET, 77, 4)  # SO_PEERPIDFD


def resolve(told: Told) -> Any:
    """The files that looking up a name needs; `localhost` is in one of them."""
    socket.getaddrinfo("localhost", 80)
    import ssl

    ssl.create_default_context()
    return [path for path in told["paths"] if Path(path).read_bytes() is not None]


# --- processes


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


def lock_a_file(told: Told) -> None:
    with Path(told["path"]).open("rb") as stream:
        fcntl.flock(stream.fileno(), fcntl.LOCK_EX)


def hang(told: Told) -> None:
    time.sleep(600)
