from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.supply.scan import scan

Scan = Callable[..., dict[str, Any]]

RNG = np.random.default_rng(0)
X = np.abs(RNG.normal(size=(60, 4)))
TWO = np.arange(60) % 2
THREE = np.arange(60) % 3
REAL = X[:, 0] + RNG.normal(size=60) * 0.1
WORDS = ["red big", "blue", "big blue", "green"] * 15


@pytest.fixture
def scanned(tmp_path: Path) -> Scan:
    """Scan bytes, written under a name that says nothing."""

    def scanned(data: bytes, name: str = "model") -> dict[str, Any]:
        path = tmp_path / name
        path.write_bytes(data)
        return scan(path)

    return scanned


@pytest.fixture(scope="session")
def estimators() -> list[tuple[str, Any]]:
    """Every scikit-learn estimator that can be fitted here, and those of the boosting libraries."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(fitted())


def _arguments() -> dict[str, dict[str, Any]]:
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.preprocessing import StandardScaler

    classifier, regressor = LogisticRegression(), Ridge()
    wrapped = (
        "ClassifierChain MultiOutputClassifier OneVsOneClassifier OneVsRestClassifier "
        "OutputCodeClassifier FixedThresholdClassifier TunedThresholdClassifierCV "
        "SelfTrainingClassifier RFE RFECV SelectFromModel SequentialFeatureSelector "
        "CalibratedClassifierCV"
    )
    given: dict[str, dict[str, Any]] = {n: {"estimator": classifier} for n in wrapped.split()}
    for name in ("MultiOutputRegressor", "RegressorChain", "RANSACRegressor"):
        given[name] = {"estimator": regressor}
    for name in ("StackingClassifier", "VotingClassifier"):
        given[name] = {"estimators": [("a", classifier)]}
    for name in ("StackingRegressor", "VotingRegressor"):
        given[name] = {"estimators": [("a", regressor)]}
    given["GridSearchCV"] = {"estimator": classifier, "param_grid": {"C": [1, 2]}}
    given["RandomizedSearchCV"] = {
        "estimator": classifier,
        "param_distributions": {"C": [1, 2]},
        "n_iter": 2,
    }
    given["Pipeline"] = {"steps": [("scale", StandardScaler()), ("model", classifier)]}
    given["FeatureUnion"] = {"transformer_list": [("a", StandardScaler())]}
    given["ColumnTransformer"] = {
        "transformers": [("a", StandardScaler(), [0, 1])],
        "remainder": "passthrough",
    }
    given["RANSACRegressor"] = {"estimator": regressor, "min_samples": 10}
    given["SparseCoder"] = {"dictionary": X[:5]}
    given["GaussianRandomProjection"] = {"n_components": 2}
    given["SparseRandomProjection"] = {"n_components": 2}
    given["FrozenEstimator"] = {"estimator": LogisticRegression().fit(X, TWO)}
    return given


def _fit(estimator: Any) -> bool:
    distances = np.abs(X @ X.T)
    inputs: list[tuple[Any, ...]] = [
        (X, THREE), (X, TWO), (X, REAL), (X, np.abs(REAL) + 1), (X, np.stack([TWO, 1 - TWO], 1)),
        (X, np.stack([REAL, REAL], 1)), (TWO, REAL), (WORDS, TWO), ([{"a": 1}] * 60, TWO),
        ([[w] for w in WORDS],), (TWO,), ([[w] for w in WORDS], TWO), (distances, None),
    ]  # fmt: skip
    for given in inputs:
        try:
            estimator.fit(*given)
        except Exception:  # noqa: S112 - what suits an estimator is found by trying
            continue
        return True
    return False


def fitted() -> Iterator[tuple[str, Any]]:
    import lightgbm
    import xgboost
    from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
    from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier, SGDRegressor
    from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
    from sklearn.utils import all_estimators

    given = _arguments()
    for name, estimator_class in all_estimators():
        try:
            estimator = estimator_class(**given.get(name, {}))
        except TypeError:
            continue
        if _fit(estimator):
            yield name, estimator
    mixed = ColumnTransformer(
        [
            ("number", make_pipeline(SimpleImputer(), StandardScaler()), [0, 1]),
            ("text", OneHotEncoder(handle_unknown="ignore"), [2]),
        ]
    )
    rows = np.array([[x[0], x[1], w] for x, w in zip(X, WORDS, strict=True)], dtype=object)
    yield "mixed pipeline", make_pipeline(mixed, LogisticRegression()).fit(rows, TWO)
    yield "text pipeline", make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(WORDS, TWO)
    yield (
        "log pipeline",
        make_pipeline(FunctionTransformer(np.log1p, np.expm1), Ridge()).fit(X, REAL),
    )
    yield (
        "logged target",
        TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1).fit(
            X, np.abs(REAL)
        ),
    )
    for loss in ("hinge", "log_loss", "modified_huber", "squared_hinge", "perceptron"):
        yield f"sgd {loss}", SGDClassifier(loss=loss).fit(X, TWO)
    for loss in ("squared_error", "huber", "epsilon_insensitive", "squared_epsilon_insensitive"):
        yield f"sgd {loss}", SGDRegressor(loss=loss).fit(X, REAL)
    for loss in ("squared_error", "absolute_error", "gamma", "poisson", "quantile"):
        model = HistGradientBoostingRegressor(loss=loss, quantile=0.5, max_iter=3)
        yield f"hist {loss}", model.fit(X, np.abs(REAL) + 0.1)
    for loss in ("log_loss", "exponential"):
        yield f"gbc {loss}", GradientBoostingClassifier(loss=loss, n_estimators=3).fit(X, TWO)
    for tree in ("kd_tree", "ball_tree", "brute"):
        for metric in ("euclidean", "manhattan", "chebyshev", "minkowski"):
            model = KNeighborsClassifier(algorithm=tree, metric=metric, p=3)
            yield f"{tree} {metric}", model.fit(X, TWO)
    yield "haversine", NearestNeighbors(algorithm="ball_tree", metric="haversine").fit(X[:, :2])
    seeded = SGDClassifier(random_state=np.random.RandomState(1)).fit(X, TWO)
    yield "random state", seeded
    yield "generators", [np.random.default_rng(1), np.random.Generator(np.random.Philox(2))]
    yield "xgb classifier", xgboost.XGBClassifier(n_estimators=3).fit(X, TWO)
    yield "xgb regressor", xgboost.XGBRegressor(n_estimators=3).fit(X, REAL)
    yield "xgb forest", xgboost.XGBRFClassifier(n_estimators=3).fit(X, TWO)
    yield "xgb ranker", xgboost.XGBRanker(n_estimators=3).fit(X, TWO, qid=np.arange(60) // 10)
    yield "booster", xgboost.XGBClassifier(n_estimators=3).fit(X, TWO).get_booster()
    quiet: dict[str, Any] = {"n_estimators": 3, "verbose": -1, "min_child_samples": 2}
    yield "lgb classifier", lightgbm.LGBMClassifier(**quiet).fit(X, TWO)
    yield "lgb regressor", lightgbm.LGBMRegressor(**quiet).fit(X, REAL)
    yield "lgb ranker", lightgbm.LGBMRanker(**quiet).fit(X, TWO, group=[30, 30])
    yield "lgb booster", lightgbm.LGBMClassifier(**quiet).fit(X, TWO).booster_
    yield "arrays", [np.array(["a", None, 1.0], dtype=object), np.array(["abc"]), np.arange(3)]
    yield "records", np.array([(1, 2.0, "a")], dtype=[("a", "i4"), ("b", "f8"), ("c", "O")])
    yield "nested records", np.zeros(2, dtype=[("a", "f4", (2, 3)), ("b", [("c", "u1")])])
    yield "dates", np.array(["2020-01-01"], dtype="M8[D]")
    yield "masked", np.ma.masked_array([1, 2], mask=[True, False])
    yield "scalars", [np.float32(1), np.int64(2), np.bool_(True), np.str_("a"), np.dtype("f4")]
    yield "plain", plain_values()


def plain_values() -> Any:
    import collections
    import datetime
    import decimal
    import uuid

    return {
        "n": [None, True, 1, -1, 1 << 40, 1 << 200, 1.5, 1j, b"b", bytearray(b"ba"), "text"],
        "c": [(1,), [1], {1}, frozenset([1]), {"a": 1}, slice(1, 2), range(3)],
        "o": collections.OrderedDict(a=1),
        "d": [collections.defaultdict(list, a=[1]), collections.deque([1], 3)],
        "k": collections.Counter("abca"),
        "t": [
            datetime.date(2020, 1, 1),
            datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc),
            datetime.timedelta(1),
            datetime.time(1),
        ],
        "x": [decimal.Decimal("1.5"), uuid.UUID(int=1)],
    }


PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
