"""The only way out: HTTPS to addresses that were checked, followed by hand, bounded in all ways.

Each hop is checked as the first one was.  A secret is sent to the host that it was configured for
and to no other: behind a redirect to another host there is none.  Nothing is taken from the
environment: no proxy, no ``.netrc``.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

from assay.errors import AssayError, Denied, NotFound, Unavailable, Usage, Verification
from assay.supply.intake import addresses
from assay.supply.intake.settings import Settings

_PIECE = 1 << 20
_WAIT = 30.0
"""Seconds without a byte."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_AGENT = "assay-intake"


class _Connection(http.client.HTTPConnection):
    """A connection to one of the addresses that were checked, with TLS for the host's name."""

    def __init__(
        self, host: str, port: int, found: list[str], timeout: float, tls: ssl.SSLContext | None
    ) -> None:
        super().__init__(host, port, timeout=timeout)
        self._found = found
        self._tls = tls

    def connect(self) -> None:
        failed: OSError = OSError("no address")
        for address in self._found:
            try:
                self.sock = socket.create_connection((address, self.port), self.timeout)
                break
            except OSError as error:
                failed = error
        else:
            raise failed
        if self._tls is not None:
            # An end that the other side did not announce is no end: somebody may have cut it off.
            self.sock = self._tls.wrap_socket(
                self.sock, server_hostname=self.host, suppress_ragged_eofs=False
            )


