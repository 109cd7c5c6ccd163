"""What a node checks before it runs anything, and what it leaves behind: nothing."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import os
import stat
from email.message import Message
from pathlib import Path
from typing import Any

import msgspec
import pytest

pytest.importorskip("ray", reason="Ray is not installed")

from assay.errors import Unavailable, Verification
from assay.pipeline import ray_node
from assay.pipeline.archive import pack_code
from assay.pipeline.ray_frames import Failure, Order, Parcel, Result, error_of, unpack_result
from assay.plugins import Task

TASK = Task("fit", b"", (), 1 << 30, 1, 1.0, 1 << 20, {}, (), False, None, "")


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The node's folder for temporary files; references are what they refer to."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(ray_node.ray, "get", lambda reference: reference)
    return tmp_path


def answered(order: Order, code: list[Any], inputs: list[list[Any]]) -> Result:
    data = ray_node.run_task(msgspec.msgpack.encode(order), code, inputs)
    return unpack_result(memoryview(data))[0]


def refused(result: Result) -> Failure:
    assert isinstance(result.outcome, Failure)
    assert not result.outcome.lost
    return result.outcome


def test_another_environment_is_refused_with_what_to_do(base: Path) -> None:
    order = Order(TASK, [], "sha256:0", "sha256:another")
    error = error_of(refused(answered(order, [], [])))
    assert isinstance(error, Unavailable)
    assert error.code == "unavailable.ray.environment"
    assert "lock file" in error.remedy
    assert list(base.iterdir()) == []


def test_code_with_another_digest_is_refused_before_it_is_unpacked(base: Path) -> None:
    order = Order(TASK, [], "sha256:" + "0" * 64, ray_node.installed())
    error = error_of(refused(answered(order, [pack_code({"0/a.py": b""})], [])))
    assert isinstance(error, Verification)
    assert error.code == "verification.ray.altered"
    assert list(base.iterdir()) == []


@pytest.mark.parametrize("inline", [True, False])
def test_an_input_with_another_digest_is_refused(base: Path, inline: bool) -> None:
    code = pack_code({"0/a.py": b""})
    digest = "sha256:" + hashlib.sha256(code).hexdigest()
    parcel = Parcel("data", hashlib.sha256(b"right").hexdigest(), b"wrong" if inline else None)
    order = Order(TASK, [parcel], digest, ray_node.installed())
    error = error_of(refused(answered(order, [code], [[] if inline else [b"wr", b"ong"]])))
    assert error.code == "verification.ray.altered"
    assert list(base.iterdir()) == []


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "", ".."])
def test_an_input_cannot_be_written_elsewhere(base: Path, name: str) -> None:
    parcel = Parcel(name, hashlib.sha256(b"x").hexdigest(), b"x")
    with pytest.raises(Verification, match="no name of a file"):
        ray_node._receive(base / "0", parcel, [])


def test_an_order_that_cannot_be_read_is_an_answer_and_not_a_crash(base: Path) -> None:
    result = unpack_result(memoryview(ray_node.run_task(b"\xc1", [], [])))[0]
    assert refused(result).code == "ray.unexpected"
    assert list(base.iterdir()) == []


def test_the_folder_of_a_task_is_private_and_goes_with_it(base: Path) -> None:
    with ray_node._private() as folder:
        assert folder.parent == base
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert list(base.iterdir()) == []


def test_what_killed_workers_left_is_removed_and_what_others_use_is_not(base: Path) -> None:
    killed, living, foreign = (base / f"{ray_node.PREFIX}{n}" for n in ("a", "b", "c"))
    for folder in (killed, living):
        folder.mkdir()
        (folder / "lock").touch()
        (folder / "data").write_bytes(b"of a task")
    beside = base / "beside"
    beside.mkdir()
    foreign.symlink_to(beside)
    being_made = base / f"{ray_node.PREFIX}d"
    being_made.mkdir()
    held = os.open(living / "lock", os.O_RDWR)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        with ray_node._private():
            assert not killed.exists()
            assert (living / "data").exists()
            assert being_made.exists()
            assert beside.exists()
            assert foreign.is_symlink()
    finally:
        os.close(held)


class Installed(importlib.metadata.Distribution):
    """A distribution of these files."""

    def __init__(self, name: str, version: str, record: str) -> None:
        self._record = record
        self._named = (name, version)

    def read_text(self, filename: str) -> str | None:
        return self._record if filename == "RECORD" else None

    def locate_file(self, path: Any) -> Any:
        return path

    @property
    def metadata(self) -> Any:
        message = Message()
        message["Name"], message["Version"] = self._named
        return message

    @property
    def version(self) -> str:
        return self._named[1]


def digest_with(monkeypatch: pytest.MonkeyPatch, *found: Installed) -> str:
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: iter(found))
    ray_node.installed.cache_clear()
    try:
        return ray_node.installed()
    finally:
        monkeypatch.undo()
        ray_node.installed.cache_clear()


def test_what_is_installed_differs_by_version_file_and_presence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def digest(*found: Installed) -> str:
        return digest_with(monkeypatch, *found)

    one = Installed("one", "1.0", "one.py,sha256=aaa,3\n")
    two = Installed("two", "1.0", "two.py,sha256=bbb,3\n")
    assert digest(one, two) == digest(two, one)
    different = {
        digest(one, two),
        digest(one),
        digest(one, Installed("two", "1.1", "two.py,sha256=bbb,3\n")),
        digest(one, Installed("two", "1.0", "two.py,sha256=ccc,3\n")),
    }
    assert len(different) == 4


def test_where_it_is_installed_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Installed(
        "one",
        "1.0",
        "one.py,sha256=aaa,3\n../../../bin/one,sha256=ddd,9\n__pycache__/one.pyc,,\n"
        "one-1.0.dist-info/direct_url.json,sha256=eee,4\none-1.0.dist-info/RECORD,,\n",
    )
    there = Installed("One", "1.0", "one-1.0.dist-info/RECORD,,\none.py,sha256=aaa,3\n")
    assert digest_with(monkeypatch, here) == digest_with(monkeypatch, there)
