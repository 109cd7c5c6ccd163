"""Asking another machine, which may be hostile: bounded in bytes and time, and only over TLS.

No redirect is followed, no proxy or password of the environment is used, and nothing of the answer
is believed here.  Plain HTTP is for this machine only.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import re
import socket
import ssl
import threading
import zlib
from collections.abc import Generator
from dataclasses import dataclass
from urllib.parse import urlsplit

import assay
from assay.errors import Unavailable, Usage

SECONDS = 20.0
"""For one request, from connecting to the last byte."""
_PIECE = 1 << 16
_HOST = re.compile(r"[A-Za-z0-9_.-]{1,253}|[0-9A-Fa-f:.]{2,45}")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~%+-]+)*/?")


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, its media type, and the body."""

    status: int
    media: str
    body: bytes


class Remote:
    """One URL prefix of another machine."""

    def __init__(
        self, url: str, *, seconds: float = SECONDS, context: ssl.SSLContext | None = None
    ) -> None:
        """`context` verifies the certificate; by default against the system's authorities.

        Raises `Usage` for what is not ``https://HOST[:PORT][/PATH]``, or ``http://`` of this
        machine.
        """
        self.url = url.rstrip("/")
        self._seconds = seconds
        self._context = context
        wrong = Usage(
            f"{url[:200]!r} is no address to ask",
            remedy="give https://HOST[:PORT][/PATH]; http:// is for this machine (127.0.0.1) only",
            code="remote.url",
        )
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise wrong from error
        plain = parts.scheme == "http"
        extra = parts.query or parts.fragment or "@" in parts.netloc or "?" in url or "#" in url
        if parts.scheme not in ("http", "https") or extra or not _HOST.fullmatch(host):
            raise wrong
        if not _PATH.fullmatch(parts.path) or (plain and not _is_own(host)):
            raise wrong
        self._plain = plain
        self._host, self._port = host, port
        self._prefix = parts.path.rstrip("/")

    def get(self, path: str, limit: int) -> bytes:
        """The body under a path; raises `Unavailable` for any answer but one with the status 200
        and at most `limit` bytes."""
        answer = self.ask("GET", path, None, limit)
        if answer.status != 200:
            raise self._failed(path, f"it answers with the status {answer.status}")
        return answer.body

    def ask(self, method: str, path: str, body: bytes | None, limit: int) -> Answer:
        """Any answer but a redirect; raises `Unavailable` when there is none within the limits."""
        headers = {
            "Accept-Encoding": "gzip, identity",
            "User-Agent": f"assay/{assay.__version__}",
            "Connection": "close",
        }
        if body is not None:
            headers["Content-Type"] = "text/plain; charset=utf-8"
        try:
            with self._connection() as (connection, late):
                connection.request(method, f"{self._prefix}/{path}", body, headers)
                response = connection.getresponse()
                data = _read(response, limit, late)
                if late.is_set():  # What was cut off then may look like an end.
                    raise TimeoutError
        except (TimeoutError, OSError, http.client.HTTPException, zlib.error) as error:
            why = str(error) or type(error).__name__
            raise self._failed(path, why) from error
        except ValueError as error:  # A port or a header that is none, as Python's client says it.
            raise self._failed(path, "it does not speak HTTP") from error
        if 300 <= response.status < 400:
            raise self._failed(path, "it redirects elsewhere, which is not followed")
        if data is None:
            raise self._failed(path, f"its answer is larger than {limit:,} bytes, or not whole")
        return Answer(response.status, response.headers.get_content_type(), data)

    @contextlib.contextmanager
    def _connection(
        self,
    ) -> Generator[tuple[http.client.HTTPConnection, threading.Event]]:
        """A connection that is cut off when its time is over, wherever it is then."""
        connection: http.client.HTTPConnection
        if self._plain:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=self._seconds)
        else:
            context = self._context or ssl.create_default_context()
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=self._seconds, context=context
            )
        late = threading.Event()
        # The connection forgets its socket once it knows that no other request follows.
        held: list[socket.socket] = []

        def cut() -> None:
            late.set()
            for channel in (*held, connection.sock):
                if channel is not None:  # pyright: ignore[reportUnnecessaryComparison]
                    with contextlib.suppress(OSError):
                        socket.socket.shutdown(channel, socket.SHUT_RDWR)

        # The socket's own timeout is for each read: a byte now and then would go on for ever.
        timer = threading.Timer(self._seconds, cut)
        timer.daemon = True
        timer.start()
        try:
            connection.connect()
            held.append(connection.sock)
            yield connection, late
        finally:
            timer.cancel()
            connection.close()

    def _failed(self, path: str, why: str) -> Unavailable:
        return Unavailable(
            f"{self.url}/{path}: {why[:200]}",
            remedy="try again later; if it stays so, ask whoever runs it",
            code="remote",
        )


def _is_own(host: str) -> bool:
    """Whether a host is this machine, without asking anybody for its name."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _read(response: http.client.HTTPResponse, limit: int, late: threading.Event) -> bytes | None:
    """The body; None when it is longer than `limit` or shorter than was said."""
    coding = (response.headers.get("Content-Encoding") or "identity").strip().lower()
    if coding not in ("identity", "gzip"):
        raise http.client.HTTPException(f"the content encoding {coding[:40]!r} was not asked for")
    declared = response.length
    inflate = zlib.decompressobj(31) if coding == "gzip" else None
    made = bytearray()
    taken = 0
    while piece := response.read1(_PIECE):
        taken += len(piece)
        if taken > 2 * limit + _PIECE or late.is_set():
            return None
        if inflate is not None:
            piece = inflate.decompress(piece, limit + 1 - len(made))
        made += piece
        if len(made) > limit:
            return None
    whole = declared is None or taken == declared
    return bytes(made) if whole and (inflate is None or inflate.eof) else None
