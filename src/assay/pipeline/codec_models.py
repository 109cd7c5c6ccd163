"""Fitted models in the formats of their libraries: read by any tool, and never pickled.

The estimators of XGBoost and LightGBM are their boosters, in the library's own format, which carry
what scikit-learn's face adds (parameters, classes) as a small skops archive of their own: any tool
reads the booster, and a step gets the whole estimator back.

An estimator class of the pipeline's own code is refused.  To load one, the *file* would name the
module to import: code that no key covers, chosen by data.  And nothing behind the step could load
the model either: no scanner, no conversion to ONNX, no endpoint.
"""

from __future__ import annotations

import base64
import binascii
import copy
import typing
from pathlib import Path
from typing import Any, Literal

from assay.errors import Corrupt, Usage
from assay.pipeline.codec_hints import (
    LIBRARIES_OF_MODELS,
    any_of,
    choices,
    fits,
    is_protocol,
    kind,
    lineage,
    protocol_members,
    said,
    wrong,
)

ESTIMATOR = "sklearn.base.BaseEstimator"
_VERBS = frozenset({"decision_function", "fit", "predict", "predict_proba", "score", "transform"})
_KEY = "assay_estimator"
_BEST = "assay_best_iteration"
_HEAD = "tree\nversion="


class SkopsCodec:
    """skops, in its one spelling, for the estimators of scikit-learn and those shaped like them."""

    name = "skops/1"
    kind: Literal["data", "model"] = "model"
    suffix = ".skops"

    def accepts(self, hint: Any) -> bool:
        return all(_is_estimator(choice) for choice in choices(hint))

    def encode(self, value: Any, hint: Any, into: Path) -> None:
        from assay.formats import skops_bytes

        if ESTIMATOR not in lineage(type(value)) or not fits(value, hint):
            raise wrong(value, hint)
        into.write_bytes(skops_bytes.dump(value))

    def decode(self, path: Path, hint: Any) -> Any:
        from assay.formats import skops_bytes

        return _checked(skops_bytes.load(path.read_bytes()), hint)


def _is_estimator(hint: Any) -> bool:
    if is_protocol(hint):
        return bool(protocol_members(hint) & _VERBS)
    names = lineage(hint)
    if not names or names[0].partition(".")[0] not in LIBRARIES_OF_MODELS:
        return False
    mixin = names[0].startswith("sklearn.base.") and names[0].endswith("Mixin")
    return ESTIMATOR in names or mixin


def is_own_estimator(hint: Any) -> bool:
    """Whether a class outside the model libraries derives from their estimators."""
    return ESTIMATOR in lineage(hint) and not _is_estimator(hint)


def _checked(value: Any, hint: Any) -> Any:
    if not fits(value, hint):
        raise wrong(value, hint, "annotate the parameter as the step that gives it does")
    return value


class XgboostCodec:
    """UBJSON, the format of XGBoost."""

    name = "xgboost/1"
    kind: Literal["data", "model"] = "model"
    suffix = ".ubj"

    def accepts(self, hint: Any) -> bool:
        return _is_boosted(hint, "xgboost.core.Booster", "xgboost.sklearn.XGBModel")

    def encode(self, value: Any, hint: Any, into: Path) -> None:
        import xgboost

        if not fits(value, hint):
            raise wrong(value, hint)
        face = not isinstance(value, xgboost.Booster)
        booster = (_booster(value, "_Booster") if face else value).copy()
        booster.set_attr(**{_KEY: _face(value) if face else None})
        into.write_bytes(bytes(booster.save_raw("ubj")))

    def decode(self, path: Path, hint: Any) -> Any:
        import xgboost

        booster = xgboost.Booster()
        data = path.read_bytes()
        try:
            if not data.startswith(b"{"):  # XGBoost 3.2 ends the process over an empty file.
                raise ValueError("it does not begin as UBJSON does")
            booster.load_model(bytearray(data))
        except (ValueError, xgboost.core.XGBoostError) as error:
            raise _damaged("XGBoost", error) from error
        text = booster.attr(_KEY)
        booster.set_attr(**{_KEY: None})
        if _is_booster(hint):
            return booster
        return _with_booster(text, booster, hint)


