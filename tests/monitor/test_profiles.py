"""Tables as counts: one pass, mergeable, about nobody, and never a silent zero."""

from __future__ import annotations

import json
import math
from datetime import date, datetime, timezone
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay import canonical
from assay.errors import Corrupt, Usage
from assay.monitor import edges, layouts, profiles
from assay.monitor.layouts import Category, Layout, Number
from assay.monitor.profiles import Counts, Profile, measure

RNG = np.random.default_rng(7)


def table(rows: int = 1_000, seed: int = 7) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "age": rng.integers(16, 95, rows),
            "income": np.where(rng.random(rows) < 0.3, 0.0, np.exp(rng.normal(10, 1, rows))),
            "sex": rng.integers(1, 3, rows),
            "score": rng.random(rows),
            "town": rng.choice(["north", "south", "west"], rows),
            "open": rng.random(rows) < 0.2,
        }
    )


LAYOUT = profiles.layout(table())

numbers_or_none = st.one_of(
    st.none(), st.floats(allow_nan=True, allow_infinity=True, width=64), st.integers(-5, 120)
)
texts = st.one_of(st.none(), st.sampled_from(["north", "south", "west", "elsewhere", ""]))


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    rows = draw(st.integers(0, 12))

    def column(values: st.SearchStrategy[Any], dtype: Any) -> pl.Series:
        return pl.Series(draw(st.lists(values, min_size=rows, max_size=rows)), dtype=dtype)

    return pl.DataFrame(
        {
            "age": column(numbers_or_none.map(lambda v: v and float(v)), pl.Float64),
            "income": column(numbers_or_none.map(lambda v: v and float(v)), pl.Float64),
            "town": column(texts, pl.String),
        }
    )


SMALL = profiles.layout(table().select("age", "income", "town"))


def same(a: Profile, b: Profile) -> None:
    assert (a.rows, a.withheld) == (b.rows, b.withheld)
    for x, y in zip(a.columns, b.columns, strict=True):
        assert x.vector().tolist() == y.vector().tolist()
        assert (x.moments is None) == (y.moments is None)
        if x.moments and y.moments:
            assert x.moments.n == y.moments.n
            assert x.moments.mean == pytest.approx(y.moments.mean, rel=1e-9, abs=1e-9)
            assert x.moments.m2 == pytest.approx(y.moments.m2, rel=1e-7, abs=1e-3)


# -- merging --------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(frames(), frames(), frames())
def test_merging_is_associative_commutative_and_equals_one_pass(
    a: pl.DataFrame, b: pl.DataFrame, c: pl.DataFrame
) -> None:
    x, y, z = (measure(part, SMALL) for part in (a, b, c))
    whole = measure(pl.concat([a, b, c]), SMALL)
    same(x.merge(y).merge(z), whole)
    same(x.merge(y.merge(z)), whole)
    same(z.merge(x).merge(y), whole)
    assert x.merge(y) == y.merge(x)
    same(profiles.merge(SMALL, [x, y, z]), whole)


def test_the_profile_of_no_rows_changes_nothing() -> None:
    made = measure(table(), LAYOUT)
    same(made.merge(profiles.empty(LAYOUT)), made)
    assert profiles.empty(LAYOUT).state == "empty"


def test_profiles_of_different_layouts_do_not_merge() -> None:
    other = profiles.layout(table(seed=8))
    with pytest.raises(Usage) as caught:
        measure(table(), LAYOUT).merge(measure(table(), other))
    assert caught.value.code == "usage.profile.other_layout"


@settings(max_examples=60, deadline=None)
@given(frames())
def test_every_row_is_in_exactly_one_place_of_every_column(frame: pl.DataFrame) -> None:
    for column in measure(frame, SMALL).columns:
        assert column.rows == frame.height == int(column.vector().sum())


# -- what is written down -------------------------------------------------------------------------


def told(profile: Profile) -> dict[str, Any]:
    """Through JSON in its one spelling, as a statement carries it."""
    return canonical.decode(canonical.encode(profile.to_dict()))


@settings(max_examples=40, deadline=None)
@given(frames(), frames())
def test_a_profile_reads_back_as_it_was_written(a: pl.DataFrame, b: pl.DataFrame) -> None:
    made = measure(pl.concat([a, b, table(10).select(a.columns).cast(a.schema)]), SMALL)
    read = Profile.from_dict(told(made), SMALL)
    for x, y in zip(made.columns, read.columns, strict=True):
        assert x.vector().tolist() == y.vector().tolist()
        assert y.moments is None or y.moments == x.moments


def test_a_layout_reads_back_with_the_same_digest() -> None:
    read = Layout.from_dict(canonical.decode(canonical.encode(LAYOUT.to_dict())))
    assert read == LAYOUT
    assert read.digest == LAYOUT.digest


