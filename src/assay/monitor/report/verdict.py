"""The verdict: is anything wrong, since when, and what to do.

It never says that all is well where nothing could be seen: an endpoint without a baseline, without
a window, or whose windows have stopped, gets a word of its own.
"""

from __future__ import annotations

from datetime import timedelta

from assay.monitor.report import words
from assay.monitor.report.model import Alert, Evidence, Report, Verdict, Window

STALE = 3
"""Windows that may be late before silence is said to be silence."""
EARLY = 3
"""Windows below which a quiet monitor has not yet seen much."""
FEW_LABELS = 0.1
"""The share of labelled rows below which errors are said to be estimated rather than measured."""
_ORDER = {"critical": 0, "warning": 1, "info": 2}
_STEPS = 4


def verdict(report: Report) -> Verdict:
    """The first thing to be told.  What is wrong comes first, then what cannot be seen."""
    lasting = sorted((a for a in report.alerts if a.lasts), key=lambda a: _ORDER[a.severity])
    if lasting:
        return _alarmed(report, lasting)
    return _unwatched(report) or _unrecorded(report) or _silent(report) or _quiet(report)


def _named(report: Report) -> str:
    return f"{report.about.endpoint} --project {report.about.project}"


def _alarmed(report: Report, lasting: list[Alert]) -> Verdict:
    worst = lasting[0]
    grave = worst.severity == "critical"
    first = min((a.since_time for a in lasting if a.since_time), default="")
    begun = f", since {words.day(first)}" if first else ""
    said = list(dict.fromkeys(_sentence(alert, report.about.endpoint) for alert in lasting))
    why = said[:_STEPS]
    if len(said) > _STEPS:
        why.append(f"And {len(said) - _STEPS} more; see below.")
    why += _blind(report)
    title = "Something is wrong" if grave else "Something has changed"
    if worst.severity == "info":
        title = "Something has changed a little"
    # The page itself is where `assay monitor report` leads.
    steps = [s for a in lasting for s in a.steps if not s.startswith("assay monitor report ")]
    unseen = [a for a in lasting if a.state == "open"]
    if unseen:
        where = f"--project {report.about.project}"
        steps.append(f"assay alerts ack {unseen[0].id} {where} --reason WHY")
    return Verdict(
        tone="bad" if grave else "warn",
        state="wrong" if grave else "changed",
        title=f"{title}{begun}",
        why=tuple(why),
        since=first,
        steps=tuple(dict.fromkeys(steps))[: _STEPS + 1],
    )


def _sentence(alert: Alert, endpoint: str) -> str:
    seen = " Somebody has acknowledged it." if alert.state == "acknowledged" else ""
    said = alert.title.removeprefix(f"{endpoint}: ") or alert.kind.replace("_", " ")
    return f"{said[:1].upper()}{said[1:]}.{seen}"


def _unwatched(report: Report) -> Verdict | None:
    name = _named(report)
    if report.baseline is None:
        version = f"@{report.about.version}" if report.about.version else "@VERSION"
        told = "No baseline says what is normal for this version, so no change can be seen."
        step = f"assay monitor baseline {report.about.endpoint}{version}"
        return Verdict(
            tone="unknown",
            state="unwatched",
            title="Nothing is watched yet",
            why=(told,),
            steps=(f"{step} --project {report.about.project}",),
        )
    if not report.windows:
        every = f" A window is {report.promise.every}." if report.promise else ""
        return Verdict(
            tone="unknown",
            state="early",
            title="No window yet",
            why=(
                "What is normal is known, and no stretch of requests has been looked at against "
                f"it.{every}",
            ),
            steps=(f"assay monitor run {name} --once",),
        )
    return None


def _unrecorded(report: Report) -> Verdict | None:
    """An alarm in the newest window, and no alert of it: whoever should record it has stopped."""
    last = report.windows[-1]
    rung = [name for name, found in last.streams.items() if found.crossed]
    since = [report.windows[-1].begin]
    told = [a for a in report.alerts if a.window == last.number]
    if not rung or told:
        return None
    return Verdict(
        tone="warn",
        state="changed",
        title="An alarm rings that nobody has recorded",
        why=(
            f"The evidence crossed the alarm line in window {last.number} "
            f"({words.listed([words.stream(name) for name in rung])}).",
            *_blind(report),
        ),
        since=since[0],
        steps=(f"assay monitor run {_named(report)} --once",),
    )


