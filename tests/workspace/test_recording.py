"""Evidence that an action records while it still runs: it stays, and it changes nothing."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from workspace.town import Killed, Town

from assay import canonical, files
from assay.actions.people import project_target
from assay.evidence.changes import CHANGES
from assay.types import Digest
from assay.workspace.action import Action, Doing, Outcome, Target
from assay.workspace.view import View

KINDS = ("noted-one", "noted-two", "noted-three")
_passed: list[list[str]] = []


def about(kind: str) -> Digest:
    return canonical.digest(kind.encode())


class NoteDown(Action, frozen=True, kw_only=True):
    """Records one statement after the other, or all at once, and then fails if it is told to."""

    name: ClassVar[str] = "readEvidence"
    kinds: tuple[str, ...] = KINDS
    together: bool = False
    fails: bool = False

    def target(self, view: View) -> Target:
        return project_target(view, self.project, {})

    def apply(self, doing: Doing) -> Outcome:
        made = [doing.attest(kind, {kind: about(kind)}, {"seen": kind}) for kind in self.kinds]
        given = [made] if self.together else [[statement] for statement in made]
        digests: list[str] = []
        for statements in given:
            digests += doing.record(statements)
            _passed.append(list(digests))
        if self.fails:
            raise ZeroDivisionError
        return Outcome(digests, [doing.attest("noted-last", {"last": about("last")}, {})])


@pytest.fixture(autouse=True)
def _nothing_passed() -> None:
    _passed.clear()


def found(town: Town, kind: str) -> Any:
    """The one statement about what `kind` was noted of, as evidence that counts."""
    (item,) = town.ws.view.evidence("alpha", about(kind))
    return item


def test_what_is_recorded_early_is_there_at_once_and_its_envelopes_are_named(town: Town) -> None:
    since = town.size
    digests = town.do("una", NoteDown(project="alpha"))
    town.ws.view.follow()
    assert digests == [found(town, kind).envelope_digest for kind in KINDS]
    assert town.kinds(since) == ["decision", *KINDS, "noted-last", "outcome"]
    assert _passed == [digests[:1], digests[:2], digests]
    decision, *noted, _, outcome = town.statements(since=since)
    assert {s.predicate["decision"] for s in noted} == {decision.header.id}
    # The outcome names what it records itself; the rest was on the ledger before.
    assert len(outcome.predicate["statements"]) == 1


def test_several_statements_recorded_early_go_on_the_ledger_in_one_append(town: Town) -> None:
    appended: list[int] = []
    before = town.ws.ledger.append

    def count(entries: Any, **more: Any) -> Any:
        appended.append(len(entries))
        return before(entries, **more)

    town.ws.ledger.append = count
    town.do("una", NoteDown(project="alpha", together=True))
    assert appended == [1, 3, 2]


def test_what_was_recorded_early_stays_when_the_action_fails(town: Town) -> None:
    since = town.size
    with pytest.raises(ZeroDivisionError):
        town.do("una", NoteDown(project="alpha", fails=True))
    assert town.kinds(since) == ["decision", *KINDS, "outcome"]
    assert town.statements("outcome", since)[0].predicate["status"] == "failed"
    assert not town.ws.view.follow().open
    for kind in KINDS:
        assert found(town, kind).keyids == [town.workspace_key.public.keyid]


def test_what_changes_state_is_not_recorded_early(town: Town) -> None:
    """Not even beside evidence, of which then nothing is recorded either."""
    before = town.ws.view.follow().revisions.copy()
    for kind in [*CHANGES, "genesis"]:
        since = town.size
        action = NoteDown(project="alpha", kinds=("noted-one", kind), together=True)
        with pytest.raises(ValueError, match=f"^{kind}: return it as an outcome"):
            town.do("una", action)
        assert town.kinds(since) == ["decision", "outcome"]
    assert town.ws.view.follow().revisions == before


def test_nothing_to_record_is_no_append(town: Town) -> None:
    since = town.size
    assert town.do("una", NoteDown(project="alpha", kinds=(), together=True)) == []
    assert town.kinds(since) == ["decision", "noted-last", "outcome"]


@pytest.mark.parametrize(("point", "kept"), [("ledger.staged", 1), ("ledger.committed", 2)])
def test_a_kill_between_two_records_leaves_the_first_and_the_decision_is_abandoned(
    town: Town, point: str, kept: int
) -> None:
    since = town.size
    seen = 0

    def stop(passed: str) -> None:
        nonlocal seen
        seen += passed == point
        if seen == 3:  # The decision's own append, and two records.
            raise Killed(passed)

    files.failpoint = stop
    try:
        with pytest.raises(Killed):
            town.do("una", NoteDown(project="alpha"))
    finally:
        files.failpoint = None
    told = town.reopen().recover()
    assert any(line.startswith("abandoned readEvidence") for line in told)
    state = town.ws.view.follow()
    assert not state.open
    assert state.rejected == []
    assert town.kinds(since) == ["decision", *KINDS[:kept], "outcome"]
    assert town.statements("outcome", since)[0].predicate["status"] == "abandoned"
    for kind in KINDS[:kept]:
        assert found(town, kind).keyids == [town.workspace_key.public.keyid]
    for kind in KINDS[kept:]:
        assert town.ws.view.evidence("alpha", about(kind)) == []
    assert town.ws.recover() == []
    town.check()