def test_of_fewer_than_ten_rows_only_the_number_is_written() -> None:
    made = told(measure(table(9), LAYOUT))
    assert made["columns"] == []
    read = Profile.from_dict(made, LAYOUT)
    assert (read.state, read.rows, read.withheld) == ("withheld", 9, 9)
    more = read.merge(measure(table(30), LAYOUT))
    assert (more.state, more.rows, more.withheld) == ("ok", 39, 9)
    assert told(more)["withheld"] == 9


def test_moments_of_fewer_than_ten_values_are_left_out() -> None:
    frame = pl.DataFrame({"age": [30.0] * 9 + [None] * 20})
    made = measure(frame, profiles.layout(table().select("age")))
    assert made["age"].moments is not None
    assert told(made)["columns"][0]["moments"] is None


def test_one_value_far_out_cannot_be_read_from_the_moments() -> None:
    layout = profiles.layout(table().select("income"))
    usual = table(50, seed=3).select("income")
    rich = pl.concat([usual, pl.DataFrame({"income": [1e12]})])
    richer = pl.concat([usual, pl.DataFrame({"income": [1e15]})])
    assert measure(rich, layout)["income"].moments == measure(richer, layout)["income"].moments


@pytest.mark.parametrize(
    "change",
    [
        {"format": "assay/profile/v2"},
        {"rows": 1_001},
        {"withheld": -1},
        {"columns": []},
        {"columns": [{"name": "age", "counts": []}]},
    ],
)
def test_a_profile_that_does_not_add_up_is_refused(change: dict[str, Any]) -> None:
    made = told(measure(table(), LAYOUT))
    with pytest.raises(Corrupt):
        Profile.from_dict({**made, **change}, LAYOUT)


@pytest.mark.parametrize(
    "change",
    [
        {"other": 5},
        {"missing": -1},
        {"moments": {"n": 10**6, "mean": 0.0, "m2": 1.0}},
        {"moments": {"n": 5, "mean": 0.0, "m2": -1.0}},
        {"name": "aged"},
    ],
)
def test_a_column_that_does_not_add_up_is_refused(change: dict[str, Any]) -> None:
    made = told(measure(table(), LAYOUT))
    made["columns"][0] |= change
    with pytest.raises(Corrupt):
        Profile.from_dict(made, LAYOUT)


def test_a_profile_of_another_layout_is_refused_by_name() -> None:
    with pytest.raises(Usage, match="another layout"):
        Profile.from_dict(told(measure(table(), LAYOUT)), profiles.layout(table(seed=8)))


@pytest.mark.parametrize(
    "columns",
    [
        [{"kind": "number", "name": "a", "edges": [2.0, 1.0]}],
        [{"kind": "number", "name": "a", "edges": [1.0, 1.0]}],
        [{"kind": "category", "name": "a", "values": ["x", "x"]}],
        [{"kind": "number", "name": "a", "edges": []}] * 2,
        [{"kind": "vector", "name": "a"}],
    ],
)
def test_a_layout_whose_cells_are_not_in_order_is_refused(columns: list[Any]) -> None:
    with pytest.raises(Corrupt):
        Layout.from_dict({"format": layouts.FORMAT, "least": 10, "columns": columns})


def test_a_layout_of_an_unknown_format_is_refused() -> None:
    with pytest.raises(Corrupt):
        Layout.from_dict({**LAYOUT.to_dict(), "format": "assay/profile-layout/v2"})


# -- cells that name nobody -----------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.floats(allow_nan=False, allow_infinity=False),
            st.integers(-3, 40).map(float),
            st.sampled_from([0.0, 0.1, 1e-300, -1e308, 1e308]),
        ),
        min_size=1,
        max_size=300,
    )
)
def test_cells_of_numbers_are_in_order_and_hold_ten_reference_rows_or_none(
    values: list[float],
) -> None:
    array = np.array(values)
    made = edges.cut(array)
    assert made == sorted(set(made))
    assert all(map(math.isfinite, made))
    counts = profiles.count(array, made)
    assert counts.sum() == len(values)
    if len(values) >= profiles.LEAST:
        assert all(n == 0 or n >= profiles.LEAST for n in counts)
    else:
        assert (counts > 0).sum() == 1


@settings(max_examples=60, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(1e-9, 1e9))
def test_the_round_number_lies_between(a: float, width: float) -> None:
    b = a + width
    if a < b < math.inf:
        assert a < edges.between(a, b) <= b


