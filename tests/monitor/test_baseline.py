"""What is normal, as it is written down: counts, scores and slices that windows are held to."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay import canonical
from assay.errors import Corrupt, Usage
from assay.monitor import baseline, effects, performance, plans, profiles
from assay.monitor.baseline import Baseline
from assay.monitor.detectors import betting, cbpe, shift

FEATURES = ["age", "income", "sex", "town"]


def people(rows: int = 4_000, seed: int = 1) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "age": rng.integers(16, 95, rows),
            "income": np.where(rng.random(rows) < 0.3, 0.0, np.exp(rng.normal(10, 1, rows))),
            "sex": rng.integers(1, 3, rows),
            "town": rng.choice(["north", "south", "west"], rows),
            "group": rng.choice(["x", "y", "rare"], rows, p=[0.9, 0.099, 0.001]),
        }
    )


def scored(frame: pl.DataFrame, seed: int = 2) -> tuple[Any, list[int]]:
    rng = np.random.default_rng(seed)
    score = 1 / (1 + np.exp(-(frame["age"].to_numpy() - 50) / 20 + rng.normal(size=frame.height)))
    return score, (rng.random(frame.height) < score).astype(int).tolist()


def build(frame: pl.DataFrame | None = None, **given: Any) -> dict[str, Any]:
    frame = people() if frame is None else frame
    score, labels = scored(frame)
    made: dict[str, Any] = {
        "scores": score,
        "labels": labels,
        "plan": plans.make(slices=["sex", "group", "age"]),
        "classes": [0, 1],
        "positive": 1,
        "threshold": 0.45,
    }
    return baseline.build(frame, FEATURES, **{**made, **given})


BUILT = build()
READ = baseline.read(canonical.decode(canonical.encode(BUILT)))


def logged(frame: pl.DataFrame) -> pl.DataFrame:
    """As the prediction log has it: features as floats or text, the slice column beside them."""
    made = [frame[name].cast(pl.Float64).alias(f"in.{name}") for name in FEATURES[:3]]
    return pl.DataFrame(
        [*made, frame["town"].alias("in.town"), frame["group"].alias("extra.group")]
    )


def both(score: Any) -> Any:
    return np.stack([1 - np.asarray(score), score], axis=1)


# -- what is written ------------------------------------------------------------------------------


def test_a_baseline_says_the_same_whenever_it_is_built_and_is_canonical() -> None:
    assert canonical.encode(build()) == canonical.encode(BUILT)
    assert len(canonical.encode(BUILT)) < 40_000


def test_no_figure_is_about_fewer_than_ten_rows() -> None:
    cells = [n for column in BUILT["profile"]["columns"] for n in column["counts"]]
    cells += BUILT["scores"]["counts"]
    for part in BUILT["slices"]:
        cells += part.get("scores", {}).get("counts", [])
        assert part["state"] == ("ok" if part["rows"] >= 50 else "too few rows")
    assert all(n == 0 or n >= profiles.LEAST for n in cells)


def test_a_rare_group_is_not_named_and_its_rows_are_told_no_more_about() -> None:
    named = {p["value"]: p for p in BUILT["slices"] if p["column"] == "group"}
    assert set(named) == {"x", "y", "other"}
    assert "rare" not in json.dumps(BUILT)
    assert set(named["other"]) == {"column", "value", "rows", "state"}


def test_the_calls_follow_from_the_histogram_exactly() -> None:
    scores = BUILT["scores"]
    place = scores["edges"].index(0.45)
    assert sum(scores["counts"][place + 1 :]) == scores["called"][1]
    for part in BUILT["slices"]:
        if part["state"] == "ok":
            assert 0.45 in part["scores"]["edges"]


def test_positives_add_up_to_the_positive_rows() -> None:
    scores = BUILT["scores"]
    assert sum(scores["positives"]) / BUILT["rows"] == pytest.approx(
        BUILT["performance"]["positive"]["value"]
    )


def test_codes_and_groups_are_sliced_by_value_and_numbers_by_fifths() -> None:
    names = {(p["column"], p["value"]) for p in BUILT["slices"]}
    assert {("sex", "1"), ("sex", "2"), ("group", "y")} <= names
    ages = [p for p in BUILT["slices"] if p["column"] == "age"]
    assert len(ages) == baseline.SLICE_BINS
    assert all(p["rows"] > 600 for p in ages)


def test_of_many_classes_scores_are_the_confidence_in_the_called_one() -> None:
    frame = people(500)
    rng = np.random.default_rng(3)
    matrix = rng.dirichlet([1.0, 1.0, 1.0], 500)
    labels = [["a", "b", "c"][i] for i in rng.integers(0, 3, 500)]
    made = build(
        frame,
        scores=matrix,
        labels=labels,
        classes=["a", "b", "c"],
        positive=None,
        plan=plans.make(),
    )
    assert (made["scores"]["of"], made["scores"]["positive"]) == ("confidence", None)
    read = baseline.read(made)
    calibration = cbpe.calibrate(
        read.about["scores"]["counts"],
        read.about["scores"]["positives"],
        read.borders,
        read.threshold,
    )
    found = cbpe.estimate(made["scores"]["counts"], calibration)
    assert found["accuracy"].value == pytest.approx(made["performance"]["accuracy"]["value"])


def test_without_labels_there_is_a_baseline_without_figures() -> None:
    made = build(labels=None)
    assert (made["performance"], made["loss"]) == ({}, {})
    assert made["scores"]["positives"] is None
    assert baseline.read(made).profile.rows == 4_000


def test_the_training_rows_are_counted_in_the_same_cells() -> None:
    read = baseline.read(build(training=people(3_000, seed=8)))
    assert read.training is not None
    assert read.training.rows == 3_000
    assert read.training.layout is read.layout


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"frame": people(99)}, "baseline.rows"),
        ({"scores": [0.5] * 7}, "baseline.scores"),
        ({"scores": [float("nan")] * 4_000}, "performance.scores"),
        ({"labels": [7] * 4_000}, "performance.labels"),
        ({"plan": plans.make(slices=["colour"])}, "baseline.slices"),
        ({"classes": [1]}, "performance.classes"),
    ],
)
def test_what_cannot_be_measured_is_refused_by_name(given: dict[str, Any], code: str) -> None:
    with pytest.raises(Usage) as caught:
        build(**given)
    assert caught.value.code == f"usage.{code}"


def test_a_reference_of_one_class_has_figures_where_one_class_has_them() -> None:
    made = build(labels=[1] * 4_000)
    assert made["performance"]["auc"]["why"] == "one class only"
    assert made["performance"]["recall"]["value"] is not None
    baseline.read(made)


# -- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"layout": None},
        {"plan": {}},
        {"profile": {**BUILT["profile"], "rows": 3}},
        {"scores": {**BUILT["scores"], "edges": []}},
        {"scores": {**BUILT["scores"], "edges": BUILT["scores"]["edges"][::-1]}},
        {"scores": {**BUILT["scores"], "edges": ["0"] * len(BUILT["scores"]["edges"])}},
        {"scores": {**BUILT["scores"], "counts": [0] * len(BUILT["scores"]["counts"])}},
        {"scores": {**BUILT["scores"], "positives": [9_999] * len(BUILT["scores"]["counts"])}},
        {"slices": [{"column": "sex"}]},
        {"slicing": 5},
    ],
)
def test_a_baseline_that_does_not_add_up_is_corrupt(change: dict[str, Any]) -> None:
    with pytest.raises(Corrupt):
        baseline.read({**BUILT, **change})


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_stands_in_place_of_a_part_is_corrupt_or_the_same(data: st.DataObject) -> None:
    made: dict[str, Any] = json.loads(json.dumps(BUILT))
    place: Any = made
    while True:
        keys = list(range(len(place))) if isinstance(place, list) else sorted(place)
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        if isinstance(place[key], dict | list) and data.draw(st.integers(0, 3)):
            place = place[key]
            continue
        place[key] = data.draw(plain)
        break
    with contextlib.suppress(Corrupt):
        read = baseline.read(made)
        read.profile.vectors()


@pytest.mark.parametrize("gone", ["layout", "profile", "plan", "scores", "slices", "slicing"])
def test_a_baseline_without_a_part_is_corrupt(gone: str) -> None:
    with pytest.raises(Corrupt):
        baseline.read({name: value for name, value in BUILT.items() if name != gone})


def test_it_fits_the_detectors() -> None:
    scores = READ.about["scores"]
    calibration = cbpe.calibrate(
        scores["counts"], scores["positives"], READ.borders, READ.threshold
    )
    found = cbpe.estimate(scores["counts"], calibration)
    for metric in ("accuracy", "auc", "f1"):
        told = READ.about["performance"][metric]["value"]
        assert found[metric].value == pytest.approx(told, abs=0.01)
    brier = READ.about["loss"]["brier"]
    betting.Losses(brier["n"], brier["sum"], brier["squares"])
    watch = shift.Shift(READ.profile.vectors(), READ.profile.kinds(), arl=READ.plan.arl)
    score, _ = scored(people(1_000, seed=5))
    window = READ.observe(logged(people(1_000, seed=5)), score)
    profile = profiles.Profile.from_dict(window["profile"], READ.layout)
    assert not watch.update(profile.vectors()).crossed


# -- windows --------------------------------------------------------------------------------------


def test_a_window_is_counted_in_the_cells_of_the_baseline() -> None:
    frame = people(1_000, seed=5)
    score, _ = scored(frame)
    for given_scores in (score, both(score)):
        told = READ.observe(logged(frame), given_scores)
        canonical.encode(told)
        assert told["rows"] == 1_000
        assert sum(told["scores"]["counts"]) == 1_000
        assert told["scores"]["broken"] == 0
        for column in FEATURES:
            profile = profiles.Profile.from_dict(told["profile"], READ.layout)
            assert profile[column].present + profile[column].other == 1_000
        by_column = {
            name: sum(p["rows"] for p in told["slices"] if p["column"] == name)
            for name in ("sex", "group", "age")
        }
        assert by_column == {"sex": 1_000, "group": 1_000, "age": 1_000}


def test_the_reference_counted_as_a_window_is_the_baseline() -> None:
    frame = people()
    score, _ = scored(frame)
    told = READ.observe(logged(frame), score)
    assert told["scores"]["counts"] == BUILT["scores"]["counts"]
    assert told["scores"]["called"] == BUILT["scores"]["called"]
    for column, known in zip(told["profile"]["columns"], BUILT["profile"]["columns"], strict=True):
        assert column["counts"] == known["counts"]
    for part in told["slices"]:
        known = READ.slice_of(part["column"], part["value"])
        assert known is not None
        assert part["rows"] == known["rows"]
        if known["state"] == "ok":
            assert part["scores"] == known["scores"]["counts"]
    counts = READ.slice_counts()
    assert counts["group"].sum() == counts["sex"].sum() == counts["age"].sum() == 4_000


def test_an_empty_window_says_so() -> None:
    told = READ.observe(logged(people(10)).head(0), np.zeros((0, 2)))
    assert (told["rows"], told["scores"], told["slices"]) == (0, None, [])
    assert profiles.Profile.from_dict(told["profile"], READ.layout).state == "empty"


def test_of_a_window_of_nine_rows_only_the_number_is_told() -> None:
    frame = people(9)
    told = READ.observe(logged(frame), scored(frame)[0])
    assert (told["rows"], told["scores"], told["slices"]) == (9, None, [])
    assert told["profile"]["columns"] == []


def test_scores_that_are_none_are_counted_and_the_rest_is_looked_at() -> None:
    frame = people(100)
    score = np.full(100, 0.5)
    score[:7] = np.nan
    score[7:9] = [np.inf, -3.0]
    told = READ.observe(logged(frame), score)
    assert told["scores"]["broken"] == 9
    assert sum(told["scores"]["counts"]) == 91
    assert sum(p["rows"] for p in told["slices"] if p["column"] == "sex") == 100


def test_nothing_but_broken_scores_is_not_nothing() -> None:
    told = READ.observe(logged(people(100)), np.full((100, 2), np.nan))
    assert told["scores"]["broken"] == 100
    assert sum(told["scores"]["counts"]) == 0


def test_columns_that_do_not_come_are_absent_and_their_slices_missing() -> None:
    frame = people(200)
    told = READ.observe(logged(frame).drop("in.sex", "extra.group"), scored(frame)[0])
    profile = profiles.Profile.from_dict(told["profile"], READ.layout)
    assert profile["sex"].absent == 200
    groups = [p for p in told["slices"] if p["column"] == "group"]
    assert groups == [{"column": "group", "value": "missing", "rows": 200, "scores": None}]


def test_a_slice_of_few_rows_in_a_window_is_counted_and_not_scored() -> None:
    frame = people(400).with_columns(
        pl.when(pl.int_range(400) < 3).then(pl.lit("y")).otherwise(pl.lit("x")).alias("group")
    )
    told = READ.observe(logged(frame), scored(frame)[0])
    parts = {p["value"]: p for p in told["slices"] if p["column"] == "group"}
    assert (parts["y"]["rows"], parts["y"]["scores"]) == (3, None)
    assert parts["x"]["scores"] is not None


def test_a_model_of_one_matrix_is_watched_column_by_column() -> None:
    frame = people(300)
    plain = frame.select("age", "income", "sex")
    score, labels = scored(frame)
    read = baseline.read(
        baseline.build(plain, plain.columns, score, labels, plans.make(), classes=[0, 1])
    )
    rows = [list(map(float, row)) for row in plain.iter_rows()]
    matrix = pl.DataFrame({"in.X": rows, "out.p": score})
    told = read.observe(matrix, score)["profile"]["columns"]
    assert told == read.about["profile"]["columns"]
    short = pl.DataFrame({"in.X": [row[:2] for row in rows]})
    assert read.observe(short, score)["profile"]["columns"][2]["missing"] == 300


@pytest.mark.slow
def test_cells_made_from_the_reference_do_not_break_the_promise_of_the_detectors() -> None:
    def drawn(rng: np.random.Generator, rows: int) -> pl.DataFrame:
        return pl.DataFrame(
            {
                "a": rng.normal(size=rows),
                "b": np.where(rng.random(rows) < 0.4, 0, rng.gamma(2, 1, rows)),
                "c": rng.integers(0, 40, rows),
                "d": [f"v{int(v)}" for v in rng.exponential(8, rows)],
            }
        )

    windows, histories, arl, alarms = 15, 60, 10.0, 0
    for seed in range(histories):
        rng = np.random.default_rng(seed)
        reference = drawn(rng, 400)
        layout = profiles.layout(reference)
        measured = profiles.measure(reference, layout)
        watch = shift.Shift(measured.vectors(), measured.kinds(), arl=arl)
        for _ in range(windows):
            alarms += watch.update(profiles.measure(drawn(rng, 300), layout).vectors()).crossed
    assert alarms / (windows * histories) <= 1 / arl


# -- slices ---------------------------------------------------------------------------------------


def test_the_same_value_is_in_the_same_slice_whatever_its_type() -> None:
    slicing = baseline.slicing(people(), ["sex"])
    for values in ([1, 2, 9], [1.0, 2.0, 9.0], ["1", "2", "9"]):
        (assigned,) = baseline.slices(pl.DataFrame({"in.sex": values}), slicing).values()
        assert [assigned.names[i] for i in assigned.index] == ["1", "2", "other"]


def test_truth_values_are_sliced_as_the_model_gets_them() -> None:
    slicing = baseline.slicing(pl.DataFrame({"b": [True, False] * 20}), ["b"])
    (assigned,) = baseline.slices(pl.DataFrame({"in.b": [1.0, 0.0, None]}), slicing).values()
    assert [assigned.names[i] for i in assigned.index] == ["1", "0", "missing"]


def test_text_where_numbers_were_sliced_is_other() -> None:
    slicing = baseline.slicing(people(), ["age"])
    frame = pl.DataFrame({"in.age": ["old", None, "12"]})
    (assigned,) = baseline.slices(frame, slicing).values()
    assert [assigned.names[i] for i in assigned.index] == ["other", "missing", "other"]
    frame = pl.DataFrame({"in.age": [float("inf"), float("nan"), None, 200.0]})
    (assigned,) = baseline.slices(frame, slicing).values()
    names = [assigned.names[i] for i in assigned.index]
    assert names[:3] == ["other", "missing", "missing"]
    assert names[3].endswith("and above")


def test_lists_are_in_no_slice() -> None:
    slicing = baseline.slicing(people(), ["sex"])
    (assigned,) = baseline.slices(pl.DataFrame({"in.sex": [[1], [2]]}), slicing).values()
    assert assigned.counts().tolist() == [0, 0, 2, 0]
    with pytest.raises(Usage, match="by which nothing is sliced"):
        baseline.slicing(pl.DataFrame({"v": [[1], [2]]}), ["v"])


def test_a_value_called_other_is_with_the_others() -> None:
    frame = pl.DataFrame({"g": ["other"] * 60 + ["missing"] * 60 + ["a"] * 60})
    slicing = baseline.slicing(frame, ["g"])
    (assigned,) = baseline.slices(frame, slicing, prefixes=("",)).values()
    assert assigned.names == ["a", "other", "missing"]
    assert assigned.counts().tolist() == [60, 120, 0]


def test_ten_thousand_values_make_few_slices() -> None:
    frame = pl.DataFrame({"g": [f"v{i}" for i in range(10_000)]})
    slicing = baseline.slicing(frame, ["g"])
    (assigned,) = baseline.slices(frame, slicing, prefixes=("",)).values()
    assert assigned.counts().tolist() == [10_000, 0]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.one_of(st.none(), st.floats(), st.integers(-3, 3).map(float)), min_size=1, max_size=60
    )
)
def test_every_row_is_in_exactly_one_slice(values: list[float | None]) -> None:
    frame = pl.DataFrame({"x": pl.Series(values, dtype=pl.Float64)})
    slicing = baseline.slicing(frame, ["x"])
    (assigned,) = baseline.slices(frame, slicing, prefixes=("",)).values()
    assert len(assigned.index) == len(values) == assigned.counts().sum()
    assert sum(rows.sum() for _, rows in assigned.parts()) == len(values)


def test_a_slice_that_the_reference_has_not_is_known_as_such() -> None:
    assert READ.slice_of("group", "nobody") is None
    assert isinstance(READ, Baseline)
    assert READ.slice_counts()["group"].tolist()[-1] == 0


def test_what_is_answered_is_called_by_the_version_s_threshold() -> None:
    made = READ.answered([0.44, 0.45])
    assert made.called.tolist() == [0, 1]
    assert isinstance(made, performance.Answered)


def test_a_baseline_and_a_window_written_by_the_first_release_are_read() -> None:
    golden = Path(__file__).parents[1] / "golden" / "baseline-v1.json"
    told = canonical.decode(golden.read_bytes().removesuffix(b"\n"))
    read = baseline.read(told["baseline"])
    assert read.layout.digest == (
        "sha256:601ae8b59561a36421b46cd58048f935682ad63033b2ecd140f6fcbad4fd7ee6"
    )
    window = profiles.Profile.from_dict(told["window"]["profile"], read.layout)
    found = effects.of_profiles(read.profile, window)
    assert {name: round(sizes["chi2"], 6) for name, sizes in found.items()} == {
        "age": 11.568358,
        "income": 2.770514,
        "sex": 0.213336,
        "town": 0.063078,
    }
    assert read.training is not None
    assert (read.plan.arl, read.training.rows) == (365.25, 300)
    again = canonical.encode(read.profile.to_dict())
    assert again == canonical.encode(told["baseline"]["profile"])
