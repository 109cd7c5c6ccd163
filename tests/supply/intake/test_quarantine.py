"""What lands in quarantine: names, sizes, counts, time, and what the source said of it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from supply.intake.servers import SMALL, git_blob, sha256

from assay.errors import AssayError, Unavailable, Usage, Verification
from assay.store import trees
from assay.supply.intake.quarantine import Claim, Quarantine
from assay.supply.intake.settings import Limits


def test_what_is_taken_is_written_hashed_and_private(quarantine: Quarantine) -> None:
    quarantine.plan([("a/b.bin", None), ("c", 1)])
    quarantine.add("a/b.bin", [b"one ", b"two"])
    quarantine.add("c", [b"3"], size=1)
    digest = quarantine.finish()
    assert (quarantine.folder / "a" / "b.bin").read_bytes() == b"one two"
    assert [t.digest for t in quarantine.taken] == [
        f"sha256:{sha256(b)}" for b in (b"one two", b"3")
    ]
    entries = [trees.TreeEntry(t.path, t.size, t.digest) for t in quarantine.taken]
    assert digest == f"sha256:{hashlib.sha256(trees.encode(entries)).hexdigest()}"
    assert quarantine.folder.stat().st_mode & 0o777 == 0o700
    assert (quarantine.folder / "c").stat().st_mode & 0o777 == 0o400


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/etc/passwd",
        "a/../../x",
        "a//b",
        "a\\b",
        "a\nb",
        ".",
        "",
        "x" * 1100,
        "a/" * 70 + "b",
    ],
)
def test_a_name_that_is_not_safe_is_refused_before_anything_is_fetched(
    quarantine: Quarantine, name: str
) -> None:
    with pytest.raises(Usage) as caught:
        quarantine.plan([("fine", 1), (name, 1)])
    assert caught.value.code == "usage.intake.name"
    assert "test:source" in caught.value.message
    assert list(quarantine.folder.iterdir()) == []


@pytest.mark.parametrize("names", [("A", "a"), ("a", "a/b"), ("caf\u00e9", "cafe\u0301")])
def test_names_that_another_file_system_takes_for_one_are_refused(
    quarantine: Quarantine, names: tuple[str, str]
) -> None:
    with pytest.raises(Usage):
        quarantine.plan([(name, 1) for name in names])


def test_too_many_files_too_large_a_file_and_too_much_of_all_are_refused(tmp_path: Path) -> None:
    limits = Limits(total_bytes=100, file_bytes=60, files=3, seconds=9)
    cases: list[list[tuple[str, int | None]]] = [
        [(str(n), 1) for n in range(4)],
        [("one", 61)],
        [("one", 51), ("two", 51)],
        [],
    ]
    for number, case in enumerate(cases):
        with pytest.raises(Usage):
            Quarantine(tmp_path / f"{number}", "s", limits).plan(case)


def test_bytes_count_as_they_come_whatever_was_announced(tmp_path: Path) -> None:
    limits = Limits(total_bytes=100, file_bytes=60, files=3, seconds=9)
    endless = Quarantine(tmp_path / "a", "s", limits)
    endless.plan([("one", None)])
    drawn: list[int] = []

    def pieces():
        while True:
            drawn.append(1)
            yield b"x" * 10

    with pytest.raises(Usage) as caught:
        endless.add("one", pieces())
    assert caught.value.code == "usage.intake.size"
    assert len(drawn) == 7
    assert list(endless.folder.iterdir()) == []
    several = Quarantine(tmp_path / "b", "s", limits)
    several.plan([("one", None), ("two", None)])
    several.add("one", [b"x" * 60])
    with pytest.raises(Usage):
        several.add("two", [b"x" * 41])


def test_time_is_over_when_it_is_over(tmp_path: Path) -> None:
    now = [0.0]
    limits = Limits(seconds=10)
    held = Quarantine(tmp_path / "q", "test:slow", limits, monotonic=lambda: now[0])
    held.plan([("a", None)])

    def slow():
        for _ in range(5):
            now[0] += 3
            yield b"x"

    with pytest.raises(Unavailable) as caught:
        held.add("a", slow())
    assert caught.value.code == "unavailable.intake.time"
    assert "test:slow" in caught.value.message


@settings(max_examples=30)
@given(st.binary(max_size=200), st.integers(0, 199))
def test_any_byte_that_differs_from_what_the_source_says_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, at: int
) -> None:
    held = Quarantine(tmp_path_factory.mktemp("q") / "q", "s", SMALL)
    names = ["right", "wrong", "git", "git-wrong"]
    held.plan([(name, None) for name in names])
    claims = [Claim("sha256", sha256(content), "LFS oid")]
    assert held.add("right", [content], size=len(content), claims=claims).checked == "LFS oid"
    blob = [Claim("git-blob", git_blob(content), "git object id")]
    held.add("git", [content], size=len(content), claims=blob)
    changed = bytearray(content or b"x")
    changed[at % len(changed)] ^= 1
    for name, said in (("wrong", claims), ("git-wrong", blob)):
        with pytest.raises(Verification) as caught:
            held.add(name, [bytes(changed)], size=len(changed), claims=said)
        assert caught.value.code == "verification.intake.digest"
        assert not (held.folder / name).exists()


@pytest.mark.parametrize("content", [b"short", b"longer than that"])
def test_a_file_of_another_size_is_refused(quarantine: Quarantine, content: bytes) -> None:
    quarantine.plan([("a", 10)])
    with pytest.raises(Verification):
        quarantine.add("a", [content], size=10)


def test_what_was_not_announced_is_not_written(quarantine: Quarantine) -> None:
    quarantine.plan([("a", 1)])
    with pytest.raises(AssayError):
        quarantine.add("b", [b"x"])
    quarantine.add("a", [b"x"])
    with pytest.raises(AssayError):
        quarantine.add("a", [b"y"])


def test_what_was_announced_has_to_come(quarantine: Quarantine) -> None:
    quarantine.plan([("a", 1), ("b", 1)])
    quarantine.add("a", [b"x"])
    with pytest.raises(Unavailable):
        quarantine.finish()


def test_nothing_is_written_through_a_link_that_somebody_slipped_in(
    quarantine: Quarantine, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    quarantine.plan([("a", 1)])
    (quarantine.folder / "a").symlink_to(outside)
    (quarantine.folder / ".0.partial").symlink_to(outside)
    with pytest.raises(Unavailable):
        quarantine.add("a", [b"x"])
    assert outside.read_bytes() == b"mine"
