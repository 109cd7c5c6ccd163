"""Asking another machine that may be hostile: bounded, over TLS, following nothing."""

from __future__ import annotations

import contextlib
import datetime
import gzip
import socket
import ssl
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from assay.errors import Unavailable, Usage
from assay.supply.transparency.remote import Remote


@contextlib.contextmanager
def saying(
    *pieces: bytes, context: ssl.SSLContext | None = None, hold: threading.Event | None = None
) -> Generator[tuple[int, list[bytes]]]:
    """A server that says these bytes to whoever connects, whatever is asked; and what it heard."""
    listener = socket.create_server(("127.0.0.1", 0))
    heard: list[bytes] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                channel, _ = listener.accept()
                with contextlib.suppress(OSError), channel:
                    wrapped = context.wrap_socket(channel, server_side=True) if context else channel
                    with wrapped:
                        heard.append(wrapped.recv(1 << 16))
                        for piece in pieces:
                            wrapped.sendall(piece)
                        if hold is not None:
                            hold.wait(30)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], heard
    finally:
        if hold is not None:
            hold.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(30)


def answer(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def get(port: int, limit: int = 100, seconds: float = 20) -> bytes:
    return Remote(f"http://127.0.0.1:{port}/log", seconds=seconds).get("checkpoint", limit)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "/etc/passwd",
        "file:///etc/passwd",
        "ftp://example.com",
        "gopher://example.com",
        "data:text/plain,x",
        "javascript:x",
        "HTTP+UNIX://x",
        "http://example.com",
        "http://10.0.0.1",
        "http://127.0.0.1.example.com",
        "http://0.0.0.0",
        "http://[::]",
        "http://2130706433",
        "https://",
        "https:///x",
        "https://user:secret@example.com",
        "https://@example.com",
        "https://example.com?x",
        "https://example.com#x",
        "https://example.com/?",
        "https://exa mple.com",
        "https://example.com/a b",
        "https://example.com/a\r\nHost: x",
        "https://example.com:99999",
        "https://example.com:x",
        "https://[::1",
        "https://exämple.com",
    ],
)
def test_what_is_no_address_to_ask_is_refused(url: str) -> None:
    with pytest.raises(Usage):
        Remote(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com:8443/a/b/",
        "https://[2001:db8::1]/x",
        "http://127.0.0.1:8765",
        "http://localhost/log",
        "http://[::1]:80",
    ],
)
def test_an_address_to_ask_is_taken(url: str) -> None:
    assert Remote(url).url == url.rstrip("/")


def test_the_body_of_a_good_answer_comes_whole() -> None:
    with saying(answer(b"x" * 100)) as (port, heard):
        assert get(port) == b"x" * 100
    assert heard[0].startswith(b"GET /log/checkpoint HTTP/1.1\r\n")
    assert b"Cookie" not in heard[0]
    assert b"Authorization" not in heard[0]


@pytest.mark.parametrize("status", [b"301 X", b"302 X", b"303 X", b"307 X", b"308 X", b"300 X"])
def test_a_redirect_is_not_followed(status: bytes) -> None:
    with saying(answer(b"secret")) as (there, heard):
        target = b"Location: http://127.0.0.1:%d/" % there
        redirect = saying(answer(b"", target, status=status))
        with redirect as (port, _), pytest.raises(Unavailable, match="redirects"):
            get(port)
    assert heard == []


@pytest.mark.parametrize(
    "status", [b"404 Not Found", b"500 X", b"204 X", b"206 X", b"999 X", b"200"]
)
def test_only_200_is_an_answer(status: bytes) -> None:
    with saying(answer(b"x", status=status)) as (port, _):
        if status == b"200":
            assert get(port) == b"x"
        else:
            with pytest.raises(Unavailable):
                get(port)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 x\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 300 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
    ],
)
def test_what_is_no_whole_answer_is_none(said: bytes) -> None:
    with saying(said) as (port, _), pytest.raises(Unavailable):
        get(port)


@pytest.mark.parametrize(
    "said",
    [
        answer(b"x" * 101),
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 200_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n" + b"x" * 500_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"40\r\n%s\r\n" % (b"x" * 64) * 9,
        answer(gzip.compress(bytes(50_000_000)), b"Content-Encoding: gzip"),
    ],
)
def test_an_answer_larger_than_its_limit_is_not_taken(said: bytes) -> None:
    with saying(said) as (port, _), pytest.raises(Unavailable, match="larger than 100"):
        get(port)


def test_a_compressed_answer_is_inflated_and_must_be_whole() -> None:
    small = gzip.compress(b"x" * 100)
    with saying(answer(small, b"Content-Encoding: gzip")) as (port, _):
        assert get(port) == b"x" * 100
    for broken in (small[:-3], b"nonsense", b""):
        said = saying(answer(broken, b"Content-Encoding: gzip"))
        with said as (port, _), pytest.raises(Unavailable):
            get(port)
    with saying(answer(small, b"Content-Encoding: br")) as (port, _), pytest.raises(Unavailable):
        get(port)


@pytest.mark.parametrize(
    "said",
    [
        (),
        (b"HTTP/1.1 ",),
        (b"HTTP/1.1 100 Continue\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nX: ",),
        (b"HTTP/1.1 200 OK\r\n\r\nx",),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nx",),
    ],
)
def test_one_that_holds_the_line_is_cut_off(said: tuple[bytes, ...]) -> None:
    hold = threading.Event()
    with saying(*said, hold=hold) as (port, _), pytest.raises(Unavailable):
        get(port, seconds=0.2)


def test_one_that_says_a_byte_now_and_then_is_cut_off() -> None:
    hold = threading.Event()

    def drip(channel: socket.socket) -> None:
        with contextlib.suppress(OSError):
            channel.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while not hold.wait(0.02):
                channel.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: drip(listener.accept()[0]), daemon=True)
        thread.start()
        with pytest.raises(Unavailable):
            get(listener.getsockname()[1], limit=10_000, seconds=0.3)
        hold.set()
        thread.join(30)


def test_nobody_there_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Unavailable):
        get(port)


def test_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        saying(answer(b"from the proxy")) as (proxy, heard),
        saying(answer(b"direct")) as (port, _),
    ):
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
        assert get(port) == b"direct"
    assert heard == []


def _certificate(folder: Path, name: str) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(named)
        .issuer_name(named)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / f"{name}.crt", folder / f"{name}.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, private


@pytest.mark.parametrize("name", ["localhost", "example.com"])
def test_the_certificate_is_verified(tmp_path: Path, name: str) -> None:
    certificate, private = _certificate(tmp_path, name)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, private)
    trusting = ssl.create_default_context(cafile=str(certificate))

    def ask(port: int, context: Any) -> bytes:
        return Remote(f"https://localhost:{port}", context=context).get("checkpoint", 100)

    with saying(answer(b"x"), context=server) as (port, heard):
        with pytest.raises(Unavailable, match="certificate"):
            ask(port, None)
        assert heard == []
        if name == "localhost":
            assert ask(port, trusting) == b"x"
        else:
            with pytest.raises(Unavailable, match="certificate"):
                ask(port, trusting)
