"""What files and metadata say of themselves: read with bounds, and never taken for more."""

from __future__ import annotations

import importlib.metadata
import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.isolation.run import run
from assay.supply.bom import installed, licences, named
from assay.supply.bom.named import Named

FORMATS = ("skops", "onnx", "xgboost-json", "xgboost-ubj", "lightgbm-text", "sklearn-pickle")


def skops(path: Path, schema: Any) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("schema.json", json.dumps(schema))
    return path


@pytest.fixture(scope="module")
def fitted() -> Any:
    linear = pytest.importorskip("sklearn.linear_model")
    return linear.LogisticRegression().fit([[0.0], [1.0]], [0, 1])


def test_a_skops_file_names_its_libraries_and_what_it_holds(fitted: Any, tmp_path: Path) -> None:
    skops_io = pytest.importorskip("skops.io")
    path = tmp_path / "model.skops"
    skops_io.dump(fitted, path)
    found = named.named(path, "skops")
    assert found.libraries["scikit-learn"] == importlib.metadata.version("scikit-learn")
    assert found.libraries["numpy"] == ""
    assert found.architecture == "sklearn.linear_model._logistic.LogisticRegression"
    assert found.writer == f"skops {importlib.metadata.version('skops')}"


@pytest.mark.parametrize("protocol", range(2, 6))
def test_a_pickle_names_the_version_of_scikit_learn_in_each_protocol(
    fitted: Any, tmp_path: Path, protocol: int
) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(fitted, protocol=protocol))
    version = importlib.metadata.version("scikit-learn")
    assert named.named(path, "sklearn-pickle").libraries == {"scikit-learn": version}


