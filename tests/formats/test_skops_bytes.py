"""skops archives: one spelling each, the same estimator back, and nothing else let in."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.special import expit
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import Birch
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest, f_classif, mutual_info_classif
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import BernoulliNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder
from sklearn.svm import SVC
from skops import io as skops

from assay.errors import Usage
from assay.formats import skops_bytes
from assay.supply.scan import scan

RNG = np.random.default_rng(3)
X = RNG.normal(size=(80, 4))
Y = (X[:, 0] + RNG.normal(size=80) > 0).astype(int)
WORDS = np.where(Y, "yes", "no")

ESTIMATORS: dict[str, Callable[[], Any]] = {
    "linear": lambda: LogisticRegression().fit(X, WORDS),
    "forest": lambda: RandomForestClassifier(5, random_state=0).fit(X, Y),
    "boosted": lambda: GradientBoostingClassifier(n_estimators=3).fit(X, Y),
    "histogram": lambda: HistGradientBoostingClassifier(max_iter=3).fit(X, Y),
    "calibrated": lambda: CalibratedClassifierCV(BernoulliNB()).fit(X, Y),
    "search": lambda: GridSearchCV(SVC(), {"C": [1, 10]}, scoring="roc_auc").fit(X, Y),
    "neighbours": lambda: KNeighborsClassifier(algorithm="kd_tree").fit(X, Y),
    "loss": lambda: SGDClassifier(random_state=np.random.RandomState(1)).fit(X, Y),
    "functions": lambda: make_pipeline(
        MinMaxScaler(clip=True),
        FunctionTransformer(np.log1p),
        FunctionTransformer(expit),
        SelectKBest(f_classif, k=2),
        LogisticRegression(),
    ).fit(X, Y),
    "partial": lambda: make_pipeline(
        SelectKBest(partial(mutual_info_classif, random_state=0), k=2), LogisticRegression()
    ).fit(X, Y),
    "weights": lambda: LogisticRegression(class_weight={0: 1, 1: 2.5}).fit(X, Y),
    "unfitted": lambda: RandomForestClassifier(5),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_estimator_comes_back_the_same_and_its_bytes_are_a_fixed_point(name: str) -> None:
    estimator = ESTIMATORS[name]()
    data = skops_bytes.dump(estimator)
    back = skops_bytes.load(data)
    assert type(back) is type(estimator)
    assert back.get_params().keys() == estimator.get_params().keys()
    assert skops_bytes.dump(back) == data
    assert skops_bytes.normalise(data) == data
    if name != "unfitted":
        assert np.array_equal(back.predict(X), estimator.predict(X))


@pytest.mark.parametrize("name", ["forest", "calibrated"])
def test_a_copy_elsewhere_in_memory_has_the_same_bytes(name: str) -> None:
    estimator = ESTIMATORS[name]()
    copied = copy.deepcopy(estimator)
    assert skops_bytes.dump(copied) == skops_bytes.dump(estimator)


PROCESS = """
import hashlib, sys
if len(sys.argv) > 1:
    import scipy.special, sklearn.svm, json  # Other memory, other order of modules.
    ballast = [object() for _ in range(10_000)]
