"""Labels joined to predictions: every label ends in one place, and no source decides alone."""

from __future__ import annotations

import math
from datetime import timedelta

import polars as pl
import pytest

from assay.monitor.feedback import OUTCOMES, Caps, strangers, usual

from .labelled import (
    CLOSES,
    DAY,
    HORIZON,
    HOUR,
    START,
    joined,
    label,
    labels,
    prediction_id,
    predictions,
    values,
)

# -- one label ------------------------------------------------------------------------------------


def test_a_label_stands_beside_its_prediction_and_nowhere_else() -> None:
    found = joined(labels(label(3, 0), label(4, 1)))
    assert values(found) == {3: 0, 4: 1}
    assert found.frame.height == 10
    assert found.coverage == 0.2
    assert found.frame.drop("label").equals(predictions())


def test_rows_of_one_request_are_told_apart() -> None:
    made = predictions(2, rows=3)
    found = joined(labels(label(1, 1, row=2), label(1, 0, row=0)), made)
    kept = found.labelled.select("prediction_id", "row", "label").rows()
    assert kept == [(prediction_id(1), 0, 0), (prediction_id(1), 2, 1)]


def test_no_predictions_have_no_coverage_and_no_error() -> None:
    found = joined(labels(label(1)), predictions(0))
    assert found.coverage == 0.0
    assert found.counts["rows"] == found.counts["labelled"] == 0
    assert found.frame.columns[-1] == "label"


def test_no_labels_leave_every_prediction_without_one() -> None:
    found = joined(labels())
    assert found.frame["label"].null_count() == 10
    assert found.sources == {}
    assert set(found.counts) >= {*OUTCOMES, "rows", "labelled", "given"}


def test_a_prediction_that_is_there_twice_is_a_mistake_and_not_counted_twice() -> None:
    with pytest.raises(ValueError, match="twice"):
        joined(labels(), pl.concat([predictions(), predictions(1)]))


# -- late and early -------------------------------------------------------------------------------


def test_a_label_at_the_watermark_counts_and_one_after_it_is_late() -> None:
    on_time = label(1, 1, received=CLOSES)
    late = label(2, 1, received=CLOSES + timedelta(milliseconds=1))
    found = joined(labels(on_time, late))
    assert values(found) == {1: 1}
    assert found.counts["late"] == 1


def test_a_late_correction_does_not_touch_the_closed_figure() -> None:
    found = joined(labels(label(1, 1), label(1, 0, received=CLOSES + HOUR)))
    assert values(found) == {1: 1}
    assert (found.counts["late"], found.counts["corrected"]) == (1, 0)


def test_what_a_label_says_of_its_own_time_makes_it_no_earlier() -> None:
    found = joined(labels(label(1, 1, received=CLOSES + HOUR, at=START + HOUR)))
    assert found.counts["late"] == 1
    assert values(found) == {}


def test_what_came_after_the_moment_of_the_figure_is_not_looked_at() -> None:
    told = labels(label(1, 1, received=START + HOUR), label(1, 0))
    assert values(joined(told, until=START + 3 * HOUR)) == {1: 1}
    assert values(joined(told, until=START + 6 * HOUR)) == {1: 0}


def test_a_label_from_before_the_prediction_is_early_beyond_what_clocks_differ() -> None:
    almost = label(9, 1, received=START + timedelta(minutes=9 - 5))
    before = label(8, 1, received=START + timedelta(minutes=8 - 5) - timedelta(milliseconds=1))
    found = joined(labels(almost, before))
    assert values(found) == {9: 1}
    assert found.counts["early"] == 1


def test_a_label_that_names_a_time_to_come_is_early() -> None:
    found = joined(labels(label(1, 1, at=START + 3 * HOUR, received=START + 2 * HOUR)))
    assert (values(found), found.counts["early"]) == ({}, 1)


def test_without_a_window_each_prediction_has_a_watermark_of_its_own() -> None:
    told = labels(
        label(0, 1, received=START + HORIZON + timedelta(seconds=30)),
        label(1, 1, received=START + HORIZON + timedelta(seconds=30)),
    )
    assert values(joined(told, closes=None, horizon=HORIZON)) == {1: 1}


# -- unknown --------------------------------------------------------------------------------------


def test_an_id_that_nobody_answered_is_unknown_and_counted() -> None:
    forged = "019cab00-0003-7000-8000-ffffffffffff"
    found = joined(labels(label(forged), label(3, 1, row=5), label(3)))
    assert values(found) == {3: 1}
    assert found.counts["unknown"] == 2
    assert found.counts["given"] == 3


