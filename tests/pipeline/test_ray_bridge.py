"""What the process that talks to Ray makes of what nodes send: bytes, or a reason to run again."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="Ray is not installed")

from assay.errors import Verification
from assay.pipeline import ray_bridge
from assay.pipeline.ray_bridge import Bridge, Flight
from assay.pipeline.ray_frames import (
    Channel,
    Done,
    Failed,
    Failure,
    Piece,
    Result,
    Submit,
    Success,
    error_of,
    pack_result,
)
from assay.plugins import Task, TaskInput

TASK = Task("fit", b"", (), 1, 1, 1.0, 1, {}, (), False, None, "")
SUCCESS = Success(b"answer", "full", 0.5, 1, "node", {})


class Trap:
    """Something that tells when it is unpickled."""

    sprung = False

    def __reduce__(self) -> Any:
        return (setattr, (Trap, "sprung", True))


class Given:
    """A bridge to which Ray answers `metadata` and `data`."""

    def __init__(self, folder: Path) -> None:
        ours, theirs = socket.socketpair()
        self.driver = Channel(ours)
        self.bridge = Bridge(Channel(theirs))
        self.bridge._attempts = 3
        self.flight = Flight(Submit(1, TASK, str(folder / "task")), attempts=3)
        self._sockets = (ours, theirs)

    def answered(self, metadata: bytes, data: bytes) -> Done | Failure:
        self.bridge._get = lambda *_: [(data, metadata, None)]
        return self.bridge._fetch(object(), self.flight)

    def close(self) -> None:
        for stream in self._sockets:
            stream.close()


@pytest.fixture
def given(tmp_path: Path) -> Generator[Given]:
    given = Given(tmp_path)
    yield given
    given.close()


@pytest.mark.parametrize("metadata", [b"XLANG", b"PYTHON", b"ACTOR_HANDLE", b"", b"RAW,DEBUG:x"])
def test_an_answer_that_ray_would_unpickle_is_refused_unread(given: Given, metadata: bytes) -> None:
    came = given.answered(metadata, pickle.dumps(Trap()))
    assert isinstance(came, Failure)
    assert isinstance(error_of(came), Verification)
    assert not came.lost
    assert not Trap.sprung


def test_the_exception_of_a_node_is_not_unpickled_either(given: Given) -> None:
    for number in range(40):
        came = given.answered(str(number).encode(), pickle.dumps(Trap()))
        assert isinstance(came, Failure)
    assert not Trap.sprung


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("WORKER_DIED", True),
        ("NODE_DIED", True),
        ("OBJECT_LOST", True),
        ("OWNER_DIED", True),
        ("OUT_OF_MEMORY", True),
        ("OBJECT_UNRECONSTRUCTABLE_PUT", True),
        ("TASK_EXECUTION_EXCEPTION", False),
        ("TASK_UNSCHEDULABLE_ERROR", False),
    ],
)
def test_what_was_lost_is_told_from_what_failed(given: Given, name: str, lost: bool) -> None:
    from ray.core.generated import common_pb2

    number: int = vars(common_pb2)["ErrorType"].Value(name)
    came = given.answered(str(number).encode(), b"")
    assert isinstance(came, Failure)
    assert came.lost is lost
    assert name in came.message


@pytest.mark.parametrize("name", ["../escaped", "/etc/escaped", "..", ".", "", "a\0b", "x" * 256])
def test_an_output_cannot_be_written_elsewhere(given: Given, tmp_path: Path, name: str) -> None:
    data = pack_result(Result(SUCCESS, 0, [Piece(name, 3)])) + b"bad"
    with pytest.raises(Verification):
        given.answered(b"RAW", data)
    assert not (tmp_path / "escaped").exists()


def test_two_outputs_of_one_name_leave_one_file_and_the_driver_counts(
    given: Given, tmp_path: Path
) -> None:
    data = pack_result(Result(SUCCESS, 0, [Piece("a", 3), Piece("a", 3)])) + b"onetwo"
    came = given.answered(b"RAW", data)
    assert isinstance(came, Done)
    assert (tmp_path / "task" / "out" / "a").read_bytes() == b"two"


def test_an_output_does_not_follow_a_link(given: Given, tmp_path: Path) -> None:
    (tmp_path / "task" / "out").mkdir(parents=True)
    (tmp_path / "task" / "out" / "a").symlink_to(tmp_path / "elsewhere")
    given.answered(b"RAW", pack_result(Result(SUCCESS, 0, [Piece("a", 3)])) + b"one")
    assert not (tmp_path / "elsewhere").exists()


def test_a_task_that_is_lost_every_time_fails_with_how_often(given: Given) -> None:
    given.bridge._get = lambda *_: [(b"", b"0", None)]  # WORKER_DIED.
    given.bridge._take(object(), given.flight)
    report = given.driver.report()
    assert isinstance(report, Failed)
    assert "tried 3 times" in report.failure.message
    assert report.failure.code == "ray.lost"


def test_an_input_is_shipped_once_and_let_go_of_when_nobody_needs_it(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put: list[bytes] = []
    monkeypatch.setattr(ray_bridge.ray, "put", lambda piece: put.append(piece) or len(put))
    monkeypatch.setattr(ray_bridge, "CHUNK", 1 << 16)
    large = tmp_path / "large"
    large.write_bytes(bytes(150_000))
    item = TaskInput("digest", str(large))
    bridge, other = given.bridge, Flight(Submit(2, TASK, ""))
    bridge._budget = 0
    (parcel,), pieces = bridge._pack([item], given.flight)
    assert (parcel.content, pieces) == (None, [[1, 2, 3]])
    assert bridge._pack([item], other)[1] == pieces
    assert len(put) == 3
    bridge._release(given.flight)
    assert "digest" in bridge._shipped
    bridge._release(other)
    assert not bridge._shipped
    assert bridge._kept == 0


def test_small_inputs_travel_with_the_task_as_far_as_there_is_room(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_bridge.ray, "put", lambda piece: piece)
    items: list[TaskInput] = []
    for number in range(4):
        path = tmp_path / str(number)
        path.write_bytes(bytes([number]) * 30_000)
        items.append(TaskInput(str(number), str(path)))
    parcels, pieces = given.bridge._pack(items, given.flight)
    assert [parcel.content is None for parcel in parcels] == [False, False, True, True]
    assert [len(references) for references in pieces] == [0, 0, 1, 1]
