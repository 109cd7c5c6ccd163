"""Formats that carry programs: TorchScript, Keras, SavedModel, ONNX, chat templates."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FILES = Path(__file__).parent / "files"


def rules(answer: dict[str, Any]) -> set[str]:
    return {finding["rule"] for finding in answer["findings"]}


def changed(name: str, change: Callable[[str, bytes], bytes | None]) -> bytes:
    """A real archive with members changed, or left out."""
    stream = io.BytesIO()
    with zipfile.ZipFile(FILES / name) as old, zipfile.ZipFile(stream, "w") as new:
        for entry in old.infolist():
            data = change(entry.filename, old.read(entry))
            if data is not None:
                new.writestr(entry.filename, data)
    return stream.getvalue()


# TorchScript.


def script(line: str) -> bytes:
    def change(_: str, data: bytes) -> bytes:
        return data.replace(
            b"    return (torch.softmax", f"    {line}\n    return (torch.softmax".encode()
        )

    return changed("ts_script.pt", change)


def test_a_program_of_operators_that_compute_is_clean(scanned: Any) -> None:
    answer = scanned((FILES / "ts_script.pt").read_bytes())
    assert (answer["format"], answer["verdict"]) == ("torchscript", "clean"), answer
    assert scanned(script("_9 = torch.add(z, 1)"))["clean"]
    assert scanned(script("_9 = ops.prim.NumToTensor(torch.size(z, 1))"))["clean"]


def test_a_program_that_reads_a_file_is_malicious(scanned: Any) -> None:
    answer = scanned((FILES / "evil_ts.pt").read_bytes())
    assert (answer["format"], answer["verdict"]) == ("torchscript", "malicious")
    assert rules(answer) == {"torchscript.operator"}


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        ('torch.save(z, "/tmp/x")', "malicious"),
        ("_9 = torch.from_file", "malicious"),
        ('_9 = (torch).from_file("/etc/passwd")', "malicious"),
        ('_9 = ops.aten.from_file("/etc/passwd")', "malicious"),
        ('_9 = ops.mine.run("id")', "suspicious"),
        ("_9 = torch", "suspicious"),
        ("_9 = ops", "suspicious"),
        ('_9 = getattr(torch, "from_file")', "suspicious"),
        ('open("/etc/passwd")', "suspicious"),
        ("import os", "suspicious"),
        ("_9 = lambda: 1", "suspicious"),
        ("_9 = torch.classes.mine.Type()", "suspicious"),
        ("async def f(): pass", "suspicious"),
        ("(", "unscannable"),
    ],
)
def test_what_a_program_may_not_use(scanned: Any, line: str, verdict: str) -> None:
    answer = scanned(script(line))
    assert answer["verdict"] == verdict, answer


def test_a_script_without_a_storage_is_not_clean(scanned: Any) -> None:
    data = changed("ts_script.pt", lambda name, data: None if name.endswith("data/3") else data)
    assert "torch.storage" in rules(scanned(data))


def test_a_class_of_the_script_in_a_plain_archive_is_not_clean(scanned: Any) -> None:
    data = changed("ts_script.pt", lambda name, data: None if "/code/" in name else data)
    assert scanned(data)["verdict"] != "clean"


# Keras.


def config(change: Callable[[dict[str, Any]], None]) -> bytes:
    def edit(name: str, data: bytes) -> bytes:
        if name != "config.json":
            return data
        value = json.loads(data)
        change(value)
        return json.dumps(value).encode()

    return changed("keras_norm.keras", edit)


def layer(**entries: Any) -> Callable[[dict[str, Any]], None]:
    return lambda value: value["config"]["layers"][1].update(entries)


def test_models_of_keras_are_clean(scanned: Any) -> None:
    answer = scanned((FILES / "keras_norm.keras").read_bytes(), "model.keras")
    assert (answer["format"], answer["verdict"]) == ("keras", "clean"), answer
    answer = scanned((FILES / "keras_ops.h5").read_bytes(), "model.h5")
    assert (answer["format"], answer["verdict"]) == ("hdf5", "clean"), answer


@pytest.mark.parametrize("name", ["evil_lambda.keras", "evil_lambda.h5", "dense_evil.h5"])
def test_a_lambda_layer_is_malicious(scanned: Any, name: str) -> None:
    answer = scanned((FILES / name).read_bytes())
    assert answer["verdict"] == "malicious"
    assert "keras.lambda" in rules(answer)


@pytest.mark.parametrize(
    ("entries", "verdict"),
    [
        ({"class_name": "TorchModuleWrapper"}, "malicious"),
        ({"class_name": "TFSMLayer"}, "malicious"),
        ({"class_name": "MyLayer"}, "suspicious"),
        ({"class_name": "get_file", "module": "keras.utils"}, "malicious"),
        ({"class_name": "Dense", "module": "os"}, "malicious"),
        ({"class_name": "Dense", "module": "mine"}, "suspicious"),
        ({"class_name": "Dense", "module": "keras.layers\nos"}, "suspicious"),
        ({"class_name": "Dense", "registered_name": "mine>Dense"}, "suspicious"),
        ({"class_name": "function", "config": "system", "module": "os"}, "malicious"),
        ({"class_name": "function", "config": "get_file", "module": "builtins"}, "malicious"),
        ({"class_name": "function", "config": "relu", "module": "builtins"}, "clean"),
        ({"class_name": 1}, "suspicious"),
        ({"config": {"vocabulary": "/etc/passwd"}}, "malicious"),
        ({"config": {"vocabulary": "https://example.org/x"}}, "malicious"),
        ({"config": {"vocabulary": "words.txt"}}, "suspicious"),
        ({"config": {"vocabulary": ["a", "b"]}}, "clean"),
        ({"config": {"deep": [[{"class_name": "Lambda", "config": {}}]]}}, "malicious"),
    ],
)
def test_what_a_configuration_may_name(scanned: Any, entries: dict[str, Any], verdict: str) -> None:
    answer = scanned(config(layer(**entries)))
    assert answer["verdict"] == verdict, answer


def test_a_keras_archive_without_a_model_is_not_clean(scanned: Any) -> None:
    assert not scanned(
        changed("keras_norm.keras", lambda n, d: b"[]" if n == "config.json" else d)
    )["clean"]


def test_code_in_configurations_is_not_clean(scanned: Any) -> None:
    assert scanned(b'{"config": [{"class_name": "Lambda"}]}')["verdict"] == "malicious"
    assert scanned(b'{"auto_map": {"AutoModel": "x.py"}}')["verdict"] == "suspicious"


# HDF5.


@pytest.mark.parametrize(
    "name", ["evil_external_link.h5", "evil_external_storage.h5", "evil_virtual.h5"]
)
def test_hdf5_that_leads_out_of_the_file_is_malicious(scanned: Any, name: str) -> None:
    answer = scanned((FILES / name).read_bytes())
    assert answer["verdict"] == "malicious"
    assert rules(answer) == {"hdf5.external"}


@pytest.mark.parametrize("name", ["dense.h5", "track.h5"])
def test_hdf5_with_many_links_and_attributes_is_read(scanned: Any, name: str) -> None:
    answer = scanned((FILES / name).read_bytes())
    assert (answer["format"], answer["verdict"]) == ("hdf5", "clean"), answer


def test_a_link_among_many_is_found(scanned: Any) -> None:
    assert {"hdf5.external", "keras.lambda"} <= rules(
        scanned((FILES / "dense_evil.h5").read_bytes())
    )


# TensorFlow.


def test_a_saved_model_of_operators_that_compute_is_clean(tmp_path: Path) -> None:
    from assay.supply.scan import scan

    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").write_bytes((FILES / "saved_table.pb").read_bytes())
    index = (FILES / "variables.index").read_bytes()
    (tmp_path / "variables" / "variables.index").write_bytes(index)
    (tmp_path / "variables" / "variables.data-00000-of-00001").write_bytes(b"\0" * 64)
    answer = scan(tmp_path)
    assert answer["verdict"] == "clean", answer


def test_a_saved_model_that_writes_a_file_is_malicious(scanned: Any) -> None:
    answer = scanned((FILES / "evil_saved_write.pb").read_bytes())
    assert (answer["format"], answer["verdict"]) == ("savedmodel", "malicious")
    assert rules(answer) == {"tensorflow.operator"}


def test_a_saver_whose_path_the_model_chooses_is_malicious(scanned: Any) -> None:
    answer = scanned((FILES / "evil_saved_save.pb").read_bytes())
    assert rules(answer) == {"tensorflow.path"}
    assert answer["verdict"] == "malicious"


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        (b"LookupTableFindV2", b"LookupTableFindV9", "suspicious"),
        (b"AddV2", b"AddV9", "suspicious"),
        (b"\x09vocab.txt", b"\x09../../pwd", "malicious"),
    ],
)
def test_what_a_saved_model_may_not_hold(
    scanned: Any, old: bytes, new: bytes, verdict: str
) -> None:
    data = (FILES / "saved_table.pb").read_bytes()
    assert scanned(data)["clean"]
    assert old in data
    assert scanned(data.replace(old, new))["verdict"] == verdict


# ONNX.


def test_onnx_models_may_define_functions_of_their_own_but_not_the_standards(scanned: Any) -> None:
    from onnx import TensorProto, helper

    def model(domain: str) -> bytes:
        value = helper.make_tensor_value_info
        node = helper.make_node("Twice", ["x"], ["y"], domain=domain)
        ends = [value(name, TensorProto.FLOAT, [1]) for name in "xy"]
        graph = helper.make_graph([node], "g", ends[:1], ends[1:])
        add = helper.make_node("Add", ["a", "a"], ["b"])
        opset = [helper.make_opsetid(name, 20) for name in {"", domain}]
        twice = helper.make_function(
            domain, "Twice", ["a"], ["b"], [add], [helper.make_opsetid("", 20)]
        )
        made = helper.make_model(graph, functions=[twice], opset_imports=opset)
        return made.SerializeToString()

    assert scanned(model("mine"))["clean"]
    assert rules(scanned(model(""))) == {"onnx.functions"}


def test_external_data_outside_the_folder_is_malicious(scanned: Any) -> None:
    from onnx import TensorProto, helper

    def model(location: str) -> bytes:
        graph = helper.make_graph([], "g", [], [])
        tensor = graph.initializer.add()
        tensor.name, tensor.data_type = "w", TensorProto.FLOAT
        tensor.data_location = TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", location
        return helper.make_model(graph).SerializeToString()

    assert scanned(model("weights.bin"))["verdict"] == "suspicious"
    for location in ("../x", "/etc/passwd", "C:\\x", "..\\x"):
        assert scanned(model(location))["verdict"] == "malicious"


# Chat templates of well-known models.


KNOWN = {path.stem: path.read_text() for path in (FILES.parent / "templates").iterdir()}


@pytest.mark.parametrize("name", KNOWN)
def test_templates_of_well_known_models_are_clean(scanned: Any, name: str) -> None:
    answer = scanned(json.dumps({"chat_template": KNOWN[name]}).encode(), "tokenizer_config.json")
    assert answer["clean"], answer
    assert scanned(KNOWN[name].encode(), "chat_template.jinja")["clean"]


def test_several_templates_with_names_are_all_read(scanned: Any) -> None:
    bad = "{{ ''.__class__ }}"
    for value in (
        [{"name": "a", "template": KNOWN["chatml"]}, {"name": "b", "template": bad}],
        {"b": bad},
    ):
        answer = scanned(json.dumps({"chat_template": value}).encode())
        assert answer["verdict"] == "malicious"
