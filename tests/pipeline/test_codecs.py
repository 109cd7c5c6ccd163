"""Which codec a type hint has, and what is refused for want of one."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType, Protocol, TypedDict, TypeVar

import lightgbm
import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import xgboost
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from assay import plugins
from assay.errors import Unavailable, Usage
from assay.pipeline import codecs

Frame = NewType("Frame", pl.DataFrame)


class Classifier(Protocol):
    def predict(self, rows: Any) -> Any: ...


class Named(NamedTuple):
    size: int
    name: str


class Mixed(NamedTuple):
    frame: pl.DataFrame
    size: int


@dataclasses.dataclass
class Report:
    auc: float
    inner: Report | None = None


@dataclasses.dataclass
class Held:
    frame: pl.DataFrame


class Settings(TypedDict):
    depth: int


class Record(msgspec.Struct):
    x: float


class Own(TransformerMixin, BaseEstimator):
    pass


class OwnForest(RandomForestClassifier):
    pass


class OwnFrame(pd.DataFrame):
    pass


class Plain:
    pass


class Module:
    """Stands for ``torch.nn.Module``, by name."""


Module.__module__ = "torch.nn.modules.module"


class Network(Module):
    pass


@pytest.mark.parametrize(
    ("hint", "name"),
    [
        *((hint, "json/1") for hint in (int, float, str, bool, None, type(None))),
        *((hint, "json/1") for hint in (int | None, list[int], dict[str, list[float]], list, dict)),
        *((hint, "json/1") for hint in (tuple[int, str], set[str], Literal["a", "b"], Named)),
        *((hint, "json/1") for hint in (Report, Settings, Record, list[Report], dict[str, Any])),
        *((hint, "json/1") for hint in (Sequence[int], Mapping[str, int], dict[str, object])),
        *((hint, "json/1") for hint in (Annotated[int, msgspec.Meta(ge=0)], list[bytes])),
        (bytes, "bytes/1"),
        *((hint, "parquet/1") for hint in (pl.DataFrame, pd.DataFrame, pa.Table, Frame)),
        (Annotated[pl.DataFrame, "schema"], "parquet/1"),
        *((hint, "npy/1") for hint in (np.ndarray, npt.NDArray[np.float64])),
        *((hint, "skops/1") for hint in (BaseEstimator, ClassifierMixin, Pipeline, Classifier)),
        (LogisticRegression | RandomForestClassifier, "skops/1"),
        (xgboost.XGBClassifier | lightgbm.LGBMClassifier, "skops/1"),
        *((hint, "xgboost/1") for hint in (xgboost.Booster, xgboost.XGBModel)),
        (xgboost.XGBClassifier, "xgboost/1"),
        *((hint, "lightgbm/1") for hint in (lightgbm.Booster, lightgbm.LGBMModel)),
        (lightgbm.LGBMRegressor, "lightgbm/1"),
        (onnx.ModelProto, "onnx/1"),
    ],
    ids=str,
)
def test_a_hint_has_its_codec(hint: Any, name: str) -> None:
    codec = codecs.codec_for(hint)
    assert codec.name == name
    assert codecs.by_name(name) is codec
    assert codecs.is_json(hint) is (name == "json/1")
    assert codec.kind == ("data" if name in DATA else "model")


DATA = ("json/1", "bytes/1", "parquet/1", "npy/1")


@pytest.mark.parametrize(
    ("hint", "code", "words"),
    [
        *((hint, "untyped", "say what it is") for hint in (Any, object, TypeVar("T"), Any | None)),
        *((hint, "container", "results of their own") for hint in (list[pl.DataFrame], Held)),
        (dict[str, pl.DataFrame], "container", "NamedTuple"),
        (tuple[pl.DataFrame, Pipeline], "container", "tuple[A, B]"),
        (Mixed, "container", "NamedTuple"),
        (list[np.ndarray], "container", "list[T]"),
        (pl.DataFrame | None, "optional", "empty"),
        (bytes | None, "optional", "empty"),
        (pl.DataFrame | pd.DataFrame, "union", "one type"),
        (int | pl.DataFrame, "union", "one type"),
        (list[int] | tuple[int, ...], "union", "one type"),
        (bytes | str, "union", "one type"),
        (pl.LazyFrame, "type", ".collect()"),
        (pl.Series, "type", ".to_frame()"),
        (pd.Series, "type", ".to_frame()"),
        (pa.RecordBatch, "type", "from_batches"),
        (np.float64, "type", "x.item()"),
        (Network, "type", "ONNX"),
        (Own, "type", "scikit-learn's parts"),
        (OwnForest, "type", "register a codec"),
        (OwnFrame, "type", "register a codec"),
        (Plain, "type", "register a codec"),
        (complex, "type", "register a codec"),
        (Callable[[int], int], "type", "register a codec"),
        (Iterator[int], "type", "register a codec"),
        (Path, "type", "bytes"),
        ("pl.DataFrame", "type", "import"),
    ],
    ids=str,
)
def test_a_hint_without_a_codec_is_refused_with_a_remedy(hint: Any, code: str, words: str) -> None:
    assert not codecs.is_json(hint)
    with pytest.raises(Usage) as refused:
        codecs.codec_for(hint)
    assert refused.value.code == f"usage.codec.{code}"
    assert words in refused.value.remedy


def test_an_unknown_codec_is_refused() -> None:
    with pytest.raises(Unavailable, match="no codec 'pickle/1'"):
        codecs.by_name("pickle/1")


def test_importing_the_codecs_and_choosing_one_loads_no_library() -> None:
    code = (
        "import sys, json\n"
        "from assay.pipeline import codecs\n"
        "for name in ('json/1', 'parquet/1', 'skops/1', 'onnx/1'): codecs.by_name(name)\n"
        "codecs.codec_for(dict[str, float])\n"
        "class Thing: pass\n"
        "for codec in codecs.BUILT_IN: codec.accepts(Thing)\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    heavy = {"numpy", "polars", "pandas", "pyarrow", "sklearn", "skops", "xgboost", "lightgbm"}
    assert not loaded & {*heavy, "onnx", "scipy", "google"}


def test_the_built_in_codecs_are_those_among_the_entry_points() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    points = project["project"]["entry-points"]["assay.codecs"]
    loaded = {name: EntryPoint(name, value, "x").load() for name, value in points.items()}
    assert set(loaded.values()) == set(codecs.BUILT_IN)
    assert all(codec.name == f"{name}/1" for name, codec in loaded.items())
    assert codecs.GROUP in plugins.GROUPS


# -- codecs of other packages ---------------------------------------------------------------------

MODULE = """
from pathlib import Path

