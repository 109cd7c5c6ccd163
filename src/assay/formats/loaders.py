"""Load a model with the library that wrote it.

Loading a pickle runs what it says, and the native readers of the boosting libraries are large
parsers: call these only inside a confined process.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from assay.errors import Usage

_SKOPS_ROOTS = ("sklearn", "numpy", "scipy", "xgboost", "lightgbm", "collections")
_ONLY_WEIGHTS = (
    "a safetensors file holds weights without the computation that uses them, so it cannot "
    "become ONNX"
)


def load(path: Path, model_format: str) -> Any:
    """The fitted estimator or booster in a file of the given (detected) format.

    Raises `Usage` (``convert.*``) when the format holds no estimator or its library refuses it.
    """
    if model_format == "safetensors":
        raise Usage(
            _ONLY_WEIGHTS,
            remedy="export the network to ONNX where it was trained (torch.onnx.export), or serve "
            "the weights with the runtime that defines the network",
            code="convert.weights",
        )
    if model_format == "onnx":
        raise Usage("the model is ONNX already", remedy="register it as it is", code="convert.onnx")
    loader = _LOADERS.get(model_format)
    if loader is None:
        raise Usage(
            f"a model of the format {model_format[:40]!r} cannot be converted",
            remedy=f"save it as one of {', '.join(_LOADERS)}, or export it to ONNX",
            code="convert.format",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return loader(path)
    except Usage:
        raise
    except ImportError as error:
        raise Usage(
            f"the model needs a library that is not installed ({error})",
            remedy="install assay[boosting], or export the model to ONNX where it was trained",
            code="convert.library",
        ) from error
    except Exception as error:  # A hostile or foreign file can make a reader raise anything.
        raise Usage(
            f"the model cannot be loaded: {type(error).__name__}: {str(error)[:200]}",
            remedy="save it again with the installed versions of its libraries",
            code="convert.load",
        ) from error


def _load_pickle(path: Path) -> Any:
    with path.open("rb") as stream:
        return pickle.load(stream)  # noqa: S301 - only ever called in a confined process


def _load_joblib(path: Path) -> Any:
    import joblib

    return joblib.load(path)


def _load_skops(path: Path) -> Any:
    from skops import io

    unknown = [
        name
        for name in io.get_untrusted_types(file=path)
        if name.partition(".")[0] not in _SKOPS_ROOTS
    ]
    if unknown:
        raise Usage(
            f"the skops file holds the unknown type {unknown[0][:100]!r}",
            remedy="save the model without custom classes",
            code="convert.untrusted",
        )
    return io.load(path, trusted=io.get_untrusted_types(file=path))


def _load_xgboost(path: Path) -> Any:
    import xgboost

    booster = xgboost.Booster()
    booster.load_model(bytearray(path.read_bytes()))
    return booster


def _load_lightgbm(path: Path) -> Any:
    import lightgbm

    text = path.read_text("utf-8")
    return lightgbm.Booster(model_str=text)


_LOADERS: dict[str, Callable[[Path], Any]] = {
    "sklearn-pickle": _load_pickle,
    "sklearn-joblib": _load_joblib,
    "skops": _load_skops,
    "xgboost-json": _load_xgboost,
    "xgboost-ubj": _load_xgboost,
    "lightgbm-text": _load_lightgbm,
}
