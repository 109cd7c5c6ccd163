"""``assay change`` and ``assay retrain``: what may change by itself, and changing it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli.groups import Group
from assay.cli.output import counted, emit, escape, note, progress, say, table
from assay.cli.session import As, AsJson, InProject, Session, short

if TYPE_CHECKING:
    from assay.actions.changes import Proposed
    from assay.actions.retraining import Carried
    from assay.evidence.plans import Plan as PlanOfChanges

change = typer.Typer(
    cls=Group,
    help="Plans of changes: what may be retrained and promoted by itself, approved beforehand.",
)

PlanId = Annotated[
    str, typer.Argument(metavar="PLAN", help="Its digest, or how that begins: assay change list.")
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The endpoint: a model's name.")]
_COLOURS = {"promoted": "green", "waits for people": "yellow", "kept": "yellow"}


def add_to(app: typer.Typer) -> None:
    app.add_typer(change, name="change", no_args_is_help=True)
    app.command("retrain")(retrain)


# -- plans ----------------------------------------------------------------------------------------


@change.command("propose")
def propose(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The plan: a TOML file.")],
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Put a plan of changes before those who approve it.

    The digests of the pipeline's code and libraries, and what the version in production is
    registered with, are filled in: whoever approves the plan approves these.

    Example: assay change propose change-plan.toml
    """
    from assay.actions import proposing
    from assay.cli.session import given_path

    session = Session(actor, project, as_json)
    _ = session.person
    given_path(file)
    with progress(as_json) as tell:
        action = proposing.from_file(
            session.workspace, session.project, file, folder=Path.cwd(), tell=tell
        )
    done = session.perform(action)
    value = {**done, "document": action.plan}

    def human() -> None:
        say(f"proposed the plan [bold]{escape(short(done['plan']))}[/] for {escape(done['model'])}")
        note(f"others approve it: assay change approve {done['plan'][:19]} --as NAME")

    emit(as_json, value, human)


