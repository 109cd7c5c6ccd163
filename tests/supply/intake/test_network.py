"""The way out: which addresses are reached, what is followed, and what is told to whom."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Generator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from supply.intake.servers import SMALL, Reply, Server, serving

from assay.errors import AssayError, Denied, NotFound, Unavailable, Usage
from assay.supply.intake.addresses import checked, is_public
from assay.supply.intake.network import Client
from assay.supply.intake.settings import Settings


def client(settings: Settings, *, seconds: float = 20.0, **given: object) -> Client:
    return Client(settings, "test:source", lambda: seconds, **given)  # pyright: ignore[reportArgumentType]


def read(settings: Settings, url: str, **given: str) -> bytes:
    made = client(settings)
    with made.get(url, **given) as answer:  # pyright: ignore[reportArgumentType]
        return b"".join(answer.pieces)


@contextlib.contextmanager
def answering(*replies: Reply) -> Generator[Server]:
    """A server that gives these answers by path ``/0``, ``/1``…"""
    with serving(lambda asked: replies[int(asked.path[1:])]) as server:
        yield server


# -- addresses ------------------------------------------------------------------------------------

PRIVATE = [
    *("127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
    *(
        "0.0.0.0",  # noqa: S104
        "100.64.0.1",
        "192.0.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
    ),
    *("::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "64:ff9b::7f00:1"),
    *("64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a00:1::", "2001:0:7f00:1::", "not an address"),
]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_on_the_public_internet_is_refused(address: str) -> None:
    assert not is_public(address)
    with pytest.raises(Denied) as caught:
        checked("model.example", 443, Settings(), "hf:a/b", resolver=lambda *_: [address])
    assert caught.value.code == "denied.intake.address"
    assert "hf:a/b" in caught.value.message
    assert 'hosts = ["model.example:443"]' in caught.value.remedy


@pytest.mark.parametrize("address", ["93.184.215.14", "8.8.8.8", "2606:4700::1111"])
def test_a_public_address_is_allowed(address: str) -> None:
    assert checked("m.example", 443, Settings(), "s", resolver=lambda *_: [address]) == [address]


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_however_ipv6_wraps_it(address: object) -> None:
    assert is_public(f"::ffff:{address}") == is_public(str(address))


def test_one_private_address_among_public_ones_is_enough_to_refuse() -> None:
    with pytest.raises(Denied):
        checked("m.example", 443, Settings(), "s", resolver=lambda *_: ["8.8.8.8", "10.0.0.1"])


def test_a_host_that_people_allowed_may_be_private_on_that_port_only() -> None:
    allowed = Settings(hosts=frozenset({"hub.internal:8443"}))
    assert checked("hub.internal", 8443, allowed, "s", resolver=lambda *_: ["10.0.0.1"])
    with pytest.raises(Denied):
        checked("hub.internal", 22, allowed, "s", resolver=lambda *_: ["10.0.0.1"])


def test_a_host_without_an_address_is_unavailable() -> None:
    def nowhere(*_: object) -> list[str]:
        raise socket.gaierror(-2, "no")

    for resolver in (nowhere, lambda *_: list[str]()):
        with pytest.raises(Unavailable):
            checked("m.example", 443, Settings(), "s", resolver=resolver)


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f.1", "localhost", "[::1]"])
def test_however_this_machine_is_spelt_it_is_not_reached(host: str) -> None:
    with pytest.raises((Denied, Unavailable)):
        read(Settings(plain=frozenset({f"{host.strip('[]')}:80"})), f"http://{host}/")


def test_what_is_connected_to_is_the_address_that_was_checked() -> None:
    """The name means this machine when it is checked, and another thing ever after."""
    asked: list[str] = []

    def rebinding(_: str, __: int) -> list[str]:
        asked.append("")
        return ["127.0.0.1"] if len(asked) == 1 else ["203.0.113.1"]

    with answering(Reply(b"content")) as server:
        place = f"rebinding.example:{server.port}"
        settings = Settings(hosts=frozenset({place}), plain=frozenset({place}))
        with client(settings, resolver=rebinding).get(f"http://{place}/0") as answer:
            assert b"".join(answer.pieces) == b"content"
    assert len(asked) == 1


# -- https, redirects, secrets --------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    ["http://m.example/x", "ftp://m.example/x", "file:///etc/passwd", "https:///x", "gopher://m/x"],
)
def test_only_https_is_spoken(url: str) -> None:
    with pytest.raises(Denied) as caught:
        read(Settings(), url)
    assert caught.value.code == "denied.intake.plain"


def test_a_url_with_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(Denied) as caught:
        read(Settings(), "https://user:hunter2@m.example/x")
    assert "hunter2" not in f"{caught.value.as_dict()}"


def test_a_redirect_is_followed_and_each_hop_is_checked() -> None:
    with answering(Reply(b"there")) as there:
        away = Reply(b"", 302, {"Location": f"{there.url}/0"})
        with answering(away) as here:
            assert read(here.settings(there), f"{here.url}/0") == b"there"
            # Allowed here does not mean allowed there.
            with pytest.raises(Denied):
                read(here.settings(), f"{here.url}/0")


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::ffff:127.0.0.1]/",
        "file:///etc/passwd",
        "//10.0.0.1/",
        "",
        "https://user:pw@m.example/",
    ],
)
def test_a_redirect_to_where_nobody_may_go_is_refused(location: str) -> None:
    with answering(Reply(b"", 302, {"Location": location})) as server:
        with pytest.raises((Denied, Unavailable)) as caught:
            read(server.settings(), f"{server.url}/0")
        assert "pw" not in caught.value.message


def test_redirects_in_a_circle_end() -> None:
    with answering(Reply(b"", 301, {"Location": "/0"})) as server:
        with pytest.raises(Denied) as caught:
            read(server.settings(limits=SMALL), f"{server.url}/0")
        assert caught.value.code == "denied.intake.redirects"
        assert len(server.asked) == SMALL.redirects + 1


def test_a_secret_is_told_to_its_own_host_and_not_to_where_that_redirects() -> None:
    with answering(Reply(b"there")) as there:
        with answering(Reply(b"", 307, {"Location": f"{there.url}/0"})) as here:
            settings = here.settings(there, secrets={there.place: "other"})
            assert read(settings, f"{here.url}/0", authorization="Bearer s3cret") == b"there"
            assert here.asked[0].headers["authorization"] == "Bearer s3cret"
        assert "authorization" not in there.asked[0].headers


def test_a_secret_is_still_told_behind_a_redirect_of_the_same_host() -> None:
    with answering(Reply(b"", 302, {"Location": "/1"}), Reply(b"ok")) as server:
        read(server.settings(), f"{server.url}/0", authorization="Bearer s3cret")
        assert [a.headers.get("authorization") for a in server.asked] == ["Bearer s3cret"] * 2


def test_settings_do_not_show_their_secrets() -> None:
    assert "hunter2" not in repr(Settings(secrets={"m.example": "hunter2"}))


def test_nothing_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with answering(Reply(b"direct")) as server:
        assert read(server.settings(), f"{server.url}/0") == b"direct"


# -- answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, Denied), (403, Denied), (404, NotFound), (410, NotFound), (500, Unavailable)],
)
def test_a_refusal_is_told_apart(status: int, kind: type[AssayError]) -> None:
    with answering(Reply(b"secret details", status)) as server:
        with pytest.raises(kind) as caught:
            read(server.settings(), f"{server.url}/0")
        assert "test:source" in caught.value.message
        assert caught.value.remedy
        assert "secret details" not in f"{caught.value.as_dict()}"


def test_an_answer_that_is_cut_off_is_noticed() -> None:
    with answering(Reply(b"half", length=8)) as server, pytest.raises(Unavailable):
        read(server.settings(), f"{server.url}/0")


def test_an_answer_that_is_compressed_against_what_was_asked_is_refused() -> None:
    packed = Reply(b"x", headers={"Content-Encoding": "gzip"})
    with answering(packed) as server, pytest.raises(Unavailable):
        read(server.settings(), f"{server.url}/0")


def test_a_document_is_bounded() -> None:
    limits = replace(SMALL, document_bytes=1000)
    with answering(Reply(b"x" * 1001, length=-1)) as server, pytest.raises(Usage):
        client(server.settings(limits=limits)).document(f"{server.url}/0")


@pytest.mark.parametrize(
    "raw", [b"not http\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\nA: " + b"a" * 70_000]
)
def test_what_is_no_http_is_unavailable(raw: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def answer() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listening.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(raw)

        thread = threading.Thread(target=answer)
        thread.start()
        server = Server(port, [])
        with pytest.raises(Unavailable):
            read(server.settings(), f"{server.url}/")
        thread.join()


def test_a_server_that_drips_its_headers_is_cut_off_at_the_deadline() -> None:
    """Every single wait is short; all of them together are not."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def drip() -> None:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                while not done.wait(0.05):
                    connection.sendall(b"x")

        thread = threading.Thread(target=drip)
        thread.start()
        server = Server(port, [])
        try:
            with (
                pytest.raises(Unavailable),
                client(server.settings(), seconds=0.3).get(f"{server.url}/"),
            ):
                pass
        finally:
            done.set()
            thread.join()


def test_an_answer_is_asked_for_as_it_is() -> None:
    with answering(Reply(b"x")) as server:
        read(server.settings(), f"{server.url}/0", accept="a/b")
        asked = server.asked[0]
        assert asked.headers["accept"] == "a/b"
        assert asked.headers["accept-encoding"] == "identity"