def test_rare_categories_and_long_texts_are_not_named() -> None:
    names = ["often"] * 50 + ["barely"] * 30 + ["Jane Doe"] * 9 + ["x" * 201] * 20
    (cells,) = profiles.layout(pl.DataFrame({"who": names})).columns
    assert isinstance(cells, Category)
    assert cells.values == ["often", "barely"]
    counts = measure(pl.DataFrame({"who": names}), profiles.layout(pl.DataFrame({"who": names})))
    assert counts["who"].other == 29
    assert "Jane" not in json.dumps(counts.to_dict()) + json.dumps(counts.layout.to_dict())


def test_few_others_cannot_be_told_by_subtraction() -> None:
    names = ["a"] * 50 + ["b"] * 30 + ["c"] * 12 + ["rare"]
    frame = pl.DataFrame({"who": names})
    layout = profiles.layout(frame)
    assert layout.columns == [Category("who", ["a", "b"])]
    assert measure(frame, layout)["who"].other == 13


def test_ten_thousand_categories_stay_bounded_and_none_is_lost() -> None:
    names = [f"id-{i}" for i in range(10_000)]
    frame = pl.DataFrame({"id": names})
    layout = profiles.layout(frame)
    assert layout.columns == [Category("id", [])]
    assert measure(frame, layout)["id"].other == 10_000
    many = pl.DataFrame({"c": [f"c{i % 1000}" for i in range(20_000)]})
    (cells,) = profiles.layout(many).columns
    assert cells.cells == profiles.layouts.CATEGORIES


def test_a_column_may_be_called_anything() -> None:
    frame = pl.DataFrame({name: ["x"] * 20 for name in ("rows", "value", "count", "", "in.x", "é")})
    layout = profiles.layout(frame)
    assert [c.counts for c in measure(frame, layout).columns] == [[20]] * 6
    Profile.from_dict(told(measure(frame, layout)), layout)


def test_the_edges_of_a_continuous_column_are_no_values_of_it() -> None:
    values = RNG.normal(size=5_000)
    made = edges.cut(values)
    assert not set(made) & set(values.tolist())
    assert 15 <= len(made) <= 18
    assert all(len(f"{edge:.12g}") <= 7 for edge in made)


def test_the_ends_of_a_range_have_cells_of_their_own() -> None:
    values = RNG.normal(size=50_000)
    counts = profiles.count(values, edges.cut(values))
    assert 10 <= counts[0] <= 20
    assert 10 <= counts[-1] <= 20


def test_codes_have_a_cell_each_and_a_code_never_seen_shows() -> None:
    frame = pl.DataFrame({"code": [1.0] * 500 + [2.0] * 40 + [9.0] * 30})
    layout = profiles.layout(frame)
    (cells,) = layout.columns
    assert isinstance(cells, Number)
    assert cells.names() == ["below 0.5", "1", "2", "3 to 8", "9", "9.5 and above"]
    assert measure(frame, layout)["code"].counts == [0, 500, 40, 0, 30, 0]
    new = measure(pl.DataFrame({"code": [0.0, 5.0, 10.0]}), layout)
    assert new["code"].counts == [1, 0, 0, 1, 0, 1]


def test_a_constant_has_empty_cells_beside_it() -> None:
    for value in (0.0, 5.0, 0.37, -1e300, 1e-310):
        layout = profiles.layout(pl.DataFrame({"c": [value] * 100}))
        found = measure(pl.DataFrame({"c": [value, value + 1 + abs(value), -1e306]}), layout)
        assert found["c"].counts == [1, 1, 1]


def test_a_value_shared_by_many_has_a_cell_of_its_own() -> None:
    frame = table(5_000)
    layout = profiles.layout(frame.select("income"))
    zeros = int((frame["income"] == 0).sum())
    assert zeros in measure(frame, layout)["income"].counts


def test_more_columns_than_a_profile_describes_are_counted_as_omitted() -> None:
    frame = pl.DataFrame({f"c{i}": [1.0] for i in range(1_005)})
    layout = profiles.layout(frame)
    assert (len(layout.columns), layout.omitted) == (1_000, 5)


@pytest.mark.parametrize("given", [{"bins": 1}, {"bins": 1_000}, {"categories": 0}, {"least": 0}])
def test_a_layout_asked_for_nonsense_is_refused(given: dict[str, int]) -> None:
    with pytest.raises(Usage):
        profiles.layout(table(), **given)


def test_a_column_of_lists_is_refused_by_name() -> None:
    with pytest.raises(Usage, match="'v'"):
        profiles.layout(pl.DataFrame({"v": [[1.0], [2.0]]}))


# -- what is wrong with a table shows -------------------------------------------------------------


def counts_of(values: Any, dtype: Any = None, column: str = "age") -> Counts:
    frame = pl.DataFrame({column: pl.Series(values, dtype=dtype)})
    return measure(frame, profiles.layout(table().select(column)))[column]


