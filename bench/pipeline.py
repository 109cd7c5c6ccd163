"""What re-use costs: a run of 50 steps that is wholly cached, beside Hamilton's and Prefect's.

Run: ``python bench/pipeline.py``.  A chain and a fan of 50 steps, each giving 60 KiB.  Figures are
whole processes, from start to exit, the best of several; the peers run in environments of their
own, which are made once below ``~/.cache/assay/peers`` (without a network they are left out).  Then
what a step costs that does run, beside the processor time of a confined process that does nothing.

Goals: a cached run within 1.0 s, in half of Hamilton's time and a twentieth of Prefect's; at most
10 ms of processor time a step beside the start of its process.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

STEPS = 50
SIZE = 60 << 10
RUNS = 5
PEERS = {"hamilton": "sf-hamilton==1.90.0", "prefect": "prefect==3.9.1"}

ASSAY = """\
from assay.pipeline import pipeline, step

@step
def first(size: int) -> bytes:
    return bytes(size)

@step
def following(before: bytes, number: int) -> bytes:
    return bytes([number]) * len(before)

@step
def last(parts: list[bytes]) -> int:
    return sum(map(len, parts))

@pipeline
def chain(steps: int, size: int) -> object:
    made = first(size)
    for number in range(1, steps):
        made = following(made, number)
    return made

@pipeline
def fan(steps: int, size: int) -> object:
    made = first(size)
    return last([following(made, number) for number in range(1, steps - 1)])
"""

HAMILTON = """\
import sys
from types import ModuleType
from hamilton import driver

def module(shape, steps, size):
    lines = [f"def s0() -> bytes:\\n    return bytes({size})"]
    for n in range(1, steps):
        before = f"s{n - 1}" if shape == "chain" else "s0"
        lines.append(f"def s{n}({before}: bytes) -> bytes:\\n"
                     f"    return bytes([{n}]) * len({before})")
    made = ModuleType("made")
    path = f"made_{shape}.py"
    open(path, "w").write("\\n".join(lines))
    import importlib
    sys.path.insert(0, ".")
    return importlib.import_module(f"made_{shape}")

shape, steps, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
dr = driver.Builder().with_modules(module(shape, steps, size)).with_cache(path="cache").build()
wanted = [f"s{steps - 1}"] if shape == "chain" else [f"s{n}" for n in range(1, steps)]
dr.execute(wanted)
"""

PREFECT = """\
import sys
from prefect import flow, task
from prefect.cache_policies import INPUTS, TASK_SOURCE

@task(cache_policy=INPUTS + TASK_SOURCE, persist_result=True)
def first(size: int) -> bytes:
    return bytes(size)

@task(cache_policy=INPUTS + TASK_SOURCE, persist_result=True)
def following(before: bytes, number: int) -> bytes:
    return bytes([number]) * len(before)

@flow
def chain(steps: int, size: int):
    made = first(size)
    for number in range(1, steps):
        made = following(made, number)

@flow
def fan(steps: int, size: int):
    made = first(size)
    for number in range(1, steps):
        following(made, number)

shape, steps, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
{"chain": chain, "fan": fan}[shape](steps, size)
"""


def best(work: Callable[[], object], runs: int = RUNS) -> float:
    found = float("inf")
    for _ in range(runs):
        start = time.perf_counter()
        work()
        found = min(found, time.perf_counter() - start)
    return found


def environment(name: str) -> Path | None:
    """The Python of a peer's own environment; None where it cannot be made."""
    folder = Path.home() / ".cache" / "assay" / "peers" / name
    python = folder / "bin" / "python"
    if not (folder / "made").exists():
        shutil.rmtree(folder, ignore_errors=True)
        made = subprocess.run([sys.executable, "-m", "venv", folder], capture_output=True)
        install = [python, "-m", "pip", "install", "-q", PEERS[name]]
        if made.returncode or subprocess.run(install, capture_output=True).returncode:
            return None
        (folder / "made").touch()
    return python


