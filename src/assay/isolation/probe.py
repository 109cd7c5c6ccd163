"""What confinement this machine offers: tried, not assumed.

A kernel may have a feature that a container's filter, a security module or a setting forbids.  So
each means is tried in a real confined process, which then attempts what it should not be able to.
"""

from __future__ import annotations

import functools
import json
import os
import re
import resource
import shutil
import socket
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from assay.errors import AssayError
from assay.isolation import landlock, paths, seccomp
from assay.isolation.capability import Capability
from assay.isolation.limits import Limits
from assay.isolation.process import Job, Process

# capability(7), as bits of CapEff in /proc/self/status: becoming another user, and ending it.
_CAP_KILL, _CAP_SETGID, _CAP_SETUID = 1 << 5, 1 << 6, 1 << 7
_BUBBLEWRAP_PATH = "/usr/local/bin:/usr/bin:/bin"
_SECONDS = 20.0

_NOTHING = Capability(
    limits=False,
    landlock_abi=0,
    seccomp=False,
    uid_separation=False,
    user_namespace=False,
    bubblewrap=None,
)


@functools.cache
def probe() -> Capability:
    """The strongest confinement that works here; found once per process (about 0.1 s).

    Never raises for a machine that offers less: the level says so, and `Capability.notes` why.
    """
    return find(_candidates())


def find(candidates: list[tuple[str, Capability]]) -> Capability:
    """The strongest combination of means, given the whole and each step towards it.

    `candidates` are (name of the means added, everything up to it), weakest first.  Mostly the
    last one works and is all that is tried; else each means that fails is left out, and noted.
    """
    best = candidates[-1][1]
    if attempt(best) is None:
        return replace(best, notes=_notes(best, []))
    found, failed = _NOTHING, list[str]()
    before = _NOTHING
    for name, candidate in candidates:
        # Add to what was found exactly what this step adds to the one before it.
        added = {
            field: getattr(candidate, field)
            for field in Capability.__dataclass_fields__
            if getattr(candidate, field) != getattr(before, field)
        }
        before = candidate
        wider = replace(found, **added)
        if (why := attempt(wider)) is None:
            found = wider
        else:
            failed.append(f"{name} was tried and does not work here: {why}")
    return replace(found, notes=_notes(found, failed))


def _candidates() -> list[tuple[str, Capability]]:
    found = replace(_NOTHING, limits=True)
    steps = [("resource limits", found)]
    if sys.platform != "linux":
        return steps
    if seccomp.available():
        found = replace(found, seccomp=True)
        steps.append(("seccomp", found))
    if abi := landlock.abi():
        found = replace(found, landlock_abi=abi)
        steps.append(("Landlock", found))
    if _may_change_user():
        found = replace(found, uid_separation=True)
        steps.append(("a user id of its own", found))
    elif program := shutil.which("bwrap", path=_BUBBLEWRAP_PATH):
        steps.append(("bubblewrap", replace(found, bubblewrap=program)))
    elif os.geteuid() != 0:
        steps.append(("a user namespace", replace(found, user_namespace=True)))
    return steps


def _may_change_user() -> bool:
    """Whether this process may become any user, and still end a process of that user."""
    try:
        status = Path("/proc/self/status").read_text()
        ids = [Path(f"/proc/self/{name}_map").read_text().split() for name in ("uid", "gid")]
    except OSError:
        return False
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    needed = _CAP_KILL | _CAP_SETGID | _CAP_SETUID
    if found is None or int(found[1], 16) & needed != needed:
        return False
    # In a user namespace that maps few ids there is none to spare.
    return all(len(m) == 3 and int(m[0]) == 0 and int(m[2]) > (1 << 31) for m in ids)


def attempt(capability: Capability) -> str | None:
    """None when a process confined so starts and is held; else what went wrong, in words."""
    limits = Limits(wall_seconds=_SECONDS, cpu_seconds=int(_SECONDS))
    with tempfile.NamedTemporaryFile() as canary:
        canary.write(b"canary")
        canary.flush()
        # Readable and writable by any user, so that only confinement can be what stops it.
        os.chmod(canary.name, 0o666)  # noqa: S103, PTH101 - a file with nothing in it.
        told = {"file": canary.name, "process": os.getpid()}
        try:
            process = Process(Job(f"{__name__}:forbidden", False, (), (), limits), capability)
            try:
                deadline = time.monotonic() + _SECONDS
                answer = process.exchange(json.dumps(told).encode(), deadline)
            finally:
                process.end()
        except AssayError as error:
            return error.message
    succeeded = set(json.loads(answer))
    guarded = {"write", "process", "network", "signal"} if capability.seccomp else set[str]()
    if capability.landlock_abi:
        guarded |= {"read", "write"}
    if capability.uid_separation:
        guarded.add("root")
    if capability.limits:
        guarded.add("memory")
    if through := sorted(succeeded & guarded):
        return f"the confined process could still do this: {', '.join(through)}"
    return None


def forbidden(payload: bytes) -> bytes:
    """Runs confined: try what must not be possible; a JSON list of what was possible."""
    told = json.loads(payload)

    def read() -> None:
        Path(told["file"]).read_bytes()

    def write() -> None:
        Path(told["file"]).write_bytes(b"written")

    def process() -> None:
        if (child := os.fork()) == 0:
            os._exit(0)
        os.waitpid(child, 0)

    def network() -> None:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()

    def send_signal() -> None:
        os.kill(told["process"], 0)

    def memory() -> None:
        if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
            raise PermissionError

    def root() -> None:
        if os.getuid() != 0 and 0 not in os.getgroups() and os.getgid() != 0:
            raise PermissionError

    attempts = {
        "read": read,
        "write": write,
        "process": process,
        "network": network,
        "signal": send_signal,
        "memory": memory,
        "root": root,
    }
    possible: list[str] = []
    for name, function in attempts.items():
        try:
            function()
        except OSError:
            continue
        possible.append(name)
    return json.dumps(possible).encode()


def _notes(found: Capability, failed: list[str]) -> tuple[str, ...]:
    notes = list(failed)
    if not found.seccomp:
        notes.append("no system call filter: confined code may use the network and start programs")
    if not found.landlock_abi:
        notes.append("no Landlock: confined code may read every file that this user may read")
    elif found.landlock_abi < 6:
        notes.append(
            f"Landlock ABI {found.landlock_abi} (6 adds signals and abstract sockets): "
            "those are refused by the system call filter alone"
        )
    if found.uid_separation and not paths.readable_by_anyone(paths.libraries()):
        notes.append(
            "the interpreter's libraries are readable by root alone: confined code has a user id "
            "of its own, but keeps the capability to read past file permissions, which Landlock "
            "bounds"
        )
    if not found.uid_separation and os.geteuid() == 0:
        notes.append("confined code keeps user id 0, without capabilities")
    elif not found.uid_separation:
        notes.append("confined code has this user's id: it is told apart by the other means alone")
    if found.bubblewrap is None:
        notes.append("names, sizes and times of other files can be seen; their contents cannot")
    return tuple(notes)
