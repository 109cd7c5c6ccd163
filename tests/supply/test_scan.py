from __future__ import annotations

import json
import os
import pickle
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import NotFound, Usage
from assay.isolation.run import run
from assay.supply.allowed import digest
from assay.supply.content import scan_content
from assay.supply.declarations import DECLARATIONS, SCAN
from assay.supply.findings import Report
from assay.supply.scan import KIND, PRODUCER, scan

EVIL = b"cos\nsystem\n(Vid\ntR."


def rules(answer: dict[str, Any]) -> set[str]:
    return {finding["rule"] for finding in answer["findings"]}


def test_the_predicate_has_exactly_its_fields(scanned: Any) -> None:
    answer = scanned(pickle.dumps([1]))
    assert answer == {
        "scanner": "assay.supply.scan/1",
        "format": "pickle",
        "clean": True,
        "verdict": "clean",
        "findings": [],
        "findings_count": 0,
        "globals": [],
        "files": 1,
        "bytes": len(pickle.dumps([1])),
        "allow_list": digest(),
    }
    json.dumps(answer)


def test_every_declared_fact_is_found_where_it_is_declared(scanned: Any) -> None:
    answer = scanned(EVIL)
    assert f"https://assay.dev/evidence/{KIND}/v1" == SCAN
    assert answer["scanner"] == PRODUCER
    for fact in DECLARATIONS:
        assert set(fact) == {
            "name", "type", "predicate_type", "path", "worse", "order", "description", "remedy",
            "seconds", "combine",
        }  # fmt: skip
        if fact["predicate_type"] != SCAN:
            continue
        value = answer[fact["path"]]
        assert type(value) is {"bool": bool, "long": int}[fact["type"]]
        assert set(re.findall(r"{(\w+)}", fact["remedy"])) == {"model", "version", "project"}


