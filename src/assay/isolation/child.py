"""The confined process: confine oneself, then call the function.

Started as a script, ``python -I -S -B child.py DESCRIPTOR``: no environment, no current folder, no
site start-up code; the descriptor is a stream socket to the parent, the only one besides
/dev/null (or its log).  Both sides speak in frames, strictly in turn: a header (`HEADER`) and a
body.  A process that was granted something starts with ``-P -s`` instead of ``-I``, which leaves
out the same things, so that it heeds the one PYTHON variable in its environment, the hash seed.

The order is what makes it safe.  Until `_confine` returns, this process runs trusted code only:
this file, its neighbours, the standard library and the modules to preload.  The first answer says
that *everything* planned was done; there is no such thing as half confined.  Only then is the
target's module imported, and from then on nothing this process says is believed, only bounded.
What the user chose and could change what runs (variables, folders of modules) comes after, too.

Imports the standard library alone, until it has been told where other modules lie.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import importlib
import importlib.machinery
import importlib.util
import io
import json
import os
import resource
import signal
import struct
import sys
import time
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

HEADER = struct.Struct("!BII")
"""What it is (`ANSWER` or `ERROR`), the number of the request, the length of the body."""
ANSWER = 0
ERROR = 1
FIRST_READ = 1 << 16
MESSAGE_LIMIT = 2000
# One's own memory map, which tells nothing that this process could not find out by itself.
# scikit-learn looks there for its thread pools (through threadpoolctl) and fails without.
_OWN = ("/proc/self/maps",)


class _GoneError(Exception):
    """The parent has ended, or has ended this process's work."""


def _receive(channel: int) -> tuple[int, bytes]:
    """The next request's number and body."""
    data = bytearray()
    wanted = HEADER.size
    number = 0
    while len(data) < wanted:
        piece = os.read(channel, max(FIRST_READ, wanted - len(data)))
        if not piece:
            raise _GoneError
        data += piece
        if wanted == HEADER.size <= len(data):
            _, number, length = HEADER.unpack_from(data)
            wanted += length
    return number, bytes(memoryview(data)[HEADER.size :])


def _send(channel: int, what: int, number: int, body: bytes) -> None:
    head = HEADER.pack(what, number, len(body))
    rest = memoryview(head + body if len(body) < FIRST_READ else head)
    while rest:
        rest = rest[os.write(channel, rest) :]
    rest = memoryview(body if len(body) >= FIRST_READ else b"")
    while rest:
        rest = rest[os.write(channel, rest) :]


def _describe(error: BaseException) -> bytes:
    """An error as it travels: its kind and what it says, never where it happened."""
    kind = getattr(error, "kind", None)
    told = {
        "kind": kind if isinstance(kind, str) else type(error).__name__,
        "code": str(getattr(error, "code", ""))[:200],
        "message": str(error)[:MESSAGE_LIMIT],
        "remedy": str(getattr(error, "remedy", ""))[:MESSAGE_LIMIT],
    }
    return json.dumps(told).encode()


class _Finder:
    """Finds top-level packages outside the library folders where the parent said they lie.

    So their folder's neighbours need not be readable, nor even listed.
    """

    def __init__(self, given: list[tuple[str, str | None, list[str] | None]]) -> None:
        self._given = {name: (origin, folders) for name, origin, folders in given}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        if name not in self._given:
            return None
        origin, folders = self._given[name]
        if origin is not None:
            return importlib.util.spec_from_file_location(
                name, origin, submodule_search_locations=folders
            )
        if folders is None:  # Built into the interpreter.
            return None
        spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = folders
        return spec


def _bound(what: int, value: int | None) -> None:
    if value is not None:
        # The hard limit cannot be raised again; SIGXCPU comes one second before SIGKILL.
        resource.setrlimit(what, (value, value + 1 if what == resource.RLIMIT_CPU else value))


def _confine(plan: dict[str, Any], channel: int) -> None:
    """Do everything that `plan` asks for, or raise."""
    from assay.isolation import identity, landlock, seccomp

    # Landlock confines the calling thread only, so there must be no other.
    if plan["landlock"] and len(os.listdir("/proc/self/task")) != 1:  # noqa: PTH208
        raise OSError(0, "a preloaded module has started threads")

    if (bounds := plan["limits"]) is not None:
        _bound(resource.RLIMIT_CORE, 0)
        _bound(resource.RLIMIT_AS, bounds["memory"])
        _bound(resource.RLIMIT_FSIZE, bounds["file"])
        used = resource.getrusage(resource.RUSAGE_SELF)
        if bounds["cpu"] is not None:
            _bound(resource.RLIMIT_CPU, bounds["cpu"] + int(used.ru_utime + used.ru_stime))

    # Opens the paths of the rules, so it comes before giving up the right to reach them.
    version = plan["landlock"]
    grants = plan["grants"]
    rules = None
    if version:
        more = {} if grants is None else {n: grants[n] for n in ("writable", "executable", "ports")}
        rules = landlock.ruleset(version, (*plan["readable"], *_OWN), **more)
    if grants is not None and grants["calls"]["processes"]:
        os.set_inheritable(channel, False)  # Programs it starts have no business there.

    if plan["seccomp"] or rules is not None:
        landlock.no_new_privileges()
    if plan["uid"] is not None:
        bequeath = grants is not None and grants["calls"]["processes"]
        identity.become(plan["uid"], read_all=plan["read_all"], bequeath=bequeath)
    elif plan["limits"] is not None and sys.platform == "linux":
        if plan["user_namespace"]:
            identity.own_user_namespace()
        identity.drop_capabilities()
    if sys.platform == "linux":
        identity.end_with_parent()
    if bounds is not None and bounds["threads"] is not None:
        _bound(resource.RLIMIT_NPROC, bounds["threads"])  # Counts the threads of a user id.
    if plan["seccomp"]:
        identity.hide()
    if rules is not None:
        landlock.restrict(rules)
    if plan["seccomp"]:
        granted: list[seccomp.Rule] = []
        if grants is not None:
            from assay.isolation import granted as rules_of

            granted = rules_of.rules(os.getpid(), **grants["calls"])
        seccomp.install(granted)


