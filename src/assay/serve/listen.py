"""Listen on an address and answer HTTP: uvicorn, closed by default."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from assay.errors import Unavailable, Usage
from assay.serve.app import App

DRAIN_SECONDS = 10
"""How long a server that was asked to stop waits for the answers it owes."""


@dataclass(frozen=True, slots=True)
class Tls:
    """A certificate chain and its key, as PEM files."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Listening:
    """A server that accepts connections: where, and how to stop it (from any thread)."""

    url: str
    host: str
    port: int
    stop: Callable[[], None]


def run(
    application: App,
    host: str = "127.0.0.1",
    port: int = 8080,
    *,
    tls: Tls | None = None,
    ready: Callable[[Listening], None] | None = None,
) -> None:
    """Answer HTTP until told to stop (SIGINT, SIGTERM or `Listening.stop`).

    Prints and logs nothing about requests.  Port 0 takes a free one.  `ready` is called once
    connections are accepted.

    Raises `Usage` for an address that is not this machine's own (loopback) without `tls`, because
    tokens and data would travel readable; `Unavailable` when the address is taken.
    """
    import uvicorn

    from assay.serve.connections import Connection

    context = _tls_context(tls) if tls is not None else None
    listener, address = _listen(host, port, encrypted=context is not None)
    # Without a handler of its own, logging would print warnings about malformed requests.
    logging.getLogger("uvicorn.error").addHandler(logging.NullHandler())
    config = uvicorn.Config(
        application,
        http=Connection,
        ws="none",
        interface="asgi3",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        workers=1,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        ssl_context_factory=(lambda _config, _default: context) if context is not None else None,
    )

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            if ready is not None and self.started:
                ready(listening)

    server = Server(config)

    def stop() -> None:
        server.should_exit = True

    shown = f"[{address[0]}]" if ":" in address[0] else address[0]
    url = f"{'https' if context is not None else 'http'}://{shown}:{address[1]}"
    listening = Listening(url, address[0], address[1], stop)
    with contextlib.closing(listener):
        server.run(sockets=[listener])


def _tls_context(tls: Tls) -> ssl.SSLContext:
    def passphrase() -> str:  # Or OpenSSL would ask for one on the terminal.
        raise Usage(
            "the key of the certificate is protected by a passphrase",
            remedy="give a key without one, readable by this user alone",
            code="serve.tls",
        )

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(tls.certificate, tls.key, password=passphrase)
    except OSError as error:  # `ssl.SSLError` is one.
        raise Usage(
            f"the certificate {tls.certificate} and the key {tls.key} cannot be used: "
            f"{error.strerror or error}",
            remedy="give the certificate chain and its own key as PEM files",
            code="serve.tls",
        ) from error
    return context


def _listen(host: str, port: int, *, encrypted: bool) -> tuple[socket.socket, tuple[str, int]]:
    """A bound socket and its address; what is checked is the address, not the name for it."""
    try:
        if not host or not 0 <= port <= 65535:
            raise ValueError("no address")
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        named = ipaddress.ip_address(str(address[0]).partition("%")[0])
        # Python's versions differ on IPv4 addresses spelt as IPv6: none of them is taken for ours.
        own = named.is_loopback and getattr(named, "ipv4_mapped", None) is None
    except (OSError, UnicodeError, ValueError) as error:
        raise Usage(
            f"{host[:80]!r}, port {port}, is no address to listen on",
            remedy="give an address of this machine, for example 127.0.0.1, and a port",
            code="serve.address",
        ) from error
    if not own and not encrypted:
        raise Usage(
            f"{host!r} can be reached from other machines, and without TLS everybody on the way "
            "reads tokens and data",
            remedy="give a certificate and its key; or listen on 127.0.0.1, behind a proxy on this "
            "machine that speaks TLS",
            code="serve.plaintext",
        )
    # The protocol is named: else asyncio leaves Nagle's delay on, 40 ms for each answer.
    listener = socket.socket(family, kind, protocol or socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        bound = listener.getsockname()
    except OSError as error:
        listener.close()
        raise Unavailable(
            f"cannot listen on {host}, port {port}: {error.strerror}",
            remedy="choose another port, or stop what uses it",
            code="serve.listen",
        ) from error
    return listener, (str(bound[0]), int(bound[1]))
