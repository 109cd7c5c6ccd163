"""What the parts of the Ray executor say to each other: plain data with lengths, never pickle.

`assay.pipeline.ray_executor` (in the driver) and `ray_bridge` (the process that talks to Ray) speak
in `Command` and `Report` over a socket pair.  The bridge and `ray_node` (on the nodes) speak in
`Order` and `Result`, which travel through Ray as bytes.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

from assay.errors import (
    AssayError,
    Conflict,
    Corrupt,
    Denied,
    NotFound,
    Unavailable,
    Usage,
    Verification,
)
from assay.plugins import Task

CHUNK = 16 << 20
"""Bytes of an input that travel as one object, so that no process holds a whole input."""
SMALL = 32 << 10
"""Bytes of an input that is sent with the order: an object of its own costs more than it saves."""
SMALL_TOGETHER = 64 << 10
_LENGTH = struct.Struct("!Q")
_LONGEST_FRAME = 4 << 30

_KINDS: dict[str, type[AssayError]] = {
    error.kind: error
    for error in (Usage, NotFound, Denied, Verification, Conflict, Unavailable, Corrupt)
}


class Failure(msgspec.Struct, tag=True):
    """An error of `assay.errors` on its way."""

    kind: str
    message: str
    remedy: str = ""
    code: str = ""
    details: dict[str, Any] = {}
    lost: bool = False
    """Whether it says nothing about the task: a node or worker was lost, so it is run again."""


class Begin(msgspec.Struct, tag=True):
    """Connect to `address`, or start a Ray of one node below `folder` where there is none."""

    address: str | None
    plain: bool
    """Whether the transport is plaintext, so that every node has to be on this machine."""
    cpus: int
    store_bytes: int
    folder: str
    attempts: int


class Open(msgspec.Struct, tag=True):
    archive: bytes
    digest: str


class Submit(msgspec.Struct, tag=True):
    number: int
    task: Task
    folder: str


class Cancel(msgspec.Struct, tag=True):
    number: int


Command: TypeAlias = Begin | Open | Submit | Cancel


class Ready(msgspec.Struct, tag=True):
    slots: int
    nodes: int


class Done(msgspec.Struct, tag=True):
    number: int
    answer: bytes
    outputs: list[str]
    """Names of files in the output folder."""
    level: str
    cpu_seconds: float
    max_rss: int
    where: str
    loaded: dict[str, str]


class Failed(msgspec.Struct, tag=True):
    number: int
    failure: Failure


class Ended(msgspec.Struct, tag=True):
    """The connection itself failed: nothing follows."""

    failure: Failure


Report: TypeAlias = Ready | Done | Failed | Ended

_COMMANDS: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_REPORTS: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)
_encode = msgspec.msgpack.Encoder().encode


class Parcel(msgspec.Struct):
    """An input file on its way to a node."""

    name: str
    sha256: str
    content: bytes | None = None
    """All of it, where it is small; else it comes in pieces, as objects of their own."""


class Order(msgspec.Struct):
    """One task, as a node gets it.  The task's own inputs are empty: they are paths elsewhere."""

    task: Task
    inputs: list[Parcel]
    code: str
    """Digest of the code archive."""
    environment: str
    """Digest of what is installed where the run is driven, see `ray_node.installed`."""


class Piece(msgspec.Struct):
    """A file whose bytes follow."""

    name: str
    size: int


class Success(msgspec.Struct, tag=True):
    answer: bytes
    level: str
    cpu_seconds: float
    max_rss: int
    where: str
    loaded: dict[str, str]
    """Libraries that it loaded and its task does not name, see `ray_libraries.loaded`."""


class Result(msgspec.Struct):
    """The head of what a node gives back; the bytes of `log`, then of `outputs`, follow."""

    outcome: Success | Failure
    log: int
    outputs: list[Piece] = []


