"""A bank's model: will a client fail to pay the next bill?

Reads the table that ``assay data sample`` wrote, splits it, and trains an ordinary scikit-learn
pipeline.  Nothing here knows of assay: it takes in the model that was saved.
"""

from __future__ import annotations

import sys
from pathlib import Path

import joblib
import polars as pl
from sklearn.ensemble import HistGradientBoostingClassifier

LABEL = "default-payment-next-month"


def main(folder: Path) -> None:
    table = pl.read_csv(folder / "credit.csv").drop("ID")
    table = table.sample(fraction=1, seed=7, shuffle=True)
    train, test = table[:9_000], table[9_000:15_000]
    train.write_csv(folder / "train.csv")
    test.write_csv(folder / "test.csv")
    model = HistGradientBoostingClassifier(
        max_depth=3, max_iter=50, min_samples_leaf=100, random_state=0
    )
    model.fit(train.drop(LABEL).to_numpy(), train[LABEL].to_numpy())
    joblib.dump(model, folder / "model.joblib")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
