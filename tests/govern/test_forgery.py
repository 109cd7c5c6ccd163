"""What who holds the workspace key can write on the ledger, and a verifier does not believe."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from workspace.town import Town, dataset, numbers, write_table

from assay import canonical, ids
from assay.actions.assessment import AssessModel
from assay.actions.reading import ExportEvidence
from assay.actions.release import Promote
from assay.errors import Corrupt, Verification
from assay.evidence.records import REQUEST_FORMAT
from assay.govern import bundle
from assay.govern.verify import verify

EXPORT = ExportEvidence(project="alpha", model="score", version="1")


class Forger:
    """Rewrites one decision and puts it on the ledger, with all the workspace's own keys."""

    def __init__(self, town: Town) -> None:
        self.town = town
        town.approve("ann", "abe")
        town.promote()
        self.genuine = self._last_decision()

    def _last_decision(self) -> dict[str, Any]:
        return copy.deepcopy(self.town.statements("decision")[-1].predicate)

    def forge(
        self, predicate: dict[str, Any], *, honest_id: bool = False, as_of: int = -1
    ) -> bytes:
        """The bundle after a forged promotion."""
        town = self.town
        version = town.ws.view.version("alpha", "score", "1")
        assert version.served
        predicate = {**predicate, "as_of": town.size if as_of < 0 else as_of}
        made = town.statement("decision", predicate, "alpha", about=version.served)
        if not honest_id:
            made = msgspec.structs.replace(
                made, header=msgspec.structs.replace(made.header, id=predicate["request"]["id"])
            )
        town.slip_in(made, town.workspace_key)
        # Who holds the keys runs whatever they like: this one exports also what the fold refused.
        town.ws.view.follow().rejected.clear()
        return town.do("eve", EXPORT)

    def rejected(self, data: bytes) -> str:
        with pytest.raises((Verification, Corrupt)) as caught:
            verify(data, now=self.town.clock.at, pinned=self.town.ws.layout.pinned)
        return caught.value.message

    def resigned(self, predicate: dict[str, Any], signer: Any, **changed: Any) -> dict[str, Any]:
        """The same with a request altered and signed by `signer`."""
        request = {k: v for k, v in predicate["request"].items() if k != "proof"}
        request.update({"id": ids.new_id(), **changed})
        body = canonical.encode({"format": REQUEST_FORMAT, **request})
        proof = {**predicate["request"]["proof"], "sig": canonical.b64(signer.sign(body))}
        return {**predicate, "request": {**request, "proof": proof}}


@pytest.fixture
def forger(town: Town) -> Forger:
    return Forger(town)


def test_a_decision_whose_request_the_person_did_not_sign_is_refused(forger: Forger) -> None:
    forged = forger.resigned(forger.genuine, forger.town.workspace_key)
    assert "did not sign" in forger.rejected(forger.forge(forged))


def test_a_denial_made_up_in_a_persons_name_is_refused(forger: Forger) -> None:
    """The fold lets it stand, as it opens nothing; a verifier says that they did not ask."""
    forged = forger.resigned(forger.genuine, forger.town.workspace_key)
    assert "did not sign" in forger.rejected(forger.forge({**forged, "allowed": False}))
    assert not forger.town.ws.view.follow().rejected


def test_a_request_signed_for_one_thing_is_no_proof_for_another(forger: Forger) -> None:
    """Eve did sign a request to assess; whoever holds the workspace key calls it a promotion."""
    town = forger.town
    assess = [
        d.predicate
        for d in town.statements("decision")
        if d.predicate["action"] == "assess" and d.predicate["actor"] == town.ids["eve"]
    ][-1]
    request = {**assess["request"]}
    forged = {**forger.genuine, "request": request}
    assert "something else" in forger.rejected(forger.forge(forged, honest_id=True))


def test_a_genuine_request_under_another_decision_is_no_proof(forger: Forger) -> None:
    forged = forger.forge(forger.genuine, honest_id=True)
    assert "something else" in forger.rejected(forged)


def _approvals_miscounted(cedar: dict[str, Any]) -> None:
    cedar["context"]["approvals"]["by_others"] = 7


def _facts_bettered(cedar: dict[str, Any]) -> None:
    cedar["context"]["facts"]["quality"]["rows"] += 1_000


def _facts_invented(cedar: dict[str, Any]) -> None:
    cedar["context"]["facts"]["provenance"] = {"level": "verified"}


