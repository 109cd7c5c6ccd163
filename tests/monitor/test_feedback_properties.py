"""The join against its own words, told one label after the other, for any labels whatever."""

from __future__ import annotations

import math
from collections import defaultdict
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from assay.monitor.feedback import OUTCOMES, Caps

from .labelled import CLOSES, START, joined, label, labels, prediction_id, predictions, values

MOMENTS = st.integers(-20, 24 * 60 * 9).map(lambda m: START + timedelta(minutes=m))
TOLD = st.lists(
    st.builds(
        label,
        st.integers(0, 7),
        st.sampled_from([0, 1, 2]),
        source=st.sampled_from(["bank", "audit", "thief"]),
        received=MOMENTS,
        at=st.none() | MOMENTS,
        row=st.sampled_from([0, 0, 0, 1]),
    ),
    max_size=25,
)


def slowly(told: list[dict[str, Any]], count: int, caps: Caps) -> tuple[dict[int, int], Any]:
    """The same as `join`, one label after the other, as its documentation says."""
    made = {prediction_id(n): (n, START + timedelta(minutes=n)) for n in range(count)}
    becomes: dict[int, str] = {}
    days: dict[Any, int] = defaultdict(int)
    seen: set[Any] = set()
    standing: dict[Any, list[int]] = defaultdict(list)
    ids = sorted(made)
    for place, given_ in enumerate(told):
        name = given_["prediction_id"]
        if name not in made or given_["row"]:
            inside = bool(ids) and ids[0] <= name <= ids[-1]
            if inside:
                becomes[place] = "unknown"
            continue
        at, received = given_["at"], given_["received"]
        if received < made[name][1] - timedelta(minutes=5) or (
            at is not None and at > received + timedelta(minutes=5)
        ):
            becomes[place] = "early"
        elif received > CLOSES:
            becomes[place] = "late"
        elif given_["label"] not in ("0", "1"):
            becomes[place] = "unreadable"
        else:
            same = (name, given_["source"], given_["label"], at)
            if at is not None and same in seen:
                becomes[place] = "duplicate"
                continue
            seen.add(same)
            day = (given_["source"], received.date())
            if days[day] >= caps.day:
                becomes[place] = "capped"
            else:
                standing[name, given_["source"]].append(place)
            days[day] += 1
    final: dict[Any, int] = {}
    for key, places in standing.items():
        places.sort(key=lambda p: (told[p]["at"] or told[p]["received"], p))
        for place in places:
            if key in final and told[final[key]]["label"] == told[place]["label"]:
                becomes[place] = "duplicate"
                continue
            if key in final:
                becomes[final[key]] = "corrected"
            final[key] = place
    counts: dict[str, int] = defaultdict(int)
    for place in sorted(final.values()):
        counts[told[place]["source"]] += 1
    for source in list(counts):
        limit = caps.limit(source, counts)
        mine = sorted((k for k in final if k[1] == source), key=lambda k: (k[0][-12:], k[0]))
        for key in mine[math.floor(min(limit, len(mine))) :]:
            becomes[final.pop(key)] = "capped"
    found: dict[int, int] = {}
    for name, (n, _) in made.items():
        places = [place for (of, _), place in final.items() if of == name]
        said = {told[place]["label"] for place in places}
        for place in places:
            becomes[place] = "used" if len(said) == 1 else "disputed"
        if len(said) == 1:
            found[n] = int(said.pop())
    return found, becomes


@settings(max_examples=150, deadline=None)
@given(
    told=TOLD,
    count=st.integers(0, 6),
    day=st.sampled_from([2, 5, 1000]),
    share=st.sampled_from([0.3, 0.5, 1.0]),
    usually=st.sampled_from([{}, {"bank": 2.0}]),
)
def test_the_join_is_what_its_words_say(
    told: list[dict[str, Any]], count: int, day: int, share: float, usually: dict[str, float]
) -> None:
    caps = Caps(day=day, share=share, usual=usually)
    found = joined(labels(*told), predictions(count), caps=caps)
    wanted, becomes = slowly(told, count, caps)
    assert values(found) == wanted
    for source, counts in found.sources.items():
        mine = [becomes[p] for p in becomes if told[p]["source"] == source]
        assert counts == {"given": len(mine), **{o: mine.count(o) for o in OUTCOMES}}
    assert sum(s["given"] for s in found.sources.values()) == len(becomes)


@settings(max_examples=50, deadline=None)
@given(told=TOLD)
def test_no_label_is_lost_and_none_is_counted_twice(told: list[dict[str, Any]]) -> None:
    found = joined(labels(*told), predictions(8))
    for counts in found.sources.values():
        assert counts["given"] == sum(counts[outcome] for outcome in OUTCOMES)
    assert found.counts["labelled"] == found.labelled.height
    assert found.frame.height == 8


@settings(max_examples=50, deadline=None)
@given(told=TOLD)
def test_giving_everything_twice_changes_no_label(told: list[dict[str, Any]]) -> None:
    dated = [{**given_, "at": given_["at"] or given_["received"]} for given_ in told]
    caps = Caps(share=1.0)
    once = joined(labels(*dated), caps=caps)
    twice = joined(labels(*dated, *dated), caps=caps)
    assert once.frame.equals(twice.frame)


@settings(max_examples=50, deadline=None)
@given(honest=st.integers(1, 30), flood=st.integers(0, 60))
def test_no_flood_is_more_than_half_of_what_counts(honest: int, flood: int) -> None:
    told = [label(n, 1) for n in range(honest)]
    told += [label(n, 0, source="thief") for n in range(honest, honest + flood)]
    found = joined(
        labels(*told), predictions(100), caps=Caps(usual={"bank": float(honest)})
    ).sources
    assert found.get("thief", {"used": 0})["used"] <= honest
    assert found["bank"]["used"] == honest
