"""What one confined process will be: every path, number and right, found out before it starts."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.errors import Denied, Usage
from assay.isolation import paths, scratch
from assay.isolation.capability import Capability
from assay.isolation.grants import HASH_SEED, NO_GRANTS, Grants
from assay.isolation.limits import Limits

# systemd.io/UIDS-GIDS: no range of 1879048192 to 2147483647 is used for anything.
_FIRST_UID = 1879048192
_UID_BITS = 28
_NETWORK_ABI = 4
_SIGNALS_ABI = 6

_ISOLATED = ("-I", "-S", "-B", "-X", "utf8")
# -I, said in parts, but for -E: the interpreter heeds PYTHONHASHSEED, the one such variable that
# the environment has (`start_environment`).
_SEEDED = ("-P", "-s", "-S", "-B", "-X", "utf8")


@dataclass(frozen=True, slots=True)
class Job:
    """What to run: see `assay.isolation.run.run` for the fields."""

    target: str
    worker: bool
    inputs: Sequence[Path]
    preload: Sequence[str]
    limits: Limits
    grants: Grants = NO_GRANTS


def make(job: Job, capability: Capability) -> dict[str, Any]:
    """Everything the process has to know, as plain JSON (see `child._confine`)."""
    target = paths.check_target(job.target)
    preload = paths.check_preload(job.preload)
    grants = job.grants
    _check_network(grants, capability)
    code = paths.check_code(grants.code)
    module = target.partition(":")[0]
    # `assay` is always this one.  A module of the code folders is found there, once confined.
    ours = module.partition(".")[0] == "assay" or not paths.lies_in(module, code)
    modules = (*([module] if ours else []), *preload)
    given = {item.name: item for item in map(paths.locate, modules)} | {"assay": paths.assay()}
    inputs = paths.check_inputs(job.inputs)
    readable = [*paths.libraries(), *(p for g in given.values() for p in g.readable if p), *inputs]
    readable += code
    compiled = paths.check_code([grants.bytecode] if grants.bytecode else [])
    readable += compiled
    readable += paths.network() if grants.ports else ()
    readable += paths.interpreter_files() if grants.processes else ()
    folder = None
    if grants.scratch is not None:
        folder = scratch.check(grants.scratch)
        _check_apart(folder, readable, grants.log)
    # Libraries or inputs that only root may read: under Landlock, which names them one by one,
    # the process may keep the right to read past file permissions; without it, it stays this user.
    reached = folder is None or paths.reachable_by_anyone(folder)
    private = capability.uid_separation and not (reached and paths.readable_by_anyone(readable))
    separate = capability.uid_separation and (capability.landlock_abi > 0 or not private)
    alone = separate or capability.user_namespace or capability.bubblewrap is not None
    limits = job.limits
    plan: dict[str, Any] = {
        "path": list(paths.search_path()),
        "given": [(item.name, item.origin, item.folders) for item in given.values()],
        "preload": preload,
        "target": target,
        "worker": job.worker,
        "answer": limits.answer_bytes,
        "readable": readable,
        "landlock": capability.landlock_abi,
        "seccomp": capability.seccomp,
        "uid": _FIRST_UID + secrets.randbits(_UID_BITS) if separate else None,
        "read_all": separate and private,
        "user_namespace": capability.user_namespace,
        "limits": {
            "memory": limits.memory_bytes,
            # A worker lives as long as it serves; each of its calls is bounded by wall_seconds.
            "cpu": None if job.worker else limits.cpu_seconds,
            "file": limits.file_bytes,
            "threads": limits.threads if alone else None,
        }
        if capability.limits
        else None,
        "grants": None,
    }
    if grants.any:
        contained = separate or capability.bubblewrap is not None
        plan["grants"] = {
            "scratch": folder,
            "writable": [folder, os.devnull] if folder is not None else [],
            "executable": paths.executables() if grants.processes else [],
            "ports": grants.ports,
            "code": code,
            "bytecode": [f"pycache_prefix={folder}" for folder in compiled],
            "environment": {k: v for k, v in grants.environment.items() if k != HASH_SEED},
            "log": grants.log is not None,
            "calls": {
                "files": folder is not None,
                "network": bool(grants.ports),
                "processes": grants.processes,
                "signals": contained or capability.landlock_abi >= _SIGNALS_ABI,
            },
        }
    return plan


def _check_network(grants: Grants, capability: Capability) -> None:
    if not grants.ports:
        return
    if not capability.seccomp or capability.landlock_abi < _NETWORK_ABI:
        raise Denied(
            "a process is to connect to some TCP ports only, and this machine cannot hold it to "
            f"them: it needs Landlock ABI {_NETWORK_ABI} and seccomp, and has Landlock ABI "
            f"{capability.landlock_abi}{'' if capability.seccomp else ' and no seccomp'}",
            remedy="run on Linux 6.7 or later with Landlock and seccomp enabled, or fetch what it "
            "needs beforehand and declare it as an input",
            code="isolation.network",
            details={"landlock_abi": capability.landlock_abi, "seccomp": capability.seccomp},
        )


def _check_apart(folder: str, readable: Sequence[str], log: Path | None) -> None:
    """The scratch folder is inside of nothing that is only to be read, and contains nothing."""
    here = Path(folder)
    for other in map(Path, readable):
        if here.is_relative_to(other) or other.is_relative_to(here):
            raise Usage(
                f"the scratch folder {folder} and {other}, which is only to be read, overlap",
                remedy="make scratch folders outside of inputs, code and libraries",
                code="isolation.scratch",
            )
    if log is not None and log.parent.resolve().is_relative_to(here):
        raise Usage(
            f"the log {log} would lie in the scratch folder, where the process could replace it",
            remedy="place the log beside the scratch folder",
            code="isolation.log",
        )


def command(plan: Mapping[str, Any], bubblewrap: str | None, channel: int) -> list[str]:
    """The words that start the process; `channel` is the descriptor it talks on."""
    grants: dict[str, Any] | None = plan["grants"]
    compiled = [word for name in grants["bytecode"] for word in ("-X", name)] if grants else []
    return [
        *(_wrapper(bubblewrap, plan) if bubblewrap is not None else []),
        paths.interpreter(),
        *(_ISOLATED if grants is None else _SEEDED),
        *compiled,
        str(Path(__file__).with_name("child.py")),
        str(channel),
    ]


def start_environment(
    fixed: Mapping[str, str], grants: Grants, folder: str | None
) -> dict[str, str]:
    """The environment that the process starts with, when trusted code runs unconfined.

    Other variables than these, whose meaning is known, are set later (`child._begin`).
    """
    if not grants.any:
        return dict(fixed)
    given = {name: value for name, value in grants.environment.items() if name in fixed}
    seed = grants.environment.get(HASH_SEED, "0")
    folders = {} if folder is None else {"HOME": folder, "TMPDIR": folder}
    return {**fixed, **given, **folders, HASH_SEED: seed}


def _wrapper(bubblewrap: str, plan: Mapping[str, Any]) -> list[str]:
    """The command before the interpreter's: bubblewrap, with nothing but `readable` in its files.

    It ends with the thread that started it (`assay.isolation.starting`), and all inside with it.
    """
    grants: dict[str, Any] = plan["grants"] or {"scratch": None, "ports": ()}
    words = [bubblewrap, "--unshare-all", "--die-with-parent", "--proc", "/proc", "--dev", "/dev"]
    if grants["ports"]:
        words.append("--share-net")
    # The loader's own path begins with /lib or /lib64, which are links on most systems.
    for name in ("/lib", "/lib64"):
        if Path(name).is_symlink():
            words += ["--symlink", os.readlink(name), name]  # noqa: PTH115 - the text of the link.
    for path in (*plan["readable"], *paths.interpreter_files()):
        if not path.startswith(("/dev/", "/proc/")):
            words += ["--ro-bind", path, path]
    for name, real in paths.network_links() if grants["ports"] else ():
        words += ["--ro-bind", real, name]
    folder: str | None = grants["scratch"]
    if folder is not None:
        words += ["--bind", folder, folder]
    return [*words, "--chdir", folder or "/", "--"]
