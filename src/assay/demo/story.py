"""The acts.

Nothing is staged: models are trained here, and what is refused is refused by the policy that
``assay init`` writes.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from assay.demo import census, traffic
from assay.demo.stage import Failed, asked, assay, chapter, elsewhere, note, out, place
from assay.errors import AssayError

if TYPE_CHECKING:
    import polars as pl

    from assay.demo.traffic import Service

PLACE = Path("build/demo")
_DESCRIBE = (
    *("--owner", "employment agency", "--origin", "US Census Bureau, ACS"),
    *("--licence", "public domain", "--purpose", "job-counselling"),
    *("--legal-basis", "public-task", "--residency", "local"),
)
_MODEL = (
    *("--name", "jobs", "--purpose", "job-counselling", "--train", "few", "--test", "others"),
    *("--label", census.LABEL, "--positive", "1", "--sensitive", "SEX,RAC1P"),
)
_HORIZON = 20
"""Seconds within which the labels come that count in the comparison; in life, days or months."""
_PLAN = f"""\
format = "assay/change-plan/v1"
model = "jobs"
why = "who comes to the agency changes; what is measured and promised does not"
valid_until = {time.localtime().tm_year + 1}-12-31
every = "1h"
most = 4
triggers = ["performance"]

[pipeline]
source = "jobs.py:jobs"
data = "dataset"

[parameters]
depth = {{least = 2, most = 4}}

[data]
most = "90d"
least_rows = 10000

[registered]
format = "skops"

[holds]
"quality.auc_lower" = {{least = 0.8}}
"quality.rows" = {{least = 5000}}

