"""The system calls a confined process may make: an allow-list, enforced by the kernel.

Source: ``seccomp(2)`` and the kernel's ``Documentation/userspace-api/seccomp_filter.rst``.  A
filter is a small program in classic BPF.  The kernel runs it before every system call, on a
record of fixed layout (`struct seccomp_data`)::

    offset 0   nr     the number of the system call
    offset 4   arch   which table of numbers it belongs to
    offset 8   instruction pointer (not used here)
    offset 16  args   six arguments of 8 bytes; the filter sees values, never what they point to

and its answer decides: allow, fail with an error number, or kill.  A filter cannot be removed.

How to read this file: `ALLOWED` is what may always be done; `_conditions` is what may be done
with some arguments only; `_REFUSED` is what fails with a particular error because a C library
then falls back to another way.  **Everything else fails with EPERM**, and so does every system
call that a future kernel may bring.  `assay.isolation.granted` lists, in the same way, what is
added for a process that was granted a scratch folder, ports or processes; it comes first.  Without
a grant there is no way to
    start a program (execve, execveat) or a process (fork, vfork, clone without CLONE_THREAD);
    reach the network or pass file descriptors (socket, connect, sendmsg, recvmsg, pidfd_getfd);
    signal or inspect others (kill, tkill, pidfd_send_signal, ptrace, process_vm_readv, kcmp);
    write or alter files (open for writing, truncate, rename, unlink, chmod, mount, setxattr);
    make memory that is a file (memfd_create), or shared memory others can see (shmget, mq_open);
    use large kernel interfaces (io_uring_setup, bpf, perf_event_open, userfaultfd, keyctl);
    change who one is (setuid, capset, unshare, setns) or one's limits (prlimit64 with a value).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Sequence
from dataclasses import dataclass

# --- what may always be done: name -> number on (x86_64, aarch64); None where it does not exist.
# x86_64: arch/x86/entry/syscalls/syscall_64.tbl; aarch64: include/uapi/asm-generic/unistd.h.
ALLOWED: dict[str, tuple[int | None, int | None]] = {
    # Using the descriptors one has.  Which ones those are is decided when opening.
    "read": (0, 63),
    "write": (1, 64),
    "readv": (19, 65),
    "writev": (20, 66),
    "pread64": (17, 67),
    "preadv": (295, 69),
    "lseek": (8, 62),
    "close": (3, 57),
    "dup": (32, 23),
    "dup2": (33, None),
    "dup3": (292, 24),
    "fadvise64": (221, 223),
    # Looking at files.  Landlock says which can be opened; metadata can be seen regardless.
    "stat": (4, None),
    "lstat": (6, None),
    "fstat": (5, 80),
    "newfstatat": (262, 79),
    "statx": (332, 291),
    "access": (21, None),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "getdents64": (217, 61),
    "getcwd": (79, 17),
    "statfs": (137, 43),
    "fstatfs": (138, 44),
    # Talking to oneself: pipes and waiting, which thread pools of native libraries use.
    "pipe": (22, None),
    "pipe2": (293, 59),
    "eventfd2": (290, 19),
    "epoll_create1": (291, 20),
    "epoll_ctl": (233, 21),
    "epoll_wait": (232, None),
    "epoll_pwait": (281, 22),
    "poll": (7, None),
    "ppoll": (271, 73),
    "select": (23, None),
    "pselect6": (270, 72),
    # Memory of one's own.
    "brk": (12, 214),
    "mmap": (9, 222),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "mprotect": (10, 226),
    "madvise": (28, 233),
    "mincore": (27, 232),
    "membarrier": (324, 283),
    # Threads of one's own (starting one: `_conditions`).
    "futex": (202, 98),
    "set_robust_list": (273, 99),
    "set_tid_address": (218, 96),
    "rseq": (334, 293),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "sched_getparam": (143, 121),
    "sched_getscheduler": (145, 120),
    "sched_get_priority_max": (146, 125),
    "sched_get_priority_min": (147, 126),
    "getcpu": (309, 168),
    "exit": (60, 93),
    "exit_group": (231, 94),
    # Handling signals that arrive (sending them: `_conditions`).
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "restart_syscall": (219, 128),
    # Time, randomness, and facts about oneself and the machine.
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101),
    "gettimeofday": (96, 169),
    "time": (201, None),
    "times": (100, 153),
    "getrandom": (318, 278),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "getppid": (110, 173),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "getresuid": (118, 148),
    "getresgid": (120, 150),
    "getpriority": (140, 141),
    "getrlimit": (97, 163),
    "getrusage": (98, 165),
    "uname": (63, 160),
    "sysinfo": (99, 179),
}

# --- what fails in a particular way, so that the C library takes another.
_REFUSED: dict[str, tuple[int | None, int | None, int]] = {
    # Its flags lie in memory, where the filter cannot look: glibc then uses clone.
    "clone3": (435, 435, errno.ENOSYS),
    # The same: its flags lie in memory.
    "openat2": (437, 437, errno.ENOSYS),
    # Ask a descriptor whether it is a terminal: it is not.  No other ioctl is possible either.
    "ioctl": (16, 29, errno.ENOTTY),
}

# --- what may be done with some arguments only (see `_conditions`).
_OPEN = (2, None)
_OPENAT = (257, 56)
_CLONE = (56, 220)
_FCNTL = (72, 25)
_PRCTL = (157, 167)
_PRLIMIT64 = (302, 261)
_TGKILL = (234, 131)

# Bits of open's flags that write: O_WRONLY, O_RDWR, O_CREAT, O_TRUNC and the bit of O_TMPFILE.
_OPEN_TO_WRITE = 0o1 | 0o2 | 0o100 | 0o1000 | 0o20000000
CLONE_THREAD = 0x10000
# Every CLONE_NEW* flag: a new mount, cgroup, uts, ipc, user, pid or network namespace.
CLONE_NAMESPACES = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x70000000
# F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC.  Not F_SETOWN: it sends signals.
_FCNTL_COMMANDS = (0, 1, 2, 3, 4, 1030)
# PR_SET_NAME, PR_GET_NAME: thread libraries name their threads.
_PRCTL_OPTIONS = (15, 16)

# --- the machine that the program is written for (linux/bpf_common.h).
_LOAD_WORD = 0x20  # BPF_LD | BPF_W | BPF_ABS: load the 32-bit word at offset k.
JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K: is it k?
_JUMP_GREATER_EQUAL = 0x35  # BPF_JMP | BPF_JGE | BPF_K: is it k or more?
JUMP_ANY_BIT = 0x45  # BPF_JMP | BPF_JSET | BPF_K: has it any bit of k?
_RETURN = 0x06  # BPF_RET | BPF_K: the answer is k.

_OFFSET_NUMBER = 0
_OFFSET_ARCH = 4
_OFFSET_ARGUMENTS = 16

_ALLOW = 0x7FFF0000  # SECCOMP_RET_ALLOW
_KILL = 0x80000000  # SECCOMP_RET_KILL_PROCESS: every thread, with SIGSYS.
_FAIL = 0x00050000  # SECCOMP_RET_ERRNO; the low 16 bits are the error number.

_X32_BIT = 0x40000000  # x86_64 only: numbers with this bit are the x32 table.
_SET_MODE_FILTER = 1
_FLAG_TSYNC = 1
_GET_ACTION_AVAIL = 2

Instruction = tuple[int, int, int, int]
"""(operation, skip when true, skip when false, k), as `struct sock_filter` has them."""

Rule = tuple[tuple[int | None, int | None], list[Instruction]]
"""A system call's number on (x86_64, aarch64), and a program that ends in an answer."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A table of system call numbers: `column` of the tables above."""

    column: int
    audit_arch: int  # AUDIT_ARCH_*: the ELF machine, 64-bit (bit 31), little endian (bit 30).
    seccomp: int  # The number of seccomp(2) itself.
    x32: bool


