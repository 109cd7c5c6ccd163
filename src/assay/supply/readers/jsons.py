"""JSON: what a document is by its keys, and what in it would make a loader run or fetch something.

Source for HuggingFace's keys: ``transformers/dynamic_module_utils.py`` (``auto_map``),
``peft/config.py`` (``auto_mapping``), ``diffusers`` (``model_index.json``) and
``sentence_transformers`` (``modules.json``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from assay.supply import allowed, texts
from assay.supply.readers import imports, keras, notebooks, templates
from assay.supply.readers.part import Part, leaves_folder
from assay.supply.readers.settings import is_settings

_MOST_VALUES = 20_000_000
_REMOTE = frozenset({"auto_map", "custom_pipelines", "custom_generate", "trust_remote_code"})
_OBJECTS = frozenset(
    f"py/{kind}" for kind in ("object", "reduce", "function", "type", "class", "repr", "mod",
                              "newobj", "newargs", "newargsex", "initargs", "property", "ref")
)  # fmt: skip
"""Keys of jsonpickle, which builds and calls what they name."""
_COMPONENTS = frozenset({None, "diffusers", "transformers", "onnxruntime.training"})
_HANDLERS = frozenset(
    f"{kind}_{what}"
    for kind, what in (("image", "classifier"), ("image", "segmenter"), ("object", "detector"),
                       ("text", "classifier"), ("densepose", "handler"), ("base", "handler"))
)  # fmt: skip


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
    settings = is_settings(part.name)
    is_keras = any(map(keras.looks_like_config, objects(value)))
    if is_keras:
        keras.check(part, value)
    for here in objects(value):
        if not is_keras and here.get("class_name") in ("Lambda", "__lambda__"):
            part.find("keras.lambda", "malicious", "a Lambda layer, whose configuration is code")
        template = [here.get("template")] if here.get("template_format") == "jinja2" else []
        for text in (*_templates(here.get("chat_template")), *_templates(template)):
            templates.check(part, text)
        for key in _REMOTE & here.keys():
            if here[key] not in (None, False, {}, []):
                what = f"{key} names Python code to load with the model"
                part.find("json.auto_map", "suspicious", what)
        for key, item in here.items():
            if isinstance(item, str):
                _check_text(part, key, item, settings=settings)
        if any(not isinstance(here[key], (int, float)) for key in _OBJECTS & here.keys()):
            _check_pickled(part, here)
        if "weight_map" in here:
            _check_weight_map(part, here["weight_map"])
        if "auto_mapping" in here:
            _check_peft(part, here["auto_mapping"])
        if isinstance(types := here.get("types"), dict):
            for item in types.values():
                if isinstance(item, str) and imports.is_dotted(item):
                    _check_name(part, item)
    _check_expressions(part, value)
    _check_modules(part, value)


def _check_text(part: Part, key: str, item: str, *, settings: bool) -> None:
    if settings and key in imports.CODE and item:
        part.find("yaml.code", "suspicious", f"{key}: {item[:60]} brings code with the model")
    elif wrong := imports.judge_key(key, item):
        part.find("json.import", *wrong)


def _check_pickled(part: Part, here: dict[str, Any]) -> None:
    """jsonpickle's objects: importing and calling, as a pickle would."""
    names = [v for k, v in here.items() if k in _OBJECTS and isinstance(v, str)]
    wrong = [imports.judge(name) for name in names]
    severity = "malicious" if any(w and w[0] == "malicious" for w in wrong) else "suspicious"
    what = f"describes Python objects to make ({', '.join(names)[:100] or 'calls'})"
    part.find("json.import", severity, what)


def _check_expressions(part: Part, value: Any) -> None:
    """Texts that MONAI evaluates: they stand in lists as well."""
    waiting = [value]
    while waiting:
        here = waiting.pop()
        if isinstance(here, dict):
            waiting += here.values()
        elif isinstance(here, list):
            waiting += [item for item in here if isinstance(item, (dict, list, str))]
        elif isinstance(here, str) and here[:1] == "$" and imports.is_expression(here):
            what = f"the text {here[:60]!r} is Python, which some loaders evaluate"
            part.find("json.import", "suspicious", what)


def _templates(value: Any) -> list[str]:
    """A chat template, or several with names."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [
            item["template"]
            for item in value
            if isinstance(item, dict) and isinstance(item.get("template"), str)
        ] + [item for item in value if isinstance(item, str)]
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
    """Classes by dotted name: sentence-transformers' modules, diffusers' parts, TorchServe's."""
    if part.name == "modules.json" and isinstance(value, list):
        for item in value:
            if isinstance(item, dict):
                _check_name(part, item.get("type"))
                if leaves_folder(str(item.get("path", ""))):
                    part.find("json.path", "malicious", "a module's path leaves the folder")
    if not isinstance(value, dict):
        return
    if part.name in ("model_index.json", "modular_model_index.json"):
        _check_pipeline(part, value)
    if part.name == "MANIFEST.json" and isinstance(model := value.get("model"), dict):
        handler = str(model.get("handler") or "")
        if handler and handler not in _HANDLERS and not handler.partition(":")[0].endswith(".py"):
            module, _, name = handler.partition(":")
            severity, _ = allowed.judge(module, name)
            part.find("json.import", severity, f"the handler {handler[:100]!r} is imported")


def _check_pipeline(part: Part, value: dict[str, Any]) -> None:
    if isinstance(value.get("_class_name"), list):
        part.find("json.auto_map", "suspicious", "_class_name names Python code beside the model")
    for key, item in value.items():
        if key.startswith("_") or not isinstance(item, list):
            continue
        if len(item) > 2 and item[2] is not None:
            what = f"{key} is fetched from elsewhere: {str(item[2])[:100]}"
            part.find("json.import", "suspicious", what)
        if item and item[0] not in _COMPONENTS:
            part.find("json.import", "suspicious", f"{key} comes from {str(item[0])[:60]!r}")


def _check_name(part: Part, name: Any) -> None:
    if wrong := imports.judge(str(name)):
        part.find("json.import", wrong[0], f"names {str(name)[:100]!r}, which loading imports")
