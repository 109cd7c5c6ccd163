"""Every gate of an action, open or closed, and the commands that would open the closed ones."""

from __future__ import annotations

import msgspec

from assay.policy.engine import Decision
from assay.policy.rules import ERROR, ROLE
from assay.workspace.action import Action, Target
from assay.workspace.credentials import Credential
from assay.workspace.door import Workspace, explain


class GateState(msgspec.Struct, frozen=True):
    """One gate, with its texts filled in."""

    gate: str
    passed: bool
    advice: str
    control: str
    remedy: str
    seconds: int
    measured: dict[str, str]
    """What a closed gate looked at: see `assay.policy.engine.Reason`."""


class Step(msgspec.Struct, frozen=True):
    """A command to run, about how long it takes, and the gates it is to open."""

    command: str
    seconds: int
    gates: list[str]


class Checklist(msgspec.Struct, frozen=True):
    """What stands between an action and its permission."""

    allowed: bool
    """Whether whoever asks could do it now."""
    open: bool
    """Whether every gate is open, whoever asks."""
    role: str
    """Why this person may not do it even so; empty when they may."""
    gates: list[GateState]
    steps: list[Step]
    """In the order in which to take them, each command once."""


def checklist(workspace: Workspace, credential: Credential, action: Action) -> Checklist:
    """Ask policy about `action` without doing it.

    The caller must have been allowed to see the answer: perform `ReadEvidence` before.
    """
    decision, target = workspace.preview(credential, action)
    gates = _gates(workspace, action, decision, target)
    closed = [gate for gate in gates if not gate.passed]
    role = next((r.advice for r in decision.reasons if r.gate == ROLE), "")
    return Checklist(decision.allowed, not closed, role, gates, steps(closed))


def _gates(
    workspace: Workspace, action: Action, decision: Decision, target: Target
) -> list[GateState]:
    failed = {reason.gate: reason for reason in decision.reasons if reason.gate != ROLE}
    known = workspace.engine().gates(action.name)
    names = {reason.gate for reason in known}
    # What policy names and the action's gates do not, such as an error of the engine, comes first.
    others = [reason for gate, reason in failed.items() if gate not in names]
    found: list[GateState] = []
    for gate in [*others, *known]:
        reason = failed.get(gate.gate, gate)
        told = explain(reason, target.words)
        # After an error nothing can be said of the other gates: they do not pass.
        passed = reason.gate not in failed and ERROR not in failed
        found.append(
            GateState(
                gate=reason.gate,
                passed=passed,
                advice=told["advice"],
                control=reason.control,
                remedy=told["remedy"],
                seconds=reason.seconds,
                measured=reason.measured,
            )
        )
    return found


def steps(closed: list[GateState]) -> list[Step]:
    """The remedies of closed gates, each command once, in the gates' order."""
    by_command: dict[str, Step] = {}
    for gate in closed:
        if not gate.remedy:
            continue
        held = by_command.get(gate.remedy)
        by_command[gate.remedy] = Step(
            gate.remedy,
            max(gate.seconds, held.seconds if held else 0),
            [*(held.gates if held else []), gate.gate],
        )
    return list(by_command.values())
