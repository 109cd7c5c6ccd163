"""Which cluster the Ray executor talks to, how, and with which token: decided before Ray is."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import AssayError, NotFound, Unavailable, Usage
from assay.pipeline.ray_address import (
    Cluster,
    check_there,
    configured,
    is_loopback,
    new_token,
)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    new_token(tmp_path / "token")
    for name in ("cert", "key", "ca"):
        (tmp_path / name).write_text("PEM")
    return {
        "HOME": str(tmp_path),
        "PATH": "/usr/bin",
        "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token"),
        "AWS_SECRET_ACCESS_KEY": "do-not-pass-on",
        "ASSAY_SIGNING_KEY": "do-not-pass-on",
    }


def with_tls(environment: dict[str, str]) -> dict[str, str]:
    home = environment["HOME"]
    return environment | {
        "RAY_USE_TLS": "1",
        "RAY_TLS_SERVER_CERT": f"{home}/cert",
        "RAY_TLS_SERVER_KEY": f"{home}/key",
        "RAY_TLS_CA_CERT": f"{home}/ca",
    }


def test_without_an_address_a_ray_of_this_machine_alone_is_meant(
    environment: dict[str, str],
) -> None:
    cluster = configured(environment)
    assert (cluster.address, cluster.token) == (None, None)
    assert cluster.transport == "plain (loopback)"
    assert cluster.environment["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"


def test_every_cluster_is_asked_for_its_token_and_for_no_usage_statistics(
    environment: dict[str, str],
) -> None:
    for cluster in (configured(environment), configured(environment, "127.0.0.1:6379")):
        assert cluster.environment["RAY_AUTH_MODE"] == "token"
        assert cluster.environment["RAY_USAGE_STATS_ENABLED"] == "0"


def test_nothing_of_the_environment_reaches_ray_unless_it_is_named(
    environment: dict[str, str],
) -> None:
    for cluster in (configured(environment), configured(with_tls(environment), "10.0.0.1:6379")):
        assert "do-not-pass-on" not in cluster.environment.values()


def test_a_name_of_this_machine_is_replaced_by_its_loopback_address(
    environment: dict[str, str],
) -> None:
    cluster = configured(environment | {"ASSAY_RAY_ADDRESS": "localhost:6379"})
    assert cluster.address is not None
    assert is_loopback(cluster.address.rpartition(":")[0])
    assert "localhost" not in cluster.address


def test_a_network_without_tls_is_refused_with_what_to_do(environment: dict[str, str]) -> None:
    with pytest.raises(Usage) as caught:
        configured(environment, "10.0.0.1:6379")
    assert caught.value.code == "usage.ray.transport"
    assert "RAY_USE_TLS=1" in caught.value.remedy


def test_a_host_that_cannot_be_looked_up_counts_as_a_network(environment: dict[str, str]) -> None:
    with pytest.raises(Usage, match="plaintext"):
        configured(environment, "no-such-host.invalid:6379")


def test_a_network_with_tls_is_accepted_and_the_certificates_passed_on(
    environment: dict[str, str],
) -> None:
    cluster = configured(with_tls(environment), "10.0.0.1:6379")
    assert (cluster.address, cluster.transport) == ("10.0.0.1:6379", "tls")
    assert cluster.environment["RAY_TLS_CA_CERT"].endswith("/ca")


@pytest.mark.parametrize(
    "missing", ["RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT"]
)
def test_tls_without_a_certificate_is_refused(environment: dict[str, str], missing: str) -> None:
    settings = with_tls(environment)
    del settings[missing]
    with pytest.raises(Usage, match=missing):
        configured(settings, "10.0.0.1:6379")


@pytest.mark.parametrize(
    "address",
    ["", "127.0.0.1", "ray://127.0.0.1:10001", ":6379", "127.0.0.1:80", "127.0.0.1:99999", "h:x"],
)
def test_what_is_no_address_is_refused(environment: dict[str, str], address: str) -> None:
    if not address:
        assert configured(environment, address).address is None
        return
    with pytest.raises(Usage, match="no address") as caught:
        configured(environment, address)
    assert caught.value.code == "usage.ray.address"


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_an_error_of_ours(text: str) -> None:
    try:
        cluster = configured({"HOME": "/nonexistent"}, text)
    except AssayError:
        return
    assert isinstance(cluster, Cluster)
    assert cluster.address is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_token_that_others_can_read_is_refused(
    environment: dict[str, str], tmp_path: Path, mode: int
) -> None:
    (tmp_path / "token").chmod(mode)
    with pytest.raises(Usage, match="other users can read") as caught:
        configured(environment, "127.0.0.1:6379")
    assert "chmod 600" in caught.value.remedy


def test_a_token_in_rays_own_place_is_found_and_held_to_the_same(
    environment: dict[str, str], tmp_path: Path
) -> None:
    del environment["RAY_AUTH_TOKEN_PATH"]
    with pytest.raises(NotFound, match="no token"):
        configured(environment, "127.0.0.1:6379")
    (tmp_path / ".ray").mkdir()
    token = tmp_path / ".ray" / "auth_token"
    token.write_text("0" * 64)
    token.chmod(0o644)  # As Ray writes it.
    with pytest.raises(Usage, match="other users can read"):
        configured(environment, "127.0.0.1:6379")
    token.chmod(0o600)
    assert configured(environment, "127.0.0.1:6379").token == token


def test_a_new_token_is_private_long_and_different_each_time(tmp_path: Path) -> None:
    new_token(tmp_path / "one")
    new_token(tmp_path / "two")
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o600
    assert len((tmp_path / "one").read_text()) == 64
    assert (tmp_path / "one").read_text() != (tmp_path / "two").read_text()


def test_an_address_where_nothing_listens_is_found_out_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # Bound and not listening: nobody else can have it.
        with pytest.raises(Unavailable, match="no Ray head"):
            check_there(f"127.0.0.1:{taken.getsockname()[1]}")
