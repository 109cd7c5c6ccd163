"""Observed provenance: a version refers to the run that made its bytes, or is only declared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from workspace.town import Town, model

from assay.actions.passports import build
from assay.actions.people import project_target
from assay.actions.reading import ExportEvidence, ReadEvidence
from assay.actions.release import Approve, Promote, Supersede
from assay.errors import Verification
from assay.evidence import envelope as dsse
from assay.evidence.statement import SLSA_PROVENANCE, Statement
from assay.govern.verify import Report, verify
from assay.types import Digest
from assay.workspace.action import Action, Doing, Outcome, Target
from assay.workspace.view import View

RUNNER = "assay.pipeline/1"


def provenance(
    town: Town,
    run: str,
    *,
    artifact: Digest | None = None,
    producer: str = RUNNER,
    kind: str = SLSA_PROVENANCE,
    project: str = "alpha",
    changed: Callable[[dict[str, Any]], None] = lambda _: None,
) -> Statement:
    """What the runner says about the town's ONNX file."""
    predicate = provenance_of(run)
    changed(predicate)
    return Statement.new(
        subject={"fit/model": artifact or served(town)},
        predicate_type=kind,
        predicate=predicate,
        project=project,
        producer=producer,
        clock=town.clock,
    )


def served(town: Town) -> Digest:
    """The digest of the file that `registration` takes in."""
    found = town.ws.view.version("alpha", "score", "1").served
    assert found
    return found


class Made(Action, frozen=True, kw_only=True):
    """Stands for a run: records that it made an artifact, and gives its own decision."""

    name: ClassVar[str] = "runPipeline"
    artifact: str

    def target(self, view: View) -> Target:
        asked = {
            "environment": "locked",
            "isolation": "full",
            "ports": [],
            "variables": [],
            "processes": False,
            "executor": "local",
        }
        return project_target(view, self.project, asked)

    def apply(self, doing: Doing) -> Outcome:
        predicate = provenance_of(doing.decision)
        made = Statement.new(
            subject={"fit/model": Digest(self.artifact)},
            predicate_type=SLSA_PROVENANCE,
            predicate=predicate,
            project=self.project,
            producer=RUNNER,
            clock=doing.clock,
        )
        (envelope,) = doing.record([made])
        return Outcome((doing.decision, envelope))


def provenance_of(run: str) -> dict[str, Any]:
    return {
        "buildDefinition": {
            "externalParameters": {"pipeline": "credit:main", "step": "credit:fit"}
        },
        "runDetails": {"metadata": {"invocationId": run}},
        "assay_environment": "locked",
        "assay_isolation": "full",
    }


def registration(town: Town, run: str = "") -> Any:
    return model(town.repo, "made", path=str(town.repo / "model.onnx"), run=run)


def level(town: Town, version: str = "1") -> str:
    found = town.ws.view.version("alpha", "made", version)
    return str(found.details["provenance"])


def run(town: Town) -> tuple[str, str]:
    done: tuple[str, str] = town.do("ci", Made(project="alpha", artifact=served(town)))
    return done


def test_a_model_that_a_run_made_is_observed_and_names_run_and_statement(town: Town) -> None:
    made, envelope = run(town)
    value = town.do("ci", registration(town, made))
    assert value["details"]["provenance"] == "observed"
    assert value["details"]["run"] == made
    assert value["details"]["build"] == envelope
    facts = town.ws.view.facts("alpha", served(town)).values
    # Of the same bytes a version is there already that was only declared: the worst counts.
    assert facts["provenance"]["level"] == "declared"


def test_without_a_run_a_model_is_declared(town: Town) -> None:
    run(town)
    town.do("eve", registration(town))
    assert level(town) == "declared"
    assert "build" not in town.ws.view.version("alpha", "made", "1").details


FORGED: dict[str, Callable[[Town, str], Statement]] = {
    "nothing": lambda town, _: town.statement("noted", {}, "alpha"),
    "another run": lambda town, _: provenance(town, "0190-another"),
    "another artifact": lambda town, r: provenance(town, r, artifact=_other(town)),
    "another producer": lambda town, r: provenance(town, r, producer="assay.door/1"),
    "another kind": lambda town, r: provenance(town, r, kind="https://slsa.dev/provenance/v0.2"),
    "another project": lambda town, r: provenance(town, r, project="beta"),
    "the whole workspace": lambda town, r: provenance(town, r, project="_workspace"),
    "no run in it": lambda town, r: provenance(town, r, changed=lambda p: p.pop("runDetails")),
    "a run of no form": lambda town, r: provenance(
        town, r, changed=lambda p: p.update(runDetails={"metadata": [r]})
    ),
}


def _other(town: Town) -> Digest:
    return town.ws.view.version("alpha", "score", "1").artifact


@pytest.mark.parametrize("what", FORGED)
def test_a_model_that_no_run_made_is_not_called_observed(town: Town, what: str) -> None:
    statement = FORGED[what](town, "0190-run")
    town.slip_in(statement, town.workspace_key)
    since = town.size
    with pytest.raises(Verification) as caught:
        town.do("ci", registration(town, "0190-run"))
    assert caught.value.code == "verification.model.run"
    assert caught.value.remedy
    assert town.kinds(since) == ["decision", "outcome"]
    assert not town.ws.view.versions("alpha", "made")


def test_what_somebody_else_signed_is_no_word_of_the_runner(town: Town) -> None:
    """A person's key, however it came onto the ledger, and a stranger's."""
    from assay.evidence.signers import MemorySigner

    for signer in (town.people["eve"], MemorySigner.generate()):
        town.slip_in(provenance(town, "0190-run"), signer)
        with pytest.raises(Verification):
            town.do("eve", registration(town, "0190-run"))


