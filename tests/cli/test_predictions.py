"""``assay predictions``: what is kept of an endpoint's answers, as a person sees it."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Generator
from pathlib import Path
from unittest import mock

import polars as pl
import pytest

from assay import ids
from assay.cli.session import Session
from assay.monitor.spool import Record, Values

from .conftest import Here, copy_of


@contextlib.contextmanager
def as_alice(here: Here) -> Generator[Session]:
    """The person's own session, for what a server does and no command."""
    given = {
        "ASSAY_KEYS": str(here.folder / "keys"),
        "XDG_STATE_HOME": str(here.folder / "state"),
        "XDG_CONFIG_HOME": str(here.folder / "config"),
    }
    with contextlib.chdir(here.ws), mock.patch.dict(os.environ, given):
        yield Session("alice", "", True)


@pytest.fixture(scope="session")
def _logged(_promoted: Here, tmp_path_factory: pytest.TempPathFactory) -> Here:
    """An endpoint that has answered about two people, twice about one of them."""
    from assay.actions.prediction_records import open_log
    from assay.actions.serving import Deploy
    from assay.clock import timestamp
    from assay.monitor.segments import Column, Output

    here = copy_of(_promoted, tmp_path_factory.mktemp("logged") / "it")
    with as_alice(here) as session:
        session.perform(
            Deploy(project="fraud", model="credit", version="production", stage="production")
        )
        log = open_log(
            session.workspace,
            "fraud",
            "1",
            endpoint="credit",
            inputs=[Column("income", "FP32")],
            outputs=[Output("label", "INT64", [-1]), Output("probabilities", "FP32", [-1, 2])],
        )
        at = timestamp(session.workspace.clock.now())
        for who in ("4711", "4712", "4711"):
            given = [Values("label", [1], [1]), Values("probabilities", [1, 2], [0.25, 0.75])]
            log.record(Record(ids.new_id(), at, "1", "web", {"income": [1.5]}, {}, given, [who]))
        log.roll()
    return here


@pytest.fixture
def logged(_logged: Here, tmp_path: Path) -> Here:
    return copy_of(_logged, tmp_path / "it")


def test_what_waits_is_sealed_and_listed(logged: Here) -> None:
    before = logged.ok("predictions", "list", "credit", by="alice")
    assert "nothing is sealed yet" in before.out
    assert "1 file to be sealed: assay predictions seal credit" in before.out
    assert "sealed 3 rows of credit" in logged.ok("predictions", "seal", "credit", by="alice").out
    told = logged.ok("predictions", "list", "credit", "--json", by="alice").json
    (segment,) = told["segments"]
    assert (segment["rows"], segment["subjects"], told["waiting"], told["lost"]) == (3, 2, 0, [])
    assert "credit@1" in logged.ok("predictions", "list", "credit", by="alice").out


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_rows_are_taken_out_into_a_file_for_its_owner_alone(logged: Here, suffix: str) -> None:
    logged.ok("predictions", "seal", "credit", by="alice")
    out = logged.folder / f"out.{suffix}"
    done = logged.ok("predictions", "export", "credit", "--out", out, by="alice")
    assert "3 rows of credit are in" in done.out
    frame = pl.read_parquet(out) if suffix == "parquet" else pl.read_ndjson(out)
    assert frame["in.income"].to_list() == [1.5, 1.5, 1.5]
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert "4711" not in out.read_bytes().decode(errors="replace")


def test_a_file_that_is_there_or_of_another_kind_is_refused_before_anything_is_read(
    logged: Here,
) -> None:
    out = logged.folder / "out.parquet"
    out.write_text("mine")
    assert logged("predictions", "export", "credit", "--out", out, by="alice").code == 1
    assert out.read_text() == "mine"
    other = logged.folder / "out.csv"
    done = logged("predictions", "export", "credit", "--out", other, by="alice")
    assert (done.code, other.exists()) == (2, False)


def test_another_purpose_than_that_of_the_data_is_denied(logged: Here) -> None:
    logged.ok("predictions", "seal", "credit", by="alice")
    out = logged.folder / "out.parquet"
    asked = ("predictions", "export", "credit", "--out", out, "--purpose", "marketing")
    done = logged(*asked, by="alice")
    assert done.code == 3
    assert "predictions.purpose" in done.err
    assert not out.exists()


def test_one_person_is_forgotten_by_the_id_that_requests_name(logged: Here) -> None:
    logged.ok("predictions", "seal", "credit", by="alice")
    asked = ("predictions", "erase", "4711", "--reason", "asked to", "--ticket", "DPO-17")
    done = logged.ok(*asked, by="alice")
    assert "forgot 1 of the people in the prediction log of fraud" in done.out
    assert "destroy those copies" in done.err
    out = logged.folder / "out.parquet"
    exported = logged.ok("predictions", "export", "credit", "--out", out, by="alice")
    assert "1 row of credit" in exported.out
    assert "2 more are about people who were erased" in exported.out
    # Nobody of whom nothing is known is refused: there may be something that waits.
    more = logged.ok(
        *("predictions", "erase", "nobody", "--reason", "asked to", "--ticket", "DPO-18"),
        by="alice",
    )
    assert "nothing was sealed yet" in more.err


def test_a_month_whose_ring_is_destroyed_is_shown_as_such(logged: Here) -> None:
    logged.ok("predictions", "seal", "credit", by="alice")
    told = logged.ok("predictions", "list", "credit", "--json", by="alice").json
    ring = told["segments"][0]["ring"]
    logged.ok(
        *("keys", "destroy", "--ring", ring, "--reason", "retention", "--ticket", "DPO-3"),
        by="alice",
    )
    assert "destroyed" in logged.ok("predictions", "list", "credit", by="alice").out
    out = logged.folder / "out.parquet"
    done = logged.ok("predictions", "export", "credit", "--out", out, by="alice")
    assert "3 more are of a time whose key ring was destroyed" in done.out
