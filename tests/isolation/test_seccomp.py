"""The system call filter, run by an interpreter of its instructions: every number, every table."""

from __future__ import annotations

import errno
import functools
import itertools
import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.isolation import granted, seccomp
from assay.isolation.seccomp import MACHINES, Machine

ALLOW = 0x7FFF0000
KILL = 0x80000000
PID = 4242
BOTH = pytest.mark.parametrize("name", sorted(MACHINES))


def decide(
    on: Machine,
    number: int,
    *arguments: int,
    arch: int | None = None,
    code: list[seccomp.Instruction] | None = None,
) -> int:
    """What the kernel would answer (`seccomp_data` as in linux/seccomp.h)."""
    words = [*arguments, *[0] * (6 - len(arguments))]
    arch = on.audit_arch if arch is None else arch
    data = struct.pack("<IIQ6Q", number, arch, 0, *words)
    code = seccomp.program(on, PID) if code is None else code
    accumulator = at = 0
    while True:
        operation, when_true, when_false, k = code[at]
        at += 1
        if operation == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, k)
        elif operation == 0x06:
            return k
        else:
            holds = {
                0x15: accumulator == k,
                0x35: accumulator >= k,
                0x45: bool(accumulator & k),
            }[operation]
            at += when_true if holds else when_false


def fails(answer: int) -> int:
    """The error number of a refusal; 0 when it is none."""
    return answer & 0xFFFF if answer & 0xFFFF0000 == 0x00050000 else 0


@functools.cache
def numbers_of(name: str) -> dict[str, int]:
    """The kernel's own table, where its headers are installed."""
    path = {
        "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
        "aarch64": Path("/usr/include/asm-generic/unistd.h"),
    }[name]
    if not path.exists():
        pytest.skip("the kernel's headers are not installed")
    text = path.read_text()
    # asm-generic spells a few 64-bit calls in two steps.
    found = {m[1]: int(m[2]) for m in re.finditer(r"#define __NR3264_(\w+) (\d+)", text)}
    found |= {m[1]: int(m[2]) for m in re.finditer(r"#define __NR_(\w+) (\d+)", text)}
    # Their 64-bit names, at the end of the file.
    names = {"fstatat": "newfstatat"}
    return found | {new: found[old] for old, new in names.items() if old in found}


@BOTH
def test_the_numbers_are_those_of_the_kernel(name: str) -> None:
    column = MACHINES[name].column
    theirs = numbers_of(name)
    ours = {call: both[column] for call, both in seccomp.ALLOWED.items()}
    ours |= {call: three[column] for call, three in seccomp._REFUSED.items()}
    for call in ("open", "openat", "clone", "fcntl", "prctl", "prlimit64", "tgkill"):
        ours[call] = getattr(seccomp, f"_{call.upper()}")[column]
    ours["seccomp"] = MACHINES[name].seccomp
    for call, number in ours.items():
        if number is not None:
            assert theirs[call] == number, call
        else:
            assert call not in theirs, call


@BOTH
def test_what_is_not_listed_is_refused(name: str) -> None:
    on = MACHINES[name]
    listed = {both[on.column] for both in seccomp.ALLOWED.values()}
    listed |= {three[on.column] for three in seccomp._REFUSED.values()}
    listed |= {numbers[on.column] for numbers, _ in seccomp._conditions(PID)}
    for number in range(2000):
        if number not in listed:
            assert fails(decide(on, number)) == errno.EPERM, number


