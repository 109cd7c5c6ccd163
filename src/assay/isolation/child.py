"""The confined process: confine oneself, then call the function.

Started as a script, ``python -I -S -B child.py DESCRIPTOR``: no environment, no current folder, no
site start-up code; the descriptor is a stream socket to the parent, the only one besides
/dev/null.  Both sides speak in frames, strictly in turn: a header (`HEADER`) and a body.

The order is what makes it safe.  Until `_confine` returns, this process runs trusted code only:
this file, its neighbours, the standard library and the modules to preload.  The first answer says
that *everything* planned was done; there is no such thing as half confined.  Only then is the
target's module imported, and from then on nothing this process says is believed, only bounded.

Imports the standard library alone, until it has been told where other modules lie.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import json
import os
import resource
import struct
import sys
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


def _receive(channel: int) -> tuple[int, bytes]:
    """The next request's number and body; ends the process when the parent is gone."""
    data = bytearray()
    wanted = HEADER.size
    number = 0
    while len(data) < wanted:
        piece = os.read(channel, max(FIRST_READ, wanted - len(data)))
        if not piece:
            os._exit(0)
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


def _confine(plan: dict[str, Any]) -> None:
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
    rules = landlock.ruleset(version, (*plan["readable"], *_OWN)) if version else None

    if plan["seccomp"] or rules is not None:
        landlock.no_new_privileges()
    if plan["uid"] is not None:
        identity.become(plan["uid"], read_all=plan["read_all"])
    elif plan["limits"] is not None and sys.platform == "linux":
        if plan["user_namespace"]:
            identity.own_user_namespace()
        identity.drop_capabilities()
    if bounds is not None and bounds["threads"] is not None:
        _bound(resource.RLIMIT_NPROC, bounds["threads"])  # Counts the threads of a user id.
    if plan["seccomp"]:
        identity.hide()
    if rules is not None:
        landlock.restrict(rules)
    if plan["seccomp"]:
        seccomp.install()


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
    number, body = _receive(channel)
    plan = json.loads(body)
    try:
        sys.path[:] = plan["path"]
        sys.meta_path.insert(0, _Finder(plan["given"]))
        for name in plan["preload"]:
            importlib.import_module(name)
        _confine(plan)
    except BaseException as error:
        _send(channel, ERROR, number, _describe(error))
        os._exit(1)
    _send(channel, ANSWER, number, b"")

    # From here on, foreign code.
    function: Callable[[bytes], Any] | None = None
    while True:
        number, body = _receive(channel)
        try:
            if function is None:
                function = _load(plan["target"])
                if plan["worker"]:
                    function = function(body)
                    _send(channel, ANSWER, number, b"")
                    continue
            answer = _answer(function, body, plan["answer"])
        except BaseException as error:  # Whatever comes out, SystemExit included, is told.
            _send(channel, ERROR, number, _describe(error))
        else:
            _send(channel, ANSWER, number, answer)


if __name__ == "__main__":
    main(int(sys.argv[1]))
