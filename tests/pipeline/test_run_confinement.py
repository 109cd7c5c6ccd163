"""What a step tries and cannot do, in whole runs: it is stopped and named, with the rule and the
remedy; the run fails cleanly, leaves nothing in plain, and the next one works."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from assay.isolation.probe import probe

from .running import Place

pytestmark = pytest.mark.skipif(
    probe().level != "full", reason="this machine does not confine processes fully"
)

PROBES = """
import os, socket, subprocess, sys, ctypes, signal
from pathlib import Path

def told(what):
    try:
        what()
    except BaseException as error:
        return type(error).__name__
    return "done"

@step
def probe(paths: list[str]) -> dict[str, str]:
    found = {}
    for path in paths:
        found["read " + path] = told(lambda: open(path, "rb").read(1))
        found["list " + path] = told(lambda: os.listdir(path))
        found["write " + path] = told(lambda: open(path, "ab").write(b"x"))
        found["remove " + path] = told(lambda: os.unlink(path))
        found["move " + path] = told(lambda: os.rename(path, "stolen"))
    return found

@pipeline
def probing(paths: list[str]) -> object:
    return probe(paths)
"""


def test_a_step_reads_writes_and_lists_nothing_of_the_workspace(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = place.another_project()
    place.code(
        "@step\ndef secret() -> str:\n    return 'secret'\n@pipeline\ndef s() -> object:\n"
        "    return secret()\n",
        "s.py",
    )
    place.ok("s.py", project=other)
    outside = tmp_path / "outside.txt"
    outside.write_text("outside")
    home = tmp_path / "home"
    home.mkdir()
    (home / "id_ed25519").write_text("key")
    monkeypatch.setenv("HOME", str(home))
    wanted = [
        *sorted(str(path) for path in place.root.rglob("*") if path.is_file())[:40],
        *(str(path) for path in (place.root / "keys").iterdir()),
        str(place.repo / "assay.toml"),
        str(place.repo / "p.py"),
        *(str(path) for path in (place.base / "state").rglob("*") if path.is_file()),
        *("/etc/shadow", "/etc/passwd", "/etc/hostname", str(outside), str(home / "id_ed25519")),
        *("/proc/1/environ", "/proc/self/environ", "/proc/self/mem", "/proc/self/cmdline"),
        *(f"/proc/{os.getpid()}/environ", f"/proc/{os.getpid()}/mem", "/dev/mem", "/dev/kmsg"),
        *("/tmp", "/root", "/home", "/proc", "/var", "/dev/shm", str(place.root), str(place.repo)),
    ]
    place.code(PROBES)
    found = place.ok(given={"paths": wanted}).value("probe")
    assert set(found.values()) <= {
        *("PermissionError", "FileNotFoundError", "IsADirectoryError", "NotADirectoryError"),
        "OSError",
    }, {what: told for what, told in found.items() if told == "done"}
    assert found["read /etc/shadow"] == "PermissionError"
    assert found[f"read {place.repo / 'assay.toml'}"] == "PermissionError"
    assert outside.read_text() == "outside"


def test_a_step_sees_no_variables_but_the_fixed_ones_and_those_declared(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.settings(step_variables=["REGION"])
    monkeypatch.setenv("REGION", "north")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very secret")
    place.code(
        """
        import os

        @step
        def none() -> dict[str, str]:
            return dict(os.environ)

        @step(environment=["REGION"])
        def one() -> dict[str, str]:
            return dict(os.environ)

        @pipeline
        def main() -> object:
            return none(), one()
        """
    )
    ran = place.ok()
    without, given = ran.value("none"), ran.value("one")
    assert set(given) - set(without) == {"REGION"}
    assert not any("ASSAY" in name or "XDG" in name or "SECRET" in name for name in given)
    assert str(place.repo) not in json.dumps(without).replace(str(place.root / "work"), "")


def test_a_step_cannot_reach_what_its_neighbour_writes(place: Place) -> None:
    place.code(
        """
        import os, time
        from pathlib import Path

        @step
        def wait(other: str) -> str:
            Path("mine").write_text("mine")
            found = []
            above = Path.cwd().parent.parent
            for number in range(1, 5):
                task = above / f"task-{number}"
                for path in (task, task / "scratch/mine", task / "log", above / "inputs"):
                    if path.is_relative_to(Path.cwd()):
                        continue
                    for what in (lambda: os.listdir(path), lambda: path.read_bytes(),
                                 lambda: (path / "x").write_bytes(b"x")):
                        try:
                            what()
                        except OSError:
                            continue
                        found.append(str(path))
            return " ".join(found)

        @pipeline
        def main() -> object:
            return [wait("a"), wait("b")]
        """
    )
    ran = place.ok(jobs=2)
    assert (ran.value("wait"), ran.value("wait-2")) == ("", "")


ATTEMPTS = {
    "a socket": (
        "import socket\n    socket.create_connection(('127.0.0.1', {port}), 2)",
        "network=",
    ),
    "a datagram": (
        "import socket\n    socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "network=",
    ),
    "a local socket": ("import socket\n    socket.socket(socket.AF_UNIX)", "network="),
    "a process": ("import subprocess\n    subprocess.run(['/bin/true'], check=True)", "processes="),
    "a fork": ("os.fork()", "processes="),
    "a program": ("os.execv('/bin/true', ['true'])", "processes="),
    "killing its parent": ("os.kill(os.getppid(), 9)", "step reads"),
    "killing the driver": ("os.kill({driver}, 9)", "step reads"),
    "killing everybody": ("os.kill(-1, 9)", "step reads"),
    "writing outside": ("open('/tmp/x-of-a-step', 'w')", "current folder"),
    "a link among its outputs": ("os.symlink('/etc/shadow', 'out/0-0.json')", "current folder"),
    "a hard link": ("open('a', 'w').close()\n    os.link('a', 'out/0-0.json')", "current folder"),
    "a pipe among its outputs": ("os.mkfifo('out/0-0.json')", "current folder"),
    "tracing": (
        "import ctypes\n    if ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0):\n"
        "        raise PermissionError('ptrace')",
        "step reads",
    ),
    "another root": ("os.chroot('.')", "step reads"),
    "another user": ("os.setuid(0)\n    raise PermissionError('still nobody')", "step reads"),
}


@pytest.mark.parametrize("what", ATTEMPTS)
def test_what_a_step_may_not_do_fails_it_by_name(place: Place, what: str) -> None:
    body, remedy = ATTEMPTS[what]
    with socket.create_server(("127.0.0.1", 0)) as server:
        body = body.format(port=server.getsockname()[1], driver=os.getpid())
        place.code(
            f"""
