from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from assay.formats.convert import convert, encode_request
from assay.formats.detect import detect
from assay.formats.schema import Column

Convert: TypeAlias = Callable[..., bytes]

ROWS = 200
RNG = np.random.default_rng(7)
X = RNG.normal(size=(ROWS, 3))
X_MISSING = X.copy()
X_MISSING[::5, 1] = np.nan
TWO = (X[:, 0] + 0.5 * X[:, 1] + 0.5 * RNG.normal(size=ROWS) > 0).astype(int)
THREE = np.digitize(X[:, 0], [-0.5, 0.5])
REAL = 2 * X[:, 0] + RNG.normal(size=ROWS)
COLOURS = np.array(["red", "green", "blue"], dtype=object)[RNG.integers(0, 3, ROWS)]


def floats(matrix: Any) -> list[Column]:
    return [
        Column(name, "float", [None if np.isnan(v) else float(v) for v in matrix[:, i]])
        for i, name in enumerate("abc")
    ]


NUMBERS = floats(X)
NUMBERS_MISSING = floats(X_MISSING)
MIXED = [*NUMBERS, Column("colour", "string", list(COLOURS))]


def frame(*, missing: bool = False) -> Any:
    import pandas as pd

    made = pd.DataFrame(X_MISSING if missing else X, columns=list("abc"))
    made["colour"] = COLOURS
    return made


def one_hot(**options: Any) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    return ColumnTransformer(
        [
            ("number", make_pipeline(SimpleImputer(), StandardScaler()), list("abc")),
            ("text", OneHotEncoder(**options), ["colour"]),
        ]
    )


@pytest.fixture
def converted(tmp_path: Path) -> Convert:
    """Save a model by pickle and convert it, in this process."""

    def converted(model: Any, columns: list[Column] = NUMBERS) -> bytes:
        path = tmp_path / "model"
        path.write_bytes(pickle.dumps(model))
        return convert(encode_request(path, detect(path).format, columns))

    return converted