def test_missing_infinite_and_mistyped_values_are_told_apart() -> None:
    mixed = counts_of([30.0, None, math.nan, math.inf, -math.inf])
    assert (mixed.present, mixed.missing, mixed.other) == (1, 2, 2)
    assert mixed.moments is not None
    assert mixed.moments.n == 1
    text = counts_of(["30", None, "forty"])
    assert (text.present, text.missing, text.mistyped) == (0, 1, 2)
    number = counts_of([1, 2, None], column="town")
    assert (number.present, number.missing, number.mistyped) == (0, 1, 2)


def test_a_column_that_is_not_there_is_absent_not_zero() -> None:
    found = measure(table().drop("age"), LAYOUT)["age"]
    assert (found.absent, found.missing, found.present) == (1_000, 0, 0)


def test_nothing_but_missing_values_is_missing_whatever_their_type() -> None:
    for dtype in (pl.Float64, pl.Int32, pl.Null, pl.String):
        assert counts_of([None] * 5, dtype).missing == 5
        assert counts_of([None] * 5, dtype, "town").missing == 5


def test_a_reference_without_values_still_notices_when_some_come() -> None:
    layout = profiles.layout(pl.DataFrame({"m": [None] * 50}))
    assert measure(pl.DataFrame({"m": [None] * 50}), layout)["m"].missing == 50
    assert measure(pl.DataFrame({"m": [1.0, 2.0]}), layout)["m"].counts == [2]
    assert measure(pl.DataFrame({"m": ["x"]}), layout)["m"].mistyped == 1


def test_truth_values_dates_and_categoricals_are_counted() -> None:
    frame = pl.DataFrame(
        {
            "b": [True, False, None] * 20,
            "d": [date(2026, 1, 1 + i % 28) for i in range(60)],
            "t": [datetime(2026, 1, 1, i % 24, tzinfo=timezone.utc) for i in range(60)],
            "c": pl.Series(["x", "y", None] * 20, dtype=pl.Categorical),
        }
    )
    found = measure(frame, profiles.layout(frame))
    assert found["b"].counts == [0, 20, 20, 0]
    assert found["b"].missing == 20
    assert found["d"].present == found["t"].present == 60
    assert sorted(found["c"].counts) == [20, 20]


def test_minus_zero_is_zero() -> None:
    layout = profiles.layout(pl.DataFrame({"z": [0.0] * 20 + [1.0] * 20}))
    found = measure(pl.DataFrame({"z": [-0.0]}), layout)
    assert found["z"].counts == [0, 1, 0, 0]


def test_values_near_the_largest_number_have_counts_and_no_moments() -> None:
    frame = pl.DataFrame({"x": [-1e308, 1e308] * 50})
    made = measure(frame, profiles.layout(frame))
    assert made["x"].present == 100
    assert made["x"].moments is None
    canonical.encode(made.to_dict())


def test_columns_of_the_log_are_found_under_their_prefix() -> None:
    frame = table().rename(lambda name: f"in.{name}")
    assert measure(frame, LAYOUT, prefix="in.").columns == measure(table(), LAYOUT).columns


def test_vectors_have_the_missing_values_last_and_kinds_say_what_is_in_order() -> None:
    frame = pl.DataFrame({"age": [None, math.inf, 20.0], "town": [None, "east", "north"]})
    layout = profiles.layout(table().select("age", "town"))
    made = measure(frame, layout)
    assert {n: v[-2:].tolist() for n, v in made.vectors().items()} == {
        "age": [1, 1],
        "town": [1, 1],
    }
    assert made.kinds() == {"age": "ordered", "town": "category"}
    with pytest.raises(KeyError):
        made["nobody"]


# -- scores ---------------------------------------------------------------------------------------


def test_the_threshold_is_an_edge_so_that_calls_are_known_exactly() -> None:
    values = RNG.beta(2, 5, 4_000)
    for threshold in (0.5, 0.137, 0.9):
        made = profiles.score_edges(values, threshold=threshold)
        place = made.index(threshold)
        counts = profiles.scores(values, made)
        assert counts[place + 1 :].sum() == (values >= threshold).sum()
        assert all(n == 0 or n >= 10 for n in counts)


def test_a_threshold_beyond_every_score_stays_an_edge() -> None:
    values = RNG.random(500) / 2
    assert 0.8 in profiles.score_edges(values, threshold=0.8)


@pytest.mark.parametrize("bad", [[math.nan], [math.inf, 0.5]])
def test_scores_that_are_not_finite_are_refused(bad: list[float]) -> None:
    with pytest.raises(Usage):
        profiles.scores(bad, [0.5])
    with pytest.raises(Usage):
        profiles.scores(np.zeros((3, 2)), [0.5])
