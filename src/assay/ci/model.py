"""The report of one run: ``assay/ci-report/v1``, everything that any of its files shows.

The document itself is written as ``gates.json``.  It holds nothing that depends on where the run
took place: a run on a laptop gives the same bytes as one on a server, but for the seconds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from assay.errors import Corrupt, Usage

FORMAT = "assay/ci-report/v1"
MOST_TEXT = 4_000
"""Characters of one text; longer ones are cut when the report is written."""
MOST_ITEMS = 100_000
MOST_BYTES = 32 << 20

Text: TypeAlias = Annotated[str, Meta(max_length=MOST_TEXT)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=1 << 53)]
Sha: TypeAlias = Annotated[str, Meta(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})?\Z")]
Name: TypeAlias = Annotated[str, Meta(max_length=200)]

Verdict: TypeAlias = Literal["passed", "failed", "error"]
"""Every gate open; a gate closed; the run itself could not be finished."""
Better: TypeAlias = Literal["higher", "lower"]
StepState: TypeAlias = Literal["done", "cached", "failed", "skipped", "waiting", "running"]
Level: TypeAlias = Literal["error", "warning", "note"]
Method: TypeAlias = Literal["paired bootstrap", "Newcombe, paired", "Newcombe", "MOVER", "none"]
Change: TypeAlias = Literal["worse", "better", "not shown", "unknown"]

_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Part of a report: no field that is not known here."""


class Source(_Strict, frozen=True, kw_only=True):
    """What was run: commits as Git names them, empty where unknown."""

    commit: Sha = ""
    base: Sha = ""
    """The commit that figures and files are compared with."""
    branch: Text = ""
    repository: Text = ""
    request: Count | None = None
    """The number of the pull or merge request; a run of one never writes the main cache."""

    @property
    def may_write_cache(self) -> bool:
        """Whether the results of this run may be kept for others."""
        return self.request is None


class Step(_Strict, frozen=True, kw_only=True):
    """One task of the pipeline."""

    name: Text
    state: StepState
    why: list[Text] = []
    """Why it ran instead of being taken from the cache, or was not run at all."""
    seconds: float = 0.0
    level: Text = ""
    """The isolation that it ran under."""
    key: Text = ""
    """Of its result.  `assay ci` leaves it out: keys are of one workspace."""
    made_by: Text = ""
    """The run whose result was taken, for a cached one.  `assay ci` leaves it out."""
    problem: Text = ""
    remedy: Text = ""


class Measured(_Strict, frozen=True, kw_only=True):
    """A figure that a gate looked at, and its limit, as policy spells them."""

    name: Text
    value: Text
    limit: Text = ""


class Gate(_Strict, frozen=True, kw_only=True):
    """One rule of the policy."""

    id: Text
    passed: bool
    control: Text = ""
    advice: Text = ""
    remedy: Text = ""
    """The command that opens it; empty where none does."""
    measured: list[Measured] = []
    seconds: float = 0.0
    """About how long the remedy takes."""


class Estimate(_Strict, frozen=True, kw_only=True):
    """A figure with its interval, where it has one."""

    value: float
    lower: float | None = None
    upper: float | None = None


class Difference(_Strict, frozen=True, kw_only=True):
    """A figure now less the figure before, and how its interval was made."""

    value: float
    lower: float | None = None
    upper: float | None = None
    method: Method = "none"
    level: float = 0.95


class Metric(_Strict, frozen=True, kw_only=True):
    """A figure of the whole model, and of the one it is compared with."""

    name: Text
    now: Estimate
    better: Better = "higher"
    base: Estimate | None = None
    difference: Difference | None = None
    rows: Count | None = None

    @property
    def change(self) -> Change:
        """What the difference shows: a side only where its interval leaves out zero."""
        found = self.difference
        if found is None or found.lower is None or found.upper is None:
            return "unknown"
        if found.lower <= 0 <= found.upper:
            return "not shown"
        return "better" if (found.lower > 0) == (self.better == "higher") else "worse"


class Slice(_Strict, frozen=True, kw_only=True):
    """A figure for the rows with one value of a column."""

    column: Text
    value: Text
    metric: Text
    estimate: Estimate
    rows: Count
    better: Better = "higher"


class Changed(_Strict, frozen=True, kw_only=True):
    """Something before and after; empty where it was not there: a column and its type, a
    distribution and its version, a module and its digest."""

    name: Text
    before: Text = ""
    after: Text = ""

    @property
    def kind(self) -> Literal["added", "removed", "changed"]:
        return "changed" if self.before and self.after else "added" if self.after else "removed"


class Dataset(_Strict, frozen=True, kw_only=True):
    """How a dataset differs from the one that the base was made with."""

    name: Text
    before: Text = ""
    after: Text = ""
    """Content digests."""
    rows_before: Count | None = None
    rows_after: Count | None = None
    new_rows: Count | None = None
    """Rows that the earlier one does not have."""
    columns: list[Changed] = []


class Finding(_Strict, frozen=True, kw_only=True):
    """A located problem that a scan or a check of the data found.

    Closed gates need none: the renderers make theirs from the gates.
    """

    rule: Text
    level: Level
    message: Text
    title: Text = ""
    """The rule in a few words."""
    path: Text = ""
    line: Count = 0
    help: Text = ""
    """What to do about it."""


class Statement(_Strict, frozen=True, kw_only=True):
    """A signed statement that the run made; its file lies in ``statements/``."""

    kind: Text
    digest: Text = ""
    """Of the envelope.  `assay ci` leaves it out: it holds the time and an id of its own."""
    name: Name = ""
    """Of its file, without ``.dsse.json``."""


