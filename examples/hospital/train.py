"""A hospital's model: will a patient of the ACTG 175 trial progress (or die) within the study?

Reads the table that ``assay data sample`` wrote, splits it, and trains an ordinary scikit-learn
pipeline with named columns.  Nothing here knows of assay: it takes in the model that was saved.
"""

from __future__ import annotations

import sys
from pathlib import Path

import joblib
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

LABEL = "cens"
# The patient's number, and what is known only when the study is over.
KNOWN_LATER = ["pidnum", "days", "r", "cd496", "offtrt"]


def main(folder: Path) -> None:
    table = pd.read_csv(folder / "trial.csv", index_col=0).drop(columns=KNOWN_LATER)
    table = table.sample(frac=1, random_state=3)
    train, test = table[:1_100], table[1_100:]
    train.to_csv(folder / "train.csv", index=False)
    test.to_csv(folder / "test.csv", index=False)
    features = [column for column in table.columns if column != LABEL]
    model = make_pipeline(
        ColumnTransformer([("scale", StandardScaler(), features)]),
        LogisticRegression(C=0.05, max_iter=1_000),
    )
    model.fit(train[features], train[LABEL])
    joblib.dump(model, folder / "model.joblib")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
