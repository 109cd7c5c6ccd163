"""A real OCI registry (CNCF Distribution, in Debian `docker-registry`), where one is installed.

Elsewhere these tests skip and say so; the stand-in in `servers` answers in `test_sources`.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Generator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from supply.intake.conftest import Take
from supply.intake.servers import Registry, Server, sha256

from assay.errors import Denied, NotFound, Verification

_CONFIG = """
version: 0.1
log: {{level: error}}
storage:
  filesystem: {{rootdirectory: {folder}}}
http: {{addr: "127.0.0.1:{port}"}}
"""
_AUTH = """auth:
  htpasswd: {{realm: test, path: {file}}}
"""
PASSWORD = "hunter2"
HASHED = "$2b$04$kClQkggubULeU9YPd0.8AO3BeTZcqmumCPubIkgtEsEo7viJmO2Nm"
"""Of the password, as `htpasswd -B` makes it."""


def _put(
    url: str, content: bytes, kind: str = "application/octet-stream", method: str = "PUT"
) -> str:
    request = Request(url, content, {"Content-Type": kind}, method=method)  # noqa: S310
    with urlopen(request, timeout=10) as answer:  # noqa: S310
        return answer.headers.get("Location", "")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """A registry of our own on this machine."""
    yield from _registry(tmp_path_factory.mktemp("registry"), "")


def _registry(folder: Path, more: str) -> Generator[Server]:
    found = shutil.which("docker-registry") or shutil.which("registry")
    if found is None:
        pytest.skip("no OCI registry is installed (Debian: docker-registry)")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    config = folder / "config.yml"
    config.write_text(_CONFIG.format(folder=folder / "data", port=port) + more)
    server = subprocess.Popen(
        [found, "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            try:
                with socket.create_connection(("127.0.0.1", port), 1):
                    break
            except OSError:
                time.sleep(0.05)  # Its start is the one thing there is to wait for.
        else:
            pytest.skip("the OCI registry does not start here")
        yield Server(port, [])
    finally:
        server.kill()
        server.wait()


def _push(server: Server, made: Registry, tag: str) -> None:
    """As the distribution specification has it: blobs, then the manifest that names them."""
    base = f"{server.url}/v2/{made.repo}"
    for content in (b"{}", *made.layers.values()):
        there = _put(f"{base}/blobs/uploads/", b"", method="POST")
        separator = "&" if "?" in there else "?"
        _put(f"{there}{separator}digest=sha256:{sha256(content)}", content)
    kind = json.loads(made.manifest)["mediaType"]
    _put(f"{base}/manifests/{tag}", made.manifest, kind)


def test_an_artifact_is_taken_from_a_real_registry(take: Take, registry: Server) -> None:
    made = Registry({"model.onnx": b"weights" * 5000, "README.md": b"card"})
    _push(registry, made, "v1")
    for reference in (":v1", f"@{made.digest}"):
        fetched, held = take(f"oci://{registry.place}/{made.repo}{reference}", registry.settings())
        assert fetched.revision == made.digest
        assert [t.path for t in held.taken] == ["README.md", "model.onnx"]
    with pytest.raises(NotFound):
        take(f"oci://{registry.place}/{made.repo}:v2", registry.settings())


def test_bytes_that_changed_in_the_registrys_store_are_noticed(
    take: Take, registry: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = b"good weights"
    made = Registry({"model.onnx": content}, repo="models/changed")
    _push(registry, made, "v1")
    digest = sha256(content)
    stored = [
        path
        for path in tmp_path_factory.getbasetemp().glob(f"registry*/data/**/{digest}/data")
        if path.is_file()
    ]
    assert stored
    stored[0].write_bytes(b"evil weights")
    with pytest.raises(Verification):
        take(f"oci://{registry.place}/{made.repo}@{made.digest}", registry.settings())


def test_a_real_registry_with_passwords_gets_the_one_that_was_named_for_it(
    take: Take, tmp_path: Path
) -> None:
    file = tmp_path / "htpasswd"
    file.write_text(f"ann:{HASHED}\n")
    for server in _registry(tmp_path, _AUTH.format(file=file)):
        with pytest.raises(Denied):
            take(f"oci://{server.place}/a/b", server.settings())
        named = server.settings(secrets={server.place: f"ann:{PASSWORD}"})
        with pytest.raises(NotFound):
            take(f"oci://{server.place}/a/b", named)
