"""Predictions and labels of them, as the join is given them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import polars as pl

from assay.monitor.feedback import GIVEN, Caps, Joined, join

START = datetime(2026, 3, 1, tzinfo=timezone.utc)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
HORIZON = timedelta(days=7)
CLOSES = START + DAY + HORIZON
END = START + 30 * DAY


def prediction_id(number: int) -> str:
    return f"019cab00-{number:04x}-7000-8000-{(number * 7919) % 2**48:012x}"


def predictions(count: int = 10, *, version: str = "1", rows: int = 1) -> pl.DataFrame:
    """One request a minute from the window's start."""
    return pl.DataFrame(
        {
            "prediction_id": [prediction_id(n) for n in range(count) for _ in range(rows)],
            "row": pl.Series([r for _ in range(count) for r in range(rows)], dtype=pl.Int32),
            "at": [START + timedelta(minutes=n) for n in range(count) for _ in range(rows)],
            "version": [version] * (count * rows),
            "in.a": [float(n) for n in range(count) for _ in range(rows)],
        },
        schema={
            "prediction_id": pl.String,
            "row": pl.Int32,
            "at": pl.Datetime("us", "UTC"),
            "version": pl.String,
            "in.a": pl.Float64,
        },
    )


def label(
    number: int | str,
    value: object = 1,
    *,
    source: str = "bank",
    received: datetime = START + 5 * HOUR,
    at: datetime | None = None,
    row: int = 0,
) -> dict[str, Any]:
    name = number if isinstance(number, str) else prediction_id(number)
    text = f'"{value}"' if isinstance(value, str) else str(value)
    made = {"prediction_id": name, "row": row, "label": text, "at": at, "received": received}
    return {**made, "source": source}


def labels(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=GIVEN)


def joined(told: pl.DataFrame, made: pl.DataFrame | None = None, **changed: Any) -> Joined:
    asked: dict[str, Any] = {
        "until": END,
        "closes": CLOSES,
        "classes": [0, 1],
        "caps": Caps(),
        **changed,
    }
    return join(predictions() if made is None else made, told, **asked)


def values(found: Joined) -> dict[int, Any]:
    """Label by number of the prediction, where there is one."""
    frame = found.labelled.with_row_index("n")
    return {int(r["in.a"]): r["label"] for r in frame.iter_rows(named=True)}