DANGEROUS = """
    execve execveat fork vfork kill tkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_send_signal
    pidfd_open pidfd_getfd ptrace process_vm_readv process_vm_writev kcmp socket socketpair
    connect bind listen accept accept4 sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg creat
    truncate ftruncate rename renameat renameat2 link linkat symlink symlinkat unlink unlinkat
    mkdir mkdirat rmdir mknod mknodat chmod fchmod fchmodat chown fchown lchown fchownat utime
    utimes utimensat futimesat setxattr removexattr chdir fchdir chroot pivot_root mount
    umount2 open_tree move_mount fsopen swapon memfd_create memfd_secret shmget shmat shmctl
    semget msgget mq_open pwrite64 pwritev pwritev2 copy_file_range sendfile splice tee
    vmsplice fallocate io_setup io_submit io_uring_setup io_uring_enter io_uring_register bpf
    perf_event_open userfaultfd keyctl add_key request_key setuid setgid setreuid setregid
    setresuid setresgid setgroups setfsuid setfsgid capset unshare setns setrlimit setpriority
    sched_setaffinity sched_setscheduler sched_setattr ioprio_set personality seccomp
    landlock_create_ruleset landlock_add_rule landlock_restrict_self open_by_handle_at
    name_to_handle_at init_module finit_module delete_module kexec_load reboot settimeofday
    clock_settime adjtimex syslog acct quotactl iopl ioperm modify_ldt lookup_dcookie
    migrate_pages move_pages mbind set_mempolicy inotify_init inotify_init1 fanotify_init
    timer_create signalfd4 process_madvise pkey_mprotect setsid setpgid vhangup sethostname
"""


@BOTH
def test_no_dangerous_call_is_listed(name: str) -> None:
    on = MACHINES[name]
    table = numbers_of(name)
    known = [call for call in DANGEROUS.split() if call in table]
    assert len(known) > 100
    for call in known:
        assert fails(decide(on, table[call])) == errno.EPERM, call


@BOTH
def test_another_table_of_numbers_kills(name: str) -> None:
    on = MACHINES[name]
    for arch in (0, 0x40000003, 0x40000028, 0xFFFFFFFF):
        assert decide(on, 1, arch=arch) == KILL


def test_the_x32_table_kills() -> None:
    on = MACHINES["x86_64"]
    for number in (0x40000000, 0x40000001, 0x40000000 + 520, 0xFFFFFFFF):
        assert decide(on, number) == KILL


@BOTH
@given(flags=st.integers(0, 2**32 - 1), high=st.integers(0, 2**32 - 1))
def test_a_file_opens_for_reading_only(name: str, flags: int, high: int) -> None:
    on = MACHINES[name]
    writes = flags & 0o3 or flags & 0o100 or flags & 0o1000 or flags & 0o20000000
    expected = errno.EACCES if writes else 0
    # The kernel ignores the high half of the flags; so must the filter.
    assert fails(decide(on, seccomp._OPENAT[on.column] or 0, 0, 0, flags | high << 32)) == expected
    if on.column == 0:
        assert fails(decide(on, 2, 0, flags | high << 32)) == expected


@BOTH
@given(flags=st.integers(0, 2**32 - 1))
def test_only_threads_are_started(name: str, flags: int) -> None:
    on = MACHINES[name]
    may = bool(flags & 0x10000) and not flags & 0x7E020000
    assert (decide(on, seccomp._CLONE[on.column] or 0, flags) == ALLOW) == may


@BOTH
def test_the_threads_of_glibc_and_musl_are_started(name: str) -> None:
    on = MACHINES[name]
    for flags in (0x3D0F00, 0x7D0F00):
        assert decide(on, seccomp._CLONE[on.column] or 0, flags) == ALLOW


@BOTH
@given(pid=st.integers(0, 2**32 - 1))
def test_signals_go_to_oneself_only(name: str, pid: int) -> None:
    on = MACHINES[name]
    number = seccomp._TGKILL[on.column] or 0
    assert (decide(on, number, pid, pid, 9) == ALLOW) == (pid == PID)
    assert decide(on, number, PID, PID, 6) == ALLOW


@BOTH
@given(pid=st.integers(0, 2**32 - 1), new=st.integers(0, 2**64 - 1))
def test_limits_can_be_read_but_not_set(name: str, pid: int, new: int) -> None:
    on = MACHINES[name]
    number = seccomp._PRLIMIT64[on.column] or 0
    assert decide(on, number, 0, 7, 0, 1) == ALLOW
    assert (decide(on, number, pid, 7, new, 1) == ALLOW) == (pid == 0 and new == 0)
    assert decide(on, number, 0, 7, 1 << 32, 1) != ALLOW