@change.command("approve")
def approve(
    plan: PlanId,
    comment: Annotated[str, typer.Option(help="What you looked at.")] = "",
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Take your approval back: it no longer counts.")
    ] = False,
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Sign your own yes to a plan, with your own key.  Nobody approves a plan of their own.

    Until the plan has run out, versions within its bounds are promoted without asking you again.

    Example: assay change approve sha256:5f3c2a9e --comment "read it" --as carol
    """
    from assay.actions.changes import ApproveChange

    session = Session(actor, project, as_json)
    done = session.perform(
        ApproveChange(project=session.project, plan=plan, approved=not withdraw, comment=comment)
    )
    words = "took your approval back from" if withdraw else "approved"
    shown = f"{words} the plan [bold]{escape(short(done['plan']))}[/] for {escape(done['model'])}"
    emit(as_json, done, lambda: say(f"{shown}, signed by your key"))


@change.command("list")
def list_(
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="One model; else every one of the project.")
    ] = "",
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """The plans of changes of the project, newest first.

    Example: assay change list
    """
    from assay.actions.changes import proposed

    session = Session(actor, project, as_json)
    view = session.view("plans of changes")
    found = list(reversed(proposed(view, session.project, name)))
    documents = [_document(session, p, view.now()) for p in found]
    rows = [
        [
            short(d["digest"]),
            d["plan"]["model"],
            d["state"],
            d["plan"]["valid_until"][:10],
            f"{len(d['retrainings'])} of {d['plan']['most']}",
            ", ".join(d["approved_by"]) or "nobody",
        ]
        for d in documents
    ]
    emit(
        as_json,
        documents,
        lambda: table(
            ["plan", "model", "state", "valid until", "used", "approved by"],
            rows,
            empty="no plan of changes: assay change propose FILE",
        ),
    )


@change.command("show")
def show(plan: PlanId, actor: As = "", project: InProject = "", as_json: AsJson = False) -> None:
    """What a plan lets happen by itself, in words: read it before you approve it.

    Example: assay change show sha256:5f3c2a9e
    """
    from assay.actions.changes import plan_called

    session = Session(actor, project, as_json)
    view = session.view("a plan of changes")
    found = plan_called(view, session.project, plan)
    document = _document(session, found, view.now())
    emit(as_json, document, lambda: _show(found.plan, document))


def _document(session: Session, found: Proposed, now: str) -> dict[str, Any]:
    import msgspec

    from assay.clock import parse_timestamp

    least = int(session.workspace.view.settings(session.project)["min_approvers"])
    over = parse_timestamp(now) > parse_timestamp(found.plan.valid_until)
    used = len(found.begun) >= found.plan.most
    waits = f"waits for {counted(least - len(found.approvals), 'approval')}"
    return {
        "digest": found.digest,
        "state": "over"
        if over
        else "used up"
        if used
        else "valid"
        if len(found.approvals) >= least
        else waits,
        "proposed": found.issued,
        "proposed_by": session.name(found.proposer),
        "approved_by": [session.name(a["actor"]) for a in found.approvals],
        "retrainings": found.begun,
        "plan": msgspec.to_builtins(found.plan),
    }


def _show(plan: PlanOfChanges, document: dict[str, Any]) -> None:
    from assay.evidence.plans import in_words

    rules = plan.challenge
    say(f"plan [bold]{escape(document['digest'])}[/]: {escape(document['state'])}")
    say(f"{escape(plan.why)}")
    rows = [
        ("model", plan.model),
        ("proposed by", f"{document['proposed_by']}, {document['proposed']}"),
        ("approved by", ", ".join(document["approved_by"]) or "nobody yet"),
        ("valid until", plan.valid_until),
        ("how often", f"at most {plan.most} times, {plan.every} apart"),
        ("begun by", ", ".join(plan.triggers)),
        ("runs", f"{plan.pipeline.source} ({plan.pipeline.function}), seed {plan.pipeline.seed}"),
        ("of code", plan.pipeline.code),
        ("with libraries", plan.pipeline.environment),
        (
            "on",
            f"{plan.data.least} to {plan.data.most} of the log, at least "
            f"{counted(plan.data.least_rows, 'labelled row')}",
        ),
        *(("and on", f"{name} as it is now ({d})") for name, d in plan.data.others.items()),
        *((f"parameter {n}", in_words(b)) for n, b in plan.parameters.items()),
        *((f"registered {n}", in_words(b)) for n, b in plan.registered.items()),
        *((f"must hold: {n}", in_words(b)) for n, b in plan.holds.items()),
        (
            "must beat",
            f"the version in production, by more than {rules.improvement:g} of {rules.loss}, "
            f"wrongly in at most {100 * rules.alpha:g} % of challenges, on at least "
            f"{counted(rules.least_rows, 'labelled request')} whose labels had {rules.horizon}",
        ),
        *(
            (
                f"without harm by {column}",
                f"in no value a loss that may be higher by more than {rules.most_harm:g}",
            )
            for column in rules.slices
        ),
    ]
    table(["", ""], rows, empty="")


# -- retraining -----------------------------------------------------------------------------------


def retrain(
    name: Name,
    pipeline: Annotated[
        str,
        typer.Option(
            help="What to run, FILE[:PIPELINE], where no plan says it.", metavar="FILE[:PIPELINE]"
        ),
    ] = "",
    data: Annotated[
        str,
        typer.Option(help="The parameter that is given the collected rows.", metavar="PARAMETER"),
    ] = "dataset",
    plan: Annotated[
        str,
        typer.Option(
            help="A plan of changes; else the newest that is approved and valid.", metavar="PLAN"
        ),
    ] = "",
    alert: Annotated[
        str, typer.Option(help="The alert because of which it is done.", metavar="ID")
    ] = "",
    parameters: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A parameter; may be repeated."),
    ] = None,
    window: Annotated[
        str, typer.Option(help="How much of the log to learn from, for example 30d.")
    ] = "",
    by_itself: Annotated[
        bool,
        typer.Option(
            "--by-itself", help="Ask as the loop does: only within an approved plan of changes."
        ),
    ] = False,
    give_up: Annotated[
        str, typer.Option("--give-up", help="End the one that is going on.", metavar="WHY")
    ] = "",
    ticket: Annotated[
        str, typer.Option(help="For special categories of personal data.", metavar="ID")
    ] = "",
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Train a model again on the requests whose labels came, and promote it if every gate is open.

    Goes on with what was begun before: stop it whenever you like.  It collects the rows, runs the
    pipeline, assesses what that registers, and compares it with the version in production on
    requests that neither has seen.  Exit status 0 also where it waits for labels or for people.

    \b
    Example: assay retrain credit --pipeline pipelines/retrain.py:train
    """
    from assay.actions import retraining
    from assay.cli.run import assigned

    session = Session(actor, project, as_json)
    person = session.person
    if give_up:
        ended = retraining.give_up(
            session.workspace, person, session.project, name, give_up, by_itself=by_itself
        )
        value = {"id": ended, "state": "given-up"}
        emit(as_json, value, lambda: say(f"retraining {escape(ended)} is given up"))
        return
    wanted = retraining.Wanted(
        source=pipeline,
        data=data,
        plan=plan,
        alert=alert,
        parameters=dict(assigned(parameters or ())),
        window=window,
        by_itself=by_itself,
        ticket=ticket,
    )
    with progress(as_json) as tell:
        carried = retraining.carry_out(
            session.workspace,
            person,
            session.project,
            name,
            wanted,
            folder=Path.cwd(),
            tell=tell,
        )
    emit(as_json, retraining.as_dict(carried), lambda: _carried(name, carried))


def _carried(name: str, carried: Carried) -> None:
    for line in carried.done:
        say(f"  {escape(line)}")
    colour = _COLOURS.get(carried.state, "bold")
    shown = f"{name}@{carried.version}" if carried.version else name
    say(f"[bold]{escape(shown)}[/]: [{colour}]{escape(carried.state)}[/]")
    verdict = carried.challenge
    if verdict is not None and not verdict["rows"]:
        say(
            f"  no labelled request can be compared yet: one counts {escape(verdict['horizon'])} "
            f"after its answer, if it was asked after {escape(verdict['from'][:16])}Z"
        )
    elif verdict is not None:
        mean = verdict["mean"]
        say(
            f"  its mean {escape(verdict['loss'])} loss is lower than that of version "
            f"{escape(carried.champion)} by {mean['value']:.4f} (between {mean['lower']:.4f} and "
            f"{mean['upper']:.4f}), on {counted(verdict['rows'], 'labelled request')}"
        )
    if carried.outside:
        say("  it is not shown to be within its plan of changes:")
        for line in carried.outside:
            say(f"  [dim]│ {escape(line)}[/]")
    for gate in carried.waits:
        say(f"  [yellow]{escape(gate['gate'])}[/]: {escape(gate['advice'])}")
        if gate.get("remedy"):
            note(f"  → {escape(gate['remedy'])}")
