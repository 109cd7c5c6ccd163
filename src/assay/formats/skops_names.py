"""The names that a skops archive may hold, and as what.

skops trusts by name alone, wherever the name stands.  But beside every estimator of a library lie
helpers that run what they are given (``numpy.f2py.crackfortran.myeval`` evaluates text), and some
nodes *call* what they name: the type of a dict's keys, of a list, of an array.  So what is allowed
depends on the node: functions are functions of numbers, what is called is a plain type, and only
objects, which are made without a call (``__new__``, then their state), may be of any class that
these libraries define themselves.
"""

from __future__ import annotations

import importlib
import re
from typing import Any

LIBRARIES = frozenset({"sklearn", "scipy", "numpy", "xgboost", "lightgbm"})
"""Whose classes an archive may hold objects of."""

_NUMPY_FUNCTIONS = frozenset(
    {
        *("abs", "absolute", "amax", "amin", "around", "asarray", "average", "clip", "cumsum"),
        *("diff", "max", "maximum", "mean", "median", "min", "minimum", "nan_to_num", "nanmax"),
        *("nanmean", "nanmedian", "nanmin", "nanstd", "nansum", "nanvar", "prod", "ptp", "round"),
        *("std", "sum", "var"),
    }
)
_FUNCTION_MODULES = re.compile(
    r"sklearn\.feature_selection\._(univariate_selection|mutual_info)"
    r"|sklearn\.metrics\._(classification|regression|ranking)"
    r"|sklearn\.metrics\.pairwise"
    r"|sklearn\.metrics\.cluster\._(un)?supervised"
)
"""Modules whose public functions are functions of numbers: scores, distances, kernels."""
_FUNCTIONS = frozenset(
    {
        ("scipy._lib.array_api_compat.numpy._aliases", "asarray"),
        ("sklearn.cluster._kmeans", "_kmeans_single_elkan"),
        ("sklearn.cluster._kmeans", "_kmeans_single_lloyd"),
        ("sklearn.feature_extraction.text", "strip_accents_ascii"),
        ("sklearn.feature_extraction.text", "strip_accents_unicode"),
    }
)
_LOSSES = frozenset({"sklearn._loss._loss", "sklearn.linear_model._sgd_fast"})
_PLAIN = frozenset({"bool", "bytes", "dict", "float", "int", "list", "object", "set", "str"})
_KEYS = frozenset({"float", "int", "str"})
_MADE = frozenset(
    {
        ("builtins", "complex"),
        ("builtins", "frozenset"),
        ("builtins", "range"),
        ("datetime", "date"),
        ("datetime", "datetime"),
        ("datetime", "timedelta"),
        ("datetime", "timezone"),
        ("zoneinfo", "ZoneInfo"),
    }
)
_DICTS = frozenset(
    {("builtins", "dict"), ("collections", "OrderedDict"), ("sklearn.utils._bunch", "Bunch")}
)
_FIXED: dict[str, tuple[str, str]] = {
    "BytearrayNode": ("builtins", "bytearray"),
    "BytesNode": ("builtins", "bytes"),
    "DTypeNode": ("numpy", "dtype"),
    "DefaultDictNode": ("collections", "defaultdict"),
    "JsonNode": ("builtins", "str"),
    "ListNode": ("builtins", "list"),
    "PartialNode": ("functools", "partial"),
    "RandomGeneratorNode": ("numpy.random._generator", "Generator"),
    "RandomStateNode": ("numpy.random.mtrand", "RandomState"),
    "SetNode": ("builtins", "set"),
    "SliceNode": ("builtins", "slice"),
    "TreeNode": ("sklearn.tree._tree", "Tree"),
}


def allowed(loader: str, module: str, name: str, *, key: bool = False) -> bool:
    """Whether a node of this kind may name this.  `key`: it is the type of a dict's keys.

    Resolves classes, and so imports modules of `LIBRARIES`; of nothing else.
    """
    pair = (module, name)
    if loader in _FIXED:
        return pair == _FIXED[loader]
    match loader:
        case "TypeNode" if key:
            return (module == "builtins" and name in _KEYS) or _is_scalar(module, name)
        case "TypeNode":
            plain = module == "builtins" and name in _PLAIN
            return (
                plain
                or pair == ("collections", "OrderedDict")
                or _is_scalar(module, name)
                or _is_class(module, name)
            )
        case "NdArrayNode":
            return pair == ("numpy", "ndarray") or _is_scalar(module, name)
        case "MaskedArrayNode":
            return module.partition(".")[0] == "numpy" and name == "MaskedArray"
        case "DictNode":
            return pair in _DICTS
        case "TupleNode":
            return pair == ("builtins", "tuple") or _is_class(module, name, tuple)
        case "SparseMatrixNode":
            return module.startswith("scipy.sparse.")
        case "LossNode":
            return module in _LOSSES and name[:1].isupper()
        case "FunctionNode":
            return _is_function(module, name)
        case "ConstructorFromReduceNode":
            return pair in _MADE
        case "ObjectNode":
            return _is_class(module, name)
        case _:
            return False


def _is_scalar(module: str, name: str) -> bool:
    import numpy as np

    found = getattr(np, name, None) if module == "numpy" else None
    return isinstance(found, type) and issubclass(found, np.generic)


def _is_class(module: str, name: str, base: type = object) -> bool:
    """Whether this is a class that one of the libraries defines itself."""
    if module.partition(".")[0] not in LIBRARIES:
        return False
    try:
        found: Any = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return False
    return (
        isinstance(found, type)
        and issubclass(found, base)
        and found.__module__.partition(".")[0] in LIBRARIES
    )


def _is_function(module: str, name: str) -> bool:
    if (module, name) in _FUNCTIONS:
        return True
    if module == "numpy" and name in _NUMPY_FUNCTIONS:
        return True
    if module in ("numpy", "scipy.special"):
        return _is_ufunc(module, name)
    return _FUNCTION_MODULES.fullmatch(module) is not None and not name.startswith("_")


def _is_ufunc(module: str, name: str) -> bool:
    import numpy as np

    return isinstance(getattr(importlib.import_module(module), name, None), np.ufunc)
