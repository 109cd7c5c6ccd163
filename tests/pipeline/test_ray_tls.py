"""The Ray executor over TLS, on a cluster whose nodes speak nothing else."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

pytest.importorskip("ray", reason="Ray is not installed")

from assay import canonical
from assay.pipeline.archive import pack_code
from assay.pipeline.confined import Call
from assay.pipeline.ray_executor import RayExecutor
from assay.plugins import Task

from .ray_cluster import HEAD, OTHER, Cluster

pytestmark = pytest.mark.slow


def certificates(folder: Path) -> dict[str, str]:
    """A certificate for both nodes and the driver, of an authority made for it."""
    authority, node = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    name, issuer = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in ("node", "authority")
    )
    begin = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    end = datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC)

    def signed(subject: x509.Name, key: ec.EllipticCurvePrivateKey, ca: bool) -> x509.Certificate:
        builder = x509.CertificateBuilder(
            issuer, subject, key.public_key(), x509.random_serial_number(), begin, end
        ).add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        if not ca:
            own = [x509.IPAddress(ipaddress.ip_address(a)) for a in ("127.0.0.1", HEAD, OTHER)]
            builder = builder.add_extension(x509.SubjectAlternativeName(own), critical=False)
        return builder.sign(authority, hashes.SHA256())

    pem = serialization.Encoding.PEM
    made = {
        "RAY_TLS_CA_CERT": signed(issuer, authority, True).public_bytes(pem),
        "RAY_TLS_SERVER_CERT": signed(name, node, False).public_bytes(pem),
        "RAY_TLS_SERVER_KEY": node.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    }
    for variable, content in made.items():
        (folder / variable).write_bytes(content)
    return {"RAY_USE_TLS": "1", **{variable: str(folder / variable) for variable in made}}


def test_a_cluster_that_speaks_tls_runs_tasks_and_is_said_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = pack_code(
        {"0/steps.py": b"from assay.pipeline import step\n@step\ndef one() -> int:\n    return 1\n"}
    )
    task = Task(
        name="one",
        payload=msgspec.msgpack.encode(Call("steps:one", {}, 0)),
        inputs=(),
        memory_bytes=4 << 30,
        cpu_seconds=60,
        wall_seconds=60,
        file_bytes=1 << 20,
        environment={},
        ports=(),
        processes=False,
        require=None,
        distributions="",
    )
    cluster = Cluster(certificates(tmp_path))
    try:
        cluster.start()
        for variable, value in cluster.environment().items():
            monkeypatch.setenv(variable, value)
        executor = RayExecutor()
        assert executor.transport == "tls"
        executor.open(code, canonical.digest(code))
        try:
            futures = [executor.submit(task, tmp_path / str(n)) for n in range(4)]
            came = [future.result(timeout=60) for future in futures]
        finally:
            executor.shutdown(cancel=True)
    finally:
        cluster.end()
    assert [Path(one.outputs[0]).read_bytes() for one in came] == [b"1"] * 4
