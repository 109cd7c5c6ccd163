"""What a label is: the true value of one answered row, as somebody gave it, at a time.

It names the prediction as the endpoint did (``UUID/row``).  Its value is kept as the one JSON text
that spells it, so that ``1``, ``1.0`` and ``true`` are the same label and ``"1"`` is another.
What can never be one is refused, each for its own reason, and none of the others with it.
"""

from __future__ import annotations

import io
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, TypeAlias

import msgspec
import polars as pl

from assay.clock import TOLERANCE, parse_timestamp
from assay.errors import Corrupt, Usage

FORMAT = "assay/labels/v1"
_HEAD = f"{FORMAT}\n".encode()

MOST_IN_BODY = 10_000
"""Labels in one request."""
MOST_TEXT = 256
"""Characters of a label that is text."""
_SHOWN = 5
_EXACT = 2**53
_ID = re.compile(
    r"([0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})/(0|[1-9][0-9]{0,8})"
)

MOMENT = pl.Datetime("us", "UTC")
KEPT = pl.Schema(
    {
        "prediction_id": pl.String(),
        "row": pl.Int32(),
        "label": pl.String(),
        "at": MOMENT,
        "received": MOMENT,
    }
)
"""The columns of a sealed batch.  `at` is when the truth was found out, where the source says so;
`received` is when it was given to us."""

Classes: TypeAlias = Sequence[int | str] | None
"""What a model may answer: its classes; none at all for one that gives a number; and an empty list
where nobody knows them."""

REASONS: dict[str, str] = {
    "id": "names no prediction: UUID/row, as the answer and its place say",
    "missing": "has no value",
    "type": "is neither a finite number nor a text of at most 256 characters",
    "class": "is nothing that any version of this model answers",
    "time": "has a time that is none (RFC 3339, with a timezone)",
    "clock": "says that it will be found out in the future, by more than 5 minutes",
    "cap": "is over what one source may give in a day",
}
"""Why a label is refused when it is given."""


class _Label(msgspec.Struct, forbid_unknown_fields=True):
    id: Any = None
    label: Any = None
    at: Any = None


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    labels: list[_Label]


@dataclass(slots=True)
class Checked:
    """What of a batch can be kept, and what was refused."""

    frame: pl.DataFrame
    refused: Counter[str]
    examples: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """The places in the batch (from 0) of the first few refused, and why; never a value."""

    @property
    def rows(self) -> int:
        return self.frame.height + self.refused.total()

    def cap(self, most: int) -> None:
        """Refuse what is over so many."""
        over = self.frame.height - max(0, most)
        if over > 0:
            self.frame = self.frame.head(max(0, most))
            self.refused["cap"] += over

    def told(self) -> dict[str, Any]:
        """For whoever gave the batch."""
        refused = dict(sorted(self.refused.items()))
        made: dict[str, Any] = {"rows": self.rows, "accepted": self.frame.height}
        return {**made, "refused": refused, "examples": self.examples}


def spell(value: object) -> str | None:
    """The JSON text of a label; None for what cannot be one."""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, str):
        if len(value) > MOST_TEXT or not _encodable(value):
            return None
        return msgspec.json.encode(value).decode()
    if isinstance(value, int):
        return str(value) if -_EXACT <= value <= _EXACT else None
    if isinstance(value, float) and math.isfinite(value):
        whole = value.is_integer() and -_EXACT <= value <= _EXACT
        return str(int(value)) if whole else repr(value)
    return None


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # Half of a surrogate pair.
        return False
    return True


def spellings(classes: Sequence[int | str]) -> list[str]:
    """The JSON texts of a model's classes, in their order."""
    return [str(spell(label)) for label in classes]


def parse(body: bytes) -> list[tuple[Any, Any, Any]]:
    """The labels of a request, ``{"labels": [{"id": …, "label": …, "at": …}]}``, as (id, label,
    time); raises `Usage` for a body that is not of that form."""
    try:
        given = msgspec.json.decode(body, type=_Body).labels
    except (msgspec.DecodeError, RecursionError, ValueError) as error:  # ValueError: not UTF-8.
        raise Usage(
            'the body is not {"labels": [{"id": "UUID/row", "label": value, "at": time}]}',
            remedy="id and label are needed, at is not; nothing else is taken",
            code="feedback.body",
        ) from error
    if not given:
        raise Usage("no label is in the body", remedy="give at least one", code="feedback.empty")
    if len(given) > MOST_IN_BODY:
        raise Usage(
            f"{len(given):,} labels in one request; {MOST_IN_BODY:,} are taken",
            remedy="send several requests, or add a file: assay feedback add NAME FILE",
            code="feedback.many",
        )
    return [(label.id, label.label, label.at) for label in given]


