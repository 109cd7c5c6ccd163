"""Small pipelines, and ``assay`` in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from typing import Any

SMALL = '''
"""Adds numbers."""

from assay.pipeline import pipeline, step
from helpers import scaled


@step
def load(count: int) -> list[int]:
    return list(range(count))


@step
def total(values: list[int], factor: float) -> float:
    print("adding", len(values), "numbers")
    return scaled(sum(values), factor)


@pipeline(purpose="testing")
def small(count: int = 3, factor: float = 1.0):
    return total(load(count), factor)
'''
HELPERS = """
def scaled(value: float, factor: float) -> float:
    return value * factor
"""
FAILING = """
from assay.pipeline import pipeline, step


@step
def first() -> int:
    return 1


@step
def broken(value: int) -> int:
    for number in range(30):
        print("line", number, "[bold]" + chr(27) + "[31m")
    raise ValueError("no luck with " + chr(27) + "[31m")


@step
def after(value: int) -> int:
    return value


@pipeline
def failing():
    return after(broken(first()))
"""
SLOW = """
import time

from assay.pipeline import pipeline, step


@step
def first() -> int:
    return 1


@step
def slow(value: int) -> int:
    time.sleep(300)
    return value


@pipeline
def slowly():
    return slow(first())
"""
LATE = """
from assay.pipeline import pipeline, step


@step
def late() -> int:
    import importlib

    return importlib.import_module("hid" + "den").VALUE


@pipeline
def lately():
    return late()
"""
MAPPED = """
from assay.pipeline import each, pipeline, step


@step
def square(number: int) -> int:
    return number * number


@step
def total(numbers: list[int]) -> int:
    return sum(numbers)


@pipeline
def squares(count: int = 4):
    return total(square.map(number=each(list(range(count)))))
"""
READING = """
from assay.pipeline import pipeline, read


@pipeline(purpose="credit-scoring")
def reading():
    return read("rows")
"""
DECLARED = (
    *("--owner", "risk", "--origin", "core banking", "--licence", "internal"),
    *("--purpose", "credit-scoring", "--legal-basis", "contract", "--residency", "local"),
)


def put(here: Any, **sources: str) -> None:
    for name, text in sources.items():
        (here.ws / f"{name}.py").write_text(text)


def states(document: Any) -> dict[str, str]:
    return {task["name"]: task["state"] for task in document["tasks"]}


@contextlib.contextmanager
def started(here: Any, *args: str) -> Generator[Callable[[str], subprocess.Popen[str]]]:
    """``assay ARGS`` in a process of its own; yields what waits for a line of its progress."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("ASSAY_")}
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; from assay.cli.app import run; sys.exit(run())", *args],
        cwd=here.ws,
        env={
            **clean,
            "ASSAY_KEYS": str(here.folder / "keys"),
            "XDG_STATE_HOME": str(here.folder / "state"),
            "XDG_CONFIG_HOME": str(here.folder / "config"),
            "ASSAY_ACTOR": "alice",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        seen: list[str] = []

        def until(text: str) -> subprocess.Popen[str]:
            assert process.stderr is not None
            for line in process.stderr:
                seen.append(line)
                if text in line:
                    return process
            raise AssertionError(f"never said {text!r}: {seen}")

        try:
            yield until
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
