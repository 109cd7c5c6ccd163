"""The parent's side of one confined process: start it, exchange frames, end it.

Everything the process says after it is confined is foreign input: its length is bounded before it
is read, its time before it is waited for, and its text is stripped of control characters.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
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
from assay.isolation import group, guard, logs, paths, plan, scratch, starting
from assay.isolation.capability import Capability
from assay.isolation.child import ANSWER, ERROR, FIRST_READ, HEADER, MESSAGE_LIMIT
from assay.isolation.limits import PAYLOAD_LIMIT
from assay.isolation.plan import Job

__all__ = ["Job", "Process", "paths"]

_ERROR_LIMIT = 1 << 16
# How long killed processes may take to be gone, and the least time between looks at them.
_DYING_SECONDS = 10.0
_LOOK_SECONDS = 0.2

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


class Process:
    """One confined process, started and ready when the constructor returns.

    Raises `Unavailable` when it cannot be started or confined as `capability` says, `Usage` or
    `NotFound` for what `job` names.
    """

    def __init__(
        self,
        job: Job,
        capability: Capability,
        on_start: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        self._limits = job.limits
        self._number = 0
        self._end = threading.Lock()
        self._ended = False
        self._stopped = False
        self._cpu_used = 0.0
        self._guard: guard.Guard | None = None
        self._wrapped = capability.bubblewrap is not None
        self._cpu_limit = None if job.worker else job.limits.cpu_seconds
        deadline = time.monotonic() + job.limits.wall_seconds
        planned = plan.make(job, capability)
        self._uid = planned["uid"]
        self._scratch = planned["grants"] and planned["grants"]["scratch"]
        self._start(job, planned, capability)
        watched = job.grants.processes and sys.platform == "linux"
        self._family = group.Family(self.pid, job.limits) if watched else None
        self._room = None
        if self._scratch is not None and sys.platform == "linux":
            self._room = scratch.Room(self._scratch, job.limits.scratch_bytes)
        try:
            if watched and not self._wrapped:  # Bubblewrap ends all inside with itself.
                self._guard = guard.of(self.pid, paths.interpreter())
            if on_start is not None:
                on_start(self.stop)
            self.exchange(json.dumps(planned).encode(), deadline)
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

    def _start(self, job: Job, planned: dict[str, Any], capability: Capability) -> None:
        folder = self._scratch
        self._log = self._open_log(job)
        log = subprocess.DEVNULL if self._log is None else self._log.handle
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._channel = ours
        try:
            if folder is not None:
                scratch.hand_over(folder, self._uid)
            self._child = starting.start(
                plan.command(planned, capability.bubblewrap, theirs.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                close_fds=True,
                pass_fds=(theirs.fileno(),),
                cwd="/" if folder is None or self._wrapped else folder,
                env=plan.start_environment(_ENVIRONMENT, job.grants, folder),
                start_new_session=True,
            )
        except (OSError, AssayError) as error:
            ours.close()
            if isinstance(error, AssayError):
                raise
            raise Unavailable(
                f"cannot start a confined process: {error.strerror}",
                remedy="check memory and process limits of this machine",
                code="isolation.start",
            ) from error
        finally:
            theirs.close()
            if self._log is not None:
                self._log.begin()

    @staticmethod
    def _open_log(job: Job) -> logs.Log | None:
        return None if job.grants.log is None else logs.Log(job.grants.log, job.limits.file_bytes)

    @property
    def pid(self) -> int:
        return self._child.pid

    def stop(self) -> None:
        """End the process at once, from any thread; what it was doing raises ``.ended``."""
        with self._end:
            if not self._ended:
                self._stopped = True
                self._kill()

    def _kill(self) -> None:
        # Not yet reaped, so the number cannot have become another process's.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

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
            self.raise_if_stopped(None)
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
        if self._family is not None or self._room is not None:
            self._watch(deadline)
        self._channel.settimeout(_remaining(deadline))
        piece = self._channel.recv(size)
        if not piece:
            self._died(None)
        return piece

    def _watch(self, deadline: float) -> None:
        """Wait for the next piece, while what the process and its descendants use is in bounds.

        Descendants have the channel, too, so that its end does not tell when the process ends.
        """
        poller = select.poll()
        poller.register(self._channel, select.POLLIN)
        process = os.pidfd_open(self.pid)
        try:
            poller.register(process, select.POLLIN)
            pause = _LOOK_SECONDS
            while True:
                ready = poller.poll(max(1, 1000 * min(pause, _remaining(deadline))))
                if any(handle != process for handle, _ in ready):
                    return
                if ready:
                    self._died(None)
                began = time.monotonic()
                try:
                    if self._family is not None:
                        self._family.check()
                    if self._room is not None:
                        self._room.check()
                except Unavailable:
                    self.end()
                    raise
                # However many processes the machine has, looking takes 5 % of one processor.
                pause = max(_LOOK_SECONDS, 20 * (time.monotonic() - began))
        finally:
            os.close(process)

    def raise_if_stopped(self, cause: Exception | None) -> None:
        """`Unavailable` when `stop` was called before the process had ended."""
        if self._stopped:
            raise Unavailable(
                "the confined process was ended from outside", code="isolation.ended"
            ) from cause

    def _broken(self, what: str) -> NoReturn:
        self.end()
        raise Unavailable(f"the confined process {what} and was stopped", code="isolation.protocol")

    def _died(self, cause: Exception | None) -> NoReturn:
        status = self.end(grace=1.0)
        self.raise_if_stopped(cause)
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
        if kind == "BlockingIOError" and self._family is not None:  # EAGAIN, from fork.
            raise Unavailable(
                "the confined function could not start another process: together they may have "
                f"{self._limits.threads} processes and threads",
                remedy="raise the limit threads, or start fewer at once",
                code="isolation.processes",
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
            for _ in range(2 if self._wrapped else 0):
                below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                pid = int(below[0])
            status = Path(f"/proc/{pid}/status").read_text()
            # clock_getcpuclockid(3): the complement of a process id, and 2 for its scheduler time.
            seconds = time.clock_gettime((~pid << 3) | 2)
            if self._family is not None:
                seconds = max(seconds, self._family.cpu_seconds())
        except (OSError, ValueError, IndexError):
            return 0.0, 0
        found = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
        own = int(found[1]) * 1024 if found else 0
        return seconds, own if self._family is None else max(own, self._family.most_memory)

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
                    group.wait(self.pid, grace)
            self._kill()
            # As long as it is not reaped, its group is found by its number.
            all_gone = self._wait_for_all()
            if self._guard is not None and all_gone:
                self._guard.dismiss()
            try:
                _, status, usage = os.wait4(self.pid, 0)
            except ChildProcessError:  # Reaped by somebody else's handler of SIGCHLD.
                self._child.returncode = -signal.SIGKILL
            else:
                self._cpu_used = usage.ru_utime + usage.ru_stime
                code = os.waitstatus_to_exitcode(status)
                # Bubblewrap, like a shell, tells of a signal as 128 and its number.
                self._child.returncode = 128 - code if self._wrapped and code > 128 else code
            if not all_gone:
                raise Unavailable(
                    f"processes of the group {self.pid} were killed and have not ended",
                    remedy="look at what the machine waits for; discard what they wrote",
                    code="isolation.left",
                )
            if self._log is not None:
                self._log.finish()
            if self._scratch is not None:
                scratch.take_back(self._scratch, self._uid)
            return self._child.returncode

    def _wait_for_all(self) -> bool:
        """Whether all have ended: before their scratch folder is read, none can be writing."""
        more = self._wrapped or self._family is not None or self._scratch is not None
        if sys.platform != "linux" or not more:
            return True
        return group.wait_until_dead(self.pid, _DYING_SECONDS)


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
