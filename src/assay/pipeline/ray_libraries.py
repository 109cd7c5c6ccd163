"""The libraries of a Ray node: verified there, compiled once, and looked at again afterwards.

A result is stored under a key that names the libraries of the machine that drives the run.  So a
node runs a task only while its own, verified file by file, have the very digest that the task
names; it says what else a step loaded, with digests, for the driver to compare; and compiled files
come from a folder of this user alone, made from the source that was verified.

What was verified is remembered in the memory of the worker, which nothing outside of it can alter.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Sequence
from pathlib import Path

from assay.errors import Unavailable
from assay.pipeline import bytecode, observed
from assay.pipeline.confined import Answer
from assay.pipeline.environment import Environment, environment
from assay.plugins import Task


class _Memory:
    """A memo for as long as this process lives."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    def get(self, key: str) -> bytes | None:
        return self._kept.get(key)

    def put(self, key: str, value: bytes) -> None:
        self._kept[key] = value


_MEMORY = _Memory()


def verified(task: Task, folder: Path) -> Environment:
    """This node's libraries, if they are those that `task` names; else raises `Unavailable`.

    `folder` is a folder of ours, without a lock file.
    """
    found = _now(task.imports, folder)
    if found.digest != task.distributions:
        wrong = f": {'; '.join(found.problems[:3])}" if found.problems else ""
        raise Unavailable(
            f"the libraries on Ray node {platform.node()} are not those of the machine that drives "
            f"the run{wrong}",
            remedy="install from the same lock file on every node, and leave its files alone "
            "(compare `pip freeze`)",
            code="ray.environment",
        )
    return found


def compiled(found: Environment, task: Task, folder: Path) -> Path:
    """Compiled files of these libraries; made, which takes seconds, by one worker of a node."""
    again = functools.partial(_now, task.imports, folder)
    return bytecode.compiled_for(found, again, bytecode.cache_folder())


def loaded(found: Environment, answer: Answer, folder: Path) -> dict[str, str]:
    """What a step loaded besides what its task names: name → version and digest, as it is here."""
    imports = observed.others(answer, found)
    return dict(_now(imports, folder).distributions) if imports else {}


def _now(imports: Sequence[str], folder: Path) -> Environment:
    return environment(imports, memo=_MEMORY, folder=folder)
