"""Names that promise one format for content of another.

Loaders choose by suffix.  A ``.safetensors`` file that is a pickle is harmless to whoever reads it
as safetensors and an attack on whoever reads it by its content, so the lie alone is suspicious.
Pickles go by many names (``.bin``, ``.pt``, ``.ckpt``), which promise nothing.
"""

from __future__ import annotations

from assay.supply.readers.part import Part

_PROMISES: dict[str, frozenset[str]] = {
    "safetensors": frozenset({"safetensors"}),
    "onnx": frozenset({"onnx"}),
    "gguf": frozenset({"gguf"}),
    "npy": frozenset({"npy"}),
    "npz": frozenset({"npz", "zip"}),
    "h5": frozenset({"hdf5"}),
    "hdf5": frozenset({"hdf5"}),
    "keras": frozenset({"keras", "hdf5"}),
    "json": frozenset({"json", "xgboost-json", "catboost-json", "notebook", "text"}),
    "ubj": frozenset({"xgboost-ubj"}),
    "ipynb": frozenset({"notebook"}),
    "cbm": frozenset({"catboost"}),
    "skops": frozenset({"skops"}),
    "zip": frozenset({"zip", "npz", "skops", "torch", "torchscript", "keras"}),
    "tar": frozenset({"tar"}),
    "parquet": frozenset({"parquet"}),
    "pb": frozenset({"savedmodel", "onnx", "keras-metadata", "fingerprint"}),
    "tflite": frozenset({"tflite"}),
    "pmml": frozenset({"pmml"}),
    **dict.fromkeys(("png",), frozenset({"png"})),
    **dict.fromkeys(("jpg", "jpeg"), frozenset({"jpeg"})),
    "gif": frozenset({"gif"}),
    "webp": frozenset({"webp"}),
    "txt": frozenset({"text", "yaml", "json", "lightgbm-text"}),
    **dict.fromkeys(
        ("md", "csv", "tsv", "yaml", "yml", "toml", "rst"),
        frozenset({"text", "yaml", "json"}),
    ),
}
_UNREAD = frozenset({"unknown", "empty"})


def check(part: Part, kind: str) -> None:
    """Report a name whose suffix promises another format than `kind`."""
    _, dot, suffix = part.name.rpartition(".")
    promised = _PROMISES.get(suffix.lower()) if dot else None
    if promised is None or kind in promised or kind in _UNREAD:
        return
    what = f"the name ends with .{suffix.lower()}, but the content is of the format {kind}"
    part.find("extension", "suspicious", what)
