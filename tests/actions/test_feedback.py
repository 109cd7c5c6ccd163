"""Labels given to an endpoint: who may, what is sealed, what is refused."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from workspace.town import Town, copy_of

from assay import canonical
from assay.actions import feedback_recorder
from assay.actions.feedback import (
    AddFeedback,
    GiveFeedback,
    SealFeedback,
    joined,
    kept_of_labels,
)
from assay.actions.feedback import feedback_recorder as recorder_of
from assay.actions.feedback_records import (
    batches,
    caps_of,
    classes_of,
    spool_of,
    subject,
)
from assay.actions.feedback_status import status
from assay.actions.monitor_records import about
from assay.actions.people import RevokeToken, subject_of
from assay.actions.serving import Kill
from assay.clock import timestamp
from assay.errors import Denied, Unavailable, Usage
from assay.evidence.statement import Statement, predicate_type
from assay.monitor.feedback import Caps, Joined
from assay.workspace.action import Doing, Outcome
from assay.workspace.credentials import token_id_of
from assay.workspace.segments import Segments

from .labelling import DAY, add, body, deploy, held, look, name, recorder, seal, some


@pytest.fixture(scope="module")
def deployed(built: Town, tmp_path_factory: pytest.TempPathFactory) -> Town:
    return deploy(built, tmp_path_factory)


@pytest.fixture
def town(deployed: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Town:
    return copy_of(deployed, tmp_path / "town", monkeypatch)


# -- in a file ------------------------------------------------------------------------------------


def write(
    path: Path, rows: Sequence[Sequence[Any]], header: Sequence[str] = ("id", "label")
) -> str:
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return str(path)


def test_labels_of_a_file_are_sealed_and_read_back(town: Town) -> None:
    given = [[name(), n % 2] for n in range(5)]
    path = write(town.base / "labels.csv", given)
    told = town.do("sam", AddFeedback(project="alpha", endpoint="score", path=path))
    assert (told["rows"], told["accepted"], told["refused"]) == (5, 5, {})
    found = look(town)
    assert [f"{i}/{r}" for i, r in found.select("prediction_id", "row").iter_rows()] == [
        given_[0] for given_ in given
    ]
    assert found["label"].to_list() == ["0", "1", "0", "1", "0"]
    assert set(found["source"]) == {town.ids["sam"]}


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_the_kinds_of_files_say_the_same(town: Town, suffix: str) -> None:
    frame = pl.DataFrame(
        {"id": [name(), name(3)], "label": [1, 0], "at": ["2025-12-31T10:00:00Z"] * 2}
    )
    path = town.base / f"labels.{suffix}"
    write_with = {"csv": "write_csv", "parquet": "write_parquet", "jsonl": "write_ndjson"}
    getattr(frame, write_with[suffix])(path)
    told = town.do("sam", AddFeedback(project="alpha", endpoint="score", path=str(path)))
    assert told["accepted"] == 2, told
    found = look(town)
    assert found["row"].to_list() == [0, 3]
    assert found["at"].is_not_null().all()


def test_each_wrong_row_is_counted_for_its_own_reason_and_takes_no_other_with_it(
    town: Town,
) -> None:
    later = timestamp(town.clock.at + timedelta(hours=1))
    told = add(
        town,
        [
            {"id": name(), "label": 1},
            {"id": "17", "label": 1},
            {"id": name(), "label": 7},
            {"id": name(), "label": None},
            {"id": name(), "label": [1]},
            {"id": name(), "label": 1, "at": "soon"},
            {"id": name(), "label": 1, "at": later},
        ],
    )
    reasons = {"id": 1, "class": 1, "missing": 1, "type": 1, "time": 1, "clock": 1}
    assert (told["accepted"], told["refused"]) == (1, reasons)
    (batch,) = held(town)
    assert (batch.rows, batch.accepted, batch.refused) == (7, 1, reasons)


def test_a_batch_of_which_nothing_is_accepted_is_counted_all_the_same(town: Town) -> None:
    add(town, [{"id": name(), "label": 7}])
    (batch,) = held(town)
    assert (batch.rows, batch.accepted, batch.blob) == (1, 0, "")
    assert look(town).height == 0
    assert kept_of_labels(town.ws.view) == []


def test_a_file_without_labels_is_refused_whole(town: Town) -> None:
    path = write(town.base / "other.csv", [[1, 2]], header=("a", "b"))
    with pytest.raises(Usage, match="no columns of labels"):
        town.do("sam", AddFeedback(project="alpha", endpoint="score", path=path))
    assert held(town) == []


def test_the_ledger_holds_no_label_in_the_clear(town: Town) -> None:
    before = town.size
    labels = [{"id": name(), "label": 1}]
    add(town, labels)
    for statement in town.statements(since=before):
        # The least and the greatest id are there, to find the batch by; never what was said of it.
        assert '"label":' not in canonical.encode(statement).decode()


def test_a_body_that_is_not_the_one_that_was_decided_on_is_refused(town: Town) -> None:
    action = AddFeedback.of("alpha", "score", some(1))
    swapped = msgspec.structs.replace(action, body=AddFeedback.of("alpha", "score", some(2)).body)
    with pytest.raises(Usage, match="another body"):
        town.do("sam", swapped)
    without = msgspec.structs.replace(action, body="")
    with pytest.raises(Usage):
        town.do("sam", without)
    both = msgspec.structs.replace(action, path="labels.csv")
    with pytest.raises(Usage, match="one of them"):
        town.do("sam", both)


def test_who_may_not_give_feedback_gives_none(town: Town) -> None:
    for who in ("ann", "oli", "una", "ada", "bea"):
        with pytest.raises(Denied):
            add(town, some(1), who)
    assert held(town) == []
    add(town, some(1), "web")
    add(town, some(1), "ci")
    assert {batch.source for batch in held(town)} == {town.ids["web"], town.ids["ci"]}


def test_an_endpoint_that_was_stopped_still_learns_what_became_of_its_answers(town: Town) -> None:
    town.do("oli", Kill(project="alpha", endpoint="score", reason="wrong"))
    assert add(town, some(1))["accepted"] == 1


def test_a_day_has_so_many_rows_of_a_source(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.actions.feedback.caps_of", lambda *_: Caps(day=5))
    assert add(town, some(4))["accepted"] == 4
    told = add(town, some(3))
    assert (told["accepted"], told["refused"]) == (1, {"cap": 2})
    assert add(town, some(3), "eve")["accepted"] == 3
    town.clock.advance(DAY)
    assert add(town, some(3))["accepted"] == 3


def test_a_plan_says_how_many_labels_a_source_may_give(town: Town) -> None:
    assert caps_of(town.ws.view, "alpha", "score").day == Caps().day
    made = town.statement("baseline", {"plan": {"label_cap": 3}}, "alpha")
    about = subject_of("monitor:alpha/score")
    made = Statement.new(
        subject=about,
        predicate_type=made.predicateType,
        predicate=made.predicate,
        project="alpha",
        producer="assay.monitor.baseline/1",
        clock=town.clock,
    )
    town.slip_in(made, town.workspace_key)
    town.ws.view.follow()
    assert caps_of(town.ws.view, "alpha", "score").day == 3


# -- in requests ----------------------------------------------------------------------------------


def test_labels_of_requests_are_sealed_by_source_once_they_are_rolled(town: Town) -> None:
    take = recorder(town)
    first, second = name(), name(1)
    told = take(town.tokens["web"], body({"id": first, "label": 1}, {"id": "?", "label": 1}))
    assert (told["accepted"], told["refused"]) == (1, {"id": 1})
    take(town.tokens["ci"], body({"id": second, "label": 0}))
    assert seal(town)["batches"] == 0
    take.roll()
    assert seal(town) == {"endpoint": "score", "batches": 2, "labels": 2, "lost": []}
    found = {batch.source: batch for batch in held(town)}
    assert found[town.ids["web"]].refused == {"id": 1}
    rows = look(town).sort("row")
    assert rows["label"].to_list() == ["1", "0"]
    assert rows["source"].to_list() == [town.ids["web"], town.ids["ci"]]
    assert list(spool_of(town.ws.layout, "alpha", "score").iterdir()) == []


def test_sealing_again_finds_nothing_to_do(town: Town) -> None:
    with recorder(town) as take:
        take(town.tokens["web"], body(*some(3)))
    assert seal(town)["labels"] == 3
    assert seal(town)["labels"] == 0
    assert len(held(town)) == 1


def test_a_token_of_another_project_gives_no_feedback(town: Town) -> None:
    take = recorder(town)
    for token in ("nonsense", town.tokens.get("beta-web", "none")):
        with pytest.raises(Denied):
            take(token, body(*some(1)))
    take.roll()
    assert seal(town)["batches"] == 0


def test_a_revoked_token_gives_no_more_feedback(town: Town) -> None:
    take = recorder(town)
    take.permit(town.tokens["web"])
    take(town.tokens["web"], body(*some(1)))
    town.do("oli", RevokeToken(project="alpha", token=token_id_of(town.tokens["web"])))
    with pytest.raises(Denied):
        take.permit(town.tokens["web"])


def test_a_permit_that_grew_old_while_the_body_came_is_asked_for_again(town: Town) -> None:
    seconds = [0.0]
    take = recorder(town, _monotonic=lambda: seconds[0])
    take.permit(town.tokens["web"])
    seconds[0] = 5.0
    assert take(town.tokens["web"], body(*some(1)))["accepted"] == 1
    town.do("oli", RevokeToken(project="alpha", token=token_id_of(town.tokens["web"])))
    with pytest.raises(Unavailable, match="changed"):
        take(town.tokens["web"], body(*some(1)))


def test_a_flood_of_requests_ends_at_the_day_and_is_counted(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback_recorder, "caps_of", lambda *_: Caps(day=5))
    with recorder(town) as take:
        refused = [take(town.tokens["web"], body(*some(2)))["refused"] for _ in range(4)]
        assert refused == [{}, {}, {"cap": 1}, {"cap": 2}]
        assert take(town.tokens["ci"], body(*some(2)))["accepted"] == 2
    seal(town)
    found = {batch.source: batch for batch in held(town)}
    web = found[town.ids["web"]]
    assert (web.accepted, web.refused) == (5, {"cap": 3})
    # A server that starts again begins where the other ended.
    with recorder(town) as again:
        assert again(town.tokens["web"], body(*some(2)))["refused"] == {"cap": 2}


def test_labels_that_cannot_be_kept_are_not_acknowledged_and_the_next_are(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = recorder(town)
    take(town.tokens["web"], body(*some(1)))
    broken: Any = take._spool  # pyright: ignore[reportPrivateUsage]

    def full(_: bytes) -> int:
        raise Unavailable("no space left", code="spool.write")

    monkeypatch.setattr(broken, "append", full)
    with pytest.raises(Unavailable):
        take(town.tokens["web"], body(*some(1)))
    assert take(town.tokens["web"], body(*some(1)))["accepted"] == 1
    take.roll()
    assert seal(town)["labels"] == 2


def test_feedback_is_counted_on_the_ledger_by_who_gave_it(town: Town) -> None:
    segments = Segments(town.ws)
    take = recorder_of(town.ws, "alpha", "score", segments=segments)
    for _ in range(3):
        take.permit(town.tokens["web"])
    before = town.size
    segments.flush()
    (statement,) = town.statements("segment", before)
    assert statement.predicate["decisions"] == [
        {"action": "giveFeedback", "actor": town.ids["web"], "allowed": True, "count": 3}
    ]


def test_a_request_may_not_be_performed_as_one_action(town: Town) -> None:
    with pytest.raises(Usage):
        town.do("web", GiveFeedback(project="alpha", endpoint="score"))


# -- beside predictions ---------------------------------------------------------------------------


class Join(SealFeedback, frozen=True, kw_only=True):
    """Joins as an action of monitoring does."""

    predictions: tuple[tuple[str, int], ...]

    def apply(self, doing: Doing) -> Outcome:
        now = doing.clock.now()
        made = pl.DataFrame(
            {
                "prediction_id": [i for i, _ in self.predictions],
                "row": pl.Series([r for _, r in self.predictions], dtype=pl.Int32),
                "at": pl.Series(
                    [now - DAY] * len(self.predictions), dtype=pl.Datetime("us", "UTC")
                ),
                "version": ["1"] * len(self.predictions),
            }
        )
        found = joined(doing, self.endpoint, made, since=now - 2 * DAY, closes=now + DAY)
        return Outcome(found)


def split(names: Sequence[str]) -> tuple[tuple[str, int], ...]:
    return tuple((n.partition("/")[0], int(n.partition("/")[2])) for n in names)


def test_labels_meet_their_predictions_and_forged_ones_are_unknown(town: Town) -> None:
    names = sorted(name() for _ in range(6))
    forged = names[2][:-14] + "fffffffffff0/0"
    add(town, [{"id": n, "label": 1} for n in [*names[:2], names[4], forged]])
    add(town, [{"id": names[4], "label": 0}], "eve")
    asked = Join(project="alpha", endpoint="score", predictions=split(names))
    found: Joined = town.do("eve", asked)
    assert found.counts["labelled"] == 2
    assert found.counts["disputed"] == 1
    assert found.counts["unknown"] == 1
    assert found.coverage == pytest.approx(2 / 6)


def test_labels_of_another_endpoint_or_project_join_nothing(town: Town) -> None:
    names = sorted(name() for _ in range(3))
    add(town, [{"id": n, "label": 1} for n in names])
    assert batches(town.ws.view, "alpha", "other") == []
    assert batches(town.ws.view, "beta", "score") == []
    assert set(subject("alpha", "score").values()).isdisjoint(subject("beta", "score").values())


def test_the_classes_are_those_of_all_versions_of_the_model(town: Town) -> None:
    town.ws.view.follow()
    assert classes_of(town.ws.view, "alpha", "score") == [0, 1]


# -- what became of them --------------------------------------------------------------------------


def watched(town: Town, kind: str, predicate: dict[str, Any]) -> None:
    """A statement as monitoring makes them."""
    made = Statement.new(
        subject=about("alpha", "score"),
        predicate_type=predicate_type(kind),
        predicate=predicate,
        project="alpha",
        producer="assay.monitor/1",
        clock=town.clock,
    )
    town.slip_in(made, town.workspace_key)


def test_the_status_says_what_each_source_gave_and_how_much_of_each_window_is_labelled(
    town: Town,
) -> None:
    add(town, [*some(3), {"id": "?", "label": 1}])
    add(town, some(1), "eve")
    take = recorder(town)
    take(town.tokens["web"], body(*some(1)))
    take.roll()
    span = {"version": "1", "from": "2026-01-01T00:00:00.000Z", "to": "2026-01-02T00:00:00.000Z"}
    for number in (1, 2):
        watched(town, "window", {**span, "number": number, "rows": 10, "segments": []})
    figures = {"labelled": 4, "coverage": 0.4, "counts": {"late": 2}, "sources": {}, "final": True}
    watched(town, "performance", {**span, "number": 1, **figures})
    town.ws.view.follow()
    told = status(town.ws.view, town.ws.layout, "alpha", "score")
    mine, hers = told["sources"]
    assert (mine["source"], mine["rows"], mine["accepted"]) == (town.ids["sam"], 4, 3)
    assert mine["refused"] == {"id": 1}
    assert (hers["rows"], hers["refused"]) == (1, {})
    closed, still = told["windows"]
    assert (closed["final"], closed["coverage"], closed["counts"]) == (True, 0.4, {"late": 2})
    # Of a window that is not judged nothing is known, and nothing is said to be nought.
    assert (still["final"], still["labelled"], still["coverage"]) == (False, None, None)
    assert (told["waiting"], told["lost"]) == (1, [])
