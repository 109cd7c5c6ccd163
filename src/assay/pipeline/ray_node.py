"""The node's side of the Ray executor: runs one task, in a confined process of that node.

Ray's worker imports this module from what is installed on the node; what reaches it is bytes and
references to bytes.  A node needs neither the workspace nor its keys nor the folder of the source
code.  Everything is checked again here: the archive and every input against the digests that the
driver named, and what is installed against what is installed where the run is driven, since a
result is stored under a key that names it.

The files of a task, its code among them, lie in a private folder that goes when the task ends.
Where a worker was killed, the next task on that node removes what was left.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import importlib.metadata
import io
import os
import platform
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import ray
from ray.exceptions import RayError

from assay import files
from assay.errors import AssayError, Unavailable, Usage, Verification
from assay.pipeline import ray_libraries
from assay.pipeline.code import unpack_code, write_code
from assay.pipeline.execution import LOG, answer_of, execute
from assay.pipeline.ray_frames import (
    Failure,
    Order,
    Parcel,
    Piece,
    Result,
    Success,
    failure_of,
    pack_result,
)
from assay.plugins import Finished, Task

PREFIX = "assay-node-"
LONGEST_OUTPUT = 4 << 30
"""Bytes of all outputs of a task: they pass through the memory of a worker."""
_LONGEST_LOG = 4 << 20
_UNLOCKED_FOR = 300.0
"""Seconds before a folder without a lock counts as left behind, not as being made."""
_LOOK_UP = 0.2
# Scripts, compiled files, and the installer's notes.
_INSTALLATION = re.compile(
    r"^\.\./|__pycache__/|\.dist-info/(?:INSTALLER|REQUESTED|RECORD|direct_url\.json|uv_cache\.json)"
)


def run_task(order: bytes, code: Sequence[Any], inputs: Sequence[Sequence[Any]]) -> bytes:
    """Run the task of `order` (an `Order`); a `Result` and the bytes of its files.

    `code` and each of `inputs` are references to pieces of the archive and of an input.  Raises
    nothing but what ends a worker's task from outside: errors are part of the answer.
    """
    try:
        given = msgspec.msgpack.decode(order, type=Order)
        _check_environment(given.environment)
        with _private() as folder:
            return _run(given, code, inputs, folder)
    except RayError as error:
        # An object that this task needs was lost with its node.
        return pack_result(Result(failure_of(error, lost=True), 0))
    except Exception as error:
        return pack_result(Result(failure_of(error), 0))


def _run(
    given: Order, code: Sequence[Any], inputs: Sequence[Sequence[Any]], private: Path
) -> bytes:
    staged = private / "code"
    _stage(given.code, code, staged)
    paths = [
        _receive(private / str(number), parcel, pieces)
        for number, (parcel, pieces) in enumerate(zip(given.inputs, inputs, strict=True))
    ]
    folder = private / "run"
    outcome: Success | Failure
    outputs: list[Path] = []
    try:
        done = _interruptible(given, staged, paths, folder, private)
        outputs = [Path(path) for path in done.outputs]
        outcome = Success(
            done.answer,
            done.level,
            done.cpu_seconds,
            done.max_rss,
            f"{done.where}, Ray node {ray.get_runtime_context().get_node_id()[:12]}",
            done.loaded or {},
        )
        sizes = [path.stat().st_size for path in outputs]
        if sum(sizes) > LONGEST_OUTPUT:
            raise Usage(
                f"step {given.task.name} gave {sum(sizes)} bytes; {LONGEST_OUTPUT} are allowed "
                "through Ray",
                remedy="give less, in parts, or run it with --executor local",
                code="ray.outputs",
            )
    except AssayError as error:
        outcome, outputs = failure_of(error), []
    return _packed(outcome, folder / LOG, outputs)


def _packed(outcome: Success | Failure, log: Path, outputs: Sequence[Path]) -> bytes:
    printed = _end_of(log)
    pieces = [Piece(path.name, path.stat().st_size) for path in outputs]
    whole = io.BytesIO()
    whole.write(pack_result(Result(outcome, len(printed), pieces)))
    whole.write(printed)
    for path in outputs:
        with path.open("rb") as stream:
            shutil.copyfileobj(stream, whole, 1 << 20)
    return whole.getvalue()


def _end_of(log: Path) -> bytes:
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - _LONGEST_LOG))
            return stream.read(_LONGEST_LOG)
    except FileNotFoundError:
        return b""


def _within(
    task: Task,
    code: Path,
    inputs: Sequence[Path],
    folder: Path,
    private: Path,
    on_start: Callable[[Callable[[], None]], None],
) -> Finished:
    """`execute`, with the libraries that the task names: before it, and still after it."""
    if not task.distributions:  # Not of a run, which always names them.
        return execute(task, code=code, inputs=inputs, folder=folder, on_start=on_start)
    found = ray_libraries.verified(task, private)
    compiled = ray_libraries.compiled(found, task, private)
    done = execute(
        task, code=code, inputs=inputs, folder=folder, bytecode=compiled, on_start=on_start
    )
    done.loaded = ray_libraries.loaded(found, answer_of(done), private)
    ray_libraries.verified(task, private)
    return done


def _interruptible(
    given: Order, code: Path, inputs: Sequence[Path], folder: Path, private: Path
) -> Finished:
    """What this task does, ended when it is cancelled.

    Ray cancels by an exception in the main thread, which a thread that waits for a socket would
    not see: so another one does that.
    """
    ends: list[Callable[[], None]] = []
    came: list[Finished | BaseException] = []

    def work() -> None:
        try:
            came.append(_within(given.task, code, inputs, folder, private, ends.append))
        except BaseException as error:
            came.append(error)

    thread = threading.Thread(target=work, name="assay-step")
    thread.start()
    try:
        while thread.is_alive():
            thread.join(_LOOK_UP)
    finally:
        while thread.is_alive():  # Cancelled: perhaps before the process was started.
            for end in ends:
                with contextlib.suppress(OSError):
                    end()
            thread.join(_LOOK_UP)
    if isinstance(came[0], BaseException):
        raise came[0]
    return came[0]


# -- what was sent ------------------------------------------------------------------------------


def _pieces(references: Sequence[Any]) -> Generator[bytes]:
    for reference in references:
        piece: bytes = ray.get(reference)
        yield piece


def _receive(folder: Path, parcel: Parcel, references: Sequence[Any]) -> Path:
    """Write an input below `folder` under its own name, and check that it is what was sent."""
    files.make_folder(folder)
    path = folder / files_name(parcel.name)
    digest = hashlib.sha256()
    with path.open("xb") as stream:
        for piece in _pieces(references) if parcel.content is None else [parcel.content]:
            digest.update(piece)
            stream.write(piece)
    path.chmod(0o400)
    if digest.hexdigest() != parcel.sha256:
        raise _altered(f"the input {parcel.name}")
    return path


def files_name(name: str) -> str:
    """`name` if it names a file in a folder and nothing else; else raises `Verification`."""
    if not name or name in (".", "..") or "/" in name or "\0" in name or len(name) > 255:
        raise Verification(f"{name[:80]!r} is no name of a file", code="ray.name")
    return name


def _altered(what: str) -> Verification:
    return Verification(
        f"{what} is not what was sent: its digest differs on the node",
        remedy="look after the network and the memory of the Ray nodes, and use TLS",
        code="ray.altered",
    )


def _stage(digest: str, references: Sequence[Any], folder: Path) -> None:
    """Unpack the archive of first-party code with that digest into `folder`."""
    archive = b"".join(_pieces(references))
    if "sha256:" + hashlib.sha256(archive).hexdigest() != digest:
        raise _altered("the archive of code")
    write_code(unpack_code(archive), folder)


# -- what is installed --------------------------------------------------------------------------


@functools.cache
def installed() -> str:
    """A digest of this interpreter, its platform and every distribution that it can import.

    A distribution counts by its name, version and RECORD, which has the digest of each of its
    files; assay itself by its source files, because it may be installed in place.
    """
    hasher = hashlib.sha256()
    for part in (
        sys.implementation.name,
        platform.python_version(),
        f"{sys.platform}-{platform.machine()}",
    ):
        hasher.update(part.encode() + b"\0")
    found: set[tuple[str, str, str]] = set()
    for item in importlib.metadata.distributions():
        name = str(item.metadata["Name"]).lower()
        found.add((name, item.version, "" if name == "assay" else _record(item)))
    for distribution in sorted(found):
        hasher.update("\0".join(distribution).encode() + b"\n")
    package = Path(files.__file__).parent
    for path in sorted(package.rglob("*.py")):
        hasher.update(str(path.relative_to(package)).encode() + b"\0")
        hasher.update(hashlib.sha256(path.read_bytes()).digest())
    return "sha256:" + hasher.hexdigest()


def _record(distribution: importlib.metadata.Distribution) -> str:
    """A digest of the lines of its RECORD that do not depend on where and how it was installed."""
    lines = (distribution.read_text("RECORD") or "").splitlines()
    kept = sorted(line for line in lines if _INSTALLATION.search(line) is None)
    return hashlib.sha256("\n".join(kept).encode()).hexdigest()


def _check_environment(wanted: str) -> None:
    if installed() != wanted:
        raise Unavailable(
            f"Ray node {platform.node()} (Python {platform.python_version()}) has other versions "
            "installed than the machine that drives the run",
            remedy="install from the same lock file on every node (compare `pip freeze`), with the "
            "same Python",
            code="ray.environment",
        )


# -- the private folder -------------------------------------------------------------------------


@contextlib.contextmanager
def _private() -> Generator[Path]:
    """A folder for one task; removes, first, those that killed workers left."""
    base = Path(tempfile.gettempdir()).resolve()
    _sweep(base)
    folder = Path(tempfile.mkdtemp(dir=base, prefix=PREFIX))
    lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Held until the task ends, or this process does.
        yield folder
    finally:
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(base: Path) -> None:
    for folder in base.glob(PREFIX + "*"):
        with contextlib.suppress(OSError):
            state = folder.lstat()
            if folder.is_symlink() or state.st_uid != os.geteuid():
                continue
            if not (folder / "lock").exists():
                if time.time() - state.st_mtime > _UNLOCKED_FOR:
                    shutil.rmtree(folder)
                continue
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(lock)
