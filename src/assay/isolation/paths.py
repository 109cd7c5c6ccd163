"""Which files a confined process may read: the interpreter's libraries and what it was given."""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
import os
import re
import site
import stat
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from assay import errors
from assay.errors import NotFound, Usage

# What native libraries look at: their own dependencies, the processor, the time zones.  Public,
# the same on every machine of a kind, and not about anybody.
_SYSTEM = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/etc/ld.so.cache",
    "/usr/share/zoneinfo",
    "/proc/cpuinfo",
    "/sys/devices/system/cpu",
    "/dev/null",
    "/dev/urandom",
)

# What a client of the network looks at: how names are looked up, and whose certificates are
# trusted.  Not all of /etc/ssl: its folder `private` holds keys.
_NETWORK = (
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/ca-trust/extracted",
    "/etc/crypto-policies",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
)

_TARGET = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_MODULE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Given:
    """One importable top-level name outside the library folders, and where it lies."""

    name: str
    origin: str | None
    """The file: a module's, or a package's ``__init__.py``; None for a namespace package."""
    folders: tuple[str, ...] | None
    """A package's folders; None for a plain module."""

    @property
    def readable(self) -> tuple[str, ...]:
        return self.folders if self.folders is not None else (self.origin or "",)


@functools.cache
def search_path() -> tuple[str, ...]:
    """The entries of `sys.path` that belong to the interpreter and its installed packages.

    Others are left out on purpose: the current folder and a script's own may hold anything, such
    as a workspace.
    """
    known = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    prefixes = [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix]
    known.update(site.getsitepackages(prefixes))
    if site.ENABLE_USER_SITE:
        known.add(site.getusersitepackages())
    real = {Path(path).resolve() for path in known}
    standard = Path(sysconfig.get_path("stdlib")).resolve()
    entries = [Path(entry) for entry in sys.path]
    here = [entry.resolve() for entry in entries if entry.is_absolute() and entry.exists()]
    kept = [str(path) for path in here if path in real or path.is_relative_to(standard)]
    return tuple(dict.fromkeys(kept))


@functools.cache
def libraries() -> tuple[str, ...]:
    """Every folder and file that the interpreter needs, as real paths, none inside another."""
    # The standard library stays readable even where somebody took it out of `sys.path`.
    wanted = {sysconfig.get_path("stdlib"), *search_path(), *_SYSTEM}
    return _outermost(Path(path).resolve() for path in wanted if Path(path).exists())


def network() -> tuple[str, ...]:
    """The files that a client of the network needs besides, as real paths."""
    return tuple(str(Path(path).resolve()) for path in _NETWORK if Path(path).exists())


def network_links() -> tuple[tuple[str, str], ...]:
    """Those of them that are known by another name than their own: (name, real path)."""
    pairs = ((path, str(Path(path).resolve())) for path in _NETWORK if Path(path).exists())
    return tuple((name, real) for name, real in pairs if name != real)


def executables() -> tuple[str, ...]:
    """What programs may be started from: the libraries, and the interpreter itself."""
    kept = [path for path in libraries() if not path.startswith(("/dev/", "/proc/", "/sys/"))]
    return (*kept, *interpreter_files())


def interpreter() -> str:
    """The program of the base interpreter: a virtual environment's is a link to it, and adds only
    site packages."""
    return os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)


def interpreter_files() -> tuple[str, ...]:
    """The interpreter's program, and its shared library where it has one."""
    name = sysconfig.get_config_var("INSTSONAME") or sysconfig.get_config_var("LDLIBRARY") or ""
    library = Path(sysconfig.get_config_var("LIBDIR") or "/", str(name))
    return (interpreter(), *([str(library.resolve())] if library.is_file() else []))


def _outermost(paths: Iterable[Path]) -> tuple[str, ...]:
    kept: list[Path] = []
    for path in sorted(set(paths)):
        if not any(path.is_relative_to(above) for above in kept):
            kept.append(path)
    return tuple(str(path) for path in kept)


