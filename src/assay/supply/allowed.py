"""The names that a pickle may reach, and what it may do with each.

The list is closed: exact pairs of module and name that real, fitted models use, never a prefix of
modules, because beside every estimator lie helpers that run what they are given
(``numpy.f2py.crackfortran.getlincoef`` evaluates text, ``numpy.testing`` runs commands,
``joblib.memory`` and ``sklearn.utils`` load and call).  Being on the list is not enough either: a
name may be used only as its library uses it.

``n``
    Constructed without arguments (``NEWOBJ``, ``copyreg._reconstructor``), then given a dict.  For
    a Python class that runs ``object.__new__`` and `__setstate__`, never ``__init__``: what an
    estimator would do with hostile parameters it does when it is fitted or asked, confined.  The
    ``__setstate__`` of the classes with this letter were read: scikit-learn's compare versions,
    those of XGBoost and LightGBM hand a model's bytes to their native reader.
``a``
    Constructed with arguments: named tuples of numbers.
``c``
    Called.  Value types (``OrderedDict``, ``datetime``), compiled classes that take numbers and
    arrays, and numpy's constructors; `assay.supply.calls` checks the arguments of those that take
    names, codecs or memory layouts.  None of them calls an argument.
``s``
    Given a state that is not a dict, by a compiled ``__setstate__``.
``d``, ``l``
    Filled like a dict, or like a list.
``v``
    Mentioned as a value, such as the scoring function of a selector or a type.  A model may call
    it later, on data, so these are functions of numbers only.
no letter (written ``/`` in the table)
    Mentioned only as an argument of one of the calls in `ARGUMENTS`.

Never on the list, although real models hold some of them: ``functools.partial``, everything of
``operator``, ``builtins.getattr``, ``types.FunctionType`` and cloudpickle's makers (they call or
make code), ``numpy._core._ufunc_reconstruct`` (imports a module by name), ``pathlib`` and memories
of ``joblib`` (reach files), ``scipy.interpolate`` classes that call what they hold, lambdas and
functions of the user's own modules.  A model with these is reported as suspicious, which a policy
may except.

Clean means: loading runs no code and reaches no name of the file's own choosing.  It does not mean
that the library's native code was hardened against wrong numbers in arrays (indices of tree nodes,
say), which is why loading stays confined.
"""

from __future__ import annotations

import functools
import hashlib
import sys

import rfc8785

from assay.supply import names
from assay.supply.findings import Severity, words
from assay.supply.names_sklearn import SKLEARN
from assay.supply.names_torch import TORCH

_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}
_PYTHON_2_NAMES = {"xrange": "range", "unicode": "str", "long": "int"}
_MOVED = {
    "numpy.core.multiarray": "numpy._core.multiarray",
    "numpy.core.numeric": "numpy._core.numeric",
}

ARGUMENTS: dict[str, frozenset[str]] = {
    "numpy.ma.core _mareconstruct": frozenset({"numpy ndarray", "numpy.ma MaskedArray"}),
    "numpy.random.bit_generator __pyx_unpickle_SeedSequence": frozenset(
        {"numpy.random.bit_generator SeedSequence"}
    ),
    "sklearn._loss._loss __pyx_unpickle_CyHalfMultinomialLoss": frozenset(
        {"sklearn._loss._loss CyHalfMultinomialLoss"}
    ),
    "sklearn.neighbors._ball_tree newObj": frozenset({"sklearn.neighbors._ball_tree BallTree"}),
    "sklearn.neighbors._kd_tree newObj": frozenset({"sklearn.neighbors._kd_tree KDTree"}),
    "collections defaultdict": frozenset(
        {f"builtins {name}" for name in ("list", "dict", "set", "int", "float", "str", "tuple")}
        | {"collections OrderedDict"}
    ),
}
"""The names that a call may be given, by its own name; none for every other call."""

