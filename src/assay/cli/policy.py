"""``assay policy``: check, test, apply and show the policy bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli.groups import Group
from assay.cli.output import counted, emit, escape, say, table
from assay.cli.session import As, AsJson, Session
from assay.errors import Usage

if TYPE_CHECKING:
    from assay.policy.bundle import Bundle

policy = typer.Typer(cls=Group, help="Policy: the Cedar rules and limits that decide.")


def add_to(app: typer.Typer) -> None:
    app.add_typer(policy, name="policy", no_args_is_help=True)


def _here() -> Bundle:
    """The bundle of the workspace's policy folder, with what is installed now."""
    from assay.policy.bundle import build
    from assay.workspace import layout
    from assay.workspace.opening import declared_facts

    return build(layout.find().policy, declared_facts())


@policy.command("check")
def check(as_json: AsJson = False) -> None:
    """Read the policy folder and say all that is wrong with it.  Exit status 2 when anything is.

    Example: assay policy check
    """
    from assay.policy.bundle import check as problems_of

    bundle = _here()
    problems = problems_of(bundle)

    def human() -> None:
        for problem in problems:
            say(f"[red]✗[/] {escape(problem)}")
        if problems:
            say(counted(len(problems), "problem"))
            return
        say("[green]✓[/] the policy can be applied: assay policy test, then assay policy apply")
        say(f"  as the bundle {bundle.digest}")

    emit(as_json, {"bundle": bundle.digest, "problems": problems}, human)
    if problems:
        raise typer.Exit(2)


@policy.command("test")
def run_tests(as_json: AsJson = False) -> None:
    """Ask the policy its own table of requests (tests.toml).  Exit status 2 when one fails.

    Example: assay policy test
    """
    from assay.policy.testing import run

    results = run(_here())
    rows = [
        {"name": r.name, "action": r.action, "passed": r.passed, "explanation": r.explanation}
        for r in results
    ]
    failed = [row for row in rows if not row["passed"]]

    def human() -> None:
        for row in failed:
            say(f"[red]✗[/] {escape(row['explanation'])}")
        say(f"{len(rows) - len(failed)} of {len(rows)} tests pass")

    emit(as_json, rows, human)
    if failed:
        raise typer.Exit(2)


@policy.command("apply")
def apply(
    summary: Annotated[str, typer.Option(help="What changes, in one line.")] = "",
    actor: As = "",
    as_json: AsJson = False,
) -> None:
    """Make the policy folder the active bundle, once it passes check and test.

    Example: assay policy apply --summary "fraud asks for an AUC of 0.75"
    """
    from assay.actions.administration import ApplyPolicy
    from assay.evidence.state import WORKSPACE
    from assay.policy.bundle import check as problems_of
    from assay.workspace.opening import POLICY_RING

    session = Session(actor, "", as_json)
    bundle = _here()
    problems = problems_of(bundle)
    if problems:
        raise Usage(
            f"the policy has {counted(len(problems), 'problem')}, the first: {problems[0]}",
            remedy="assay policy check lists them; mend them, then apply it",
            code="policy.check",
            details={"problems": problems},
        )
    action = ApplyPolicy(project=WORKSPACE, bundle=bundle.digest, summary=summary)
    decision, _ = session.workspace.preview(session.person, action)
    if decision.allowed:
        # The door finds the bundle in the store; whoever may not apply one does not fill it.
        session.workspace.store.put(POLICY_RING, bundle.encode())
    done: dict[str, Any] = session.perform(action)

    def human() -> None:
        if done["before"] == done["bundle"]:
            say(f"nothing to apply: {done['bundle']} is active already")
        else:
            say(f"active now: [bold]{done['bundle']}[/]")
            say(f"before:     {done['before']}")

    emit(as_json, done, human)


@policy.command("show")
def show(
    action: Annotated[str, typer.Option(help="Only the gates of this action.")] = "",
    as_json: AsJson = False,
) -> None:
    """The active bundle: its limits, and its gates.

    Example: assay policy show --action promote
    """
    from assay.policy.schema import ACTIONS

    workspace = Session().workspace
    workspace.view.follow()
    engine = workspace.engine()
    if action and action not in ACTIONS:
        raise Usage(f"{action[:40]!r} is no action", remedy=f"one of {', '.join(ACTIONS)}")
    rules = [
        rule
        for rule in engine.rules
        if rule.effect == "forbid" and (not action or rule.applies(action, ACTIONS[action]))
    ]
    value = {
        "bundle": engine.digest,
        "settings": engine.bundle.settings,
        "gates": [
            {
                "gate": rule.id,
                "actions": sorted(rule.actions) if rule.actions is not None else [],
                "facts": rule.facts,
                "advice": rule.advice,
                "control": rule.control,
                "remedy": rule.remedy,
                "file": rule.file,
            }
            for rule in rules
        ],
    }

    def human() -> None:
        say(f"active: [bold]{engine.digest}[/]")
        limits = engine.bundle.settings
        rows = [["every project", k, _text(v)] for k, v in sorted(limits["default"].items())]
        for project, table_of in sorted(limits.get("projects", {}).items()):
            rows += [[project, k, _text(v)] for k, v in sorted(table_of.items())]
        table(["project", "limit", "value"], rows, empty="")
        say("")
        table(
            ["gate", "actions", "what it says when closed"],
            [[r.id, ", ".join(sorted(r.actions or {"all"})), r.advice] for r in rules],
            empty="no gates",
        )

    emit(as_json, value, human)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(value) if isinstance(value, list) else str(value)
