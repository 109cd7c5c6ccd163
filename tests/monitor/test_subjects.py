"""Keys of people: one can be destroyed, for good, and no other with it."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay import files
from assay.clock import timestamp
from assay.errors import AssayError, Corrupt, NotFound, Unavailable, Verification
from assay.monitor import subjects
from assay.monitor.log import pseudonym
from assay.monitor.subjects import SubjectKeys
from assay.store import Rings

sys.path.insert(0, str(Path(__file__).parent))

from logged import NAMING, START, rings_in

NOW = timestamp(START)
LATER = timestamp(START + timedelta(seconds=1))


def person(name: object) -> str:
    made = pseudonym(NAMING, name)
    assert made is not None
    return made


ANN, BOB, CAT = person("ann"), person("bob"), person("cat")


@pytest.fixture
def rings(tmp_path: Path) -> Rings:
    return rings_in(tmp_path)


@pytest.fixture
def keys(tmp_path: Path, rings: Rings) -> SubjectKeys:
    return SubjectKeys(tmp_path / "subjects", rings, "p")


def fresh(keys: SubjectKeys, rings: Rings) -> SubjectKeys:
    """As another process has them."""
    return SubjectKeys(keys._folder, rings, "p")


def sealed(
    keys: SubjectKeys, *people: str, at: timedelta = timedelta()
) -> list[tuple[bytes, str, bytes]]:
    rows = [(who, START + at, f"id/{number}", who.encode()) for number, who in enumerate(people)]
    places = [place for _, _, place, _ in rows]
    pairs = subjects.seal(keys, rows)
    return [(name, place, content) for (name, content), place in zip(pairs, places, strict=True)]


def opened(keys: SubjectKeys, rows: Sequence[tuple[bytes, str, bytes]]) -> list[str | None]:
    return [None if each is None else each.decode() for each in subjects.unseal(keys, rows)]


def test_what_is_sealed_about_people_opens_for_every_process(
    keys: SubjectKeys, rings: Rings
) -> None:
    rows = sealed(keys, ANN, BOB, ANN)
    assert opened(fresh(keys, rings), rows) == [ANN, BOB, ANN]
    assert rows[0][0] == rows[2][0] != rows[1][0]
    assert rows[0][2] != rows[2][2]


def test_a_key_stays_that_of_its_person(keys: SubjectKeys, rings: Rings) -> None:
    first, _ = keys.give({ANN: NOW, BOB: NOW})
    again, _ = fresh(keys, rings).give({BOB: NOW, CAT: NOW})
    assert again[BOB] == first[BOB]


def test_exactly_the_rows_of_who_is_forgotten_cannot_be_read(
    keys: SubjectKeys, rings: Rings
) -> None:
    rows = sealed(keys, ANN, BOB, CAT, ANN)
    assert keys.forget([ANN], NOW) == 1
    for each in (keys, fresh(keys, rings)):
        assert opened(each, rows) == [None, BOB, CAT, None]


def test_older_copies_of_the_tables_do_not_bring_back_who_is_forgotten(
    keys: SubjectKeys, rings: Rings, tmp_path: Path
) -> None:
    rows = sealed(keys, ANN, BOB)
    shutil.copytree(keys._folder, tmp_path / "backup")
    keys.forget([ANN], NOW)
    # Beside the new ones, in their place, and alone.
    for place in ("1", "2"):
        shutil.rmtree(keys._folder / place, ignore_errors=True)
        shutil.copytree(tmp_path / "backup" / "1", keys._folder / place)
        with contextlib.suppress(Corrupt, Verification):
            assert opened(fresh(keys, rings), rows) != [ANN, BOB]
    with pytest.raises(NotFound, match="was destroyed"):
        rings.ring("p/subjects")


def test_nothing_is_left_of_a_forgotten_key_on_the_disk(keys: SubjectKeys) -> None:
    sealed(keys, ANN, BOB)
    keys.forget([ANN], NOW)
    assert [path.name for path in keys._folder.iterdir() if path.is_dir()] == ["2"]


def test_who_comes_back_has_a_new_key_and_old_rows_stay_forgotten(keys: SubjectKeys) -> None:
    old = sealed(keys, ANN)
    keys.forget([ANN], NOW)
    new = sealed(keys, ANN, at=timedelta(seconds=1))
    assert opened(keys, [*old, *new]) == [None, ANN]
    assert keys.forget([ANN], LATER) == 1
    assert opened(keys, [*old, *new]) == [None, None]


def test_what_was_predicted_before_and_is_sealed_after_is_forgotten_too(keys: SubjectKeys) -> None:
    sealed(keys, BOB)
    assert keys.forget([ANN], NOW) == 0
    rows = [*sealed(keys, ANN, BOB), *sealed(keys, ANN, at=timedelta(seconds=1))]
    assert rows[0][2] == b""
    assert opened(keys, rows) == [None, BOB, ANN]


def test_who_is_forgotten_between_two_steps_of_sealing_is_forgotten(
    keys: SubjectKeys, rings: Rings
) -> None:
    """The key is given in one step with the question of whom to forget: it is too late for none."""
    other = fresh(keys, rings)
    given, until = keys.give({ANN: NOW})
    other.forget([ANN], NOW)
    assert until == {}
    assert keys.find([given[ANN][0]]) == {given[ANN][0]: None}


def test_what_one_process_forgets_another_does_not_remember(
    keys: SubjectKeys, rings: Rings
) -> None:
    rows = sealed(keys, ANN, BOB)
    assert opened(keys, rows) == [ANN, BOB]
    fresh(keys, rings).forget([ANN], NOW)
    assert opened(keys, rows) == [None, BOB]


def test_forgetting_that_failed_is_not_taken_for_done(
    keys: SubjectKeys, rings: Rings, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = sealed(keys, ANN, BOB)

    def full(_: str) -> None:
        raise Unavailable("no space")

    with monkeypatch.context() as patched:
        patched.setattr(rings, "destroy", full)
        with pytest.raises(Unavailable):
            keys.forget([ANN], NOW)
    assert opened(keys, rows) == [ANN, BOB]
    assert keys.forget([ANN], NOW) == 1
    assert opened(keys, rows) == [None, BOB]


def test_forgetting_twice_destroys_one_ring(keys: SubjectKeys, rings: Rings) -> None:
    sealed(keys, ANN, BOB)
    assert [keys.forget([ANN], NOW) for _ in range(3)] == [1, 1, 1]
    assert [receipt.ring for receipt in rings.receipts()] == ["p/subjects"]


def test_many_are_forgotten_at_the_cost_of_one_ring(keys: SubjectKeys, rings: Rings) -> None:
    people = [person(number) for number in range(200)]
    rows = sealed(keys, *people)
    assert keys.forget(people[:150], NOW) == 150
    assert opened(keys, rows) == [*[None] * 150, *people[150:]]
    assert len(rings.receipts()) == 1


def test_nobody_was_ever_known_and_can_be_forgotten(keys: SubjectKeys) -> None:
    assert keys.forget([ANN], NOW) == 0
    given, until = keys.give({ANN: NOW, BOB: NOW})
    assert (set(given), until) == ({BOB}, {ANN: NOW})


def test_to_destroy_the_ring_is_to_forget_everybody_until_then(
    keys: SubjectKeys, rings: Rings
) -> None:
    old = sealed(keys, ANN, BOB)
    rings.destroy("p/subjects")
    assert opened(keys, old) == [None, None]
    new = sealed(keys, ANN)
    assert opened(fresh(keys, rings), [*old, *new]) == [None, None, ANN]


def test_a_row_in_another_place_does_not_open(keys: SubjectKeys) -> None:
    (name, _, content), *_ = sealed(keys, ANN)
    with pytest.raises(Verification, match="altered"):
        subjects.unseal(keys, [(name, "id/1", content)])


def test_a_flipped_bit_in_a_sealed_row_is_refused(keys: SubjectKeys) -> None:
    (row,) = sealed(keys, ANN)
    name, place, content = row
    for bit in range(0, 8 * len(content), 5):
        altered = bytearray(content)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Verification):
            subjects.unseal(keys, [(name, place, bytes(altered))])


def test_a_row_under_the_key_of_another_does_not_open(keys: SubjectKeys) -> None:
    (ann, place, content), (bob, _, _) = sealed(keys, ANN, BOB)
    assert ann != bob
    with pytest.raises(Verification):
        subjects.unseal(keys, [(bob, place, content)])


# -- what is lost is not taken for destroyed ------------------------------------------------------


def test_a_lost_table_is_told_and_no_row_is_called_forgotten(keys: SubjectKeys) -> None:
    rows = sealed(keys, ANN)
    shard = keys._folder / "1" / subjects._file(subjects._shard_of(ANN))
    shard.unlink()
    with pytest.raises(Corrupt, match="no table"):
        subjects.unseal(keys, rows)


def test_lost_tables_are_told(keys: SubjectKeys) -> None:
    rows = sealed(keys, ANN)
    shutil.rmtree(keys._folder / "1")
    with pytest.raises(Corrupt):
        subjects.unseal(keys, rows)
    # Also when a new one was begun meanwhile.
    sealed(keys, BOB)
    with pytest.raises(Corrupt):
        subjects.unseal(keys, rows)


def test_a_lost_ring_is_told(keys: SubjectKeys, rings: Rings) -> None:
    rows = sealed(keys, ANN)
    (rings.folder / "p" / "subjects.ring").unlink()
    with pytest.raises(NotFound):
        subjects.unseal(keys, rows)


def test_a_flipped_bit_in_a_table_is_refused(keys: SubjectKeys) -> None:
    rows = sealed(keys, ANN)
    for path in (keys._folder / "1").iterdir():
        whole = path.read_bytes()
        for bit in range(0, 8 * len(whole), 61):
            altered = bytearray(whole)
            altered[bit // 8] ^= 1 << bit % 8
            path.write_bytes(altered)
            with pytest.raises((Corrupt, Verification)):
                subjects.unseal(keys, rows)
        path.write_bytes(whole)
    assert opened(keys, rows) == [ANN]


def test_a_table_in_the_place_of_another_is_refused(keys: SubjectKeys) -> None:
    rows = sealed(keys, *[person(number) for number in range(50)])
    first, second, *_ = sorted(p for p in (keys._folder / "1").iterdir() if p.name != "head")
    data = second.read_bytes()
    first.write_bytes(data)
    with pytest.raises((Corrupt, Verification)):
        subjects.unseal(keys, rows)


# -- killed ---------------------------------------------------------------------------------------


class Killed(BaseException):
    pass


def killed(number: int) -> list[str]:
    passed: list[str] = []

    def count(name: str) -> None:
        if len(passed) == number:
            raise Killed(name)
        passed.append(name)

    files.failpoint = count
    files.recorder = lambda operation, path, _: count(f"{operation} {path.name}")
    return passed


def restored() -> None:
    files.failpoint = files.recorder = None


def test_forgetting_that_was_killed_anywhere_is_finished_by_doing_it_again(tmp_path: Path) -> None:
    start = tmp_path / "start"
    start.mkdir()
    rings = rings_in(start)
    keys = SubjectKeys(start / "subjects", rings, "p")
    rows = sealed(keys, ANN, BOB)
    number = 0
    while True:
        here = tmp_path / f"run{number}"
        shutil.copytree(start, here)
        again = SubjectKeys(here / "subjects", rings_in(here), "p")
        killed(number)
        try:
            again.forget([ANN], NOW)
            break
        except Killed:
            pass
        finally:
            restored()
        rings = rings_in(here)
        after = SubjectKeys(here / "subjects", rings, "p")
        # Either it has not happened yet, or it has; nobody else is ever touched.
        rings.recover()
        assert opened(after, rows) in ([ANN, BOB], [None, BOB]), number
        # Somebody may come in between.
        more = sealed(after, CAT, at=timedelta(seconds=1))
        assert after.forget([ANN], NOW) == 1
        assert opened(after, [*rows, *more]) == [None, BOB, CAT], number
        number += 1
        shutil.rmtree(here)
    assert number > 15


@pytest.mark.parametrize("number", range(12))
def test_giving_keys_that_was_killed_anywhere_loses_no_key_that_was_given(
    tmp_path: Path, number: int
) -> None:
    rings = rings_in(tmp_path)
    keys = SubjectKeys(tmp_path / "subjects", rings, "p")
    killed(number)
    try:
        keys.give({ANN: NOW})
    except Killed:
        pass
    finally:
        restored()
    rings.recover()
    rows = sealed(fresh(keys, rings), ANN, BOB)
    assert opened(fresh(keys, rings), rows) == [ANN, BOB]


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=8))
def test_any_history_keeps_who_is_not_forgotten_and_no_one_else(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[bool, int]]
) -> None:
    here = tmp_path_factory.mktemp("history")
    rings = rings_in(here)
    keys = SubjectKeys(here / "subjects", rings, "p")
    rows: list[tuple[bytes, str, bytes]] = []
    wanted: list[str | None] = []
    for step, (forget, number) in enumerate(history):
        who = person(number)
        at = timedelta(seconds=step)
        if forget:
            keys.forget([who], timestamp(START + at))
            wanted = [None if each == who else each for each in wanted]
        else:
            rows += sealed(keys, who, at=at)
            wanted.append(who)
    try:
        assert opened(keys, rows) == wanted
    except AssayError as error:  # pragma: no cover
        raise AssertionError(history) from error