def test_an_onnx_file_names_who_wrote_it(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    graph = onnx.helper.make_graph([], "g", [], [])
    made = onnx.helper.make_model(graph, producer_name="skl2onnx", producer_version="1.20.0")
    path = tmp_path / "model.onnx"
    path.write_bytes(made.SerializeToString())
    assert named.named(path, "onnx") == Named({}, "", "skl2onnx 1.20.0")


def test_an_xgboost_file_names_its_version(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text('{"learner": {}, "version": [3, 2, 0]}')
    assert named.named(path, "xgboost-json").libraries == {"xgboost": "3.2.0"}


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(FORMATS))
def test_no_bytes_make_it_raise(tmp_path_factory: Any, data: bytes, model_format: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(data)
    assert isinstance(named.named(path, model_format), Named)


@pytest.mark.parametrize(
    "schema",
    [
        [],
        3,
        {"__module__": 3},
        {"content": {"_sklearn_version": 3}},
        {"content": {"_sklearn_version": {"content": None}}},
        {"a": [[[[[[{}]]]]]]},
    ],
)
def test_a_schema_of_another_form_names_nothing_that_is_believed(
    tmp_path: Path, schema: Any
) -> None:
    found = named.named(skops(tmp_path / "m.skops", schema), "skops")
    assert named.decode(msgspec.json.encode(found)).libraries.get("scikit-learn", "") == ""


def test_a_schema_that_unpacks_to_too_much_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named, "_MOST_JSON", 1000)
    path = tmp_path / "bomb.skops"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", b" " * 100_000)
    assert named.named(path, "skops") == Named()


def test_the_answer_of_a_confined_process_is_not_believed_to_be_well_formed() -> None:
    assert named.decode(b"nonsense") == Named()
    told = {
        "libraries": {"scikit-learn": "1.9.1; rm -rf /", "evil": "1"},
        "architecture": "sklearn; import os",
        "writer": "skops\x1b[31m" + "x" * 500,
    }
    found = named.decode(msgspec.json.encode(told))
    assert found.libraries == {"scikit-learn": ""}
    assert found.architecture == ""
    assert found.writer.startswith("skops[31m")
    assert len(found.writer) <= 120


def test_it_answers_from_a_confined_process(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text('{"learner": {}, "version": [3, 2, 0]}')
    told = run(
        "assay.supply.bom.named:named_confined", f"xgboost-json\0{path}".encode(), inputs=[path]
    )
    assert named.decode(told.value).libraries == {"xgboost": "3.2.0"}


def test_the_names_that_a_pickle_reaches_tell_of_known_libraries_alone() -> None:
    reached = ["sklearn.tree._classes.DecisionTreeClassifier", "numpy.ndarray", "os.system"]
    assert named.of_globals(reached) == {"numpy": "", "scikit-learn": ""}


# -- licences and suppliers -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value", "spdx"),
    [
        ("MIT", "MIT", True),
        ("mit", "MIT", True),
        ("CC BY 4.0", "CC-BY-4.0", True),
        ("BSD-3-Clause AND 0BSD", "BSD-3-Clause AND 0BSD", True),
        ("GPL-3.0-only WITH Classpath-exception-2.0",) * 2 + (True,),
        ("BSD License", "BSD License", False),
        ("Apache Software License", "Apache Software License", False),
        ("our own terms", "our own terms", False),
        ("MIT OR (", "MIT OR (", False),
        ("x" * 1000, "x" * 200, False),
    ],
)
def test_a_licence_is_an_expression_only_where_it_is_one(text: str, value: str, spdx: bool) -> None:
    found = licences.spell(text, "somebody")
    assert (found.value, found.spdx, found.basis) == (value, spdx, "declared")


@pytest.mark.parametrize("text", ["", "  ", "UNKNOWN", "NOASSERTION"])
def test_no_licence_is_unknown_and_never_a_free_one(text: str) -> None:
    assert not licences.spell(text, "somebody").known


def test_without_the_library_of_licences_a_name_stays_a_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(licences, "_licensing", lambda: None)
    assert licences.spell("MIT", "somebody").spdx is False


def _distribution(monkeypatch: pytest.MonkeyPatch, metadata: str, version: str = "1.0") -> None:
    class Found(importlib.metadata.Distribution):
        def read_text(self, filename: str) -> str | None:
            head = f"Metadata-Version: 2.4\nName: thing\nVersion: {version}\n{metadata}"
            return head if filename == "METADATA" else None

        def locate_file(self, path: Any) -> Any:
            return io.StringIO(str(path))

    monkeypatch.setattr(importlib.metadata, "distribution", lambda _: Found())


def test_another_version_than_the_installed_one_tells_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _distribution(monkeypatch, "License-Expression: MIT\n")
    assert installed.about("thing", "1.1") is None
    found = installed.about("thing", "1.0")
    assert found is not None
    assert found.licence.value == "MIT"


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ("License-Expression: MIT OR Apache-2.0\nLicense: BSD\n", "MIT OR Apache-2.0"),
        ("License: Apache-2.0\n", "Apache-2.0"),
        ("Classifier: License :: OSI Approved :: MIT License\n", "MIT"),
        ("Classifier: License :: OSI Approved :: BSD License\n", "BSD License"),
        (
            "Classifier: License :: OSI Approved :: MIT License\n"
            "Classifier: License :: OSI Approved :: Zlib License\n",
            "MIT License AND Zlib License",
        ),
        ("License: " + "very long text " * 50 + "\n", None),
        ("", None),
    ],
)
def test_the_licence_is_the_most_exact_that_the_metadata_names(
    monkeypatch: pytest.MonkeyPatch, metadata: str, licence: str | None
) -> None:
    _distribution(monkeypatch, metadata)
    found = installed.about("thing", "1.0")
    assert found is not None
    assert found.licence.value == licence
    assert found.licence.known == (licence is not None)


@pytest.mark.parametrize(
    ("metadata", "supplier"),
    [
        ("Author: Ada\nMaintainer: The project\n", "The project"),
        ("Maintainer-email: Ada L <ada@example.org>, Bo <bo@example.org>\n", "Ada L"),
        ("Author-email: ada@example.org\n", "example.org"),
        ("", None),
    ],
)
def test_a_supplier_is_named_without_an_address(
    monkeypatch: pytest.MonkeyPatch, metadata: str, supplier: str | None
) -> None:
    _distribution(monkeypatch, metadata)
    found = installed.about("thing", "1.0")
    assert found is not None
    assert found.supplier.value == supplier
    assert "@" not in str(found.supplier.value)


def test_what_it_requires_leaves_out_extras_and_other_platforms(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _distribution(
        monkeypatch,
        "Requires-Dist: NumPy>=2\nRequires-Dist: x; extra == 'dev'\n"
        "Requires-Dist: y; python_version < '3'\nRequires-Dist: not a requirement !!\n",
    )
    found = installed.about("thing", "1.0")
    assert found is not None
    assert found.requires == ("numpy",)