def test_what_is_missing_or_not_a_file_is_an_error_not_a_verdict(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        scan(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Usage):
        scan(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    with pytest.raises(Usage):
        scan(tmp_path / "link")


def test_an_empty_file_is_unscannable(scanned: Any) -> None:
    assert scanned(b"")["verdict"] == "unscannable"


def test_what_is_not_known_is_not_clean(scanned: Any) -> None:
    for data in (b"\x7fELF" + b"\0" * 99, b"import os\n", b"7z\xbc\xaf\x27\x1c" + b"\0" * 50):
        answer = scanned(data)
        assert (answer["verdict"], answer["clean"]) == ("unscannable", False)


def test_the_name_of_a_file_does_not_decide_what_it_is(scanned: Any) -> None:
    for name in ("model.safetensors", "model.onnx", "README.md", "model.json", "x.npy"):
        assert scanned(EVIL, name)["verdict"] == "malicious"


def test_findings_are_bounded_and_counted(scanned: Any) -> None:
    answer = scanned(b"(" + b"cos\nsystem\n" * 500 + b"l.")
    assert len(answer["findings"]) == 100
    assert answer["findings_count"] == 500


def test_text_from_the_file_is_made_printable_and_short(scanned: Any) -> None:
    answer = scanned(b"c\x1b[31mred\xe2\x80\xae\n" + b"x" * 5000 + b"\n.")
    said = json.dumps(answer, ensure_ascii=False)
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert len(said) < 3000


# Folders.


def test_every_file_of_a_folder_is_scanned(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "README.md").write_text("# A model\n")
    (folder / "model.safetensors").write_bytes(safetensors())
    seen: list[str] = []
    answer = scan(folder, progress=seen.append)
    assert answer["clean"], answer
    assert (answer["format"], answer["files"]) == ("safetensors", 3)
    assert sorted(seen) == ["README.md", "config.json", "model.safetensors"]
    (folder / "deep" / "optimizer.bin").write_bytes(EVIL)
    answer = scan(folder)
    assert answer["verdict"] == "malicious"
    assert answer["findings"][0]["where"].startswith("deep/optimizer.bin+")


def test_links_pipes_code_and_nothing_at_all_are_not_clean(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    assert scan(folder)["verdict"] == "unscannable"
    (folder / "a.json").write_text("{}")
    assert scan(folder)["clean"]
    (folder / "code.py").write_text("import os")
    assert "python.beside" in rules(scan(folder))
    (folder / "code.py").unlink()
    (folder / "link").symlink_to("/etc/passwd")
    assert rules(scan(folder)) == {"folder.entry"}
    (folder / "link").unlink()
    (folder / "link").symlink_to(folder)
    assert rules(scan(folder)) == {"folder.entry"}
    (folder / "link").unlink()
    os.mkfifo(folder / "pipe")
    assert rules(scan(folder)) == {"folder.entry"}


# Formats that are not pickles.


def safetensors(header: bytes | None = None, data: bytes = b"\0" * 8) -> bytes:
    if header is None:
        header = b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    return struct.pack("<Q", len(header)) + header + data


def test_safetensors_are_read_strictly(scanned: Any) -> None:
    assert scanned(safetensors())["clean"]
    assert not scanned(safetensors() + b"x")["clean"]
    assert not scanned(safetensors()[:-1])["clean"]


def test_a_safetensors_file_that_is_a_pickle_too_is_malicious(scanned: Any) -> None:
    # Read as a pickle, the length of the header is X with a text of 25 bytes; it ends in the
    # metadata, from where short strings (U) leap to the data of the tensor.
    length = 0x1958
    tail = b'"},"w":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (len(EVIL), len(EVIL))
    leaps = b"U@" + b"a" * 64 + (b"U~" + b"a" * 126) * 50
    text = leaps[: -len(tail)]
    data = safetensors(b'{"__metadata__":{"a":"' + text + tail, EVIL)
    assert struct.unpack_from("<Q", data) == (length,)
    answer = scanned(data)
    assert (answer["format"], answer["verdict"]) == ("safetensors", "malicious")


def test_a_file_with_an_archive_at_its_end_is_not_clean(scanned: Any) -> None:
    import io
    import zipfile

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        made.writestr("schema.json", b"{}")
    inside = stream.getvalue()
    header = b'{"w":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (len(inside), len(inside))
    assert "polyglot" in rules(scanned(safetensors(header, inside)))


def test_json_is_read_strictly(scanned: Any) -> None:
    assert scanned(b'{"a": [1, 2.5, "x", null]}')["clean"]
    for data in (b'{"a": 1, "a": 2}', b"{'a': 1}", b'{"a": 1} x', b"[" * 100_000, b'{"a"'):
        assert scanned(data)["verdict"] == "unscannable"


TEMPLATES = {
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m.content | trim }}{% endfor %}": True,
    "{% if not loop is defined %}{{ raise_exception('no') }}{% endif %}": True,
    "{% set ns = namespace(x=1) %}{% set ns.x = 2 %}{{ ns.x }}{% generation %}a{% endgeneration %}":
        True,
    "{{ messages[0].content.split('</think>')[-1].lstrip('\\n') }}": True,
    "{{ ''.__class__.__mro__ }}": False,
    "{{ messages|attr('x') }}": False,
    "{{ messages['\\x5f\\x5fclass\\x5f\\x5f'] }}": False,
    "{{ cycler.init }}": False,
    "{{ self.x }}": False,
    "{{ lipsum() }}": False,
    "{{ messages.pop() }}": False,
    "{{ messages|map('upper')|join }}": True,
    "{{ messages|map('attr', '_x')|list }}": False,
    "{{ messages|map(name)|list }}": False,
    "{{ messages|map(attribute='role')|list }}": True,
    "{{ messages|map(attribute=name)|list }}": False,
    "{{ messages|selectattr('role', 'equalto', 'user')|list }}": True,
    "{{ messages|selectattr('role', name)|list }}": False,
    "{{ messages[loop.index0 - 1] }}": True,
    "{{ messages[-1]['content'][1:] }}": True,
    "{% for key in tool %}{{ tool[key] }}{% endfor %}": True,
    "{{ x['_' ~ 'class'] }}": False,
    "{% set a = '_' ~ b %}{{ x[a] }}": False,
    "{% set a = ['_', b]|join %}{% set c = a %}{{ x[c] }}": False,
    "{% set ns = namespace(a='_' + b) %}{{ x[ns.a] }}": False,
    "{% set a %}_{{ b }}{% endset %}{{ x[a] }}": False,
    "{{ x['%c'|format(95)] }}": False,
    "{{ raise_exception.func_globals }}": False,
    "{{ x['__globals__'] }}": False,
    "{{ (messages)(1) }}": False,
    "{{ f()() }}": False,
    "{% include '/etc/passwd' %}": False,
    "{% import 'os' as os %}": False,
    "{{": False,
}  # fmt: skip


@pytest.mark.parametrize("template", TEMPLATES)
def test_chat_templates_may_do_what_chat_templates_need(scanned: Any, template: str) -> None:
    answer = scanned(json.dumps({"a": [{"chat_template": template}]}).encode())
    assert answer["clean"] is TEMPLATES[template], answer


def test_code_in_configurations_is_not_clean(scanned: Any) -> None:
    assert scanned(b'{"config": [{"class_name": "Lambda"}]}')["verdict"] == "malicious"
    assert scanned(b'{"auto_map": {"AutoModel": "x.py"}}')["verdict"] == "suspicious"


def skops(schema: dict[str, Any]) -> bytes:
    import io
    import zipfile

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        made.writestr("schema.json", json.dumps(schema))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("loader", "module", "name", "verdict"),
    [
        ("ObjectNode", "sklearn.linear_model._base", "LinearRegression", "clean"),
        ("FunctionNode", "numpy", "mean", "clean"),
        ("FunctionNode", "os", "system", "malicious"),
        ("FunctionNode", "copyreg", "_reconstructor", "suspicious"),
        ("ObjectNode", "mine", "Model", "suspicious"),
        ("OperatorFuncNode", "numpy", "mean", "suspicious"),
        ("MethodNode", "numpy", "mean", "suspicious"),
        ("PartialNode", "functools", "partial", "malicious"),
        ("ObjectNode", 1, "x", "suspicious"),
    ],
)
def test_the_schema_of_skops_names_allowed_types_only(
    scanned: Any, loader: str, module: Any, name: str, verdict: str
) -> None:
    node = {"__loader__": loader, "__module__": module, "__class__": name}
    answer = scanned(skops({"content": [node]}))
    assert (answer["format"], answer["verdict"]) == ("skops", verdict)