def _silent(report: Report) -> Verdict | None:
    name, last = _named(report), report.windows[-1]
    end, now = words.moment(last.end), words.moment(report.about.checkpoint_time)
    promise = report.promise
    steps = (f"assay monitor status {name}", f"assay monitor run {name} --once")
    if promise is not None and promise.windows_a_year > 0 and end is not None and now is not None:
        typical = timedelta(days=365.25 / promise.windows_a_year)
        if now - end > STALE * typical:
            return Verdict(
                tone="warn",
                state="silent",
                title=f"Nothing has been looked at since {words.day(last.end)}",
                why=(
                    f"A window is {promise.every}, and the last one ended {_ago(now - end)} before "
                    "this page was made. Silence is not good news.",
                ),
                since=last.end,
                steps=steps,
            )
    if last.state != "ok" or not last.rows or not last.streams:
        seen = [w for w in report.windows if w.state == "ok" and w.rows and w.streams]
        state = "was compared with nothing"
        if last.state == "empty" or not last.rows:
            state = "had no rows"
        elif last.state != "ok":
            state = f"is {last.state!r}"
        since = seen[-1].end if seen else report.windows[0].begin
        return Verdict(
            tone="warn",
            state="silent",
            title="Nothing can be said of the last window",
            why=(
                f"Window {last.number} {state}. Silence is not good news.",
                *report.notes[:_STEPS],
            ),
            since=since,
            steps=steps,
        )
    return None


def _ago(passed: timedelta) -> str:
    hours = passed.total_seconds() / 3600
    return (
        words.count(round(hours / 24), "day") if hours >= 48 else words.count(round(hours), "hour")
    )


def _quiet(report: Report) -> Verdict:
    seen = [w for w in report.windows if w.state == "ok" and w.rows and w.streams]
    rows = sum(w.rows for w in seen)
    why = [
        f"{words.count(len(seen), 'window')} and {words.count(rows, 'row')} were looked at; "
        "no alarm is open."
    ]
    if (near := nearest(seen[-1])) is not None:
        name, found = near
        why.append(
            f"Nearest to its alarm line: {words.stream(name)}, at "
            f"{words.of_line(found.log_e, found.limit)} of what an alarm needs."
        )
    why += _blind(report)
    early = len(seen) < EARLY
    running = [i for i in report.incidents if i.lasts]
    if running:
        why.append(f"{words.count(len(running), 'incident')} not closed; see below.")
    title = "Nothing is wrong so far" if early else "Nothing is wrong"
    return Verdict(
        tone="warn" if running else "good",
        state="early" if early else "quiet",
        title="No alarm, and an incident is not closed" if running else title,
        why=tuple(why),
        steps=(),
    )


def nearest(window: Window) -> tuple[str, Evidence] | None:
    """The stream that is nearest to its alarm line."""
    if not window.streams:
        return None
    return max(window.streams.items(), key=lambda item: words.ratio(item[1].log_e, item[1].limit))


def coverage(report: Report) -> float | None:
    """The share of all rows whose label is known."""
    if report.labels is not None and report.labels.rows:
        return report.labels.known / report.labels.rows
    known = [w for w in report.windows if w.labelled is not None]
    rows = sum(w.rows for w in known)
    return sum(w.labelled or 0 for w in known) / rows if rows else None


def _blind(report: Report) -> list[str]:
    """What the reader must know of what could not be seen."""
    found: list[str] = []
    share = coverage(report)
    if share is None or share == 0:
        found.append("No label has come back yet: how often it errs is estimated, not measured.")
    elif report.labels is not None and not report.labels.labelled:
        found.append(
            f"{words.count(report.labels.waiting, 'label')} came so far, for "
            f"{words.percent(share)} of the rows; they are counted once a window has waited long "
            "enough. Until then how often it errs is estimated, not measured."
        )
    elif share < FEW_LABELS:
        found.append(
            f"Labels for {words.percent(share)} of the rows so far: how often it errs is estimated "
            "rather than measured."
        )
    if report.about.stopped:
        found.append("The endpoint is stopped: it answers nobody.")
    return found