class Report(_Strict, frozen=True, kw_only=True):
    """See the module."""

    format: Literal["assay/ci-report/v1"] = FORMAT
    verdict: Verdict
    why: Text
    """The verdict's reason in one line."""
    project: Text
    pipeline: Text
    """As the command line names it: ``pipelines/credit.py``."""
    run: Text = ""
    """Left out by `assay ci`, as is `checkpoint`: the statement of the run and its proof say it."""
    source: Source = Source()
    steps: Annotated[list[Step], Meta(max_length=MOST_ITEMS)] = []
    gates: Annotated[list[Gate], Meta(max_length=MOST_ITEMS)] = []
    metrics: Annotated[list[Metric], Meta(max_length=MOST_ITEMS)] = []
    slices: Annotated[list[Slice], Meta(max_length=MOST_ITEMS)] = []
    data: Annotated[list[Dataset], Meta(max_length=MOST_ITEMS)] = []
    dependencies: Annotated[list[Changed], Meta(max_length=MOST_ITEMS)] = []
    code: Annotated[list[Changed], Meta(max_length=MOST_ITEMS)] = []
    findings: Annotated[list[Finding], Meta(max_length=MOST_ITEMS)] = []
    statements: Annotated[list[Statement], Meta(max_length=MOST_ITEMS)] = []
    checkpoint: Text = ""
    """The ledger's checkpoint that the statements are under."""

    @property
    def closed(self) -> list[Gate]:
        """The gates that are not open."""
        return [gate for gate in self.gates if not gate.passed]


def encode(report: Report) -> bytes:
    """The document: JSON with sorted keys, indented, texts cut at `MOST_TEXT` characters.

    Raises `Usage` for a figure that is not a number, for which JSON has no word, and for whatever
    else a reader would refuse.
    """
    plain = _clip(msgspec.to_builtins(report), "report")
    try:
        checked = msgspec.convert(plain, Report)
    except msgspec.ValidationError as error:
        raise Usage(f"the report cannot be written: {error}", code="ci.report") from error
    return msgspec.json.format(msgspec.json.encode(checked, order="sorted"), indent=2) + b"\n"


def decode(data: bytes, *, limit: int = MOST_BYTES) -> Report:
    """A report, whoever wrote it; raises `Corrupt` for anything else."""
    if len(data) > limit:
        raise _wrong(f"it is larger than {limit:,} bytes")
    try:
        return msgspec.json.decode(data, type=Report)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        # The message quotes keys of the document, which may be hostile.
        raise _wrong("".join(c if c.isprintable() else "?" for c in str(error))[:200]) from error


def _wrong(why: str) -> Corrupt:
    return Corrupt(
        f"this is no report of the format {FORMAT}: {why}",
        remedy="take gates.json of a folder that `assay ci` wrote, and the same version of assay",
        code="ci.report",
    )


def _clip(value: Any, where: str) -> Any:
    match value:
        case str():
            whole = value.encode("utf-8", "backslashreplace").decode()
            return whole if len(whole) <= MOST_TEXT else whole[: MOST_TEXT - 1] + "…"
        case float() if not math.isfinite(value):
            raise Usage(
                f"{where} is {value}, which is no figure",
                remedy="leave out what could not be measured",
                code="ci.figure",
            )
        case dict():
            return {key: _clip(item, f"{where}.{key}") for key, item in value.items()}
        case list() | tuple():
            return [_clip(item, f"{where}[{number}]") for number, item in enumerate(value)]
        case _:
            return value


# -- order -----------------------------------------------------------------------------------------

_LEVELS: dict[Level, int] = {"error": 0, "warning": 1, "note": 2}
_CHANGES: dict[Change, int] = {"worse": 0, "unknown": 1, "not shown": 2, "better": 3}
_STATES: dict[StepState, int] = {
    "failed": 0,
    "running": 1,
    "waiting": 1,
    "skipped": 2,
    "done": 3,
    "cached": 4,
}


def gates(report: Report) -> list[Gate]:
    """Closed ones first."""
    return sorted(report.gates, key=lambda gate: (gate.passed, gate.id))


def metrics(report: Report) -> list[Metric]:
    """Those that became worse first."""
    return sorted(report.metrics, key=lambda metric: (_CHANGES[metric.change], metric.name))


def steps(report: Report) -> list[Step]:
    """Failed ones first, cached ones last, else as they are."""
    return sorted(report.steps, key=lambda step: _STATES[step.state])


def findings(found: Iterable[Finding]) -> list[Finding]:
    """The most severe first."""
    return sorted(found, key=lambda f: (_LEVELS[f.level], f.rule, f.path, f.line, f.message))


def slices(report: Report) -> list[Slice]:
    """Those first whose bound lies furthest on the wrong side of the figure of the whole."""
    whole = {metric.name: metric.now.value for metric in report.metrics}

    def gap(part: Slice) -> float:
        if part.better == "higher":
            bound = part.estimate.lower
            return (part.estimate.value if bound is None else bound) - whole.get(part.metric, 0.0)
        bound = part.estimate.upper
        return whole.get(part.metric, 0.0) - (part.estimate.value if bound is None else bound)

    return sorted(report.slices, key=lambda s: (gap(s), s.metric, s.column, s.value))


def remedies(report: Report) -> Iterator[tuple[str, list[str], float]]:
    """The commands that open closed gates, in the order of the gates: (command, gates, seconds)."""
    found: dict[str, tuple[list[str], float]] = {}
    for gate in report.closed:
        if gate.remedy:
            ids, seconds = found.get(gate.remedy, ([], 0.0))
            found[gate.remedy] = ([*ids, gate.id], max(seconds, gate.seconds))
    yield from ((command, ids, seconds) for command, (ids, seconds) in found.items())


def commit(text: object) -> str:
    """`text` if it is a commit as Git names it, else nothing."""
    return text if isinstance(text, str) and _SHA.fullmatch(text) else ""
