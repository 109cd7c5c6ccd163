"""What a confined process is granted works, and nothing beside it."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from assay.errors import AssayError, Denied, NotFound, Unavailable, Usage, Verification
from assay.isolation import logs
from assay.isolation import plan as plan_module
from assay.isolation.grants import Grants
from assay.isolation.limits import MIB
from assay.isolation.run import run

from .granting import LEVELS, LIMITS, Granted, held, victims


@pytest.fixture(params=LEVELS)
def granted(request: pytest.FixtureRequest, tmp_path: Path) -> Granted:
    return Granted(tmp_path, held(request.param))


@pytest.fixture
def fully(tmp_path: Path) -> Granted:
    return Granted(tmp_path, held("full"))


# --- scratch


def test_a_program_works_in_its_scratch_folder(granted: Granted) -> None:
    said = granted.do("work_in_scratch")
    here = str(granted.scratch)
    assert said == {"places": [here] * 4, "text": "Jello", "here": f"{here}/deep"}
    left = {path.relative_to(here).as_posix() for path in granted.scratch.rglob("*")}
    assert left == {"deep", "deep/fourth", "second", "mapped"}
    assert (granted.scratch / "second").read_bytes() == b"Jello"
    for path in (granted.scratch, *granted.scratch.rglob("*")):
        status = path.stat()
        assert status.st_uid == os.geteuid()
        assert not stat.S_IMODE(status.st_mode) & 0o077


@pytest.mark.parametrize(
    "what",
    [
        *("write", "append", "remove", "move_in", "move_out", "exchange", "empty_by_name"),
        *(
            "empty_while_reading",
            "empty_for_nothing",
            "read",
            "change_time",
            "link_symbolically",
            "link_hard",
        ),
    ],
)
def test_nothing_outside_is_written_read_or_linked(what: str, granted: Granted) -> None:
    told = victims(granted.folder / "victims")
    assert granted.do(what, told).startswith("stopped: "), what
    assert [path.name for path in Path(told["path"]).parent.iterdir()] == ["file"]
    assert Path(told["path"]).read_bytes() == b"secret"
    assert not (granted.scratch / "link").is_symlink()
    assert not (granted.scratch / "stolen").exists()


@pytest.mark.parametrize("what", ["write", "make_folder"])
def test_nothing_new_is_made_outside(what: str, granted: Granted) -> None:
    told = victims(granted.folder / "victims")
    assert granted.do(what, {"path": told["new"]}).startswith("stopped: ")
    assert not Path(told["new"]).exists()


@pytest.mark.parametrize("path", ["/etc/shadow", "/etc/passwd", "/proc/1/environ", "/dev/zero"])
def test_system_files_stay_unreadable(path: str, granted: Granted) -> None:
    assert granted.do("read", {"path": path}, processes=True).startswith("stopped: ")


def test_the_scratch_folder_of_a_neighbour_is_out_of_reach(granted: Granted) -> None:
    neighbour = granted.folder / "neighbour"
    neighbour.mkdir(mode=0o777)
    (neighbour / "answer").write_bytes(b"x")
    for what, name in (("read", "answer"), ("write", "answer"), ("write", "new")):
        assert granted.do(what, {"path": str(neighbour / name)}).startswith("stopped: ")


def test_a_mode_or_time_changed_outside_does_not_change(granted: Granted) -> None:
    folder = granted.folder / "input"
    told = victims(folder)
    payload = json.dumps({"do": "change_mode", "told": told}).encode()
    granted.scratch.mkdir()
    before = Path(told["path"]).stat()
    grants = Grants(scratch=granted.scratch)
    assert granted.run("granted_targets:attempt", payload, grants, inputs=[folder]) == b"null"
    after = Path(told["path"]).stat()
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


@pytest.mark.parametrize(
    "what",
    [
        *("link_own_file", "make_pipe", "make_device", "make_whiteout", "make_socket_file"),
        *("make_unnamed_file", "change_owner"),
    ],
)
def test_only_plain_files_and_folders_are_made(what: str, granted: Granted) -> None:
    assert granted.do(what, {"path": "/etc/passwd"}).startswith("stopped: ")
    assert {path.name for path in granted.scratch.iterdir()} <= {"made"}


def test_each_file_is_bounded(granted: Granted) -> None:
    assert granted.do("fill", {"size": MIB}) is None
    (granted.scratch / "large").unlink()
    assert "File too large" in granted.do("fill", {"size": MIB + 1})
    assert (granted.scratch / "large").stat().st_size == MIB


def test_what_cannot_be_read_is_made_readable_afterwards(granted: Granted) -> None:
    granted.do("leave_a_mess")
    assert (granted.scratch / "closed").read_bytes() == b"closed"
    assert list((granted.scratch / "folder").iterdir()) == []


def test_without_a_scratch_folder_nothing_is_writable(granted: Granted) -> None:
    granted.scratch.mkdir()
    granted.scratch.chmod(0o777)
    for grants in ({}, {"processes": True}, {"ports": (80,)}, {"log": granted.log}):
        path = str(granted.scratch / "x")
        said = granted.do("write", {"path": path}, scratch=None, **grants)
        assert said.startswith("stopped: "), grants


@pytest.mark.parametrize("kind", ["missing", "file", "link", "full", "root", "input", "above"])
def test_a_folder_that_is_no_empty_folder_apart_is_refused(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "scratch"
    inputs: list[Path] = []
    if kind == "file":
        folder.write_bytes(b"")
    elif kind == "link":
        (tmp_path / "real").mkdir()
        folder.symlink_to("real")
    elif kind == "root":
        folder = Path("/")
    elif kind != "missing":
        folder.mkdir()
    if kind in ("full", "above"):
        (folder / "x").mkdir()
    if kind == "above":
        inputs = [folder / "x"]
    if kind == "input":
        inputs = [tmp_path]
    with pytest.raises((Usage, NotFound)) as caught:
        run("confined_targets:echo", b"", inputs=inputs, grants=Grants(scratch=folder))
    assert caught.value.code.endswith(".isolation.scratch")


def test_a_scratch_folder_that_cannot_be_handed_over_stops_the_start(
    fully: Granted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "refused")

    monkeypatch.setattr(os, "fchmod", refuse)
    error = fully.fails("work_in_scratch")
    assert error.code == "unavailable.isolation.scratch"


# --- the log


def test_the_log_has_what_was_said_by_python_and_by_native_code(granted: Granted) -> None:
    granted.do("talk", log=granted.log)
    lines = granted.log.read_bytes().splitlines()
    assert sorted(lines[:4]) == [b"error line", b"from Python", b"from printf", b"from write"]
    assert lines[4:] == [b"no newline, \\udc80"]
    assert stat.S_IMODE(granted.log.stat().st_mode) == 0o600


def test_the_log_survives_a_crash_and_says_where(granted: Granted) -> None:
    error = granted.fails("talk_and_crash", log=granted.log)
    assert error.code == "unavailable.isolation.crashed"
    text = granted.log.read_text()
    assert "before the crash\nnative before the crash\n" in text
    assert "in talk_and_crash" in text


def test_a_full_log_loses_the_rest_and_fails_nobody(granted: Granted) -> None:
    limits = {"file_bytes": 10_000}
    assert granted.do("talk_too_much", log=granted.log, limits=limits) == "done"
    assert granted.log.stat().st_size == 10_000


def test_a_log_is_bounded_by_less_than_other_files_are(
    granted: Granted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MOST_BYTES", 100_000)
    limits = {"file_bytes": 64 * MIB}
    assert granted.do("talk_too_much", log=granted.log, limits=limits) == "done"
    assert granted.log.stat().st_size == 100_000


def test_a_log_that_cannot_be_written_fails_nobody(
    fully: Granted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "open_log", lambda _: os.open("/dev/full", os.O_WRONLY))
    assert fully.do("talk_too_much", log=fully.log, limits={"file_bytes": MIB}) == "done"


@pytest.mark.parametrize("how", ["flat", "deep"])
@pytest.mark.parametrize("processes", [False, True])
def test_many_files_are_bounded_together(granted: Granted, processes: bool, how: str) -> None:
    limits = {"scratch_bytes": 4 * MIB, "file_bytes": MIB, "cpu_seconds": 60}
    error = granted.fails("fill_scratch", {"how": how}, limits=limits, processes=processes)
    assert error.code == "unavailable.isolation.disk"
    assert "4194304 bytes" in error.message
    granted.clear()


def test_what_was_removed_does_not_count(fully: Granted) -> None:
    limits = {"scratch_bytes": 4 * MIB, "file_bytes": MIB}
    assert fully.do("fill_and_remove", limits=limits) == "done"


def test_code_that_breaks_its_own_streams_still_answers(fully: Granted) -> None:
    assert fully.do("break_the_streams", log=fully.log) == "answered"


def test_a_log_that_exists_is_not_touched(fully: Granted) -> None:
    victim = fully.folder / "victim"
    victim.write_bytes(b"victim")
    for make in (lambda: fully.log.write_bytes(b"x"), lambda: fully.log.symlink_to(victim)):
        make()
        assert fully.fails("talk", log=fully.log).code == "usage.isolation.log"
        fully.log.unlink()
    assert victim.read_bytes() == b"victim"
    missing = fully.folder / "no" / "log"
    assert fully.fails("talk", log=missing).code == "unavailable.isolation.log"
    inside = fully.scratch / "log"
    assert fully.fails("talk", log=inside).code == "usage.isolation.log"


def test_without_a_log_nothing_is_said_anywhere(
    fully: Granted, capfd: pytest.CaptureFixture[str]
) -> None:
    fully.do("talk")
    assert capfd.readouterr() == ("", "")


# --- the environment


def test_variables_are_set_and_fixed_ones_may_be_overridden(granted: Granted) -> None:
    said = granted.do(
        "surroundings",
        {"name": "STAGE"},
        environment={"STAGE": "test \u00e9=\n", "OMP_NUM_THREADS": "3"},
    )
    environment = said["environment"]
    assert environment["STAGE"] == said["native"] == "test \u00e9=\n"
    assert environment["OMP_NUM_THREADS"] == "3"
    assert environment["OPENBLAS_NUM_THREADS"] == "1"


def test_nothing_of_this_process_comes_along(
    granted: Granted, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ASSAY_TOKEN", "PYTHONPATH", "PYTHONSTARTUP", "LD_LIBRARY_PATH"):
        monkeypatch.setenv(name, "/somewhere")
    said = granted.do("surroundings")
    assert "/somewhere" not in json.dumps(said)
    assert {n for n in said["environment"] if n.startswith("PYTHON")} == {"PYTHONHASHSEED"}
    assert said["flags"] == {"safe_path": True, "no_user_site": 1, "no_site": 1}
    assert not {"", str(granted.scratch)} & set(said["path"])


def test_strings_hash_the_same_in_every_process(granted: Granted) -> None:
    seen: set[int] = set()
    for seed in (None, "0", "7"):
        environment = {} if seed is None else {"PYTHONHASHSEED": seed}
        seen.add(granted.do("surroundings", environment=environment)["hash"])
    assert len(seen) == 2
    assert granted.do("surroundings", scratch=None, log=granted.log)["hash"] in seen


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("", "x"), ("A=B", "x"), ("1A", "x"), ("A B", "x"), ("\u00c4", "x"), ("A\0", "x")),
        *(("LD_PRELOAD", "/x.so"), ("LD_AUDIT", "/x.so"), ("GLIBC_TUNABLES", "x")),
        *(("PYTHONPATH", "/x"), ("PYTHONSTARTUP", "/x"), ("PYTHONHOME", "/x"), ("PYTHONX", "")),
        *(("PYTHONHASHSEED", v) for v in ("random", "", "-1", "4294967296", "\u0661", "1" * 5000)),
        *(("HOME", "/root"), ("TMPDIR", "/tmp"), ("GCONV_PATH", "/x"), ("A", "a\0b")),
    ],
)
def test_a_variable_that_changes_how_programs_start_is_refused(name: str, value: str) -> None:
    with pytest.raises(Usage) as caught:
        Grants(environment={name: value})
    assert caught.value.code == "usage.isolation.environment"


def test_variables_are_fixed_once_granted() -> None:
    given = {"A": "1"}
    grants = Grants(environment=given)
    given["LD_PRELOAD"] = "/x.so"
    assert grants.environment == {"A": "1"}


# --- code


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "staged.py").write_text(
        "import granted_helper, json\n"
        "def f(payload):\n"
        "    return json.dumps([__file__, granted_helper.NAME, payload.decode()]).encode()\n"
    )
    (folder / "granted_helper.py").write_text("NAME = 'helper'\n")
    return folder


def test_a_module_is_found_in_the_code_folders_first(granted: Granted, code: Path) -> None:
    said = json.loads(granted.run("staged:f", b"x", Grants(code=(code,))))
    assert said == [str(code / "staged.py"), "helper", "x"]
    other = granted.folder / "other"
    other.mkdir()
    (other / "granted_helper.py").write_text("NAME = 'other'\n")
    said = json.loads(granted.run("staged:f", b"x", Grants(code=(other, code))))
    assert said[1] == "other"


def test_code_is_not_written_to(granted: Granted, code: Path) -> None:
    code.chmod(0o777)
    assert granted.do("write", {"path": str(code / "x")}, code=(code,)).startswith("stopped: ")
    assert not (code / "__pycache__").exists()


def test_no_code_of_the_folders_runs_before_confinement(fully: Granted, code: Path) -> None:
    """Modules of the standard library's names, which trusted code imports, too."""
    marks = fully.folder / "marks"
    marks.mkdir()
    marks.chmod(0o777)
    for name in ("json", "zipfile", "ctypes", "faulthandler", "sitecustomize", "random"):
        (code / f"{name}.py").write_text(f"open({str(marks / name)!r}, 'w')\n")
    (code / "assay").mkdir()
    (code / "assay" / "__init__.py").write_text(f"open({str(marks / 'assay')!r}, 'w')\n")
    (code / "staged.py").write_text("def f(payload):\n    import random\n    return b''\n")
    with pytest.raises(Verification) as caught:
        fully.run("staged:f", b"", Grants(code=(code,)), preload=["zipfile"])
    assert caught.value.details["kind"] == "PermissionError"  # `random` was the folder's.
    assert list(marks.iterdir()) == []


