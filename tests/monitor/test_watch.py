"""What is said of windows: the same by everyone, and nothing that was not seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from assay.errors import Corrupt
from assay.monitor import baseline as baselines
from assay.monitor import performance
from assay.monitor.plans import make
from assay.monitor.watch import SHARES, Said, Watch, estimated

WINDOW = 1_000
RNG = np.random.default_rng


def people(seed: int, rows: int, *, old: float = 0.1) -> tuple[pl.DataFrame, Any, list[int]]:
    """Rows, scores of a model that never learnt about the old, and what was true."""
    rng = RNG(seed)
    aged = rng.random(rows) < old
    age = np.where(aged, rng.integers(65, 90, rows), rng.integers(18, 65, rows)).astype(float)
    town = rng.choice(["north", "south", "west"], rows, p=[0.5, 0.3, 0.2])
    truth = rng.random(rows) < np.where(aged, 0.1, 0.2 + 0.6 * (age < 45))
    scores = 0.2 + 0.6 * (age < 45) * ~aged + 0.6 * aged
    frame = pl.DataFrame({"age": age, "town": town})
    return frame, np.column_stack([1 - scores, scores]), [int(y) for y in truth]


def predicate(**changes: Any) -> dict[str, Any]:
    frame, scores, labels = people(1, 8_000, old=0.01)
    plan = make(window=f"{WINDOW}rows", windows_a_year=365, slices=("town",))
    return baselines.build(
        frame, ["age", "town"], scores, labels, plan, classes=[0, 1], positive=1, **changes
    )


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    return predicate()


def window(
    recorded: dict[str, Any],
    number: int,
    *,
    old: float = 0.01,
    change: Callable[[pl.DataFrame], pl.DataFrame] = lambda frame: frame,
    rows: int = WINDOW,
) -> dict[str, Any]:
    frame, scores, _ = people(number, rows, old=old)
    log = change(frame).rename(lambda name: f"in.{name}")
    told = baselines.read(recorded).observe(log, scores)
    state = "empty" if not rows else "ok" if told["profile"]["columns"] else "few"
    span = {"from": "2026-01-01T00:00:00.000Z", "to": "2026-01-02T00:00:00.000Z"}
    return {"number": number, "version": "3", "state": state, **span, **told}


def labelled(recorded: dict[str, Any], number: int, *, old: float = 0.01) -> dict[str, Any]:
    frame, scores, labels = people(number, WINDOW, old=old)
    held = baselines.read(recorded)
    judged = performance.judge(held.answered(scores), labels)
    parts = [
        {"column": name, "value": value, "loss": performance.losses(judged.take(rows))}
        for name, assigned in baselines.slices(frame, held.slicing).items()
        for value, rows in assigned.parts()
    ]
    span = {"from": "2026-01-01T00:00:00.000Z", "to": "2026-01-02T00:00:00.000Z"}
    told = {"number": number, "version": "3", "labelled": WINDOW, **span}
    return {**told, "loss": performance.losses(judged), "slices": parts}


def kinds(said: Said) -> set[str]:
    return {signal["kind"] for signal in said.signals}


def test_while_nothing_changes_nothing_is_said(recorded: dict[str, Any]) -> None:
    watch = Watch(baselines.read(recorded))
    for number in range(2, 42):
        said = watch.window(window(recorded, number))
        assert said.signals == []
        assert watch.performance(labelled(recorded, number)).signals == []
        assert said.judged >= {*SHARES} - {"performance"}


def test_who_training_hardly_saw_is_named_and_labels_confirm_it(recorded: dict[str, Any]) -> None:
    watch = Watch(baselines.read(recorded))
    for number in range(2, 6):
        watch.window(window(recorded, number))
        watch.performance(labelled(recorded, number))
    said = watch.window(window(recorded, 6, old=0.4))
    assert "data_drift" in kinds(said)
    (drift,) = [s for s in said.signals if s["kind"] == "data_drift"]
    assert drift["since"] == drift["number"] == 6
    assert drift["promise"] == "at most one false alarm a year"
    cause = drift["causes"][0]
    assert cause["feature"] == "age"
    assert cause["to_share"] > 0.3 > 0.1 > cause["from_share"]
    assert "%" in cause["words"]
    assert cause["psi"] > 0.2
    confirmed = watch.performance(labelled(recorded, 6, old=0.4))
    (signal,) = confirmed.signals
    assert (signal["kind"], signal["measure"]) == ("performance", "error_rate")
    assert signal["value"] > signal["limit"]
    assert signal["causes"][0]["words"].startswith("wrong in")


def test_everybody_comes_to_the_same_readings(recorded: dict[str, Any]) -> None:
    windows = [window(recorded, number, old=0.01 * number) for number in range(2, 12)]
    first, second = (Watch(baselines.read(recorded)) for _ in range(2))
    assert [first.window(w) for w in windows] == [second.window(w) for w in windows]


@pytest.mark.parametrize(
    ("change", "measure"),
    [
        (lambda f: f.drop("age"), "absent"),
        (lambda f: f.with_columns(pl.col("age").cast(pl.String) + " years"), "type"),
        (lambda f: f.with_columns(pl.lit(None, pl.Float64).alias("age")), "missing"),
    ],
)
def test_a_column_that_cannot_be_used_is_named_at_once(
    recorded: dict[str, Any], change: Callable[[pl.DataFrame], pl.DataFrame], measure: str
) -> None:
    said = Watch(baselines.read(recorded)).window(window(recorded, 2, change=change))
    (signal,) = [s for s in said.signals if s["kind"] == "quality"]
    assert (signal["measure"], signal["key"], signal["value"]) == (measure, "age", 1.0)


def test_a_window_without_rows_says_that_and_judges_nothing_else(recorded: dict[str, Any]) -> None:
    said = Watch(baselines.read(recorded)).window(window(recorded, 2, rows=0))
    assert [(s["kind"], s["measure"]) for s in said.signals] == [("log", "empty")]
    assert said.judged == {"log"}
    assert said.reading.streams == {}


def test_a_window_of_too_few_rows_says_nothing_and_calls_nothing_fine(
    recorded: dict[str, Any],
) -> None:
    said = Watch(baselines.read(recorded)).window(window(recorded, 2, rows=3))
    assert said.signals == []
    assert said.judged == {"log"}


def test_windows_whose_labels_have_not_come_are_not_judged(recorded: dict[str, Any]) -> None:
    watch = Watch(baselines.read(recorded))
    none = {**labelled(recorded, 2), "labelled": 0}
    assert watch.performance(none).judged == frozenset()


def test_a_gap_in_the_traffic_does_not_shift_the_numbers_of_windows(
    recorded: dict[str, Any],
) -> None:
    watch = Watch(baselines.read(recorded))
    watch.window(window(recorded, 4))
    watch.window(window(recorded, 9, rows=0))
    said = watch.window(window(recorded, 17, old=0.5))
    (drift,) = [s for s in said.signals if s["kind"] == "data_drift"]
    assert drift["since"] == 17


def test_windows_of_other_cells_are_refused(recorded: dict[str, Any]) -> None:
    told = window(recorded, 2)
    told["profile"]["columns"][0]["counts"][0] += 1
    with pytest.raises(Corrupt, match="do not add up"):
        Watch(baselines.read(recorded)).window(told)


def test_performance_is_estimated_before_labels_are_known(recorded: dict[str, Any]) -> None:
    held = baselines.read(recorded)
    told = estimated(held, window(recorded, 2, rows=4_000))
    measured = labelled(recorded, 2)["loss"]["zero_one"]
    accuracy = told["estimated"]["accuracy"]
    assert accuracy["lower"] < 1 - measured["sum"] / measured["n"] < accuracy["upper"]
    assert {part["column"] for part in told["slices"]} == {"town"}
    assert all(part["estimated"]["accuracy"] for part in told["slices"] if part["scores"])
    assert estimated(held, {"scores": None, "slices": []})["estimated"] == {}
