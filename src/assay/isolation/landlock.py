"""Landlock: the kernel's own list of the files this process may read, and nothing else.

Source: the kernel's ``Documentation/userspace-api/landlock.rst`` and ``uapi/linux/landlock.h``.
Landlock needs no privilege, only ``no_new_privs``; it can only ever take rights away, and what it
took stays taken for the process and for every child it might have.

A ruleset first says which kinds of access it *handles*: those are denied everywhere.  Rules then
give some of them back beneath a path.  Here every kind the kernel knows is handled, and only
reading is given back, so nothing is writable anywhere.  What a process was granted is given back
besides: making, writing and removing plain files and folders beneath its scratch folder (where
nothing can be executed), executing programs of the libraries, connecting to named TCP ports.

Landlock does not cover looking up metadata (``stat``, ``access``, ``readlink``) nor changing it
(``chmod``, ``chown``, ``utime``): `assay.isolation.seccomp` refuses the latter; the former stays
possible, and is the one thing a confined function can learn about files it was not given.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterable

# The three calls have the same numbers on every architecture (they are newer than the unification
# of the system call tables).
_CREATE_RULESET = 444
_ADD_RULE = 445
_RESTRICT_SELF = 446

_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_RULE_NET_PORT = 2
_PR_SET_NO_NEW_PRIVS = 38

# LANDLOCK_ACCESS_FS_*: one bit for each kind of file access.
_EXECUTE = 1 << 0
_WRITE_FILE = 1 << 1
_READ_FILE = 1 << 2
_READ_DIR = 1 << 3
_REMOVE_DIR = 1 << 4
_REMOVE_FILE = 1 << 5
_MAKE_DIR = 1 << 7
_MAKE_REG = 1 << 8
# Bits 0 to 12: the two above, executing, writing, and removing or making each kind of file.
_ABI_1_FS = (1 << 13) - 1
_REFER = 1 << 13  # ABI 2: link or rename across folders.
_TRUNCATE = 1 << 14  # ABI 3.
_IOCTL_DEV = 1 << 15  # ABI 5: ioctl on devices.

_NET_BIND_TCP = 1 << 0  # ABI 4.
_NET_CONNECT_TCP = 1 << 1  # ABI 4.
_SCOPE_ABSTRACT_UNIX_SOCKET = 1 << 0  # ABI 6: connect to such sockets made outside.
_SCOPE_SIGNAL = 1 << 1  # ABI 6: signal processes outside.


class _RulesetAttr(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneathAttr(ctypes.Structure):
    _pack_ = 1  # The kernel declares it packed: 12 bytes.
    _layout_ = "ms"  # What `_pack_` always meant; Python 3.14 wants it said.
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


class _NetPortAttr(ctypes.Structure):
    _fields_ = (("allowed_access", ctypes.c_uint64), ("port", ctypes.c_uint64))


# What a scratch folder is for.  Not executing, nor making links, devices, pipes or sockets.
_SCRATCH = (
    _READ_FILE | _READ_DIR | _WRITE_FILE | _REMOVE_FILE | _REMOVE_DIR | _MAKE_REG | _MAKE_DIR
) | (_REFER | _TRUNCATE)
# Rights that mean something for a single file; the kernel rejects others on it.
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _call(name: str, number: int, *arguments: object) -> int:
    result = int(_libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def abi() -> int:
    """The version of Landlock that this kernel offers; 0 when it offers none."""
    try:
        return _call(
            "landlock_create_ruleset",
            _CREATE_RULESET,
            None,
            ctypes.c_size_t(0),
            ctypes.c_uint32(_CREATE_RULESET_VERSION),
        )
    except OSError as error:
        # ENOSYS: not built in. EOPNOTSUPP: built in, disabled at boot. EPERM: an outer filter.
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES):
            return 0
        raise


def handled(version: int) -> tuple[int, int, int]:
    """Every access that Landlock of this ABI version can deny: (files, network, scopes)."""
    files = _ABI_1_FS
    files |= _REFER if version >= 2 else 0
    files |= _TRUNCATE if version >= 3 else 0
    files |= _IOCTL_DEV if version >= 5 else 0
    network = (_NET_BIND_TCP | _NET_CONNECT_TCP) if version >= 4 else 0
    scopes = (_SCOPE_ABSTRACT_UNIX_SOCKET | _SCOPE_SIGNAL) if version >= 6 else 0
    return files, network, scopes


def ruleset(
    version: int,
    readable: Iterable[str],
    *,
    writable: Iterable[str] = (),
    executable: Iterable[str] = (),
    ports: Iterable[int] = (),
) -> int:
    """A file descriptor of a ruleset that denies all but reading at and beneath `readable`.

    `writable` are scratch folders, or files that may be written; `executable` lists what programs
    may be started from (they must be readable, too); `ports` are TCP ports to connect to.

    `version` is what `abi` said; kernels reject a field they do not know, so an older one gets a
    shorter structure.  Symbolic links among the paths are followed.  A path that does not exist
    raises `OSError`: what was promised to be readable must be.
    """
    files, network, scopes = handled(version)
    attr = _RulesetAttr(files, network, scopes)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    handle = _call(
        "landlock_create_ruleset",
        _CREATE_RULESET,
        ctypes.byref(attr),
        ctypes.c_size_t(size),
        ctypes.c_uint32(0),
    )
    try:
        for paths, rights in (
            (readable, _READ_FILE | _READ_DIR),
            (writable, _SCRATCH & files),
            (executable, _EXECUTE),
        ):
            for path in paths:
                _allow(handle, path, rights)
        for port in ports:
            # Before ABI 4 the kernel rejects this rule, so nothing starts.
            _add_rule(handle, _RULE_NET_PORT, _NetPortAttr(_NET_CONNECT_TCP, port))
    except BaseException:
        os.close(handle)
        raise
    return handle


def _allow(handle: int, path: str, rights: int) -> None:
    # O_PATH only names the file: nothing is opened, no device is touched.
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _FILE_RIGHTS
        _add_rule(handle, _RULE_PATH_BENEATH, _PathBeneathAttr(rights, place))
    finally:
        os.close(place)


def _add_rule(handle: int, kind: int, rule: _PathBeneathAttr | _NetPortAttr) -> None:
    _call(
        "landlock_add_rule",
        _ADD_RULE,
        ctypes.c_int(handle),
        ctypes.c_int(kind),
        ctypes.byref(rule),
        ctypes.c_uint32(0),
    )


def no_new_privileges() -> None:
    """From now on no program this process starts can gain rights (set-uid bits are ignored).

    The kernel demands it of whoever installs Landlock rules or a seccomp filter.
    """
    zero = ctypes.c_ulong(0)
    if _libc.prctl(ctypes.c_int(_PR_SET_NO_NEW_PRIVS), ctypes.c_ulong(1), zero, zero, zero) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl(NO_NEW_PRIVS): {os.strerror(code)}")


def restrict(handle: int) -> None:
    """Put the calling thread, and all it starts from now on, under the ruleset, for ever.

    Only the calling *thread*: the caller makes sure that there is no other.
    """
    _call("landlock_restrict_self", _RESTRICT_SELF, ctypes.c_int(handle), ctypes.c_uint32(0))
    os.close(handle)
