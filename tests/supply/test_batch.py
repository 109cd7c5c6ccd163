"""Scanning many files: which are read, each confined, and what stops none of the others."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import msgspec
import pytest

from assay.errors import Unavailable, Usage
from assay.supply import batch, targets
from assay.supply.batch import Answer, Found
from assay.supply.targets import Target, find

GOOD = pickle.dumps({"a": [1, 2]})
EVIL = b"cposix\nsystem\n(S'id'\ntR."


def verdicts(found: targets.Targets, **options: Any) -> dict[str, str]:
    done = batch.run(found.files, **options)
    return {Path(one.path).name: one.answer.verdict for one in done.files}


def names(found: targets.Targets) -> list[str]:
    return [Path(target.shown).name for target in found.files]


# -- which files -----------------------------------------------------------------------------------


def test_every_file_below_a_folder_is_read_whatever_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "a" / ".b").mkdir(parents=True)
    for name in ("x.pkl", "README", ".hidden", "a/.b/y"):
        (tmp_path / name).write_bytes(GOOD)
    found = find([tmp_path])
    assert sorted(names(found)) == [".hidden", "README", "x.pkl", "y"]
    assert {target.rule for target in found.files} == {""}


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(GOOD)
    assert names(find([tmp_path / "x", tmp_path, tmp_path / "x"])) == ["x"]


def test_what_is_excluded_is_counted(tmp_path: Path) -> None:
    (tmp_path / ".git" / "objects").mkdir(parents=True)
    (tmp_path / ".git" / "objects" / "a").write_bytes(b"x")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_bytes(b"x")
    (tmp_path / "m.pkl").write_bytes(GOOD)
    found = find([tmp_path], [".git", "docs/*.md"])
    assert found.excluded == 2
    assert [t.shown for t in found.files if not t.rule] == [f"{tmp_path}/m.pkl"]


def test_a_path_that_does_not_exist_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(Usage, match="does not exist"):
        find([tmp_path / "nothing"])


def test_a_link_is_followed_within_its_folder_only(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(GOOD)
    folder = tmp_path / "hub"
    (folder / "blobs").mkdir(parents=True)
    (folder / "snapshots").mkdir()
    (folder / "blobs" / "abc").write_bytes(EVIL)
    (folder / "snapshots" / "model.bin").symlink_to("../blobs/abc")
    (folder / "snapshots" / "out.bin").symlink_to(outside)
    (folder / "snapshots" / "gone.bin").symlink_to("nowhere")
    (folder / "snapshots" / "loop.bin").symlink_to("loop.bin")
    (folder / "snapshots" / "folder").symlink_to("../blobs")
    found = find([folder])
    rules = {Path(target.shown).name: target.rule for target in found.files}
    assert rules == {
        "abc": "",
        "model.bin": "",
        "out.bin": "file.linked",
        "gone.bin": "file.unreadable",
        "loop.bin": "file.unreadable",
        "folder": "file.special",
    }
    told = verdicts(found)
    assert told["abc"] == told["model.bin"] == "malicious"


def test_a_snapshot_of_a_hub_is_read_through_its_links_to_the_blobs_beside(tmp_path: Path) -> None:
    hub = tmp_path / "models--org--name"
    snapshot = hub / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (hub / "blobs").mkdir()
    (hub / "blobs" / "1").write_bytes(EVIL)
    (hub / "refs").write_bytes(GOOD)
    (snapshot / "model.bin").symlink_to("../../blobs/1")
    (snapshot / "out.bin").symlink_to("../../refs")
    assert verdicts(find([snapshot])) == {"model.bin": "malicious", "out.bin": "unscannable"}
    (hub / "blobs").rename(hub / "kept")
    (hub / "blobs").symlink_to(tmp_path)
    (tmp_path / "1").write_bytes(EVIL)
    assert verdicts(find([snapshot]))["model.bin"] == "unscannable"


def test_a_link_that_was_named_itself_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(GOOD)
    (tmp_path / "l").symlink_to("m")
    assert verdicts(find([tmp_path / "l"])) == {"l": "unscannable"}


def test_a_pipe_and_an_empty_folder_are_unscannable_and_nothing_waits_for_them(
    tmp_path: Path,
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "none").mkdir()
    assert verdicts(find([tmp_path / "pipe", tmp_path / "none"])) == {
        "pipe": "unscannable",
        "none": "unscannable",
    }


def test_a_file_beyond_what_can_be_read_is_said_and_not_opened(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as stream:
        stream.truncate(targets.MOST_BYTES + 1)
    (target,) = find([tmp_path / "sparse"]).files
    assert target.rule == "file.too_large"


def test_more_files_than_a_scan_reads_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "MOST_FILES", 3)
    for number in range(5):
        (tmp_path / str(number)).write_bytes(GOOD)
    found = find([tmp_path])
    assert [target.rule for target in found.files] == ["", "", "", "folder.files"]


def test_names_that_are_no_text_are_read_all_the_same(tmp_path: Path) -> None:
    odd = os.fsdecode(b"m\xff\n::error::.pkl")
    (tmp_path / odd).write_bytes(EVIL)
    (one,) = batch.run(find([tmp_path]).files).files
    assert one.answer.verdict == "malicious"
    assert one.path.endswith(odd)


def test_a_file_of_a_folder_is_read_as_a_part_of_it_under_its_own_name(tmp_path: Path) -> None:
    """Alone, source is what it is; beside a model somebody's loader may run it."""
    folder = tmp_path / "model"
    (folder / "blobs").mkdir(parents=True)
    (folder / "blobs" / "abc").write_bytes(b"x = 1\n")
    (folder / "modeling.py").symlink_to("blobs/abc")
    (folder / "empty").write_bytes(b"")
    done = batch.run(find([folder], ["blobs"]).files)
    told = {Path(one.path).name: one.answer for one in done.files}
    assert told["empty"].verdict == "clean"
    (first, *_) = told["modeling.py"].findings
    assert (first.rule, first.where) == ("python.beside", "+0")
    (folder / "modeling.py").unlink()
    (folder / "modeling.py").write_bytes(b"x = 1\n")
    (alone,) = batch.run(find([folder / "modeling.py"]).files).files
    assert "python.beside" not in {f.rule for f in alone.answer.findings}


