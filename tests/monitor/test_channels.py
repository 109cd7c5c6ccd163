"""Channels: bounded, separate from each other, and told nothing that is not theirs."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Generator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import Usage
from assay.monitor import alerts
from assay.monitor.alert_words import explained
from assay.monitor.alerts import Alert
from assay.monitor.channels import Channel, Message, Result, http, message, send, services
from assay.monitor.channels.channel import check, span

from .receiver import Receiver, receiving

NOW = datetime(2026, 1, 2, tzinfo=timezone.utc)
SECRET = "s3cr3t-t0ken"


def alert(**other: Any) -> Alert:
    signal = {
        "kind": "data_drift",
        "number": 4,
        "version": "3",
        "measure": "log_e",
        "value": 6.2,
        "limit": 5.9,
        "promise": "at most 1 false alarm a year",
        "causes": [{"feature": "age", "psi": 0.31, "from_share": 0.1, "to_share": 0.3}],
        **other,
    }
    (made,) = alerts.plan(
        [],
        [alerts.read(signal)],
        project="alpha",
        endpoint="score",
        window=4,
        judged=(),
        now="2026-01-01T00:00:00.000Z",
    ).changes
    return explained(made, "alpha", [])


def told(made: Alert | None = None, **other: Any) -> Message:
    return Message("alpha", made or alert(), **other)


@pytest.fixture
def receiver() -> Generator[Receiver]:
    with receiving() as made:
        yield made


def channel(url: str, kind: str = "webhook", **other: Any) -> Channel:
    fields: dict[str, Any] = {"name": kind, "kind": kind, "url": url, "seconds": 5.0}
    return Channel(**(fields | other))


def sent(*channels: Channel, messages: list[Message] | None = None) -> list[Result]:
    waits: list[float] = []
    found = send([(c, messages or [told()]) for c in channels], now=NOW, wait=waits.append)
    assert all(pause <= 5 for pause in waits)
    return found


# -- what may be a channel ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"kind": "pigeon"}, "kind"),
        ({"least": "loud"}, "least"),
        ({"seconds": 0}, "timeout"),
        ({"seconds": 61}, "timeout"),
        ({"url": "ftp://x"}, "address"),
        ({"url": "https://"}, "address"),
        ({"url": "https://x:99999/"}, "address"),
        ({"url": "https://x/\nHost: y"}, "address"),
        ({"url": "https://x/#y"}, "address"),
        ({"url": "https://[::1/"}, "address"),
        ({"url": f"https://me:{SECRET}@x/"}, "secret"),
        ({"url": f"https://x/?token={SECRET}"}, "secret"),
        ({"credential": SECRET}, "secret"),
        ({"url": "http://alertmanager:9093"}, "TLS"),
        ({"kind": "apprise", "url": f"slack://{SECRET}/b/c"}, "secret"),
        ({"kind": "apprise", "url": f"json://me:{SECRET}@localhost"}, "secret"),
        ({"kind": "apprise", "url": SECRET}, "address"),
    ],
)
def test_a_channel_that_cannot_be_told_or_shows_a_secret_is_refused_without_repeating_it(
    given: dict[str, Any], named: str
) -> None:
    with pytest.raises(Usage) as caught:
        check(replace(channel("https://receiver.example/hook"), **given))
    assert named in caught.value.message
    assert SECRET not in caught.value.message + caught.value.remedy
    assert "assay.toml" in caught.value.remedy


def test_a_user_in_an_address_is_refused_even_by_reference() -> None:
    made = channel(f"https://me:{SECRET}@receiver.example/")
    with pytest.raises(Usage, match="user or a password"):
        check(made, referenced=("url",))


def test_a_credential_is_not_sent_without_tls_beyond_this_machine() -> None:
    made = channel("http://alertmanager:9093", plain=True, credential=SECRET)
    with pytest.raises(Usage, match="without TLS"):
        check(made, referenced=("credential",))
    check(replace(made, credential=""))
    check(replace(made, url="http://127.0.0.1:9093"), referenced=("credential",))


@pytest.mark.parametrize("credential", ["a\nX: y", "a\r", "\u00e9", "a\x00"])
def test_a_credential_that_no_header_holds_is_refused(credential: str) -> None:
    made = channel("https://x/", credential=credential)
    with pytest.raises(Usage, match="no header"):
        check(made, referenced=("credential",))


def test_neither_address_nor_credential_is_shown() -> None:
    made = channel(f"https://hooks.example:8443/{SECRET}", credential=SECRET)
    assert SECRET not in repr(made)
    assert made.shown == "https://hooks.example:8443"
    assert channel(f"slack://{SECRET}/x", "apprise").shown == "slack://…"
    assert channel("s3cr3t", "apprise").shown == "…"


@pytest.mark.parametrize("text", ["4", "0h", "-1h", "h", "1w", "4 h", "99999h"])
def test_a_span_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Usage):
        span("x", text)
    assert span("x", "30m") == timedelta(minutes=30)
    assert span("x", "") is None


# -- what is told ---------------------------------------------------------------------------------


def test_alertmanagers_labels_stay_the_same_while_the_severity_does() -> None:
    first = message.alertmanager([told()], NOW)[0]
    later = msgspec.structs.replace(alert(), value=99.0, causes=[], seen=9, step=2)
    assert message.alertmanager([told(later)], NOW)[0]["labels"] == first["labels"]


def test_an_alert_that_has_grown_ends_the_lesser_one_at_alertmanager() -> None:
    grown = msgspec.structs.replace(alert(), severity="critical", step=2, event="escalated")
    posted = message.alertmanager([told(grown)], NOW)
    by = {p["labels"]["severity"]: p["endsAt"] for p in posted}
    assert by["critical"] > message.timestamp(NOW)
    assert by["warning"] == by["info"] == grown.changed


def test_a_monitor_that_stopped_does_not_look_like_an_alert_that_is_over() -> None:
    (posted,) = message.alertmanager([told()], NOW)
    assert posted["endsAt"] >= message.timestamp(NOW + timedelta(days=30))
    over = alerts.closed(alert(), through=9, why="x", now="2026-01-02T00:00:00.000Z")
    (posted,) = message.alertmanager([told(over)], NOW)
    assert posted["endsAt"] == "2026-01-02T00:00:00.000Z"


def test_the_webhook_payload_has_every_field_of_version_4() -> None:
    over = alerts.closed(alert(key="sex"), through=9, why="x", now="2026-01-02T00:00:00.000Z")
    payload = message.webhook([told(), told(over)], "pager")
    assert payload["version"] == "4"
    assert payload["status"] == "firing"
    assert payload["groupKey"] == '{}:{endpoint="score", project="alpha"}'
    assert set(payload) == {
        *("version", "groupKey", "truncatedAlerts", "status", "receiver", "groupLabels"),
        *("commonLabels", "commonAnnotations", "externalURL", "alerts"),
    }
    firing, resolved = payload["alerts"]
    assert (firing["status"], firing["endsAt"]) == ("firing", "0001-01-01T00:00:00Z")
    assert (resolved["status"], resolved["endsAt"]) == ("resolved", "2026-01-02T00:00:00.000Z")
    assert firing["fingerprint"] != resolved["fingerprint"]
    assert "fingerprint" not in payload["commonLabels"]
    assert payload["commonLabels"]["endpoint"] == "score"


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
@settings(max_examples=60)
def test_no_name_of_a_column_becomes_a_line_of_its_own_or_hides_what_follows(
    feature: str, piece: str, words: str
) -> None:
    made = alert(causes=[{"feature": feature, "slice": piece, "words": f"<{words}>"}], key=piece)
    everything = [
        *message.labels(told(made)).values(),
        *message.notes(told(made)).values(),
        message.headline(told(made)),
    ]
    assert all(text.isprintable() for text in everything)
    lines = message.text(told(made)).split("\n")
    assert all(line.isprintable() for line in lines)
    assert sum(line.startswith("- ") for line in lines) == 1
    json.dumps(message.webhook([told(made)], "x")).encode()


def test_what_a_detector_wrote_in_its_own_words_leaves_in_no_form(receiver: Receiver) -> None:
    made = alert(causes=[{"feature": "mail", "words": "new: eve@example.org"}])
    kinds = ["webhook", "alertmanager"]
    sent(*(channel(receiver.url, kind) for kind in kinds), messages=[told(made)])
    assert len(receiver.got) == 2
    assert "eve@" not in json.dumps(receiver.bodies) + message.text(told(made))


def test_a_test_says_that_nothing_is_wrong_in_every_form() -> None:
    made = told(test=True)
    assert message.labels(made)["test"] == "true"
    assert message.labels(made)["alertname"] == "AssayTest"
    assert message.headline(made).startswith("TEST")
    (posted,) = message.alertmanager([made], NOW)
    assert posted["endsAt"] <= message.timestamp(NOW + timedelta(minutes=5))


# -- telling --------------------------------------------------------------------------------------


def test_a_receiver_that_takes_it_is_told_once(receiver: Receiver) -> None:
    (result,) = sent(channel(receiver.url + "/hook", credential=SECRET))
    assert result.ok
    assert result.taken == [{"alert": alert().id, "step": 1, "event": "raised"}]
    ((path, headers, body),) = receiver.got
    assert path == "/hook"
    assert headers["Authorization"] == f"Bearer {SECRET}"
    assert headers["Host"] == f"127.0.0.1:{receiver.port}"
    assert body["alerts"][0]["labels"]["alertname"] == "AssayDataDrift"


@pytest.mark.parametrize("url", ["", "/", "/am", "/am/", "/am/api/v2/alerts"])
def test_alertmanager_is_asked_at_its_api_under_any_prefix(receiver: Receiver, url: str) -> None:
    (result,) = sent(channel(receiver.url + url, "alertmanager", credential="me:pw"))
    assert result.ok
    ((path, headers, body),) = receiver.got
    assert path == url.rstrip("/").removesuffix("/api/v2/alerts") + "/api/v2/alerts"
    assert headers["Authorization"] == "Basic bWU6cHc="
    assert isinstance(body, list)


def test_what_may_pass_is_tried_again_and_what_is_refused_is_not(receiver: Receiver) -> None:
    receiver.answers = [503, 429, 200]
    assert sent(channel(receiver.url))[0].attempts == 3
    receiver.answers = [503]
    (result,) = sent(channel(receiver.url))
    assert (result.ok, result.attempts, result.taken) == (False, 3, [])
    assert "503" in result.words
    receiver.answers = [400]
    (result,) = sent(channel(receiver.url))
    assert (result.ok, result.attempts) == (False, 1)


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    with receiving() as elsewhere:
        receiver.answers, receiver.headers = [307], {"Location": elsewhere.url}
        (result,) = sent(channel(receiver.url))
        assert (result.ok, result.attempts) == (False, 1)
        assert "not followed" in result.words
        assert elsewhere.got == []


def test_a_channel_that_is_down_or_hangs_keeps_no_other_from_being_told(
    receiver: Receiver,
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        free = closed.getsockname()[1]
    with receiving() as slow:
        slow.hang = threading.Event()
        results = sent(
            channel(f"http://127.0.0.1:{free}", name="down"),
            channel(slow.url, name="hangs", seconds=0.2),
            channel(receiver.url, name="well"),
            channel("http://no-such-host.invalid", name="unknown", seconds=2),
        )
        slow.hang.set()
    by = {r.channel: r for r in results}
    assert {name: r.ok for name, r in by.items()} == {
        "down": False,
        "hangs": False,
        "well": True,
        "unknown": False,
    }
    assert "nobody listens" in by["down"].words
    assert "in time" in by["hangs"].words


def test_a_receiver_that_drips_is_cut_off(receiver: Receiver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()

        def drip() -> None:
            peer, _ = server.accept()
            with peer:
                try:
                    peer.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                    while not stop.wait(0.02):
                        peer.sendall(b"x")
                except OSError:
                    pass

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        dripping, well = sent(channel(url, seconds=0.3), channel(receiver.url))
        stop.set()
        thread.join(5)
    assert not dripping.ok
    assert well.ok


@pytest.mark.parametrize("answer", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 20"])
def test_what_speaks_no_http_is_a_channel_that_did_not_take_it(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk() -> None:
            for _ in range(3):
                peer, _ = server.accept()
                with peer:
                    peer.recv(1 << 16)
                    peer.sendall(answer)

        thread = threading.Thread(target=talk, daemon=True)
        thread.start()
        (result,) = sent(channel(f"http://127.0.0.1:{server.getsockname()[1]}"))
    assert not result.ok
    assert result.words


@pytest.mark.parametrize(
    "host",
    [
        *("169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "[::]", "224.0.0.1"),
        *("[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::]", "100.100.100.200", "[fd00:ec2::254]"),
    ],
)
def test_an_address_that_no_receiver_has_is_never_asked(host: str) -> None:
    (result,) = sent(channel(f"http://{host}/", plain=True))
    assert not result.ok
    assert "no receiver" in result.words


def test_a_name_that_leads_to_such_an_address_is_not_asked_either(
    monkeypatch: pytest.MonkeyPatch, receiver: Receiver
) -> None:
    def looked_up(*_: Any, **__: Any) -> list[Any]:
        both = ["127.0.0.1", "169.254.169.254"]
        return [(socket.AF_INET, 1, 6, "", (ip, receiver.port)) for ip in both]

    monkeypatch.setattr(http.socket, "getaddrinfo", looked_up)
    (result,) = sent(channel(f"http://innocent.example:{receiver.port}", plain=True))
    assert not result.ok
    assert receiver.got == []


def test_a_proxy_of_the_environment_is_not_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert sent(channel(receiver.url))[0].ok
        assert proxy.got == []


def test_a_certificate_must_hold(tmp_path: Path) -> None:
    key, authority = _certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, key)

    def with_tls(server: Any) -> None:
        server.socket = context.wrap_socket(server.socket, server_side=True)

    with receiving(with_tls) as secure:
        url = f"https://localhost:{secure.port}"
        (result,) = sent(channel(url))
        assert not result.ok
        assert "certificate" in result.words
        assert secure.got == []
        (result,) = sent(channel(url, ca=str(authority)))
        assert result.ok, result.words
        (result,) = sent(channel(f"https://127.0.0.1:{secure.port}", ca=str(authority)))
        assert not result.ok


def _certificate(folder: Path) -> tuple[Path, Path]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )
    secret, public = folder / "key.pem", folder / "cert.pem"
    plain = serialization.NoEncryption()
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    secret.write_bytes(key.private_bytes(pem, pkcs8, plain))
    public.write_bytes(made.public_bytes(pem))
    return secret, public


def test_many_alerts_are_told_in_batches_and_those_that_arrived_are_known(
    receiver: Receiver,
) -> None:
    many = [told(msgspec.structs.replace(alert(), id=f"{n:016x}-1")) for n in range(120)]
    receiver.answers = [200, 400]
    (result,) = sent(channel(receiver.url), messages=many)
    assert not result.ok
    assert len(result.taken) == 50
    assert len(receiver.got) == 2


def test_two_endpoints_are_two_groups_of_a_webhook(receiver: Receiver) -> None:
    other = msgspec.structs.replace(alert(), endpoint="other")
    sent(channel(receiver.url), messages=[told(), told(other), told(), told(test=True)])
    assert len(receiver.got) == 3


def test_a_mistake_while_telling_one_channel_is_its_own(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> bool:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(services, "notify", broken)
    bad, good = sent(channel("json://x", "apprise"), channel(receiver.url))
    assert not bad.ok
    assert SECRET not in bad.words
    assert good.ok


# -- Apprise --------------------------------------------------------------------------------------

apprise = pytest.mark.skipif(not services.available(), reason="Apprise is not installed")


@apprise
def test_apprise_tells_a_service(receiver: Receiver) -> None:
    (result,) = sent(channel(f"json://127.0.0.1:{receiver.port}/x", "apprise"))
    assert result.ok, result.words
    ((_, _, body),) = receiver.got
    assert body["title"].startswith("[warning] score: the inputs")
    assert "age" in body["message"]
    assert body["type"] == "warning"


@apprise
def test_many_alerts_of_an_endpoint_are_one_message_for_people(receiver: Receiver) -> None:
    signals = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"]
    many = [told(alert(kind="quality", measure="absent", key=key)) for key in signals]
    over = alerts.closed(alert(), through=9, why="x", now="2026-01-02T00:00:00.000Z")
    (result,) = sent(
        channel(f"json://127.0.0.1:{receiver.port}", "apprise"), messages=[told(over), *many]
    )
    assert result.ok
    assert len(result.taken) == 13
    (body,) = receiver.bodies
    assert body["title"].startswith("[critical] score: 12 alerts, 1 over; ")
    assert "and 3 more: assay alerts list score" in body["message"]
    assert body["type"] == "failure"
    ended = message.letter([told(over), told(over)])
    assert ended.severity == "over"
    assert message.letter([told(over)]).title.startswith("[over] over: score")


@apprise
def test_apprise_follows_no_redirect_even_when_its_address_asks_for_it(
    receiver: Receiver, capfd: pytest.CaptureFixture[str]
) -> None:
    with receiving() as elsewhere:
        receiver.answers, receiver.headers = [302], {"Location": elsewhere.url}
        url = f"json://me:{SECRET}@127.0.0.1:{receiver.port}/?redirect=yes"
        (result,) = sent(channel(url, "apprise"))
        assert not result.ok
        assert elsewhere.got == []
    written = capfd.readouterr()
    assert SECRET not in written.out + written.err + result.words


@apprise
@pytest.mark.parametrize("url", ["nothing://x", "json://", "slack://"])
def test_an_address_that_apprise_does_not_know_is_said_to_be_none(url: str) -> None:
    (result,) = sent(channel(url, "apprise"))
    assert not result.ok
    assert "Apprise" in result.words
    assert result.attempts == 1


def test_without_apprise_a_channel_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "available", lambda: False)
    (result,) = sent(channel("json://x", "apprise"))
    assert "pip install 'assay[alerts]'" in result.words