_DANGEROUS = (
    *("numpy.f2py", "numpy.testing", "numpy.distutils", "torch.utils", "torch._dynamo"),
    *("torch._inductor", "torch.fx", "torch.jit", "torch.hub", "torch.distributed", "fickling"),
    *("requests", "aiohttp", "httpx", "urllib3", "paramiko", "pip", "setuptools", "dill"),
    *("cloudpickle", "joblib.memory", "joblib.externals", "pandas.io"),
    # Python 2, and modules that left the standard library.
    *("__builtin__", "commands", "httplib", "urllib2", "popen2", "imp", "nt", "posix", "asyncore"),
    *("lib2to3", "distutils", "smtpd", "telnetlib", "pipes", "crypt", "cgi", "webbrowser"),
    *("_winapi", "msvcrt", "winreg", "_aix_support", "_osx_support", "_pyrepl", "idlelib", "test"),
)


_HARMLESS = words("abs all any divmod enumerate len max min pow reversed round sorted sum zip")
_DANGEROUS_PREFIXES = tuple(f"{module}." for module in _DANGEROUS)


TABLES = (
    names.PYTHON,
    names.NUMPY,
    names.SCIPY,
    names.JOBLIB,
    SKLEARN,
    names.XGBOOST,
    names.LIGHTGBM,
    names.CATBOOST,
    TORCH,
)


def _parse(table: names.Table) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    module = ""
    for line in table.names.strip().splitlines():
        if not line.startswith(" "):
            module, _, line = line.partition(" : ")
        for item in line.split():
            name, slash, letters = item.partition("/")
            found[module, name] = letters if slash else "n"
    return found


ALLOWED: dict[tuple[str, str], str] = {
    pair: letters for table in TABLES for pair, letters in _parse(table).items()
}
ARGUMENTS["sklearn.metrics._dist_metrics newObj"] = frozenset(
    f"{module} {name}"
    for module, name in ALLOWED
    if module == "sklearn.metrics._dist_metrics" and name != "newObj"
)


def canonical(module: str, name: str) -> tuple[str, str]:
    """A name as today's libraries spell it: Python 2 and numpy 1 are the only others known."""
    if module in _PYTHON_2:
        return _PYTHON_2[module], _PYTHON_2_NAMES.get(name, name)
    return _MOVED.get(module, module), name


def uses(module: str, name: str) -> str | None:
    """The letters of an allowed (canonical) name; None when it is not allowed."""
    return ALLOWED.get((module, name))


_NAMES = frozenset(name for _, name in ALLOWED)


def is_name(name: str) -> bool:
    """Whether any library's allowed names include this one."""
    return name in _NAMES


def canonical_bytes() -> bytes:
    """The lists in one exact form, for digests and signatures."""
    tables = {
        "arguments": {call: sorted(fit) for call, fit in ARGUMENTS.items()},
        "format": "assay/allowed-names/v1",
        "tables": [
            {
                "library": table.library,
                "names": {f"{m} {name}": letters for (m, name), letters in _parse(table).items()},
                "versions": table.versions,
            }
            for table in TABLES
        ],
    }
    return rfc8785.dumps(tables)


@functools.cache
def digest() -> str:
    """The SHA-256 of `canonical_bytes`: a verdict names the lists that it was made with."""
    return f"sha256:{hashlib.sha256(canonical_bytes()).hexdigest()}"


def judge(module: str, name: str) -> tuple[Severity, str]:
    """How bad it is to reach a name that is not allowed, and the words for it.

    This decides between *malicious* and *suspicious* only: neither is clean.  A model has no use
    for the standard library's functions, so reaching one that is not allowed is an attack.
    """
    root = module.partition(".")[0]
    if module == "builtins" and name in _HARMLESS:
        return "suspicious", f"reaches {module}.{name}, which models do not hold"
    parts = name.split(".")
    if len(parts) > 1 and any(p.startswith("_") or p in sys.stdlib_module_names for p in parts):
        return "malicious", f"reaches {module}.{name} through the attributes of another name"
    standard = root in sys.stdlib_module_names or root == "?"
    if standard or f"{module}.".startswith(_DANGEROUS_PREFIXES):
        return "malicious", f"reaches {module}.{name}, which no model needs and which may run code"
    return "suspicious", f"reaches {module}.{name}, which is not among the names of known models"