_RESULTS: msgspec.msgpack.Decoder[Result] = msgspec.msgpack.Decoder(Result)


def failure_of(error: BaseException, *, lost: bool = False) -> Failure:
    """`error` as it travels; nothing but the type of one that is not an `AssayError`."""
    if isinstance(error, AssayError):
        return Failure(
            error.kind,
            error.message,
            error.remedy,
            error.code.removeprefix(error.kind).removeprefix("."),
            _plain(error.details),
            lost,
        )
    return Failure(
        "unavailable",
        f"{type(error).__name__}: {str(error)[:300]}",
        "look at the logs of Ray, and report it if it is a mistake in assay",
        "ray.unexpected",
        lost=lost,
    )


def _plain(details: Mapping[str, Any]) -> dict[str, Any]:
    try:
        plain: dict[str, Any] = msgspec.to_builtins(dict(details), str_keys=True)
    except (TypeError, ValueError):
        return {}
    return plain


def error_of(failure: Failure) -> AssayError:
    """The error that travelled, as itself."""
    kind = _KINDS.get(failure.kind, Unavailable)
    return kind(failure.message, remedy=failure.remedy, code=failure.code, details=failure.details)


def pack_result(result: Result) -> bytes:
    """The head of a node's answer; the files' bytes are to be written behind it."""
    head = _encode(result)
    return _LENGTH.pack(len(head)) + head


def unpack_result(data: memoryview) -> tuple[Result, memoryview, list[tuple[str, memoryview]]]:
    """The head, the log and the output files of a node's answer.

    Raises `Unavailable` unless the lengths say exactly what is there.
    """
    try:
        (length,) = _LENGTH.unpack_from(data)
        rest = data[_LENGTH.size :]
        result = _RESULTS.decode(rest[:length])
    except (struct.error, msgspec.MsgspecError) as error:
        raise _unreadable() from error
    rest = rest[length:]
    sizes = [result.log, *(piece.size for piece in result.outputs)]
    if min(sizes) < 0 or sum(sizes) != len(rest):
        raise _unreadable()
    log, rest = rest[: result.log], rest[result.log :]
    files: list[tuple[str, memoryview]] = []
    for piece in result.outputs:
        files.append((piece.name, rest[: piece.size]))
        rest = rest[piece.size :]
    return result, log, files


def _unreadable() -> Unavailable:
    return Unavailable(
        "a node of the Ray cluster gave an answer that cannot be read",
        remedy="use the same version of assay on every node",
        code="ray.answer",
    )


class Channel:
    """One end of the socket pair: frames of a length and a message.  One thread a direction."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream

    def fileno(self) -> int:
        return self._stream.fileno()

    def send(self, message: Command | Report) -> None:
        body = _encode(message)
        self._stream.sendall(_LENGTH.pack(len(body)))
        self._stream.sendall(body)

    def command(self) -> Command | None:
        """The next command; None when the driver is gone."""
        body = self._receive()
        return None if body is None else _COMMANDS.decode(body)

    def report(self) -> Report | None:
        """The next report; None when the bridge is gone."""
        body = self._receive()
        return None if body is None else _REPORTS.decode(body)

    def close_sending(self) -> None:
        """Say that nothing follows."""
        try:
            self._stream.shutdown(socket.SHUT_WR)
        except OSError:  # The other side is gone already.
            return

    def close(self) -> None:
        self._stream.close()

    def _receive(self) -> bytes | None:
        head = self._exactly(_LENGTH.size)
        if head is None:
            return None
        (length,) = _LENGTH.unpack(head)
        if length > _LONGEST_FRAME:
            raise _unreadable()
        return self._exactly(length)

    def _exactly(self, length: int) -> bytes | None:
        data = bytearray(length)
        view = memoryview(data)
        while view:
            try:
                count = self._stream.recv_into(view)
            except ConnectionError:
                return None
            if not count:
                return None
            view = view[count:]
        return bytes(data)