class LightgbmCodec:
    """The text format of LightGBM, with a line of our own in its head."""

    name = "lightgbm/1"
    kind: Literal["data", "model"] = "model"
    suffix = ".txt"

    def accepts(self, hint: Any) -> bool:
        return _is_boosted(hint, "lightgbm.basic.Booster", "lightgbm.sklearn.LGBMModel")

    def encode(self, value: Any, hint: Any, into: Path) -> None:
        import lightgbm

        if not fits(value, hint):
            raise wrong(value, hint)
        face = not isinstance(value, lightgbm.Booster)
        booster = _booster(value, "_Booster") if face else value
        text = booster.model_to_string()
        first, second, rest = text.split("\n", 2)
        lines = [first, second]
        if booster.best_iteration > 0:
            lines.append(f"{_BEST}={int(booster.best_iteration)}")
        if face:
            lines.append(f"{_KEY}={_face(value)}")
        into.write_bytes("\n".join([*lines, rest]).encode("utf-8"))

    def decode(self, path: Path, hint: Any) -> Any:
        import lightgbm

        try:
            text = path.read_bytes().decode("utf-8")
            ours, text = _split(text)
            booster = lightgbm.Booster(model_str=text)
            if _BEST in ours:
                booster.best_iteration = int(ours[_BEST])
        except (ValueError, lightgbm.basic.LightGBMError) as error:
            raise _damaged("LightGBM", error) from error
        if _is_booster(hint):
            return booster
        return _with_booster(ours.get(_KEY), booster, hint)


def _split(text: str) -> tuple[dict[str, str], str]:
    """Our lines in the head of LightGBM's text, and the text without them."""
    if not text.startswith(_HEAD):
        raise ValueError("it does not begin as LightGBM's text does")
    first, second, rest = text.split("\n", 2)
    ours: dict[str, str] = {}
    while rest.startswith((f"{_KEY}=", f"{_BEST}=")):
        line, _, rest = rest.partition("\n")
        name, _, value = line.partition("=")
        ours[name] = value
    return ours, "\n".join([first, second, rest])


def _is_boosted(hint: Any, booster: str, model: str) -> bool:
    names = lineage(hint)
    own = model.rpartition(".")[0]
    return names[:1] == (booster,) or (model in names and names[0].startswith(f"{own}."))


def _is_booster(hint: Any) -> bool:
    found = kind(hint)
    return found is not None and found.__name__ == "Booster"


def _booster(model: Any, attribute: str) -> Any:
    booster = getattr(model, attribute, None)
    if booster is None:
        raise Usage(
            f"the {said(model)} is not fitted",
            remedy="fit it, and return the fitted model",
            code="step.type",
        )
    return booster


def _face(model: Any) -> str:
    """An estimator without its booster, as one line of text."""
    from assay.formats import skops_bytes

    bare = copy.copy(model)
    bare._Booster = None
    return base64.urlsafe_b64encode(skops_bytes.dump(bare)).decode("ascii").rstrip("=")


def _with_booster(text: str | None, booster: Any, hint: Any) -> Any:
    from assay.formats import skops_bytes

    if not text:
        raise wrong(booster, hint, "annotate it as a Booster, which is what the other step gives")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError) as error:
        raise _damaged("estimator", error) from error
    model = _checked(skops_bytes.load(data), hint)
    model._Booster = booster
    return model


def _damaged(what: str, error: Exception) -> Corrupt:
    return Corrupt(
        f"the stored {what} model cannot be read ({str(error)[:200]})",
        remedy="run the step again without its cached result",
        code="codec.model",
    )


class OnnxCodec:
    """The protocol buffer that ONNX is."""

    name = "onnx/1"
    kind: Literal["data", "model"] = "model"
    suffix = ".onnx"

    def accepts(self, hint: Any) -> bool:
        found = any_of((), hint) or next(iter(lineage(hint)), "")
        return found.startswith("onnx.") and found.endswith(".ModelProto")

    def encode(self, value: Any, hint: Any, into: Path) -> None:
        if not fits(value, hint):
            raise wrong(value, hint)
        _no_external(value)
        try:
            into.write_bytes(value.SerializeToString(deterministic=True))
        except ValueError as error:
            raise Usage(
                f"the ONNX model cannot be written as one file: {str(error)[:200]}",
                remedy="quantise it, or return its weights in parts",
                code="codec.onnx",
            ) from error

    def decode(self, path: Path, hint: Any) -> Any:
        from google.protobuf.message import DecodeError

        owner = typing.cast("Any", kind(hint))
        try:
            model = owner.FromString(path.read_bytes())
        except (DecodeError, ValueError) as error:
            raise _damaged("ONNX", error) from error
        _no_external(model)
        return model


def _no_external(model: Any) -> None:
    """Tensors in other files are not part of the bytes that are kept."""
    import onnx

    from assay.formats.onnx_io import signature_of

    graphs = [onnx.GraphProto(node=function.node) for function in model.functions]
    for part in (model, *(onnx.ModelProto(graph=graph) for graph in graphs)):
        if signature_of(part).external_data:
            raise Usage(
                "the ONNX model keeps tensors in other files",
                remedy="load them into it: onnx.external_data_helper.load_external_data_for_model",
                code="codec.onnx",
            )


SKOPS = SkopsCodec()
XGBOOST = XgboostCodec()
LIGHTGBM = LightgbmCodec()
ONNX = OnnxCodec()
