"""Things that real libraries write and that were once taken for unusual."""

from __future__ import annotations

import io
import pickle
import zipfile
from typing import Any

import numpy as np
import pytest


def rules(answer: dict[str, Any]) -> set[str]:
    return {finding["rule"] for finding in answer["findings"]}


@pytest.mark.parametrize("kind", ["LGBMClassifier", "LGBMRegressor", "LGBMRanker"])
def test_a_lightgbm_model_saved_as_text_is_clean(scanned: Any, kind: str) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    x, y = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 2
    more = {"group": [30, 30]} if kind == "LGBMRanker" else {}
    model = getattr(lightgbm, kind)(n_estimators=2, verbose=-1, min_child_samples=2)
    text = model.fit(x, y, **more).booster_.model_to_string()
    answer = scanned(text.encode(), "model.txt")
    assert (answer["format"], answer["verdict"]) == ("lightgbm-text", "clean"), answer


def test_the_length_of_a_container_is_harmless_that_of_an_object_is_not_known(scanned: Any) -> None:
    for argument in (b"]", b"}", b"\x8f", b")", b"X\1\0\0\0a", b"B\1\0\0\0a"):
        data = b"\x80\x04cbuiltins\nlen\n" + argument + b"\x85R."
        assert scanned(data)["clean"], argument
    for argument in (b"cuuid\nUUID\n)\x81", b"cbuiltins\nrange\nK\1\x85R"):
        answer = scanned(b"\x80\x04cbuiltins\nlen\n" + argument + b"\x85R.")
        assert rules(answer) == {"pickle.call"}, answer


def test_a_dict_may_be_made_by_its_name(scanned: Any) -> None:
    assert scanned(b"\x80\x02cbuiltins\ndict\n)R.")["clean"]
    assert scanned(b"\x80\x02cbuiltins\ndict\n}\x85R.")["clean"]


# PyTorch before 1.6 keeps the class of each module as a persistent id, beside its source.


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + len(data).to_bytes(4, "little") + data


def legacy(module: str, name: str, source: bytes = text("class ReLU: ...")) -> bytes:
    kind = b"c" + module.encode() + b"\n" + name.encode() + b"\n"
    identity = b"(" + text("module") + kind + text("/torch/activation.py") + source + b"tQ"
    model = b"\x80\x02" + identity + b")\x81}b."
    heads = [pickle.dumps(n, 2) for n in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    return b"".join(heads) + model + pickle.dumps([], 2)


def test_a_module_saved_with_its_source_is_clean_where_its_class_is_pytorchs(scanned: Any) -> None:
    data = legacy("torch.nn.modules.activation", "ReLU")
    answer = scanned(data)
    assert (answer["format"], answer["verdict"]) == ("torch-legacy", "clean"), answer
    assert scanned(legacy("torch.nn.modules.activation", "ReLU", text("x" * 5000)))["clean"]


@pytest.mark.parametrize(
    ("module", "name", "source"),
    [
        ("os", "system", text("x")),
        ("mine", "Net", text("x")),
        ("sklearn.svm._classes", "SVC", text("x")),
        ("builtins", "bytearray", text("x")),
        ("torch.nn.modules.activation", "ReLU", b"}"),
    ],
)
def test_a_persistent_id_names_no_other_class(
    scanned: Any, module: str, name: str, source: bytes
) -> None:
    assert scanned(legacy(module, name, source))["verdict"] != "clean"


def test_only_old_files_name_classes_by_persistent_ids(scanned: Any) -> None:
    kind = b"(" + text("module") + b"ctorch.nn.modules.activation\nReLU\n" + text("a") + text("b")
    answer = scanned(torch_file(b"\x80\x02" + kind + b"tQ)\x81}b.", {}))
    assert "pickle.persistent" in rules(answer)


# Sparse tensors.


def torch_file(data: bytes, storages: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        made.writestr("a/data.pkl", data)
        made.writestr("a/version", "3\n")
        for key, content in storages.items():
            made.writestr(f"a/data/{key}", content)
    return stream.getvalue()


def tensor(kind: str, key: str, count: int, shape: bytes, steps: bytes) -> bytes:
    storage = b"(" + text("storage") + b"ctorch\n" + kind.encode() + b"\n" + text(key) + text("cpu")
    storage += b"K" + bytes([count]) + b"tQ"
    hooks = b"ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\0" + shape + steps + b"\x89" + (
        hooks + b"tR"
    )  # fmt: skip


INDICES = tensor("LongStorage", "0", 6, b"K\2K\3\x86", b"K\3K\1\x86")
VALUES = tensor("FloatStorage", "1", 3, b"K\3\x85", b"K\1\x85")
LAYOUT = b"ctorch.serialization\n_get_layout\n" + text("torch.sparse_coo") + b"\x85R"
SIZE = b"K\3K\3\x86"


def sparse(*parts: bytes, layout: bytes = LAYOUT) -> bytes:
    data = b"\x80\x02ctorch._utils\n_rebuild_sparse_tensor\n" + layout + b"(" + b"".join(parts)
    return torch_file(data + b"t\x86R.", {"0": b"\0" * 48, "1": b"\0" * 12})


@pytest.mark.parametrize("last", [b"", b"\x88", b"N"])
def test_a_sparse_tensor_is_clean_while_it_is_made_of_tensors(scanned: Any, last: bytes) -> None:
    answer = scanned(sparse(INDICES, VALUES, SIZE, last))
    assert answer["verdict"] == "clean", answer


@pytest.mark.parametrize(
    "data",
    [
        sparse(INDICES, VALUES, b"]"),
        sparse(INDICES, b"]", SIZE),
        sparse(INDICES + b"0]" + VALUES + b"0]", SIZE),
        sparse(INDICES, VALUES, SIZE, b"}"),
        sparse(INDICES, VALUES, SIZE, layout=text("torch.sparse_coo")),
        sparse(INDICES, b"cbuiltins\nbytearray\n)R", SIZE),
    ],
)
def test_a_sparse_tensor_of_anything_else_is_not_clean(scanned: Any, data: bytes) -> None:
    assert "pickle.call" in rules(scanned(data))
