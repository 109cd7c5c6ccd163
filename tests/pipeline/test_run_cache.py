"""Results that are used again: only what was made here, signed here, for this project, and is still
what it was.  Whoever has no key of the workspace cannot put one there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from assay.actions import runs
from assay.actions.administration import CollectGarbage, DestroyRing, RotateKey
from assay.actions.people import RevokeKey
from assay.actions.run_host import runs_digest
from assay.errors import NotFound
from assay.evidence.signers import MemorySigner
from assay.evidence.state import WORKSPACE
from assay.evidence.statement import Statement, Subject
from assay.store.store import Store
from assay.types import Digest

from .running import Place, Ran

CHAIN = """
@step
def first(n: int) -> bytes:
    return b"x" * n

@step
def second(data: bytes) -> int:
    return len(data)

@pipeline
def main(n: int = 3) -> object:
    return second(first(n))
"""


@pytest.fixture
def ran(place: Place) -> Ran:
    place.code(CHAIN)
    return place.ok()


# -- what lies in the store -----------------------------------------------------------------------


def _delete(path: Path) -> None:
    path.unlink()


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.slow
@pytest.mark.parametrize("harm", [_delete, _flip, _truncate, _empty])
@pytest.mark.parametrize("what", ["blob", "index"])
def test_a_result_that_is_damaged_is_made_again_and_heals(
    place: Place, ran: Ran, harm: Callable[[Path], None], what: str
) -> None:
    ((artifact,),) = ran.task("first").outputs
    harm(place.blob(artifact) if what == "blob" else place.index_entry(artifact))
    place.reopen()
    again = place.ok()
    assert again.states == {"first": "done", "second": "cached"}
    assert again.why("first").startswith("an earlier result cannot be used: ")
    assert again.value("first") == b"xxx"
    third = place.ok(given={"n": 3})
    assert third.states == {"first": "cached", "second": "cached"}


def test_a_damaged_result_that_a_step_needs_is_made_again_for_it(place: Place, ran: Ran) -> None:
    ((artifact,),) = ran.task("first").outputs
    _flip(place.blob(artifact))
    place.edit("p.py", "len(data)", "len(data) + 1")
    again = place.ok()
    assert again.states == {"first": "done", "second": "done"}
    assert again.value("second") == 4


def test_two_blobs_that_were_exchanged_are_noticed(place: Place, ran: Ran) -> None:
    other = place.ok(given={"n": 4})
    ((one,),), ((two,),) = ran.task("first").outputs, other.task("first").outputs
    a, b = place.blob(one), place.blob(two)
    a_data, b_data = a.read_bytes(), b.read_bytes()
    a.write_bytes(b_data)
    b.write_bytes(a_data)
    again = place.ok()
    assert again.states["first"] == "done"
    assert again.value("first") == b"xxx"


def test_a_result_is_read_before_it_is_said_to_be_there(
    place: Place, ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Digest] = []
    verify = Store.verify

    def noted(store: Store, ring: str, digest: Digest) -> None:
        read.append(digest)
        verify(store, ring, digest)

    monkeypatch.setattr(Store, "verify", noted)
    again = place.ok()
    assert set(again.states.values()) == {"cached"}
    assert read == [again.task(n).outputs[0][0].digest for n in ("first", "second")]
    assert ran.task("first").outputs == again.task("first").outputs


def test_collecting_garbage_keeps_records_logs_and_results(place: Place) -> None:
    place.code(CHAIN.replace("    return len(data)", "    print('hello')\n    return len(data)"))
    ran = place.ok()
    place.edit("p.py", "return len(data)", "print('end'); 1 / 0")
    failed = place.fails()

    collected = place.ws.store.collect
    place.ws.store.collect = lambda reachable, now: collected(  # type: ignore[method-assign]
        reachable, now + timedelta(days=3)
    )
    place.do(CollectGarbage(project=WORKSPACE))
    assert ran.log("second") == "hello\n"
    assert "end" in failed.log("second")
    place.edit("p.py", "print('end'); 1 / 0", "return len(data)")
    assert place.ok().states == {"first": "cached", "second": "cached"}


def test_a_lost_result_does_not_keep_garbage_from_being_collected(place: Place, ran: Ran) -> None:
    ((artifact,),) = ran.task("first").outputs
    place.index_entry(artifact).unlink()
    place.do(CollectGarbage(project=WORKSPACE))
    assert place.ok().states == {"first": "done", "second": "cached"}


# -- who said so ----------------------------------------------------------------------------------


def names_of(statement: Statement) -> list[str]:
    return [subject.name for subject in statement.subject]


def _forged(place: Place, ran: Ran, **changed: Any) -> Statement:
    """A provenance statement that says that ``first`` gave what it gives for another number, under
    the key that it will have for 5."""
    other = place.ok(given={"n": 4})
    wanted = place.run(given={"n": 5}, cache="read")
    (model,) = [s for s in place.provenance(ran.task("first")) if "key" in names_of(s)]
    key = wanted.task("first").key
    outputs = msgspec.to_builtins(other.task("first").outputs)
    predicate = {**model.predicate}
    predicate["assay_cache"] = {**predicate["assay_cache"], "outputs": outputs}
    digest = other.task("first").outputs[0][0].digest
    told: dict[str, Any] = {
        "subject": {"first/result": digest, "key": Digest(key)},
        "predicate_type": model.predicateType,
        "predicate": predicate,
        "project": "alpha",
        "producer": "assay.pipeline/1",
        "clock": place.ws.clock,
        **changed,
    }
    return Statement.new(**told)


def _used(place: Place) -> bool:
    """Whether the forged result is taken for that of 5."""
    ran = place.ok(given={"n": 5})
    assert (ran.states["first"] == "cached") == (ran.value("first") != b"x" * 5)
    return ran.states["first"] == "cached"


def test_who_holds_the_workspace_key_can_say_anything(place: Place, ran: Ran) -> None:
    """So that the tests below forge what would be believed."""
    place.slip_in(_forged(place, ran), place.workspace_key)
    assert _used(place)


def test_nobody_else_can_put_a_result_there(place: Place, ran: Ran) -> None:
    forged = _forged(place, ran)
    place.slip_in(forged, MemorySigner.generate())
    assert not _used(place)


def test_not_even_a_member_can_put_a_result_there(place: Place, ran: Ran) -> None:
    forged = _forged(place, ran)
    place.slip_in(forged, place.signer)
    assert not _used(place)


CHOSEN = """
import assay.pipeline.codecs as codecs
from onnx import ModelProto

