"""What earlier releases wrote of predictions is read: here, and by the page of formats alone."""

from __future__ import annotations

import base64
import json
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from assay import canonical
from assay.errors import Corrupt
from assay.monitor import log, segments, spool
from assay.store import Ring
from assay.store.sealing import context

sys.path.insert(0, str(Path(__file__).parent))

from logged import META, NAMING, Answered

GOLDEN = Path(__file__).parents[1] / "golden" / "predictions-v1.json"
RING = Ring("p/predictions.2026-01", "0123456789abcdef" * 2, b"s" * 32, [b"k" * 32])
FIRST, SECOND = (f"01a2131b-b4d5-7af4-bb30-05986b00000{number}" for number in (1, 2))


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return json.loads(GOLDEN.read_text())


@pytest.fixture
def spooled(golden: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / golden["spool"]["name"]
    path.write_bytes(base64.b64decode(golden["spool"]["bytes"]))
    return path


def open_sealed(rows: Sequence[tuple[bytes, str, bytes]]) -> list[bytes | None]:
    aead = AESGCM(b"p" * 32)
    return [
        aead.decrypt(sealed[:12], sealed[12:], context("assay/subject-keys/v1", place))
        for _, place, sealed in rows
    ]


def test_an_older_spool_is_read(spooled: Path) -> None:
    (found,) = spool.recover(spooled.parent, lambda _: RING)
    assert (found.closed, found.torn, found.damage) == (True, 0, None)
    assert msgspec.convert(found.about, segments.Meta) == META
    records = [log.decode(data) for _, data in found.records]
    assert [record.id for record in records] == [FIRST, SECOND]
    assert records[0].subject == [log.pseudonym(NAMING, "ann"), None]
    assert records[0].columns == Answered(rows=2).columns


def test_an_older_segment_is_read(golden: dict[str, Any]) -> None:
    data = base64.b64decode(golden["segment"])
    frame, meta = segments.read(data, open_sealed=open_sealed)
    assert frame["prediction_id"].to_list() == [FIRST, FIRST, SECOND]
    assert frame["in.a"].to_list() == [0.5, 0.5, 0.25]
    assert frame["subject"].to_list() == [log.pseudonym(NAMING, "ann"), None, None]
    assert segments.scores(frame, meta, 1).tolist() == [0.5, 0.5, 0.25]


def by_the_formats(data: bytes, key_of: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """The frames of a whole spool (number, letter, content), read by docs/formats.md alone."""
    assert data.startswith(b"assay/spool/v1\n")
    at = 15
    length = int.from_bytes(data[at : at + 4], "big")
    at += 4 + length + len(b"assay/sealed/v1\n") + 4 + 56 + 32 + 16
    aead = AESGCM(key_of)
    number = 0
    while at < len(data):
        head = data[at : at + 9]
        size = int.from_bytes(head[1:5], "big")
        assert int.from_bytes(head[5:], "big") == zlib.crc32(head[:5]) ^ number
        sealed = data[at + 9 : at + 9 + size]
        yield number, head[:1], aead.decrypt(number.to_bytes(12, "big"), sealed, head[:1])
        at += 9 + size
        number += 1


def test_the_formats_page_is_enough_to_read_a_spool(spooled: Path) -> None:
    data = spooled.read_bytes()
    length = int.from_bytes(data[15:19], "big")
    header = data[19 : 19 + length]
    assert json.loads(header)["kind"] == "predictions"
    sealed = data[19 + length : 19 + length + 124]
    key = RING.open(sealed, "spool", canonical.digest(header))
    frames = list(by_the_formats(data, key))
    assert [letter for _, letter, _ in frames] == [b"M", b"R", b"R", b"C"]
    assert msgspec.msgpack.decode(frames[1][2])["id"] == FIRST


def test_a_spool_of_a_newer_format_is_told_and_kept(spooled: Path) -> None:
    data = spooled.read_bytes()
    spooled.write_bytes(data.replace(b"assay/spool/v1", b"assay/spool/v2", 1))
    (found,) = spool.recover(spooled.parent, lambda _: RING)
    assert found.damage is not None
    assert "newer format" in found.damage.why


def test_a_segment_of_a_newer_format_is_refused(golden: dict[str, Any]) -> None:
    data = base64.b64decode(golden["segment"])
    with pytest.raises(Corrupt, match="newer format"):
        segments.read(data.replace(b"assay/predictions/v1", b"assay/predictions/v2"))