class Signal:
    def __init__(self, samples): self.samples = samples

class Codec:
    name, kind, suffix = "signal/3", "data", ".signal"
    def accepts(self, hint):
        return isinstance(hint, type) and hint.__qualname__ == "Signal"
    def encode(self, value, hint, into): into.write_text(",".join(map(str, value.samples)))
    def decode(self, path, hint): return hint([int(x) for x in path.read_text().split(",")])

CODEC = Codec()
"""
SCRIPT = """
import sys
from pathlib import Path
import signal_codec
from assay.pipeline import codecs
codec = codecs.codec_for(signal_codec.Signal)
assert codecs.by_name("signal/3") is codec and codec is signal_codec.CODEC
path = Path(sys.argv[1]) / ("x" + codec.suffix)
codec.encode(signal_codec.Signal([1, 2, 3]), signal_codec.Signal, path)
print(codec.decode(path, signal_codec.Signal).samples)
"""


def test_a_codec_in_a_wheel_of_its_own_is_found(tmp_path: Path) -> None:
    (tmp_path / "signal_codec.py").write_text(MODULE)
    info = tmp_path / "signal_codec-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: signal-codec\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[assay.codecs]\nsignal = signal_codec:CODEC\n")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "[1, 2, 3]\n", done.stderr


class Foreign:
    name, kind, suffix = "foreign/1", "model", ".x"

    def __init__(self, wanted: Any = Plain, **said: Any) -> None:
        self._wanted = wanted
        vars(self).update(said)

    def accepts(self, hint: Any) -> bool:
        return hint is self._wanted

    def encode(self, value: Any, hint: Any, into: Path) -> None: ...

    def decode(self, path: Path, hint: Any) -> Any: ...


INSTALLED: list[Any] = []


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    def install(*found: Any) -> None:
        INSTALLED[:] = found
        points = [
            EntryPoint(f"p{number}", f"{__name__}:INSTALLED", "assay.codecs")
            for number in range(len(found))
        ]
        number = iter(range(len(found)))
        monkeypatch.setattr(EntryPoint, "load", lambda _: INSTALLED[next(number)])
        monkeypatch.setattr(plugins, "entry_points", lambda **_: points)
        codecs.others.cache_clear()

    yield install
    codecs.others.cache_clear()


def test_a_foreign_codec_takes_what_assay_refuses_and_nothing_else(
    install: Callable[..., None],
) -> None:
    own, greedy = Foreign(Own), Foreign(pl.DataFrame, name="greedy/1")
    install(own, greedy)
    assert codecs.codec_for(Own) is own
    assert codecs.codec_for(pl.DataFrame).name == "parquet/1"


def test_two_codecs_for_one_type_are_refused(install: Callable[..., None]) -> None:
    install(Foreign(), Foreign(name="other/1"))
    with pytest.raises(Usage, match=r"foreign/1, other/1") as refused:
        codecs.codec_for(Plain)
    assert refused.value.code == "usage.codec.ambiguous"


@pytest.mark.parametrize(
    ("codec", "why"),
    [
        (Foreign(name="parquet/1"), "the name of another codec"),
        (Foreign(name="no version"), "no name and version"),
        (Foreign(kind="secret"), "neither of kind"),
        (Foreign(suffix="/../../x"), "no suffix"),
        (Foreign(encode=None), "lacks one of"),
        (Foreign(accepts=lambda _: 1 // 0), "fails for Plain"),
        (object(), "lacks one of"),
    ],
    ids=["taken", "unversioned", "kind", "suffix", "no encode", "fails", "nothing"],
)
def test_a_codec_that_breaks_the_protocol_is_refused(
    codec: Any, why: str, install: Callable[..., None]
) -> None:
    install(codec)
    with pytest.raises(Unavailable, match=why):
        codecs.codec_for(Plain)