@BOTH
@given(option=st.integers(0, 2**32 - 1))
def test_prctl_and_fcntl_do_little(name: str, option: int) -> None:
    on = MACHINES[name]
    prctl, fcntl = seccomp._PRCTL[on.column] or 0, seccomp._FCNTL[on.column] or 0
    assert (decide(on, prctl, option) == ALLOW) == (option in (15, 16))
    assert (decide(on, fcntl, 0, option) == ALLOW) == (option in (0, 1, 2, 3, 4, 1030))


@BOTH
def test_the_program_fits_the_kernel(name: str) -> None:
    code = seccomp.program(MACHINES[name], PID)
    assert len(code) <= 4096
    assert all(0 <= t < 256 and 0 <= f < 256 and 0 <= k < 2**32 for _, t, f, k in code)
    # Every path ends in an answer: no jump leads past the end, and the end is one.
    for at, (operation, when_true, when_false, _) in enumerate(code):
        assert at + 1 + max(when_true, when_false) < len(code) or operation == 0x06
    assert code[-1] == (0x06, 0, 0, 0x00050000 | errno.EPERM)


def test_a_machine_without_a_table_has_no_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp.platform, "machine", lambda: "riscv64")
    assert not seccomp.available()
    with pytest.raises(OSError, match="riscv64"):
        seccomp.install()


# --- what grants add

GRANTS = ("files", "network", "processes")
COMBINED = [
    dict(zip(GRANTS, chosen, strict=True))
    for chosen in itertools.product((False, True), repeat=3)
    if any(chosen)
]


def ask(on: Machine, call: str, *arguments: int, **grants: bool) -> int:
    code = seccomp.program(on, PID, granted.rules(PID, **grants))
    return decide(on, numbers_of(NAME_OF[on.column])[call], *arguments, code=code)


NAME_OF = {MACHINES[name].column: name for name in MACHINES}


@BOTH
def test_the_numbers_of_granted_calls_are_those_of_the_kernel(name: str) -> None:
    column = MACHINES[name].column
    theirs = numbers_of(name)
    for table in TABLES:
        for call, numbers in table.items():
            if (number := numbers[column]) is not None:
                assert theirs[call] == number, call
            else:
                assert call not in theirs, call


TABLES = (
    granted.FILES,
    granted.NO_EFFECT,
    granted.NOT_SUPPORTED,
    granted.NETWORK,
    granted.PROCESSES,
    granted.CONDITIONAL,
)

GRANTED_DANGERS: dict[str, set[str]] = {
    "files": {*granted.FILES, *granted.NO_EFFECT, *granted.NOT_SUPPORTED, "renameat2"},
    "network": {*granted.NETWORK, "sendto", "sendmsg", "sendmmsg", "getsockopt", "setsockopt"},
    "processes": {*granted.PROCESSES},
}


@BOTH
@pytest.mark.parametrize("grants", COMBINED, ids=str)
def test_no_grant_adds_a_dangerous_call_of_another(name: str, grants: dict[str, bool]) -> None:
    """With every argument 0, nothing on the list goes through but what that grant is about."""
    on = MACHINES[name]
    table = numbers_of(name)
    may = set[str]().union(*(GRANTED_DANGERS[g] for g, given in grants.items() if given))
    if grants["processes"]:
        may |= {"kill"}  # One's own group.
    for call in DANGEROUS.split():
        if call in table and call not in may:
            assert ask(on, call, **grants) != ALLOW, call
    code = seccomp.program(on, PID, granted.rules(PID, **grants))
    assert len(code) <= 4096
    assert all(0 <= t < 256 and 0 <= f < 256 and 0 <= k < 2**32 for _, t, f, k in code)
    for at, (operation, when_true, when_false, _) in enumerate(code):
        assert at + 1 + max(when_true, when_false) < len(code) or operation == 0x06
    assert decide(on, 1, arch=0, code=code) == KILL


ALWAYS_REFUSED = """
    symlink symlinkat link linkat mknod mknodat truncate chown fchown lchown fchownat setxattr
    lsetxattr fsetxattr removexattr utimensat flock chroot mount umount2 pivot_root execveat
    setsid setpgid setuid setresuid capset unshare setns ptrace process_vm_readv kcmp pidfd_open
    pidfd_getfd pidfd_send_signal tkill rt_sigqueueinfo rt_tgsigqueueinfo io_uring_setup bpf
    memfd_create shmget mq_open bind listen accept accept4 recvmsg recvmmsg open_by_handle_at
    inotify_init1 fanotify_init keyctl userfaultfd perf_event_open prlimit64 setrlimit seccomp
    sched_setaffinity setpriority copy_file_range sendfile splice
"""