def test_labels_of_other_windows_are_neither_used_nor_unknown() -> None:
    wide = predictions(20)
    ours, other = wide.filter(pl.col("in.a") != 5), wide.filter(pl.col("in.a") == 5)
    told = labels(label(2), label(5), label(25))
    found = joined(told, ours, known=other)
    assert values(found) == {2: 1}
    assert (found.counts["given"], found.counts["unknown"]) == (1, 0)
    assert joined(told, ours).counts["unknown"] == 1
    assert strangers(told, ours)["prediction_id"].to_list() == [prediction_id(5)]


def test_a_join_without_a_watermark_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="watermark"):
        joined(labels(), closes=None)


def test_labels_of_another_endpoint_have_a_count_of_their_own() -> None:
    wide = predictions(20)
    ours, other = wide.filter(pl.col("in.a") != 5), wide.filter(pl.col("in.a") == 5)
    forged = "019cab00-0003-7000-8000-ffffffffffff"
    found = joined(labels(label(5), label(2), label(forged)), ours, elsewhere=other)
    assert values(found) == {2: 1}
    assert (found.counts["elsewhere"], found.counts["unknown"]) == (1, 1)


def test_a_window_accounts_for_the_ids_that_it_is_given() -> None:
    told = labels(label("019cffff-0000-7000-8000-000000000000"))
    everything = ("0", "g")
    assert joined(told).counts["unknown"] == 0
    assert joined(told, ids=everything).counts["unknown"] == 1
    assert joined(told, predictions(0), ids=everything).counts["unknown"] == 1


# -- what a label says ----------------------------------------------------------------------------


def test_a_class_that_the_version_does_not_know_is_unreadable() -> None:
    found = joined(labels(label(1, 2), label(2, "1"), label(3, 0.5), label(4, 1)))
    assert values(found) == {4: 1}
    assert found.counts["unreadable"] == 3


def test_each_version_knows_its_own_classes_and_an_unknown_version_none() -> None:
    made = pl.concat([predictions(4).head(2), predictions(4, version="2").tail(2)])
    told = labels(label(0, 2), label(1, 1), label(2, 2), label(3, 1))
    found = joined(told, made, classes={"1": [0, 1], "2": [0, 1, 2]})
    assert values(found) == {1: 1, 2: 2, 3: 1}
    assert joined(told, made, classes={"1": [0, 1]}).counts["unreadable"] == 3


def test_labels_are_spelt_as_the_model_spells_its_classes() -> None:
    texts = joined(labels(label(1, "no"), label(2, "yes")), classes=["no", "yes"])
    assert values(texts) == {1: "no", 2: "yes"}
    numbers = joined(labels(label(1, 0.25), label(2, 3), label(3, "x")), classes=None)
    assert values(numbers) == {1: 0.25, 2: 3.0}
    assert numbers.counts["unreadable"] == 1
    whole = joined(labels(label(1, 1)))
    assert whole.frame.schema["label"] == pl.Int64


# -- the same row again ---------------------------------------------------------------------------


def test_a_batch_that_is_sent_again_changes_nothing_but_a_count() -> None:
    batch = [label(n, n % 2) for n in range(5)]
    once, thrice = joined(labels(*batch)), joined(labels(*batch, *batch, *batch))
    assert values(once) == values(thrice)
    assert thrice.counts["duplicate"] == 10
    assert thrice.counts["corrected"] == 0


def test_the_last_of_one_source_wins() -> None:
    found = joined(labels(label(1, 0), label(1, 1), label(1, 1)))
    assert values(found) == {1: 1}
    assert (found.counts["corrected"], found.counts["duplicate"]) == (1, 1)
    assert found.counts["disputed"] == 0


def test_labels_out_of_order_are_put_in_the_order_of_their_own_times() -> None:
    newer, older = label(1, 1, at=START + 2 * HOUR), label(1, 0, at=START + HOUR)
    assert values(joined(labels(newer, older))) == {1: 1}
    assert values(joined(labels(older, newer))) == {1: 1}


def test_an_old_batch_that_is_sent_again_takes_back_no_correction() -> None:
    old = label(1, 0, at=START + HOUR, received=START + HOUR)
    new = label(1, 1, at=START + HOUR, received=START + 2 * HOUR)
    replayed = {**old, "received": START + 3 * HOUR}
    found = joined(labels(old, new, replayed))
    assert values(found) == {1: 1}
    assert (found.counts["corrected"], found.counts["duplicate"]) == (1, 1)


# -- several sources ------------------------------------------------------------------------------


def test_sources_that_agree_make_one_label() -> None:
    found = joined(labels(label(1, 1), label(1, 1, source="audit")))
    assert values(found) == {1: 1}
    assert found.counts["labelled"] == 1
    assert [s["used"] for s in found.sources.values()] == [1, 1]


