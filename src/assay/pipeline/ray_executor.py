"""Runs the steps of a pipeline on a Ray cluster, each in a confined process of the node it is on.

The cluster is the one at ``ASSAY_RAY_ADDRESS``, or one of a single node that is started here, on
the loopback interface alone, and ended with the run.  What a person has to know of Ray:

- Whoever has the token and reaches the cluster's ports can run code on every node.  assay demands
  the token, in a file that only its owner can read.
- Ray talks in plaintext unless ``RAY_USE_TLS=1``: without it, assay refuses an address, and nodes,
  on a network.
- The inputs and outputs of steps lie *in plain* in Ray's object store: in the shared memory of the
  nodes, and, where that is full, in files below Ray's session folder, until they are let go of.
  So do, with a task, the values of the environment variables that its step declares.
- A node can answer what it likes.  It can neither reach keys, ledger and store, which it never
  gets, nor the driver: what it sends is taken as bytes and never unpickled.
- Nodes need what is installed here, in the same versions, and nothing else.

This module does not load Ray: see `assay.pipeline.ray_bridge` for the process that does.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import Future, InvalidStateError, wait
from pathlib import Path

import msgspec

from assay.errors import AssayError, Conflict, Unavailable
from assay.pipeline.execution import LOG, OUTPUTS, answer_of
from assay.pipeline.ray_address import TOKEN_PATH, Transport, check_there, configured, new_token
from assay.pipeline.ray_frames import (
    Begin,
    Cancel,
    Channel,
    Command,
    Done,
    Ended,
    Failed,
    Open,
    Ready,
    Submit,
    error_of,
)
from assay.plugins import Finished, Task

ATTEMPTS = 3
STORE_BYTES = 1 << 30
"""Of the object store of a Ray that is started here."""
_SHORT = 40
"""Ray's sockets lie below its folder, and their paths may have 107 bytes."""
_ENDING = 30.0
_CONNECTED_WITHIN = 90.0


