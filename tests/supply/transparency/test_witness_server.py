"""A witness over HTTP, and the owner of a ledger who asks it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from assay import canonical
from assay.errors import Corrupt, NotFound, Usage
from assay.evidence import witnessed
from assay.evidence.cosignatures import quorum, read_note
from assay.supply.transparency import witnesses as asking
from assay.supply.transparency.witness import BODY_LIMIT
from assay.supply.transparency.witness_server import MOST_WAITING, WitnessServer

from .conftest import AT, Log, serving


@pytest.fixture
def seen(log: Log, observer: Any) -> Any:
    """Where a witness of the log answers."""
    with observer.at_work(log.key) as at_work, serving(WitnessServer(at_work)) as found:
        yield found


def post(url: str, body: bytes, path: str = "/add-checkpoint") -> httpx.Response:
    with httpx.Client(trust_env=False, timeout=30) as client:
        return client.post(url + path, content=body)


def test_the_answers_are_those_of_the_specification(log: Log, observer: Any, seen: str) -> None:
    log.to(3)
    answer = post(seen, witnessed.encode(0, [], log.note))
    assert answer.status_code == 200
    assert answer.content.startswith("— w.example ".encode())
    assert answer.content.endswith(b"\n")
    assert quorum(read_note(log.note + answer.content), log.key, [observer.key], 1)
    again = post(seen, witnessed.encode(0, [], log.note))
    assert (again.status_code, again.content) == (409, b"3\n")
    assert again.headers["content-type"] == "text/x.tlog.size"


def test_no_other_path_or_method_exists(seen: str) -> None:
    for path in ("/", "/add-checkpoint/", "/add-entries", "/sign-subtree", "/checkpoint", "/state"):
        assert post(seen, b"", path).status_code == 404
    with httpx.Client(trust_env=False) as client:
        assert client.get(seen + "/add-checkpoint").status_code == 405


def test_a_body_that_is_too_large_is_not_read(seen: str) -> None:
    assert post(seen, b"x" * (BODY_LIMIT + 1)).status_code == 413


def test_a_body_that_does_not_come_is_given_up(log: Log, observer: Any) -> None:
    async def never() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    said: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    scope = {"type": "http", "method": "POST", "path": "/add-checkpoint", "headers": []}
    with observer.at_work(log.key) as at_work:
        asyncio.run(WitnessServer(at_work, body_seconds=0.01)(scope, never, send))
    assert said[0]["status"] == 408


def test_no_more_than_some_are_answered_at_once(log: Log, observer: Any) -> None:
    statuses: list[int] = []

    async def ask(server: WitnessServer, hold: asyncio.Event) -> None:
        async def receive() -> dict[str, Any]:
            await hold.wait()
            return {"type": "http.request", "body": b"x"}

        async def send(message: dict[str, Any]) -> None:
            if "status" in message:
                statuses.append(message["status"])

        scope = {"type": "http", "method": "POST", "path": "/add-checkpoint", "headers": []}
        await server(scope, receive, send)

    async def many(server: WitnessServer) -> None:
        hold = asyncio.Event()
        waiting = [asyncio.create_task(ask(server, hold)) for _ in range(MOST_WAITING + 3)]
        while len(statuses) < 3:
            await asyncio.sleep(0)
        hold.set()
        await asyncio.gather(*waiting)

    with observer.at_work(log.key) as at_work:
        asyncio.run(many(WitnessServer(at_work)))
    assert sorted(statuses) == [400] * MOST_WAITING + [503] * 3


# -- whoever asks ----------------------------------------------------------------------------------


def listed(url: str, observer: Any) -> asking.Listed:
    return asking.Listed(url, str(observer.key))


def test_a_ledger_is_cosigned_as_it_grows(log: Log, observer: Any, seen: str) -> None:
    for size in (1, 1, 4, 300):
        log.to(size)
        note, asked = asking.collect(log.note, [listed(seen, observer)], log.ledger.consistency)
        assert [(item.cosigned, item.why) for item in asked] == [(True, "")]
        assert quorum(read_note(note), log.key, [observer.key], 1, now=AT)


def test_several_witnesses_make_a_quorum_and_one_that_is_away_costs_its_own(
    log: Log, observer: Any, observer_of: Any, seen: str
) -> None:
    other, away = observer_of("other.example"), observer_of("away.example")
    log.to(5)
    with other.at_work(log.key) as at_work, serving(WitnessServer(at_work)) as there:
        all_three = [
            listed(seen, observer),
            listed("http://127.0.0.1:9", away),
            listed(there, other),
        ]
        note, asked = asking.collect(log.note, all_three, log.ledger.consistency)
    assert [item.cosigned for item in asked] == [True, False, True]
    assert not any(item.alarm for item in asked)
    keys = [observer.key, away.key, other.key]
    assert len(quorum(read_note(note), log.key, keys, 2)) == 2


def test_a_witness_that_saw_a_larger_ledger_raises_an_alarm(
    log: Log, observer: Any, seen: str
) -> None:
    log.to(3)
    old = log.note
    log.to(9)
    asking.collect(log.note, [listed(seen, observer)], log.ledger.consistency)
    _, (asked,) = asking.collect(old, [listed(seen, observer)], log.ledger.consistency)
    assert (asked.cosigned, asked.alarm) == (False, True)
    assert "has seen 9 leaves" in asked.why


def test_a_witness_that_saw_another_ledger_raises_an_alarm(
    log: Log, fork_of: Any, observer: Any, seen: str
) -> None:
    log.to(5)
    asking.collect(log.note, [listed(seen, observer)], log.ledger.consistency)
    forked = fork_of(log, 5)
    _, (asked,) = asking.collect(forked.note, [listed(seen, observer)], forked.ledger.consistency)
    assert (asked.cosigned, asked.alarm) == (False, True)
    forked.to(9)
    note, (asked,) = asking.collect(
        forked.note, [listed(seen, observer)], forked.ledger.consistency
    )
    assert not asked.cosigned
    assert note == forked.note


async def _answer(send: Any, status: int, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, b"no signature\n"),
        (200, "— stranger.example AAAAAAAA\n".encode()),
        (200, b"x" * 100_000),
        (409, b"0\n"),
        (409, b"2"),
        (409, b"-1\n"),
        (409, b"9" * 40 + b"\n"),
        (302, b""),
        (500, b"\x1b[31mred"),
    ],
)
def test_a_hostile_witness_costs_its_cosignature_and_nothing_else(
    log: Log, observer: Any, status: int, body: bytes
) -> None:
    async def hostile(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for _ in range(2):
                message = await receive()
                await send({"type": message["type"] + ".complete"})
            return
        await _answer(send, status, body)

    log.to(3)
    with serving(hostile) as there:
        note, (asked,) = asking.collect(log.note, [listed(there, observer)], log.ledger.consistency)
    assert note == log.note
    assert not asked.cosigned
    assert asked.why


def test_witnesses_are_listed_once_and_taken_off_again(observer: Any, tmp_path: Path) -> None:
    path = tmp_path / "witnesses"
    assert asking.load(path) == asking.Witnesses()
    vkey = str(observer.key)
    made = asking.load(path).with_one("https://a.example", vkey)
    made = made.with_one("https://b.example", vkey)
    asking.save(path, made)
    assert asking.load(path) == made
    assert [item.url for item in made.witnesses] == ["https://b.example"]
    assert made.without(vkey).witnesses == ()
    with pytest.raises(NotFound):
        made.without("other")


def test_what_is_no_witness_is_not_listed(log: Log, observer: Any) -> None:
    with pytest.raises(Usage):
        asking.Witnesses().with_one("https://a.example", str(log.key))
    with pytest.raises(Usage):
        asking.Witnesses().with_one("ftp://a.example", str(observer.key))


@pytest.mark.parametrize(
    "plain",
    [
        {"format": "assay/witnesses/v2", "witnesses": []},
        {"format": "assay/witnesses/v1", "witnesses": [{"url": "file:///x", "vkey": "x"}]},
        {"format": "assay/witnesses/v1", "witnesses": 1},
        {"format": "assay/witnesses/v1", "witnesses": [], "more": 1},
    ],
)
def test_a_damaged_list_is_refused(tmp_path: Path, plain: Any) -> None:
    path = tmp_path / "witnesses"
    path.write_bytes(canonical.encode(plain))
    with pytest.raises(Corrupt):
        asking.load(path)
