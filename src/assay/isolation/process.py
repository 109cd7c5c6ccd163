"""The parent's side of one confined process: start it, exchange frames, end it.

Everything the process says after it is confined is foreign input: its length is bounded before it
is read, its time before it is waited for, and its text is stripped of control characters.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import select
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from assay.errors import (
    AssayError,
    Corrupt,
    NotFound,
    Unavailable,
    Usage,
    Verification,
)
from assay.isolation import paths
from assay.isolation.capability import Capability
from assay.isolation.child import ANSWER, ERROR, FIRST_READ, HEADER, MESSAGE_LIMIT
from assay.isolation.limits import PAYLOAD_LIMIT, Limits

_ERROR_LIMIT = 1 << 16
# systemd.io/UIDS-GIDS: no range of 1879048192 to 2147483647 is used for anything.
_FIRST_UID = 1879048192
_UID_BITS = 28

_ENVIRONMENT = {
    "HOME": "/nonexistent",
    "LANG": "C.UTF-8",
    # One thread for each native library: a confined process is one of many.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
    # No semaphores in shared memory, which could not be made anyway.
    "JOBLIB_MULTIPROCESSING": "0",
    # Each arena reserves 64 MiB of the address space that `Limits.memory_bytes` bounds.
    "MALLOC_ARENA_MAX": "2",
}

# Errors of these kinds keep their kind when they come out of a confined function.  `Denied` and
# `Conflict` are for the door to say.
_TRAVEL: dict[str, type[AssayError]] = {
    error.kind: error for error in (Usage, NotFound, Verification, Corrupt, Unavailable)
}
_CODE = re.compile(r"[a-z][a-z0-9_.]{0,99}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Job:
    """What to run: see `assay.isolation.run.run` for the fields."""

    target: str
    worker: bool
    inputs: Sequence[Path]
    preload: Sequence[str]
    limits: Limits


class Process:
    """One confined process, started and ready when the constructor returns.

    Raises `Unavailable` when it cannot be started or confined as `capability` says, `Usage` or
    `NotFound` for what `job` names.
    """

    def __init__(self, job: Job, capability: Capability) -> None:
        self._limits = job.limits
        self._number = 0
        self._end = threading.Lock()
        self._ended = False
        self._cpu_used = 0.0
        self._wrapped = capability.bubblewrap is not None
        deadline = time.monotonic() + job.limits.wall_seconds
        plan = _plan(job, capability)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._channel = ours
        try:
            self._child = subprocess.Popen(  # noqa: S603 - every word of it is ours.
                [
                    *_wrapper(capability.bubblewrap, plan["readable"]),
                    _interpreter(),
                    *("-I", "-S", "-B", "-X", "utf8"),
                    str(Path(__file__).with_name("child.py")),
                    str(theirs.fileno()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                close_fds=True,
                pass_fds=(theirs.fileno(),),
                cwd="/",
                env=_ENVIRONMENT,
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise Unavailable(
                f"cannot start a confined process: {error.strerror}",
                remedy="check memory and process limits of this machine",
                code="isolation.start",
            ) from error
        finally:
            theirs.close()
        self._cpu_limit = None if job.worker else job.limits.cpu_seconds
        try:
            self.exchange(json.dumps(plan).encode(), deadline)
        except Verification as error:
            # Trusted code says why it could not confine itself.
            self.end()
            raise Unavailable(
                "cannot confine a process: "
                f"{error.details.get('kind', error.code)}: "
                f"{error.details.get('message', error.message)}",
                remedy="run `assay doctor`, which tries what this machine offers",
                code="isolation.confine",
            ) from error
        except BaseException:
            self.end()
            raise

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether it can be called: not ended by us, and not by itself."""
        if self._ended:
            return False
        with contextlib.suppress(OSError):  # Looks, and leaves the status to be collected.
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        return False

    def exchange(self, body: bytes, deadline: float) -> bytes:
        """Send one request and return its answer, by `deadline` (of `time.monotonic`).

        An error that the function raised leaves the process alive; every other error ends it.
        """
        if len(body) > PAYLOAD_LIMIT:
            raise Usage(
                f"{len(body)} bytes are too many for one call; {PAYLOAD_LIMIT} are allowed",
                remedy="declare large material as an input file",
                code="isolation.payload",
            )
        if self._ended:
            raise Unavailable("the confined process has ended", code="isolation.closed")
        self._number = (self._number + 1) & 0xFFFFFFFF
        try:
            self._send(body, deadline)
            what, answer = self._receive(deadline)
        except TimeoutError as error:
            self.end()
            raise Unavailable(
                f"the confined process did not answer within {self._limits.wall_seconds:g} seconds",
                remedy="raise the limit wall_seconds, or give it less to do",
                code="isolation.timeout",
            ) from error
        except OSError as error:
            self._died(error)
        except BaseException:  # Interrupted in the middle of a frame: nothing can follow.
            self.end()
            raise
        if what == ERROR:
            self._raise(answer)
        return answer

    def _send(self, body: bytes, deadline: float) -> None:
        head = HEADER.pack(ANSWER, self._number, len(body))
        self._channel.settimeout(_remaining(deadline))
        if len(body) < FIRST_READ:
            self._channel.sendall(head + body)
        else:
            self._channel.sendall(head)
            self._channel.settimeout(_remaining(deadline))
            self._channel.sendall(body)

    def _receive(self, deadline: float) -> tuple[int, bytes]:
        """One frame: what it is and its body.  Reads no more than the limits allow."""
        data = b""
        while len(data) < HEADER.size:
            data += self._read(FIRST_READ, deadline)
        what, number, length = HEADER.unpack_from(data)
        if what not in (ANSWER, ERROR) or number != self._number:
            self._broken("spoke out of turn")
        if length > (self._limits.answer_bytes if what == ANSWER else _ERROR_LIMIT):
            self.end()
            raise Unavailable(
                f"the confined process answers with {length} bytes; "
                f"{self._limits.answer_bytes} are allowed",
                remedy="raise the limit answer_bytes",
                code="isolation.answer",
            )
        body = data[HEADER.size :]
        if len(body) < length:
            pieces = [body]
            missing = length - len(body)
            while missing:
                pieces.append(self._read(min(missing, 1 << 20), deadline))
                missing -= len(pieces[-1])
            body = b"".join(pieces)
        if len(body) > length:
            self._broken("said more than one answer")
        return what, body

    def _read(self, size: int, deadline: float) -> bytes:
        self._channel.settimeout(_remaining(deadline))
        piece = self._channel.recv(size)
        if not piece:
            self._died(None)
        return piece

    def _broken(self, what: str) -> NoReturn:
        self.end()
        raise Unavailable(f"the confined process {what} and was stopped", code="isolation.protocol")

    def _died(self, cause: Exception | None) -> NoReturn:
        status = self.end(grace=1.0)
        used_up = self._cpu_limit is not None and self._cpu_used >= self._cpu_limit
        if status == -signal.SIGXCPU or (status == -signal.SIGKILL and used_up):
            raise Unavailable(
                f"the confined process used its {self._cpu_limit} processor seconds",
                remedy="raise the limit cpu_seconds, or give it less to do",
                code="isolation.cpu",
            ) from cause
        how = f"with status {status}"
        if status < 0:
            names = {number.value: number.name for number in signal.Signals}
            how = f"by signal {names.get(-status, -status)}"
        raise Unavailable(
            f"the confined process ended {how} instead of answering",
            remedy="if it may have run out of memory, raise the limit memory_bytes",
            code="isolation.crashed",
            details={"status": status},
        ) from cause

    def _raise(self, body: bytes) -> NoReturn:
        """Raise what the function raised, as far as it can be believed to be an error at all."""
        try:
            told: Any = json.loads(body)
            kind, code, message, remedy = (
                _printable(told[name]) for name in ("kind", "code", "message", "remedy")
            )
        except (ValueError, KeyError, TypeError, RecursionError):
            self._broken("sent an error that cannot be read")
        if kind in _TRAVEL:
            code = code.removeprefix(kind).removeprefix(".")
            raise _TRAVEL[kind](message, remedy=remedy, code=code if _CODE.fullmatch(code) else "")
        if kind == "MemoryError":
            raise Unavailable(
                f"the confined function ran out of its {self._limits.memory_bytes} bytes of memory",
                remedy="raise the limit memory_bytes, or give it less to do",
                code="isolation.memory",
            )
        raise Verification(
            f"the confined function failed: {kind[:100]}: {message}",
            code="isolation.raised",
            details={"kind": kind[:100], "message": message},
        )

    def usage(self) -> tuple[float, int]:
        """Processor seconds, and the most bytes resident at once, so far; 0 where unknown.

        From the kernel, for the live process: what `wait4` reports would include the memory of
        *this* process, from before the new program was executed.
        """
        try:
            pid = self.pid
            # Bubblewrap waits outside and inside of its namespace: go down to the interpreter.
            while below := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                pid = int(below[0])
            status = Path(f"/proc/{pid}/status").read_text()
            # clock_getcpuclockid(3): the complement of a process id, and 2 for its scheduler time.
            seconds = time.clock_gettime((~pid << 3) | 2)
        except (OSError, ValueError):
            return 0.0, 0
        found = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
        return seconds, int(found[1]) * 1024 if found else 0

    def end(self, *, grace: float = 0.0) -> int:
        """End the process, after up to `grace` seconds to end by itself; its status (idempotent).

        Negative: the signal that ended it.
        """
        with self._end:
            if self._ended:
                return self._child.returncode
            self._ended = True
            self._channel.close()  # The process ends when it next reads.
            if grace:
                with contextlib.suppress(OSError):
                    self._wait(grace)
            # Not yet reaped, so the number cannot have become another process's.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            try:
                _, status, usage = os.wait4(self.pid, 0)
            except ChildProcessError:  # Reaped by somebody else's handler of SIGCHLD.
                self._child.returncode = -signal.SIGKILL
                return self._child.returncode
            self._cpu_used = usage.ru_utime + usage.ru_stime
            code = os.waitstatus_to_exitcode(status)
            # Bubblewrap, like a shell, tells of a signal as 128 and its number.
            self._child.returncode = 128 - code if self._wrapped and code > 128 else code
            return self._child.returncode

    def _wait(self, seconds: float) -> None:
        handle = os.pidfd_open(self.pid)
        try:
            select.select([handle], [], [], seconds)
        finally:
            os.close(handle)


