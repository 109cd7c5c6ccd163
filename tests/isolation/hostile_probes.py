# ruff: noqa: ARG001, PTH208 - every probe is told the same; each makes the call it is about.
"""What a hostile model would try.  Each function returns when it got through, and raises if not.

Run both confined (where it must not get through) and unconfined (where it must, or the probe
itself is broken).  `told` names the victims that the test made: files, ports, a process.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import platform
import resource
import signal
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Told = dict[str, Any]

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

# (x86_64, aarch64)
_NUMBERS = {
    "ptrace": (101, 117),
    "shmget": (29, 194),
    "unshare": (272, 97),
    "clone3": (435, 435),
    "process_vm_readv": (310, 270),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "memfd_create": (319, 279),
    "execveat": (322, 281),
    "io_uring_setup": (425, 425),
    "openat2": (437, 437),
    "pidfd_send_signal": (424, 424),
    "pidfd_open": (434, 434),
}


def _syscall(name: str, *arguments: Any) -> int:
    number = _NUMBERS[name][0 if platform.machine() == "x86_64" else 1]
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *words))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")
    return result


def attempt(payload: bytes) -> bytes:
    order = json.loads(payload)
    probe: Callable[[Told], None] = globals()[order["probe"]]
    try:
        probe(order["told"])
    except (OSError, MemoryError) as error:
        return f"stopped: {type(error).__name__}: {error}".encode()
    return b"through"


# --- reading


def read_a_secret_file(told: Told) -> None:
    assert Path(told["secret"]).read_bytes() == b"secret"


def read_the_password_file(told: Told) -> None:
    assert b"root" in Path("/etc/passwd").read_bytes()


def read_a_secret_through_a_link_in_the_inputs(told: Told) -> None:
    assert Path(told["link"]).read_bytes() == b"secret"


def read_a_secret_through_proc_self_root(told: Told) -> None:
    assert Path("/proc/self/root" + told["secret"]).read_bytes() == b"secret"


def read_a_secret_with_openat2(told: Told) -> None:
    how = struct.pack("QQQ", os.O_RDONLY, 0, 0)
    os.close(_syscall("openat2", -100, told["secret"].encode(), how, len(how)))


def read_a_secret_by_its_file_handle(told: Told) -> None:
    handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 136)
    mount = ctypes.c_int(0)
    _syscall("name_to_handle_at", -100, told["secret"].encode(), handle, ctypes.byref(mount), 0)
    folder = os.open(str(Path(told["secret"]).parent), os.O_RDONLY | os.O_DIRECTORY)
    os.close(_syscall("open_by_handle_at", folder, handle, os.O_RDONLY))


def list_a_folder(told: Told) -> None:
    assert os.listdir(Path(told["secret"]).parent)


def list_the_processes(told: Told) -> None:
    assert str(told["victim"]) in os.listdir("/proc")


def read_the_environment_of_a_process(told: Told) -> None:
    assert b"ASSAY_TEST_SECRET" in Path(f"/proc/{told['victim']}/environ").read_bytes()


def read_the_memory_of_a_process(told: Told) -> None:
    maps = Path(f"/proc/{told['victim']}/maps").read_text()
    start = int(maps.split("-")[0], 16)
    with Path(f"/proc/{told['victim']}/mem").open("rb") as memory:
        memory.seek(start)
        assert len(memory.read(16)) == 16


# --- writing


def write_a_new_file(told: Told) -> None:
    Path(told["folder"], "new").write_bytes(b"x")


def write_into_the_inputs(told: Told) -> None:
    Path(told["input"], "new").write_bytes(b"x")


def overwrite_an_input(told: Told) -> None:
    Path(told["input"], "model").write_bytes(b"other")


def truncate_an_input(told: Told) -> None:
    os.truncate(Path(told["input"], "model"), 0)


def remove_an_input(told: Told) -> None:
    Path(told["input"], "model").unlink()


def rename_an_input(told: Told) -> None:
    Path(told["input"], "model").rename(Path(told["input"], "other"))


def link_into_the_inputs(told: Told) -> None:
    Path(told["input"], "sneaky").symlink_to("/etc/passwd")


def make_a_folder(told: Told) -> None:
    Path(told["folder"], "made").mkdir()


def change_the_mode_of_an_input(told: Told) -> None:
    Path(told["input"], "model").chmod(0o777)


def change_the_times_of_an_input(told: Told) -> None:
    os.utime(Path(told["input"], "model"), (1, 1))


def write_an_unnamed_file(told: Told) -> None:
    os.close(os.open(told["folder"], os.O_TMPFILE | os.O_WRONLY))


def write_a_temporary_file(told: Told) -> None:
    with tempfile.NamedTemporaryFile() as stream:
        stream.write(b"x")


def write_to_own_memory_through_proc(told: Told) -> None:
    with Path("/proc/self/mem").open("r+b"):
        pass


def share_memory_by_name(told: Told) -> None:
    path = Path("/dev/shm", told["name"])
    path.write_bytes(b"x")
    path.unlink()


def share_system_v_memory(told: Told) -> None:
    identifier = _syscall("shmget", 0, 4096, 0o1000 | 0o600)
    _libc.shmctl(identifier, 0, None)


# --- programs and processes


def fork(told: Told) -> None:
    if (child := os.fork()) == 0:
        os._exit(0)
    os.waitpid(child, 0)


def spawn_a_program(told: Told) -> None:
    child = os.posix_spawn("/bin/true", ["true"], {})
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def become_a_program(told: Told) -> None:
    """Never returns when it works: the shell leaves a mark."""
    os.execv("/bin/sh", ["sh", "-c", f"echo > {told['mark']}"])  # noqa: S606


def become_a_program_in_memory(told: Told) -> None:
    """The same from a file that exists only in memory."""
    handle = _syscall("memfd_create", b"x\0", 0)
    os.write(handle, f"#!/bin/sh\necho > {told['mark']}\n".encode())
    arguments = (ctypes.c_char_p * 2)(b"x", None)
    nothing = (ctypes.c_char_p * 1)(None)
    _syscall("execveat", handle, b"\0", arguments, nothing, 0x1000)


def make_a_file_in_memory(told: Told) -> None:
    os.close(_syscall("memfd_create", b"x\0", 0))


def clone_with_flags_in_memory(told: Told) -> None:
    """clone3 with no flags is fork."""
    arguments = ctypes.create_string_buffer(struct.pack("QQQQQQQQ", 0, 0, 0, 0, 17, 0, 0, 0))
    if (child := _syscall("clone3", arguments, 64)) == 0:
        os._exit(0)
    os.waitpid(child, 0)


def enter_a_new_user_namespace(told: Told) -> None:
    _syscall("unshare", 0x10000000)


# --- other processes


def signal_a_process(told: Told) -> None:
    os.kill(told["victim"], signal.SIGCONT)


def signal_a_thread(told: Told) -> None:
    if _libc.tgkill(ctypes.c_int(told["victim"]), ctypes.c_int(told["victim"]), 0) != 0:
        raise OSError(ctypes.get_errno(), "tgkill")


def signal_through_a_descriptor(told: Told) -> None:
    handle = _syscall("pidfd_open", told["victim"], 0)
    _syscall("pidfd_send_signal", handle, 0, None, 0)


def signal_through_a_pipe(told: Told) -> None:
    """F_SETOWN makes the kernel send SIGIO to whom one names; signal 0 is what it is set to."""
    import fcntl

    end, other = os.pipe()
    fcntl.fcntl(end, 8, told["victim"])
    os.close(end)
    os.close(other)


def trace_a_process(told: Told) -> None:
    seize, detach = 0x4206, 17
    _syscall("ptrace", seize, told["victim"], None, None)
    _libc.syscall(101 if platform.machine() == "x86_64" else 117, detach, told["victim"], 0, 0)


def read_memory_of_a_process_directly(told: Told) -> None:
    buffer = ctypes.create_string_buffer(16)
    local = struct.pack("PN", ctypes.addressof(buffer), 16)
    remote = struct.pack("PN", told["address"], 16)
    assert _syscall("process_vm_readv", told["victim"], local, 1, remote, 1, 0) == 16


def slow_down_a_process(told: Told) -> None:
    os.setpriority(os.PRIO_PROCESS, told["victim"], 19)


def move_a_process(told: Told) -> None:
    os.sched_setaffinity(told["victim"], {0})


# --- the network


def connect_by_tcp(told: Told) -> None:
    socket.create_connection(("127.0.0.1", told["port"]), timeout=5).close()


def listen_by_tcp(told: Told) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()


def send_by_udp(told: Told) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", ("127.0.0.1", told["port"]))


def connect_to_an_abstract_socket(told: Told) -> None:
    with socket.socket(socket.AF_UNIX) as sender:
        sender.connect("\0" + told["name"])


def connect_to_a_socket_file(told: Told) -> None:
    with socket.socket(socket.AF_UNIX) as sender:
        sender.connect(told["socket"])


def ask_the_kernel_by_netlink(told: Told) -> None:
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()


# --- large interfaces, and changing who one is


def use_io_uring(told: Told) -> None:
    os.close(_syscall("io_uring_setup", 4, ctypes.create_string_buffer(120)))


def allow_oneself_to_be_traced(told: Told) -> None:
    if _libc.prctl(4, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def change_a_limit(told: Told) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    except ValueError as error:  # What the module makes of EPERM.
        raise PermissionError(*error.args) from error


def become_root(told: Told) -> None:
    os.setresuid(0, 0, 0)


def join_a_group(told: Told) -> None:
    os.setgroups([0])


# --- too much


def take_memory(told: Told) -> None:
    mmap.mmap(-1, told["memory"]).close()


def burn_the_processor(told: Told) -> None:
    # Deaf to the warning, so that only SIGKILL remains.
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    while time.process_time() < told["cpu"]:
        pass


def hang(told: Told) -> None:
    time.sleep(told["seconds"])


# --- other tables of system calls (x86_64)


def call_through_the_32_bit_table(told: Told) -> None:
    """getpid, number 20 of the 32-bit table, through the interrupt that leads there."""
    code = b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"  # mov eax, 20; int 0x80; ret
    memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(code)
    function = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
    assert function() == os.getpid()


def call_through_the_x32_table(told: Told) -> None:
    """A kernel without the x32 table answers that there is no such call: it was let through."""
    _libc.syscall(ctypes.c_long(0x40000000 + 39))


def lie_about_the_answer(told: Told) -> None:
    """Write to the channel directly: see `frame` in the test."""
    channel = int(sys.argv[1])
    os.write(channel, bytes.fromhex(told["frame"]))
    time.sleep(told.get("seconds", 0))


def endless_output(told: Told) -> None:
    channel = int(sys.argv[1])
    while True:
        os.write(channel, b"\0" * 65536)
