"""One request to a receiver: bounded in time and bytes, to an address that was looked at.

No redirect is followed, no proxy or password of the environment is used, and of the answer only
the status counts.  An operator may name any host; addresses that only clouds answer on (link-local
ones, where machines are given their credentials) are refused, whatever name leads there.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from time import monotonic
from urllib.parse import urlsplit

import assay

_CLOUD = [
    ipaddress.ip_network(text)
    for text in (
        *("fd00:ec2::/32", "fd20:ce::/32"),
        *("100.100.100.200/32", "192.0.0.192/32", "168.63.129.16/32"),
    )
]
"""Where clouds tell their machines their credentials, beside the link-local addresses."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_READ = 1 << 16


class Failed(Exception):
    """A request without an answer: why, in words that hold no address and no secret."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The status, and after how many seconds the receiver wants to be asked again."""

    status: int
    after: float = 0.0


def post(
    url: str, body: bytes, headers: Mapping[str, str], *, until: float, ca: str = ""
) -> Answer:
    """POST `body`; raises `Failed` when there is no answer before `until` (monotonic seconds)."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    sent = {
        "Content-Type": "application/json",
        "User-Agent": f"assay/{assay.__version__}",
        "Connection": "close",
        **headers,
    }
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with _connection(host, port, parts.scheme == "https", until, ca) as connection:
            connection.request("POST", target, body, sent)
            response = connection.getresponse()
            response.read(_READ)
            after = response.headers.get("Retry-After", "")
    except (TimeoutError, OSError, http.client.HTTPException, ValueError) as error:
        # What was cut off when its time was over fails in many ways.
        raise Failed("no answer in time" if monotonic() >= until else _why(error)) from error
    return Answer(response.status, float(after) if after.isdecimal() and len(after) < 6 else 0.0)


def _why(error: Exception) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate does not hold ({error.verify_message})"
        case TimeoutError():
            return "no answer in time"
        case ConnectionRefusedError():
            return "nobody listens there"
        case ConnectionResetError() | BrokenPipeError():
            return "it hung up"
        case socket.gaierror():
            return "its name is not known"
        case OSError():
            return error.strerror or type(error).__name__
        case _:
            return "it does not speak HTTP"


@contextlib.contextmanager
def _connection(
    host: str, port: int, tls: bool, until: float, ca: str
) -> Generator[http.client.HTTPConnection]:
    """A connection that is cut off when its time is over, wherever it is then."""
    held = [_connected(host, port, until)]
    # The socket's own timeout is for each read: a byte now and then would go on for ever.
    timer = threading.Timer(max(until - monotonic(), 0), _cut, [held])
    timer.daemon = True
    timer.start()
    try:
        if tls:
            context = ssl.create_default_context(cafile=ca or None)
            wrapped = context.wrap_socket(
                held[0], server_hostname=host, do_handshake_on_connect=False
            )
            held.append(wrapped)
            wrapped.do_handshake()
        connection = http.client.HTTPConnection(host, port)
        connection.default_port = 443 if tls else 80  # For the Host header alone.
        connection.sock = held[-1]
        yield connection
        if monotonic() >= until:  # What was cut off then may look like an end.
            raise TimeoutError
    finally:
        timer.cancel()
        for channel in held:
            channel.close()


def _cut(held: list[socket.socket]) -> None:
    for channel in held:
        with contextlib.suppress(OSError):
            socket.socket.shutdown(channel, socket.SHUT_RDWR)


def _connected(host: str, port: int, until: float) -> socket.socket:
    """A connection to the very address that was looked at: no name changes in between."""
    failed: OSError = OSError(0, "its name has no address")
    for address in _looked_at(host, port):
        left = until - monotonic()
        if left <= 0:
            raise TimeoutError
        try:
            return socket.create_connection((address, port), timeout=left)
        except OSError as error:
            failed = error
    raise failed


def _looked_at(host: str, port: int) -> list[str]:
    """The addresses of a host; none at all where one of them is no receiver's."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(address[0]) for *_, address in found]
    for address in addresses:
        ip = ipaddress.ip_address(address.partition("%")[0])
        plain = _inner(ip)
        odd = plain.is_link_local or plain.is_multicast or plain.is_unspecified
        if odd or any(plain in network for network in _CLOUD):
            raise OSError(0, "its address is one that no receiver has")
    return list(dict.fromkeys(addresses))


def _inner(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The IPv4 address that an IPv6 one leads to: mapped, 6to4, Teredo or through a gateway."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else ip)
