"""The process that holds the connection to Ray, so that the one with the keys does not.

Ray is a large library: it starts threads, sets environment variables and signal handlers, ends its
process when its local daemon dies, and unpickles what nodes send.  So it has a process of its own,
which gets a bare environment and no keys.  And here too, what a node sends is taken as bytes or not
at all (`Bridge._fetch`): an answer that Ray would unpickle is refused by its metadata.

Started by `assay.pipeline.ray_executor` as ``python -m assay.pipeline.ray_bridge DESCRIPTOR``.  One
thread: commands from the socket, then whatever Ray has finished, by turns.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickletools
import select
import socket
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import msgspec
import ray
from ray import cloudpickle
from ray._private.worker import global_worker
from ray.core.generated import common_pb2
from ray.exceptions import RayError

from assay.errors import AssayError, Unavailable, Usage
from assay.pipeline import ray_node
from assay.pipeline.execution import LOG, OUTPUTS
from assay.pipeline.ray_address import is_loopback
from assay.pipeline.ray_frames import (
    CHUNK,
    SMALL,
    SMALL_TOGETHER,
    Begin,
    Cancel,
    Channel,
    Command,
    Done,
    Ended,
    Failed,
    Failure,
    Open,
    Order,
    Parcel,
    Ready,
    Submit,
    failure_of,
    unpack_result,
)
from assay.plugins import TaskInput

MOST_SLOTS = 256
_POLL = 0.05
_FEW = 16
_PATIENCE = 5.0
"""Seconds that a cancelled task gets to end its process before its worker is killed."""
_STALLED = 30.0
"""Seconds after which nothing finished is a reason to ask whether there are nodes at all."""
_RAW = b"RAW"
# What says nothing about the task, only about where it ran.
_LOST = (
    "WORKER_DIED",
    "NODE_DIED",
    "OBJECT_LOST",
    "OBJECT_DELETED",
    "OBJECT_FETCH_TIMED_OUT",
    "OBJECT_UNRECONSTRUCTABLE",
    "OWNER_DIED",
    "LOCAL_RAYLET_DIED",
    "OUT_OF_MEMORY",
    "WORKER_STARTUP_FAILED",
)
_BY_REFERENCE = {"PROTO", "FRAME", "SHORT_BINUNICODE", "MEMOIZE", "STACK_GLOBAL", "STOP"}


@dataclass
class Flight:
    """A task that Ray has."""

    submit: Submit
    attempts: int = 0
    cancelled: float = 0.0
    """When it was, by `time.monotonic`."""
    killed: bool = False
    digests: list[str] = field(default_factory=list)


@dataclass
class Shipped:
    """An input in Ray's store."""

    pieces: list[Any]
    size: int
    sha256: str
    users: int = 0


