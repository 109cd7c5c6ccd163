"""Values as files, chosen by type hint.

A hint that says nothing has no codec, and neither has a container of frames or models: those are
several results, which `assay.pipeline.signatures` splits.  Importing this module loads no library.

assay's own codecs are asked first, by a list that is here as well as among the entry points: so a
step that needs no other opens no list of installed packages, which would count as reading them.
"""

from __future__ import annotations

import functools
import re
import typing
from importlib.metadata import EntryPoint
from typing import Any

from assay import plugins
from assay.errors import AssayError, Unavailable, Usage
from assay.pipeline.codec_arrays import NPY
from assay.pipeline.codec_frames import PARQUET
from assay.pipeline.codec_hints import bare, choices, kind, lineage, spelt
from assay.pipeline.codec_json import BYTES, JSON, is_json, is_untyped, why_not
from assay.pipeline.codec_models import LIGHTGBM, ONNX, SKOPS, XGBOOST, is_own_estimator
from assay.plugins import Codec

__all__ = ["BUILT_IN", "by_name", "codec_for", "is_json"]

GROUP = "assay.codecs"
BUILT_IN: tuple[Codec, ...] = (BYTES, PARQUET, NPY, XGBOOST, LIGHTGBM, ONNX, SKOPS, JSON)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}/[1-9][0-9]{0,3}")
_SUFFIX = re.compile(r"(\.[a-z0-9]{1,12}){1,3}")
_REGISTER = (
    "return what one of assay's codecs carries (frames, arrays, scikit-learn, XGBoost, LightGBM "
    "and ONNX models, plain values), or register a codec for it (entry point group assay.codecs)"
)
_REMEDIES = {
    "polars.lazyframe.frame.LazyFrame": "call .collect() and annotate it polars.DataFrame",
    "polars.series.series.Series": "call .to_frame() and annotate it polars.DataFrame",
    "pandas.Series": "call .to_frame() and annotate it pandas.DataFrame",
    "pandas.core.series.Series": "call .to_frame() and annotate it pandas.DataFrame",
    "pyarrow.lib.RecordBatch": "make a table of it: pyarrow.Table.from_batches([x])",
    "pyarrow.lib.ChunkedArray": "make a table of it: pyarrow.table({'name': x})",
    "scipy.sparse._base._spbase": "keep it as a frame of row, column and value",
    "torch.nn.modules.module.Module": "export it to ONNX (torch.onnx.export) and return the "
    "onnx.ModelProto, or return its weights as the bytes of safetensors.torch.save(...)",
    "torch.Tensor": "return x.numpy(), annotated numpy.ndarray",
    "torch._tensor.Tensor": "return x.numpy(), annotated numpy.ndarray",
    "numpy.generic": "return x.item(), annotated float, int, bool or str",
    "pathlib.PurePath": "return the file's bytes, or read it into a frame",
}


@functools.cache
def others() -> tuple[Codec, ...]:
    """The codecs of other packages; raises `Unavailable` for one that cannot be used."""
    found: list[Codec] = []
    for name, codec in plugins.load(GROUP, only=_is_foreign).items():
        _check(name, codec)
        if codec.name in {known.name for known in (*BUILT_IN, *found)}:
            raise _broken(name, f"has the name of another codec, {codec.name}")
        found.append(codec)
    return tuple(found)


def codec_for(hint: Any) -> Codec:
    """The codec of values with this hint.

    Raises `Usage` (``codec.*``) naming the type and what to do when there is none.
    """
    if is_untyped(hint):
        raise Usage(
            f"the annotation {spelt(hint)} does not say what the value is",
            remedy="say what it is, for example polars.DataFrame, dict[str, float], Pipeline",
            code="codec.untyped",
        )
    for codec in BUILT_IN:
        if codec.accepts(bare(hint) if codec is not JSON else hint):
            return codec
    found = [codec for codec in others() if _accepts(codec, hint)]
    if len(found) > 1:
        raise Usage(
            f"several codecs take {spelt(hint)}: {', '.join(codec.name for codec in found)}",
            remedy="uninstall all but one of the packages that bring them",
            code="codec.ambiguous",
        )
    if found:
        return found[0]
    raise _none(hint)


def by_name(name: str) -> Codec:
    """The codec with this name and version; raises `Unavailable` when it is not installed."""
    for codec in BUILT_IN:
        if codec.name == name:
            return codec
    for codec in others():
        if codec.name == name:
            return codec
    raise Unavailable(
        f"there is no codec {name[:80]!r}",
        remedy="install the package that brings it",
        code="codec.unknown",
    )


