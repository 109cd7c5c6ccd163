"""``assay monitor baseline``: measure what is normal for a version, and say how it is watched."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from assay.cli.output import emit, escape, say
from assay.cli.session import As, AsJson, InProject, Ref, Session


def add_to(group: typer.Typer) -> None:
    group.command("baseline")(baseline)


def baseline(
    ref: Ref,
    data: Annotated[
        str,
        typer.Option(
            help="Rows it was not trained on; default: --test of its registration.",
            metavar="DATASET",
        ),
    ] = "",
    window: Annotated[
        str,
        typer.Option(
            help="What is looked at together: 1d, 12h, or 5000rows.", metavar="LENGTH|ROWS"
        ),
    ] = "1d",
    false_alarms: Annotated[
        str,
        typer.Option(
            "--false-alarms",
            help="How many false alarms are put up with, over all features and slices.",
            metavar="N/year",
        ),
    ] = "1/year",
    smallest_shift: Annotated[
        float | None,
        typer.Option(
            "--smallest-shift",
            help="Shifts up to this are not worth an alarm: log-odds of a share of one half; "
            "0 for none.",
            metavar="X",
        ),
    ] = None,
    horizon: Annotated[
        str,
        typer.Option(help="How long labels are waited for: 30d, or 4windows.", metavar="LENGTH"),
    ] = "30d",
    slice_by: Annotated[
        list[str] | None,
        typer.Option(
            "--slice", help="Watch each value of this column by itself; repeat.", metavar="COLUMN"
        ),
    ] = None,
    label_cap: Annotated[
        int | None,
        typer.Option("--label-cap", help="Labels a day that count of one source.", metavar="N"),
    ] = None,
    windows_a_year: Annotated[
        float | None,
        typer.Option(
            "--windows-a-year",
            help="How many windows of so many rows a year has; default 365.",
            metavar="N",
        ),
    ] = None,
    ticket: Annotated[str, typer.Option(help="For special categories of personal data.")] = "",
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Measure what is normal for a version, on rows that it was not trained on.

    Its inputs as counts, its scores and its errors, for the whole and for each slice; and the plan
    by which it is watched.  Nothing in it is about fewer than ten rows.

    Example: assay monitor baseline credit@3 --slice SEX --false-alarms 1/year
    """
    from assay.actions.baselines import SetBaseline
    from assay.monitor import plans
    from assay.types import parse_model_ref

    name, version = parse_model_ref(ref)
    session = Session(actor, project, as_json)
    asked = SetBaseline(
        project=session.project,
        model=name,
        version=version,
        data=data,
        window=window,
        false_alarms=false_alarms,
        windows_a_year=windows_a_year,
        smallest_shift=plans.SHIFT if smallest_shift is None else smallest_shift,
        horizon=horizon,
        slices=tuple(slice_by or ()),
        label_cap=plans.LABEL_CAP if label_cap is None else label_cap,
        ticket=ticket,
    )
    asked.plan()  # A knob that cannot be is told before anything is written down.
    done: dict[str, Any] = session.perform(asked)
    emit(as_json, done, lambda: _say(done))


def _say(done: dict[str, Any]) -> None:
    from assay.monitor.plans import Plan

    rows, data = done["rows"], done["data"]["name"]
    name = f"{done['model']}@{done['version']}"
    say(f"what is normal for [bold]{escape(name)}[/], by {rows:,} rows of {escape(data)}:")
    for metric, told in done["performance"].items():
        if told["value"] is None:
            say(f"  {metric.replace('_', ' ')}: not known, {escape(told['why'])}")
        else:
            bounds = f"({told['lower']:.4f} to {told['upper']:.4f})"
            say(f"  {metric.replace('_', ' ')}: {told['value']:.4f} {bounds}")
    thin = [s for s in done["slices"] if s["state"] != "ok"]
    if done["slices"]:
        say(f"  slices: {len(done['slices'])}")
    for told in thin:
        part = f"{told['column']}={told['value']}"
        say(f"    {escape(part)}: {told['rows']} rows are too few for figures of its own")
    say("how it is watched:")
    for knob, words in Plan.from_dict(done["plan"]).words().items():
        say(f"  --{knob.replace('_', '-').replace('slices', 'slice')}: {escape(words)}")
    say(f"once it answers: assay monitor run {escape(done['model'])}")
