"""The cache of digests: an unchanged file is not read again, and a changed one always is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from assay import canonical
from assay.errors import Corrupt, Usage, Verification
from assay.supply.signing import hashing, sign, verify
from assay.supply.signing.cache import Cache

from .making_models import NOW, SIGNER, TRUST, folder, payload_of, signed

_LATER = 10_000_000_000


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return folder(tmp_path / "credit")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "digests.json"


def opened(path: Path, model: Path, after: int = _LATER) -> Cache:
    """As seen `after` nanoseconds after the last file was written."""
    newest = max(file.stat().st_ctime_ns for file in model.rglob("*"))
    return Cache.load(path, model, now=lambda: newest + after)


def hashed(path: Path, model: Path, after: int = _LATER) -> hashing.Tree:
    cache = opened(path, model, after)
    tree = hashing.digests(model, (), cache=cache)
    cache.save()
    return tree


def test_unchanged_files_are_not_read_twice(model: Path, path: Path) -> None:
    first, second = hashed(path, model), hashed(path, model)
    assert first.reread == first.bytes > 0
    assert (second.reread, second.files) == (0, first.files)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_changed_file_is_read_again_though_its_size_and_time_are_as_before(
    model: Path, path: Path
) -> None:
    hashed(path, model)
    weights = model / "weights.bin"
    before = weights.stat()
    weights.write_bytes(bytes(before.st_size))
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    tree = hashed(path, model)
    assert tree.reread == before.st_size
    assert tree.files == hashing.digests(model, ()).files


def test_a_file_that_was_replaced_is_read_again(model: Path, path: Path) -> None:
    hashed(path, model)
    weights = model / "weights.bin"
    before = weights.stat()
    other = model.with_name("other")
    other.write_bytes(bytes(before.st_size))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(weights)
    assert hashed(path, model).reread == before.st_size


def test_what_was_written_a_moment_ago_is_not_remembered(model: Path, path: Path) -> None:
    """Another write could get the same times."""
    hashed(path, model, after=1_000_000_000)
    assert hashed(path, model).reread > 0


def test_a_cache_of_another_model_is_not_used(model: Path, path: Path, tmp_path: Path) -> None:
    hashed(path, model)
    other = folder(tmp_path / "other")
    assert hashed(path, other).reread > 0


def test_files_that_are_gone_are_forgotten(model: Path, path: Path) -> None:
    hashed(path, model)
    (model / "weights.bin").unlink()
    hashed(path, model)
    assert "weights.bin" not in json.loads(path.read_bytes())["entries"]


def test_a_changed_model_is_refused_with_a_cache_too(model: Path, path: Path) -> None:
    signature = signed(model, cache=opened(path, model))
    hashed(path, model)
    assert verify(model, signature, TRUST, now=NOW, cache=opened(path, model)).bytes
    (model / "sub" / "a.bin").write_bytes(b"b")
    with pytest.raises(Verification, match=r"'sub/a\.bin' was changed"):
        verify(model, signature, TRUST, now=NOW, cache=opened(path, model))


def test_signing_with_a_cache_gives_the_same_statement(model: Path, path: Path) -> None:
    plain = payload_of(sign(model, SIGNER))
    hashed(path, model)
    assert payload_of(sign(model, SIGNER, cache=opened(path, model))) == plain


@pytest.mark.parametrize("mode", [0o666, 0o620, 0o602])
def test_a_cache_that_others_can_write_is_refused(mode: int, model: Path, path: Path) -> None:
    hashed(path, model)
    path.chmod(mode)
    with pytest.raises(Verification, match="others than you can write"):
        opened(path, model)


def test_a_cache_that_is_a_link_is_refused(model: Path, path: Path, tmp_path: Path) -> None:
    hashed(path, model)
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(Usage, match="symbolic link"):
        opened(tmp_path / "link", model)


def _damage(document: dict[str, Any]) -> None:
    entry = document["entries"]["weights.bin"]
    entry[-1] = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    "alter",
    [
        _damage,
        lambda d: d.update(format="assay/hash-cache/v2"),
        lambda d: d.update(extra=1),
        lambda d: d["entries"].update(x=["1", "2"]),
        lambda d: d["entries"]["weights.bin"].__setitem__(-1, "x"),
        lambda d: d.pop("digest"),
    ],
)
def test_a_damaged_or_newer_cache_is_refused(alter: Any, model: Path, path: Path) -> None:
    hashed(path, model)
    document = json.loads(path.read_bytes())
    alter(document)
    path.write_bytes(canonical.encode(document))
    with pytest.raises(Corrupt, match="damaged, or of a newer format") as raised:
        opened(path, model)
    assert f"rm {path}" in raised.value.remedy


def test_half_a_cache_is_refused(model: Path, path: Path) -> None:
    hashed(path, model)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(Corrupt, match="damaged"):
        opened(path, model)