MACHINES = {
    "x86_64": Machine(0, 0xC000003E, 317, True),
    "aarch64": Machine(1, 0xC00000B7, 277, False),
}


def machine() -> Machine | None:
    """The table of this process, or None where this file has none (then there is no seccomp)."""
    if struct.calcsize("P") != 8:  # A 32-bit interpreter uses another table.
        return None
    return MACHINES.get(platform.machine())


def low(argument: int) -> Instruction:
    """Load the low half of an argument (both machines are little-endian)."""
    return (_LOAD_WORD, 0, 0, _OFFSET_ARGUMENTS + 8 * argument)


def _high(argument: int) -> Instruction:
    return (_LOAD_WORD, 0, 0, _OFFSET_ARGUMENTS + 8 * argument + 4)


def _return(answer: int) -> Instruction:
    return (_RETURN, 0, 0, answer)


def allow() -> Instruction:
    return _return(_ALLOW)


def fail(error: int) -> Instruction:
    """Do not make the call; it fails with `error`, or, for 0, seems to succeed."""
    return _return(_FAIL | error)


def only(values: tuple[int, ...], error: int = errno.EPERM) -> list[Instruction]:
    """Allow when the loaded word is one of `values`; else `error`."""
    program: list[Instruction] = []
    for value in values:
        program += [(JUMP_EQUAL, 0, 1, value), allow()]
    return [*program, fail(error)]