class Bridge:
    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._flying: dict[Any, Flight] = {}
        self._shipped: OrderedDict[str, Shipped] = OrderedDict()
        self._kept = 0
        self._code: tuple[str, list[Any]] = ("", [])
        self._progress = time.monotonic()

    def serve(self) -> None:
        """Until the driver closes its end."""
        begin = self._channel.command()
        if not isinstance(begin, Begin):
            return
        self._attempts = begin.attempts
        self._budget = begin.store_bytes // 4
        try:
            self._connect(begin)
        except AssayError as error:
            self._channel.send(Ended(failure_of(error)))
            return
        except Exception as error:
            self._channel.send(Ended(failure_of(_unreachable(begin, error))))
            return
        try:
            while self._hear():
                self._land()
            self._abandon()
        finally:
            ray.shutdown()

    def _connect(self, begin: Begin) -> None:
        options: dict[str, Any] = {
            "log_to_driver": False,
            "logging_level": "ERROR",
            "include_dashboard": False,
        }
        if begin.address is None:
            options |= {
                "address": "local",
                "num_cpus": begin.cpus,
                "object_store_memory": begin.store_bytes,
                "_temp_dir": begin.folder,
                "_node_ip_address": "127.0.0.1",
            }
        else:
            options["address"] = begin.address
            del options["include_dashboard"]
        ray.init(**options)
        nodes = [node for node in ray.nodes() if node["Alive"]]
        outside = [
            n["NodeManagerAddress"] for n in nodes if not is_loopback(n["NodeManagerAddress"])
        ]
        if begin.plain and outside:
            raise Usage(
                f"nodes of this Ray cluster are on a network without TLS: {', '.join(outside[:5])}",
                remedy="start every node with RAY_USE_TLS=1 and certificates, or on 127.0.0.1",
                code="ray.transport",
            )
        cpus = int(ray.cluster_resources().get("CPU", 0))
        if cpus < 1:
            raise _no_nodes()
        function: bytes = cast("Any", cloudpickle).dumps(ray_node.run_task)
        if {opcode.name for opcode, _, _ in pickletools.genops(function)} > _BY_REFERENCE:
            raise Unavailable(
                "this version of Ray would send code to the nodes, not a reference to it",
                remedy="use a version of Ray that assay is tested with",
                code="ray.reference",
            )
        self._run = ray.remote(num_cpus=1, max_retries=0, max_calls=0)(ray_node.run_task)
        self._get: Callable[..., Any] = cast("Any", global_worker).core_worker.get_objects
        self._environment = ray_node.installed()
        self._channel.send(Ready(min(2 * cpus, MOST_SLOTS), len(nodes)))

    # -- from the driver ------------------------------------------------------------------------

    def _hear(self) -> bool:
        """Follow the commands that are there; False when the driver has closed its end."""
        while select.select([self._channel], [], [], 0 if self._flying else None)[0]:
            command = self._channel.command()
            if command is None:
                return False
            self._follow(command)
        return True

    def _follow(self, command: Command) -> None:
        if isinstance(command, Open):
            view = memoryview(command.archive)
            pieces = [bytes(view[at : at + CHUNK]) for at in range(0, max(1, len(view)), CHUNK)]
            self._code = (command.digest, [ray.put(piece) for piece in pieces])
        elif isinstance(command, Submit):
            self._submit(Flight(command))
        elif isinstance(command, Cancel):
            for reference, flight in self._flying.items():
                if flight.submit.number == command.number and not flight.cancelled:
                    flight.cancelled = time.monotonic()
                    ray.cancel(reference, force=False, recursive=False)

    def _submit(self, flight: Flight) -> None:
        task = flight.submit.task
        flight.attempts += 1
        try:
            parcels, pieces = self._pack(task.inputs, flight)
            order = Order(
                msgspec.structs.replace(task, inputs=()),
                parcels,
                self._code[0],
                self._environment,
            )
            reference = self._run.remote(msgspec.msgpack.encode(order), self._code[1], pieces)
        except Exception as error:
            self._release(flight)
            self._fail(flight, failure_of(_not_sent(task.name, error)))
            return
        self._flying[reference] = flight

    def _pack(
        self, inputs: Sequence[TaskInput], flight: Flight
    ) -> tuple[list[Parcel], list[list[Any]]]:
        """The inputs of a task: small ones as they are, others as references to their pieces."""
        parcels: list[Parcel] = []
        pieces: list[list[Any]] = []
        room = SMALL_TOGETHER
        for item in inputs:
            path = Path(item.path)
            if item.digest not in self._shipped and path.stat().st_size <= min(SMALL, room):
                content = path.read_bytes()
                room -= len(content)
                parcels.append(Parcel(path.name, hashlib.sha256(content).hexdigest(), content))
                pieces.append([])
            else:
                shipped = self._ship(item.digest, path, flight)
                parcels.append(Parcel(path.name, shipped.sha256))
                pieces.append(shipped.pieces)
        return parcels, pieces

    def _ship(self, digest: str, path: Path, flight: Flight) -> Shipped:
        """Put an input into Ray's store, once, and hold it as long as a task needs it."""
        shipped = self._shipped.get(digest)
        if shipped is None:
            hasher = hashlib.sha256()
            pieces: list[Any] = []
            size = 0
            with path.open("rb") as stream:
                while piece := stream.read(CHUNK):
                    hasher.update(piece)
                    size += len(piece)
                    pieces.append(ray.put(piece))
            shipped = self._shipped[digest] = Shipped(pieces, size, hasher.hexdigest())
            self._kept += size
        shipped.users += 1
        flight.digests.append(digest)
        self._shipped.move_to_end(digest)
        return shipped

    def _release(self, flight: Flight) -> None:
        """Let go of a task's inputs; what nobody needs is kept while it is little."""
        for digest in flight.digests:
            self._shipped[digest].users -= 1
        flight.digests.clear()
        for digest in [d for d, parcel in self._shipped.items() if not parcel.users]:
            if self._kept <= self._budget:
                break
            self._kept -= self._shipped.pop(digest).size

    # -- from the nodes -------------------------------------------------------------------------

    def _land(self) -> None:
        """Hand on what is finished, waiting for a moment."""
        if not self._flying:
            return
        flying = list(self._flying)
        ready, _ = ray.wait(flying, num_returns=1, timeout=_POLL)
        if ready and len(flying) > _FEW:
            ready, _ = ray.wait(flying, num_returns=len(flying), timeout=0)
        now = time.monotonic()
        for reference in ready:
            self._progress = now
            self._take(reference, self._flying.pop(reference))
        for reference, flight in self._flying.items():
            if flight.cancelled and not flight.killed and now - flight.cancelled > _PATIENCE:
                flight.killed = True
                ray.cancel(reference, force=True, recursive=False)
        if now - self._progress > _STALLED:
            self._progress = now
            if ray.cluster_resources().get("CPU", 0) < 1:
                self._give_up(failure_of(_no_nodes()))

    def _take(self, reference: Any, flight: Flight) -> None:
        self._release(flight)
        if flight.cancelled:
            return
        try:
            report = self._fetch(reference, flight)
        except AssayError as error:
            report = failure_of(error)
        except (OSError, RayError) as error:
            report = failure_of(_not_taken(flight.submit.task.name, error))
        if isinstance(report, Done):
            self._channel.send(report)
        elif report.lost and flight.attempts < self._attempts:
            self._submit(flight)
        else:
            if report.lost:
                report.message += f"; it was tried {flight.attempts} times"
            self._fail(flight, report)

    def _fetch(self, reference: Any, flight: Flight) -> Done | Failure:
        """What a node answered, its files written; as bytes, which Ray does not unpickle."""
        name = flight.submit.task.name
        ((data, metadata, _),) = self._get([reference], -1)
        if metadata != _RAW:
            return _error_of(metadata, name)
        result, log, outputs = unpack_result(memoryview(data))
        folder = Path(flight.submit.folder)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / OUTPUTS).mkdir(mode=0o700, exist_ok=True)
        _write(folder / LOG, log)
        outcome = result.outcome
        if isinstance(outcome, Failure):
            return outcome
        for output, content in outputs:
            _write(folder / OUTPUTS / ray_node.files_name(output), content)
        return Done(
            flight.submit.number,
            outcome.answer,
            [output for output, _ in outputs],
            outcome.level,
            outcome.cpu_seconds,
            outcome.max_rss,
            outcome.where,
            outcome.loaded,
        )

    def _fail(self, flight: Flight, failure: Failure) -> None:
        self._channel.send(Failed(flight.submit.number, failure))

    def _give_up(self, failure: Failure) -> None:
        flights = list(self._flying.items())
        self._flying.clear()
        for reference, flight in flights:
            ray.cancel(reference, force=True, recursive=False)
            self._release(flight)
            self._fail(flight, failure)

    def _abandon(self) -> None:
        """The driver is gone or done: end what runs, so that no process is left on a node."""
        flying = list(self._flying)
        for reference in flying:
            ray.cancel(reference, force=False, recursive=False)
        if flying:
            _, rest = ray.wait(flying, num_returns=len(flying), timeout=_PATIENCE)
            for reference in rest:
                ray.cancel(reference, force=True, recursive=False)
            if rest:
                ray.wait(rest, num_returns=len(rest), timeout=_PATIENCE)


