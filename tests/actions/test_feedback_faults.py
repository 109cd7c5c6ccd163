"""Labels and what can go wrong with them on their way: kills, damage, forgery."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from workspace.town import WORKSPACE, Killed, Town, copy_of, killed_at_point

from assay import ids
from assay.actions import feedback_recorder
from assay.actions.administration import DestroyRing
from assay.actions.feedback import (
    kept_of_labels,
)
from assay.actions.feedback_records import (
    losses,
    spool_of,
)
from assay.actions.people import DisableActor
from assay.actions.prediction_records import ring_for
from assay.clock import timestamp
from assay.errors import Corrupt, Denied, Unavailable
from assay.monitor import spool
from assay.monitor.feedback import Caps

from .labelling import add, body, deploy, held, look, recorder, seal, some


@pytest.fixture(scope="module")
def deployed(built: Town, tmp_path_factory: pytest.TempPathFactory) -> Town:
    return deploy(built, tmp_path_factory)


@pytest.fixture
def town(deployed: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Town:
    return copy_of(deployed, tmp_path / "town", monkeypatch)


# -- kills ----------------------------------------------------------------------------------------


def points(town: Town) -> list[int]:
    """Where to kill a sealing: at the first and the last passing of each crash point."""
    with killed_at_point(10**9) as passed:
        seal(town)
    first = {point: number for number, point in reversed(list(enumerate(passed)))}
    last = {point: number for number, point in enumerate(passed)}
    assert {"feedback.sealed", "feedback.recorded", "feedback.cleared"} <= set(passed)
    return sorted({*first.values(), *last.values()})


def given(town: Town) -> set[str]:
    """Two sources' labels in two spools, one of a process that died."""
    names: list[str] = []
    for roll in (True, False):
        take = recorder(town)
        for token in ("web", "ci"):
            labels = some(2)
            names += [label["id"] for label in labels]
            take(town.tokens[token], body(*labels))
        if roll:
            take.roll()
        else:
            # What the kernel does when a process dies: its locks go, its files stay.
            left: Any = take._spool  # pyright: ignore[reportPrivateUsage]
            left._ended.set()
            left._dirty.set()
            os.close(left._handle)
            left._handle = -1
            left._syncing.join()  # It may have a copy of the handle, and with it the lock.
    return set(names)


