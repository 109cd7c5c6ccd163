"""JSON: what a document is by its keys, and what in it would make a loader run or fetch something.

Source for HuggingFace's keys: ``transformers/dynamic_module_utils.py`` (``auto_map``),
``peft/config.py`` (``auto_mapping``), ``diffusers`` (``model_index.json``) and
``sentence_transformers`` (``modules.json``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from assay.supply import allowed, texts
from assay.supply.findings import Severity
from assay.supply.readers import keras, notebooks, templates
from assay.supply.readers.part import Part, leaves_folder

_MOST_VALUES = 20_000_000
_REMOTE = frozenset({"auto_map", "custom_pipelines", "custom_generate", "trust_remote_code"})
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_LIBRARIES = re.compile(
    r"(transformers|sentence_transformers|diffusers|torch\.nn|peft|optimum|span_marker|setfit)"
    r"(\.\w+)*"
)
_PATHS = frozenset({"_name_or_path", "base_model_name_or_path"})
"""These name another model; a path in them is the author's own folder, which loading does not read
unless it is asked to."""


def read(part: Part) -> str | None:
    """The format of JSON or UBJSON."""
    head = part.head(64)
    if head[:1] == b"{" and head[1:2] in b"iUIlL" and b"\0" in head:
        if texts.Ubjson(part.buffer, part.start, part.end).cross() != part.end:
            part.find("ubjson", "unscannable", "there are bytes behind the UBJSON")
        return "xgboost-ubj"
    value = texts.read_json(part.buffer[part.start : part.end], part.start)
    if notebooks.looks_like_notebook(value):
        return notebooks.check(part, value)
    check(part, value)
    if isinstance(value, dict):
        if set(value) == {"learner", "version"}:
            return "xgboost-json"
        if {"features_info", "model_info", "oblivious_trees"} <= set(value):
            return "catboost-json"
    return "json"


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a document."""
    waiting = [value]
    while waiting:
        here = waiting.pop()
        if isinstance(here, list):
            if here and not isinstance(here[0], (list, dict)) and len(here) > 1000:
                waiting += [item for item in here if isinstance(item, (list, dict))]
            else:
                waiting += here
        elif isinstance(here, dict):
            yield here
            waiting += here.values()


def check(part: Part, value: Any) -> None:
    """Templates, Keras configurations and HuggingFace's keys, however deep they lie."""

    def find(rule: str, severity: Severity, what: str) -> None:
        part.find(rule, severity, what)

    is_keras = keras.looks_like_config(value)
    if is_keras:
        keras.check(part, value)
    for here in objects(value):
        template = here.get("chat_template")
        for text in _templates(template):
            templates.check(part, text)
        if not is_keras and here.get("class_name") in ("Lambda", "__lambda__"):
            find("keras.lambda", "malicious", "a Lambda layer, whose configuration is code")
        for key in _REMOTE & here.keys():
            if here[key] not in (None, False, {}, []):
                what = f"{key} names Python code to load with the model"
                find("json.auto_map", "suspicious", what)
        if "weight_map" in here:
            _check_weight_map(part, here["weight_map"])
        if "auto_mapping" in here:
            _check_peft(part, here["auto_mapping"])
    _check_modules(part, value)


def _templates(value: Any) -> list[str]:
    """A chat template, or several with names."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [
            item["template"]
            for item in value[:100]
            if isinstance(item, dict) and isinstance(item.get("template"), str)
        ]
    if isinstance(value, dict):
        return [item for item in value.values() if isinstance(item, str)]
    return []


def _check_weight_map(part: Part, value: Any) -> None:
    """The files that hold the shards of a model: beside the index, nowhere else."""
    if not isinstance(value, dict):
        return
    for name in {str(item) for item in value.values()}:
        if leaves_folder(name):
            what = f"the index names the shard {name[:100]!r}, outside its folder"
            part.find("json.path", "malicious", what)


def _check_peft(part: Part, value: Any) -> None:
    """PEFT imports the library that an adapter's base class is said to come from."""
    library = value.get("parent_library") if isinstance(value, dict) else None
    if library is not None and not (
        isinstance(library, str) and library.partition(".")[0] == "transformers"
    ):
        what = f"auto_mapping imports {str(library)[:100]!r}"
        part.find("json.import", "suspicious", what)


def _check_modules(part: Part, value: Any) -> None:
    """Classes by dotted name: sentence-transformers' modules and activations, diffusers' parts."""
    if part.name == "modules.json" and isinstance(value, list):
        for item in value:
            if isinstance(item, dict):
                _check_name(part, item.get("type"))
                if leaves_folder(str(item.get("path", ""))):
                    part.find("json.path", "malicious", "a module's path leaves the folder")
    if not isinstance(value, dict):
        return
    if part.name == "model_index.json":
        for key, item in value.items():
            if not key.startswith("_") and isinstance(item, list) and len(item) == 2:
                library = item[0]
                if library not in (None, "diffusers", "transformers", "onnxruntime.training"):
                    part.find(
                        "json.import", "suspicious", f"{key} comes from {str(library)[:60]!r}"
                    )
    for here in objects(value):
        for key, item in here.items():
            imports = key in ("_target_", "loader_module") or key.endswith("activation_function")
            if imports and isinstance(item, str) and _DOTTED.fullmatch(item):
                _check_name(part, item)


def _check_name(part: Part, name: Any) -> None:
    if isinstance(name, str) and _LIBRARIES.fullmatch(name):
        return
    module, _, last = str(name).rpartition(".")
    severity, _ = allowed.judge(module, last) if module else ("suspicious", "")
    part.find("json.import", severity, f"names {str(name)[:100]!r}, which loading imports")