def test_nothing_of_the_code_is_imported_here(
    fully: Granted, code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("looked up in this process")

    monkeypatch.setattr(plan_module.paths, "locate", refuse)
    fully.run("staged:f", b"x", Grants(code=(code,)))


def test_a_code_folder_that_is_none_is_refused(code: Path) -> None:
    for folder in (code / "staged.py", code / "missing", Path("/")):
        with pytest.raises((Usage, NotFound)):
            run("staged:f", b"", grants=Grants(code=(folder,)))
    with pytest.raises(NotFound) as caught:
        run("not_staged:f", b"", grants=Grants(code=(code,)))
    assert caught.value.code == "not_found.isolation.module"


# --- ending it from outside


def test_a_running_process_is_ended_from_another_thread(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    threads: list[threading.Thread] = []

    def on_start(end: Callable[[], None]) -> None:
        threads.append(threading.Timer(0.2, end))
        threads[0].start()

    payload = json.dumps({"do": "hang", "told": {}}).encode()
    for grants in (Grants(), Grants(scratch=tmp_path / "scratch", processes=True)):
        with pytest.raises(Unavailable) as caught:
            run("granted_targets:attempt", payload, limits=LIMITS, grants=grants, on_start=on_start)
        assert caught.value.code == "unavailable.isolation.ended"
        threads.pop().join()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_process_ended_before_it_was_ready_does_not_answer() -> None:
    ends: list[Callable[[], None]] = []

    def on_start(end: Callable[[], None]) -> None:
        end()
        ends.append(end)

    with pytest.raises(Unavailable) as caught:
        run("confined_targets:echo", b"x", limits=LIMITS, on_start=on_start)
    assert caught.value.code == "unavailable.isolation.ended"
    ends[0]()


def test_ending_it_after_it_has_answered_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[Callable[[], None]] = []
    assert run("confined_targets:echo", b"x", limits=LIMITS, on_start=ends.append).value == b"x"
    killed: list[object] = []
    monkeypatch.setattr(os, "killpg", lambda *a: killed.append(a))
    ends[0]()
    assert killed == []


def test_a_caller_that_fails_at_the_start_leaves_nothing_behind() -> None:
    def on_start(_: Callable[[], None]) -> None:
        raise RuntimeError("the caller's own")

    with pytest.raises(RuntimeError, match="own"):
        run("confined_targets:echo", b"x", limits=LIMITS, on_start=on_start)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


# --- what is not granted is as before


def test_the_rules_of_a_grant_that_cannot_be_made_stop_the_start(
    fully: Granted, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = plan_module.make

    def broken(*given: Any) -> dict[str, Any]:
        made = real(*given)
        made["grants"]["writable"] = ["/no/such/folder"]
        return made

    monkeypatch.setattr(plan_module, "make", broken)
    error = fully.fails("work_in_scratch")
    assert error.code == "unavailable.isolation.confine"


def test_a_level_without_landlock_says_that_scratch_is_no_bound(tmp_path: Path) -> None:
    capability = replace(held("landlock"), landlock_abi=0)
    assert capability.level == "process"
    with pytest.raises(Denied):
        capability.demand("full")
    told = victims(tmp_path / "victims")
    assert Granted(tmp_path, capability).do("write", told) is None


def test_no_grant_is_no_grant() -> None:
    assert not Grants().any
    assert not Grants(environment={}).any
    for port in (0, -1, 65536, True, "80", 80.0):
        with pytest.raises(AssayError):
            Grants(ports=(port,))  # type: ignore[arg-type]