def _entity(cedar: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(e for e in cedar["entities"] if e["uid"]["type"] == f"Assay::{kind}")


def _another_author(cedar: dict[str, Any]) -> None:
    _entity(cedar, "ModelVersion")["attrs"]["author"]["__entity"]["id"] = "somebody"


def _fewer_approvers_wanted(cedar: dict[str, Any]) -> None:
    _entity(cedar, "Project")["attrs"]["min_approvers"] = 0


def _another_role(cedar: dict[str, Any]) -> None:
    role = {"type": "Assay::Role", "id": "alpha/operator"}
    _entity(cedar, "Actor")["parents"].append(role)


def _another_level(cedar: dict[str, Any]) -> None:
    _entity(cedar, "Actor")["attrs"]["identity_level"] = "oidc"


def _another_stage(cedar: dict[str, Any]) -> None:
    cedar["context"]["stage"]["__entity"]["id"] = "development"


def _another_time(cedar: dict[str, Any]) -> None:
    cedar["context"]["now"]["__extn"]["arg"] = "2026-01-01T00:00:30.000Z"


ALTERED: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "approvals counted wrong": (_approvals_miscounted, "approvals that are not there"),
    "a fact made better": (_facts_bettered, "do not follow from the statements"),
    "a fact invented": (_facts_invented, "do not follow from the statements"),
    "another author": (_another_author, "another version or project"),
    "fewer approvers wanted": (_fewer_approvers_wanted, "another version or project"),
    "another role": (_another_role, "other roles"),
    "another identity level": (_another_level, "another person"),
    "another stage": (_another_stage, "something else"),
    "another time": (_another_time, "something else"),
}


@pytest.mark.parametrize("what", ALTERED)
def test_a_decision_over_other_facts_or_entities_than_the_ledger_has_is_refused(
    forger: Forger, what: str
) -> None:
    """Even one whose request the person did sign: the answer must follow from the ledger."""
    town = forger.town
    change, named = ALTERED[what]
    forged = forger.resigned(forger.genuine, town.people["eve"])
    change(forged["cedar"])
    assert named in forger.rejected(forger.forge(forged))


def test_an_unaltered_decision_signed_by_the_person_passes_the_forgers_own_path(
    forger: Forger,
) -> None:
    """The control of the tests above: only what they alter makes them fail."""
    honest = forger.resigned(forger.genuine, forger.town.people["eve"])
    data = forger.forge(honest)
    verify(data, now=forger.town.clock.at, pinned=forger.town.ws.layout.pinned)


def test_a_release_that_did_something_else_than_was_decided_is_refused(forger: Forger) -> None:
    town = forger.town
    honest = forger.resigned(forger.genuine, town.people["eve"])
    forger.forge(honest)
    version = town.ws.view.version("alpha", "score", "1")
    assert version.served
    deed = {
        "decision": honest["request"]["id"],
        "name": "score",
        "version": "1",
        "alias": "staging",
        "region": "local",
        "before": "",
    }
    town.slip_in(town.statement("alias", deed, "alpha", about=version.served), town.workspace_key)
    assert "not what the decision" in forger.rejected(town.do("eve", EXPORT))


def test_what_a_person_did_ask_but_policy_denied_is_no_release_in_an_export(town: Town) -> None:
    """The fold does not ask policy: it takes the workspace's word that this was allowed."""
    asked = Promote(project="alpha", model="score", version="1", stage="production")
    assert town.refused("eve", asked) == ["gate.approvals"]
    denied = town.statements("decision")[-1]
    turned = msgspec.structs.replace(denied, predicate={**denied.predicate, "allowed": True})
    town.slip_in(turned, town.workspace_key)
    assert denied.header.id in town.ws.view.follow().open
    data = town.do("eve", EXPORT)
    with pytest.raises(Verification, match="decides otherwise"):
        verify(data, now=town.clock.at, pinned=town.ws.layout.pinned)


def test_a_forged_answer_of_the_policy_is_refused(forger: Forger) -> None:
    town = forger.town
    forged = forger.resigned(forger.genuine, town.people["eve"])
    forged["allowed"] = False
    assert "decides otherwise" in forger.rejected(forger.forge(forged))


def test_a_decision_dated_back_to_before_a_bad_figure_is_refused(forger: Forger) -> None:
    """Eve, who holds a person's key, together with the workspace key, after a bad assessment."""
    town = forger.town
    before = town.size
    noise = [[c, a, b, int(b > 0.5)] for a, b, c, _ in numbers(500, 6)]
    write_table(town.repo / "bad.csv", noise)
    town.do("sam", dataset(town.repo, "bad"))
    town.do("eve", AssessModel(project="alpha", model="score", version="1", data="bad"))
    again = Promote(project="alpha", model="score", version="1", stage="production")
    assert "gate.auc" in town.refused("eve", again)
    forged = forger.resigned(forger.genuine, town.people["eve"])
    assert "leaves out leaf" in forger.rejected(forger.forge(forged, as_of=before))


def test_a_decision_as_of_a_later_leaf_is_refused(forger: Forger) -> None:
    forged = forger.resigned(forger.genuine, forger.town.people["eve"])
    later = forger.town.size + 100
    assert "not there" in forger.rejected(forger.forge(forged, as_of=later))


def test_a_file_larger_than_any_bundle_is_not_looked_into(town: Town) -> None:
    data = b"{" + b" " * bundle.LIMIT
    with pytest.raises(Corrupt, match="larger"):
        verify(data, now=town.clock.at)
