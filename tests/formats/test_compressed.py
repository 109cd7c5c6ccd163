from __future__ import annotations

import bz2
import contextlib
import gzip
import importlib
import lzma
import sys
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import Usage
from assay.formats.compressed import compression, inflate

SQUEEZE = {
    "zlib": zlib.compress,
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
}
with contextlib.suppress(ImportError):
    SQUEEZE["lz4"] = importlib.import_module("lz4.frame").compress
with contextlib.suppress(ImportError):
    SQUEEZE["zstd"] = importlib.import_module("backports.zstd").compress
KINDS = st.sampled_from(sorted(SQUEEZE))


def refused(data: bytes, limit: int = 1 << 20) -> str:
    with pytest.raises(Usage) as caught:
        inflate(data, limit=limit)
    return caught.value.code


@given(KINDS, st.binary(max_size=5000))
def test_what_was_compressed_comes_back(kind: str, data: bytes) -> None:
    squeezed = SQUEEZE[kind](data)
    assert compression(squeezed) == kind
    assert inflate(squeezed, limit=5000) == data
    assert inflate(memoryview(squeezed), limit=5000) == data
    assert inflate(squeezed, limit=100, partial=True) == data[:100]


@pytest.mark.parametrize("kind", SQUEEZE)
def test_exactly_the_limit_fits_and_one_byte_more_does_not(kind: str) -> None:
    squeezed = SQUEEZE[kind](b"x" * 1000)
    assert len(inflate(squeezed, limit=1000)) == 1000
    assert refused(squeezed, 999) == "usage.compressed.too_large"


@pytest.mark.parametrize("kind", SQUEEZE)
def test_a_bomb_is_stopped_at_the_limit(kind: str) -> None:
    assert refused(SQUEEZE[kind](b"\0" * (20 << 20)), 1 << 16) == "usage.compressed.too_large"


@pytest.mark.parametrize("kind", SQUEEZE)
def test_a_second_member_or_bytes_behind_are_refused(kind: str) -> None:
    squeezed = SQUEEZE[kind](b"first")
    for behind in (b"x", squeezed, b"\0" * 100):
        assert refused(squeezed + behind) == "usage.compressed.trailing"


@pytest.mark.parametrize("kind", SQUEEZE)
def test_a_stream_cut_short_is_refused(kind: str) -> None:
    squeezed = SQUEEZE[kind](bytes(range(256)) * 40)
    for keep in (8, len(squeezed) // 2, len(squeezed) - 1):
        assert refused(squeezed[:keep]) == "usage.compressed.damaged"


def test_an_altered_checksum_is_refused() -> None:
    for kind in ("zlib", "gzip", "bz2", "xz"):
        squeezed = bytearray(SQUEEZE[kind](b"hello" * 100))
        squeezed[-5 if kind != "xz" else len(squeezed) // 2] ^= 0xFF
        assert refused(bytes(squeezed)) == "usage.compressed.damaged"


def test_without_its_library_a_compression_is_named_and_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("lz4", "lz4.frame", "compression.zstd", "backports.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    for magic, name in ((b"\x28\xb5\x2f\xfd", "zstd"), (b"\x04\x22\x4d\x18", "lz4")):
        with pytest.raises(Usage, match=name) as caught:
            inflate(magic + b"\0" * 20, limit=100)
        assert caught.value.code == "usage.compressed.kind"
        assert "zlib" in caught.value.remedy
    with pytest.raises(Usage, match="unknown"):
        inflate(b"nothing known", limit=100)


def test_text_that_begins_with_x_is_not_zlib() -> None:
    assert compression(b"xyz") is None
    assert compression(b"x") is None
    assert compression(b"") is None


@given(KINDS, st.data())
def test_any_alteration_is_refused_or_harmless(kind: str, data: st.DataObject) -> None:
    squeezed = bytearray(SQUEEZE[kind](bytes(range(200)) * 3))
    at = data.draw(st.integers(0, len(squeezed) - 1))
    squeezed[at] = data.draw(st.integers(0, 255))
    try:
        assert len(inflate(bytes(squeezed), limit=1 << 16)) <= 1 << 16
    except Usage as error:
        assert error.code.startswith("usage.compressed.")  # noqa: PT017 - either is right