def _remaining(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _printable(text: Any) -> str:
    """Foreign text without control characters, bounded."""
    if not isinstance(text, str):
        raise TypeError
    return "".join(c if c.isprintable() else " " for c in text[:MESSAGE_LIMIT])


def _interpreter() -> str:
    # The base interpreter: a virtual environment's is a link to it, and adds only site packages.
    return os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)


def _plan(job: Job, capability: Capability) -> dict[str, Any]:
    """Everything the process has to know, as plain JSON (see `child._confine`)."""
    target = paths.check_target(job.target)
    preload = paths.check_preload(job.preload)
    modules = (target.partition(":")[0], *preload)
    given = {item.name: item for item in map(paths.locate, modules)} | {"assay": paths.assay()}
    inputs = paths.check_inputs(job.inputs)
    readable = [*paths.libraries(), *(p for g in given.values() for p in g.readable if p), *inputs]
    # Libraries or inputs that only root may read: under Landlock, which names them one by one,
    # the process may keep the right to read past file permissions; without it, it stays this user.
    private = capability.uid_separation and not paths.readable_by_anyone(readable)
    separate = capability.uid_separation and (capability.landlock_abi > 0 or not private)
    alone = separate or capability.user_namespace or capability.bubblewrap is not None
    limits = job.limits
    return {
        "path": list(paths.search_path()),
        "given": [(item.name, item.origin, item.folders) for item in given.values()],
        "preload": preload,
        "target": target,
        "worker": job.worker,
        "answer": limits.answer_bytes,
        "readable": readable,
        "landlock": capability.landlock_abi,
        "seccomp": capability.seccomp,
        "uid": _FIRST_UID + secrets.randbits(_UID_BITS) if separate else None,
        "read_all": separate and private,
        "user_namespace": capability.user_namespace,
        "limits": {
            "memory": limits.memory_bytes,
            # A worker lives as long as it serves; each of its calls is bounded by wall_seconds.
            "cpu": None if job.worker else limits.cpu_seconds,
            "file": limits.file_bytes,
            "threads": limits.threads if alone else None,
        }
        if capability.limits
        else None,
    }


def _wrapper(bubblewrap: str | None, readable: Sequence[str]) -> list[str]:
    """The command before the interpreter's: bubblewrap, with nothing but `readable` in its files.

    Not ``--die-with-parent``: that is when the *thread* that started it ends.
    """
    if bubblewrap is None:
        return []
    wanted = [*readable, _interpreter()]
    library = Path(sysconfig.get_config_var("LIBDIR") or "/", str(_shared_library()))
    if library.is_file():
        wanted.append(str(library.resolve()))
    words = [bubblewrap, "--unshare-all", "--proc", "/proc", "--dev", "/dev"]
    # The loader's own path begins with /lib or /lib64, which are links on most systems.
    for name in ("/lib", "/lib64"):
        if Path(name).is_symlink():
            words += ["--symlink", os.readlink(name), name]  # noqa: PTH115 - the text of the link.
    for path in wanted:
        if not path.startswith(("/dev/", "/proc/")):
            words += ["--ro-bind", path, path]
    return [*words, "--chdir", "/", "--"]


def _shared_library() -> str:
    return sysconfig.get_config_var("INSTSONAME") or sysconfig.get_config_var("LDLIBRARY") or ""