from scipy.special import expit
import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from assay.formats import skops_bytes
words = {"the", "a", "of", "and", "to", "in"}
model = make_pipeline(
    TfidfVectorizer(stop_words=list(sorted(words))),
    FunctionTransformer(expit, kw_args={"some": words, "frozen": frozenset(words), "raw": b"x"}),
    RandomForestClassifier(3, random_state=0),
)
model.steps[0][1].fit(["the cat", "a dog of war", "cat and dog"])
model.steps[2][1].fit(np.arange(40.0).reshape(20, 2), np.arange(20) % 2)
print(hashlib.sha256(skops_bytes.dump(model)).hexdigest())
"""


def test_two_processes_write_the_same_bytes() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", PROCESS, *more],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
            timeout=120,
        ).stdout
        for seed, more in (("1", []), ("77", ["x"]))
    }
    assert len(digests) == 1


def test_the_archive_is_stored_at_one_time_and_names_no_memory() -> None:
    with zipfile.ZipFile(io.BytesIO(skops_bytes.dump(ESTIMATORS["forest"]()))) as archive:
        entries = archive.infolist()
        assert entries[0].filename == "schema.json"
        assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
        assert {entry.compress_type for entry in entries} == {zipfile.ZIP_STORED}
        numbers = [int(entry.filename.partition(".")[0]) for entry in entries[1:]]
        assert numbers == sorted(numbers)
        assert max(numbers) < 10_000


def test_skops_itself_loads_the_archive(tmp_path: Any) -> None:
    estimator = ESTIMATORS["functions"]()
    path = tmp_path / "model.skops"
    path.write_bytes(skops_bytes.dump(estimator))
    back = skops.load(path, trusted=skops.get_untrusted_types(file=path))
    assert np.array_equal(back.predict(X), estimator.predict(X))


@pytest.mark.parametrize("name", ["linear", "forest", "histogram", "weights"])
def test_the_scanner_reads_the_archive(name: str, tmp_path: Any) -> None:
    path = tmp_path / "model.skops"
    path.write_bytes(skops_bytes.dump(ESTIMATORS[name]()))
    assert scan(path)["verdict"] == "clean"


def test_one_object_in_two_places_is_one_object_again() -> None:
    shared = [1.5, "x"]
    array = np.arange(3)
    given = FunctionTransformer(kw_args={"a": shared, "b": shared, "c": array, "d": [array]})
    data = skops_bytes.dump(given)
    back = skops_bytes.load(data).kw_args
    assert back["a"] is back["b"]
    assert back["c"] is back["d"][0]
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert sum(name.endswith(".npy") for name in archive.namelist()) == 1
    apart = FunctionTransformer(kw_args={"a": [1.5, "x"], "b": [1.5, "x"]})
    back = skops_bytes.load(skops_bytes.dump(apart)).kw_args
    assert back["a"] is not back["b"]


def test_a_sparse_matrix_is_kept_without_its_compression() -> None:
    given = FunctionTransformer(kw_args={"m": sparse.csr_matrix(np.eye(50))})
    back = skops_bytes.load(skops_bytes.dump(given)).kw_args["m"]
    assert np.array_equal(back.toarray(), np.eye(50))


def test_padding_inside_of_structured_arrays_does_not_show() -> None:
    dtype = np.dtype([("a", "i1"), ("b", "f8")], align=True)
    arrays: list[Any] = []
    for filling in (0, 255):
        raw = np.full(3 * dtype.itemsize, filling, dtype="u1").view(dtype)
        raw["a"], raw["b"] = [1, 2, 3], [0.5, 1.5, 2.5]
        arrays.append(FunctionTransformer(kw_args={"x": raw}))
    one, other = map(skops_bytes.dump, arrays)
    assert one == other


SCALARS: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
)
ARRAYS = st.sampled_from(
    [np.arange(3), np.asfortranarray(np.ones((2, 3))), np.float64(2.5), np.array(["a", "bc"])]
)
VALUES = st.recursive(
    SCALARS | ARRAYS | st.binary(max_size=8) | st.sets(st.text(max_size=4) | st.integers()),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_whatever_an_estimator_holds_is_a_fixed_point(value: Any) -> None:
    data = skops_bytes.dump(FunctionTransformer(kw_args={"value": value}))
    assert skops_bytes.normalise(data) == data
    back = skops_bytes.load(data).kw_args["value"]
    assert repr(back) == repr(value) if not _has_set(value) else type(back) is type(value)
    assert skops_bytes.dump(FunctionTransformer(kw_args={"value": back})) == data


def _has_set(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_set, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_has_set, value))
    return isinstance(value, set)


class Own(BaseEstimator):
    pass


def own(x: Any) -> Any:
    return x


@pytest.mark.parametrize(
    ("estimator", "code", "named"),
    [
        (make_pipeline(Own(), LogisticRegression()), "skops.untrusted", "steps[0][1]"),
        (FunctionTransformer(own), "skops.untrusted", "the function"),
        (FunctionTransformer(lambda x: x), "skops.untrusted", "<lambda>"),
        (FunctionTransformer("".join), "skops.", "join"),
        (FunctionTransformer(partial(own, 1)), "skops.untrusted", "own"),
        (FunctionTransformer(eval), "skops.untrusted", "eval"),
        (FunctionTransformer(os.unlink), "skops.untrusted", "unlink"),
        (FunctionTransformer(np.save), "skops.untrusted", "numpy.save"),
        (LogisticRegression(class_weight={False: 1, True: 2}), "skops.keys", "class_weight"),
        (FunctionTransformer(kw_args={1: 1, "1": 2}), "skops.damaged", "two keys"),
        (FunctionTransformer(kw_args={"s": {None, (1, b"x")}}), "skops.set", "kw_args.s"),
        (FunctionTransformer(kw_args={"o": OneHotEncoder().fit}), "skops.untrusted", "a method"),
    ],
)
def test_what_loading_would_have_to_trust_is_refused_where_it_is_made(
    estimator: Any, code: str, named: str
) -> None:
    with pytest.raises(Usage) as refused:
        skops_bytes.dump(estimator)
    assert code in refused.value.code
    assert named in refused.value.message
    assert refused.value.remedy


def test_what_skops_cannot_write_is_refused_with_its_reason() -> None:
    with pytest.raises(Usage, match="Birch are not supported") as refused:
        skops_bytes.dump(Birch())
    assert refused.value.code == "usage.skops.unsupported"


# -- archives that others made --------------------------------------------------------------------


def rebuilt(change: Callable[[dict[str, Any]], None], estimator: Any = None) -> bytes:
    """An archive whose schema was altered."""
    estimator = estimator or FunctionTransformer(
        np.log1p, kw_args={"a": [1, "x"], "b": np.arange(3), "t": (1,), "s": {1}}
    )
    with zipfile.ZipFile(io.BytesIO(skops_bytes.dump(estimator))) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(members["schema.json"])
    change(schema)
    members["schema.json"] = json.dumps(schema).encode()
    return skops_bytes.pack(list(members.items()))


def node(schema: Any, loader: str) -> dict[str, Any]:
    """The first node of a kind."""
    waiting = [schema]
    while waiting:
        here = waiting.pop(0)
        if isinstance(here, dict):
            if here.get("__loader__") == loader:
                return here
            waiting += here.values()
        elif isinstance(here, list):
            waiting += here
    raise AssertionError(f"no {loader}")


EVALUATES = ("numpy.f2py.crackfortran", "myeval")
"""Inside of a trusted library, and runs the text that it is given."""


@pytest.mark.parametrize(
    "loader", ["ListNode", "SetNode", "TupleNode", "TypeNode", "NdArrayNode", "DictNode"]
)
@pytest.mark.parametrize(
    "name", [EVALUATES, ("os", "system"), ("builtins", "eval"), ("numpy", "save")]
)
def test_no_node_calls_a_name_of_the_file_s_choosing(loader: str, name: tuple[str, str]) -> None:
    def change(schema: Any) -> None:
        found = node(schema, loader)
        found["__module__"], found["__class__"] = name

    with pytest.raises(Usage) as refused:
        skops_bytes.load(rebuilt(change))
    assert refused.value.code.startswith("usage.skops.")


@pytest.mark.parametrize(
    ("loader", "module", "name"),
    [
        ("FunctionNode", *EVALUATES),
        ("FunctionNode", "numpy", "load"),
        ("FunctionNode", "numpy", "f2py"),
        ("FunctionNode", "sklearn.metrics._scorer", "get_scorer"),
        ("FunctionNode", "sklearn.metrics._ranking", "_binary_clf_curve"),
        ("ObjectNode", "subprocess", "Popen"),
        ("ObjectNode", "numpy.f2py.crackfortran", "myeval"),
        ("ObjectNode", "sklearn.utils.no_such", "Thing"),
        ("ObjectNode", "sklearn.utils", "Path"),
        ("LossNode", "sklearn._loss._loss", "__pyx_unpickle_Enum"),
        ("LossNode", "numpy", "Save"),
        ("ConstructorFromReduceNode", *EVALUATES),
        ("ConstructorFromReduceNode", "builtins", "eval"),
        ("MethodNode", "sklearn.preprocessing._function_transformer", "FunctionTransformer"),
        ("OperatorFuncNode", "operator", "methodcaller"),
        ("QuantileForestNode", "quantile_forest", "QuantileForest"),
        ("NoSuchNode", "builtins", "list"),
        ("SparseMatrixNode", "os", "system"),
        ("MaskedArrayNode", "os", "MaskedArray"),
        ("TupleNode", "sklearn.utils._bunch", "Bunch"),
    ],
)
def test_only_what_estimators_are_made_of_is_named(loader: str, module: str, name: str) -> None:
    def change(schema: Any) -> None:
        found = node(schema, "FunctionNode")
        found |= {"__loader__": loader, "__module__": module, "__class__": name}

    with pytest.raises(Usage) as refused:
        skops_bytes.load(rebuilt(change))
    assert refused.value.code == "usage.skops.untrusted"
    assert f"{module}.{name}" in refused.value.message


def test_a_partial_of_something_else_than_a_function_is_refused() -> None:
    def change(schema: Any) -> None:
        found = node(schema, "PartialNode")["content"]
        found["func"] = {
            "__loader__": "TypeNode",
            "__module__": "sklearn.linear_model._logistic",
            "__class__": "LogisticRegression",
            "__id__": 9999,
        }

    with pytest.raises(Usage, match="calls something else"):
        skops_bytes.load(rebuilt(change, FunctionTransformer(partial(mutual_info_classif))))


def _drop(name: str) -> Callable[[dict[str, Any]], None]:
    def change(schema: dict[str, Any]) -> None:
        waiting: list[Any] = [schema]
        while waiting:
            here = waiting.pop()
            if isinstance(here, dict):
                here.pop(name, None)
                waiting += here.values()
            elif isinstance(here, list):
                waiting += here

    return change


@pytest.mark.parametrize(
    "change",
    [
        *map(_drop, ["__loader__", "__class__", "key_types", "file", "protocol"]),
        lambda schema: node(schema, "ListNode").pop("content"),
        lambda schema: node(schema, "TupleNode").pop("content"),
        lambda schema: schema.update(protocol=1),
        lambda schema: schema.update(protocol=99),
        lambda schema: schema.update(protocol=True),
        lambda schema: node(schema, "JsonNode").update(content="{}"),
        lambda schema: node(schema, "JsonNode").update(content="os.system"),
        lambda schema: node(schema, "JsonNode").update(__loader__="CachedNode", __id__=12345),
        lambda schema: node(schema, "NdArrayNode").update(file="schema.json"),
        lambda schema: node(schema, "NdArrayNode").update(file="../../etc/passwd"),
        lambda schema: node(schema, "DictNode").update(key_types={"content": []}),
        lambda schema: node(schema, "DictNode")["key_types"].update(__loader__="TupleNode"),
    ],
)
def test_a_damaged_schema_is_refused(change: Callable[[dict[str, Any]], None]) -> None:
    with pytest.raises(Usage) as refused:
        skops_bytes.load(rebuilt(change))
    assert refused.value.code.startswith("usage.skops.")


def test_a_node_that_holds_itself_is_refused() -> None:
    def change(schema: Any) -> None:
        inner: Any = {"__loader__": "JsonNode", "__module__": "builtins", "__class__": "str"}
        inner["content"] = "1"
        for number in range(400):
            inner = {
                "__loader__": "ListNode",
                "__module__": "builtins",
                "__class__": "list",
                "__id__": 10_000 + number,
                "content": [inner],
            }
        found = node(schema, "FunctionNode")
        found.clear()
        found.update(inner)

    with pytest.raises(Usage):
        skops_bytes.load(rebuilt(change))


@pytest.mark.parametrize("data", [b"", b"PK", b"\x80\x04N.", b"PK\x05\x06" + bytes(18)])
def test_something_else_than_an_archive_is_refused(data: bytes) -> None:
    with pytest.raises(Usage, match="cannot be read"):
        skops_bytes.load(data)


def test_an_archive_that_swells_is_refused() -> None:
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", bytes(50_000_000))
    with pytest.raises(Usage, match="far more than its size"):
        skops_bytes.load(bomb.getvalue())


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_an_altered_byte_never_raises_anything_else(data: st.DataObject) -> None:
    raw = bytearray(ARCHIVE)
    position = data.draw(st.integers(0, len(raw) - 1))
    raw[position] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(Usage):
        skops_bytes.normalise(bytes(raw))


ARCHIVE = skops_bytes.dump(TfidfVectorizer().fit(["a cat", "the dog"]))
