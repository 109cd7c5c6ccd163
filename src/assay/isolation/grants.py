"""What a confined process may do besides reading its inputs and answering, named one by one."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from assay.errors import Unavailable, Usage

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
# They change what the loader, the C library or the interpreter load when a program starts.
_LOADERS = ("LD_", "DYLD_", "PYTHON")
_LOADER_NAMES = frozenset({"GLIBC_TUNABLES", "GCONV_PATH", "LOCPATH", "NLSPATH"})
# What `Grants.scratch` says.
_FOLDERS = frozenset({"HOME", "TMPDIR", "PWD"})
HASH_SEED = "PYTHONHASHSEED"


@dataclass(frozen=True, slots=True)
class Grants:
    """Rights beyond those of a function that is given nothing; each is off unless named.

    How well they are bounded depends on the level (`assay.isolation.limits.LEVELS`).  With any
    grant, strings hash the same in every process (``PYTHONHASHSEED`` is 0, or what `environment`
    says).
    """

    scratch: Path | None = None
    """An empty folder, made private and handed to the process: its current folder, HOME and
    TMPDIR.  At level ``full`` the only place where it may write; below, it writes wherever its
    user may.  It makes plain files and folders there, no links, devices or locks.  Modes stay as
    they are (changing one seems to work), and times are the kernel's.  `Limits.file_bytes` bounds
    each file, `Limits.scratch_bytes` all together.  `assay.isolation.scratch` reads and removes
    what it leaves.
    """
    log: Path | None = None
    """A file that gets its standard output and error, of native code too.  It must not exist yet.
    Bounded by `Limits.file_bytes` and 64 MiB; what comes after is lost."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """Environment variables, besides the fixed ones.  Those that are no fixed ones are set once
    the process is confined, so nothing that runs before can be changed by them."""
    ports: tuple[int, ...] = ()
    """TCP ports it may connect to, on any host; needs Landlock ABI 4, else `Denied`.  Names are
    looked up over UDP, and **UDP is not bounded**: a process with a port can send data to any
    host and port by UDP.  It can listen nowhere."""
    processes: bool = False
    """It may start processes: copies of itself, the interpreter, programs in library folders.  All
    of them are dead when the call ends.  `Limits.memory_bytes` and `cpu_seconds` then bound each
    process, and, measured several times a second, all together (memory that a copy shares with
    its origin counts for both); `Limits.threads` bounds their number.  There is no shared memory
    (``/dev/shm``), so semaphores between processes do not work, nor do pools that need them."""
    code: tuple[Path, ...] = ()
    """Folders searched for modules before the libraries; readable.  Nothing in them is imported
    before the process is confined.  The target's module may lie there."""

    bytecode: Path | None = None
    """A folder of compiled files, ``-X pycache_prefix``: those beside the sources are not read.
    **Trusted**: what runs before the process is confined is read from it, too, so nothing that is
    or was confined may write to it.  Interpreters that the process starts do not use it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "environment", dict(self.environment))
        for name, value in self.environment.items():
            _check_variable(name, value)
        for port in self.ports:
            if type(port) is not int or not 0 < port < 1 << 16:
                raise Usage(
                    f"{str(port)[:40]!r} is not a TCP port",
                    remedy="name ports from 1 to 65535",
                    code="isolation.grants",
                )

    @property
    def any(self) -> bool:
        return self != NO_GRANTS


NO_GRANTS = Grants()


def _check_variable(name: str, value: str) -> None:
    problem = ""
    if _NAME.fullmatch(name) is None:
        problem = "is not a name of letters, digits and underscores"
    elif name == HASH_SEED:
        if not (value.isascii() and value.isdigit() and int(value[:20]) < 1 << 32):
            problem = "is a number from 0 to 4294967295"
    elif name.startswith(_LOADERS) or name in _LOADER_NAMES:
        problem = "changes how programs start"
    elif name in _FOLDERS:
        problem = "is set by the scratch folder"
    elif "\0" in value:
        problem = "has a value with a zero character"
    if problem:
        raise Usage(
            f"the environment variable {name[:80]!r} {problem}",
            remedy="leave it out, or give the function what it needs under another name",
            code="isolation.environment",
        )


def open_log(path: Path) -> int:
    """A new file, ours: the process only ever has the descriptor."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileExistsError as error:
        raise Usage(
            f"the log {path} exists already",
            remedy="name a new file for each call",
            code="isolation.log",
        ) from error
    except OSError as error:
        raise Unavailable(
            f"cannot write the log {path}: {error.strerror}",
            remedy="name a file in a folder that exists and may be written",
            code="isolation.log",
        ) from error
