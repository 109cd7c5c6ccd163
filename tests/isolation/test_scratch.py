"""A scratch folder seen from outside: whatever lies in it, nothing is followed."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import NotFound, Unavailable, Verification
from assay.isolation import scratch

from .granting import Granted, held


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "scratch"
    (made / "a" / "b").mkdir(parents=True)
    (made / "a" / "b" / "model.onnx").write_bytes(b"model")
    (made / "log").write_bytes(b"")
    return made


def test_plain_files_are_listed_and_read(folder: Path) -> None:
    assert scratch.files(folder) == [
        scratch.ScratchFile("a/b/model.onnx", 5),
        scratch.ScratchFile("log", 0),
    ]
    with scratch.open_file(folder, "a/b/model.onnx") as stream:
        assert stream.read() == b"model"


def plant(folder: Path, kind: str, secret: Path) -> str:
    """Put something there that is no plain file; its path."""
    place = folder / "planted"
    match kind:
        case "link":
            place.symlink_to(secret)
        case "link to a folder":
            place.symlink_to(secret.parent)
            return f"planted/{secret.name}"
        case "dangling link":
            place.symlink_to("nowhere")
        case "second name":
            place.hardlink_to(secret)
        case "pipe":
            os.mkfifo(place)
        case "socket":
            with socket.socket(socket.AF_UNIX) as listener:
                here = os.open(folder, os.O_RDONLY)
                listener.bind(f"/proc/self/fd/{here}/planted")
                os.close(here)
        case _:
            if os.geteuid() != 0:
                pytest.skip("only root makes devices")
            os.mknod(place, 0o600 | 0o020000, os.makedev(1, 5))
    return "planted"


@pytest.mark.parametrize(
    "kind",
    ["link", "link to a folder", "dangling link", "second name", "pipe", "socket", "device"],
)
def test_what_is_no_plain_file_is_refused_and_removed_without_being_followed(
    kind: str, folder: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "home" / "key"
    secret.parent.mkdir()
    secret.write_bytes(b"secret")
    secret.chmod(0o640)
    path = plant(folder, kind, secret)
    with pytest.raises(Verification):
        scratch.files(folder)
    with pytest.raises(Verification):
        scratch.open_file(folder, path)
    scratch.take_back(str(folder), None)
    scratch.remove(folder)
    assert not folder.exists()
    assert secret.read_bytes() == b"secret"
    assert secret.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "..", "a/../log", "./log", "a//b", "a/b/model.onnx/", "x\0y"]
)
def test_a_path_that_leads_elsewhere_is_refused(path: str, folder: Path) -> None:
    with pytest.raises(Verification):
        scratch.open_file(folder, path)


def test_what_is_not_there_is_not_found(folder: Path) -> None:
    for path in ("missing", "a/missing", "missing/x"):
        with pytest.raises(NotFound):
            scratch.open_file(folder, path)
    with pytest.raises(Unavailable):
        scratch.files(folder / "missing")


def test_the_folder_itself_is_no_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(Unavailable):
        scratch.files(tmp_path / "link")
    with pytest.raises(Verification):
        scratch.open_file(tmp_path / "link", "log")
    with pytest.raises(OSError, match="link"):
        scratch.remove(tmp_path / "link")
    assert (folder / "log").exists()


def test_names_that_are_not_text_are_refused(tmp_path: Path) -> None:
    granted = Granted(tmp_path, held("full"))
    for name in (b"a\nb", b"\x1b[2J", b"\xff", "\u202e".encode()):
        granted.do("odd_name", {"name": name.hex()})
        with pytest.raises(Verification, match="plain text"):
            scratch.files(granted.scratch)
        scratch.remove(granted.scratch)


def test_too_many_entries_are_refused(tmp_path: Path) -> None:
    granted = Granted(tmp_path, held("full"))
    granted.do("many_files", {"count": 20})
    assert len(scratch.files(granted.scratch, most=20)) == 20
    with pytest.raises(Verification, match="more than 19"):
        scratch.files(granted.scratch, most=19)


@pytest.mark.parametrize("how", ["full", "landlock"])
def test_folders_of_any_depth_are_refused_and_removed(how: str, tmp_path: Path) -> None:
    granted = Granted(tmp_path, held(how))
    with contextlib.suppress(Unavailable):  # Where it is noticed while it still goes on.
        granted.do("nest", {"depth": 3000})
    with pytest.raises(Verification, match="deep"):
        scratch.files(granted.scratch)
    scratch.remove(granted.scratch)
    assert not granted.scratch.exists()


@pytest.mark.parametrize("how", ["full", "landlock"])
def test_a_process_that_leaves_closed_folders_is_cleaned_up(how: str, tmp_path: Path) -> None:
    granted = Granted(tmp_path, held(how))
    granted.do("leave_a_mess")
    assert [file.path for file in scratch.files(granted.scratch)] == ["closed"]
    scratch.remove(granted.scratch)
    assert not granted.scratch.exists()


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(NAMES.filter(lambda n: n not in (".", "..")), st.binary(max_size=20)))
def test_whatever_the_names_files_are_found_as_they_are_or_refused(
    tmp_path_factory: pytest.TempPathFactory, contents: dict[str, bytes]
) -> None:
    folder = tmp_path_factory.mktemp("scratch")
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    if all(name.isprintable() for name in contents):
        found = {file.path: file.size for file in scratch.files(folder)}
        assert found == {name: len(data) for name, data in contents.items()}
        for name, data in contents.items():
            with scratch.open_file(folder, name) as stream:
                assert stream.read() == data
    else:
        with pytest.raises(Verification):
            scratch.files(folder)
    scratch.remove(folder)
