"""The part of `assay.data.issues` that trains: runs confined, answers with a count."""

from __future__ import annotations

import io
from typing import Any

_SEED = 0
_FOLDS = 5


def confined(payload: bytes) -> bytes:
    """A table of a ``label`` (from 0) and features, in Arrow IPC, to the number of labels that
    are likely wrong."""
    import numpy as np
    import polars as pl
    from cleanlab.filter import find_label_issues
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    frame = pl.read_ipc(io.BytesIO(payload))
    labels = frame["label"].to_numpy()
    features = frame.drop("label").to_numpy()
    # Infinities are no numbers to a tree; far out is.
    features = np.clip(features, -1e300, 1e300)
    # Its stopping early is said to be text only, where there are no types but defaults.
    options: Any = {"early_stopping": False, "random_state": _SEED}
    model = HistGradientBoostingClassifier(
        max_iter=60, learning_rate=0.15, max_leaf_nodes=15, **options
    )
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=_SEED)
    chances: Any = cross_val_predict(model, features, labels, cv=folds, method="predict_proba")
    doubtful: Any = find_label_issues(labels, chances, n_jobs=1)
    return str(int(np.count_nonzero(doubtful))).encode()
