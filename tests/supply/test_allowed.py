from __future__ import annotations

import _compat_pickle
import hashlib
import importlib
import io
import json
import pickle
import pickletools
from typing import Any

import joblib
import pytest

from assay.supply.allowed import ALLOWED, ARGUMENTS, canonical, canonical_bytes, digest, judge, uses
from assay.supply.content import scan_content
from assay.supply.findings import Report
from assay.supply.opcodes import STEPS

ELSEWHERE = ("torch", "catboost", "joblib")
"""Libraries whose classes were looked at where they are installed, which is not here."""
GONE = {"SquaredLoss", "Log", "Huber", "EpsilonInsensitive", "SquaredEpsilonInsensitive"}


def scan_bytes(data: bytes) -> Report:
    report = Report()
    scan_content(data, 0, len(data), "", "model", report)
    return report


@pytest.mark.slow
def test_every_fitted_estimator_is_clean_in_every_protocol_and_container(
    estimators: list[tuple[str, Any]],
) -> None:
    from sklearn.utils import all_estimators

    fitted = {name for name, _ in estimators}
    assert {name for name, _ in all_estimators()} <= fitted
    wrong: list[str] = []
    for name, estimator in estimators:
        forms = {f"protocol {p}": pickle.dumps(estimator, p) for p in range(6)}
        for compress in (0, 3):
            stream = io.BytesIO()
            joblib.dump(estimator, stream, compress=compress)
            forms[f"joblib {compress}"] = stream.getvalue()
        for form, data in forms.items():
            report = scan_bytes(data)
            wrong += [f"{name}, {form}: {finding}" for finding in report.findings]
    assert not wrong, "\n".join(wrong[:20])


@pytest.mark.slow
def test_every_skops_file_is_clean(estimators: list[tuple[str, Any]]) -> None:
    import skops.io

    count = 0
    for name, estimator in estimators:
        try:
            data = skops.io.dumps(estimator)
        except Exception:  # noqa: S112 - skops does not support every estimator
            continue
        count += 1
        report = scan_bytes(data)
        assert not report.findings, (name, report.findings[:3])
    assert count > 150


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("functools", "partial"), ("operator", "methodcaller"), ("operator", "attrgetter"),
        ("builtins", "getattr"), ("builtins", "type"), ("builtins", "eval"),
        ("types", "FunctionType"), ("importlib", "import_module"), ("copyreg", "add_extension"),
        ("numpy._core", "_ufunc_reconstruct"), ("numpy", "load"), ("numpy", "fromfile"),
        ("numpy.f2py.crackfortran", "getlincoef"), ("numpy.testing._private.utils", "runstring"),
        ("joblib", "load"), ("joblib.numpy_pickle", "NDArrayWrapper"),
        ("joblib.memory", "MemorizedFunc"), ("sklearn.utils._testing", "_run_python_script"),
        ("sklearn.utils.fixes", "_in_unstable_openblas_configuration"),
        ("scipy.interpolate._interpnd", "LinearNDInterpolator"), ("torch", "load"),
        ("torch.hub", "load"), ("sklearn", "linear_model._logistic.LogisticRegression"),
        ("pathlib", "PosixPath"), ("xgboost.core", "_load_lib"), ("lightgbm.basic", "Dataset"),
        ("sklearn.datasets._base", "load_files"),
    ],
)  # fmt: skip
def test_helpers_beside_the_models_are_not_allowed(module: str, name: str) -> None:
    assert uses(*canonical(module, name)) is None
    assert judge(module, name)[0] in ("malicious", "suspicious")


def test_only_exact_names_are_allowed_never_modules_or_dotted_names() -> None:
    for module, name in ALLOWED:
        assert module
        assert name
        assert "." not in name
        assert "*" not in name
        assert uses(module, f"{name}.__init__") is None
        assert uses(f"{module}.x", name) is None


def test_what_is_called_or_constructed_is_what_the_list_takes_it_for() -> None:
    """A name that is constructed is a class, so that no function passes for one."""
    for (module, name), letters in ALLOWED.items():
        if module.startswith(ELSEWHERE) or name in GONE:
            continue
        found = getattr(importlib.import_module(module), name, None)
        if found is None:
            assert module.startswith("scipy"), (module, name)
        elif set(letters) & set("na"):
            assert isinstance(found, type), (module, name)
            assert not hasattr(found, "__getinitargs__")
        elif letters == "v" and not isinstance(found, type):
            assert callable(found)
            assert module.partition(".")[0] in ("numpy", "scipy", "sklearn"), (module, name)


CONSTRUCTORS_THAT_WERE_READ = {
    "IsotonicRegression", "TreePredictor", "BaseEstimator", "Bunch", "Booster", "UUID",
    "DistanceMetric64", "coo_matrix", "BinaryTree64",
}  # fmt: skip


def test_no_constructed_class_has_a_setstate_or_finaliser_that_was_not_read() -> None:
    """A library's new release may add code that runs while loading: then read it, and list it."""
    unread: set[str] = set()
    for (module, name), letters in ALLOWED.items():
        if "n" not in letters or module.startswith(ELSEWHERE) or name in GONE:
            continue
        found = getattr(importlib.import_module(module), name, None)
        for base in getattr(found, "__mro__", ()):
            if {"__setstate__", "__del__", "__getnewargs__"} & set(vars(base)):
                unread.add(base.__name__)
    assert unread <= CONSTRUCTORS_THAT_WERE_READ


def test_arguments_are_given_to_allowed_calls_only() -> None:
    for call, names in ARGUMENTS.items():
        assert "c" in (uses(*call.split(" ")) or ""), call
        for name in names:
            assert uses(*name.split(" ")) is not None, name


def test_the_lists_have_one_exact_form_that_can_be_signed() -> None:
    listed = json.loads(canonical_bytes())
    assert listed["format"] == "assay/allowed-names/v1"
    assert {table["library"] for table in listed["tables"]} >= {"numpy", "scikit-learn", "PyTorch"}
    assert all(table["versions"] and table["names"] for table in listed["tables"])
    assert sum(len(table["names"]) for table in listed["tables"]) == len(ALLOWED)
    assert digest() == f"sha256:{hashlib.sha256(canonical_bytes()).hexdigest()}"


def test_no_allowed_name_becomes_another_under_the_mapping_of_old_protocols() -> None:
    # Readers rename what a pickle of protocol 0 to 2 names; `canonical` follows the same renaming.
    for module, name in ALLOWED:
        assert (module, name) not in _compat_pickle.NAME_MAPPING
        assert module not in _compat_pickle.IMPORT_MAPPING
    for old, new in _compat_pickle.NAME_MAPPING.items():
        if uses(*canonical(*old)) is not None:
            assert canonical(*old) == new
    for old, new in _compat_pickle.IMPORT_MAPPING.items():
        assert canonical(old, "x")[0] in (old, new)


def test_every_opcode_of_python_has_a_step() -> None:
    assert {ord(opcode.code) for opcode in pickletools.opcodes} == set(STEPS)


def test_the_standard_library_is_malicious_and_a_users_module_unknown() -> None:
    assert judge("shutil", "rmtree")[0] == "malicious"
    assert judge("__main__", "MyModel")[0] == "suspicious"
    assert judge("pipelines.features", "Encoder")[0] == "suspicious"
    assert judge("builtins", "len")[0] == "suspicious"
