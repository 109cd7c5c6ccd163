"""Train another model as an original was trained, in a confined worker: for shadow models.

The original is loaded with its library (which may run code that its file brings, hence the
confinement), its estimator is cloned unfitted, and the clone is fitted to the rows given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from assay.errors import Usage
from assay.formats.schema import Column

TARGET = "assay.formats.retrain:load"
FORMATS = frozenset({"sklearn-pickle", "sklearn-joblib", "skops"})
"""Formats that keep the estimator with its parameters; others keep only what was learnt."""


class Init(msgspec.Struct, frozen=True):
    """The original's file, readable by the worker, and its detected format."""

    path: str
    model_format: str


class Fit(msgspec.Struct, frozen=True, tag="fit"):
    """Fit a fresh clone to rows; `seed` goes to every ``random_state``."""

    columns: list[Column]
    labels: list[int | str]
    seed: int


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """Score rows with the clone fitted last."""

    columns: list[Column]


def load(init: bytes) -> Callable[[bytes], bytes]:
    """Runs confined: the handler of a worker for one original."""
    from sklearn.base import clone

    from assay.formats.loaders import load as load_original
    from assay.formats.originals import Original, adapt, frame, matrix

    given = msgspec.msgpack.decode(init, type=Init)
    model = load_original(Path(given.path), given.model_format)
    fitted: Original | None = None

    def handle(request: bytes) -> bytes:
        nonlocal fitted
        asked = msgspec.msgpack.decode(request, type=Fit | Ask)
        if isinstance(asked, Ask):
            if fitted is None:
                raise Usage("nothing was fitted yet", code="retrain")
            scores = np.ascontiguousarray(fitted.scores(asked.columns), dtype="<f8")
            return msgspec.msgpack.encode({"shape": list(scores.shape), "data": scores.tobytes()})
        original = adapt(model, asked.columns)
        fresh: Any = clone(original.model)
        seeds = {name: asked.seed for name in fresh.get_params() if name.endswith("random_state")}
        fresh.set_params(**seeds)
        rows = (
            frame(asked.columns, original.names)
            if original.by_name
            else matrix(asked.columns, original.names)
        )
        fresh.fit(rows, np.array(asked.labels))
        fitted = replace(original, model=fresh)
        return b""

    return handle
