"""``assay/monitor-report/v1``: everything that the page, the JSON and the metrics show.

It is made of statements on the ledger and of `Reading`s, which are recomputed from them: nothing
here is kept anywhere else.  Evidence is a natural logarithm: 0 says nothing either way, and the
alarm rings where it reaches the stream's `limit`.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

FORMAT = "assay/monitor-report/v1"

Tone: TypeAlias = Literal["good", "warn", "bad", "unknown"]
Severity: TypeAlias = Literal["info", "warning", "critical"]
AlertState: TypeAlias = Literal["open", "acknowledged", "resolved", "closed"]
"""``closed`` by a person; ``resolved`` when windows no longer showed it."""
Kind: TypeAlias = Literal["ordered", "category"]
DutyState: TypeAlias = Literal["running", "overdue", "reported", "late", "judged"]
"""``late``: reported, after it was due; ``judged``: a person judged that nothing is owed."""

STREAMS: dict[str, str] = {
    "data_drift": "the inputs, against the reference",
    "prediction_drift": "the answers, against the reference",
    "performance": "the errors, once labels are known",
    "estimated_performance": "the errors, as estimated without labels",
    "quality": "missing values, new categories, changed types",
    "log": "the prediction log itself",
}
"""What is watched, in words; a stream is called after the kind of signal that it raises."""


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    """Part of a report."""


# -- what the detectors say of a window ------------------------------------------------------------


class Evidence(_Part, frozen=True, kw_only=True):
    """One stream at the end of one window."""

    log_e: float
    limit: float
    """The alarm line; a logarithm, too."""
    crossed: bool = False
    """Whether an alarm began in this window."""
    since: int | None = None
    """The window where the evidence that is held now began to grow."""


class Part(_Part, frozen=True, kw_only=True):
    """How much of the evidence of a stream is due to one feature or one slice."""

    log_e: float
    words: str = ""
    """What changed, in words: "the share of `yes` went from 3 % to 9 %"."""
    from_share: float | None = None
    to_share: float | None = None


class Reading(_Part, frozen=True, kw_only=True):
    """What the detectors say at the end of one window: `watch.readings` gives one for each."""

    number: int
    """Of the window."""
    streams: dict[str, Evidence] = {}
    """By the names of `STREAMS`."""
    features: dict[str, Part] = {}
    """By the name of the input, or of the output."""
    slices: dict[str, Part] = {}
    """By ``column=value``."""


# -- what is shown ---------------------------------------------------------------------------------


class Figure(_Part, frozen=True, kw_only=True):
    """A figure, with its interval where it has one."""

    value: float
    lower: float | None = None
    upper: float | None = None


class About(_Part, frozen=True, kw_only=True):
    """What is looked at, and as of when."""

    project: str
    endpoint: str
    model: str = ""
    version: str = ""
    """The one that answers now."""
    stage: str = ""
    stopped: bool = False
    """Killed, revoked or on hold: it answers nobody."""
    workspace: str = ""
    checkpoint_size: int = 0
    checkpoint_time: str = ""
    checkpoint_root: str = ""


class Promise(_Part, frozen=True, kw_only=True):
    """What is promised of the alarms, and from which plan it follows."""

    every: str
    """A window, in words: "1 day", "5,000 rows"."""
    windows_a_year: float
    false_alarms_a_year: float
    horizon: str = ""
    """How late a label may be."""
    smallest_shift: float = 0.0
    """Shifts up to this one (as log-odds) raise no alarm on purpose."""
    slices: tuple[str, ...] = ()


class Baseline(_Part, frozen=True, kw_only=True):
    """What is normal for the version, and by what it was measured."""

    version: str
    rows: int
    data: str = ""
    recorded: str = ""
    leaf: int | None = None
    digest: str = ""
    """Of the statement."""
    metrics: dict[str, Figure] = {}


class Window(_Part, frozen=True, kw_only=True):
    """One window of the timeline."""

    number: int
    begin: str
    end: str
    rows: int
    version: str = ""
    state: str = "ok"
    """``ok``, ``empty``, or another word for why it says nothing."""
    streams: dict[str, Evidence] = {}
    estimated: dict[str, Figure] = {}
    measured: dict[str, Figure] = {}
    labelled: int | None = None
    """Rows whose label is known; None before the first count."""
    final: bool = False
    """Whether the horizon has passed: later labels no longer count."""

    @property
    def coverage(self) -> float | None:
        """The share of rows whose label is known."""
        return None if self.labelled is None or not self.rows else self.labelled / self.rows


class Feature(_Part, frozen=True, kw_only=True):
    """One input or output: then and now."""

    name: str
    kind: Kind
    log_e: float = 0.0
    """The strongest of the newest windows: after an alarm evidence is gathered anew."""
    limit: float = 0.0
    words: str = ""
    output: bool = False
    labels: tuple[str, ...] = ()
    """Of the cells, as many as `reference` and `current` have."""
    reference: tuple[int, ...] = ()
    current: tuple[int, ...] = ()
    history: tuple[float, ...] = ()
    """Evidence by window, as many as there are windows."""
    missing_reference: float | None = None
    missing_current: float | None = None
    effects: dict[str, float] = {}
    """psi, js, ks, wasserstein, cramers_v: how large the change is."""


class Slice(_Part, frozen=True, kw_only=True):
    """One group of rows."""

    column: str
    value: str
    rows: int
    """In the windows that are compared."""
    labelled: int | None = None
    """In the newest window whose labels say anything of it."""
    labelled_of: int | None = None
    """Its rows in that window."""
    log_e: float | None = None
    """None where the group is not watched by itself: it has too few rows, or no label yet."""
    limit: float = 0.0
    share_reference: float | None = None
    share_current: float | None = None
    metric: str = ""
    reference: Figure | None = None
    estimated: Figure | None = None
    measured: Figure | None = None
    words: str = ""


class Alert(_Part, frozen=True, kw_only=True):
    """One alert, with what is thought to be its cause and what to do next."""

    id: str
    kind: str
    severity: Severity
    version: str = ""
    state: AlertState = "open"
    title: str = ""
    raised: str = ""
    window: int | None = None
    since: int | None = None
    since_time: str = ""
    causes: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    """Commands, the one to begin with first."""
    promise: str = ""
    note: str = ""
    """Who acknowledged or closed it, and why."""

    @property
    def lasts(self) -> bool:
        """Whether it is not over."""
        return self.state in ("open", "acknowledged")


class Deadline(_Part, frozen=True, kw_only=True):
    """A clock of an incident."""

    name: str
    """"GDPR Art. 33", "AI Act Art. 73(2)"."""
    due: str
    state: DutyState = "running"
    words: str = ""

    @property
    def open(self) -> bool:
        """Whether it is still owed."""
        return self.state in ("running", "overdue")


class Incident(_Part, frozen=True, kw_only=True):
    """One incident."""

    id: str
    title: str
    severity: Severity = "warning"
    state: str = "open"
    opened: str = ""
    alerts: tuple[str, ...] = ()
    deadlines: tuple[Deadline, ...] = ()

    @property
    def lasts(self) -> bool:
        """Whether it is not over."""
        return self.state not in ("closed", "resolved")


class Happening(_Part, frozen=True, kw_only=True):
    """What was done about it: a retraining, a challenge, a promotion."""

    at: str
    title: str
    text: str = ""
    tone: Tone = "unknown"
    source: str = ""
    """The leaf."""


class Labels(_Part, frozen=True, kw_only=True):
    """What came back, and what of it did not count and why."""

    rows: int = 0
    """Predictions that a label may still come for, or came for."""
    labelled: int = 0
    """Of windows whose labels are counted."""
    waiting: int = 0
    """Labels that came for windows that are not counted yet."""
    counts: dict[str, int] = {}
    """duplicate, corrected, disputed, late, early, unknown, capped, unreadable, ..."""

    @property
    def known(self) -> int:
        """Labels that came so far, counted or waiting."""
        return min(self.rows, self.labelled + self.waiting)


class Verdict(_Part, frozen=True, kw_only=True):
    """The first thing that a reader is told; see `assay.monitor.report.verdict`."""

    tone: Tone
    state: Literal["wrong", "changed", "quiet", "early", "unwatched", "silent"]
    title: str
    why: tuple[str, ...] = ()
    since: str = ""
    """When the evidence began."""
    steps: tuple[str, ...] = ()
    """What to do: commands."""


class Report(_Part, frozen=True, kw_only=True):
    """Everything that is shown about one endpoint."""

    about: About
    format: str = FORMAT
    baseline: Baseline | None = None
    promise: Promise | None = None
    windows: tuple[Window, ...] = ()
    """In their order."""
    compared: str = ""
    """Which windows `Feature.current` counts: "window 59", "windows 52 to 59"."""
    features: tuple[Feature, ...] = ()
    slices: tuple[Slice, ...] = ()
    alerts: tuple[Alert, ...] = ()
    incidents: tuple[Incident, ...] = ()
    labels: Labels | None = None
    happenings: tuple[Happening, ...] = ()
    notes: tuple[str, ...] = ()
    """What else must be said, in sentences."""