@dataclass(frozen=True, slots=True)
class Answer:
    """A final answer: its status, its headers in lower case, and its body in pieces."""

    url: str
    status: int
    headers: Mapping[str, str]
    pieces: Iterator[bytes]

    @property
    def length(self) -> int | None:
        """The announced length, if there is one."""
        text = self.headers.get("content-length", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


class Client:
    """Requests for one intake.  `left` says how many seconds remain, or raises."""

    def __init__(
        self,
        settings: Settings,
        source: str,
        left: Callable[[], float],
        *,
        resolver: addresses.Resolve = addresses.resolve,
    ) -> None:
        self._settings = settings
        self._source = source
        self._left = left
        self._resolver = resolver
        self._context: ssl.SSLContext | None = None
        self._over = threading.Event()

    @contextlib.contextmanager
    def get(
        self, url: str, *, accept: str = "", authorization: str = "", statuses: tuple[int, ...] = ()
    ) -> Generator[Answer]:
        """GET `url`, through at most `Limits.redirects` redirects.

        Any final status but 200 and `statuses` raises: `NotFound`, `Denied` or `Unavailable`.
        """
        headers = {"User-Agent": _AGENT, "Accept-Encoding": "identity"}
        if accept:
            headers["Accept"] = accept
        with contextlib.ExitStack() as stack:
            origin = _origin(self._split(url))
            for _ in range(self._settings.limits.redirects + 1):
                parts = self._split(url)
                secret = authorization if _origin(parts) == origin else ""
                sent = {**headers, **({"Authorization": secret} if secret else {})}
                response = self._ask(parts, sent, stack)
                if response.status in _REDIRECTS:
                    url = self._next(url, response)
                    continue
                told = {name.lower(): value for name, value in response.getheaders()}
                if response.status != 200 and response.status not in statuses:
                    raise self._refused(parts, response.status)
                if told.get("content-encoding", "identity") != "identity":
                    raise self._broken(parts, "it sends compressed what was asked for as it is")
                made = Answer(url, response.status, told, iter(()))
                yield Answer(url, response.status, told, self._body(response, made.length, parts))
                return
        raise Denied(
            f"{self._source}: more than {self._settings.limits.redirects} redirects",
            remedy="name the place that they end at",
            code="intake.redirects",
        )

    def document(self, url: str, *, accept: str = "", authorization: str = "") -> bytes:
        """A small answer, read whole."""
        with self.get(url, accept=accept, authorization=authorization) as answer:
            return self.whole(answer)

    def whole(self, answer: Answer) -> bytes:
        """What is left of an answer, if it is no longer than a document may be."""
        most = self._settings.limits.document_bytes
        held = bytearray()
        for piece in answer.pieces:
            held += piece
            if len(held) > most:
                raise Usage(
                    f"{self._source}: what it says about itself is longer than {most:,} bytes",
                    remedy="mirror what is needed (--mirror FOLDER)",
                    code="intake.size",
                )
        return bytes(held)

    # -- one hop ----------------------------------------------------------------------------------

    def _ask(
        self, parts: SplitResult, headers: Mapping[str, str], stack: contextlib.ExitStack
    ) -> http.client.HTTPResponse:
        host, port = _origin(parts)[1:]
        found = addresses.checked(host, port, self._settings, self._source, resolver=self._resolver)
        plain = parts.scheme == "http"
        timeout = min(_WAIT, self._left())
        connection = _Connection(host, port, found, timeout, None if plain else self._tls())
        stack.callback(connection.close)
        target = parts.path or "/"
        if parts.query:
            target += f"?{parts.query}"
        try:
            connection.connect()
            # A server that sends a byte now and then would hold every single wait short.
            stack.callback(self._watch(connection.sock).cancel)
            connection.request("GET", target, headers=dict(headers))
            response = connection.getresponse()
            self._check_time(parts)
            return response
        except ssl.SSLCertVerificationError as error:
            raise Verification(
                f"{self._source}: {host} does not prove its name ({error.verify_message})",
                remedy="check the host; a company's own certificates belong in the system's store",
                code="intake.certificate",
            ) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            _ = self._left()
            raise self._broken(parts, type(error).__name__) from None

    def _body(
        self, response: http.client.HTTPResponse, length: int | None, parts: SplitResult
    ) -> Iterator[bytes]:
        held = 0
        try:
            while piece := response.read(_PIECE):
                held += len(piece)
                _ = self._left()
                yield piece
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            _ = self._left()
            raise self._broken(parts, type(error).__name__) from None
        self._check_time(parts)
        if length is not None and held != length:
            raise self._broken(parts, "the answer was cut off")

    def _watch(self, connected: socket.socket) -> threading.Timer:
        def cut() -> None:
            self._over.set()
            # Of the socket itself: TLS would want to say goodbye first.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connected, socket.SHUT_RDWR)

        timer = threading.Timer(self._left(), cut)
        timer.daemon = True
        timer.start()
        return timer

    def _check_time(self, parts: SplitResult) -> None:
        """Raise when the watch ended the connection: what it cut off can look like an end."""
        _ = self._left()
        if self._over.is_set():
            raise self._broken(parts, "the time was over")

    def _next(self, url: str, response: http.client.HTTPResponse) -> str:
        """Where a redirect leads; never from an encrypted connection to a plain one."""
        there = response.getheader("Location") or ""
        if not there or not there.isascii() or not there.isprintable() or len(there) > 8192:
            raise self._broken(urlsplit(url), "it redirects to nowhere")
        made = urljoin(url, there)
        if urlsplit(url).scheme == "https" and urlsplit(made).scheme != "https":
            raise Denied(
                f"{self._source}: it redirects from https to {urlsplit(made).scheme[:20]}",
                remedy="name a place that stays encrypted",
                code="intake.plain",
            )
        return made

    def _split(self, url: str) -> SplitResult:
        """A URL that may be asked for; raises `Denied` for one that may not."""
        try:
            parts = urlsplit(url)
            origin = _origin(parts)
        except ValueError:
            raise Denied(f"{self._source}: a URL that cannot be read", code="intake.url") from None
        place = f"{origin[1]}:{origin[2]}"
        if parts.username is not None or parts.password is not None:
            raise Denied(
                f"{self._source}: a URL of {place} with a user or password in it",
                remedy="keep secrets in [projects.NAME.intake.credentials] of assay.toml",
                code="intake.url",
            )
        plain = parts.scheme == "http" and place in self._settings.plain
        if (parts.scheme != "https" and not plain) or not origin[1]:
            raise Denied(
                f"{self._source}: {parts.scheme[:20]}://{place} is not https",
                remedy=f'if that is meant: plain = ["{place}"] in [projects.NAME.intake] of '
                "assay.toml",
                code="intake.plain",
            )
        return parts

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = ssl.create_default_context()
        return self._context

    def _refused(self, parts: SplitResult, status: int) -> AssayError:
        host = parts.hostname or ""
        if status in (401, 403):
            return Denied(
                f"{self._source}: {host} refuses ({status})",
                remedy="accept its conditions there, and name a credential with the right to read: "
                f'[projects.NAME.intake.credentials] "{host}" = "env:NAME"',
                code="intake.refused",
            )
        if status in (404, 410):
            return NotFound(
                f"{self._source}: {host} has no such thing ({status})",
                remedy="check the name and the revision",
                code="intake",
            )
        return Unavailable(
            f"{self._source}: {host} answers {status}",
            remedy="try again later",
            code="intake.status",
        )

    def _broken(self, parts: SplitResult, why: str) -> Unavailable:
        return Unavailable(
            f"{self._source}: no whole answer from {(parts.hostname or '')[:100]} ({why})",
            remedy="try again, or mirror it first (--mirror FOLDER)",
            code="intake.network",
        )


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    """Scheme, host and port."""
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    return parts.scheme, (parts.hostname or "").lower(), port