import os

@step
def good() -> int:
    return 1

@step
def bad(n: int) -> int:
    {body}
    return n

@pipeline
def main() -> object:
    return bad(good())
"""
        )
        failed = place.fails()
    assert failed.states == {"good": "done", "bad": "failed"}
    assert "step bad" in failed.problem
    assert "p.py, line" in failed.problem
    assert remedy in failed.problem
    assert failed.task("bad").outputs == []
    assert failed.task("bad").envelope == ""
    place.edit("p.py", body, "pass")
    assert place.ok().states["bad"] == "done"


ENDINGS = {
    "an endless loop": (
        "while True: pass",
        "timeout=1",
        ("step bad took longer than 1 seconds", "@step(timeout="),
    ),
    "sleeping": (
        "import time; time.sleep(100)",
        "timeout=0.5",
        ("step bad took longer than 0.5 seconds", "@step(timeout="),
    ),
    "using up its time": (
        "while True: pass",
        "cpu=1",
        ("step bad used up its 1 processor seconds", "@step(cpu="),
    ),
    "filling memory": (
        "data = [bytearray(1 << 20) for _ in range(1 << 20)]",
        "memory='300 MiB'",
        ("step bad ran out of its 300 MiB of memory", "@step(memory="),
    ),
    "a crash": (
        "import ctypes; ctypes.string_at(0)",
        "",
        ("step bad ended in the middle (signal SIGSEGV)", "@step(memory="),
    ),
    "ending itself": ("import os; os._exit(0)", "", ("step bad ended in the middle", "@step(")),
    "killing itself": (
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "",
        ("step bad", "PermissionError"),
    ),
    "leaving": ("raise SystemExit(0)", "", ("step bad failed: SystemExit", "run logs")),
    "an interrupt": ("raise KeyboardInterrupt", "", ("step bad failed: KeyboardInterrupt", "logs")),
}


@pytest.mark.parametrize("what", ENDINGS)
def test_a_step_that_does_not_end_well_is_ended_and_named(place: Place, what: str) -> None:
    body, options, expected = ENDINGS[what]
    place.code(
        f"""
@step({options})
def bad() -> int:
    print("so far", flush=True)
    {body}
    return 1

@pipeline
def main() -> object:
    return bad()