@step
def work(text: str) -> ModelProto:
    class Written:
        suffix = ".onnx"
        def encode(self, value, hint, into):
            into.write_bytes(text.encode())
    codecs.by_name = lambda name: Written()
    return ModelProto()

@pipeline
def main(text: str) -> object:
    return work(text)
"""


def test_a_model_whose_bytes_make_the_digest_of_all_runs_is_no_run(place: Place) -> None:
    """Models have plain digests, so whoever writes a step chooses what they are found under."""
    place.code(CHOSEN)
    ran = place.ok(given={"text": "assay/runs/alpha"})
    assert ran.task("work").outputs[0][0].digest == runs_digest("alpha")
    assert runs.runs(place.ws.view, "alpha")[0]["run"] == ran.record.run


def test_a_model_with_the_digest_of_a_key_is_not_what_that_key_finds(
    place: Place, ran: Ran
) -> None:
    key = place.run(given={"n": 5}, cache="read").task("first").key
    forged = _forged(place, ran)
    changed = msgspec.structs.replace(
        forged, subject=[Subject("first/result", {"sha256": key.removeprefix("sha256:")})]
    )
    place.slip_in(changed, place.workspace_key)
    assert not _used(place)


@pytest.mark.parametrize(
    "changed",
    [
        {"producer": "assay.door/1"},
        {"producer": "assay.pipeline/2"},
        {"producer": "somebody/1"},
        {"project": WORKSPACE},
        {"predicate_type": "https://slsa.dev/provenance/v0.2"},
        {"predicate": {}},
        {"predicate": {"assay_cache": {"outputs": 7}, "runDetails": []}},
    ],
)
def test_what_is_not_provenance_of_this_projects_pipelines_is_not_used(
    place: Place, ran: Ran, changed: dict[str, Any]
) -> None:
    place.slip_in(_forged(place, ran, **changed), place.workspace_key)
    assert not _used(place)


def test_a_result_of_another_project_is_not_used(place: Place, ran: Ran) -> None:
    other = place.another_project()
    theirs = place.ok(project=other)
    assert set(theirs.states.values()) == {"done"}
    assert theirs.task("first").key != ran.task("first").key
    assert theirs.task("first").outputs != ran.task("first").outputs
    place.slip_in(_forged(place, ran, project=other), place.workspace_key)
    assert not _used(place)


def test_a_result_from_before_its_key_was_compromised_is_still_used(place: Place) -> None:
    place.code(CHAIN)
    place.ok()
    keyid = place.workspace_key.public.keyid
    place.do(RotateKey(project=WORKSPACE, reason="drill"))
    assert set(place.ok().states.values()) == {"cached"}
    before = place.ws.view.state.size
    place.do(RevokeKey(project=WORKSPACE, keyid=keyid, reason="old", compromised_since=before))
    assert set(place.ok().states.values()) == {"cached"}


def test_a_result_whose_key_was_compromised_before_it_is_not_used(place: Place) -> None:
    place.code(CHAIN)
    since = place.ws.view.follow().size
    first = place.ok()
    keyid = place.workspace_key.public.keyid
    place.do(RotateKey(project=WORKSPACE, reason="drill"))
    place.do(RevokeKey(project=WORKSPACE, keyid=keyid, reason="stolen", compromised_since=since))
    again = place.ok()
    assert set(again.states.values()) == {"done"}
    assert again.task("first").key == first.task("first").key
    assert set(place.ok().states.values()) == {"cached"}


def test_a_result_whose_statement_was_superseded_is_not_used(place: Place, ran: Ran) -> None:
    envelope = ran.task("first").envelope
    place.ws.view.state.supersessions.setdefault("alpha", []).append(envelope)
    again = place.ok()
    assert again.states == {"first": "done", "second": "cached"}
    assert again.task("first").envelope != envelope
    assert place.ok().states["first"] == "cached"


def test_a_result_of_shredded_data_is_not_used(place: Place, ran: Ran) -> None:
    place.do(DestroyRing(project=WORKSPACE, ring="alpha/data", reason="asked to", ticket="T-1"))
    place.reopen()
    assert ran.states["first"] == "done"
    with pytest.raises(NotFound, match=r"destroyed|shredded"):
        place.run()
    assert place.left() == []


# -- how it is asked for --------------------------------------------------------------------------


def test_what_a_run_makes_that_only_reads_the_cache_is_used_by_nobody(place: Place) -> None:
    place.code(CHAIN)
    first = place.ok(cache="read")
    assert set(first.states.values()) == {"done"}
    for name in ("first", "second"):
        for statement in place.provenance(first.task(name)):
            assert "key" not in names_of(statement)
    assert set(place.ok().states.values()) == {"done"}
    assert set(place.ok(cache="read").states.values()) == {"cached"}


def test_a_run_that_ignores_the_cache_runs_everything_and_is_what_counts_from_then_on(
    place: Place,
) -> None:
    place.code(
        "import os\n@step\ndef work() -> str:\n    return os.urandom(8).hex()\n"
        "@pipeline\ndef main():\n    return work()\n"
    )
    first = place.ok()
    assert place.ok().value("work") == first.value("work")
    second = place.ok(cache="ignore")
    assert second.states == {"work": "done"}
    assert second.value("work") != first.value("work")
    assert place.ok().value("work") == second.value("work")


def test_a_step_that_says_so_is_run_every_time(place: Place) -> None:
    place.code(CHAIN.replace("@step\ndef first", "@step(cache=False)\ndef first"))
    place.ok()
    again = place.ok()
    assert again.states == {"first": "done", "second": "cached"}
    assert "cache=True" in again.why("first")


def test_results_are_used_by_other_runs_of_the_same_steps(place: Place, ran: Ran) -> None:
    place.code(
        "from p import first\n@step\ndef third(data: bytes) -> int:\n    return -len(data)\n"
        "@pipeline\ndef other():\n    return third(first(3))\n",
        "q.py",
    )
    again = place.ok("q.py")
    assert again.states == {"first": "cached", "third": "done"}
    assert again.task("first").made_by == ran.record.run
    assert again.value("third") == -3


def test_provenance_names_what_a_result_is_made_of(place: Place, ran: Ran) -> None:
    (statement,) = place.provenance(ran.task("second"))
    definition = statement.predicate["buildDefinition"]
    names = {item.get("name") or item["uri"] for item in definition["resolvedDependencies"]}
    assert {"code", "environment", "code:p", "input"} <= names
    assert definition["externalParameters"]["task"] == "second"
    assert definition["externalParameters"]["arguments"] == {
        "data": ran.task("first").outputs[0][0].digest
    }
    assert statement.predicate["runDetails"]["metadata"]["invocationId"] == ran.record.run
    assert statement.predicate["assay_environment"] in ("verified", "locked")
