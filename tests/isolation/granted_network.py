# ruff: noqa: ARG001, PTH, S103, T201 - every function is told the same; each makes the call it is about.
"""Functions that the tests run confined, with ports: what they may do, and what they may not."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Told = dict[str, Any]

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def attempt(payload: bytes) -> bytes:
    """Do one thing; what it returned, or how it was stopped."""
    order = json.loads(payload)
    function: Callable[[Told], Any] = globals()[order["do"]]
    try:
        result = function(order["told"])
    except (OSError, MemoryError) as error:
        return f"stopped: {type(error).__name__}: {error}".encode()
    return json.dumps(result).encode()


def connect(told: Told) -> str:
    with socket.create_connection((told.get("host", "127.0.0.1"), told["port"]), 5) as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream.sendmsg([b"he", b"llo"])
        return stream.recv(100).decode()


def connect_with_asyncio(told: Told) -> str:
    async def talk() -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", told["port"])
        writer.writelines([b"he", b"llo"])
        await writer.drain()
        answer = await reader.read(100)
        writer.close()
        return answer.decode()

    return asyncio.run(talk())


def connect_while_sending(told: Told) -> None:
    """TCP Fast Open: connects without `connect`."""
    with socket.socket() as stream:
        stream.sendto(b"x", 0x20000000, ("127.0.0.1", told["port"]))


def connect_while_sending_a_message(told: Told) -> None:
    with socket.socket() as stream:
        stream.sendmsg([b"x"], [], 0x20000000, ("127.0.0.1", told["port"]))


def set_fast_open(told: Told) -> None:
    with socket.socket() as stream:
        stream.setsockopt(socket.IPPROTO_TCP, 30, 1)


def filter_packets(told: Told) -> None:
    with socket.socket() as stream:
        stream.setsockopt(socket.SOL_SOCKET, 26, b"\0" * 16)


def connect_by_mptcp(told: Told) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262) as stream:
        stream.connect(("127.0.0.1", told["port"]))


def connect_again(told: Told) -> None:
    """Dissolve an allowed connection and make another with the same socket."""
    with socket.socket() as stream:
        stream.connect(("127.0.0.1", told["allowed"]))
        _libc.connect(stream.fileno(), struct.pack("HHIQ", 0, 0, 0, 0), 16)
        stream.connect(("127.0.0.1", told["port"]))


def send_by_udp(told: Told) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", ("127.0.0.1", told["udp"]))


def listen(told: Told) -> None:
    with socket.socket() as listener:
        listener.listen()


def bind(told: Told) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))


def ping(told: Told) -> None:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP).close()


def raw(told: Told) -> None:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP).close()


def unix_socket(told: Told) -> None:
    socket.socket(socket.AF_UNIX).close()


def unix_datagram_pair(told: Told) -> None:
    """Such a socket can send to any other named one."""
    for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM):
        end.close()


def netlink(told: Told) -> None:
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()


def pass_a_descriptor(told: Told) -> None:
    """Sent to oneself, and received."""
    one, other = socket.socketpair()
    socket.send_fds(one, [b"x"], [0])
    _, handles, _, _ = socket.recv_fds(other, 10, 1)
    assert handles


def pass_a_descriptor_to_the_parent(told: Told) -> str:
    channel = socket.socket(fileno=os.dup(int(sys.argv[1])))
    with Path("/dev/urandom").open("rb") as stream:
        # An empty body would be a frame out of turn: no byte of data, only the descriptor.
        channel.sendmsg(
            [], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", stream.fileno()))]
        )
    return "sent"


def ask_who_is_at_the_other_end(told: Told) -> None:
    channel = socket.socket(fileno=os.dup(int(sys.argv[1])))
    channel.getsockopt(socket.SOL_SOCKET, 77, 4)  # SO_PEERPIDFD


def resolve(told: Told) -> Any:
    """The files that looking up a name needs; `localhost` is in one of them."""
    socket.getaddrinfo("localhost", 80)
    import ssl

    ssl.create_default_context()
    return [path for path in told["paths"] if Path(path).read_bytes() is not None]


def read(told: Told) -> str:
    return Path(told["path"]).read_text()