[challenge]
horizon = "{_HORIZON}s"
loss = "brier"
alpha = 0.01
least_rows = 1000
slices = ["SEX"]
"""


def main() -> None:
    began = time.monotonic()
    try:
        people = census.people(lambda text: out.print(f"  … {text}"))
        with place(PLACE):
            _story(people)
    except (Failed, AssayError, OSError) as error:
        out.print(f"\n[bold red]the demo stopped[/]: {escape(str(error))}")
        sys.exit(1)
    out.print(f"\n[bold green]done[/] in {time.monotonic() - began:.0f} s")


def _story(people: dict[str, pl.DataFrame]) -> None:
    """From a table to an endpoint that is watched, retrained, and in the end withdrawn."""
    _begin(people["clients"])
    _candidates()
    _pipeline()
    _release()
    _tamper()
    chapter("Serve it, confined, to whoever holds a token")
    with traffic.serving() as service:
        _ask(service, people["served"])
        _three_years(service, people["served"])
        _opened(service, census.opened(people, 3))
        _retrain(service, people)
        _withdraw(service, people["served"])
    _prove()


def _begin(clients: pl.DataFrame) -> None:
    chapter("A workspace, and data that somebody answers for")
    assay("init", "--development", "--project", "work", "--name", "you")
    clients.write_csv("clients.csv")
    clients.head(4_000).write_csv("few.csv")
    clients.tail(4_000).write_csv("others.csv")
    note(f"{clients.height:,} people of 2015, under {census.OLD}.")
    for name in ("clients", "few", "others"):
        assay("data", "register", f"{name}.csv", *_DESCRIBE)


def _candidates() -> None:
    chapter("Candidate 1 learns its training data by heart")
    census.learn_by_heart("few.csv")
    assay("model", "register", "by-heart.joblib", *_MODEL)
    assay("model", "assess", "jobs@1")
    assay("promote", "jobs@1", "--to", "production", expect=3)
    note("Refused, and it says why: it is much better on rows it has seen, and tells who they are.")

    chapter("Candidate 2 arrives with a pickle that runs a command when it is opened")
    census.poison()
    assay("model", "register", "gift.pkl", *_MODEL, expect=4)
    if Path("gift-was-opened").exists():
        raise Failed("the pickle was opened")
    note("Quarantined: it was scanned, never opened. It stays under seal for examination.")


def _pipeline() -> None:
    chapter("Candidate 3 is made by a pipeline, step by confined step")
    Path("jobs.py").write_text(census.PIPELINE)
    assay("run", "jobs.py", brief=True)
    assay("monitor", "baseline", "jobs@3", *_WATCHED)
    assay("doctor")
    assay("model", "check", "jobs@3", "--for", "production", expect=3)
    note("Only people are missing now: two of them, and not the author.")


_WATCHED = (
    *("--window", f"{census.WINDOW}rows", "--horizon", "1d", "--false-alarms", "1/year"),
    *("--slice", "SEX", "--slice", "AGEP"),
)


def _release() -> None:
    chapter("People decide, about this version and about what may change by itself later")
    for name in ("bo", "cy"):
        key = assay("actor", "new-key", name, "--development", "--json", quiet=True)
        Path(f"{name}.json").write_text(key)
        assay("actor", "enrol", name, "--key", f"{name}.json", "--role", "work/approver")
        assay("approve", "jobs@3", "--for", "production", "--as", name)
    assay("promote", "jobs@3", "--to", "production")
    Path("change-plan.toml").write_text(_PLAN)
    plan = asked("change", "propose", "change-plan.toml")["plan"]
    for name in ("bo", "cy"):
        assay("change", "approve", plan[:19], "--as", name)


def _tamper() -> None:
    chapter("Somebody flips one bit in each file of the store, but the policy's")
    began = Path("clients.csv").stat().st_mtime
    files = [path for path in Path(".assay/blobs/blobs").glob("*/*/*") if path.is_file()]
    blobs = [path for path in files if path.stat().st_mtime > began]
    kept = {path: (path.read_bytes(), path.stat().st_mode) for path in blobs}
    for path, (content, _) in kept.items():
        spoilt = bytearray(content)
        spoilt[len(spoilt) // 2] ^= 1
        path.chmod(0o600)
        path.write_bytes(spoilt)
    assay("store", "check", expect=4, brief=True)
    assay("serve", "jobs@production", "--port", "0", expect=4)
    note("The worker refuses to start.")
    for path, (content, mode) in kept.items():
        path.write_bytes(content)
        path.chmod(mode)


def _ask(service: Service, people: pl.DataFrame) -> None:
    status, answer = service.again().ask(people[:1])
    if status != 200:
        raise Failed(f"the endpoint answers {status}: {answer}")
    out.print(f"  answer: {escape(str(answer['outputs']))}")
    status, _ = service.again().ask(people[:1], token="")
    note(f"Without a token: {status}.")


def _three_years(service: Service, people: pl.DataFrame) -> None:
    chapter("Three years of real traffic, 2016 to 2018")
    _replayed(service, people, "three-years.csv")
    windows = people.height // census.WINDOW
    note(
        f"The alarm line was set on 2015 alone: at most one false alarm in 365 windows, so at most "
        f"{windows / 365:.2f} are to be expected in these {windows}. Real people change a little "
        "in three years; the monitor should stay quiet."
    )
    alerts = _watched("three-years.csv")
    if alerts:
        note(f"It did not: {', '.join(sorted(alerts))}.")
    else:
        note("It stayed quiet, before the labels came and after.")


def _opened(service: Service, people: pl.DataFrame) -> None:
    chapter(f"The agency opens its doors to people of {census.OLD} and older")
    note("Training has hardly seen anybody like them.")
    _replayed(service, people, "opened.csv")
    alerts = _watched("opened.csv")
    if not {"data_drift", "performance"} <= alerts:
        raise Failed(f"nobody noticed: only {sorted(alerts)} was raised")
    note(
        "Who has come is named at once, and the labels confirm that they are served worse: that is "
        "what the plan of changes waits for, and the loop has trained a challenger."
    )
    assay("monitor", "report", "jobs", "--out", "report.html", brief=True)


def _replayed(service: Service, people: pl.DataFrame, labels: str) -> None:
    rows, took = traffic.replay(service, people, Path(labels))
    note(f"{rows:,} people asked and were answered in {took:.1f} s, each on the record.")


def _watched(labels: str) -> set[str]:
    """The kinds of alerts that a round raises, and another one once the labels are there."""
    raised = _round()
    assay("feedback", "add", "jobs", labels, brief=True)
    return raised | _round()


def _round() -> set[str]:
    """A round of the monitor; the kinds of alerts that it raised."""
    done = asked("monitor", "run", "jobs", "--once")
    for alert in done["alerts"]:
        out.print(f"  {escape(alert['severity'])}: {escape(alert['title'])}")
    if not done["alerts"]:
        out.print("  no alert")
    for line in (done["retraining"] or {}).get("done", []):
        out.print(f"  loop: {escape(line)}")
    return {alert["kind"] for alert in done["alerts"] if alert["event"] != "resolved"}


def _retrain(service: Service, people: dict[str, pl.DataFrame]) -> None:
    chapter("The loop closes: within the plan, by the same gates, and the challenger must win")
    note("It must beat the version in production on people whom neither has seen: those who come.")
    _replayed(service, census.opened(people, 2), "those-who-come.csv")
    answered = time.monotonic()
    assay("feedback", "add", "jobs", "those-who-come.csv", brief=True)
    assay("monitor", "status", "jobs")
    # Labels that come early are not like those that come late: each request is given its time.
    note(f"A request counts once its label has had {_HORIZON} s to come.")
    time.sleep(max(0.0, answered + _HORIZON + 1 - time.monotonic()))
    with traffic.load(service, people["served"]) as seen:
        _round()
        traffic.wait_for(seen, "4")
    if seen.failed:
        raise Failed(f"{len(seen.failed)} requests failed, first {seen.failed[0]}")
    answers = " and ".join(f"{n:,} by version {v}" for v, n in sorted(seen.answers.items()))
    note(f"Promoted under load by the loop, and no request failed: {answers}.")
    assay("change", "list", "jobs")


def _withdraw(service: Service, people: pl.DataFrame) -> None:
    chapter("A model is withdrawn while it serves")
    assay("revoke", "jobs@4", "--reason", "a customer contests the decision")
    status, answer = service.again().ask(people[:1])
    if status != 403:
        raise Failed(f"the endpoint still answers {status}: {answer}")
    note(f"The next request gets {status}: {answer['error']}")


def _prove() -> None:
    chapter("What an auditor gets")
    assay("export", "jobs@4", "--out", "jobs-4.assay")
    pinned = next(
        line.split('"')[1]
        for line in Path("assay.toml").read_text().splitlines()
        if line.startswith("trust_root")
    )
    note("Verified by a new process in an empty folder: no workspace, no keys, no network.")
    bundle = Path("jobs-4.assay").resolve()
    elsewhere("verify", "jobs-4.assay", "--trust-root", pinned, files=(bundle,))
    assay("passport", "jobs@3", "--out", "passport.html")
    out.print(f"\nThe passport, with its drift: [bold]{Path('passport.html').resolve()}[/]")
    out.print(f"The monitor's page: [bold]{Path('report.html').resolve()}[/]")