def _write(path: Path, content: memoryview) -> None:
    path.unlink(missing_ok=True)  # Of an attempt before this one.
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as stream:
        stream.write(content)


def _error_of(metadata: bytes, name: str) -> Failure:
    """What Ray says instead of an answer; its pickled exception is left unread."""
    try:
        error: str = cast("Any", common_pb2).ErrorType.Name(int(metadata.split(b",")[0]))
    except ValueError:
        return Failure(
            "verification",
            f"a Ray node answered step {name} with something else than bytes, which stays unread",
            "look after the nodes: assay's own code never answers so",
            "ray.answer",
        )
    if error.startswith(_LOST):
        return Failure(
            "unavailable",
            f"the Ray worker of step {name} was lost ({error})",
            "look at the nodes' memory and logs, and run it again: what is finished is kept",
            "ray.lost",
            lost=True,
        )
    return Failure(
        "unavailable",
        f"Ray did not run step {name} ({error})",
        "install the same version of assay and of Ray on every node, and look at the worker's log",
        "ray.task",
    )


def _not_sent(name: str, error: Exception) -> AssayError:
    if isinstance(error, AssayError):
        return error
    return Unavailable(
        f"step {name} cannot be sent to Ray: {type(error).__name__}",
        remedy="give Ray more object store memory, and look at its logs",
        code="ray.submit",
    )


def _not_taken(name: str, error: Exception) -> Unavailable:
    return Unavailable(
        f"what step {name} gave cannot be fetched: {type(error).__name__}",
        remedy="check the space on this disk, and look at Ray's logs",
        code="ray.fetch",
    )


def _no_nodes() -> Unavailable:
    return Unavailable(
        "no node of the Ray cluster has a processor to run steps on",
        remedy="start nodes with `ray start --address=…` and --num-cpus of 1 or more",
        code="ray.nodes",
    )


def _unreachable(begin: Begin, error: Exception) -> Unavailable:
    where = begin.address or "on this machine"
    return Unavailable(
        f"Ray {where} cannot be reached or started: {type(error).__name__}: {str(error)[:300]}",
        remedy="check the address and the token, and that a node of that cluster runs on this "
        "machine: `ray start --address=… --num-cpus=0`",
        code="ray.connect",
    )


def main(arguments: Sequence[str]) -> None:
    stream = socket.socket(fileno=int(arguments[1]))
    channel = Channel(stream)
    with contextlib.suppress(BrokenPipeError, ConnectionError):  # The driver is gone.
        Bridge(channel).serve()


if __name__ == "__main__":
    main(sys.argv)