@BOTH
def test_what_no_grant_gives_stays_refused(name: str) -> None:
    on = MACHINES[name]
    table = numbers_of(name)
    for call in ALWAYS_REFUSED.split():
        if call in table:
            answer = ask(on, call, 1, 1, 1, 1, files=True, network=True, processes=True)
            assert fails(answer) == errno.EPERM, call


@BOTH
@given(flags=st.integers(0, 2**32 - 1))
def test_a_file_opens_for_writing_only_in_ways_that_landlock_sees(name: str, flags: int) -> None:
    answer = ask(MACHINES[name], "openat", 0, 0, flags, files=True)
    mode = flags & 3
    refused = bool(flags & 0o20000000) or mode == 3 or (mode == 0 and bool(flags & 0o1000))
    assert (answer == ALLOW) == (not refused)


@BOTH
@given(
    family=st.one_of(st.sampled_from([1, 2, 10]), st.integers(0, 2**32 - 1)),
    kind=st.one_of(st.integers(0, 6), st.integers(0, 2**32 - 1)),
    flags=st.sampled_from([0, 0o2000000, 0o4000, 0o2004000]),
    protocol=st.one_of(st.sampled_from([0, 6, 17, 262]), st.integers(0, 2**32 - 1)),
)
def test_sockets_are_tcp_and_udp(
    name: str, family: int, kind: int, flags: int, protocol: int
) -> None:
    kind |= flags
    plain = kind & ~0o2004000
    may = family in (2, 10) and (plain, protocol) in ((1, 0), (1, 6), (2, 0), (2, 17))
    assert (ask(MACHINES[name], "socket", family, kind, protocol, network=True) == ALLOW) == may
    pair = ask(MACHINES[name], "socketpair", family, kind, protocol, network=True)
    assert (pair == ALLOW) == (family == 1 and plain == 1)


@BOTH
@given(flags=st.integers(0, 2**32 - 1))
def test_sending_never_connects(name: str, flags: int) -> None:
    on = MACHINES[name]
    may = not flags & 0x20000000
    assert (ask(on, "sendto", 0, 0, 0, flags, network=True) == ALLOW) == may
    assert (ask(on, "sendmsg", 0, 0, flags, network=True) == ALLOW) == may
    assert (ask(on, "sendmmsg", 0, 0, 0, flags, network=True) == ALLOW) == may


@BOTH
@given(level=st.integers(0, 300), option=st.integers(0, 100))
def test_options_are_those_listed(name: str, level: int, option: int) -> None:
    on = MACHINES[name]
    may = option in granted._OPTIONS.get(level, ())
    for call in ("getsockopt", "setsockopt"):
        assert (ask(on, call, 0, level, option, network=True) == ALLOW) == may


@BOTH
@given(flags=st.integers(0, 2**32 - 1))
def test_processes_stay_in_the_family(name: str, flags: int) -> None:
    answer = ask(MACHINES[name], "clone", flags, processes=True)
    thread = bool(flags & 0x10000)
    may = not flags & 0x7E020000 and (thread or not flags & 0x80B000)
    assert (answer == ALLOW) == may


@BOTH
@given(pid=st.integers(0, 2**32 - 1), signals=st.booleans())
def test_signals_need_something_else_that_holds_them(name: str, pid: int, signals: bool) -> None:
    on = MACHINES[name]
    killed = ask(on, "kill", pid, 9, processes=True, signals=signals)
    assert (killed == ALLOW) == (signals or pid == 0)
    raised = ask(on, "tgkill", pid, pid, 9, processes=True, signals=signals)
    assert (raised == ALLOW) == (signals or pid == PID)


@BOTH
@given(flags=st.integers(0, 2**32 - 1))
def test_renaming_leaves_no_device_behind(name: str, flags: int) -> None:
    answer = ask(MACHINES[name], "renameat2", 0, 0, 0, 0, flags, files=True)
    assert (answer == ALLOW) == (flags in (0, 1))