def peer(name: str, script: str, shape: str, work: Path) -> float | None:
    python = environment(name)
    if python is None:
        return None
    folder = work / f"{name}-{shape}"
    folder.mkdir()
    (folder / "run.py").write_text(script)
    env = {
        **os.environ,
        "PREFECT_HOME": str(folder / "home"),
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "DO_NOT_TRACK": "1",
        "HAMILTON_TELEMETRY_ENABLED": "false",
    }
    command = [str(python), "run.py", shape, str(STEPS), str(SIZE)]

    def once() -> None:
        subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True)

    try:
        once()
        return best(once, 3 if name == "prefect" else RUNS)
    except subprocess.CalledProcessError as error:
        print(f"  {name} failed: {error.stderr.decode()[-300:]}")
        return None


def assay(work: Path, env: Mapping[str, str], *words: str) -> None:
    command = [sys.executable, "-m", "assay", *words]
    done = subprocess.run(command, cwd=work, env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)


def ours(shape: str, work: Path, env: Mapping[str, str]) -> float:
    """Run a pipeline once in earnest, print what that cost, then time it cached."""
    words = ("run", f"steps50.py:{shape}", "--set", f"steps={STEPS}", "--set", f"size={SIZE}")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    assay(work, env, *words)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"  assay, cold: {wall:.1f} s, {1000 * cpu / STEPS:.0f} ms processor time a step in all")
    return best(lambda: assay(work, env, *words))


def cold(work: Path, env: Mapping[str, str]) -> None:
    """What a step costs beside the start of its process: 48 more steps, and what they add."""
    script = (
        "import json, resource, statistics, sys\n"
        "from assay.isolation.run import run\n"
        "from assay.isolation.grants import Grants\n"
        "import assay.cli.app\n"
        "def cpu(who):\n"
        "    u = resource.getrusage(who); return u.ru_utime + u.ru_stime\n"
        "begun = cpu(resource.RUSAGE_SELF)\n"
        "code = assay.cli.app.run(sys.argv[1:])\n"
        "own, below = cpu(resource.RUSAGE_SELF) - begun, cpu(resource.RUSAGE_CHILDREN)\n"
        "bare = []\n"
        "for _ in range(20):\n"
        "    before = cpu(resource.RUSAGE_CHILDREN)\n"
        "    run('assay.pipeline.confined:ready', b'', grants=Grants())\n"
        "    bare.append(cpu(resource.RUSAGE_CHILDREN) - before)\n"
        "print(json.dumps({'own': own, 'below': below, 'bare': statistics.median(bare)}))\n"
    )

    def measured(steps: int, size: int) -> dict[str, float]:
        words = ("run", "steps50.py:chain", "--set", f"steps={steps}", "--set", f"size={size}")
        command = [sys.executable, "-c", script, *words, "--json"]
        done = subprocess.run(
            command, cwd=work, env=env, capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout.splitlines()[-1])

    pairs = [(measured(2, 100 + n), measured(STEPS, 200 + n)) for n in range(3)]
    more = STEPS - 2
    bare = min(pair[1]["bare"] for pair in pairs)
    driver = min((many["own"] - few["own"]) / more for few, many in pairs)
    within = min((many["below"] - few["below"]) / more for few, many in pairs)
    print(
        f"a step that runs: {1000 * driver:.1f} ms processor time in the driver, and "
        f"{1000 * (within - bare):.1f} ms in its process beside the {1000 * bare:.0f} ms of one "
        "that starts and does nothing (goal: 10 ms together)"
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as base:
        work = Path(base) / "work"
        work.mkdir()
        # Nobody works without compiled files, which an editable installation makes on first use.
        env = {
            **{k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"},
            "ASSAY_KEYS": str(Path(base) / "keys"),
            "XDG_STATE_HOME": str(Path(base) / "state"),
        }
        (work / "steps50.py").write_text(ASSAY)
        assay(work, env, "init", "--project", "bench", "--name", "ada", "--development")
        for shape in ("chain", "fan"):
            print(f"{shape} of {STEPS} steps, {SIZE >> 10} KiB each:")
            cached = ours(shape, work, env)
            print(f"  assay, cached: {cached:.2f} s (goal: 1.0 s)")
            for name, script, goal in (("hamilton", HAMILTON, 2), ("prefect", PREFECT, 20)):
                taken = peer(name, script, shape, Path(base))
                if taken is None:
                    print(f"  {name}: not measured")
                else:
                    ratio = taken / cached
                    print(f"  {name}: {taken:.2f} s, {ratio:.1f} x assay's (goal: {goal} x)")
        cold(work, env)


if __name__ == "__main__":
    main()
