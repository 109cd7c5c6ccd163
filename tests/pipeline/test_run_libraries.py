"""Installed libraries count: those that a step imports, those that these load, and those that they
would load if they were there."""

from __future__ import annotations

import functools
import os
import platform
import site as sites
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from assay.isolation import paths
from assay.pipeline import bytecode

from .running import Place
from .test_environment import install

pytestmark = pytest.mark.slow

MAIN = """
@pipeline
def main() -> object:
    return work()
"""

# -- libraries ------------------------------------------------------------------------------------


_compile = functools.cache(bytecode._compile)


def _compiled_once(source: Path, data: bytes) -> bytes | None:
    """Compiling the standard library takes seconds, and gives the same each time."""
    return _compile(source, data)


@pytest.fixture
def library(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Generator[Callable[..., Path]]:
    """Installs made-up distributions in a folder of libraries of this user."""
    del place  # Made before there is such a folder.
    folder = tmp_path / "user" / "site-packages"
    folder.mkdir(parents=True)
    monkeypatch.setattr(sites, "ENABLE_USER_SITE", True)
    monkeypatch.setattr(sites, "getusersitepackages", lambda: str(folder))
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
    for found in (paths.search_path, paths.libraries):
        found.cache_clear()
    monkeypatch.setattr(bytecode, "_compile", _compiled_once)

    def add(name: str, version: str, files: dict[str, str], **more: Any) -> Path:
        for old in folder.glob(f"{name.replace('-', '_')}-*.dist-info"):
            for file in old.iterdir():
                file.unlink()
            old.rmdir()
        install(folder, name, version, files, **more)
        return folder

    yield add
    for found in (paths.search_path, paths.libraries):
        found.cache_clear()


LIBRARY = "import fancy\n@step\ndef work() -> int:\n    return fancy.value()\n" + MAIN


def test_another_version_of_a_library_counts(place: Place, library: Callable[..., Path]) -> None:
    place.code(LIBRARY)
    library("fancy", "1.0", {"fancy.py": "def value():\n    return 1\n"})
    assert place.ok().value("work") == 1
    assert place.ok().states == {"work": "cached"}
    library("fancy", "2.0", {"fancy.py": "def value():\n    return 22\n"})
    again = place.ok()
    assert again.value("work") == 22
    assert "installed fancy was 1.0, is 2.0" in again.why("work")


def test_other_files_of_the_same_version_count(place: Place, library: Callable[..., Path]) -> None:
    place.code(LIBRARY)
    library("fancy", "1.0", {"fancy.py": "def value():\n    return 1\n"})
    place.ok()
    library("fancy", "1.0", {"fancy.py": "def value():\n    return 2\n"})
    again = place.ok()
    assert again.value("work") == 2
    assert "installed fancy has other files" in again.why("work")


def test_what_a_library_requires_counts(place: Place, library: Callable[..., Path]) -> None:
    place.code(LIBRARY)
    library(
        "fancy",
        "1.0",
        {"fancy.py": "import base\ndef value():\n    return base.VALUE\n"},
        requires=("base",),
    )
    library("base", "1.0", {"base.py": "VALUE = 1\n"})
    assert place.ok().value("work") == 1
    library("base", "1.1", {"base.py": "VALUE = 2\n"})
    assert place.ok().value("work") == 2


def test_what_a_library_loads_without_requiring_it_counts(
    place: Place, library: Callable[..., Path]
) -> None:
    place.code(LIBRARY)
    library("fancy", "1.0", {"fancy.py": "import base\ndef value():\n    return base.VALUE\n"})
    library("base", "1.0", {"base.py": "VALUE = 1\n"})
    first = place.ok()
    assert first.task("work").unstored == []
    assert place.ok().states == {"work": "cached"}
    library("base", "1.1", {"base.py": "VALUE = 2\n"})
    again = place.ok()
    assert again.value("work") == 2
    assert again.why("work") == "installed base, which a library loads, is not what it was"
    assert place.ok().states == {"work": "cached"}


OPTIONAL = {
    "an import": "try:\n    import extra\n    VALUE = extra.VALUE\n"
    "except ImportError:\n    VALUE = 0\n",
    "a look": "import importlib.util\n"
    "VALUE = 0 if importlib.util.find_spec('extra') is None else 7\n",
    "a version": "from importlib import metadata\n"
    "try:\n    VALUE = int(metadata.version('extra'))\n"
    "except metadata.PackageNotFoundError:\n    VALUE = 0\n",
}


@pytest.mark.parametrize("how", OPTIONAL)
def test_a_library_that_another_one_would_use_if_it_were_there_counts_once_it_is(
    place: Place, library: Callable[..., Path], how: str
) -> None:
    place.code(LIBRARY)
    library("fancy", "1.0", {"fancy.py": f"{OPTIONAL[how]}def value():\n    return VALUE\n"})
    assert place.ok().value("work") == 0
    assert place.ok().states == {"work": "cached"}
    library("extra", "7", {"extra.py": "VALUE = 7\n"})
    assert place.ok().value("work") == 7
    assert place.ok().value("work") == 7


@pytest.mark.parametrize("how", OPTIONAL)
def test_a_library_that_a_step_would_use_if_it_were_there_counts_once_it_is(
    place: Place, library: Callable[..., Path], how: str
) -> None:
    place.code(f"{OPTIONAL[how]}@step\ndef work() -> int:\n    return VALUE\n" + MAIN)
    assert place.ok().value("work") == 0
    assert place.ok().states == {"work": "cached"}
    library("extra", "7", {"extra.py": "VALUE = 7\n"})
    assert place.ok().value("work") == 7
    assert place.ok().value("work") == 7


def test_a_module_that_becomes_ours_counts(place: Place, library: Callable[..., Path]) -> None:
    place.code(LIBRARY)
    library(
        "fancy", "1.0", {"fancy.py": f"{OPTIONAL['an import']}def value():\n    return VALUE\n"}
    )
    assert place.ok().value("work") == 0
    place.write("extra.py", "VALUE = 7\n")
    place.edit("p.py", "import fancy", "import fancy, extra")
    assert place.ok().value("work") == 7


def test_a_module_of_no_distribution_keeps_a_run_from_beginning(
    place: Place, library: Callable[..., Path]
) -> None:
    folder = library("other", "1.0", {"other.py": ""})
    (folder / "fancy.py").write_text("def value():\n    return 1\n")
    place.code(LIBRARY)
    _denied(place, "run.environment")


def test_a_module_of_no_distribution_that_a_library_loads_fails_the_step(
    place: Place, library: Callable[..., Path]
) -> None:
    place.code(LIBRARY)
    folder = library(
        "fancy", "1.0", {"fancy.py": "import loose\ndef value():\n    return loose.VALUE\n"}
    )
    (folder / "loose.py").write_text("VALUE = 1\n")
    assert "loose.py belongs to no installed distribution" in place.fails().problem
    _allow_altered(place)
    place.edit("p.py", "import fancy", "import fancy, loose")
    assert place.ok().value("work") == 1
    assert place.ok().states == {"work": "cached"}
    (folder / "loose.py").write_text("VALUE = 22\n")
    assert place.ok().value("work") == 22


def test_an_edited_library_keeps_a_run_from_beginning(
    place: Place, library: Callable[..., Path]
) -> None:
    place.code(LIBRARY)
    folder = library("fancy", "1.0", {"fancy.py": "def value():\n    return 1\n"})
    place.ok()
    (folder / "fancy.py").write_text("def value():\n    return 2\n")
    _denied(place, "run.environment")
    # Of the same size and time.
    status = (folder / "fancy.py").stat()
    library("fancy", "1.0", {"fancy.py": "def value():\n    return 1\n"})
    assert place.ok().value("work") == 1
    (folder / "fancy.py").write_text("def value():\n    return 3\n")
    os.utime(folder / "fancy.py", ns=(status.st_atime_ns, status.st_mtime_ns))
    _denied(place, "run.environment")


def test_an_edit_of_a_library_that_another_one_loads_fails_the_step(
    place: Place, library: Callable[..., Path]
) -> None:
    place.code(LIBRARY)
    folder = library(
        "fancy", "1.0", {"fancy.py": "import base\ndef value():\n    return base.VALUE\n"}
    )
    library("base", "1.0", {"base.py": "VALUE = 1\n"})
    place.ok()
    (folder / "base.py").write_text("VALUE = 2\n")
    failed = place.fails()
    assert failed.task("work").why == ["installed base, which a library loads, is not what it was"]
    assert "base.py" in failed.problem
    assert "step work" in failed.problem
    assert "--force-reinstall" in failed.problem
    place.edit("p.py", "import fancy", "import fancy, base")
    _denied(place, "run.environment")
    _allow_altered(place)
    again = place.ok()
    assert again.value("work") == 2
    (statement,) = place.provenance(again.task("work"))
    assert statement.predicate["assay_environment"] == "altered"


def test_an_altered_library_may_be_allowed_and_its_files_count(
    place: Place, library: Callable[..., Path]
) -> None:
    _allow_altered(place)
    place.code(LIBRARY)
    folder = library("fancy", "1.0", {"fancy.py": "def value():\n    return 1\n"})
    (folder / "fancy.py").write_text("def value():\n    return 2\n")
    first = place.ok()
    assert (first.value("work"), first.record.environment) == (2, "altered")
    (folder / "fancy.py").write_text("def value():\n    return 3\n")
    assert place.ok().value("work") == 3


def test_a_compiled_file_that_was_planted_beside_a_library_does_not_run(
    place: Place, library: Callable[..., Path]
) -> None:
    import py_compile

    place.code(LIBRARY)
    folder = library("fancy", "1.0", {"fancy.py": "def value():\n    return 1\n"})
    status = (folder / "fancy.py").stat()
    (folder / "fancy.py").write_text("def value():\n    return 6\n")
    os.utime(folder / "fancy.py", ns=(status.st_atime_ns, status.st_mtime_ns))
    py_compile.compile(str(folder / "fancy.py"))
    (folder / "fancy.py").write_text("def value():\n    return 1\n")
    os.utime(folder / "fancy.py", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert place.ok().value("work") == 1


CODEC = """
from pathlib import Path

class Thing:
    def __init__(self, text):
        self.text = text

class Codec:
    name = "fancy/{version}"
    kind = "data"
    suffix = ".fancy"

    def accepts(self, hint):
        return hint is Thing

    def encode(self, value, hint, into):
        into.write_text("{version} " + value.text)

    def decode(self, path, hint):
        return Thing(path.read_text())

CODEC = Codec()
"""


def test_another_version_of_a_codec_counts(place: Place, library: Callable[..., Path]) -> None:
    place.code(
        """
        from fancy import Thing

        @step
        def first() -> Thing:
            return Thing("a")

        @step
        def work(thing: Thing) -> str:
            return thing.text

        @pipeline
        def main() -> object:
            return work(first())
        """
    )
    for version in (1, 2):
        library(
            "fancy",
            "1.0",
            {"fancy.py": CODEC.replace("{version}", str(version))},
            notes={"entry_points.txt": "[assay.codecs]\nfancy = fancy:CODEC\n"},
        )
        ran = place.ok()
        assert ran.value("work") == f"{version} a"
        assert ran.task("first").outputs[0][0].codec == f"fancy/{version}"
        again = place.ok()
        assert set(again.states.values()) == {"cached"}, again.why("work")


def test_another_python_counts(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.code("@step\ndef work() -> int:\n    return 1\n" + MAIN)
    place.ok()
    monkeypatch.setattr(platform, "python_version", lambda: "3.99.0")
    again = place.ok()
    assert again.states == {"work": "done"}
    assert "Python was cpython-3." in again.why("work")
    assert "is cpython-3.99.0" in again.why("work")


def test_a_library_that_changes_while_a_run_goes_on_ends_it(
    place: Place, library: Callable[..., Path]
) -> None:
    place.code(
        """
        import fancy

        @step
        def first() -> int:
            return 1

        @step
        def work(n: int) -> int:
            return n + fancy.VALUE

        @pipeline
        def main() -> object:
            return work(first())
        """
    )
    library("fancy", "1.0", {"fancy.py": "VALUE = 1\n"})

    def upgrade(text: str) -> None:
        if str(text) == "first: done":
            library("fancy", "2.0", {"fancy.py": "VALUE = 22\n"})

    failed = place.run(progress=upgrade)
    assert failed.record.state == "failed"
    assert "the installed libraries changed" in failed.problem
    again = place.ok()
    assert again.states["work"] == "done"
    assert again.value("work") == 23
    library("fancy", "1.0", {"fancy.py": "VALUE = 1\n"})
    assert place.ok().value("work") == 2


def _denied(place: Place, gate: str) -> None:
    from assay.errors import Denied

    with pytest.raises(Denied) as caught:
        place.run()
    assert [reason["gate"] for reason in caught.value.details["reasons"]] == [gate]


def _allow_altered(place: Place) -> None:
    """Change the policy so that altered libraries may run."""
    gate = (place.repo / "policy" / "gates.cedar").read_text()
    place.write(
        "policy/gates.cedar",
        gate.replace('["locked", "verified"]', '["locked", "verified", "altered"]'),
    )
    cases = (place.repo / "policy" / "tests.toml").read_text()
    case = cases.index('name = "nothing runs on libraries that were altered"')
    end = cases.index("[[cases]]", case)
    place.write("policy/tests.toml", cases[: cases.rindex("[[cases]]", 0, case)] + cases[end:])
    place.settings()