@pytest.mark.slow
def test_a_kill_anywhere_between_spool_and_ledger_loses_no_label_and_doubles_none(
    town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = given(town)
    town.close()
    for number in points(copy_of(town, tmp_path / "count", monkeypatch)):
        copy = copy_of(town, tmp_path / f"at{number}", monkeypatch)
        with pytest.raises(Killed), killed_at_point(number):
            seal(copy)
        copy.close()
        copy.ws.recover()
        seal(copy)
        found = look(copy)
        told = [f"{i}/{r}" for i, r in found.select("prediction_id", "row").iter_rows()]
        assert sorted(told) == sorted(names), number
        assert len(held(copy)) == 4
        copy.check()


LIVE = """
import sys
from pathlib import Path
from assay.actions.feedback import feedback_recorder
from assay.clock import FixedClock, parse_timestamp
from assay.workspace.opening import open_workspace
ws = open_workspace(Path(sys.argv[1]), clock=FixedClock(parse_timestamp(sys.argv[3])))
take = feedback_recorder(ws, "alpha", "score")
for line in sys.stdin:
    take(sys.argv[2], line.encode())
    print(line, end="", flush=True)
"""


@pytest.mark.slow
def test_a_killed_server_has_lost_no_label_that_it_acknowledged(town: Town) -> None:
    bodies = [body(*some(3)) for _ in range(4)]
    town.close()
    with subprocess.Popen(
        [sys.executable, "-c", LIVE, town.repo, town.tokens["web"], timestamp(town.clock.at)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as server:
        assert server.stdin
        assert server.stdout
        for data in bodies:
            server.stdin.write(data + b"\n")
            server.stdin.flush()
            assert server.stdout.readline() == data + b"\n"
        server.kill()
    assert seal(town)["labels"] == 12
    found = look(town)
    wanted = [label["id"] for data in bodies for label in json.loads(data)["labels"]]
    assert [f"{i}/{r}" for i, r in found.select("prediction_id", "row").iter_rows()] == wanted


# -- damage and forgery ---------------------------------------------------------------------------


def test_a_spool_of_another_endpoint_is_not_sealed_here_but_set_aside(town: Town) -> None:
    ring = ring_for(town.ws.store.rings, "alpha", town.clock.at)
    folder = spool_of(town.ws.layout, "alpha", "score")
    record = feedback_recorder.Kept(town.ids["web"], 0, [(ids.new_id(), 0, "1", None)], {})
    for about in ({"project": "alpha", "endpoint": "other"}, {"project": "beta"}, {}):
        with spool.Spool.open(folder, ring, about, kind="labels") as made:
            made.append(msgspec.msgpack.encode(record))
    about = {"project": "alpha", "endpoint": "score"}
    with spool.Spool.open(folder, ring, about, kind="predictions") as made:
        made.append(b"a prediction")
    told = seal(town)
    assert (told["batches"], [loss["why"] for loss in told["lost"]]) == (0, ["foreign"] * 4)
    assert len(list(folder.glob("*.damaged"))) == 4
    assert seal(town)["lost"] == []
    assert len(losses(town.ws.view, "alpha", "score")) == 4


def test_a_spool_that_was_altered_is_set_aside_and_said(town: Town) -> None:
    with recorder(town) as take:
        for _ in range(3):
            take(town.tokens["web"], body(*some(1)))
    (path,) = spool_of(town.ws.layout, "alpha", "score").glob("*.spool")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    told = seal(town)
    (loss,) = told["lost"]
    assert loss["why"] == "damaged"
    assert told["labels"] < 3
    assert (path.parent / loss["kept_as"]).exists()
    assert seal(town)["lost"] == []
    (kept,) = losses(town.ws.view, "alpha", "score")
    assert kept["bytes"] + kept["records"] > 0


def test_labels_that_somebody_else_signed_are_not_seen(town: Town) -> None:
    add(town, some(1))
    (real,) = town.statements("labels")
    forged = msgspec.structs.replace(real, predicate={**real.predicate, "source": "forger"})
    town.slip_in(forged, town.people["sam"])
    assert [batch.source for batch in held(town)] == [town.ids["sam"]]


def test_a_statement_that_counts_other_rows_than_the_batch_holds_is_corrupt(town: Town) -> None:
    add(town, some(2))
    (real,) = town.statements("labels")
    wrong = msgspec.structs.replace(real, predicate={**real.predicate, "accepted": 7})
    town.slip_in(wrong, town.workspace_key)
    with pytest.raises(Corrupt, match="7"):
        look(town)


def test_labels_stay_when_garbage_is_collected_and_go_with_their_ring(town: Town) -> None:
    add(town, some(2))
    ((ring, digest),) = kept_of_labels(town.ws.view)
    assert ring == "alpha/predictions.2026-01"
    assert town.ws.store.exists(ring, digest)
    town.do("ada", DestroyRing(project="_workspace", ring=ring, reason="end", ticket="T1"))
    assert look(town).height == 0
    assert add(town, some(1))["accepted"] == 1
    assert look(town).height == 1


# -- who decides, and what is remembered -----------------------------------------------------------


def test_a_thread_that_keeps_labels_decides_about_nobody(town: Town) -> None:
    """It must not look at a state that the event loop changes meanwhile."""
    take = recorder(town)
    raised: list[BaseException] = []

    def keep() -> None:
        try:
            take(town.tokens["web"], body(*some(1)))
        except BaseException as error:
            raised.append(error)

    for _ in range(2):
        thread = threading.Thread(target=keep)
        thread.start()
        thread.join()
        take.permit(town.tokens["web"])
    (error,) = raised  # The first: nobody had been asked.
    assert isinstance(error, Unavailable)
    assert "decided" in error.message


def test_what_was_permitted_before_ends_with_a_denial(town: Town) -> None:
    take = recorder(town)
    take.permit(town.tokens["web"])
    town.do("ada", DisableActor(project=WORKSPACE, actor=town.ids["web"]))
    for _ in range(2):
        with pytest.raises(Denied):
            take.permit(town.tokens["web"])
        with pytest.raises(Denied):
            take(town.tokens["web"], body(*some(1)))


def test_of_more_tokens_than_are_remembered_none_that_is_on_its_way_is_forgotten(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback_recorder, "_MOST_TOKENS", 1)
    seconds = [0.0]
    take = recorder(town, _monotonic=lambda: seconds[0])
    take.permit(town.tokens["web"])
    with pytest.raises(Unavailable, match="too many"):
        take.permit(town.tokens["ci"])
    assert take(town.tokens["web"], body(*some(1)))["accepted"] == 1


def test_what_a_source_gave_today_is_not_forgotten_for_others(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback_recorder, "_MOST_TOKENS", 2)
    take = recorder(town)
    take.permit(town.tokens["web"])
    take._days["id-other"] = take._days[town.ids["web"]]  # pyright: ignore[reportPrivateUsage]
    take._tokens.clear()  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(Unavailable, match="sources"):
        take.permit(town.tokens["ci"])
    town.clock.advance(timedelta(days=1))
    assert take.permit(town.tokens["ci"]) == town.ids["ci"]


def test_what_a_process_that_died_had_kept_counts_for_the_day(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each restart would give a source another day's labels."""
    monkeypatch.setattr(feedback_recorder, "caps_of", lambda *_: Caps(day=5))
    given(town)  # Two by each source in each of two spools.
    with recorder(town) as take:
        assert take(town.tokens["web"], body(*some(3)))["refused"] == {"cap": 2}
    seal(town)
    with recorder(town) as again:
        assert again(town.tokens["web"], body(*some(1)))["refused"] == {"cap": 1}
