"""The drift plot of a passport: figures only, every word escaped, gaps left open."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
from govern.test_passport import HOSTILE, passport, seen
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.govern.drift import MOST, Line, Watched, draw
from assay.govern.passport import render


def watched(*powers: float | None, **more: Any) -> Watched:
    known: dict[str, Any] = {
        "tone": "warn",
        "title": "Something has changed",
        "begins": tuple(f"{i + 1} Jan 2026" for i in range(len(powers))),
        "evidence": (Line("inputs", powers), Line("answers", powers)),
    }
    return Watched(**{**known, **more})


def test_a_plot_says_in_words_what_it_draws() -> None:
    made = str(draw(watched(-2.0, -1.0, 0.4, 1.2)))
    assert 'role="img"' in made
    assert "<title>Something has changed</title>" in made
    assert "inputs: over the alarm line in 2 of 4 windows" in made
    assert "1 Jan 2026" in made
    assert "never over the alarm line in 2 windows" in str(draw(watched(-2.0, -1.0)))


def test_a_window_of_which_nothing_is_known_leaves_a_gap() -> None:
    made = str(draw(watched(-2.0, -2.0, None, -1.0, None, -1.0)))
    path = re.search(r'class="curve c0" d="([^"]+)"', made)
    assert path
    assert path[1].count("M") == 3
    assert path[1].count("h0") == 2, "a window alone is a dot"
    assert "nothing could be said" in str(draw(watched(None, float("nan"))))


def test_without_a_window_there_is_no_plot_and_the_words_stay() -> None:
    empty = watched(title="It was never put to use here", lines=("So nothing was watched.",))
    assert draw(empty) == ""
    page = render(msgspec.structs.replace(passport("x"), watched=empty))
    assert "It was never put to use here" in page
    assert "<svg" not in page


def test_hostile_words_stay_text() -> None:
    hostile = watched(
        1.0,
        title=HOSTILE,
        lines=(HOSTILE,),
        begins=(HOSTILE,),
        evidence=(Line(HOSTILE, (1.0,)),),
        source=HOSTILE,
    )
    page = render(msgspec.structs.replace(passport("x"), watched=hostile))
    found = seen(page)
    assert not {"script", "img"} & set(found.tags)
    assert not [name for _, name, _ in found.attributes if name.startswith("on")]


def test_only_the_newest_windows_are_drawn() -> None:
    made = str(draw(watched(*([0.1] * (MOST + 100)))))
    assert f"in {MOST} of {MOST} windows" in made
    assert len(made) < 40_000


@settings(max_examples=60, deadline=None)
@given(powers=st.lists(st.none() | st.floats(), min_size=1, max_size=30))
def test_any_figures_are_drawn_inside_the_plot(powers: list[float | None]) -> None:
    made = str(draw(watched(*powers)))
    for path in re.findall(r'class="curve[^"]*" d="([^"]*)"', made):
        for _, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path):
            assert 10 <= float(y) <= 152
    assert not re.search(r'd="[^"]*(nan|inf)', made)


def test_the_passport_with_its_plot_is_still_plain_json() -> None:
    made = msgspec.structs.replace(passport("x"), watched=watched(-1.0, None, 2.0))
    told = json.loads(json.dumps(msgspec.to_builtins(made), allow_nan=False))
    assert told["watched"]["evidence"][0]["powers"] == [-1.0, None, 2.0]
