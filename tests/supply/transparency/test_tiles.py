"""The tiles over HTTP: what is answered, and that nothing else of the folder ever is."""

from __future__ import annotations

import gzip
import hashlib
import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay import files
from assay.errors import Conflict, Corrupt, Unavailable
from assay.evidence import merkle, tiles
from assay.evidence.cosignatures import cosign, read_note
from assay.supply.transparency.publish import needed, publish
from assay.supply.transparency.tiles import TileServer


def get(url: str, path: str, **headers: str) -> httpx.Response:
    with httpx.Client(trust_env=False, timeout=30) as client:
        return client.get(url + path, headers=headers)


def asked(log: Any, path: bytes, method: str = "GET") -> tuple[int, bytes]:
    reply = TileServer(log.files()).reply(method, path)
    return reply.status, reply.body


def test_a_checkpoint_is_text_that_nobody_keeps_for_long(log: Any, url: str) -> None:
    log.to(5)
    answer = get(url, "/checkpoint")
    assert (answer.status_code, answer.content) == (200, log.note)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["cache-control"] == "public, max-age=1, must-revalidate"


def test_tiles_are_octets_that_never_change(log: Any, url: str) -> None:
    log.to(300)
    for path, size in [
        ("/tile/0/000", 8192),
        ("/tile/0/001.p/44", 44 * 32),
        ("/tile/1/000.p/1", 32),
    ]:
        answer = get(url, path)
        assert (answer.status_code, len(answer.content)) == (200, size), path
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.content == (log.folder / path[1:]).read_bytes()


def test_each_entry_hashes_to_its_place_in_the_tile(log: Any, url: str) -> None:
    log.to(300)
    bundle = get(url, "/tile/entries/001.p/44").content
    hashes = tiles.split(get(url, "/tile/0/001.p/44").content)
    for number, expected in enumerate(hashes):
        entry = bundle[number * 48 : (number + 1) * 48]
        assert int.from_bytes(entry[:2], "big") == 46
        assert hashlib.sha256(b"\x00" + entry[2:]).digest() == expected


def test_entries_are_compressed_for_whoever_takes_that(log: Any, url: str) -> None:
    log.to(256)
    plain = get(url, "/tile/entries/000", **{"Accept-Encoding": "identity"})
    small = get(url, "/tile/entries/000", **{"Accept-Encoding": "br, gzip;q=0.5"})
    assert "content-encoding" not in plain.headers
    assert small.headers["content-encoding"] == "gzip"
    assert small.headers["vary"] == "accept-encoding"
    assert int(small.headers["content-length"]) < len(plain.content) == 256 * 48
    assert small.content == plain.content


@pytest.mark.parametrize("said", ["gzip;q=0", "gzip; q=0.0", "xgzip", "gzipped", ""])
def test_whoever_does_not_take_it_gets_none(log: Any, url: str, said: str) -> None:
    log.to(3)
    answer = get(url, "/tile/entries/000.p/3", **{"Accept-Encoding": said})
    assert "content-encoding" not in answer.headers


def test_the_tiles_of_the_specifications_example() -> None:
    found: dict[int | str, list[int]] = {}
    for level, _, width in needed(70_000):
        found.setdefault(level, []).append(width)
    assert found[0] == [256] * 273 + [112]
    assert found[1] == [256, 17]
    assert found[2] == [1]
    assert found["entries"] == found[0]
    assert list(needed(0)) == []
    assert [item for item in needed(256) if item[0] != "entries"] == [(0, 0, 256), (1, 0, 1)]


@pytest.mark.parametrize(
    ("index", "path"), [(0, "000"), (999, "999"), (1000, "x001/000"), (1234067, "x001/x234/067")]
)
def test_indexes_are_spelled_as_the_specification_has_them(index: int, path: str) -> None:
    assert tiles.numbered(index) == path


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 300])
def test_every_tile_that_a_checkpoint_needs_is_there(log: Any, size: int) -> None:
    log.to(size)
    for level, index, width in needed(size):
        status, body = asked(log, b"/" + tiles.tile_path(level, index, width).encode())
        assert (status, len(body)) == (200, width * (48 if level == "entries" else 32))


def test_a_partial_tile_stays_after_the_full_one_came(log: Any) -> None:
    log.to(7)
    before = asked(log, b"/tile/0/000.p/7")
    log.to(260)
    assert not (log.folder / "tile/0/000.p/7").exists()
    assert asked(log, b"/tile/0/000.p/7") == before
    assert asked(log, b"/tile/entries/000.p/7")[0] == 200


