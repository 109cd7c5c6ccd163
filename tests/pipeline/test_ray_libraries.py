"""The libraries of a node: refused unless they are those of the run, and compiled by one worker."""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from assay.errors import Conflict, Unavailable
from assay.pipeline import bytecode, ray_libraries
from assay.pipeline.confined import Answer
from assay.pipeline.environment import Environment, environment
from assay.pipeline.watching import Used
from assay.plugins import Task
from assay.types import Digest

TASK = Task("fit", b"", (), 1 << 30, 1, 1.0, 1 << 20, {}, (), False, None, "")


class Nothing:
    def get(self, key: str) -> None:
        del key

    def put(self, key: str, value: bytes) -> None:
        del key, value


def made_of(digest: str) -> Environment:
    return Environment("verified", "", "", {}, (), Digest(f"sha256:{digest}"), frozenset())


def named(tmp_path: Path, *imports: str) -> Task:
    digest = environment(imports, memo=Nothing(), folder=tmp_path).digest
    return msgspec.structs.replace(TASK, imports=imports, distributions=digest)


def test_the_very_libraries_of_the_run_are_taken(tmp_path: Path) -> None:
    task = named(tmp_path, "msgspec")
    assert ray_libraries.verified(task, tmp_path).digest == task.distributions


@pytest.mark.parametrize("imports", [(), ("packaging",)])
def test_other_libraries_are_refused_with_what_to_do(
    tmp_path: Path, imports: tuple[str, ...]
) -> None:
    task = msgspec.structs.replace(
        named(tmp_path, *imports), distributions=named(tmp_path, "cryptography").distributions
    )
    with pytest.raises(Unavailable) as caught:
        ray_libraries.verified(task, tmp_path)
    assert caught.value.code == "unavailable.ray.environment"
    assert "lock file" in caught.value.remedy


def test_what_is_wrong_with_a_library_of_the_node_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Environment(
        "altered", "", "", {}, ("six 1.0: six.py was changed",), Digest("sha256:0"), frozenset()
    )
    monkeypatch.setattr(ray_libraries, "environment", lambda *_, **__: broken)
    with pytest.raises(Unavailable, match=r"six\.py was changed"):
        ray_libraries.verified(msgspec.structs.replace(TASK, distributions="sha256:1"), tmp_path)


def test_what_a_step_loads_besides_is_told_as_it_is_on_the_node(tmp_path: Path) -> None:
    found = environment((), memo=Nothing(), folder=tmp_path)
    used = Used([], ["packaging", "msgspec", "assay", "packaging-1.dist-info"], [], False)
    told = ray_libraries.loaded(found, Answer([], None, used, 0.0), tmp_path)
    whole = environment(("packaging",), memo=Nothing(), folder=tmp_path).distributions
    assert told == whole
    assert "packaging" in told


# -- compiled files -------------------------------------------------------------------------------


@pytest.fixture
def compiling(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that were compiled into; each gets one file."""
    seen: list[Path] = []

    def compile_libraries(_: Environment, into: Path) -> int:
        seen.append(into)
        (into / "one.pyc").write_bytes(b"")
        return 1

    monkeypatch.setattr(bytecode, "compile_libraries", compile_libraries)
    return seen


def test_two_that_need_them_at_once_compile_once(tmp_path: Path, compiling: list[Path]) -> None:
    wanted = made_of("aa")
    first, go = threading.Event(), threading.Event()

    def slow() -> Environment:
        first.set()
        assert go.wait(30)
        return wanted

    places: list[Path] = []

    def make(again: Callable[[], Environment]) -> None:
        places.append(bytecode.compiled_for(wanted, again, tmp_path / "cache"))

    one = threading.Thread(target=make, args=(slow,))
    other = threading.Thread(target=make, args=(lambda: wanted,))
    one.start()
    assert first.wait(30)
    other.start()
    go.set()
    one.join(30)
    other.join(30)
    assert len(compiling) == 1
    assert len(places) == 2
    assert places[0] == places[1]
    assert [path.name for path in places[0].iterdir()] == ["one.pyc"]


def test_what_changed_while_it_was_compiled_is_thrown_away(
    tmp_path: Path, compiling: list[Path]
) -> None:
    del compiling
    with pytest.raises(Conflict, match="changed while they were compiled"):
        bytecode.compiled_for(made_of("aa"), lambda: made_of("bb"), tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["lock"]


def test_the_cache_is_private_and_what_a_killed_process_left_goes(
    tmp_path: Path, compiling: list[Path]
) -> None:
    del compiling
    cache = tmp_path / "below" / "cache"
    bytecode.compiled_for(made_of("aa"), lambda: made_of("aa"), cache)
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    (cache / "new-left").mkdir()
    bytecode.compiled_for(made_of("bb"), lambda: made_of("bb"), cache)
    assert not (cache / "new-left").exists()


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_cache_that_others_can_write_to_is_refused(
    tmp_path: Path, compiling: list[Path], mode: int
) -> None:
    cache = tmp_path / "cache"
    bytecode.compiled_for(made_of("aa"), lambda: made_of("aa"), cache)
    cache.chmod(mode)
    with pytest.raises(Unavailable, match="others can write"):
        bytecode.compiled_for(made_of("aa"), lambda: made_of("aa"), cache)
    assert len(compiling) == 1


def test_a_link_in_place_of_the_cache_is_refused(tmp_path: Path, compiling: list[Path]) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (tmp_path / "cache").symlink_to(elsewhere)
    with pytest.raises(Unavailable, match="others can write"):
        bytecode.compiled_for(made_of("aa"), lambda: made_of("aa"), tmp_path / "cache")
    assert compiling == []


def test_libraries_at_another_place_have_compiled_files_of_their_own(
    tmp_path: Path, compiling: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def place() -> Path:
        return bytecode.compiled_for(made_of("aa"), lambda: made_of("aa"), tmp_path / "cache")

    before = place()
    monkeypatch.setattr(bytecode, "library_folders", lambda: (tmp_path / "site-packages",))
    assert place() != before
    assert len(compiling) == 2


@pytest.mark.parametrize("given", ["", "relative"])
def test_the_cache_is_below_the_home_unless_it_is_named(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", given)
    assert bytecode.cache_folder() == tmp_path / ".cache" / "assay" / "bytecode"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "named"))
    assert bytecode.cache_folder() == tmp_path / "named" / "assay" / "bytecode"
