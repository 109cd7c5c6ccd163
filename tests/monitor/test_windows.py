"""Which segments are looked at together."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from hypothesis import given, settings
from hypothesis import strategies as st

from assay.monitor.plans import make
from assay.monitor.windows import GRACE, Segment, Window, due, pending, period

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
DAY = timedelta(days=1)
DAILY = {"1": make(window="1d")}
BY_ROWS = {"1": make(window="100rows"), "2": make(window="100rows")}


def segment(name: str, at: datetime, rows: int = 40, version: str = "1") -> Segment:
    return Segment(id=name, version=version, rows=rows, start=at, end=at + timedelta(minutes=5))


def names(windows: list[Window]) -> list[tuple[str, ...]]:
    return [window.segments for window in windows]


def test_a_day_is_closed_once_its_spools_must_have_been_sealed() -> None:
    held = [segment("a", NOON), segment("b", NOON + timedelta(hours=2)), segment("c", NOON + DAY)]
    midnight = period(NOON, 86_400)[1]
    early = due(held, (), DAILY, serving="1", now=midnight + GRACE - timedelta(seconds=1))
    assert early == []
    (window,) = due(held, (), DAILY, serving="1", now=midnight + GRACE)
    assert window.segments == ("a", "b")
    assert (window.start, window.end, window.rows) == (midnight - DAY, midnight, 80)


def test_windows_by_rows_are_closed_when_they_are_full_and_the_rest_waits() -> None:
    held = [segment(name, NOON + timedelta(hours=i)) for i, name in enumerate("abcde")]
    found = due(held, (), BY_ROWS, serving="1", now=NOON)
    assert names(found) == [("a", "b", "c")]
    assert found[0].rows == 120
    assert (found[0].start, found[0].end) == (held[0].start, held[2].end)


def test_what_is_left_of_a_version_that_answers_no_more_is_closed_as_it_is() -> None:
    held = [segment("a", NOON), segment("b", NOON + DAY, version="2")]
    assert names(due(held, (), BY_ROWS, serving="2", now=NOON)) == [("a",)]


def test_what_is_in_a_window_is_in_no_other() -> None:
    held = [segment("a", NOON), segment("b", NOON)]
    assert due(held, ("a", "b"), DAILY, serving="1", now=NOON + 5 * DAY) == []


def test_a_segment_that_comes_to_light_late_makes_a_further_window_of_its_time() -> None:
    held = [segment("a", NOON), segment("late", NOON + timedelta(hours=1))]
    (window,) = due(held, ("a",), DAILY, serving="1", now=NOON + 2 * DAY)
    assert window.segments == ("late",)
    assert window.span == {
        "from": "2026-03-01T00:00:00.000Z",
        "to": "2026-03-02T00:00:00.000Z",
    }


def test_a_version_without_a_plan_is_not_watched() -> None:
    assert due([segment("a", NOON, version="9")], (), DAILY, serving="9", now=NOON + 3 * DAY) == []


def test_days_without_a_request_make_one_window_that_says_so() -> None:
    since = period(NOON, 86_400)[1]
    (window,) = due([], (), DAILY, serving="1", now=since + 4 * DAY + GRACE, since=since)
    assert (window.segments, window.rows) == ((), 0)
    assert (window.start, window.end) == (since, since + 4 * DAY)
    assert due([], (), DAILY, serving="1", now=since + GRACE, since=since) == []


def test_a_day_that_has_begun_without_a_request_is_not_called_empty() -> None:
    since = NOON  # The watch began at noon: the rest of that day is no whole period.
    now = period(NOON, 86_400)[1] + DAY + GRACE - timedelta(seconds=1)
    assert due([], (), DAILY, serving="1", now=now, since=since) == []


def test_a_day_whose_requests_wait_for_its_end_is_not_called_empty() -> None:
    since = period(NOON, 86_400)[0]
    waiting = [segment("a", NOON + 2 * DAY)]
    found = due(waiting, (), DAILY, serving="1", now=NOON + 2 * DAY, since=since)
    assert [(w.start, w.end, w.rows) for w in found] == [(since, since + 2 * DAY, 0)]


@given(
    st.lists(
        st.tuples(st.integers(0, 20_000), st.integers(1, 60), st.sampled_from("12")), max_size=30
    ),
    st.integers(0, 20_000),
)
@settings(max_examples=60, deadline=None)
def test_each_segment_is_in_at_most_one_window_however_often_one_looks(
    made: list[tuple[int, int, str]], later: int
) -> None:
    held = [
        segment(f"s{i}", NOON + timedelta(minutes=minute), rows, version)
        for i, (minute, rows, version) in enumerate(made)
    ]
    plans = {"1": make(window="6h"), "2": make(window="100rows")}
    closed: list[str] = []
    for now in (NOON + timedelta(minutes=later), NOON + timedelta(minutes=40_000)):
        for window in due(held, tuple(closed), plans, serving="1", now=now):
            closed += window.segments
            assert window.rows == sum(s.rows for s in held if s.id in window.segments)
    assert len(set(closed)) == len(closed)
    # In the end nothing is left out: of version 2, which answers no more, not even a remainder.
    assert set(closed) == {s.id for s in held}


def test_what_waits_for_the_next_window_is_of_the_version_that_answers() -> None:
    held = [segment("a", NOON), segment("b", NOON, version="2"), segment("c", NOON, rows=30)]
    by_rows = pending(held, {"a"}, BY_ROWS["1"], serving="1", now=NOON)
    assert (by_rows.rows, by_rows.of, by_rows.ends) == (30, 100, "")
    assert by_rows.words == "the next window has 30 of 100 rows"
    full = pending([*held, segment("d", NOON, rows=80)], (), BY_ROWS["1"], serving="1", now=NOON)
    assert "the next round closes it" in full.words


def test_the_next_window_by_time_ends_with_the_period_of_what_waits() -> None:
    late = NOON + 3 * DAY
    waits = pending([segment("a", NOON)], (), DAILY["1"], serving="1", now=late, unsealed=2)
    assert waits.ends == "2026-03-02T00:00:00.000Z"
    assert waits.closes == "2026-03-02T00:20:00.000Z"
    assert "2 answers are not sealed yet" in waits.words
    assert pending([], (), DAILY["1"], serving="1", now=late).ends == "2026-03-05T00:00:00.000Z"
