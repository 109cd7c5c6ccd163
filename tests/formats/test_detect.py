from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import NotFound, Usage
from assay.formats.detect import detect, detect_bytes


def safetensors() -> bytes:
    from safetensors.numpy import save

    return save({"w": np.zeros((2, 3), dtype="f4")}, metadata={"format": "np"})


@pytest.fixture(scope="module")
def real() -> dict[str, tuple[str, bytes]]:
    """Files that the libraries themselves wrote: name -> (format, bytes)."""
    import lightgbm
    import skops.io
    import xgboost
    from onnx import TensorProto, helper
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(60, 3)), np.arange(60) % 2
    forest = RandomForestClassifier(3, random_state=0).fit(rows, labels)
    xgb = xgboost.XGBClassifier(n_estimators=2).fit(rows, labels)
    lgb = lightgbm.LGBMClassifier(n_estimators=2, verbose=-1).fit(rows, labels)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, [None, 1])],
        [value("y", TensorProto.FLOAT, [None, 1])],
    )
    found: dict[str, tuple[str, bytes]] = {
        "skops": ("skops", skops.io.dumps(forest)),
        "xgboost json": ("xgboost-json", bytes(xgb.get_booster().save_raw("json"))),
        "xgboost ubj": ("xgboost-ubj", bytes(xgb.get_booster().save_raw("ubj"))),
        "lightgbm": ("lightgbm-text", lgb.booster_.model_to_string().encode()),
        "safetensors": ("safetensors", safetensors()),
        "onnx": ("onnx", helper.make_model(graph).SerializeToString()),
        "xgboost pickle": ("sklearn-pickle", pickle.dumps(xgb)),
        "lightgbm pickle": ("sklearn-pickle", pickle.dumps(lgb)),
    }
    for protocol in range(6):
        found[f"pickle {protocol}"] = ("sklearn-pickle", pickle.dumps(forest, protocol))
    squeeze: tuple[Any, ...] = (0, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3))
    for compress in squeeze:
        stream = io.BytesIO()
        joblib.dump(forest, stream, compress=compress)
        found[f"joblib {compress}"] = ("sklearn-joblib", stream.getvalue())
    return found


def test_the_libraries_own_files_are_told_apart(real: dict[str, tuple[str, bytes]]) -> None:
    for name, (wanted, data) in real.items():
        found = detect_bytes(data)
        assert found.format == wanted, (name, found)
        assert found.pickle is (wanted in ("sklearn-pickle", "sklearn-joblib")), name
        assert found.why


def test_a_name_that_lies_changes_nothing(
    real: dict[str, tuple[str, bytes]], tmp_path: Path
) -> None:
    for index, (wanted, data) in enumerate(real.values()):
        for suffix in ("onnx", "safetensors", "pkl", "json"):
            path = tmp_path / f"{index}.{suffix}"
            path.write_bytes(data)
            assert detect(path).format == wanted


def test_a_file_cut_short_is_never_taken_for_something_else(
    real: dict[str, tuple[str, bytes]],
) -> None:
    for name, (wanted, data) in real.items():
        for keep in (1, 2, 8, 9, 20, 100, len(data) // 2, len(data) - 1):
            found = detect_bytes(data[:keep]).format
            pickles = {"sklearn-pickle", "sklearn-joblib"}
            assert found in {"unknown", wanted} | (pickles if wanted in pickles else set()), name


def test_what_is_no_model_is_unknown() -> None:
    npy = io.BytesIO()
    np.save(npy, np.arange(3))
    for data in (
        b"", b"\0", b"hello", b"{}", b"[]", b"PK\x03\x04", b"PK\x03\x04" + b"\0" * 100,
        b"\x1f\x8b", b"\x1f\x8b" + b"\0" * 50, b"{\x80", npy.getvalue(), b"\x80\x04N.",
        b"\x28\xb5\x2f\xfd" + b"\0" * 20, b"<html>.",
    ):  # fmt: skip
        assert detect_bytes(data).format == "unknown", data


def test_what_may_hold_a_pickle_says_so() -> None:
    npy = io.BytesIO()
    np.save(npy, np.array([None], dtype=object))
    assert detect_bytes(npy.getvalue()).pickle
    assert detect_bytes(b"\x80\x04N.").pickle
    assert detect_bytes(b"cos\nsystem\n(Vid\ntR.").pickle
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        made.writestr("m/data.pkl", b"N.")
    assert detect_bytes(stream.getvalue()).pickle


def test_folders_of_safetensors_are_a_model(tmp_path: Path) -> None:
    assert detect(tmp_path).format == "unknown"
    (tmp_path / "a.safetensors").write_bytes(safetensors())
    assert detect(tmp_path).format == "safetensors"
    (tmp_path / "b.safetensors").write_bytes(b"\x80\x04N.")
    assert detect(tmp_path).format == "unknown"


def test_a_folder_with_a_link_is_refused_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").symlink_to("/etc/passwd")
    with pytest.raises(Usage):
        detect(tmp_path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        detect(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Usage):
        detect(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(Usage):
        detect(tmp_path / "link")


MAGICS = [
    b"", b"PK\x03\x04", b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0", b"]\0\0", b"x\x9c", b"{", b"{L",
    b"\x80\x04", b"tree\nversion=v4\n", b"\x08\x07", struct.pack("<Q", 20) + b"{", b"\x93NUMPY",
    b"\x04\x22\x4d\x18",
]  # fmt: skip


@given(st.sampled_from(MAGICS), st.binary(max_size=300))
def test_any_bytes_are_something_or_unknown(magic: bytes, data: bytes) -> None:
    assert detect_bytes(magic + data).why


@given(st.data())
def test_altered_archives_and_models_never_raise(data: Any) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("schema.json", b"{}")
        made.writestr("1.npy", b"x" * 20)
    raw = bytearray(data.draw(st.sampled_from([stream.getvalue(), safetensors()])))
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    assert detect_bytes(bytes(raw)).why
