"""Compiled files: a planted one runs where Python may read it, and not from a folder of ours."""

from __future__ import annotations

import py_compile
import struct
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from assay.pipeline import bytecode
from assay.pipeline.environment import Environment
from assay.types import Digest

TAG = sys.implementation.cache_tag


def made_of(*entries: str) -> Environment:
    return Environment("verified", "", "", {}, (), Digest(""), frozenset(entries))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library, and a standard library of one module so that the tests stay fast."""
    (tmp_path / "standard").mkdir()
    (tmp_path / "standard/std.py").write_text("")
    real = sysconfig.get_path
    monkeypatch.setattr(
        sysconfig,
        "get_path",
        lambda name: str(tmp_path / "standard") if name == "stdlib" else real(name),
    )
    site = tmp_path / "site"
    for name, text in {
        "lib/__init__.py": "",
        "lib/part.py": "print('source')\n",
        "lib/tests/test_part.py": "",
        "lib/template.py": "{% no python %}",
        "single.py": "",
        "other/__init__.py": "",
    }.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    return site


def said(site: Path, *options: str) -> str:
    program = f"import sys; sys.path.insert(0, {str(site)!r}); import lib.part"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", *options, "-c", program],
        capture_output=True,
        check=True,
        text=True,
    )
    return done.stdout.strip()


def plant(source: Path, into: Path, text: str) -> None:
    """A compiled file of `text` that notes the time and size of `source`."""
    other = into.with_suffix(".txt")
    other.write_text(text)
    py_compile.compile(str(other), cfile=str(into))
    status = source.stat()
    noted = (int(status.st_mtime) & 0xFFFFFFFF, status.st_size)
    into.write_bytes(into.read_bytes()[:8] + struct.pack("<II", *noted) + into.read_bytes()[16:])


def test_a_planted_compiled_file_runs_only_where_python_may_read_it(
    site: Path, tmp_path: Path
) -> None:
    folder = site / "lib/__pycache__"
    folder.mkdir()
    plant(site / "lib/part.py", folder / f"part.{TAG}.pyc", "print('planted')")
    assert said(site) == "planted"
    bytecode.compile_libraries(made_of("lib"), tmp_path / "compiled", sites=[site])
    assert said(site, "-X", f"pycache_prefix={tmp_path / 'compiled'}") == "source"


def test_python_takes_the_files_that_were_compiled(site: Path, tmp_path: Path) -> None:
    into = tmp_path / "compiled"
    count = bytecode.compile_libraries(made_of("lib", "single.py", "gone"), into, sites=[site])
    assert count == 4
    names = {path.name.partition(".")[0] for path in into.rglob("*.pyc")}
    assert names == {"__init__", "part", "single", "std"}
    option = ("-X", f"pycache_prefix={into}")
    ours = next(into.rglob("part.*.pyc"))
    # Shown by replacing one: were it not read, the source would speak.
    plant(site / "lib/part.py", ours, "print('compiled')")
    assert said(site, *option) == "compiled"
    # And one of an older source is not.
    (site / "lib/part.py").write_text("print('edited source')\n")
    assert said(site, *option) == "edited source"
