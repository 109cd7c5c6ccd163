"""The door: decide, write down, do, record; and what happens when something moves meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from workspace.town import WORKSPACE, Town, at_point, dataset, model

from assay import files
from assay.actions.datasets import ReadDataset, RegisterDataset
from assay.actions.people import DisableActor, EnrolActor, ManageRole, RevokeKey
from assay.actions.reading import ReadEvidence
from assay.actions.release import Approve, Promote, Revoke
from assay.actions.serving import Query
from assay.errors import Conflict, Corrupt, Denied, NotFound, Usage
from assay.evidence.state import State
from assay.workspace.action import Action, check_project
from assay.workspace.credentials import Authenticated, Credential, Person
from assay.workspace.denials import LIMIT
from assay.workspace.opening import open_workspace

PROMOTE = Promote(project="alpha", model="score", version="1", stage="production")
REVOKE = Revoke(project="alpha", model="score", version="1", reason="found out")


# -- the order ------------------------------------------------------------------------------------


def test_nothing_is_done_before_the_decision_is_durable_and_all_is_recorded_at_once(
    town: Town,
) -> None:
    since = town.size
    seen: dict[str, tuple[list[str], bool, bool]] = {}

    def look(point: str) -> None:
        if point.startswith("door."):
            # As another process sees it, from the disk alone.
            other = open_workspace(town.repo, clock=town.clock)
            state = other.view.follow()
            kinds = town.kinds(since)
            seen[point] = (kinds, bool(state.open), "alpha/new" in state.datasets)

    files.failpoint = look
    try:
        (town.repo / "new.csv").write_bytes((town.repo / "test.csv").read_bytes())
        town.do("sam", dataset(town.repo, "new"))
    finally:
        files.failpoint = None
    assert seen == {
        "door.decided": (["decision"], True, False),
        "door.applied": (["decision"], True, False),
        "door.recorded": (
            ["decision", "dataset", "data-profile", "datasheet", "outcome"],
            False,
            True,
        ),
    }


def test_a_decision_holds_all_that_is_needed_to_ask_it_again(town: Town) -> None:
    since = town.size
    town.promote(stage="staging")
    (decision,) = town.statements("decision", since)
    predicate = decision.predicate
    assert predicate["allowed"]
    assert predicate["actor"] == town.ids["eve"]
    assert predicate["as_of"] == since
    assert predicate["bundle"] == town.ws.view.state.bundle
    assert predicate["evidence"]
    assert predicate["request"]["proof"]["keyid"] == town.people["eve"].public.keyid
    again = town.ws.engine().decide(_request(predicate["cedar"]))
    assert again.allowed


def _request(plain: dict[str, Any]) -> Any:
    import msgspec

    from assay.policy.engine import Request

    return msgspec.convert(plain, Request)


def test_a_nested_action_carries_the_decision_of_its_parent(town: Town) -> None:
    decisions = town.statements("decision")
    by_id = {d.header.id: d.predicate for d in decisions}
    nested = [d.predicate for d in decisions if "parent" in d.predicate]
    assert {n["action"] for n in nested} == {"readData"}
    assert {by_id[n["parent"]]["action"] for n in nested} == {"registerModel", "assess"}
    assert all(by_id[n["parent"]]["actor"] == n["actor"] for n in nested)


def test_when_a_nested_action_is_denied_its_parent_fails_and_leaves_nothing(town: Town) -> None:
    since = town.size
    action = model(town.repo, "other", purpose="advertising")
    assert town.refused("eve", action) == ["data.purpose"]
    assert not town.ws.view.versions("alpha", "other")
    first, denied, outcome = town.statements(since=since)
    assert denied.predicate["parent"] == first.header.id
    assert not denied.predicate["allowed"]
    assert outcome.predicate["status"] == "failed"
    assert not town.ws.view.state.open


def test_an_action_that_fails_says_so_on_the_ledger_and_changes_nothing(town: Town) -> None:
    since = town.size
    broken = town.repo / "broken.csv"
    broken.write_text('a,b\n1,"')
    action = RegisterDataset(**_fields(dataset(town.repo, "broken")))
    with pytest.raises(Usage):
        town.do("sam", action)
    assert town.kinds(since) == ["decision", "outcome"]
    assert town.statements("outcome", since)[0].predicate["status"] == "failed"
    assert "alpha/broken" not in town.ws.view.state.datasets


def _fields(action: Action) -> dict[str, Any]:
    return {k: v for k, v in action.params().items() if k != "type"}


# -- denials --------------------------------------------------------------------------------------


def test_a_denial_is_recorded_and_lists_every_failing_gate_with_advice_and_remedy(
    town: Town,
) -> None:
    since = town.size
    fresh = {"project": "beta", "model": "secretive", "version": "1"}
    with pytest.raises(Denied) as caught:
        town.do("bea", Promote(**fresh, stage="production", region="moon"))
    reasons = caught.value.details["reasons"]
    expected = [
        "gate.region",
        "gate.rows",
        "gate.skill",
        "gate.auc",
        "gate.gap",
        "gate.privacy",
        "gate.approvals",
    ]
    assert [reason["gate"] for reason in reasons] == expected
    assert all(reason["advice"] and reason["control"] for reason in reasons)
    assert all(reason["remedy"] for reason in reasons[1:])
    assert "{" not in "".join(reason["remedy"] + reason["advice"] for reason in reasons)
    assert "assay model assess secretive@1 --data" in caught.value.remedy
    assert "moon" in caught.value.message
    (decision,) = town.statements("decision", since)
    assert decision.predicate["allowed"] is False
    assert [r["gate"] for r in decision.predicate["reasons"]] == expected
    assert town.size == since + 1


def test_repeated_denials_are_counted_and_do_not_fill_the_disk(town: Town) -> None:
    since = town.size
    for _ in range(LIMIT + 7):
        assert town.refused("una", PROMOTE)
    assert town.size == since + LIMIT
    # Others are not affected, and the count goes on the record with the next decision.
    assert town.refused("oli", PROMOTE)
    town.do("una", ReadEvidence(project="alpha"))
    told = [d.predicate.get("unrecorded_denials") for d in town.statements("decision", since)]
    assert told == [None] * (LIMIT + 1) + [7]


def test_denials_are_recorded_one_by_one_again_after_an_hour(town: Town) -> None:
    from datetime import timedelta

    for _ in range(LIMIT + 1):
        town.refused("una", PROMOTE)
    since = town.size
    town.clock.advance(timedelta(hours=1, seconds=1))
    town.refused("una", PROMOTE)
    assert town.size == since + 1
    assert town.statements("decision", since)[0].predicate["unrecorded_denials"] == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[1]",
        b'{"%s":{"since":"never","recorded":20}}',
        b'{"%s":{"since":"9999-12-31T23:59:59.000Z","recorded":20}}',
        b'{"%s":{"since":"0001-01-01T00:00:00+23:59","recorded":20}}',
    ],
)
def test_an_altered_counter_of_denials_is_begun_anew(town: Town, content: bytes) -> None:
    counter = town.root / "denials"
    counter.write_bytes(content.replace(b"%s", town.ids["una"].encode()))
    since = town.size
    assert town.refused("una", PROMOTE)
    assert town.size == since + 1


# -- what moves meanwhile -------------------------------------------------------------------------


def _other(town: Town, name: str, action: Action) -> Callable[[], Any]:
    """The same, asked by somebody in another process."""
    return lambda: open_workspace(town.repo, clock=town.clock).perform(town.who(name), action)


def _meanwhile(town: Town) -> dict[str, tuple[str, Action]]:
    eve = town.ids["eve"]
    role = ManageRole(project=WORKSPACE, actor=eve, role="alpha/ml_engineer", granted=False)
    keyid = town.people["eve"].public.keyid
    return {
        "the version is revoked": ("ann", REVOKE),
        "the role is taken away": ("ada", role),
        "the actor is disabled": ("ada", DisableActor(project=WORKSPACE, actor=eve)),
        "the key is revoked": ("ada", RevokeKey(project=WORKSPACE, keyid=keyid, reason="lost")),
    }


MEANWHILE = (
    "the version is revoked",
    "the role is taken away",
    "the actor is disabled",
    "the key is revoked",
)


@pytest.mark.parametrize("what", MEANWHILE)
@pytest.mark.parametrize("point", ["door.decided", "door.applied"])
def test_what_denies_wins_when_it_slips_in_before_the_record(
    town: Town, what: str, point: str
) -> None:
    town.approve("ann", "abe")
    since = town.size
    name, action = _meanwhile(town)[what]
    with at_point(point, _other(town, name, action)), pytest.raises(Conflict):
        town.do("eve", PROMOTE)
    state = town.ws.view.follow()
    assert "alpha/score@production" not in state.aliases
    assert not state.open
    assert state.rejected == []
    assert "alias" not in town.kinds(since)
    statuses = [o.predicate["status"] for o in town.statements("outcome", since)]
    assert statuses == ["done", "conflict"]


class Interrupted:
    """A credential that lets something happen between looking at the state and deciding."""

    def __init__(self, credential: Credential, happening: Callable[[], Any]) -> None:
        self._credential = credential
        self._happening = happening

    def authenticate(self, state: State, request: dict[str, Any]) -> Authenticated:
        proven = self._credential.authenticate(state, request)
        self._happening()
        return proven


@pytest.mark.parametrize("what", MEANWHILE)
def test_what_denies_wins_when_it_slips_in_before_the_decision_is_written(
    town: Town, what: str
) -> None:
    town.approve("ann", "abe")
    since = town.size
    name, action = _meanwhile(town)[what]
    asking = Interrupted(town.who("eve"), _other(town, name, action))
    with pytest.raises(Conflict):
        town.ws.perform(asking, PROMOTE)
    assert [d.predicate["action"] for d in town.statements("decision", since)] == [action.name]
    assert "alpha/score@production" not in town.ws.view.follow().aliases


def test_what_does_not_concern_an_action_does_not_disturb_it(town: Town) -> None:
    town.approve("ann", "abe")
    happening = _other(town, "bea", ReadEvidence(project="beta"))
    with at_point("door.applied", happening):
        town.do("eve", PROMOTE)
    assert town.ws.view.follow().aliases["alpha/score@production"] == "1"


# -- the frame ------------------------------------------------------------------------------------


@pytest.mark.parametrize("project", ["alpha", "beta", "nowhere", ""])
def test_what_concerns_the_workspace_is_not_decided_in_a_project(town: Town, project: str) -> None:
    """Recorded there, the fold would refuse it: nobody may be told that it was done."""
    since = town.size
    role = ManageRole(project=project, actor=town.ids["una"], role="alpha/approver", granted=True)
    enrol = EnrolActor(project=project, actor="new")
    for action in (role, enrol):
        with pytest.raises(Usage):
            town.do("ada", action)
    assert town.size == since


def test_an_action_whose_target_lies_in_another_project_is_refused(town: Town) -> None:
    target = PROMOTE.target(town.ws.view)
    check_project(PROMOTE, target)
    elsewhere = Promote(project="beta", model="score", version="1", stage="production")
    with pytest.raises(Usage, match="cannot be asked in project beta"):
        check_project(elsewhere, target)
    target.entities = []
    with pytest.raises(Usage):
        check_project(PROMOTE, target)


def test_what_is_decided_in_segments_is_not_performed(town: Town) -> None:
    town.deploy()
    since = town.size
    with pytest.raises(Usage):
        town.do("web", Query(project="alpha", endpoint="score", version="1"))
    assert town.size == since


def test_a_change_that_the_fold_refuses_is_never_called_done(town: Town) -> None:
    since = town.size
    with pytest.raises(Corrupt, match="changed nothing"):
        town.do("ada", EnrolActor(project=WORKSPACE, actor="not\nan id"))
    assert "not\nan id" not in town.ws.view.follow().actors
    assert not town.ws.view.state.open
    assert town.kinds(since)[0] == "decision"


def test_a_thing_that_does_not_exist_is_not_found_and_nothing_is_recorded(town: Town) -> None:
    since = town.size
    with pytest.raises(NotFound) as caught:
        town.do("ann", Approve(project="alpha", model="score", version="9"))
    assert caught.value.remedy == "versions of score: 1"
    assert town.size == since


@pytest.mark.parametrize("name", ["score", "nothing"])
@pytest.mark.parametrize("project", ["alpha", "nowhere"])
def test_who_has_no_role_in_a_project_does_not_learn_what_is_in_it(
    town: Town, project: str, name: str
) -> None:
    for who in ("bea", "bob"):
        action = Promote(project=project, model=name, version="1", stage="production")
        with pytest.raises(Denied) as caught:
            town.do(who, action)
        told = str(caught.value.as_dict())
        assert not [word for word in ("gate.", "train", "beta", "score@") if word in told]
        read = ReadDataset(project=project, dataset=name, purpose="scoring")
        with pytest.raises(Denied):
            town.do(who, read)
    role = ManageRole(project=WORKSPACE, actor="nobody", role="gamma/approver", granted=True)
    with pytest.raises(Denied) as caught:
        town.do("eve", role)
    assert "beta" not in str(caught.value.as_dict())


def test_a_preview_does_nothing_and_writes_nothing(town: Town) -> None:
    since = town.size
    decision, target = town.ws.preview(town.who("eve"), PROMOTE)
    assert [reason.gate for reason in decision.reasons] == ["gate.approvals"]
    assert target.words["version"] == "1"
    assert town.size == since


def test_a_decision_says_nothing_of_the_roles_held_in_other_projects(town: Town) -> None:
    role = ManageRole(project=WORKSPACE, actor=town.ids["eve"], role="beta/auditor", granted=True)
    town.do("ada", role)
    since = town.size
    town.promote(stage="staging")
    (decision,) = town.statements("decision", since)
    assert "beta" not in str(decision.predicate)


def test_what_a_person_signed_cannot_be_changed_by_the_workspace(town: Town) -> None:
    """The request's own signature is in the decision, and holds over exactly what was asked."""
    from assay import canonical
    from assay.errors import Verification
    from assay.evidence.records import REQUEST_FORMAT

    since = town.size
    town.promote(stage="staging")
    (decision,) = town.statements("decision", since)
    request = dict(decision.predicate["request"])
    proof = request.pop("proof")
    signature = canonical.unb64(proof["sig"], what="signature")
    public = town.people["eve"].public
    public.verify(signature, canonical.encode({"format": REQUEST_FORMAT, **request}))
    for field in request:
        changed = {"format": REQUEST_FORMAT, **request, field: "changed"}
        with pytest.raises(Verification):
            public.verify(signature, canonical.encode(changed))
    assert isinstance(town.who("eve"), Person)