"""
    )
    failed = place.fails()
    for part in expected:
        assert part in failed.problem
    assert "so far" in failed.log("bad")
    assert failed.ended.error is not None
    assert "so far" in failed.ended.error.details["printed"]


@pytest.mark.slow
def test_a_step_that_starts_processes_without_end_is_ended(place: Place) -> None:
    place.settings(step_processes=True)
    place.code(
        """
        import os

        @step(processes=True, timeout=30, memory="1 GiB")
        def bad() -> int:
            while True:
                try:
                    os.fork()
                except OSError:
                    pass

        @pipeline
        def main() -> object:
            return bad()
        """
    )
    failed = place.fails()
    assert "step bad" in failed.problem


def test_a_log_that_is_filled_does_not_stop_a_step(place: Place) -> None:
    place.code(
        """
        import os

        @step
        def work() -> int:
            for _ in range(200):
                print("x" * 100_000)
            os.write(2, b"the end")
            return 1

        @pipeline
        def main() -> object:
            return work()
        """
    )
    ran = place.ok()
    assert ran.value("work") == 1
    assert "the end" in ran.log("work")


def test_what_a_step_writes_besides_its_outputs_is_gone(place: Place) -> None:
    place.code(
        """
        from pathlib import Path

        @step
        def work() -> int:
            Path("left").mkdir()
            Path("left/file").write_bytes(bytes(1000))
            Path("out/more.json").write_text("2")
            return 1

        @pipeline
        def main() -> object:
            return work()
        """
    )
    ran = place.ok()
    assert ran.value("work") == 1
    assert place.left() == []


LIES = {
    "another file as its output": "answer['outputs'] = [['../../log']]",
    "an output twice": "answer['outputs'] = [['0-0.json', '0-0.json']]",
    "no output": "answer['outputs'] = []",
    "an empty list of outputs": "answer['outputs'] = [[]]",
    "too many outputs": "answer['outputs'] = [['0-0.json'], ['0-0.json']]",
    "an absolute path": "answer['outputs'] = [['/etc/shadow']]",
    "an output that is not there": "answer['outputs'] = [['1-0.json']]",
    "no answer": "answer = None",
    "something else": "answer = {'outputs': 7}",
}


@pytest.mark.parametrize("what", LIES)
def test_an_answer_that_makes_no_sense_is_refused(place: Place, what: str) -> None:
    place.code(_lying(LIES[what]))
    failed = place.fails()
    assert "step work" in failed.problem
    assert failed.states == {"work": "failed"}
    assert failed.task("work").outputs == []


@pytest.mark.parametrize(
    "lie",
    [
        "answer['seconds'] = float('nan')",
        "answer['seconds'] = float('inf')",
        "answer['seconds'] = -1e308",
        "answer['used']['missing'] = ['a b', '../x', 'é', 'q' * 5000, 'no_such']",
    ],
)
def test_a_lie_about_itself_hurts_nobody(place: Place, lie: str) -> None:
    place.code(_lying(lie))
    ran = place.ok()
    assert ran.value("work") == 1
    assert ran.task("work").seconds >= 0
    assert ran.log("work") == ""


def test_a_lie_about_what_it_read_cannot_fill_the_ledger(place: Place) -> None:
    place.code(_lying("answer['used']['code'] = [f'0/{n}' + 'x' * 900 for n in range(9000)]"))
    ran = place.ok()
    assert 0 < len(json.dumps(ran.task("work").unstored)) < 20_000
    assert "more" in ran.task("work").unstored[-1]


def _lying(lie: str) -> str:
    """A step that answers for itself: it replaces what answers for it."""
    return f"""
import msgspec
from assay.pipeline import confined

honest = msgspec.msgpack.encode

def lying(value, *args, **kwargs):
    answer = msgspec.msgpack.decode(honest(value))
    {lie}
    return honest(answer)

@step
def work() -> int:
    class Fake:
        msgpack = type("m", (), {{"encode": staticmethod(lying), "decode": msgspec.msgpack.decode}})
    confined.msgspec = Fake
    return 1

@pipeline
def main() -> object:
    return work()
"""


def test_garbage_on_its_channel_ends_a_step(place: Place) -> None:
    place.code(
        """
        import os

        @step
        def work() -> int:
            for handle in range(3, 64):
                try:
                    os.write(handle, b"garbage" * 100)
                except OSError:
                    pass
            return 1

        @pipeline
        def main() -> object:
            return work()
        """
    )
    failed = place.fails()
    assert "step work answered out of turn" in failed.problem


def test_an_answer_without_end_is_cut_off(place: Place) -> None:
    place.code(_lying("answer['raised'] = None; answer['used']['code'] = ['x' * (1 << 20)] * 40"))
    assert "step work gave no answer" in place.fails().problem


def test_a_thread_that_a_step_leaves_running_ends_with_it(place: Place) -> None:
    place.code(
        """
        import threading, time

        def forever():
            while True:
                time.sleep(0.01)

        @step
        def work() -> int:
            threading.Thread(target=forever).start()
            return 1

        @pipeline
        def main() -> object:
            return work()
        """
    )
    assert place.ok().value("work") == 1
    assert place.left() == []


def test_a_step_cannot_reach_the_code_that_the_next_one_runs(place: Place) -> None:
    place.code(
        """
        from pathlib import Path

        @step
        def bad() -> str:
            here = Path(__file__)
            for path in (here, here.with_name("new.py"), here.parent / "__pycache__"):
                try:
                    path.write_text("VALUE = 666")
                    return "written"
                except OSError:
                    pass
            try:
                here.unlink()
                return "removed"
            except OSError as error:
                return type(error).__name__

        @pipeline
        def main() -> object:
            return bad()
        """
    )
    assert place.ok().value("bad") == "PermissionError"


def test_importing_the_pipeline_is_confined_too(place: Place, tmp_path: Path) -> None:
    place.code(
        f"""
        import os
        from pathlib import Path

        FOUND = []
        for path in ("/etc/shadow", {str(place.root / "keys")!r}, {str(tmp_path)!r}):
            try:
                os.listdir(path) if Path(path).is_dir() else open(path).read()
                FOUND.append(path)
            except OSError:
                pass

        @step
        def work(found: list[str]) -> int:
            return len(found)

        @pipeline
        def main() -> object:
            return work(FOUND)
        """
    )
    assert place.ok().value("work") == 0
