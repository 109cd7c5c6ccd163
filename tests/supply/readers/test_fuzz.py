"""Every reader on altered, cut and arbitrary bytes: a verdict always, an exception never."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.supply.content import scan_content
from assay.supply.findings import Report

FILES = sorted((Path(__file__).parent / "files").iterdir())
MAGICS = [
    b"GGUF\x03\0\0\0", b"\x89HDF\r\n\x1a\n\0", b"CBM1", b"\x1c\0\0\0TFL3", b"PAR1", b"ARROW1\0\0",
    b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"RIFF\x20\0\0\0WEBP", b"<?xml ",
    b"\x08\x08", b"\x0a", b"{", b"[", b"\x12",
]  # fmt: skip
NAMES = [
    "model", "saved_model.pb", "keras_metadata.pb", "fingerprint.pb", "x.jinja", "MLmodel",
    "a.yaml", "x.ipynb", "README.md", "a.data-00000-of-00001", "config.json", "modules.json",
]  # fmt: skip


def verdict(data: bytes, name: str) -> str:
    report = Report()
    scan_content(data, 0, len(data), "", name, report)
    assert not [told for told in report.findings if "a reader failed" in told["what"]]
    return report.verdict


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
@settings(max_examples=40, deadline=None)
@given(draw=st.data())
def test_an_altered_file_never_raises(path: Path, draw: st.DataObject) -> None:
    raw = bytearray(path.read_bytes())
    for _ in range(draw.draw(st.integers(1, 8))):
        # Structure lies at the start and at the end.
        at = draw.draw(st.integers(0, min(len(raw) - 1, 2000)) | st.integers(0, len(raw) - 1))
        raw[at] = draw.draw(st.sampled_from([0, 1, 2, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
    verdict(bytes(raw), path.name)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_that_was_cut_is_not_clean(path: Path) -> None:
    data = path.read_bytes()
    for part in (1, 2, 3, 5, 9):
        cut = data[: len(data) * part // 10]
        assert verdict(cut, path.name) != "clean", part
    assert verdict(data[:-1], path.name) != "clean"


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(MAGICS), st.binary(max_size=400), st.sampled_from(NAMES))
def test_any_bytes_behind_a_magic_never_raise(magic: bytes, data: bytes, name: str) -> None:
    verdict(magic + data, name)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300), st.sampled_from(NAMES))
def test_any_text_under_any_name_never_raises(text: str, name: str) -> None:
    verdict(text.encode("utf-8", "surrogatepass"), name)
