"""Drawings: nothing outside its place, no alarm smoothed away, no gap bridged."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup
from monitor.report import watched

from assay.monitor.report import charts, svg, timeline
from assay.monitor.report.model import Feature, Figure, Slice, Window

FINITE = st.floats(-1e9, 1e9)


def numbers(drawing: Markup) -> list[float]:
    """Every absolute coordinate of the paths and texts of a drawing."""
    found: list[float] = []
    for element in ElementTree.fromstring(str(drawing)).iter():  # noqa: S314
        for name in ("x", "y", "cx", "cy", "width", "height"):
            if name in element.attrib:
                found.append(float(element.attrib[name]))
        absolute = re.sub(r"[hvlz][-\d. ]*", "", element.attrib.get("d", ""))
        found += [float(n) for n in re.findall(r"-?\d+\.?\d*", absolute)]
    return found


def test_a_drawing_is_well_formed_and_says_what_it_shows() -> None:
    made = timeline.draw(watched.windows(60, drift=41))
    root = ElementTree.fromstring(str(made))  # noqa: S314
    titles = [element.text for element in root.iter("title")]
    assert titles[0] == "Evidence against the alarm line, 5 Jan 2026 to 6 Mar 2026"
    described = next(root.iter("desc")).text
    assert described is not None
    assert "Alarms: " in described
    assert sum((text or "").startswith("Alarm: ") for text in titles) == 3


def test_each_window_can_be_pointed_at_while_there_are_few() -> None:
    few, many = timeline.draw(watched.windows(20)), timeline.draw(watched.windows(200))
    assert str(few).count('class="hit"') == 20
    assert 'class="hit"' not in str(many)


def test_a_window_of_which_nothing_is_known_is_a_gap() -> None:
    windows = list(watched.windows(5))
    windows[2] = Window(number=2, begin=watched.at(2), end=watched.at(3), rows=0, state="empty")
    made = str(timeline.draw(windows))
    assert "Windows of which nothing can be said" in made
    curve = re.search(r'd="([^"]+)" class="curve s0"', made)
    assert curve
    assert curve[1].count("M") == 2


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(FINITE, FINITE), min_size=1, max_size=20), st.data())
def test_lines_break_where_there_is_no_point(
    points: list[tuple[float, float]], data: st.DataObject
) -> None:
    holes = data.draw(st.sets(st.integers(0, len(points) - 1)))
    given_ = [None if i in holes else point for i, point in enumerate(points)]
    steps = svg.lines(given_)
    runs = sum(
        point is not None and (i == 0 or given_[i - 1] is None) for i, point in enumerate(given_)
    )
    assert steps.count("M") == runs
    assert "nan" not in steps


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 200), min_size=1, max_size=8))
def test_labels_keep_their_order_and_their_distance(wanted: list[float]) -> None:
    found = svg.apart(wanted, 15, 0, 200)
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    for a, b in pairwise(order):
        assert found[b] - found[a] >= 15 - 1e-9
    assert max(found) <= 200


@settings(max_examples=80, deadline=None)
@given(low=FINITE, high=FINITE)
def test_ticks_are_few_and_inside(low: float, high: float) -> None:
    found = svg.ticks(low, high)
    assert len(found) <= 6
    if high > low:
        near = 1e-9 * max(abs(low), abs(high)) + 1e-6 * (high - low)
        assert all(low - near <= t <= high + near for t in found)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.none() | st.floats(0, 1), min_size=1, max_size=40), st.floats(0, 1))
def test_a_metric_is_drawn_inside_its_chart(values: list[float | None], width: float) -> None:
    windows = [
        Window(
            number=i,
            begin=watched.at(i),
            end=watched.at(i + 1),
            rows=10,
            estimated={} if v is None else {"auc": watched.figure(v, width)},
            measured={} if v is None else {"auc": Figure(value=v)},
            labelled=i % 11,
        )
        for i, v in enumerate(values)
    ]
    made = charts.performance("auc", windows, watched.figure(0.5, 0.1))
    assert all(-1 <= n <= 481 for n in numbers(made))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), min_size=1, max_size=40),
    st.sampled_from(["ordered", "category"]),
)
def test_a_feature_is_drawn_inside_its_card(cells: list[tuple[int, int]], kind: str) -> None:
    found = Feature(
        name="x",
        kind=kind,  # pyright: ignore[reportArgumentType]
        labels=tuple(str(i) for i in range(len(cells))),
        reference=tuple(a for a, _ in cells),
        current=tuple(b for _, b in cells),
    )
    made = charts.feature(found)
    nothing = not sum(found.reference) or not sum(found.current)
    assert (made == "") == nothing
    if not nothing:
        assert all(-1 <= n <= 261 for n in numbers(made))


def test_counts_of_other_cells_are_not_drawn_beside_each_other() -> None:
    assert charts.feature(Feature(name="x", kind="ordered", reference=(1,), current=(1, 2))) == ""


@settings(max_examples=60, deadline=None)
@given(st.lists(FINITE, min_size=1, max_size=1_000))
def test_thinning_keeps_the_highest(history: list[float]) -> None:
    found = charts.thinned(history)
    assert len(found) <= charts.SPARK
    assert max(found) == max(history)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_figure_that_is_no_number_moves_nothing(value: float) -> None:
    wild = Figure(value=0.5, lower=value, upper=value)
    plain = Slice(column="a", value="b", rows=1, metric="auc", measured=Figure(value=0.5))
    found = Slice(column="a", value="b", rows=1, metric="auc", measured=wild)
    assert charts.group_range([found]) == charts.group_range([plain])
