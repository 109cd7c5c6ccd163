"""What grants add to the system calls of `assay.isolation.seccomp`.

Each grant is a list of rules: the numbers of a call on both machines, and a program that ends in
an answer.  They are asked before the rules that hold for everybody, so they replace them.  Runs
inside the confined process, and only where something was granted.

`files` (a scratch folder)
    Opening for writing, making and removing files and folders, renaming, resizing, flushing;
    changing the current folder.  The filter sees no paths: *where* is for Landlock to say, which
    is why nothing is allowed here that Landlock of any version would let through elsewhere.  No
    links, devices, pipes or sockets as files, no file locks, no truncating by name, no unnamed
    files (O_TMPFILE), no owners, no times; extended attributes are said not to be supported.
    Changing a mode *succeeds and does nothing*: on a file outside it would do harm that Landlock
    does not stop, and failing would break every program that copies a file with its mode.
`network`
    TCP and UDP over IPv4 and IPv6, as a client: making a socket, connecting, sending, receiving,
    and a short list of options.  Landlock says to which TCP ports; nothing can say where UDP goes.
    Landlock knows plain TCP only, so there are no other protocols (MPTCP, SCTP, ICMP, raw) and no
    TCP Fast Open, which connects without asking.  No binding, listening or accepting.
    Descriptors cannot be *received* (recvmsg, recvmmsg stay refused), and there are no named Unix
    sockets to send one to.
`processes`
    fork, execve (Landlock says of what), waiting, sending signals.  A process cannot leave its
    process group (no setsid, setpgid), become a child of somebody else (CLONE_PARENT) or be
    traced.  Where nothing else keeps signals within the family (`signals` is false), a process
    can signal only its whole group, itself included.
Both of the last two
    An unnamed pair of connected Unix stream sockets, for event loops and pipes between processes.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping

from assay.isolation.seccomp import (
    CLONE_NAMESPACES,
    CLONE_THREAD,
    JUMP_ANY_BIT,
    JUMP_EQUAL,
    Instruction,
    Rule,
    allow,
    fail,
    low,
    only,
)

Numbers = tuple[int | None, int | None]

FILES: dict[str, Numbers] = {
    "pwrite64": (18, 68),
    "pwritev": (296, 70),
    "ftruncate": (77, 46),
    "fallocate": (285, 47),
    "fsync": (74, 82),
    "fdatasync": (75, 83),
    "msync": (26, 227),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "rmdir": (84, None),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "rename": (82, None),
    "renameat": (264, 38),
    "chdir": (80, 49),
    "fchdir": (81, 50),
    "umask": (95, 166),
}
NO_EFFECT: dict[str, Numbers] = {
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
}
# Extended attributes are not there; `shutil.copy2` asks for them and takes this for an answer.
NOT_SUPPORTED: dict[str, Numbers] = {
    "getxattr": (191, 8),
    "lgetxattr": (192, 9),
    "fgetxattr": (193, 10),
    "listxattr": (194, 11),
    "llistxattr": (195, 12),
    "flistxattr": (196, 13),
}
NETWORK: dict[str, Numbers] = {
    "connect": (42, 203),
    "recvfrom": (45, 207),
    "shutdown": (48, 210),
    "getsockname": (51, 204),
    "getpeername": (52, 205),
}
PROCESSES: dict[str, Numbers] = {
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "wait4": (61, 260),
    "waitid": (247, 95),
    "close_range": (436, 436),
    "chdir": (80, 49),
    "fchdir": (81, 50),
    "umask": (95, 166),
    "getpgrp": (111, None),
    "getpgid": (121, 155),
    "getsid": (124, 156),
}
CONDITIONAL: dict[str, Numbers] = {
    "open": (2, None),
    "openat": (257, 56),
    "renameat2": (316, 276),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "sendto": (44, 206),
    "sendmsg": (46, 211),
    "sendmmsg": (307, 269),
    "getsockopt": (55, 209),
    "setsockopt": (54, 208),
    "ioctl": (16, 29),
    "clone": (56, 220),
    "kill": (62, 129),
    "tgkill": (234, 131),
    "arch_prctl": (158, None),
}

_WRITE_ONLY, _READ_WRITE, _TRUNCATE, _UNNAMED = 0o1, 0o2, 0o1000, 0o20000000
_NO_REPLACE = 1
_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10
_STREAM, _DATAGRAM = 1, 2
_TCP, _UDP = 6, 17
# SOCK_CLOEXEC and SOCK_NONBLOCK in any combination.
_SOCKET_FLAGS = (0, 0o2000000, 0o4000, 0o2004000)
_FAST_OPEN = 0x20000000
_SET_FS = 0x1002  # A new program sets the register that leads to its thread's own variables.
_FIONREAD, _FIONBIO = 0x541B, 0x5421
# CLONE_PTRACE, CLONE_PARENT, CLONE_PIDFD, CLONE_UNTRACED.
_CLONE_AWAY = 0x2000 | 0x8000 | 0x1000 | 0x800000
# level -> options.  Buffers, timeouts, keeping alive, and what describes a socket.
_OPTIONS: dict[int, tuple[int, ...]] = {
    # SOL_SOCKET: REUSEADDR, TYPE, ERROR, SNDBUF, RCVBUF, KEEPALIVE, LINGER, RCVTIMEO, SNDTIMEO,
    # PROTOCOL, DOMAIN.
    1: (2, 3, 4, 7, 8, 9, 13, 20, 21, 38, 39),
    # IPPROTO_TCP: NODELAY, MAXSEG, CORK, KEEPIDLE, KEEPINTVL, KEEPCNT, INFO, QUICKACK,
    # USER_TIMEOUT.
    _TCP: (1, 2, 3, 4, 5, 6, 11, 12, 18),
    0: (1, 11),  # IPPROTO_IP: TOS, RECVERR (the resolver's).
    41: (25, 26),  # IPPROTO_IPV6: RECVERR, V6ONLY.
}

_REFUSE = fail(errno.EPERM)


def rules(
    pid: int,
    *,
    files: bool = False,
    network: bool = False,
    processes: bool = False,
    signals: bool = False,
) -> list[Rule]:
    """The rules of what was granted, for the process `pid` and its children."""
    found: dict[str, tuple[Numbers, list[Instruction]]] = {}

    def add(calls: Mapping[str, Numbers], answer: Instruction) -> None:
        found.update({name: (numbers, [answer]) for name, numbers in calls.items()})

    def when(name: str, body: list[Instruction]) -> None:
        found[name] = (CONDITIONAL[name], body)

    if files:
        add(FILES, allow())
        add(NO_EFFECT, fail(0))
        add(NOT_SUPPORTED, fail(errno.EOPNOTSUPP))
        when("open", [low(1), *_OPENING])
        when("openat", [low(2), *_OPENING])
        when("renameat2", [low(4), *only((0, _NO_REPLACE))])
    if network:
        add(NETWORK, allow())
        when("socket", _socket())
        for name, flags in (("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)):
            when(name, [low(flags), (JUMP_ANY_BIT, 0, 1, _FAST_OPEN), _REFUSE, allow()])
        for name in ("getsockopt", "setsockopt"):
            when(name, _options())
    if processes:
        add(PROCESSES, allow())
        when("clone", _CLONING)
        when("arch_prctl", [low(0), *only((_SET_FS,))])
        # A process id is 32 bits wide; 0 is one's own group.
        when("kill", [allow()] if signals else [low(0), *only((0,))])
        when("tgkill", [allow()] if signals else [low(0), *only((pid,))])
    if network or processes:
        when("socketpair", _pair())
        when("ioctl", [low(1), *only((_FIONREAD, _FIONBIO), errno.ENOTTY)])
    return list(found.values())


# O_ACCMODE 3 opens for nothing and is checked as if for nothing; O_TRUNC without writing is not
# seen by Landlock before ABI 3.
_OPENING: list[Instruction] = [
    (JUMP_ANY_BIT, 0, 1, _UNNAMED),
    fail(errno.EOPNOTSUPP),
    (JUMP_ANY_BIT, 0, 3, _WRITE_ONLY),
    (JUMP_ANY_BIT, 0, 1, _READ_WRITE),
    fail(errno.EACCES),
    allow(),
    (JUMP_ANY_BIT, 2, 0, _READ_WRITE),
    (JUMP_ANY_BIT, 0, 1, _TRUNCATE),
    fail(errno.EACCES),
    allow(),
]

_CLONING: list[Instruction] = [
    low(0),
    (JUMP_ANY_BIT, 0, 1, CLONE_NAMESPACES),
    _REFUSE,
    (JUMP_ANY_BIT, 0, 1, CLONE_THREAD),
    allow(),
    (JUMP_ANY_BIT, 0, 1, _CLONE_AWAY),
    _REFUSE,
    allow(),
]


def _socket() -> list[Instruction]:
    """socket(FAMILY, TYPE, PROTOCOL): TCP and UDP over IPv4 and IPv6."""
    code = [low(0), *_unless((_AF_INET, _AF_INET6))]
    for kind, protocol in ((_STREAM, _TCP), (_DATAGRAM, _UDP)):
        then = [low(2), *only((0, protocol))]
        kinds = [kind | flags for flags in _SOCKET_FLAGS]
        # Each match jumps to `then`; after the last, a mismatch jumps over it.
        code.append(low(1))
        for at, value in enumerate(kinds):
            rest = len(kinds) - 1 - at
            code.append((JUMP_EQUAL, rest, 0 if rest else len(then), value))
        code += then
    return [*code, _REFUSE]


def _pair() -> list[Instruction]:
    """socketpair(FAMILY, TYPE, ...): stream sockets, which can never be connected elsewhere."""
    kinds = tuple(_STREAM | flags for flags in _SOCKET_FLAGS)
    return [low(0), *_unless((_AF_UNIX,)), low(1), *only(kinds)]


def _options() -> list[Instruction]:
    """getsockopt and setsockopt(fd, LEVEL, OPTION, ...)."""
    code: list[Instruction] = []
    for level, options in _OPTIONS.items():
        body = [low(2), *only(options)]
        code += [low(1), (JUMP_EQUAL, 0, len(body), level), *body]
    return [*code, _REFUSE]


def _unless(values: tuple[int, ...]) -> list[Instruction]:
    """Go on when the loaded word is one of `values`; else EPERM."""
    tests = [(JUMP_EQUAL, len(values) - at, 0, value) for at, value in enumerate(values)]
    return [*tests, _REFUSE]