def check_target(target: str) -> str:
    """`target` if it is ``module:function``; else `Usage`."""
    if _TARGET.fullmatch(target) is None or target.startswith("__main__"):
        raise Usage(
            f"{target[:80]!r} does not name a function to run confined",
            remedy="write module:function, naming a function of an importable module",
            code="isolation.target",
        )
    return target


def check_preload(modules: Sequence[str]) -> tuple[str, ...]:
    """`modules` if each is a dotted name; else `Usage`."""
    for name in modules:
        if _MODULE.fullmatch(name) is None:
            raise Usage(f"{name[:80]!r} is not a module name", code="isolation.preload")
    return tuple(modules)


def locate(module: str) -> Given:
    """Where the top-level package of `module` lies.  Nothing is imported, so nothing runs here.

    Raises `NotFound`.
    """
    top = module.partition(".")[0]
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError) as error:
        raise NotFound(f"there is no module {top!r}", code="isolation.module") from error
    if spec is None:
        raise NotFound(
            f"there is no module {top!r}", remedy="install the package", code="isolation.module"
        )
    folders = spec.submodule_search_locations
    return Given(
        top,
        str(Path(spec.origin).resolve()) if spec.has_location and spec.origin else None,
        tuple(str(Path(folder).resolve()) for folder in folders) if folders is not None else None,
    )


def assay() -> Given:
    """This package, which may lie outside the library folders (an editable installation)."""
    init = Path(errors.__file__).resolve().with_name("__init__.py")
    return Given("assay", str(init), (str(init.parent),))


def check_inputs(inputs: Sequence[Path]) -> tuple[str, ...]:
    """The real paths of declared inputs; `NotFound`, or `Usage` for what is no file or folder."""
    checked: list[str] = []
    for path in inputs:
        try:
            real = path.resolve(strict=True)
            mode = real.stat().st_mode
        except (OSError, RuntimeError) as error:
            raise NotFound(
                f"the input {path} does not exist", remedy="check the path", code="isolation.input"
            ) from error
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) or real.parent == real:
            raise Usage(
                f"the input {path} is not a plain file or folder",
                remedy="name the file or folder that the function reads",
                code="isolation.input",
            )
        checked.append(str(real))
    return tuple(checked)


def check_code(folders: Sequence[Path]) -> tuple[str, ...]:
    """The real paths of folders of modules; `NotFound` or `Usage` for what is none."""
    real = check_inputs(folders)
    for path in real:
        if not os.path.isdir(path):  # noqa: PTH112 - it is a string already.
            raise Usage(
                f"{path} is not a folder of modules",
                remedy="name the folder that contains the modules",
                code="isolation.code",
            )
    return real


def lies_in(module: str, folders: Sequence[str]) -> bool:
    """Whether one of these folders has the top-level package of `module`.  Only looks at names."""
    top = module.partition(".")[0]
    names = {top, *(top + suffix for suffix in importlib.machinery.all_suffixes())}
    return any((Path(folder) / name).exists() for folder in folders for name in names)


def readable_by_anyone(paths: Iterable[str]) -> bool:
    """Whether a user who owns nothing can reach and read these paths, and folders' contents.

    Looks into folders that are not libraries only (`libraries` are installed as a whole, with one
    mode).  A wrong answer is harmless: the confined process could read less, never more.
    """
    trusted = set(libraries())
    for name in paths:
        path = Path(name)
        if not reachable_by_anyone(name):
            return False
        below = [path] if name in trusted or not path.is_dir() else [path, *path.rglob("*")]
        for item in below:
            needed = stat.S_IROTH | (stat.S_IXOTH if item.is_dir() else 0)
            if not item.is_symlink() and _bits(item) & needed != needed:
                return False
    return True


def reachable_by_anyone(path: str) -> bool:
    """Whether a user who owns nothing gets as far as the folder that contains `path`."""
    return all(_bits(above) & stat.S_IXOTH for above in Path(path).parents)


def _bits(path: Path) -> int:
    try:
        return os.stat(path).st_mode  # noqa: PTH116 - follows links, as the reader would.
    except OSError:
        return 0
