"""Where the root key lives, and that it never shows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from assay import plugins
from assay.errors import AssayError, Corrupt, NotFound, Unavailable, Usage, Verification
from assay.store import LocalKeyService, open_service


def test_a_root_key_file_is_its_owners_alone_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    made = LocalKeyService.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_bytes()
    with pytest.raises(Usage, match="never overwritten"):
        LocalKeyService.create(path)
    assert path.read_bytes() == before
    assert LocalKeyService.load(path).id == made.id


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620])
def test_a_root_key_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "root.key"
    LocalKeyService.create(path)
    path.chmod(mode)
    with pytest.raises(Verification) as refused:
        LocalKeyService.load(path)
    assert "chmod 600" in refused.value.remedy


def test_a_root_key_behind_a_link_or_missing_is_refused(tmp_path: Path) -> None:
    LocalKeyService.create(tmp_path / "root.key")
    (tmp_path / "link").symlink_to(tmp_path / "root.key")
    with pytest.raises(Usage, match="symbolic link"):
        LocalKeyService.load(tmp_path / "link")
    with pytest.raises(NotFound):
        LocalKeyService.load(tmp_path / "nothing")


def test_every_flipped_byte_of_a_root_key_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    LocalKeyService.create(path)
    data = path.read_bytes()
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(Corrupt):
            LocalKeyService.load(path)
    for length in (0, 1, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(Corrupt):
            LocalKeyService.load(path)


def test_a_wrapped_key_opens_only_under_its_root_key_and_context_with_no_bit_changed() -> None:
    service, other = LocalKeyService(os.urandom(32)), LocalKeyService(os.urandom(32))
    key = os.urandom(32)
    wrapped = service.wrap(key, b"context")
    assert service.unwrap(wrapped, b"context") == key
    with pytest.raises(Verification):
        other.unwrap(wrapped, b"context")
    with pytest.raises(Verification):
        service.unwrap(wrapped, b"other context")
    for at in range(len(wrapped)):
        with pytest.raises(Verification):
            service.unwrap(
                wrapped[:at] + bytes([wrapped[at] ^ 128]) + wrapped[at + 1 :], b"context"
            )


def test_a_service_shows_its_id_and_not_its_key() -> None:
    key = os.urandom(32)
    service = LocalKeyService(key)
    assert service.id in repr(service)
    assert key.hex() not in repr(service)
    with pytest.raises(ValueError, match="32 bytes"):
        LocalKeyService(b"short")


def test_a_url_names_a_file_or_a_plug_in(tmp_path: Path, monkeypatch) -> None:
    made = LocalKeyService.create(tmp_path / "root.key")
    assert open_service(f"file:{tmp_path / 'root.key'}").id == made.id
    monkeypatch.setattr(plugins, "load", lambda group: {"kms": lambda url: (group, url)})
    assert open_service("kms:key/1") == ("assay.key_services", "kms:key/1")
    for url in ("vault:x", "nothing", ""):
        with pytest.raises(Usage, match="no key service") as refused:
            open_service(url)
        assert "kms" in refused.value.remedy


def test_no_plug_in_can_stand_in_for_the_local_file(tmp_path: Path, monkeypatch) -> None:
    made = LocalKeyService.create(tmp_path / "root.key")
    monkeypatch.setattr(plugins, "load", lambda _: {"file": lambda _: None})
    assert open_service(f"file:{tmp_path / 'root.key'}").id == made.id


def test_a_full_disk_leaves_no_half_key(tmp_path: Path, monkeypatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable):
        LocalKeyService.create(tmp_path / "root.key")
    assert list(tmp_path.iterdir()) == []
    assert issubclass(Unavailable, AssayError)
