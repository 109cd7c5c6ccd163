"""Who the confined process is: a user id that owns nothing, and no capabilities.

Runs inside the new process, before any foreign code.  Imports the standard library alone.
"""

from __future__ import annotations

import ctypes
import os
import signal

# capability(7): the two that matter here, as bit numbers.
CAP_DAC_READ_SEARCH = 2
_CAPABILITY_VERSION_3 = 0x20080522

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CLONE_NEWUSER = 0x10000000

_libc = ctypes.CDLL(None, use_errno=True)


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapData(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def _check(name: str, result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def _prctl(name: str, option: int, value: int, more: int = 0) -> None:
    zero = ctypes.c_ulong(0)
    words = (ctypes.c_ulong(value), ctypes.c_ulong(more), zero, zero)
    _check(name, _libc.prctl(ctypes.c_int(option), *words))


def become(uid: int, *, read_all: bool, bequeath: bool = False) -> None:
    """Become user and group `uid`, in no other group, without capabilities.

    `read_all` keeps one capability, CAP_DAC_READ_SEARCH: file permissions do not stop *reading*.
    It is for libraries and inputs that only root may read (an interpreter beneath ``/root``, a
    workspace with mode 0700), and only ever used where Landlock already says what may be read.
    `bequeath` passes it on to the programs that the process may start, which are under the same
    rules and lie among the same libraries.
    """
    if read_all:
        # Without this, giving up user id 0 gives up every capability.
        _prctl("prctl(KEEPCAPS)", _PR_SET_KEEPCAPS, 1)
    os.setgroups([])  # First, while we still may: root's groups open files, too.
    os.setresgid(uid, uid, uid)  # Real, effective and saved: no way back.
    os.setresuid(uid, uid, uid)
    kept = 1 << CAP_DAC_READ_SEARCH if read_all else 0
    drop_capabilities(keep=kept, bequeathed=kept if bequeath else 0)
    if kept and bequeath:
        _prctl("prctl(AMBIENT)", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, CAP_DAC_READ_SEARCH)


def own_user_namespace() -> None:
    """Enter a new user namespace, where this process is the only one of its user.

    The kernel counts RLIMIT_NPROC per namespace, so threads can be bounded without counting those
    of the user's other programs.  Files are still judged by the real user id.
    """
    _check("unshare(NEWUSER)", _libc.unshare(ctypes.c_int(_CLONE_NEWUSER)))


def drop_capabilities(keep: int = 0, bequeathed: int = 0) -> None:
    """Keep only the capabilities in the bit mask `keep` (numbers below 32), and pass on none, or
    those in `bequeathed`."""
    header = _CapHeader(_CAPABILITY_VERSION_3, 0)
    data = (_CapData * 2)(_CapData(keep, keep, bequeathed), _CapData(0, 0, 0))
    _check("capset", _libc.capset(ctypes.byref(header), ctypes.byref(data)))


def hide() -> None:
    """No core dumps, and no other process of this user may read or trace this one."""
    _prctl("prctl(DUMPABLE)", _PR_SET_DUMPABLE, 0)


def end_with_parent() -> None:
    """Be killed when the thread that started this process ends (`assay.isolation.starting`).

    Comes after every change of user or capabilities, which the kernel takes as a reason to forget
    it.  Whether the parent is there still need not be asked: without one the channel is at its
    end, so that there is no foreign code to call.
    """
    _prctl("prctl(PDEATHSIG)", _PR_SET_PDEATHSIG, signal.SIGKILL)
