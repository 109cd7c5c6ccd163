"""What a task's end means: whether its answer can be used, and what to tell of its failure.

An answer comes out of a process that ran foreign code.  Every message names the step, what was
wrong, and what its author can do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from assay.errors import AssayError, Denied, Unavailable, Usage
from assay.pipeline.confined import Answer, Raised
from assay.pipeline.graph import Node, Options

MOST_OUTPUTS = 9_000
"""Things that one task may give: all of them are named in one statement."""
_REMEDIES = {
    "ModuleNotFoundError": "import it by its name at the top of a module, so that it is part of "
    "what is hashed and staged; or install it",
    "FileNotFoundError": "give the step a parameter of type pathlib.Path: a step sees the files "
    "that it is given, and those of its own package",
    "PermissionError": "a step reads what it is given and writes below its current folder only; "
    "the network and other programs are for steps that say so: @step(network=[443], "
    "processes=True)",
    "MemoryError": "give it more memory: @step(memory='8 GiB')",
}
_MEMORY = "give it more memory (@step(memory='8 GiB')), or less to do"
_STOPPED: dict[str, tuple[Callable[[Options], str], str]] = {
    "timeout": (
        lambda o: f"took longer than {o.timeout:g} seconds",
        "give it more time (@step(timeout=3600)), or less to do",
    ),
    "cpu": (
        lambda o: f"used up its {o.cpu or max(1, int(o.timeout) + 1)} processor seconds",
        "give it more (@step(cpu=3600, timeout=3600)), or less to do",
    ),
    "memory": (lambda o: f"ran out of its {_size(o.memory)} of memory", _MEMORY),
    "crashed": (lambda _: "ended in the middle", f"if it may have run out of memory, {_MEMORY}"),
    "protocol": (
        lambda _: "answered out of turn, and was stopped",
        "leave the descriptors alone that it did not open",
    ),
    "answer": (
        lambda _: "answered with more than names of outputs",
        "return values; what is printed goes to its log",
    ),
    "disk": (
        lambda _: "has more than 64 GiB in its folder, or folders more than 200 deep",
        "let it write less, or remove what it needs no more; or make several steps of it",
    ),
    "processes": (
        lambda _: "started more processes than it may have, or used more with them",
        "start fewer at a time",
    ),
}
_FINAL = frozenset({"error.step.type", "error.step.environment", "error.step.determinism"})


def is_final(error: AssayError) -> bool:
    """Whether trying again cannot help."""
    return error.code in _FINAL or isinstance(error, Denied)


def checked(answer: Answer, node: Node, name: str) -> Answer:
    """An answer that has as many outputs as the step gives; raises `Unavailable`."""
    if not math.isfinite(answer.seconds) or answer.seconds < 0:
        answer.seconds = 0.0
    if answer.raised is not None:
        return answer
    fits = len(answer.outputs) == len(node.outputs) and all(
        output.many or len(files) == 1
        for output, files in zip(node.outputs, answer.outputs, strict=True)
    )
    if node.mapped:
        fits = fits and all(len(files) == 1 for files in answer.outputs)
    if sum(map(len, answer.outputs)) > MOST_OUTPUTS:
        raise Usage(
            f"step {name} gives more than {MOST_OUTPUTS:,} results",
            remedy="return fewer and larger ones",
            code="step.outputs",
        )
    if not fits:
        raise Unavailable(
            f"step {name} names other outputs than it gives",
            remedy="leave the descriptors alone that it did not open",
            code="step.answer",
        )
    return answer


def raised(told: Raised, name: str, run: str) -> AssayError:
    """The error for what a step raised."""
    ours = bool(told.code)
    return AssayError(
        f"step {name}: {told.message}{told.place}"
        if ours
        else f"step {name} failed: {told.kind}: {told.message}{told.place}",
        remedy=told.remedy or _REMEDIES.get(told.kind, "") or f"assay run logs {run} {name}",
        # A mistake about a type is the same the next time.
        code="step.type" if told.code.startswith("usage.") else "step.raised",
    )


def stopped(error: AssayError, name: str, options: Options) -> AssayError:
    """The same error in the words of a step's author: isolation knows of no steps."""
    error.remedy = error.remedy or f"run it again; if it does so again, look at its log ({name})"
    if f"step {name}" in error.message:
        return error
    if error.code == "verification.isolation.raised":
        return Unavailable(
            f"step {name} gave no answer: {error.message.partition('failed: ')[2]}",
            remedy="return values; what is printed goes to its log",
            code="step.answer",
        )
    _, _, why = error.code.partition("unavailable.isolation.")
    if why not in _STOPPED or not isinstance(error, Unavailable):
        error.message = f"step {name}: {error.message}"
        return error
    told, remedy = _STOPPED[why]
    signal = error.message.partition(" by ")[2].partition(" instead")[0]
    how = f" ({signal})" if why == "crashed" and signal else ""
    return Unavailable(
        f"step {name} {told(options)}{how}",
        remedy=remedy,
        code=f"isolation.{why}",
        details=error.details,
    )


def altered(problems: tuple[str, ...], name: str) -> AssayError:
    """A step used libraries that are not what was installed, and that policy knew nothing of."""
    return AssayError(
        f"step {name} used a library that is not what was installed: {'; '.join(problems[:3])}",
        remedy="install it again (pip install --force-reinstall NAME); or import it where the step "
        "is defined, so that policy is asked about it",
        code="step.environment",
    )


def differs_there(
    there: Mapping[str, str], here: Mapping[str, str], name: str, where: str
) -> AssayError:
    """A node has another version, or other files, of a library that a step loaded at will."""
    differing = sorted(n for n in {*there, *here} if there.get(n) != here.get(n))
    return AssayError(
        f"step {name} used libraries that {where} has otherwise than this machine: "
        f"{', '.join(differing[:3])}",
        remedy="install from the same lock file on every node, and leave its files alone",
        code="step.environment",
    )


def unforeseen(error: BaseException, name: str) -> Unavailable:
    """A cancelled future, or a mistake in an executor."""
    return Unavailable(
        f"step {name} could not be run: {type(error).__name__}: {error}",
        remedy="run it again; if it does so again, with --executor local",
        code="executor",
    )


def outputs_differ(node: Node, name: str, seed: int) -> AssayError:
    """Two executions gave different bytes."""
    return AssayError(
        f"step {name} gives different results for the same inputs and seed {seed}: "
        f"{', '.join(output.name for output in node.outputs)}",
        remedy="draw random numbers from a generator seeded by a parameter called seed, sort what "
        "comes out of sets, and leave out the time",
        code="step.determinism",
    )


def _size(size: int) -> str:
    for unit, number in (("GiB", 1 << 30), ("MiB", 1 << 20)):
        if size % number == 0:
            return f"{size // number} {unit}"
    return f"{size} bytes"