def _conditions(pid: int) -> list[Rule]:
    """System calls that depend on arguments: numbers, and a program that ends in an answer.

    Each condition looks at exactly the bits that the kernel will look at: these arguments are
    32-bit in the kernel, so the low word is all there is, except for prlimit64's pointer.
    """
    write_is_refused: list[Instruction] = [
        (JUMP_ANY_BIT, 0, 1, _OPEN_TO_WRITE),
        fail(errno.EACCES),
        allow(),
    ]
    return [
        (_OPEN, [low(1), *write_is_refused]),  # open(path, FLAGS, mode)
        (_OPENAT, [low(2), *write_is_refused]),  # openat(folder, path, FLAGS, mode)
        (
            _CLONE,  # clone(FLAGS, ...): threads of this process, in its own namespaces.
            [
                low(0),
                (JUMP_ANY_BIT, 0, 2, CLONE_THREAD),  # Not a thread: to the EPERM below.
                (JUMP_ANY_BIT, 1, 0, CLONE_NAMESPACES),  # A namespace: to the EPERM below.
                allow(),
                fail(errno.EPERM),
            ],
        ),
        (_FCNTL, [low(1), *only(_FCNTL_COMMANDS)]),  # fcntl(fd, COMMAND, ...)
        (_PRCTL, [low(0), *only(_PRCTL_OPTIONS)]),  # prctl(OPTION, ...)
        (
            _PRLIMIT64,  # prlimit64(PID, resource, NEW, old): ask about oneself, change nothing.
            [
                low(0),
                (JUMP_EQUAL, 0, 5, 0),  # Another process: to the EPERM below.
                low(2),
                (JUMP_EQUAL, 0, 3, 0),  # A new value (low half of the pointer): EPERM.
                _high(2),
                (JUMP_EQUAL, 0, 1, 0),  # The same, high half.
                allow(),
                fail(errno.EPERM),
            ],
        ),
        # tgkill(PROCESS, thread, signal): abort() and faults raise signals in one's own threads.
        (_TGKILL, [low(0), *only((pid,))]),
    ]


def program(on: Machine, pid: int, granted: Sequence[Rule] = ()) -> list[Instruction]:
    """The whole filter for the process `pid`, as the kernel will run it.

    `granted` are rules that come before, and so replace, those for everybody.
    """
    code: list[Instruction] = [
        # A number means something only together with its table.  A call through another table
        # (32-bit int 0x80 on x86_64) would pass as something else: kill.
        (_LOAD_WORD, 0, 0, _OFFSET_ARCH),
        (JUMP_EQUAL, 1, 0, on.audit_arch),
        _return(_KILL),
        # From here on the number is loaded.
        (_LOAD_WORD, 0, 0, _OFFSET_NUMBER),
    ]
    if on.x32:
        code += [(_JUMP_GREATER_EQUAL, 0, 1, _X32_BIT), _return(_KILL)]
    for numbers, body in granted:
        if (number := numbers[on.column]) is not None:
            code += [(JUMP_EQUAL, 0, len(body), number), *body]
    for numbers in ALLOWED.values():
        if (number := numbers[on.column]) is not None:
            code += [(JUMP_EQUAL, 0, 1, number), allow()]
    for *numbers, error in _REFUSED.values():
        if (number := numbers[on.column]) is not None:
            code += [(JUMP_EQUAL, 0, 1, number), _return(_FAIL | error)]
    for numbers, body in _conditions(pid):
        if (number := numbers[on.column]) is not None:
            # Not this call: skip the body, which always ends in an answer.
            code += [(JUMP_EQUAL, 0, len(body), number), *body]
    return [*code, fail(errno.EPERM)]


class _Fprog(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def available() -> bool:
    """Whether this kernel has filters that can kill a whole process (Linux 4.14)."""
    on = machine()
    if on is None:
        return False
    action = ctypes.c_uint32(_KILL)
    return (
        _libc.syscall(
            ctypes.c_long(on.seccomp),
            ctypes.c_uint(_GET_ACTION_AVAIL),
            ctypes.c_uint(0),
            ctypes.byref(action),
        )
        == 0
    )


def install(granted: Sequence[Rule] = ()) -> None:
    """Put every thread of this process under the filter, for ever; needs ``no_new_privs``."""
    on = machine()
    if on is None:
        raise OSError(errno.ENOSYS, f"no table of system calls for {platform.machine()}")
    # struct sock_filter: u16 operation, u8 skip when true, u8 skip when false, u32 k.
    code = program(on, os.getpid(), granted)
    packed = b"".join(struct.pack("=HBBI", *instruction) for instruction in code)
    # TSYNC: all threads or none; a positive result names a thread that could not be included.
    result = _libc.syscall(
        ctypes.c_long(on.seccomp),
        ctypes.c_uint(_SET_MODE_FILTER),
        ctypes.c_uint(_FLAG_TSYNC),
        ctypes.byref(_Fprog(len(code), packed)),
    )
    if result != 0:
        error = ctypes.get_errno() if result < 0 else errno.EBUSY
        raise OSError(error, f"seccomp: {os.strerror(error)}")