def rows_of(frame: pl.DataFrame, name: str) -> Iterable[tuple[Any, Any, Any]]:
    """The labels in a table with the columns ``id`` (or ``prediction_id`` and ``row``), ``label``
    and, if wanted, ``at``; raises `Usage` for one without."""
    columns = set(frame.columns)
    apart = {"prediction_id", "row"} <= columns
    if "label" not in columns or not (apart or "id" in columns):
        raise Usage(
            f"{name} has no columns of labels",
            remedy="it needs id (UUID/row) and label, and may have at; "
            f"it has {', '.join(frame.columns[:12])}",
            code="feedback.columns",
        )
    if "id" in columns:
        ids: list[Any] = frame["id"].to_list()
    else:
        pairs = zip(frame["prediction_id"].to_list(), frame["row"].to_list(), strict=True)
        ids = [f"{i}/{row}" for i, row in pairs]
    times: list[Any] = frame["at"].to_list() if "at" in columns else [None] * frame.height
    return zip(ids, frame["label"].to_list(), times, strict=True)


def check(given: Iterable[tuple[Any, Any, Any]], *, now: datetime, classes: Classes) -> Checked:
    """What of a batch can be kept.  A wrong label takes no other one with it."""
    known = None if classes is None else set(spellings(classes))
    kept: list[tuple[str, int, str, datetime | None]] = []
    refused: Counter[str] = Counter()
    examples: list[dict[str, Any]] = []
    for place, (name, value, at) in enumerate(given):
        found = _read(name, value, at, now, known)
        if isinstance(found, str):
            refused[found] += 1
            if len(examples) < _SHOWN:
                examples.append({"place": place, "reason": found})
        else:
            kept.append(found)
    schema = {name: KEPT[name] for name in ("prediction_id", "row", "label", "at")}
    frame = pl.DataFrame(kept, schema=schema, orient="row")
    received = pl.lit(now.astimezone(timezone.utc)).cast(MOMENT).alias("received")
    return Checked(frame.with_columns(received), refused, examples)


def _read(
    name: object, value: object, at: object, now: datetime, known: set[str] | None
) -> tuple[str, int, str, datetime | None] | str:
    """A label as it is kept; or why it is refused."""
    match = _ID.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        return "id"
    if value is None:
        return "missing"
    text = spell(value)
    # A model that gives a number is never told a text.
    if text is None or (known is None and isinstance(value, str)):
        return "type"
    if known and text not in known:
        return "class"
    moment = None
    if at is not None:
        moment = _moment(at)
        if moment is None:
            return "time"
        if moment > now + TOLERANCE:
            return "clock"
    return match[1], int(match[2]), text, moment


def _moment(at: object) -> datetime | None:
    """A time with its timezone.  One that a table holds as a time, not as text, is in UTC."""
    if isinstance(at, datetime):
        return at if at.tzinfo is not None else at.replace(tzinfo=timezone.utc)
    if not isinstance(at, str) or len(at) > 64:
        return None
    try:
        return parse_timestamp(at)
    except Usage:
        return None


def pack(frame: pl.DataFrame) -> bytes:
    """A batch as it is sealed: the format's name on a line, then Parquet."""
    out = io.BytesIO()
    out.write(_HEAD)
    made = io.BytesIO()
    frame.select(list(KEPT)).cast(KEPT).write_parquet(made, compression="zstd")
    out.write(made.getvalue())
    return out.getvalue()


def unpack(data: bytes) -> pl.DataFrame:
    """The inverse of `pack`; raises `Corrupt` for anything else."""
    if not data.startswith(_HEAD):
        raise Corrupt(
            f"a batch of labels does not begin with {FORMAT}",
            remedy="it is of a newer version of assay, or was altered",
            code="labels.format",
        )
    try:
        frame = pl.read_parquet(io.BytesIO(data[len(_HEAD) :]))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise Corrupt("a batch of labels cannot be read", code="labels.parquet") from error
    if frame.schema != KEPT:
        raise Corrupt("a batch of labels has other columns", code="labels.columns")
    return frame