class _Log(io.RawIOBase):
    """Standard output where it is a file of bounded size: what does not fit is lost, silently."""

    def __init__(self, handle: int) -> None:
        super().__init__()
        self._handle = handle

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._handle

    def write(self, data: Any, /) -> int:
        rest = memoryview(data).cast("B")
        length = len(rest)
        try:
            while rest:
                rest = rest[os.write(self._handle, rest) :]
        except OSError:  # EFBIG: full.
            pass
        return length


def _flush_nothing() -> None:
    """There is no log."""


def _utime(path: Any, *_: Any, dir_fd: int | None = None, **__: Any) -> None:
    """In place of `os.utime`, which is refused: `shutil.copy2` works, and the time is now."""
    os.stat(path, dir_fd=dir_fd)


def _begin(grants: dict[str, Any]) -> Callable[[], None]:
    """Confined, and before foreign code: what was granted.  A function that flushes the log."""
    sys.path[:0] = grants["code"]
    os.environ.update(grants["environment"])
    if "TZ" in grants["environment"]:
        time.tzset()
    if grants["scratch"] is not None:
        os.umask(0o077)
        os.utime = _utime
    if grants["calls"]["processes"]:
        # For interpreters that it starts, which find the same modules.
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
        os.environ["PYTHONNOUSERSITE"] = os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    if not grants["log"]:
        return _flush_nothing
    return _open_log()


def _open_log() -> Callable[[], None]:
    """Lines reach the log at once, so that a crash loses none: Python's and the C library's."""
    for name, handle in (("stdout", 1), ("stderr", 2)):
        stream = io.TextIOWrapper(
            io.BufferedWriter(_Log(handle)), "utf-8", "backslashreplace", line_buffering=True
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    faulthandler.enable(2)  # A crash leaves in the log where it happened.
    library = ctypes.CDLL(None)
    line_buffered = 1
    library.setvbuf(
        ctypes.c_void_p.in_dll(library, "stdout"), None, line_buffered, ctypes.c_size_t(0)
    )

    def flush() -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(BaseException):  # Whatever foreign code put there.
                stream.flush()
        library.fflush(None)

    return flush


def _load(target: str) -> Callable[[bytes], Any]:
    module, _, name = target.partition(":")
    function = getattr(importlib.import_module(module), name)
    if not callable(function):
        raise TypeError(f"{target} is not a function")
    return function


def _answer(function: Callable[[bytes], Any], body: bytes, limit: int) -> bytes:
    value = function(body)
    if not isinstance(value, bytes):
        raise TypeError(f"a confined function returns bytes, not {type(value).__name__}")
    if len(value) > limit:
        raise ValueError(f"the answer has {len(value)} bytes; {limit} are allowed")
    return value


def main(channel: int) -> None:
    """Serve the parent until it is gone, then end, with all that was started here."""
    family = False
    try:
        number, body = _receive(channel)
        plan = json.loads(body)
        flush = _flush_nothing
        try:
            sys.path[:] = plan["path"]
            sys.meta_path.insert(0, _Finder(plan["given"]))
            for name in plan["preload"]:
                importlib.import_module(name)
            _confine(plan, channel)
            if (grants := plan["grants"]) is not None:
                flush = _begin(grants)
                family = grants["calls"]["processes"]
        except BaseException as error:
            _send(channel, ERROR, number, _describe(error))
            os._exit(1)
        _send(channel, ANSWER, number, b"")
        _serve(channel, plan, flush)
    except (_GoneError, OSError):
        if family:
            os.kill(0, signal.SIGKILL)
    os._exit(0)


def _serve(channel: int, plan: dict[str, Any], flush: Callable[[], None]) -> None:
    # From here on, foreign code.
    function: Callable[[bytes], Any] | None = None
    itself = os.getpid()
    while True:
        number, body = _receive(channel)
        what = ANSWER
        try:
            if function is None:
                function = _load(plan["target"])
                if plan["worker"]:
                    function = function(body)
                    _send(channel, ANSWER, number, b"")
                    continue
            answer = _answer(function, body, plan["answer"])
        except BaseException as error:  # Whatever comes out, SystemExit included, is told.
            what, answer = ERROR, _describe(error)
        flush()
        if os.getpid() != itself:  # A copy of this process came back: it was not asked.
            os._exit(what)
        _send(channel, what, number, answer)


if __name__ == "__main__":
    main(int(sys.argv[1]))