def test_what_an_approver_set_aside_counts_no_more(town: Town) -> None:
    made, envelope = run(town)
    town.do("eve", registration(town, made))
    town.do("ann", supersede(envelope))
    with pytest.raises(Verification):
        town.do("eve", registration(town, made))


def supersede(envelope: str) -> Supersede:
    return Supersede(
        project="alpha", model="made", version="1", envelope=envelope, reason="of another machine"
    )


def test_a_registered_version_of_the_same_bytes_set_aside_leaves_the_observed_one(
    town: Town,
) -> None:
    made, _ = run(town)
    town.do("eve", registration(town, made))
    digest = served(town)
    declared = [
        item.envelope_digest
        for item in town.ws.view.evidence("alpha", digest)
        if item.statement.predicate.get("details", {}).get("provenance") == "declared"
    ]
    for envelope in declared:
        town.do("ann", supersede(envelope))
    facts = town.ws.view.facts("alpha", digest).values
    assert facts["provenance"]["level"] == "observed"


# -- what is shown of it --------------------------------------------------------------------------


def passport(town: Town) -> Any:
    view = town.do("una", ReadEvidence(project="alpha"))
    return build(town.ws, town.who("una"), view, project="alpha", model="made", version="1")


def exported(town: Town) -> bytes:
    data: bytes = town.do("eve", ExportEvidence(project="alpha", model="made", version="1"))
    return data


def checked(town: Town, data: bytes) -> Report:
    return verify(data, now=town.clock.at, pinned=town.ws.layout.pinned)


def test_a_passport_says_who_saw_a_model_being_made_and_that_it_was_no_independent_builder(
    town: Town,
) -> None:
    made, envelope = run(town)
    town.do("eve", registration(town, made))
    page = passport(town)
    (claim,) = [claim for claim in page.proven if claim.title == "How it was made"]
    assert f"run {made}" in claim.text
    assert "not by an independent builder" in claim.text
    assert "credit:fit" in claim.text
    assert envelope in claim.source
    assert "Origin of the model" not in [claim.title for claim in page.declared]


def test_a_passport_of_a_declared_model_shows_no_run_of_the_same_bytes(town: Town) -> None:
    run(town)
    town.do("eve", registration(town))
    page = passport(town)
    assert "How it was made" not in [claim.title for claim in page.proven]
    assert "Origin of the model" in [claim.title for claim in page.declared]


def test_an_export_shows_the_run_and_who_asked_for_it_and_verifies(town: Town) -> None:
    made, _ = run(town)
    town.do("eve", registration(town, made))
    for name in ("ann", "abe"):
        town.do(name, Approve(project="alpha", model="made", version="1"))
    promote = Promote(project="alpha", model="made", version="1", stage="development")
    town.do("eve", promote)
    report = checked(town, exported(town))
    assert report.origin.startswith("observed by the runner of this workspace, not by an indep")
    assert made in report.origin
    told = {leaf.statement.header.id: leaf.statement.predicate for leaf in report.leaves}
    assert told[made]["action"] == "runPipeline"
    assert told[made]["actor"] == town.ids["ci"]


def test_an_export_of_a_declared_model_says_so(town: Town) -> None:
    town.do("eve", registration(town))
    assert checked(town, exported(town)).origin.startswith("declared: ")


@pytest.mark.parametrize("left_out", ["the runner's word", "the run's decision"])
def test_an_export_that_does_not_show_what_is_called_observed_does_not_verify(
    town: Town, left_out: str
) -> None:
    from assay import canonical

    made, envelope = run(town)
    town.do("eve", registration(town, made))
    plain = canonical.decode(exported(town), what="bundle")
    kept: list[Any] = []
    for leaf in plain["body"]["leaves"]:
        found = dsse.decode(canonical.encode(leaf["envelope"]))
        is_word = dsse.envelope_digest(found) == envelope
        is_run = found.statement().header.id == made
        is_end = found.statement().predicate.get("decision") == made
        gone = is_word if left_out == "the runner's word" else is_run or is_end
        kept += [] if gone else [leaf]
    assert len(kept) < len(plain["body"]["leaves"])
    plain["body"]["leaves"] = kept
    plain["sig"] = canonical.b64(town.workspace_key.sign(canonical.encode(plain["body"])))
    with pytest.raises(Verification) as caught:
        checked(town, canonical.encode(plain))
    assert caught.value.code == "verification.bundle.origin"


def test_a_level_that_nothing_stands_behind_does_not_verify(town: Town) -> None:
    """A workspace that calls a version verified, by hand, shows nothing for it."""
    told = town.ws.view.version("alpha", "score", "1")
    predicate = {
        "name": "made",
        "version": "1",
        "author": told.author,
        "artifact": told.artifact,
        "served": told.served,
        "details": {**told.details, "provenance": "verified"},
    }
    entitled = _Entitled(project="alpha", model="made", path="", purpose="x", told=predicate)
    town.do("eve", entitled)
    with pytest.raises(Verification) as caught:
        checked(town, exported(town))
    assert caught.value.code == "verification.bundle.origin"
    assert "verified" in caught.value.message


class _Entitled(Action, frozen=True, kw_only=True):
    """Registers whatever it is told."""

    name: ClassVar[str] = "registerModel"
    model: str
    path: str
    purpose: str
    told: dict[str, Any]

    def target(self, view: View) -> Target:
        return project_target(view, self.project, {}, f"model:{self.project}/{self.model}")

    def apply(self, doing: Doing) -> Outcome:
        subject = {"made@1": Digest(self.told["artifact"]), "served": Digest(self.told["served"])}
        return Outcome(None, [doing.attest("model-version", subject, self.told)])
