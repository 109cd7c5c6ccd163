"""One confined call: what goes in, what comes out, what it can see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from assay.errors import (
    Corrupt,
    Denied,
    NotFound,
    Unavailable,
    Usage,
    Verification,
)
from assay.isolation import paths, process
from assay.isolation import run as run_module
from assay.isolation.capability import Capability
from assay.isolation.limits import MIB, PAYLOAD_LIMIT, Limits
from assay.isolation.probe import probe
from assay.isolation.run import run

SMALL = Limits(memory_bytes=512 * MIB, cpu_seconds=5, wall_seconds=20, answer_bytes=4 * MIB)
NOTHING = Capability(
    limits=False,
    landlock_abi=0,
    seccomp=False,
    uid_separation=False,
    user_namespace=False,
    bubblewrap=None,
)

# Landlock says the first; in bubblewrap's empty file system, the second.
UNREADABLE = ("PermissionError", "FileNotFoundError")

needs_full = pytest.mark.skipif(probe().level != "full", reason="this machine confines less")


def test_a_function_answers_and_says_how_it_was_held() -> None:
    outcome = run("confined_targets:echo", b"payload", limits=SMALL)
    assert outcome.value == b"payload"
    assert outcome.level == probe().level
    assert 0 < outcome.cpu_seconds < 5
    assert MIB < outcome.max_rss < 512 * MIB


@pytest.mark.parametrize("size", [0, 1, 65526, 65527, 65528, 65536, 65545, 1 << 20, 3_000_001])
def test_payloads_of_every_size_come_back_whole(size: int) -> None:
    payload = os.urandom(size)
    assert run("confined_targets:echo", payload, limits=SMALL).value == payload


def test_a_payload_too_large_for_a_call_is_refused() -> None:
    payload = bytes(PAYLOAD_LIMIT + 1)
    with pytest.raises(Usage) as caught:
        run("confined_targets:echo", payload, limits=SMALL)
    assert caught.value.code == "usage.isolation.payload"


def test_nothing_comes_along_from_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_TOKEN", "secret")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("LD_PRELOAD", "")
    seen = json.loads(run("confined_targets:surroundings", b"", limits=SMALL).value)
    allowed = {*process._ENVIRONMENT, "PWD"}  # Bubblewrap sets PWD.
    assert set(seen["environment"]) <= allowed
    assert "secret" not in json.dumps(seen)
    assert seen["folder"] == "/"
    channel = int(seen["arguments"][1])
    assert set(seen["descriptors"]) == {0, 1, 2, channel}
    assert not {"", os.getcwd(), "/somewhere"} & set(seen["path"])  # noqa: PTH109
    assert set(seen["modules"]) <= {
        "assay",
        *(f"assay.isolation{part}" for part in ("", ".identity", ".landlock", ".seccomp")),
    }
    if probe().uid_separation:
        assert seen["uid"] >= 1879048192


def test_an_inheritable_descriptor_is_not_inherited(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    handle = os.open(secret, os.O_RDONLY)
    try:
        os.set_inheritable(handle, True)
        # A program started without care has it: the control.
        code = f"import os; print(os.read({handle}, 6))"
        careless = subprocess.run(
            [sys.executable, "-c", code], close_fds=False, capture_output=True, check=True
        )
        assert careless.stdout == b"b'secret'\n"
        seen = json.loads(run("confined_targets:surroundings", b"", limits=SMALL).value)
        assert len(seen["descriptors"]) == 4
        channel = int(seen["arguments"][1])
        assert handle not in seen["descriptors"] or handle == channel
    finally:
        os.close(handle)


@needs_full
def test_declared_inputs_are_readable_and_nothing_beside_them(tmp_path: Path) -> None:
    folder = tmp_path / "private"
    folder.mkdir(mode=0o700)
    for name in ("given", "withheld"):
        (folder / name).write_bytes(name.encode())
        (folder / name).chmod(0o600)
    given, withheld = folder / "given", folder / "withheld"
    outcome = run("confined_targets:read_file", bytes(given), inputs=[given], limits=SMALL)
    assert outcome.value == b"given"
    with pytest.raises(Verification) as caught:
        run("confined_targets:read_file", bytes(withheld), inputs=[given], limits=SMALL)
    assert caught.value.details["kind"] in UNREADABLE
    # The control: a function given the whole folder reads both.
    outcome = run("confined_targets:read_file", bytes(withheld), inputs=[folder], limits=SMALL)
    assert outcome.value == b"withheld"
    names = run("confined_targets:list_folder", bytes(folder), inputs=[folder], limits=SMALL)
    assert json.loads(names.value) == ["given", "withheld"]


@needs_full
def test_the_folder_around_the_function_is_not_readable() -> None:
    beside = Path(__file__)
    with pytest.raises(Verification) as caught:
        run("confined_targets:read_file", bytes(beside), limits=SMALL)
    assert caught.value.details["kind"] in UNREADABLE


@needs_full
def test_an_input_that_is_a_link_gives_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"model")
    (tmp_path / "link").symlink_to("model")
    real = bytes(tmp_path / "model")
    outcome = run("confined_targets:read_file", real, inputs=[tmp_path / "link"], limits=SMALL)
    assert outcome.value == b"model"


@pytest.mark.parametrize("name", ["missing", "loop", "fifo", "/dev/zero", "/"])
def test_an_input_that_is_no_file_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises((Usage, NotFound)) as caught:
        run("confined_targets:echo", b"", inputs=[tmp_path / name], limits=SMALL)
    assert caught.value.code.endswith("isolation.input")


@pytest.mark.parametrize(
    "target",
    ["", "x", "x:", ":f", "x:y:z", "x y:f", "../x:f", "__main__:f", "x:f()", "x.:f", "x:f.g"],
)
def test_a_target_that_names_no_function_is_refused(target: str) -> None:
    with pytest.raises(Usage) as caught:
        run(target, b"", limits=SMALL)
    assert caught.value.code == "usage.isolation.target"


def test_a_module_that_does_not_exist_is_not_found() -> None:
    with pytest.raises(NotFound) as caught:
        run("no_such_module_anywhere:f", b"", limits=SMALL)
    assert caught.value.code == "not_found.isolation.module"


def test_a_function_that_does_not_exist_is_an_error_of_the_target() -> None:
    with pytest.raises(Verification) as caught:
        run("confined_targets:missing", b"", limits=SMALL)
    assert caught.value.details["kind"] == "AttributeError"


def test_the_module_is_never_imported_in_this_process() -> None:
    assert "confined_targets" not in sys.modules
    run("confined_targets:echo", b"", limits=SMALL)
    assert "confined_targets" not in sys.modules


def test_an_error_of_ours_keeps_its_kind_and_remedy() -> None:
    with pytest.raises(Usage) as caught:
        run("confined_targets:raise_usage", b"credit", limits=SMALL)
    assert caught.value.as_dict() == {
        "error": "usage.formats.convert",
        "message": "the model credit has no ONNX form",
        "remedy": "export it from its own library",
    }


def test_another_error_travels_as_its_kind_and_message() -> None:
    with pytest.raises(Verification) as caught:
        run("confined_targets:raise_value_error", b"told to\x1b[2J", limits=SMALL)
    assert caught.value.code == "verification.isolation.raised"
    assert caught.value.details == {"kind": "ValueError", "message": "told to [2J"}
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize(
    ("function", "kind"),
    [("raise_system_exit", "SystemExit"), ("raise_denied", "denied"), ("not_bytes", "TypeError")],
)
def test_whatever_comes_out_is_an_error_of_the_function(function: str, kind: str) -> None:
    with pytest.raises(Verification) as caught:
        run(f"confined_targets:{function}", b"0", limits=SMALL)
    assert caught.value.details["kind"] == kind


def test_a_long_message_is_cut() -> None:
    with pytest.raises(Verification) as caught:
        run("confined_targets:raise_value_error", b"x" * 100_000, limits=SMALL)
    assert len(caught.value.message) < 3000


def test_an_answer_over_the_limit_is_refused() -> None:
    limits = replace(SMALL, answer_bytes=10)
    assert len(run("confined_targets:long_answer", b"10", limits=limits).value) == 10
    with pytest.raises(Verification, match="11 bytes; 10 are allowed"):
        run("confined_targets:long_answer", b"11", limits=limits)


def test_a_function_that_hangs_is_ended() -> None:
    limits = replace(SMALL, wall_seconds=0.5)
    with pytest.raises(Unavailable) as caught:
        run("confined_targets:sleep", b"3600", limits=limits)
    assert caught.value.code == "unavailable.isolation.timeout"


def test_memory_that_runs_out_is_an_error_of_its_own() -> None:
    with pytest.raises(Unavailable) as caught:
        run("confined_targets:long_answer", str(1 << 30).encode(), limits=SMALL)
    assert caught.value.code == "unavailable.isolation.memory"


@needs_full
def test_threads_are_allowed_up_to_the_limit() -> None:
    capability = probe()
    if not (capability.uid_separation or capability.user_namespace or capability.bubblewrap):
        pytest.skip("threads cannot be counted here")
    limits = replace(SMALL, threads=12)
    assert run("confined_targets:start_threads", b"8", limits=limits).value == b"8"
    with pytest.raises(Verification) as caught:
        run("confined_targets:start_threads", b"40", limits=limits)
    assert caught.value.details["kind"] == "RuntimeError"


@pytest.mark.parametrize(
    "field", ["memory_bytes", "cpu_seconds", "wall_seconds", "threads", "answer_bytes"]
)
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_limit_of_nothing_is_refused(field: str, value: float) -> None:
    with pytest.raises(Usage):
        replace(SMALL, **{field: value})


def test_a_level_that_is_reached_is_given() -> None:
    level = probe().level
    assert run("confined_targets:echo", b"", limits=SMALL, require=level).level == level


def test_a_level_that_is_not_reached_is_denied_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weak = replace(probe(), landlock_abi=0, notes=("no Landlock",))
    monkeypatch.setattr(run_module, "probe", lambda: weak)
    monkeypatch.setattr(process.subprocess, "Popen", None)
    with pytest.raises(Denied) as caught:
        run("confined_targets:echo", b"", limits=SMALL, require="full")
    assert caught.value.code == "denied.isolation.level"
    assert caught.value.details["reached"] == "process"
    assert caught.value.details["missing"] == ["Landlock"]
    assert "Landlock" in caught.value.message


def test_without_landlock_the_level_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(run_module, "probe", lambda: replace(probe(), landlock_abi=0))
    if not probe().seccomp:
        pytest.skip("this machine has no system call filter")
    (tmp_path / "secret").write_bytes(b"secret")
    outcome = run("confined_targets:echo", b"", limits=SMALL)
    assert outcome.level == "process"


def test_means_that_fail_when_applied_leave_nothing_running(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A machine that offered Landlock when probed, and refuses it now."""
    readable = [*paths.libraries(), "/no/such/folder"]
    monkeypatch.setattr(process.paths, "libraries", lambda: tuple(readable))
    if not probe().landlock_abi:
        pytest.skip("this machine has no Landlock")
    with pytest.raises(Unavailable) as caught:
        run("confined_targets:echo", b"", limits=SMALL)
    assert caught.value.code in ("unavailable.isolation.confine", "unavailable.isolation.crashed")