# -- how they are read -----------------------------------------------------------------------------


def test_each_file_has_its_verdict_in_the_order_asked(tmp_path: Path) -> None:
    for name, data in (("a", GOOD), ("b", EVIL), ("c", b"\x00\x01junk"), ("d", GOOD)):
        (tmp_path / name).write_bytes(data)
    done = batch.run(find([tmp_path]).files)
    told = {"a": "clean", "b": "malicious", "c": "unscannable", "d": "clean"}
    assert [(Path(one.path).name, one.answer.verdict) for one in done.files] == list(told.items())
    assert done.level is not None
    assert done.files[0].answer.digest == ""
    assert done.files[1].answer.digest.startswith("sha256:")


def test_several_processes_share_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_WORTH_A_PROCESS", 4)
    for number in range(12):
        (tmp_path / f"{number:02}").write_bytes(EVIL if number == 7 else GOOD)
    seen: list[str] = []
    told = verdicts(find([tmp_path]), jobs=2, progress=lambda _, name: seen.append(name))
    assert [name for name, verdict in told.items() if verdict != "clean"] == ["07"]
    assert len(seen) == 12


def test_a_file_that_vanished_or_may_not_be_read_is_unscannable(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(GOOD)
    (tmp_path / "b").write_bytes(GOOD)
    found = find([tmp_path / "a", tmp_path / "b"])
    (tmp_path / "a").unlink()
    assert verdicts(found) == {"a": "unscannable", "b": "clean"}


class _Worker:
    """Stands for a confined process that answers what a test says."""

    level = "full"

    def __init__(self, answers: dict[str, bytes | Exception]) -> None:
        self.alive = True
        self._answers = answers

    def call(self, request: bytes) -> bytes:
        said = self._answers[Path(os.fsdecode(request.partition(b"\0")[0])).name]
        if isinstance(said, Exception):
            self.alive = False
            raise said
        return said

    def close(self) -> None:
        self.alive = False


CLEAN = msgspec.json.encode(Answer("clean", "pickle", 1, [], 0))


def crew(
    monkeypatch: pytest.MonkeyPatch, folder: Path, answers: dict[str, bytes | Exception]
) -> tuple[dict[str, str], int]:
    """What becomes of files that get these answers, and how many processes were started."""
    started: list[_Worker] = []

    def start(*_: Any, **__: Any) -> _Worker:
        started.append(_Worker(answers))
        return started[-1]

    monkeypatch.setattr(batch.Worker, "start", start)
    for name in answers:
        (folder / name).write_bytes(GOOD)
    return verdicts(find([folder]), jobs=1), len(started)


def test_a_file_that_ends_its_reader_is_unscannable_and_the_next_gets_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = Unavailable("it did not answer", code="isolation.timeout")
    told, started = crew(monkeypatch, tmp_path, {"a": CLEAN, "b": ended, "c": CLEAN})
    assert told == {"a": "clean", "b": "unscannable", "c": "clean"}
    assert started == 2


def lying(**changed: Any) -> bytes:
    found = Found("pickle.global", "malicious", "+0", "x")
    return msgspec.json.encode(
        {**msgspec.to_builtins(Answer("malicious", "pickle", 1, [found], 1)), **changed}
    )


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"nonsense",
        b"\xff",
        b"[" * 100_000,
        lying(verdict="clean"),
        lying(verdict="clean", findings=[], findings_count=3),
        lying(verdict="suspicious", findings_count=3),
        lying(findings_count=0),
        lying(verdict="perfect"),
        lying(more=1),
        lying(findings=[{"rule": 1}]),
    ],
)
def test_what_a_reader_answers_is_not_believed_when_it_makes_no_sense(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    assert crew(monkeypatch, tmp_path, {"a": said})[0] == {"a": "unscannable"}


def test_a_reader_cannot_put_control_characters_into_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Found("pickle.global", "malicious", "+0\x1b[2J", "\n::error::x\u202e")
    said = msgspec.json.encode(Answer("malicious", "pickle", 1, [found], 1))
    monkeypatch.setattr(batch.Worker, "start", lambda *_, **__: _Worker({"a": said}))
    (tmp_path / "a").write_bytes(GOOD)
    (one,) = batch.run(find([tmp_path]).files).files
    told = one.answer.findings[0]
    assert (told.where + told.what).isprintable()


def test_where_no_process_can_be_started_nothing_is_said_of_any_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise Unavailable("no processes here", code="isolation.start")

    monkeypatch.setattr(batch.Worker, "start", fail)
    (tmp_path / "a").write_bytes(GOOD)
    with pytest.raises(Unavailable, match="no processes"):
        batch.run(find([tmp_path]).files)


def test_a_reader_that_fails_makes_its_file_unscannable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("assay.supply.scan.scan", fail)
    (tmp_path / "a").write_bytes(GOOD)
    answer = msgspec.json.decode(batch.scanner(b"")(os.fsencode(tmp_path / "a")), type=Answer)
    assert (answer.verdict, answer.findings[0].rule) == ("unscannable", "scan.stopped")


def test_a_target_that_is_not_to_be_read_starts_no_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batch.Worker, "start", None)
    done = batch.run([Target(Path("/x"), "x", 0, rule="file.linked", problem="is a link")])
    assert done.files[0].answer.verdict == "unscannable"
    assert done.level is None
