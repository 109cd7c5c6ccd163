"""Whole runs on a Ray cluster of two nodes: what they make is what runs here make, whatever dies
meanwhile, and it is found again."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import threading
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest

from assay import canonical
from assay.actions import runs
from assay.actions.run_host import PRODUCER
from assay.evidence import envelope as dsse
from assay.evidence.statement import SLSA_PROVENANCE

pytest.importorskip("ray", reason="Ray is not installed")

from .ray_cluster import Cluster
from .running import Place, Ran, copy_of, template

pytestmark = pytest.mark.slow

PIPELINE = """
import polars as pl
from sklearn.linear_model import LogisticRegression

@step
def rows(count: int) -> pl.DataFrame:
    return pl.DataFrame({"x": range(count), "y": [n % 2 for n in range(count)]})

@step
def parts(frame: pl.DataFrame, number: int) -> list[pl.DataFrame]:
    return [frame[at::number] for at in range(number)]

@step
def doubled(part: pl.DataFrame) -> pl.DataFrame:
    print("of", part.height, "rows")
    return part.with_columns(x2=pl.col("x") * 2)

@step
def fit(frame: pl.DataFrame, seed: int) -> LogisticRegression:
    return LogisticRegression(random_state=seed).fit(frame.select("x").to_numpy(), frame["y"])

@step
def scored(model: LogisticRegression, frames: list[pl.DataFrame]) -> int:
    return sum(int(model.predict(f.select("x").to_numpy()).sum()) for f in frames)

@pipeline
def main(number: int = 4, count: int = 120) -> object:
    frame = rows(count)
    return scored(fit(frame), doubled.map(each(parts(frame, number))))
"""


@pytest.fixture(scope="module")
def cluster() -> Generator[Cluster]:
    cluster = Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.end()


@pytest.fixture
def places(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    cluster: Cluster,
) -> tuple[Place, Place]:
    """Two workspaces with the same rings, so that the same data has the same digests in both."""
    for name, value in cluster.environment().items():
        monkeypatch.setenv(name, value)
    made = template(tmp_path_factory)
    one = copy_of(made, tmp_path / "here", monkeypatch)
    other = copy_of(made, tmp_path / "there", monkeypatch)
    for place in (one, other):
        place.code(PIPELINE)
    return one, other


def inside(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_KEYS", str(place.base / "keys"))
    monkeypatch.setenv("XDG_STATE_HOME", str(place.base / "state"))


def made(ran: Ran) -> dict[str, tuple[str, list[list[str]]]]:
    """For each task its key, and the digests of what it gave."""
    return {
        task.name: (task.key, [[a.digest for a in output] for output in task.outputs])
        for task in ran.record.tasks
    }


def recorded(place: Place) -> Counter[str]:
    """How often the ledger has a result under each key."""
    counted: Counter[str] = Counter()
    place.ws.view.follow()
    for leaf in place.ws.view.leaves():
        if leaf.envelope is None:
            continue
        statement = dsse.decode(leaf.envelope).statement()
        if statement.predicateType == SLSA_PROVENANCE and statement.header.producer == PRODUCER:
            counted.update(s.digest["sha256"] for s in statement.subject if s.name == "key")
    return counted


def kill_a_worker(cluster: Cluster, killed: list[int]) -> None:
    """Kill a worker that runs a task, once there is one, as the kernel would for memory."""
    pause = threading.Event()
    for _ in range(600):
        for pid, line in cluster.processes().items():
            if line.startswith("ray::run_task"):
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
                    return
        pause.wait(0.05)


def test_a_run_on_ray_makes_what_a_run_here_makes_though_a_worker_dies(
    places: tuple[Place, Place], cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = places
    inside(here, monkeypatch)
    local = here.ok()
    inside(there, monkeypatch)
    killed: list[int] = []
    killer = threading.Thread(target=kill_a_worker, args=(cluster, killed))

    def begin(text: str) -> None:
        if text.startswith("parts: done"):
            killer.start()

    ran = there.ok(executor="ray", progress=begin)
    killer.join()
    assert len(killed) == 1
    assert set(ran.states.values()) == {"done"}
    assert made(ran) == made(local)
    assert (ran.record.transport, ran.record.executor) == ("plain (loopback)", "ray")
    assert {task.level for task in ran.record.tasks} == {t.level for t in local.record.tasks}
    assert all("Ray node" in task.where for task in ran.record.tasks)
    assert not any(task.unstored for task in ran.record.tasks)
    assert "of 30 rows" in ran.log("doubled[0]")
    counted = recorded(there)
    for task in ran.record.tasks:
        assert counted[task.key.partition(":")[2]] == 1, task.name
    (statement,) = there.provenance(ran.task("scored"))
    assert statement.predicate["assay_executor"]["name"] == "ray"

    again = there.ok(executor="ray")
    assert set(again.states.values()) == {"cached"}
    assert made(again) == made(ran)
    assert recorded(there) == counted
    assert there.ok().states == again.states  # And here, what nodes made.


def test_libraries_that_differ_on_the_nodes_are_refused_and_nothing_is_stored(
    places: tuple[Place, Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, there = places
    inside(there, monkeypatch)
    action = there.plan(executor="ray")
    plan = runs.planned(action)
    plan.environment = dataclasses.replace(plan.environment, digest=canonical.digest(b"others"))
    ran = Ran(there, there.ws.perform(there.person, action))
    assert "are not those of the machine that drives the run" in ran.problem
    assert "same lock file" in ran.problem
    assert recorded(there)[ran.task("rows").key.partition(":")[2]] == 0
