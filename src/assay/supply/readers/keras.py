"""Keras's configurations: a tree of objects, each by class and module, that loading constructs.

Keras looks a class up in its own registry, then in the module that the file names.  So what is
allowed is a list of classes, in Keras's own modules only: a ``Lambda`` carries bytecode, functions
such as `get_file` fetch and unpack, and some layers read other files or unpickle.

Sources: ``keras/src/saving/serialization_lib.py`` and ``saving_lib.py``, Keras 3;
``keras/saving/legacy/serialization.py``, Keras 2.
"""

from __future__ import annotations

import re
from typing import Any

from assay.supply import allowed, texts
from assay.supply.findings import Broken, Severity
from assay.supply.machine import Buffer
from assay.supply.readers.lists import load
from assay.supply.readers.part import Part, leaves_folder

_MODULES = re.compile(r"(keras|tf_keras|tensorflow\.keras|tensorflow\.python\.keras)(\.\w+)*")
_RUNS = {
    "Lambda": "a Lambda layer, whose configuration is code",
    "__lambda__": "a lambda, which is Python bytecode",
    "TorchModuleWrapper": "a TorchModuleWrapper, whose configuration is a pickle",
    "TFSMLayer": "a TFSMLayer, which loads another model from a path",
    "JaxLayer": "a JaxLayer, whose configuration is code",
    "FlaxLayer": "a FlaxLayer, whose configuration is code",
}
_DATA = frozenset(
    {"__tensor__", "__numpy__", "__keras_tensor__", "__bytes__", "__complex__", "__ellipsis__"}
    | {"__slice__", "__tuple__", "__typespec__", "TensorShape", "slice", "CategoricalColumn"}
)
_FILES = frozenset({"vocabulary", "input_vocabulary", "idf_weights", "filepath", "fname", "url"})
_FETCHES = frozenset({"get_file", "load_model", "load_img", "load_data", "load_weights"})
_MOST_OBJECTS = 1_000_000


def check_archive(part: Part, buffer: Buffer, first: int, last: int) -> None:
    """The ``config.json`` of a ``.keras`` archive."""
    try:
        value = texts.read_json(buffer[first:last], first)
    except Broken:
        return  # Reported where the member was scanned.
    if not looks_like_config(value):
        # Keras would build each value of an object without ``config`` by itself.
        part.find("keras.config", "unscannable", "config.json describes no model")


def looks_like_config(value: Any) -> bool:
    """Whether a JSON value is an object of Keras."""
    return isinstance(value, dict) and "class_name" in value and "config" in value


def check(part: Part, tree: Any) -> None:
    """Every object in a configuration, however deep it lies."""
    waiting = [tree]
    count = 0
    while waiting:
        here = waiting.pop()
        count += 1
        if count > _MOST_OBJECTS:
            part.find("keras.config", "unscannable", "the configuration has too many parts")
            return
        if isinstance(here, list):
            waiting += here
        elif isinstance(here, dict):
            waiting += here.values()
            if "class_name" in here:
                _check_object(part, here)
            for key in _FILES & here.keys():
                _check_path(part, key, here[key])


def _find(part: Part, rule: str, severity: Severity, what: str) -> None:
    part.find(f"keras.{rule}", severity, what)


def _check_object(part: Part, here: dict[Any, Any]) -> None:
    name, module, registered = here["class_name"], here.get("module"), here.get("registered_name")
    if not isinstance(name, str):
        _find(part, "class", "suspicious", "an object's class is not named by text")
        return
    if name in _RUNS:
        rule = "lambda" if "ambda" in name else "class"
        _find(part, rule, "malicious", _RUNS[name])
        return
    if not isinstance(module, str | None) or not isinstance(registered, str | None):
        _find(part, "class", "suspicious", f"the module of {name!r} is not named by text")
        return
    lists = load("keras_names")
    if name in ("function", "builtin_function_or_method", "type"):
        _check_function(part, here.get("config"), module)
        return
    if module and module != "builtins" and not _MODULES.fullmatch(module):
        severity, why = allowed.judge(module, name)
        _find(part, "module", severity, why)
        return
    known = name in lists["classes"] or name in lists["operations"] or name in _DATA
    if name in ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer"):
        known = _is_arithmetic(here.get("config"))
    if not known:
        fetches = name in _FETCHES
        what = f"names {name!r}, which is not on the list of Keras's own classes"
        _find(part, "class", "malicious" if fetches else "suspicious", what)
    elif registered and (">" in registered and not registered.startswith("keras")):
        _find(part, "class", "suspicious", f"the class {registered!r} is one of the user's own")


def _check_function(part: Part, config: Any, module: str | None) -> None:
    if not isinstance(config, str):
        _find(part, "function", "suspicious", "a function is not named by text")
    elif config in _FETCHES or (module and module != "builtins" and not _MODULES.fullmatch(module)):
        severity, why = allowed.judge(module or "", config)
        fetches = config in _FETCHES
        _find(part, "function", "malicious" if fetches else severity, why)
    elif config not in load("keras_names")["functions"]:
        _find(part, "function", "suspicious", f"names the function {config!r}, which is not known")


def _is_arithmetic(config: Any) -> bool:
    """Whether a layer of Keras 2 that calls a function of TensorFlow calls one that computes."""
    if not isinstance(config, dict):
        return False
    function = config.get("function")
    return (
        isinstance(function, str)
        and re.fullmatch(
            r"(math|nn|linalg|signal|__operators__|strings)\.\w+"
            r"|(_slice_helper|cast|concat|reshape|transpose|stack|expand_dims|squeeze|tile|shape|split"
            r"|clip_by_value|ones_like|zeros_like|one_hot|where|gather|identity|pad|unstack)",
            function,
        )
        is not None
    )


def _check_path(part: Part, key: str, value: Any) -> None:
    if isinstance(value, str) and value:
        severity: Severity = "malicious" if leaves_folder(value) else "suspicious"
        _find(part, "path", severity, f"{key} names the file {value[:100]!r}, which loading reads")
