"""Small servers on this machine for the tests of intake.

`Hub` and `Registry` are STAND-INS: they answer the documented requests of a Hugging Face hub and of
an OCI registry, as far as intake asks them, and nothing proves that the real ones answer alike.
(`tests/supply/intake/test_registry.py` also runs against a real registry where one is installed.)
"""

from __future__ import annotations

import hashlib
import json
import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from assay.supply.intake.settings import Limits, Settings


@dataclass
class Reply:
    """What a server answers.  `length` None: the real length; -1: none is announced."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None


@dataclass
class Asked:
    """One request that a server got."""

    path: str
    headers: dict[str, str]


Answering = Callable[[Asked], Reply]


@dataclass
class Server:
    """A running server."""

    port: int
    asked: list[Asked]
    host: str = "127.0.0.1"

    @property
    def place(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.place}"

    def settings(self, *others: Server, **given: Any) -> Settings:
        """What lets this server, and others, be reached: without TLS, on a loopback address."""
        places = frozenset(server.place for server in (self, *others))
        return Settings(hosts=places, plain=places, **given)


@contextmanager
def serving(
    answer: Answering, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> Generator[Server]:
    """A server that answers by `answer`, perhaps over TLS."""
    asked: list[Asked] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            got = Asked(self.path, {k.lower(): v for k, v in self.headers.items()})
            asked.append(got)
            reply = answer(got)
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if reply.length != -1:
                announced = len(reply.body) if reply.length is None else reply.length
                self.send_header("Content-Length", str(announced))
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002
            """Silent."""

    httpd = ThreadingHTTPServer((host, 0), Handler)
    httpd.daemon_threads = True
    if tls is not None:
        httpd.socket = tls.wrap_socket(httpd.socket, server_side=True)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Server(httpd.server_address[1], asked, host)
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


def certified(folder: Path, name: str = "localhost") -> tuple[ssl.SSLContext, Path]:
    """A server's TLS with a certificate of its own for `name`, and the file to trust it by."""
    from datetime import datetime, timedelta, timezone

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    named = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder(named, named, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "server.crt", folder / "server.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, private)
    return context, certificate


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # noqa: S324


SMALL = Limits(total_bytes=1 << 20, file_bytes=1 << 20, files=20, seconds=20)


# -- stand-ins ------------------------------------------------------------------------------------

COMMIT = "5f1d2c0e" * 5


@dataclass
class Hub:
    """STAND-IN for a hub that speaks the API of Hugging Face: one repository at one commit.

    Files of `large` are LFS objects: described by their SHA-256, and given by a redirect to
    `elsewhere`.
    """

    files: dict[str, bytes]
    large: frozenset[str] = frozenset()
    elsewhere: str = ""
    repo: str = "acme/credit"
    commit: str = COMMIT
    licence: str = ""
    token: str = ""
    wrong: dict[str, bytes] = field(default_factory=dict)
    """What is served instead of what is described."""

    def __call__(self, asked: Asked) -> Reply:
        path = unquote(urlsplit(asked.path).path)
        if self.token and asked.headers.get("authorization") != f"Bearer {self.token}":
            return Reply(b"gated", 401)
        if path in (
            f"/api/models/{self.repo}/revision/main",
            f"/api/models/{self.repo}/revision/{self.commit}",
        ):
            assert urlsplit(asked.path).query == "blobs=true"
            return Reply(json.dumps(self._info()).encode(), headers={"X-Kind": "json"})
        prefix = f"/{self.repo}/resolve/{self.commit}/"
        name = path.removeprefix(prefix)
        if not path.startswith(prefix) or name not in self.files:
            return Reply(b"", 404)
        if name in self.large:
            there = f"{self.elsewhere}/objects/{name}?X-Signature=secret"
            return Reply(b"", 302, {"Location": there})
        return Reply(self.wrong.get(name, self.files[name]))

    def objects(self, asked: Asked) -> Reply:
        """The other host, which has the large files."""
        name = unquote(urlsplit(asked.path).path).removeprefix("/objects/")
        return Reply(self.wrong.get(name, self.files[name]))

    def _info(self) -> dict[str, Any]:
        siblings = [
            {
                "rfilename": name,
                "size": len(content),
                "blobId": git_blob(content),
                **(
                    {"lfs": {"sha256": sha256(content), "size": len(content), "pointerSize": 134}}
                    if name in self.large
                    else {}
                ),
            }
            for name, content in self.files.items()
        ]
        card = {"license": self.licence} if self.licence else None
        return {"id": self.repo, "sha": self.commit, "siblings": siblings, "cardData": card}


@dataclass
class Registry:
    """STAND-IN for an OCI registry with one artifact; with `user` it wants a token first."""

    layers: dict[str, bytes]
    repo: str = "models/credit"
    user: str = ""
    realm: str = ""
    annotations: dict[str, str] = field(default_factory=dict)
    wrong: dict[str, bytes] = field(default_factory=dict)

    @property
    def manifest(self) -> bytes:
        return json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "artifactType": "application/vnd.test.model",
                "config": {
                    "mediaType": "application/vnd.oci.empty.v1+json",
                    "digest": f"sha256:{sha256(b'{}')}",
                    "size": 2,
                },
                "layers": [
                    {
                        "mediaType": "application/octet-stream",
                        "digest": f"sha256:{sha256(content)}",
                        "size": len(content),
                        "annotations": {"org.opencontainers.image.title": name},
                    }
                    for name, content in self.layers.items()
                ],
                "annotations": self.annotations,
            }
        ).encode()

    @property
    def digest(self) -> str:
        return f"sha256:{sha256(self.manifest)}"

    def __call__(self, asked: Asked) -> Reply:
        path = urlsplit(asked.path).path
        if path == "/token":
            return Reply(json.dumps({"token": "granted"}).encode())
        if self.user and asked.headers.get("authorization") != "Bearer granted":
            scope = f"repository:{self.repo}:pull"
            challenge = f'Bearer realm="{self.realm}",service="test",scope="{scope}"'
            return Reply(b"{}", 401, {"WWW-Authenticate": challenge})
        for reference in ("latest", self.digest):
            if path == f"/v2/{self.repo}/manifests/{reference}":
                assert "application/vnd.oci.image.manifest.v1+json" in asked.headers["accept"]
                return Reply(self.wrong.get("manifest", self.manifest))
        for name, content in self.layers.items():
            if path == f"/v2/{self.repo}/blobs/sha256:{sha256(content)}":
                return Reply(self.wrong.get(name, content))
        return Reply(b"{}", 404)