HOSTILE = [
    "/",
    "",
    "/checkpoint/",
    "/checkpoint/..",
    "//checkpoint",
    "/Checkpoint",
    "/lock",
    "/sealed",
    "/sealed/000/0-1.seg",
    "/tile",
    "/tile/",
    "/tile/0",
    "/tile/0/",
    "/tile/0/000/",
    "/tile/0/0",
    "/tile/0/0000",
    "/tile/00/000",
    "/tile/64/000",
    "/tile/-1/000",
    "/tile/0/-01",
    "/tile/0/x000/000",
    "/tile/0/001/000",
    "/tile/0/000.p",
    "/tile/0/000.p/",
    "/tile/0/000.p/0",
    "/tile/0/000.p/01",
    "/tile/0/000.p/256",
    "/tile/0/000.p/999",
    "/tile/0/000.p/3/",
    "/tile/0/000.p/3/..",
    "/tile/0/../../checkpoint",
    "/tile/0/..%2f..%2fcheckpoint",
    "/tile/0/%30%30%30.p/3",
    "/%63heckpoint",
    "/./checkpoint",
    "/tile/../checkpoint",
    "/../keys/ledger.pem",
    "/tile/data/000",
    "/tile/entries/000.p/3.gz",
    "/tile/0/.000.p/3",
    "/tile/0/000.p/.3.0123456789ab.tmp",
    "/tile/0/x999/x999/x999/x999/x999/x999/x999/999",
    "/tile/0/000\x00",
    "/tile/0/٠٠٠",
]


@pytest.mark.parametrize("path", HOSTILE)
def test_no_other_path_exists_however_it_is_spelled(log: Any, path: str) -> None:
    log.to(3)
    (log.folder / "tile" / "data").mkdir()
    (log.folder / "tile" / "data" / "000").write_bytes(bytes(32))
    (log.folder / "tile" / "0" / "000.p" / ".3.0123456789ab.tmp").write_bytes(bytes(96))
    status, body = asked(log, path.encode())
    assert (status, body) == (404, b"not found\n")


@pytest.mark.parametrize(
    "path", ["/../keys/ledger.pem", "/tile/0/..%2f000.p/3", "/sealed/000/0-3.seg"]
)
def test_no_other_path_exists_over_a_bare_socket(log: Any, url: str, path: str) -> None:
    log.to(3)
    address = urlsplit(url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=30) as said:
        said.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        heard = b""
        while piece := said.recv(1 << 16):
            heard += piece
    assert heard.startswith(b"HTTP/1.1 404 ")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet="/.%x012345entriestileckp\\~", max_size=40))
def test_no_path_reads_anything_but_a_tile(log: Any, path: str) -> None:
    status, body = asked(log, path.encode())
    assert status == 404 or path == "/checkpoint"
    assert b"PRIVATE" not in body


def test_links_are_not_followed(log: Any, tmp_path: Path) -> None:
    log.to(3)
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(96))
    tile = log.folder / "tile/0/000.p/3"
    tile.unlink()
    tile.symlink_to(secret)
    assert asked(log, b"/tile/0/000.p/3")[0] == 404
    folder = log.folder / "tile/0/000.p"
    tile.unlink()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/3").write_bytes(bytes(96))
    folder.rmdir()
    folder.symlink_to(tmp_path / "elsewhere")
    assert asked(log, b"/tile/0/000.p/3")[0] == 404
    (log.folder / "checkpoint").rename(tmp_path / "moved")
    (log.folder / "checkpoint").symlink_to(tmp_path / "moved")
    assert asked(log, b"/checkpoint")[0] == 503


def test_a_pipe_does_not_stop_the_server(log: Any) -> None:
    log.to(3)
    tile = log.folder / "tile/0/000.p/3"
    tile.unlink()
    os.mkfifo(tile)
    assert asked(log, b"/tile/0/000.p/3")[0] == 404


@pytest.mark.parametrize("size", [0, 1, 95, 97, 8192, 1 << 20])
def test_a_file_that_has_no_tiles_length_stays_here(log: Any, size: int) -> None:
    log.to(3)
    (log.folder / "tile/0/000.p/3").write_bytes(bytes(size))
    assert asked(log, b"/tile/0/000.p/3") == (404, b"not found\n")


def test_an_entry_that_is_no_blinded_leaf_stays_here(log: Any) -> None:
    log.to(3)
    path = log.folder / "tile/entries/000.p/3"
    path.write_bytes(b"a secret".ljust(48 * 3, b" "))
    status, body = asked(log, b"/tile/entries/000.p/3")
    assert (status, body) == (503, b"the ledger is damaged\n")


def test_nothing_that_is_served_holds_an_envelope(log: Any) -> None:
    log.to(30)
    assert any(b"a/7" in path.read_bytes() for path in log.folder.rglob("*.seg"))
    for level, index, width in needed(30):
        path = tiles.tile_path(level, index, width).encode()
        assert b"a/7" not in asked(log, b"/" + path)[1]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get"])
def test_nothing_can_be_done_but_reading(log: Any, method: str) -> None:
    log.to(3)
    assert asked(log, b"/checkpoint", method)[0] == 405
    assert asked(log, b"/tile/0/000.p/3", method)[0] == 405
    assert asked(log, b"/nothing", method)[0] == 404


def test_a_head_request_gets_the_head_alone(log: Any, url: str) -> None:
    log.to(3)
    with httpx.Client(trust_env=False) as client:
        answer = client.head(url + "/tile/0/000.p/3")
    assert (answer.status_code, answer.headers["content-length"], answer.content) == (
        200,
        "96",
        b"",
    )


