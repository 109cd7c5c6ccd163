"""A pipeline: from a table in a database to an assessed model version.

Nothing here knows where it runs, what a cache is, or how to sign: these are plain typed functions.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pandera.polars as pa
import polars as pl
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from assay.pipeline import assess, check, each, extract, pipeline, publish, register, step

CUSTOMER = "ID"
LABEL = "default-payment-next-month"


class Loans(pa.DataFrameModel):
    """What a row must look like; a row that does not is counted, and its values stay unsaid."""

    AGE: int = pa.Field(ge=18, le=120)
    LIMIT_BAL: float = pa.Field(ge=0, coerce=True)


@step
def split(
    rows: Annotated[pl.DataFrame, Loans], held_out: float, seed: int = 0
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows to train on, and rows to judge by; whose they are goes no further than here."""
    shuffled = rows.drop(CUSTOMER, strict=False).sample(fraction=1.0, shuffle=True, seed=seed)
    cut = int(shuffled.height * held_out)
    return shuffled.slice(cut), shuffled.head(cut)


@step(timeout=300)
def fit(rows: pl.DataFrame, leaves: int, seed: int = 0) -> HistGradientBoostingClassifier:
    """One candidate."""
    model = HistGradientBoostingClassifier(
        max_leaf_nodes=leaves, max_iter=60, learning_rate=0.08, random_state=seed
    )
    return model.fit(rows.drop(LABEL), rows[LABEL])


@step
def auc(model: HistGradientBoostingClassifier, rows: pl.DataFrame) -> float:
    """How well a candidate ranks rows that it has not seen."""
    scores = model.predict_proba(rows.drop(LABEL))[:, 1]
    return float(roc_auc_score(rows[LABEL], scores))


@step
def best(
    models: list[HistGradientBoostingClassifier], scores: list[float]
) -> HistGradientBoostingClassifier:
    """The candidate with the highest score."""
    print("scores:", ", ".join(f"{score:.4f}" for score in scores))
    return models[int(np.argmax(scores))]


@pipeline(purpose="credit-scoring")
def credit(leaves: list[int] = [4, 8], held_out: float = 0.25) -> object:  # noqa: B006
    """Extract, validate, train two candidates, register the better one and assess it."""
    loans = extract(
        "warehouse",
        query="SELECT * FROM loans",
        dataset="loans",
        owner="credit risk",
        licence="CC-BY-4.0",
        purposes=["credit-scoring"],
        legal_basis="contract",
        subject_column=CUSTOMER,
    )
    training, test = split(loans, held_out)
    training_rows = check(publish(training, dataset="loans-training"), label=LABEL)
    test_rows = publish(test, dataset="loans-test")
    inner, validation = split(training_rows, 0.2)
    models = fit.map(inner, leaves=each(leaves))
    scores = auc.map(each(models), validation)
    version = register(
        best(models, scores),
        name="default",
        train=training_rows,
        test=test_rows,
        label=LABEL,
        positive=1,
        sensitive=["SEX", "AGE"],
    )
    return assess(version)