@needs_full
def test_a_preloaded_module_that_starts_threads_stops_the_start() -> None:
    with pytest.raises(Unavailable, match="started threads") as caught:
        run("confined_targets:echo", b"", preload=["starts_a_thread"], limits=SMALL)
    assert caught.value.code == "unavailable.isolation.confine"


def test_a_preloaded_module_is_there_before_the_function() -> None:
    outcome = run("confined_targets:echo", b"x", preload=["json", "zipfile"], limits=SMALL)
    assert outcome.value == b"x"
    with pytest.raises(Usage):
        run("confined_targets:echo", b"", preload=["../x"], limits=SMALL)
    with pytest.raises(NotFound, match="no_such_module"):
        run("confined_targets:echo", b"", preload=["no_such_module"], limits=SMALL)


def test_no_process_and_no_descriptor_is_left_behind() -> None:
    # Another test of this process may keep a server running: what was there before may stay.
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    children = _children()
    for function in ("echo", "raise_value_error"):
        try:
            run(f"confined_targets:{function}", b"", limits=SMALL)
        except Verification:
            continue
    with pytest.raises(Unavailable):
        run("confined_targets:sleep", b"60", limits=replace(SMALL, wall_seconds=0.3))
    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert _children() == children


def _children() -> set[str]:
    """The processes of this one that run, or that nobody waited for."""
    tasks = Path("/proc/self/task").iterdir()
    return {child for task in tasks for child in (task / "children").read_text().split()}


def test_calls_from_several_threads_do_not_disturb_each_other() -> None:
    answers: dict[int, bytes] = {}

    def one(number: int) -> None:
        payload = str(number).encode() * 1000
        answers[number] = run("confined_targets:echo", payload, limits=SMALL).value

    threads = [threading.Thread(target=one, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: str(number).encode() * 1000 for number in range(6)}


def test_errors_that_travel_include_corrupt() -> None:
    assert process._TRAVEL["corrupt"] is Corrupt
    assert "denied" not in process._TRAVEL
    assert "conflict" not in process._TRAVEL