@pytest.mark.parametrize("said", ["bytes=0-3", "bytes=90-", "bytes=-1", "bytes=5-2", "lines=1"])
def test_a_range_is_answered_with_the_whole(log: Any, url: str, said: str) -> None:
    log.to(3)
    answer = get(url, "/tile/0/000.p/3", Range=said)
    assert (answer.status_code, len(answer.content)) == (200, 96)
    assert answer.headers["accept-ranges"] == "none"


def test_a_question_mark_changes_nothing(log: Any, url: str) -> None:
    log.to(3)
    assert get(url, "/checkpoint?/../lock").content == log.note


def test_a_checkpoint_whose_tiles_are_not_there_yet_is_not_shown(log: Any) -> None:
    log.to(3)
    (log.folder / "tile/0/000.p/3").unlink()
    status, body = asked(log, b"/checkpoint")
    assert status == 503
    assert b"not published" in body
    log.grow(1)
    assert asked(log, b"/checkpoint")[0] == 200


def test_a_checkpoint_of_another_key_is_not_shown(log: Any) -> None:
    log.to(3)
    note = bytearray(log.note)
    note[-10] ^= 1
    (log.folder / "checkpoint").write_bytes(bytes(note))
    assert asked(log, b"/checkpoint") == (503, b"the ledger is damaged\n")


def test_the_cosigned_checkpoint_is_shown_where_it_is_asked_for(
    log: Any, observer: Any, tmp_path: Path
) -> None:
    cosigned = tmp_path / "cosigned"
    log.to(3)
    held = log.note + cosign(read_note(log.note).text, "w.example", observer.signer, log.clock.at)
    public = log.files(cosigned)
    with pytest.raises(Unavailable):
        public.checkpoint(witnessed=True)
    cosigned.write_bytes(held)
    assert public.checkpoint() == public.checkpoint(witnessed=True) == held
    log.to(9)
    assert public.checkpoint() == log.note
    assert public.checkpoint(witnessed=True) == held
    cosigned.write_bytes(held.replace(b"\n3\n", b"\n4\n"))
    with pytest.raises(Unavailable):
        public.checkpoint(witnessed=True)


# -- as a folder -----------------------------------------------------------------------------------


def test_an_export_holds_what_a_server_would_answer_and_nothing_else(
    log: Any, tmp_path: Path
) -> None:
    log.to(300)
    made = publish(log.files(), log.key, tmp_path / "out", witnessed=False)
    found = {
        str(path.relative_to(tmp_path / "out"))
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert found == {"checkpoint", *(tiles.tile_path(*item) for item in needed(300))}
    for name in found:
        assert asked(log, f"/{name}".encode()) == (200, (tmp_path / "out" / name).read_bytes())
    assert (made.size, made.written) == (300, len(found) - 1)


def test_a_later_export_adds_what_is_new(log: Any, tmp_path: Path) -> None:
    log.to(300)
    publish(log.files(), log.key, tmp_path / "out", witnessed=False)
    log.to(310)
    again = publish(log.files(), log.key, tmp_path / "out", witnessed=False)
    assert (again.size, again.kept, again.written) == (310, 3, 2)
    assert read_note((tmp_path / "out/checkpoint").read_bytes()).size == 310


def test_an_export_over_something_else_is_refused(log: Any, fork_of: Any, tmp_path: Path) -> None:
    log.to(3)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "index.html").write_text("mine")
    with pytest.raises(Conflict, match="other files"):
        publish(log.files(), log.key, tmp_path / "full", witnessed=False)
    newer = fork_of(log, 9)
    publish(newer.files(), log.key, tmp_path / "out", witnessed=False)
    with pytest.raises(Conflict, match="newer"):
        publish(log.files(), log.key, tmp_path / "out", witnessed=False)


@pytest.mark.parametrize("which", ["tile/0/000", "tile/0/001.p/44", "tile/entries/000"])
def test_an_altered_tile_is_not_exported(log: Any, tmp_path: Path, which: str) -> None:
    log.to(300)
    path = log.folder / which
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(Corrupt):
        publish(log.files(), log.key, tmp_path / "out", witnessed=False)
    assert not (tmp_path / "out" / "checkpoint").exists()


def test_the_checkpoint_of_an_export_is_written_last(
    log: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.to(300)
    order: list[str] = []

    def record(operation: str, _: Path, argument: Any) -> None:
        if operation == "rename":
            order.append(Path(argument).name)

    monkeypatch.setattr(files, "recorder", record)
    publish(log.files(), log.key, tmp_path / "out", witnessed=False)
    assert order[-1] == "checkpoint"
    assert order.count("checkpoint") == 1


def test_what_is_compressed_is_the_same_each_time(log: Any) -> None:
    log.to(3)
    server = TileServer(log.files())
    first, second = (server.reply("GET", b"/tile/entries/000.p/3", True).body for _ in range(2))
    assert first == second
    assert len(gzip.decompress(first)) == 3 * 48


def test_an_empty_ledger_has_a_checkpoint_and_no_tiles(log: Any) -> None:
    assert asked(log, b"/checkpoint") == (200, log.note)
    assert read_note(log.note).root == merkle.EMPTY_ROOT
    assert asked(log, b"/tile/0/000.p/1")[0] == 404
