"""Bounds: what is too large, too deep or cannot be opened is said to be so, quickly."""

from __future__ import annotations

import os
import pickle
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.supply import findings, machine, scan
from assay.supply.findings import Broken, Report
from assay.supply.pickles import Walk
from assay.supply.readers.pickled import probe


def rules(answer: dict[str, Any]) -> set[str]:
    return {finding["rule"] for finding in answer["findings"]}


def broken(data: bytes) -> str:
    with pytest.raises(Broken) as caught:
        Walk(data, 0, len(data), "", Report()).walk()
    return caught.value.rule


@pytest.mark.slow
def test_ten_million_entries_are_unscannable(scanned: Any) -> None:
    batch = b"(" + b"N" * 1000 + b"e"
    answer = scanned(b"\x80\x04]" + batch * 10_000 + b".")
    assert (answer["verdict"], rules(answer)) == ("unscannable", {"pickle.work"})
    batch = b"(" + b"K\x00N" * 1000 + b"u"
    assert rules(scanned(b"\x80\x04}" + batch * 10_000 + b".")) == {"pickle.work"}


@pytest.mark.slow
def test_ten_million_values_on_the_stack_or_in_the_memo_are_unscannable(scanned: Any) -> None:
    assert rules(scanned(b"\x80\x04" + b"N" * 10_000_000)) == {"pickle.work"}
    assert rules(scanned(b"\x80\x04" + b"(" * 10_000_000)) == {"pickle.work"}
    assert rules(scanned(b"\x80\x04N" + b"\x94" * 10_000_000 + b".")) == {"pickle.work"}


def test_work_is_bounded_over_all_pickles_of_a_file(monkeypatch: Any, scanned: Any) -> None:
    monkeypatch.setattr(machine, "MOST_WORK", 1000)
    assert scanned(pickle.dumps(1) * 10)["clean"]
    assert rules(scanned(pickle.dumps(1) * 100)) == {"pickle.work"}
    assert broken(b"\x80\x04" + b"N0" * 5000 + b".") == "pickle.work"


@pytest.mark.slow
def test_something_else_that_cannot_be_read_as_a_pickle_to_its_end_is_not_clean() -> None:
    # The walk gives up in what a plain unpickler would go on with: the call may lie behind.
    data = b"N0" * 12_000_000 + b"cos\nsystem\n."
    report = Report()
    probe(data, 0, len(data), "", report)
    assert {finding["rule"] for finding in report.findings} == {"pickle.work"}
    assert report.verdict == "unscannable"


def test_work_is_counted_for_each_file_of_a_folder(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "MOST_WORK", 1000)
    for number in range(50):
        (tmp_path / f"{number}.pkl").write_bytes(pickle.dumps(number))
    assert scan.scan(tmp_path)["clean"]


def test_tuples_held_in_tuples_many_times_cost_no_more_than_their_opcodes() -> None:
    wide = b"(" + b"N" * 4000 + b"tq\x00"
    many = b"(" + b"h\x00" * 4000 + b"tq\x01" + b"(" + b"h\x01" * 4000 + b"t"
    for data in (
        b"\x80\x04" + wide + many + b"000." ,
        b"\x80\x04](" + wide + (b"h\x00" * 999 + b"e(") * 40 + b"e.",
        b"\x80\x04N" + b"2\x86" * 3000 + b".",
    ):  # fmt: skip
        report = Report()
        try:
            Walk(data, 0, len(data), "", report).walk()
        except Broken as error:
            assert error.rule == "pickle.stack"  # noqa: PT017 - either is right
        assert report.work < 2 * len(data) + 1000


def test_objects_that_hold_themselves_end(scanned: Any) -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert scanned(pickle.dumps(loop))["clean"]
    both: dict[str, Any] = {"a": [loop]}
    both["b"] = both
    assert scanned(pickle.dumps(both))["clean"]


def test_pickles_carried_in_pickles_are_followed_a_few_deep(scanned: Any) -> None:
    data = pickle.dumps([1, 2, 3])
    for _ in range(5):
        data = pickle.dumps({"inside": data})
    assert scanned(data)["clean"]
    for _ in range(8):
        data = pickle.dumps({"inside": data})
    assert rules(scanned(data)) <= {"pickle.nested", "pickle.carried"}
    assert scanned(data)["verdict"] != "clean"
    hostile = pickle.dumps({"inside": pickle.dumps([b"\x80\x04cfoo\nbar\n)R."])})
    assert rules(scanned(hostile)) == {"pickle.carried"}


def test_a_file_that_claims_a_terabyte_is_unscannable(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    with path.open("wb") as stream:
        stream.truncate(1 << 40)
    answer = scan.scan(path)
    assert (answer["verdict"], rules(answer)) == ("unscannable", {"file.size"})


def test_what_a_reader_cannot_bear_is_unscannable(monkeypatch: Any, scanned: Any) -> None:
    for error in (MemoryError(), RecursionError(), OSError("gone"), Broken("x.y", 0, "z")):

        def fail(*_: Any, error: BaseException = error) -> str:
            raise error

        monkeypatch.setattr(scan, "scan_content", fail)
        answer = scanned(b"N.")
        assert answer["verdict"] == "unscannable"
        assert rules(answer) <= {"file.unreadable", "x.y"}


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that another user can reach, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="assay-scan-"))
    folder.chmod(0o755)
    yield folder
    for inside in folder.rglob("*"):
        inside.chmod(0o700)
    shutil.rmtree(folder)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_what_may_not_be_opened_inside_a_folder_is_a_finding(open_folder: Path) -> None:
    (open_folder / "good.pkl").write_bytes(pickle.dumps(1))
    (open_folder / "closed.pkl").write_bytes(pickle.dumps(1))
    (open_folder / "closed").mkdir()
    (open_folder / "good.pkl").chmod(0o644)
    (open_folder / "closed.pkl").chmod(0)
    (open_folder / "closed").chmod(0)
    user = os.geteuid()
    if not user:
        os.seteuid(65534)
    try:
        answer = scan.scan(open_folder)
    finally:
        os.seteuid(user)
    assert answer["verdict"] == "unscannable"
    assert {finding["where"] for finding in answer["findings"]} == {"closed.pkl+0", "closed+0"}
    assert rules(answer) == {"folder.entry"}


def test_large_arrays_are_crossed_without_reading_them() -> None:
    report = Report()
    for protocol in (2, 4, 5):
        data = pickle.dumps({"a": np.zeros(2_000_000)}, protocol)
        Walk(data, 0, len(data), "", report).walk()
    assert report.work < 1000
    numbers = pickle.dumps([0.5] * 1_000_000, 4)
    Walk(numbers, 0, len(numbers), "", report).walk()
    assert report.work < len(numbers) / 8
    assert findings.MOST_WORK > 1_000_000


def test_numbers_in_a_row_are_not_taken_for_sizes() -> None:
    many = b"".join(b"J" + struct.pack("<i", n) for n in range(200))
    data = b"\x80\x04(" + many + b"t."
    walk = Walk(data, 0, len(data), "", Report())
    walk.walk()
    assert all(not isinstance(part, int) for part in walk.result[:100])
