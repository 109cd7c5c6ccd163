"""Folders as one content: what is refused, and that what is kept comes back."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay import canonical
from assay.errors import Corrupt, Unavailable, Usage, Verification
from assay.store import Store, TreeEntry, trees
from assay.types import Digest

RING = "fraud/data"
FILES = {"model.onnx": b"weights", "config/a.json": b"{}", "config/deep/b": b"", "z": b"weights"}
ZERO = Digest("sha256:" + "0" * 64)


def folder(base: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return base


def contents(base: Path) -> dict[str, bytes]:
    return {
        path.relative_to(base).as_posix(): path.read_bytes()
        for path in base.rglob("*")
        if path.is_file()
    }


def test_a_tree_comes_back_as_it_was_and_its_manifest_is_sorted(
    store: Store, tmp_path: Path
) -> None:
    tree = store.put_tree(RING, folder(tmp_path / "in", FILES))
    store.extract_tree(RING, tree, tmp_path / "out")
    assert contents(tmp_path / "out") == FILES
    entries = store.open_tree(RING, tree)
    assert [entry.path for entry in entries] == sorted(FILES)
    assert entries[-1] == TreeEntry("z", 7, canonical.digest(b"weights"))
    with store.open(RING, entries[-1].digest) as stream:
        assert stream.read() == b"weights"
    assert store.put_tree(RING, tmp_path / "out") == tree
    assert store.check() == []


def test_the_manifest_is_the_published_document(store: Store, tmp_path: Path) -> None:
    tree = store.put_tree(RING, folder(tmp_path / "in", {"b": b"2", "a": b"1"}))
    assert canonical.decode(store.read(RING, tree, 1000)) == {
        "format": "assay/tree/v1",
        "files": [
            {"path": "a", "size": 1, "digest": canonical.digest(b"1")},
            {"path": "b", "size": 1, "digest": canonical.digest(b"2")},
        ],
    }


def link(base: Path) -> None:
    (base / "link").symlink_to("/etc/passwd")


def folder_link(base: Path) -> None:
    (base / "linked").symlink_to("/etc")


def pipe(base: Path) -> None:
    os.mkfifo(base / "pipe")


def control(base: Path) -> None:
    (base / "line\nbreak").write_bytes(b"")


def backslash(base: Path) -> None:
    (base / "..\\evil").write_bytes(b"")


def not_utf8(base: Path) -> None:
    (Path(os.fsdecode(os.fsencode(base) + b"/\xff\xfe"))).write_bytes(b"")


def by_case(base: Path) -> None:
    folder(base, {"Model": b"", "model": b""})


def by_folder_case(base: Path) -> None:
    folder(base, {"A/x": b"", "a/y": b""})


def by_unicode_form(base: Path) -> None:
    folder(base, {unicodedata.normalize(form, "é"): b"" for form in ("NFC", "NFD")})


def by_sharp_s(base: Path) -> None:
    folder(base, {"straße": b"", "STRASSE": b""})


def file_and_folder(base: Path) -> None:
    folder(base, {"a": b"", "A/x": b""})


@pytest.mark.parametrize(
    "spoil",
    [
        link,
        folder_link,
        pipe,
        control,
        backslash,
        not_utf8,
        by_case,
        by_folder_case,
        by_unicode_form,
        by_sharp_s,
        file_and_folder,
    ],
)
def test_a_folder_with_something_unsafe_is_refused_whole(
    store: Store, tmp_path: Path, spoil
) -> None:
    base = folder(tmp_path / "in", FILES)
    spoil(base)
    with pytest.raises(Usage):
        store.put_tree(RING, base)
    assert list(store._blobs.list("")) == []


def test_what_is_no_folder_or_empty_is_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(folder(tmp_path / "in", FILES))
    for name in ("file", "empty", "link", "nothing"):
        with pytest.raises(Usage):
            store.put_tree(RING, tmp_path / name)


def test_a_file_swapped_for_a_link_after_the_names_were_checked_is_refused(
    store: Store, tmp_path: Path, monkeypatch
) -> None:
    base = folder(tmp_path / "in", {"a": b"1"})
    check = trees.check_paths

    def swap(paths) -> None:
        check(paths)
        (base / "a").unlink(missing_ok=True)
        (base / "a").symlink_to("/etc/passwd")

    monkeypatch.setattr(trees, "check_paths", swap)
    with pytest.raises(Usage, match="link"):
        store.put_tree(RING, base)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../x",
        "a//b",
        "./a",
        "a/.",
        "a\0b",
        "a\\b",
        "x" * 1025,
        "a/" * 70,
        "\ud800",
        "a\nb",
        "\x7f",
    ],
)
def test_no_manifest_leads_out_of_its_folder(path: str) -> None:
    with pytest.raises(Usage):
        trees.encode([TreeEntry(path, 0, ZERO)])


@pytest.mark.parametrize(
    "paths", [["a", "a"], ["a", "a/b"], ["a/b", "a"], ["A/b", "a/c"], ["a/b", "a/B"], []]
)
def test_no_manifest_has_colliding_paths_or_none(paths: list[str]) -> None:
    with pytest.raises(Usage):
        trees.encode([TreeEntry(path, 0, ZERO) for path in paths])


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1).filter(
    lambda name: name not in (".", "..") and not set(name) & set("/\\")
)


@given(paths=st.lists(st.lists(NAMES, min_size=1, max_size=3).map("/".join), max_size=6))
@settings(max_examples=100, deadline=None)
def test_a_manifest_decodes_to_what_was_encoded_or_is_refused(paths: list[str]) -> None:
    entries = [TreeEntry(path, n, ZERO) for n, path in enumerate(paths)]
    try:
        data = trees.encode(entries)
    except Usage:
        return
    decoded = trees.decode(data, what="tree")
    assert sorted(decoded.files, key=lambda e: e.size) == entries
    assert [e.path.encode() for e in decoded.files] == sorted(e.path.encode() for e in entries)


@given(data=st.binary(max_size=100))
def test_hostile_manifests_are_corrupt_and_nothing_else(data: bytes) -> None:
    with pytest.raises(Corrupt):
        trees.decode(data, what="tree")


def test_a_manifest_that_is_not_exactly_ours_is_corrupt() -> None:
    good = {
        "format": "assay/tree/v1",
        "files": [{"path": p, "size": 0, "digest": ZERO} for p in "ab"],
    }
    trees.decode(canonical.encode(good), what="tree")
    for change in (
        {"format": "assay/tree/v2"},
        {"files": []},
        {"files": good["files"][::-1]},
        {"files": [{"path": "../x", "size": 0, "digest": ZERO}]},
        {"files": [{"path": "a", "size": 0, "digest": "md5:00"}]},
        {"files": [{"path": "a", "size": 0, "digest": ZERO, "mode": 7}]},
        {"more": 1},
    ):
        with pytest.raises(Corrupt):
            trees.decode(canonical.encode({**good, **change}), what="tree")


def test_extraction_refuses_a_folder_that_is_there(store: Store, tmp_path: Path) -> None:
    tree = store.put_tree(RING, folder(tmp_path / "in", FILES))
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    for name in ("in", "dangling"):
        with pytest.raises(Usage, match="exists"):
            store.extract_tree(RING, tree, tmp_path / name)
    assert contents(tmp_path / "in") == FILES


def test_extraction_of_something_damaged_leaves_nothing(store: Store, tmp_path: Path) -> None:
    tree = store.put_tree(RING, folder(tmp_path / "in", FILES))
    opened = store.rings.ring(RING)
    entry = store._index.find(opened, canonical.digest(b"weights"))
    assert entry is not None
    path = tmp_path / "blobs" / store.blob_key(opened, entry.blob)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    before = set(tmp_path.iterdir())
    with pytest.raises(Verification):
        store.extract_tree(RING, tree, tmp_path / "out")
    assert set(tmp_path.iterdir()) == before


def test_extraction_on_a_full_disk_leaves_nothing(
    store: Store, tmp_path: Path, monkeypatch
) -> None:
    tree = store.put_tree(RING, folder(tmp_path / "in", FILES))
    before = set(tmp_path.iterdir())

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable):
        store.extract_tree(RING, tree, tmp_path / "out")
    assert set(tmp_path.iterdir()) == before


def test_a_blob_that_is_no_tree_is_not_opened_as_one(store: Store) -> None:
    with pytest.raises(Corrupt):
        store.open_tree(RING, store.put(RING, b"no manifest"))


@given(depth=st.integers(1, 70))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_depth_is_bounded(depth: int) -> None:
    path = "/".join("a" * depth)
    if depth <= 64:
        assert trees.encode([TreeEntry(path, 0, ZERO)])
    else:
        with pytest.raises(Usage, match="too deep"):
            trees.encode([TreeEntry(path, 0, ZERO)])
