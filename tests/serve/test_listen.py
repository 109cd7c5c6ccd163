"""A real server on a loopback port, asked over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from assay.errors import Denied, Unavailable, Usage
from assay.serve import connections
from assay.serve.app import Application, Endpoint
from assay.serve.host import Host
from assay.serve.listen import Listening, Tls, run

TOKEN = "assay_1_secret"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
INFER = "/v2/models/credit/infer"
EVERYWHERE = "0.0.0.0"  # noqa: S104


def permit(token: str) -> str:
    if token != TOKEN:
        raise Denied("the token is not known here", code="token")
    return "alice"


def client(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers=BEARER, timeout=30, trust_env=False)


@pytest.fixture(scope="module")
def url(serving: Any, matrix_host: Host) -> Iterator[str]:
    with serving(Application(matrix_host.endpoint("credit", "3", permit=permit))) as found:
        yield found


# Hostile bytes on the wire.


def speak(url: str, *said: bytes, half_close: bool = False) -> bytes:
    """Everything the server says to these bytes, until it ends the connection."""
    address = urlsplit(url)
    assert address.hostname is not None
    heard = b""
    channel = socket.create_connection((address.hostname, address.port or 0), timeout=30)
    with channel, contextlib.suppress(ConnectionError):
        for piece in said:
            channel.sendall(piece)
        if half_close:
            channel.shutdown(socket.SHUT_WR)
        while piece := channel.recv(1 << 16):
            heard += piece
    return heard


def post(length: bytes, *more: bytes) -> bytes:
    lines = [b"POST %s HTTP/1.1" % INFER.encode(), b"Host: localhost", b"Connection: close"]
    lines += [b"Authorization: Bearer " + TOKEN.encode(), *more]
    lines += [b"Content-Length: " + length] if length else []
    return b"\r\n".join(lines) + b"\r\n\r\n"


def test_a_whole_request_is_answered_over_a_bare_socket(url: str, good: bytes) -> None:
    assert speak(url, post(b"%d" % len(good)), good).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/one\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"GET /v2/health/live HTTP/1.1\r\n\r\n",
        b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
        b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\nX y: 1\r\n\r\n",
        b"GET /v2/\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70_000,
        b"GET /" + b"x" * 70_000,
        post(b"5", b"Content-Length: 6"),
        post(b"-5"),
        post(b"5x"),
        post(b"", b"Transfer-Encoding: gzip"),
        post(b"", b"Transfer-Encoding: chunked") + b"zz\r\n",
    ],
)
def test_what_is_not_http_is_refused_and_hung_up_on(url: str, said: bytes) -> None:
    heard = speak(url, said, half_close=True)
    assert b"Traceback" not in heard
    if heard:  # A client that still sends while the server hangs up may hear nothing.
        head, _, body = heard.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert json.loads(body)["code"] == "usage.http"


def test_a_body_shorter_than_declared_is_no_request(url: str, good: bytes) -> None:
    heard = speak(url, post(b"%d" % (len(good) + 10)), good, half_close=True)
    assert b" 200 " not in heard.partition(b"\r\n")[0]


def test_a_body_longer_than_declared_is_cut_where_it_was_said_to_end(url: str, good: bytes) -> None:
    assert speak(url, post(b"%d" % (len(good) - 5)), good).startswith(b"HTTP/1.1 400 ")


def test_a_chunked_body_is_read_and_bounded(url: str, good: bytes) -> None:
    head = post(b"", b"Transfer-Encoding: chunked")
    chunk = b"%x\r\n%s\r\n" % (len(good), good)
    assert speak(url, head, chunk, b"0\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    large = b"%x\r\n%s\r\n" % (1 << 20, b" " * (1 << 20))
    heard = speak(url, head, *[large] * 9, b"0\r\n\r\n")
    assert not heard or heard.startswith(b"HTTP/1.1 413 ")


def test_a_declared_length_that_is_too_large_is_refused_unread(url: str) -> None:
    heard = speak(url, post(b"%d" % (1 << 40)))
    assert heard.startswith(b"HTTP/1.1 413 ")
    assert b"\r\nconnection: close\r\n" in heard.lower()


def test_requests_in_a_row_on_one_connection_are_each_asked_for_a_token(
    url: str, good: bytes
) -> None:
    first = post(b"%d" % len(good)).replace(b"Connection: close\r\n", b"")
    second = b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    heard = speak(url, first + good + second)
    assert heard.startswith(b"HTTP/1.1 200 ")
    assert heard.count(b"HTTP/1.1 401 ") == 1


def test_an_upgrade_is_not_made(url: str) -> None:
    said = (
        b"GET /v2 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    assert speak(url, said, half_close=True).startswith((b"HTTP/1.1 401 ", b"HTTP/1.1 400 "))


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET /v2/health/live HT",
        b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n",
        # Refused for want of a token; the body that was announced never comes.
        b"POST /v2 HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n123",
    ],
)
def test_a_connection_that_asks_nothing_is_ended(
    url: str, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.1)
    heard = speak(url, said)
    assert heard.startswith(b"HTTP/1.1 " if b"\r\n\r\n" in said else b"")


def test_a_body_that_stops_is_given_up(
    serving: Any, matrix_endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 20)
    with serving(Application(matrix_endpoint, body_seconds=0.1)) as found:
        assert speak(found, post(b"100"), b"{").startswith(b"HTTP/1.1 408 ")


def test_a_client_that_does_not_read_is_hung_up_on(
    serving: Any, matrix_endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "WRITE_SECONDS", 0.1)
    ended = threading.Event()
    lost = connections.Connection.connection_lost

    def noticed(self: connections.Connection, exc: Exception | None) -> None:
        lost(self, exc)
        ended.set()

    monkeypatch.setattr(connections.Connection, "connection_lost", noticed)
    facts = {**matrix_endpoint.facts, "long": "x" * (32 << 20)}
    with serving(Application(replace(matrix_endpoint, facts=facts))) as found:
        address = urlsplit(found)
        with socket.socket() as channel:
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            channel.connect((address.hostname, address.port))
            head = f"GET /v2/models/credit HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}"
            channel.sendall(head.encode() + b"\r\n\r\n")
            assert ended.wait(20)


def test_connections_beyond_the_greatest_number_are_hung_up_on(
    serving: Any, matrix_endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 1)
    with serving(Application(matrix_endpoint)) as found, client(found) as http:
        assert http.get("/v2/health/live").status_code == 200  # And stays connected.
        assert speak(found, b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n") == b""
        assert http.get("/v2/health/live").status_code == 200


# Where it listens.


@pytest.mark.parametrize("host", [EVERYWHERE, "::", "192.0.2.1", "::ffff:127.0.0.1"])
def test_an_address_that_others_reach_is_refused_without_tls(
    matrix_endpoint: Endpoint, host: str
) -> None:
    with pytest.raises(Usage) as caught:
        run(Application(matrix_endpoint), host, 0)
    assert caught.value.code == "usage.serve.plaintext"
    assert "certificate" in caught.value.remedy


@pytest.mark.parametrize(
    ("host", "port"), [("", 0), ("no such host", 0), ("a" * 300, 0), ("127.0.0.1", 70_000)]
)
def test_what_is_no_address_is_refused(matrix_endpoint: Endpoint, host: str, port: int) -> None:
    with pytest.raises(Usage) as caught:
        run(Application(matrix_endpoint), host, port)
    assert caught.value.code == "usage.serve.address"


def test_a_port_that_is_taken_is_unavailable(matrix_endpoint: Endpoint) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(Unavailable) as caught:
        run(Application(matrix_endpoint), port=taken.getsockname()[1])
    assert caught.value.code == "unavailable.serve.listen"


def test_an_answer_is_not_held_back_for_the_next_one(
    serving: Any, matrix_endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    delays: list[int] = []
    made = connections.Connection.connection_made

    def noticed(self: connections.Connection, transport: asyncio.Transport) -> None:
        made(self, transport)
        channel = transport.get_extra_info("socket")
        delays.append(channel.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(connections.Connection, "connection_made", noticed)
    with serving(Application(matrix_endpoint)) as found, client(found) as http:
        assert http.get("/v2/health/live").status_code == 200
    assert delays
    assert all(delays)


def test_what_ready_raises_ends_the_server(matrix_endpoint: Endpoint) -> None:
    found: list[Listening] = []

    def ready(listening: Listening) -> None:
        found.append(listening)
        raise RuntimeError("not today")

    with pytest.raises(RuntimeError, match="not today"):
        run(Application(matrix_endpoint), port=0, ready=ready)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((found[0].host, found[0].port))


def certificate(folder: Path, password: bytes | None = None) -> Tls:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    protection = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    (folder / "cert.pem").write_bytes(signed.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, protection)
    )
    return Tls(folder / "cert.pem", folder / "key.pem")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_with_tls_every_address_may_be_listened_on(
    serving: Any, matrix_endpoint: Endpoint, good: bytes, tmp_path: Path
) -> None:
    tls = certificate(tmp_path)
    trusting = ssl.create_default_context(cafile=tls.certificate)
    with serving(Application(matrix_endpoint), host=EVERYWHERE, tls=tls) as found:
        assert found.startswith("https://")
        url = f"https://localhost:{urlsplit(found).port}"
        with httpx.Client(verify=trusting, trust_env=False, headers=BEARER) as http:
            assert http.post(url + INFER, content=good).status_code == 200
        old = ssl.create_default_context(cafile=tls.certificate)
        old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        with httpx.Client(verify=old, trust_env=False) as http, pytest.raises(httpx.HTTPError):
            http.get(url)


def test_a_certificate_that_cannot_be_used_is_refused(
    matrix_endpoint: Endpoint, tmp_path: Path
) -> None:
    tls = certificate(tmp_path, b"passphrase")
    for wrong in (tls, Tls(tls.certificate, tls.certificate), Tls(tmp_path / "none", tls.key)):
        with pytest.raises(Usage) as caught:
            run(Application(matrix_endpoint), port=0, tls=wrong)
        assert caught.value.code == "usage.serve.tls"


PROGRAM = """
import sys
from assay.serve.app import Application, Endpoint
from assay.serve.listen import run
from assay.serve.protocol import Input, Output

def fail(*_):
    raise ValueError("the token was " + repr(_))

endpoint = Endpoint("credit", "3", [Input("x", "FP32")], [Output("value", "FP32", [-1])],
                    lambda token: "alice", fail, {"digest": "sha256:" + "ab" * 32})

def ready(listening):
    with open(sys.argv[1], "w") as told:
        told.write(listening.url + "\\n")

run(Application(endpoint), port=0, ready=ready)
"""


def test_a_server_says_nothing_and_ends_when_told_to(tmp_path: Path) -> None:
    told = tmp_path / "told"
    os.mkfifo(told)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(told)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        found = told.read_text().strip()
        with client(found) as http:
            body = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]}
            assert http.post(INFER, json=body).status_code == 500
            assert http.get("/v2/models/credit?token=" + TOKEN).status_code == 200
        assert speak(found, b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400 ")
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=30)
    assert (output, errors) == (b"", b"")
    assert process.returncode == -signal.SIGTERM
