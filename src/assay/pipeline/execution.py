"""Run one task here, in a confined process: what every executor does in the end, where it runs."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import msgspec

from assay import files
from assay.errors import Unavailable, Usage
from assay.isolation import scratch as scratches
from assay.isolation.grants import Grants
from assay.isolation.limits import Level, Limits
from assay.isolation.run import run
from assay.pipeline.confined import TARGET, Answer, Where
from assay.plugins import Finished, Task

ANSWER_LIMIT = 16 << 20
"""Bytes of an answer: names, not values."""
THREADS = 256
LOG = "log"
SCRATCH = "scratch"
OUTPUTS = "out"


def execute(
    task: Task,
    *,
    code: Path,
    inputs: Sequence[Path],
    folder: Path,
    bytecode: Path | None = None,
    on_start: Callable[[Callable[[], None]], None] | None = None,
) -> Finished:
    """Run `task` with the first-party code below `code` and its input files at `inputs`.

    `bytecode` holds compiled files of the libraries, see `assay.pipeline.bytecode`; without it, all
    is compiled anew: nobody vouches for what lies beside the sources.

    `folder` is new: it gets the log, and the scratch folder with the outputs.  `on_start` is handed
    a function that ends the process.  Raises what `assay.isolation.run.run` raises.
    """
    scratch, log = folder / SCRATCH, folder / LOG
    outputs = scratch / OUTPUTS
    files.make_folder(scratch)
    if bytecode is None:
        bytecode = folder / "nothing"
        files.make_folder(bytecode)
    roots = sorted(entry for entry in code.iterdir() if entry.is_dir())
    limits = Limits(
        memory_bytes=task.memory_bytes,
        cpu_seconds=task.cpu_seconds,
        wall_seconds=task.wall_seconds,
        file_bytes=task.file_bytes,
        threads=THREADS,
        answer_bytes=ANSWER_LIMIT,
    )
    grants = Grants(
        scratch=scratch,
        log=log,
        environment=task.environment,
        ports=task.ports,
        processes=task.processes,
        code=tuple(roots),
        bytecode=bytecode,
    )
    payload = Where(
        task.payload,
        [str(path) for path in inputs],
        str(outputs),
        [str(root) for root in roots],
    )
    outcome = run(
        TARGET,
        msgspec.msgpack.encode(payload),
        inputs=list(inputs),
        limits=limits,
        require=cast("Level | None", task.require),
        grants=grants,
        on_start=on_start,
    )
    return Finished(
        outcome.value,
        _outputs(outcome.value, outputs, task.name),
        str(log),
        outcome.level,
        outcome.cpu_seconds,
        outcome.max_rss,
        socket.gethostname(),
    )


def _outputs(answer: bytes, folder: Path, name: str) -> list[str]:
    """The output files that the answer names, if that is what they are: plain files in there."""
    try:
        told = msgspec.msgpack.decode(answer, type=Answer)
    except (msgspec.MsgspecError, ValueError) as error:
        raise Unavailable(
            f"step {name} gave an answer that cannot be read",
            remedy="run it again; if it does so again, look at its log",
            code="step.answer",
        ) from error
    there = {file.path: folder / file.path for file in scratches.files(folder)}
    named = [file for files_of in told.outputs for file in files_of]
    if len(set(named)) != len(named) or not set(named) <= set(there):
        raise Usage(
            f"step {name} names outputs that it did not write",
            remedy="leave the files in its output folder alone",
            code="step.outputs",
        )
    return [str(there[file]) for file in named]


def answer_of(finished: Finished) -> Answer:
    """What the step said of itself, decoded."""
    return msgspec.msgpack.decode(finished.answer, type=Answer)


def tail(log: Path, limit: int = 2000) -> str:
    """The end of what a step printed; empty where it printed nothing."""
    with contextlib.suppress(OSError), log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - limit))
        return stream.read(limit).decode("utf-8", "replace")
    return ""
