"""``assay approve|promote|hold|unhold|revoke|supersede``: decide about a model version."""

from __future__ import annotations

from typing import Annotated

import typer

from assay.cli.output import emit, escape, say
from assay.cli.session import As, AsJson, InProject, Ref, Session

Reason = Annotated[str, typer.Option(help="Why; it goes on the record.")]


def add_to(app: typer.Typer) -> None:
    app.command("approve")(approve)
    app.command("promote")(promote)
    app.command("hold")(hold)
    app.command("unhold")(unhold)
    app.command("revoke")(revoke)
    app.command("supersede")(supersede)


def approve(
    ref: Ref,
    stage: Annotated[str, typer.Option("--for", help="Stage.", metavar="STAGE")] = "production",
    comment: Annotated[str, typer.Option(help="What you looked at.")] = "",
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Sign your own yes to a version, with your own key.  Authors cannot approve their work.

    Example: assay approve credit@3 --comment "read its passport" --as carol
    """
    from assay.actions.release import Approve
    from assay.types import parse_model_ref

    name, version = parse_model_ref(ref)
    session = Session(actor, project, as_json)
    done = session.perform(
        Approve(project=session.project, model=name, version=version, stage=stage, comment=comment)
    )
    emit(
        as_json,
        done,
        lambda: say(
            f"approved [bold]{escape(done['model'])}@{escape(done['version'])}[/] for "
            f"{escape(stage)}, signed by your key"
        ),
    )


def promote(
    ref: Ref,
    to: Annotated[str, typer.Option("--to", help="Stage.", metavar="STAGE")],
    region: Annotated[str, typer.Option(help="Where it will run.")] = "local",
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Point a stage's alias at a version.  A denial lists every gate that is closed.

    Example: assay promote credit@3 --to production
    """
    from assay.actions.release import Promote
    from assay.types import parse_model_ref

    name, version = parse_model_ref(ref)
    session = Session(actor, project, as_json)
    done = session.perform(
        Promote(project=session.project, model=name, version=version, stage=to, region=region)
    )
    same = done["before"] == done["version"]
    before = f" (before: {done['before']})" if done["before"] and not same else ""
    emit(
        as_json,
        done,
        lambda: say(
            f"{escape(done['model'])}@{escape(to)} is {'still' if same else 'now'} [bold]version "
            f"{escape(done['version'])}[/]{escape(before)}"
        ),
    )


def hold(
    ref: Ref, reason: Reason, actor: As = "", project: InProject = "", as_json: AsJson = False
) -> None:
    """Stop a version from being promoted, deployed or queried until the hold is lifted.

    Example: assay hold credit@3 --reason "drift under investigation"
    """
    _hold(Session(actor, project, as_json), ref, reason, held=True)


def unhold(
    ref: Ref, reason: Reason, actor: As = "", project: InProject = "", as_json: AsJson = False
) -> None:
    """Lift the hold of a version.

    Example: assay unhold credit@3 --reason "the drift was a broken sensor"
    """
    _hold(Session(actor, project, as_json), ref, reason, held=False)


def _hold(session: Session, ref: str, reason: str, *, held: bool) -> None:
    from assay.actions.release import Hold
    from assay.types import parse_model_ref

    name, version = parse_model_ref(ref)
    done = session.perform(
        Hold(project=session.project, model=name, version=version, held=held, reason=reason)
    )
    words = "is on hold" if held else "is no longer on hold"
    shown = f"{escape(done['model'])}@{escape(done['version'])}"
    emit(session.as_json, done, lambda: say(f"[bold]{shown}[/] {words}"))


def revoke(
    ref: Ref, reason: Reason, actor: As = "", project: InProject = "", as_json: AsJson = False
) -> None:
    """Withdraw a version for ever; an endpoint that serves it stops at the next request.

    Example: assay revoke credit@3 --reason "trained on mislabelled rows"
    """
    from assay.actions.release import Revoke
    from assay.types import parse_model_ref

    name, version = parse_model_ref(ref)
    session = Session(actor, project, as_json)
    done = session.perform(
        Revoke(project=session.project, model=name, version=version, reason=reason)
    )
    shown = f"{escape(done['model'])}@{escape(done['version'])}"

    def human() -> None:
        say(f"[bold]{shown}[/] is revoked for ever, and so are these bytes under any other name")

    emit(as_json, done, human)


def supersede(
    ref: Ref,
    envelope: Annotated[
        str, typer.Option(help="The statement, as `assay model show` lists it.", metavar="sha256:…")
    ],
    reason: Reason,
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Say that one statement about a version no longer counts; only an approver may.

    Example: assay supersede credit@3 --envelope sha256:5f3c… --reason "wrong"
    """
    from assay.actions.release import Supersede
    from assay.types import parse_model_ref

    name, version = parse_model_ref(ref)
    session = Session(actor, project, as_json)
    done = session.perform(
        Supersede(
            project=session.project, model=name, version=version, envelope=envelope, reason=reason
        )
    )
    emit(as_json, done, lambda: say(f"{escape(envelope)} no longer counts for {escape(ref)}"))