def _is_foreign(point: EntryPoint) -> bool:
    return not point.value.startswith("assay.pipeline.")


def _check(name: str, codec: Any) -> None:
    """What a codec says of itself becomes part of keys and file names."""
    parts = ("accepts", "encode", "decode")
    if not all(callable(getattr(codec, part, None)) for part in parts):
        raise _broken(name, f"lacks one of {', '.join(parts)}")
    if not _NAME.fullmatch(str(getattr(codec, "name", ""))):
        raise _broken(name, 'has no name and version like "parquet/1"')
    if getattr(codec, "kind", None) not in ("data", "model"):
        raise _broken(name, 'is neither of kind "data" nor "model"')
    if not _SUFFIX.fullmatch(str(getattr(codec, "suffix", ""))):
        raise _broken(name, 'has no suffix like ".parquet"')


def _broken(name: str, what: str) -> Unavailable:
    return Unavailable(
        f"the codec of the plug-in {name} {what}",
        remedy="install a version of it that follows assay.plugins.Codec, or uninstall it",
        code="plugin",
    )


def _accepts(codec: Codec, hint: Any) -> bool:
    try:
        return bool(codec.accepts(bare(hint)))
    except AssayError:
        raise
    except Exception as error:  # A plug-in is foreign code: anything can come out of it.
        raise _broken(codec.name, f"fails for {spelt(hint)}: {error}") from error


def _none(hint: Any) -> Usage:
    if isinstance(hint, str):
        return _usage(hint, "is text that names nothing", "import what it names", "type")
    parts = choices(hint)
    if len(parts) > 1:
        return _union(hint, parts)
    inside = _inside(bare(hint))
    if inside:
        what = ", ".join(dict.fromkeys(spelt(part) for part in inside))
        return _usage(
            hint,
            f"holds {what} inside of another value",
            "frames, arrays and models are results of their own: return tuple[A, B], a NamedTuple "
            "or list[T] of them directly, and take each as a parameter",
            "container",
        )
    if is_own_estimator(hint):
        return _usage(
            hint,
            "is an estimator class outside of scikit-learn, XGBoost and LightGBM: to load one, a "
            "file would name the code to import",
            "compose the model from scikit-learn's parts (Pipeline, ColumnTransformer, "
            "FunctionTransformer(numpy.log1p)), return what it learnt as a dataclass, or register "
            "a codec for it (entry point group assay.codecs)",
            "type",
        )
    names = lineage(hint)
    remedy = next((_REMEDIES[name] for name in names if name in _REMEDIES), "")
    if not remedy and (why := why_not(hint)):
        return _usage(hint, f"is not taken: {why}", "use a type that msgspec supports", "type")
    return _usage(hint, "has no codec", remedy or _REGISTER, "type")


def _union(hint: Any, parts: list[Any]) -> Usage:
    left = [part for part in parts if part not in (None, type(None))]
    if len(left) < len(parts):
        return _usage(
            hint,
            "may be None, and a frame, array or model is always there",
            "return an empty one, or split what may be missing from what is not",
            "optional",
        )
    why = why_not(hint) if all(map(is_json, left)) else ""
    return _usage(
        hint,
        f"is one of several types that are kept differently{f' ({why})' if why else ''}",
        "annotate one type, or a union of scikit-learn estimators",
        "union",
    )


def _inside(hint: Any) -> list[Any]:
    """What a container holds that is not plain."""
    found = kind(hint)
    arguments: list[Any] = list(typing.get_args(hint))
    if typing.get_origin(hint) is None and found is not None:
        # A class with fields: NamedTuple, dataclass, Struct, TypedDict.
        if not any(hasattr(found, mark) for mark in _WITH_FIELDS):
            return []
        try:
            arguments = list(typing.get_type_hints(found).values())
        except Exception:  # Annotations are code, and this may be any of its mistakes.
            return []
    elif found is None or lineage(found)[0] in _NO_CONTAINER or not _is_builtin(found):
        return []
    return [part for part in arguments if part is not Ellipsis and not is_json(part)]


def _is_builtin(found: type) -> bool:
    return found.__module__ in ("builtins", "collections", "collections.abc")


_NO_CONTAINER = ("builtins.type", "collections.abc.Callable")
_WITH_FIELDS = ("_fields", "__dataclass_fields__", "__struct_fields__", "__total__")


def _usage(hint: Any, what: str, remedy: str, code: str) -> Usage:
    return Usage(f"the annotation {spelt(hint)} {what}", remedy=remedy, code=f"codec.{code}")