def test_where_sources_differ_nobody_is_believed() -> None:
    found = joined(labels(label(1, 1), label(1, 0, source="audit"), label(2, 1)))
    assert 1 not in values(found)
    assert found.counts["disputed"] == 1
    assert [s["disputed"] for s in found.sources.values()] == [1, 1]


def test_a_dispute_that_a_source_takes_back_is_over() -> None:
    found = joined(labels(label(1, 1), label(1, 0, source="audit"), label(1, 1, source="audit")))
    assert values(found) == {1: 1}
    assert found.counts["disputed"] == 0


# -- floods ---------------------------------------------------------------------------------------


def test_one_source_alone_is_taken_at_its_word() -> None:
    assert joined(labels(*[label(n) for n in range(10)])).coverage == 1.0


def test_a_flood_counts_for_no_more_than_what_the_others_give() -> None:
    honest = [label(n, 1) for n in range(20)]
    flood = [label(n, 0, source="thief") for n in range(20, 200)]
    found = joined(labels(*flood, *honest), predictions(200), caps=Caps(usual={"bank": 20}))
    assert found.sources["bank"]["used"] == 20
    assert found.sources["thief"]["used"] == 20
    assert found.sources["thief"]["capped"] == 160
    assert found.coverage == 0.2


def test_a_flood_cannot_dispute_away_what_a_usual_source_says() -> None:
    honest = [label(n, 1) for n in range(100)]
    # Whoever may dispute freely decides a figure by leaving out what does not suit.
    flood = [label(n, 0, source="thief") for n in range(100)]
    caps = Caps(usual={"bank": 100, "thief": 2})
    found = joined(labels(*honest, *flood), predictions(100), caps=Caps(share=0.1))
    assert found.counts["disputed"] <= 11
    told = joined(labels(*honest, *flood[:4]), predictions(100), caps=caps)
    assert told.counts["disputed"] == 4
    assert told.counts["labelled"] == 96


def test_a_new_source_does_not_speak_for_a_usual_one_that_is_silent() -> None:
    flood = [label(n, 0, source="thief") for n in range(10)]
    found = joined(labels(*flood), caps=Caps(usual={"bank": 5000}))
    assert found.counts["labelled"] == 0
    assert found.counts["capped"] == 10


def test_a_new_source_cannot_silence_a_usual_one() -> None:
    honest = [label(n, 1) for n in range(100)]
    found = joined(
        labels(*honest, label(0, 1, source="thief")),
        predictions(100),
        caps=Caps(usual={"bank": 60}),
    )
    assert found.sources["bank"]["used"] == 100


def test_where_nothing_is_usual_yet_whoever_came_first_is_believed() -> None:
    first = [label(n, 1) for n in range(50)]
    second = [label(n, 0, source="audit") for n in range(50, 53)]
    found = joined(labels(*first, *second), predictions(100))
    assert found.counts["labelled"] == 53
    late = [label(n, 0, source="thief") for n in range(53, 100)]
    found = joined(labels(*second, *late), predictions(100))
    assert found.sources["thief"]["used"] == 3


def test_an_allowance_lets_a_known_source_in() -> None:
    second = [label(n, 0, source="audit") for n in range(10)]
    found = joined(labels(*second), caps=Caps(usual={"bank": 5000}, allowance=4))
    assert found.counts["labelled"] == 4


def test_which_rows_of_a_flood_count_is_not_for_the_flood_to_choose() -> None:
    wide = predictions(200)
    honest = [label(n, 1) for n in range(20)]
    flood = [label(n, 0, source="thief") for n in range(20, 200)]
    caps = Caps(usual={"bank": 20})
    one = joined(labels(*honest, *flood), wide, caps=caps)
    other = joined(labels(*honest, *reversed(flood)), wide, caps=caps)
    assert one.frame.equals(other.frame)


def test_a_day_has_so_many_rows_of_a_source_and_no_more() -> None:
    told = [label(n, 1, received=START + DAY + timedelta(seconds=n)) for n in range(10)]
    told += [label(9, 1, received=START + 2 * DAY)]
    found = joined(labels(*told), caps=Caps(day=4))
    assert values(found) == {0: 1, 1: 1, 2: 1, 3: 1, 9: 1}
    assert found.counts["capped"] == 6


def test_what_is_usual_is_the_middle_of_what_was_used() -> None:
    former = [{"bank": {"used": n}, "audit": {"used": 0}} for n in (10, 1000, 12, 11)]
    assert usual(former) == {"bank": 11.5}
    assert usual([{"old": {"used": 9}}, *[{"bank": {"used": 1}}] * 8]) == {"bank": 1.0}
    assert usual([]) == {}


def test_a_share_that_is_none_is_a_mistake() -> None:
    for share in (0.0, -1.0, 1.5, math.nan):
        with pytest.raises(ValueError, match="share"):
            Caps(share=share).limit("bank", {"bank": 1})
