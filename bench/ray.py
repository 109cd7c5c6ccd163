"""What a task costs the driver on Ray: processor time of the driver and of its bridge, a task.

    python -m bench.ray [TASKS]

Starts a Ray of one node here, unless ASSAY_RAY_ADDRESS names one.  The tasks do next to nothing,
and each still is a confined process on its node, with an input, a log and an output of its own.

First the executor alone, then ``assay run --executor ray`` of a map over that many partitions: with
keys, sealed inputs and outputs, and signed provenance.  The run's fixed part (imports, planning,
Ray's start) is measured by one of a few partitions and left out of the figure a task.

Goal: at most 5 ms of processor time of the driver a task.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import tempfile
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path

import msgspec

import assay.cli.app
from assay import canonical
from assay.actions import runs
from assay.pipeline.archive import pack_code
from assay.pipeline.confined import Call, Plain, Read
from assay.pipeline.ray_executor import RayExecutor
from assay.plugins import Finished, Task, TaskInput

CODE = b"""
from assay.pipeline import step

@step
def twice(data: bytes, number: int) -> bytes:
    return data * 2
"""
PIPELINE = """
import numpy as np

from assay.pipeline import each, pipeline, step

@step
def parts(count: int) -> list[np.ndarray]:
    return [np.full(250, number) for number in range(count)]

@step
def twice(part: np.ndarray) -> np.ndarray:
    return part * 2

@pipeline
def many(count: int) -> object:
    return twice.map(each(parts(count)))
"""
FEW = 10
LIMIT_MS = 5.0


def task(number: int, part: Path) -> Task:
    call = Call("steps:twice", {"data": Read([0]), "number": Plain(number)}, 1)
    return Task(
        name=f"twice[{number}]",
        payload=msgspec.msgpack.encode(call),
        inputs=(TaskInput(canonical.digest_file(part), str(part)),),
        memory_bytes=4 << 30,
        cpu_seconds=60,
        wall_seconds=60,
        file_bytes=1 << 20,
        environment={},
        ports=(),
        processes=False,
        require=None,
        distributions="",
    )


def used_by(pid: int) -> float:
    """Processor seconds of a process and its threads (proc_pid_stat(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Measured(RayExecutor):
    """Notes what its bridge has used before it ends."""

    bridges = 0.0

    def shutdown(self, *, cancel: bool) -> None:
        with contextlib.suppress(Exception):
            Measured.bridges += used_by(self.bridge)
        super().shutdown(cancel=cancel)


def own() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def said(*words: str) -> None:
    with Path(os.devnull).open("w") as nothing, contextlib.redirect_stdout(nothing):
        status = assay.cli.app.run(list(words))
    if status:
        sys.exit(f"assay {' '.join(words)} ended with {status}")


def run_of(count: int) -> tuple[float, float, float]:
    """Seconds of processor time of driver and bridge, and of the clock, of a whole run."""
    driver, there, wall = own(), Measured.bridges, time.perf_counter()
    said("run", "many.py", "--set", f"count={count}", "--executor", "ray")
    return own() - driver, Measured.bridges - there, time.perf_counter() - wall


def whole(count: int) -> float:
    """Print what a task of a whole run costs; milliseconds."""
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        os.environ |= {"ASSAY_KEYS": f"{name}/keys", "XDG_STATE_HOME": f"{name}/state"}
        Path("many.py").write_text(PIPELINE)
        said("init", "--project", "bench", "--name", "ada", "--development")
        runs.open_executor = lambda _: Measured()
        run_of(FEW)  # What is installed is verified and compiled once.
        few, many = run_of(FEW + 1), run_of(count)
    driver, bridge = (1e3 * (many[n] - few[n]) / (count - FEW - 1) for n in (0, 1))
    print(f"a whole run of {count} partitions, {many[2]:.1f} s (one of {FEW + 1}: {few[2]:.1f} s)")
    print(f"driver               {driver:6.2f} ms of CPU a task (goal {LIMIT_MS:g})")
    print(f"bridge to Ray        {bridge:6.2f} ms")
    return driver + bridge


def alone(count: int) -> float:
    """Print what a task costs the executor alone; milliseconds."""
    archive = pack_code({"0/steps.py": CODE})
    executor = RayExecutor()
    executor.open(archive, canonical.digest(archive))
    bridge = executor.bridge
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts = [folder / f"part-{number}" for number in range(count)]
        for number, part in enumerate(parts):
            part.write_bytes(number.to_bytes(4, "big") * 250)
        tasks = [task(number, part) for number, part in enumerate(parts)]
        driver, there, wall = time.process_time(), used_by(bridge), time.perf_counter()
        flying: set[Future[Finished]] = set()
        left = list(enumerate(tasks))
        steps = 0.0
        while left or flying:
            while left and len(flying) < executor.slots:
                number, one = left.pop()
                flying.add(executor.submit(one, folder / f"task-{number}"))
            done, flying = wait(flying, return_when=FIRST_COMPLETED)
            steps += sum(future.result().cpu_seconds for future in done)
        driver, there = time.process_time() - driver, used_by(bridge) - there
        wall = time.perf_counter() - wall
    executor.shutdown(cancel=False)
    each = 1e3 * (driver + there) / count
    print(f"{count} tasks, {executor.slots} in flight, {wall:.1f} s")
    print(f"driver               {1e3 * driver / count:6.2f} ms of CPU a task")
    print(f"bridge to Ray        {1e3 * there / count:6.2f} ms")
    print(f"both                 {each:6.2f} ms (at most {LIMIT_MS:g})")
    print(f"the step's process   {1e3 * steps / count:6.2f} ms, on the node")
    return each


def main(count: int) -> None:
    figures = alone(count), whole(count)
    if max(figures) > LIMIT_MS:
        sys.exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