class RayExecutor:
    """The executor ``ray``.

    `address` goes before ``ASSAY_RAY_ADDRESS``.  A task whose worker or node is lost is run again,
    up to `attempts` times in all; a step that fails is not.  Raises `Usage` or `NotFound` for an
    address, transport or token that will not do; the connection is made by `open`.
    """

    name = "ray"

    def __init__(
        self,
        address: str | None = None,
        *,
        attempts: int = ATTEMPTS,
        cpus: int = 0,
        store_bytes: int = STORE_BYTES,
    ) -> None:
        if importlib.util.find_spec("ray") is None:
            raise Unavailable(
                "Ray is not installed", remedy="pip install 'assay[ray]'", code="executor"
            )
        self._cluster = configured(os.environ, address)
        self._attempts = attempts
        self._cpus = cpus or len(os.sched_getaffinity(0))
        self._store_bytes = store_bytes
        self.slots = 2 * self._cpus
        self._sending = threading.Lock()
        self._lock = threading.Lock()
        self._futures: dict[int, _Remote] = {}
        self._folders: dict[int, Path] = {}
        self._number = 0
        self._bridge: subprocess.Popen[bytes] | None = None
        self._gone: AssayError | None = None

    @property
    def transport(self) -> Transport:
        """How data travels to the nodes."""
        return self._cluster.transport

    @property
    def bridge(self) -> int:
        """The process that talks to Ray, once open: its processor time is part of the driver's."""
        if self._bridge is None:
            raise Conflict("the Ray executor is not open", code="executor")
        return self._bridge.pid

    def open(self, code: bytes, digest: str) -> None:
        """Connect, or start a Ray here, and put the archive of code into its store."""
        if self._bridge is None:
            self._start()
        self._send(Open(code, digest))

    def submit(self, task: Task, folder: Path) -> Future[Finished]:
        future = _Remote(self)
        with self._lock:
            if self._bridge is None:
                raise Conflict("the Ray executor is not open", code="executor")
            self._number += 1
            number = future.number = self._number
            self._futures[number], self._folders[number] = future, folder
            gone = self._gone
        if gone is not None:
            self._settle(number, gone)
            return future
        try:
            self._send(Submit(number, task, str(folder.absolute())))
        except AssayError as error:
            self._settle(number, error)
        return future

    def shutdown(self, *, cancel: bool) -> None:
        """Resolve every future, end the bridge, and with it a Ray that was started here."""
        bridge = self._bridge
        if bridge is None:
            return
        with self._lock:
            pending = list(self._futures.values())
        if cancel:
            for future in pending:
                future.cancel()
        else:
            wait(pending)
        self._channel.close_sending()
        try:
            descriptor = os.pidfd_open(bridge.pid)
            try:
                select.select([descriptor], [], [], _ENDING)
            finally:
                os.close(descriptor)
        finally:
            self._kill(bridge)
            self._reader.join()
            self._channel.close()
            shutil.rmtree(self._private, ignore_errors=True)
            self._bridge = None

    # -- the bridge -----------------------------------------------------------------------------

    def _start(self) -> None:
        if self._cluster.address is not None:
            check_there(self._cluster.address)
        base = tempfile.gettempdir()
        base = base if len(base) <= _SHORT else "/tmp"  # noqa: S108 - mkdtemp makes a private one.
        self._private = Path(tempfile.mkdtemp(dir=base, prefix="assay-ray-"))
        environment = dict(self._cluster.environment)
        if self._cluster.address is None:
            new_token(self._private / "token")
            environment[TOKEN_PATH] = str(self._private / "token")
            # Workers keep what they are sent where it goes with the run.
            environment["TMPDIR"] = str(self._private)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._channel = Channel(ours)
        log = os.open(self._private / "bridge.log", os.O_CREAT | os.O_WRONLY, 0o600)
        try:
            self._bridge = subprocess.Popen(  # noqa: S603 - every word of it is ours.
                [
                    *(sys.executable, "-P", "-m", "assay.pipeline.ray_bridge"),
                    str(theirs.fileno()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(theirs.fileno(),),
                # Ray adds its driver's folder to the module path of every worker, on every node.
                cwd="/",
                env=environment,
                start_new_session=True,
            )
        finally:
            os.close(log)
            theirs.close()
        self._reader = threading.Thread(target=self._read, name="assay-ray", daemon=True)
        try:
            self._send(
                Begin(
                    self._cluster.address,
                    self._cluster.transport != "tls",
                    self._cpus,
                    self._store_bytes,
                    str(self._private / "ray"),
                    self._attempts,
                )
            )
            # A head that speaks TLS to a driver that does not is silence to Ray, for minutes.
            there = select.select([self._channel], [], [], _CONNECTED_WITHIN)[0]
            report = self._channel.report() if there else None
            if not isinstance(report, Ready):
                raise error_of(report.failure) if isinstance(report, Ended) else _silent()
        except BaseException:
            self._kill(self._bridge)
            self._bridge = None
            self._channel.close()
            shutil.rmtree(self._private, ignore_errors=True)
            raise
        self.slots = report.slots
        self._gone = None
        self._reader.start()

    def _send(self, command: Command) -> None:
        try:
            with self._sending:
                self._channel.send(command)
        except OSError as error:
            raise self._gone or self._ended() from error

    def _read(self) -> None:
        """Resolves futures as reports come in, and all that are left when none can come."""
        gone = self._ended()
        try:
            while (report := self._channel.report()) is not None:
                if isinstance(report, Done):
                    self._finish(report)
                elif isinstance(report, Failed):
                    self._settle(report.number, error_of(report.failure))
                elif isinstance(report, Ended):
                    gone = error_of(report.failure)
        except Exception as error:
            gone = self._ended(f" ({type(error).__name__})")
        with self._lock:
            self._gone = gone
            left = list(self._futures)
        for number in left:
            self._settle(number, gone)

    def _finish(self, done: Done) -> None:
        with self._lock:
            folder = self._folders.get(done.number)
        if folder is None:  # Cancelled meanwhile.
            return
        finished = Finished(
            done.answer,
            [str(folder / OUTPUTS / name) for name in done.outputs],
            str(folder / LOG),
            done.level,
            done.cpu_seconds,
            done.max_rss,
            done.where,
            done.loaded,
        )
        try:
            named = [name for names in answer_of(finished).outputs for name in names]
        except msgspec.MsgspecError:
            named = None
        if named != done.outputs:
            self._settle(done.number, _wrong_answer(done.where))
        else:
            self._settle(done.number, finished)

    def _settle(self, number: int, outcome: Finished | AssayError) -> None:
        with self._lock:
            future = self._futures.pop(number, None)
            self._folders.pop(number, None)
        if future is None:
            return
        with contextlib.suppress(InvalidStateError):  # Cancelled meanwhile.
            if isinstance(outcome, AssayError):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    def cancelled(self, number: int) -> None:
        """A future was cancelled: end its task, wherever it is."""
        with self._lock:
            self._futures.pop(number, None)
            self._folders.pop(number, None)
        with contextlib.suppress(AssayError):
            self._send(Cancel(number))

    def _ended(self, why: str = "") -> Unavailable:
        return Unavailable(
            f"the connection to Ray has ended{why}",
            remedy="look at the logs of Ray's head and run it again: what is finished is kept",
            code="ray.gone",
        )

    def _kill(self, bridge: subprocess.Popen[bytes]) -> None:
        """End the bridge, if it has not ended, and what it may have left of its process group.

        It is waited for last: until then, nobody else can have its number.
        """
        with contextlib.suppress(ProcessLookupError):
            os.killpg(bridge.pid, signal.SIGKILL)
        bridge.wait()


def _silent() -> Unavailable:
    return Unavailable(
        "no connection to Ray came about",
        remedy="check that TLS is on here (RAY_USE_TLS=1) if it is on the head, and look at its "
        "logs",
        code="ray.connect",
    )


def _wrong_answer(where: str) -> Unavailable:
    return Unavailable(
        f"{where} gave an answer that does not fit the files that came with it",
        remedy="use the same version of assay on every node",
        code="ray.answer",
    )


class _Remote(Future[Finished]):
    """A future whose cancellation also ends a task that runs."""

    def __init__(self, executor: RayExecutor) -> None:
        super().__init__()
        self._executor = executor
        self._once = threading.Lock()
        self.number = 0

    def cancel(self) -> bool:
        with self._once:
            if self.cancelled():
                return True
            if not super().cancel():
                return False
            self.set_running_or_notify_cancel()  # Tells those who wait for it.
        self._executor.cancelled(self.number)
        return True
