"""Effect sizes: the figures of textbooks, those of scipy, and a state where there are none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial import distance

from assay import canonical
from assay.errors import Usage
from assay.monitor import effects, profiles
from assay.monitor.layouts import Category, Number
from assay.monitor.profiles import Counts, Moments

EVEN = Number("x", [float(edge) for edge in range(1, 10)])


def counts(values: list[int], **rest: Any) -> Counts:
    return Counts("x", values, **rest)


def apart(p: list[int], q: list[int], cells: Any = None) -> dict[str, Any]:
    made = cells or Number("x", [float(edge) for edge in range(1, len(p))])
    return effects.compare(made, counts(p), counts(q))


def test_psi_is_the_sum_of_its_definition() -> None:
    p, q = [100] * 10, [80, 85, 90, 95, 100, 100, 105, 110, 115, 120]
    by_hand = sum((b / 1000 - a / 1000) * math.log(b / a) for a, b in zip(p, q, strict=True))
    assert apart(p, q)["psi"] == pytest.approx(by_hand)


def test_a_shifted_normal_has_the_sizes_that_algebra_says() -> None:
    # By d standard deviations: PSI (both divergences of Kullback and Leibler) d^2,
    # KS 2 Phi(d/2) - 1, Wasserstein d.
    d, rng = 0.5, np.random.default_rng(4)
    before = rng.normal(size=200_000)
    layout = profiles.layout(pl.DataFrame({"x": before}), bins=64)
    a, b = (profiles.measure(pl.DataFrame({"x": v}), layout) for v in (before, before + d))
    found = effects.of_profiles(a, b)["x"]
    assert found["psi"] == pytest.approx(d * d, rel=0.05)
    assert found["ks"] == pytest.approx(2 * stats.norm.cdf(d / 2) - 1, abs=0.005)
    assert found["wasserstein"] == pytest.approx(d, rel=0.05)
    assert found["wasserstein_sd"] == pytest.approx(d, rel=0.05)


def test_what_has_nothing_in_common_is_as_far_apart_as_can_be() -> None:
    found = apart([70, 30, 0, 0], [0, 0, 20, 80])
    assert found["js"] == found["ks"] == found["cramers_v"] == found["new"] == 1.0


def test_psi_of_two_cells_is_what_algebra_says() -> None:
    # (q - p)(logit q - logit p)
    found = apart([500, 500], [400, 600])
    assert found["psi"] == pytest.approx(0.1 * math.log(1.5))
    assert found["ks"] == pytest.approx(0.1)


def test_psi_is_symmetric_in_shares_and_finite_where_a_cell_is_empty() -> None:
    assert apart([300, 700], [700, 300])["psi"] == pytest.approx(
        apart([700, 300], [300, 700])["psi"]
    )
    found = apart([1000, 0], [900, 100])
    assert found["psi"] is not None
    assert 0 < found["psi"] < 1
    assert (found["state"], found["new"]) == ("new", 0.1)


def test_psi_without_drift_is_on_average_its_noise() -> None:
    rng = np.random.default_rng(1)
    shares = np.full(10, 0.1)
    found = [
        apart(rng.multinomial(2_000, shares).tolist(), rng.multinomial(500, shares).tolist())
        for _ in range(400)
    ]
    mean = float(np.mean([f["psi"] for f in found]))
    assert found[0]["psi_noise"] == pytest.approx(9 * (1 / 2_000 + 1 / 500))
    assert mean == pytest.approx(found[0]["psi_noise"], rel=0.1)


rows = st.lists(st.integers(0, 400), min_size=3, max_size=12)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_the_figures_are_those_of_scipy(data: st.DataObject) -> None:
    p = data.draw(rows.filter(any))
    q = data.draw(st.lists(st.integers(0, 400), min_size=len(p), max_size=len(p)).filter(any))
    found = apart(p, q)
    table = np.array([p, q])[:, np.array(p) + np.array(q) > 0]
    js = distance.jensenshannon(p, q, base=2)
    assert found["js"] == pytest.approx(0.0 if math.isnan(js) else js, abs=1e-7)
    if table.shape[1] > 1:
        chi2: Any = stats.chi2_contingency(table, correction=False)
        assert found["chi2"] == pytest.approx(chi2.statistic, abs=1e-9)
        assert found["degrees"] == chi2.dof
        v = stats.contingency.association(table, method="cramer", correction=False)
        assert found["cramers_v"] == pytest.approx(v, abs=1e-9)
    centres = effects.centres(Number("x", [float(edge) for edge in range(1, len(p))]))
    moved = stats.wasserstein_distance(centres, centres, p, q)
    assert found["wasserstein"] == pytest.approx(moved, abs=1e-9)
    a, b = np.repeat(centres, p), np.repeat(centres, q)
    # The outer cells end at the outermost edges, where their rows are taken to lie.
    ks: Any = stats.ks_2samp(a, b, method="asymp")
    assert found["ks"] == pytest.approx(ks.statistic, abs=1e-9)


@settings(max_examples=80, deadline=None)
@given(rows.filter(any))
def test_a_table_is_not_apart_from_itself(p: list[int]) -> None:
    found = apart(p, p)
    for figure in ("psi", "js", "ks", "wasserstein", "chi2", "cramers_v", "new"):
        assert found[figure] == pytest.approx(0.0, abs=1e-7)
    assert found["state"] == "ok"


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_the_figures_stay_within_their_bounds(data: st.DataObject) -> None:
    p = data.draw(rows.filter(any))
    q = data.draw(st.lists(st.integers(0, 400), min_size=len(p), max_size=len(p)).filter(any))
    found = apart(p, q)
    for figure in ("js", "ks", "cramers_v", "new"):
        assert 0 <= found[figure] <= 1 + 1e-12
    assert found["psi"] >= 0
    canonical.encode(found)


def test_the_binned_distances_come_close_to_those_of_the_values() -> None:
    rng = np.random.default_rng(3)
    before, now = rng.normal(size=20_000), rng.normal(0.3, 1.2, size=20_000)
    layout = profiles.layout(pl.DataFrame({"x": before}), bins=64)
    a, b = (profiles.measure(pl.DataFrame({"x": v}), layout) for v in (before, now))
    found = effects.of_profiles(a, b)["x"]
    ks: Any = stats.ks_2samp(before, now)
    exact = ks.statistic
    assert exact - 0.01 <= found["ks"] <= exact + 1e-12
    moved = stats.wasserstein_distance(before, now)
    assert found["wasserstein"] == pytest.approx(moved, rel=0.05)
    assert found["wasserstein_sd"] == pytest.approx(moved / before.std(), rel=0.05)


def test_a_shift_by_one_code_is_a_distance_of_one() -> None:
    frame = pl.DataFrame({"x": [1.0, 2.0, 3.0] * 100})
    layout = profiles.layout(frame)
    moved = profiles.measure(frame + 1, layout)
    found = effects.of_profiles(profiles.measure(frame, layout), moved)["x"]
    # One third moved beyond the last code, whose cell ends half a unit further.
    assert found["wasserstein"] == pytest.approx(1.0, abs=0.2)
    assert found["state"] == "new"


def test_missing_values_are_a_cell_for_psi_and_no_value_for_ks() -> None:
    before = counts([50, 50], moments=Moments(100, 1.0, 25.0))
    now = counts([25, 25], missing=50)
    found = effects.compare(Number("x", [1.0]), before, now)
    assert found["psi"] > 0.5
    assert found["ks"] == 0.0
    assert found["missing"] == [0.0, 0.5]
    assert found["new"] == 0.5
    assert found["state"] == "ok"


# -- states ---------------------------------------------------------------------------------------


def test_nothing_to_compare_has_a_state_and_no_figures() -> None:
    full, none = counts([5, 5]), counts([0, 0])
    cells = Number("x", [1.0])
    for reference, current, state in ((full, none, "empty"), (none, full, "no_reference")):
        found = effects.compare(cells, reference, current)
        assert found["state"] == state
        assert all(found[figure] is None for figure in effects.FIGURES)


@pytest.mark.parametrize(
    ("current", "state"),
    [
        (counts([0, 0], absent=10), "absent"),
        (counts([5, 0], absent=5), "absent"),
        (counts([0, 0], mistyped=10), "mistyped"),
        (counts([9, 0], mistyped=1), "mistyped"),
        (counts([0, 0], missing=10), "missing"),
        (counts([0, 0], other=10), "new"),
        (counts([5, 5]), "ok"),
    ],
)
def test_what_is_wrong_with_a_column_is_its_state_and_moves_psi(
    current: Counts, state: str
) -> None:
    found = effects.compare(Number("x", [1.0]), counts([50, 50]), current)
    assert found["state"] == state
    assert (found["psi"] == 0) == (state == "ok")
    if not current.present:
        assert found["ks"] is None
        assert found["wasserstein"] is None


def test_a_column_always_missing_is_as_it_was() -> None:
    found = effects.compare(Number("x", []), counts([0], missing=9), counts([0], missing=5))
    assert (found["state"], found["psi"], found["ks"]) == ("ok", 0.0, None)


def test_categories_have_no_order_and_so_no_distance_along_it() -> None:
    found = apart([5, 5], [1, 9], Category("x", ["a", "b"]))
    assert found["ks"] is found["wasserstein"] is None
    assert found["js"] > 0


def test_a_constant_that_stays_is_ok_and_one_that_moves_is_new() -> None:
    layout = profiles.layout(pl.DataFrame({"x": [5.0] * 50}))
    before = profiles.measure(pl.DataFrame({"x": [5.0] * 50}), layout)

    def state(value: float) -> str:
        now = profiles.measure(pl.DataFrame({"x": [value] * 20}), layout)
        return effects.of_profiles(before, now)["x"]["state"]

    assert (state(5.0), state(6.0)) == ("ok", "new")


def test_profiles_that_say_nothing_give_their_state_for_every_column() -> None:
    frame = pl.DataFrame({"x": [1.0, 2.0] * 50, "t": ["a", "b"] * 50})
    layout = profiles.layout(frame)
    full, none = profiles.measure(frame, layout), profiles.empty(layout)
    few = profiles.Profile.from_dict(profiles.measure(frame.head(3), layout).to_dict(), layout)
    for current, state in ((none, "empty"), (few, "withheld")):
        found = effects.of_profiles(full, current)
        assert {told["state"] for told in found.values()} == {state}
    assert effects.of_profiles(none, full)["x"]["state"] == "no_reference"


def test_profiles_of_different_versions_are_not_compared() -> None:
    frame = pl.DataFrame({"x": [1.0, 2.0] * 50})
    other = profiles.layout(pl.DataFrame({"x": [3.0, 4.0] * 50}))
    with pytest.raises(Usage, match="another layout"):
        effects.of_profiles(
            profiles.measure(frame, profiles.layout(frame)), profiles.measure(frame, other)
        )