@pytest.fixture(scope="module")
def boosters() -> dict[str, bytes]:
    import lightgbm
    import xgboost

    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(60, 3)), np.arange(60) % 2
    booster = xgboost.XGBClassifier(n_estimators=3).fit(rows, labels).get_booster()
    light = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(rows, labels).booster_
    return {
        "xgboost-json": bytes(booster.save_raw("json")),
        "xgboost-ubj": bytes(booster.save_raw("ubj")),
        "lightgbm-text": light.model_to_string().encode(),
    }


@pytest.mark.parametrize("kind", ["xgboost-json", "xgboost-ubj", "lightgbm-text"])
def test_models_of_the_boosting_libraries_are_read_to_the_last_byte(
    boosters: dict[str, bytes], scanned: Any, kind: str
) -> None:
    data = boosters[kind]
    answer = scanned(data)
    assert (answer["format"], answer["clean"]) == (kind, True), answer
    assert not scanned(data + b"\x00\xff")["clean"]
    assert not scanned(data[: len(data) // 2])["clean"]


def onnx_model() -> Any:
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, [None, 1])],
        [value("y", TensorProto.FLOAT, [None, 1])],
    )
    return helper.make_model(graph)


def test_onnx_models_reach_nothing_outside_the_standard(scanned: Any) -> None:
    assert scanned(onnx_model().SerializeToString())["clean"]
    custom = onnx_model()
    custom.graph.node[0].domain = "com.evil"
    assert rules(scanned(custom.SerializeToString())) == {"onnx.custom_operator"}
    external = onnx_model()
    tensor = external.graph.initializer.add()
    tensor.name, tensor.data_type, tensor.data_location = "w", 1, 1
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    assert rules(scanned(external.SerializeToString())) == {"onnx.external_data"}


# As a whole.


@given(st.binary(max_size=300))
def test_any_bytes_never_raise(data: bytes) -> None:
    scan_content(data, 0, len(data), "", "model.md", Report())


def test_a_scan_runs_in_a_confined_process(tmp_path: Path) -> None:
    model = tmp_path.resolve() / "model.pkl"
    model.write_bytes(EVIL)
    outcome = run("assay.supply.scan:scan_confined", str(model).encode(), inputs=[model])
    assert json.loads(outcome.value) == scan(model)
