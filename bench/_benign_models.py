"""Ordinary model files, made by the real libraries: what no scanner should stumble over.

Run: ``python bench/_benign_models.py FOLDER`` in an environment that has the libraries
(`bench/scan.py` makes one).  What is not installed is left out, and named on standard error.  The
file's name begins with its family; nothing here is downloaded.
"""

from __future__ import annotations

import gzip
import importlib
import io
import json
import os
import pickle
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"
LIBRARIES = (
    *("numpy==2.4.2", "scipy", "scikit-learn==1.9.1", "joblib==1.6.0", "pandas", "lightgbm==4.7.0"),
    *("skops==0.16.0", "safetensors==0.8.0", "onnx==1.23.2", "skl2onnx", "gguf==0.19.0"),
    *("tokenizers==0.23.3", "lz4", "h5py==3.16.0", "keras==3.15.1"),
)
ALONE = ("xgboost==3.2.0", "catboost==1.2.10", "torch==2.13.0")
"""Installed without their dependencies, which weigh gigabytes (CUDA) or draw pictures."""
BESIDE = (
    *("filelock", "sympy", "networkx", "jinja2", "fsspec", "setuptools>=77", "six"),
    "typing-extensions",
)


class Maker:
    """A folder that files are put into."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0

    def __call__(self, name: str, data: bytes | Callable[[Path], object]) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(data, bytes):
            path.write_bytes(data)
        else:
            data(path)
        self.count += 1


def numbers() -> tuple[Any, Any, Any]:
    np = importlib.import_module("numpy")
    random = np.random.default_rng(0)
    x = np.abs(random.normal(size=(80, 4)))
    return x, np.arange(80) % 2, x[:, 0] + random.normal(size=80) * 0.1


def fitted() -> Iterator[tuple[str, Any]]:
    """Every estimator of scikit-learn that can be fitted to something plain."""
    np = importlib.import_module("numpy")
    utils = importlib.import_module("sklearn.utils")
    linear = importlib.import_module("sklearn.linear_model")
    x, y, real = numbers()
    words = ["red big", "blue", "big blue", "green"] * 20
    inner = {"estimator": linear.LogisticRegression()}
    regress = {"estimator": linear.Ridge()}
    given: dict[str, list[dict[str, Any]]] = {
        "GridSearchCV": [{**inner, "param_grid": {"C": [1, 2]}}],
        "RandomizedSearchCV": [{**inner, "param_distributions": {"C": [1, 2]}, "n_iter": 2}],
        "HalvingGridSearchCV": [{**inner, "param_grid": {"C": [1, 2]}}],
        "SparseCoder": [{"dictionary": x[:5]}],
        "GaussianRandomProjection": [{"n_components": 2}],
        "SparseRandomProjection": [{"n_components": 2}],
        "Pipeline": [{"steps": [("model", linear.LogisticRegression())]}],
        "FeatureUnion": [{"transformer_list": [("a", importlib.import_module(
            "sklearn.preprocessing").StandardScaler())]}],
        "ColumnTransformer": [{"transformers": [("a", "passthrough", [0, 1])]}],
        "RANSACRegressor": [{**regress, "min_samples": 10}],
    }  # fmt: skip
    several = [{"estimators": [("a", part["estimator"])]} for part in (inner, regress)]
    inputs: list[tuple[Any, ...]] = [
        (x, y), (x, real), (x, np.abs(real) + 1), (x, np.stack([y, 1 - y], 1)),
        (x, np.stack([real, real], 1)), (x[:, 0], real), (words, y), ([{"a": 1}] * 80, y),
        ([[w] for w in words], y), (y,), (np.abs(x @ x.T), None), (x,),
    ]  # fmt: skip
    for name, estimator in utils.all_estimators():
        for arguments in given.get(name, [{}, inner, regress, *several]):
            model = _fit(estimator, arguments, inputs)
            if model is not None:
                yield name, model
                break
        else:
            print(f"scikit-learn: {name} could not be fitted", file=sys.stderr)


def _fit(estimator: Any, arguments: dict[str, Any], inputs: list[tuple[Any, ...]]) -> Any:
    for data in inputs:
        try:
            model = estimator(**arguments)
            model.fit(*data)
        except Exception:  # noqa: S112 - what suits an estimator is found by trying
            continue
        return model
    return None


def scikit_learn(put: Maker) -> None:
    joblib = importlib.import_module("joblib")
    skops = importlib.import_module("skops.io")
    for number, (name, model) in enumerate(fitted()):
        put(f"sklearn-{name}-p{number % 6}.pkl", pickle.dumps(model, number % 6))
        put(f"sklearn-{name}-p5.pickle", pickle.dumps(model, 5))
        put(f"sklearn-{name}.joblib", lambda p, m=model: joblib.dump(m, p))
        try:
            data = skops.dumps(model)
        except Exception as error:
            print(f"skops: {name}: {type(error).__name__}", file=sys.stderr)
            continue
        put(f"skops-{name}.skops", data)
    forest = _forest()
    for kind in ("zlib", "gzip", "bz2", "xz", "lzma", "lz4"):
        put(f"joblib-{kind}.joblib", lambda p, k=kind: joblib.dump(forest, p, compress=(k, 3)))
    put("joblib-gz.pkl.gz", gzip.compress(pickle.dumps(forest)))


def _forest() -> Any:
    ensemble = importlib.import_module("sklearn.ensemble")
    x, y, _ = numbers()
    return ensemble.RandomForestClassifier(20, random_state=0).fit(x, y)


def boosting(put: Maker) -> None:
    x, y, real = numbers()
    joblib = importlib.import_module("joblib")
    with _optional("xgboost"):
        xgb = importlib.import_module("xgboost")
        for name, model in (
            ("classifier", xgb.XGBClassifier(n_estimators=5).fit(x, y)),
            ("regressor", xgb.XGBRegressor(n_estimators=5).fit(x, real)),
            ("forest", xgb.XGBRFClassifier(n_estimators=5).fit(x, y)),
            ("dart", xgb.XGBRegressor(n_estimators=5, booster="dart").fit(x, real)),
            ("linear", xgb.XGBRegressor(n_estimators=5, booster="gblinear").fit(x, real)),
        ):
            put(f"xgboost-{name}.json", model.save_model)
            put(f"xgboost-{name}.ubj", model.save_model)
            put(f"xgboost-{name}.pkl", pickle.dumps(model))
            put(f"xgboost-{name}.joblib", lambda p, m=model: joblib.dump(m, p))
            put(f"xgboost-booster-{name}.pkl", pickle.dumps(model.get_booster()))
    with _optional("lightgbm"):
        lgb = importlib.import_module("lightgbm")
        quiet: dict[str, Any] = {"n_estimators": 5, "verbose": -1, "min_child_samples": 2}
        for name, model in (
            ("classifier", lgb.LGBMClassifier(**quiet).fit(x, y)),
            ("regressor", lgb.LGBMRegressor(**quiet).fit(x, real)),
            ("ranker", lgb.LGBMRanker(**quiet).fit(x, y, group=[40, 40])),
        ):
            put(f"lightgbm-{name}.txt", model.booster_.save_model)
            put(f"lightgbm-{name}.json", json.dumps(model.booster_.dump_model()).encode())
            put(f"lightgbm-{name}.pkl", pickle.dumps(model))
            put(f"lightgbm-{name}.joblib", lambda p, m=model: joblib.dump(m, p))
    with _optional("catboost"):
        cat = importlib.import_module("catboost")
        model = cat.CatBoostClassifier(iterations=5, verbose=0, allow_writing_files=False)
        model.fit(x, y)
        put("catboost-model.cbm", lambda p: model.save_model(str(p)))
        put("catboost-model.json", lambda p: model.save_model(str(p), format="json"))
        put("catboost-model.onnx", lambda p: model.save_model(str(p), format="onnx"))
        put("catboost-model.pkl", pickle.dumps(model))


def pytorch(put: Maker) -> None:
    torch = importlib.import_module("torch")
    nn = torch.nn
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)
    )
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    net(torch.zeros(2, 1, 4, 4)).sum().backward()
    optimizer.step()
    kinds = {
        str(t)[6:]: torch.zeros(3, dtype=t)
        for t in (
            *(torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int8),
            *(torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool, torch.complex64),
        )
    }
    checkpoint = {
        "epoch": 3, "model": net.state_dict(), "optimizer": optimizer.state_dict(),
        "loss": 0.5, "args": {"lr": 1e-3, "betas": (0.9, 0.999)}, "rng": torch.get_rng_state(),
    }  # fmt: skip
    odd = {
        "shared": [net[0].weight, net[0].weight.view(-1)],
        "slice": torch.arange(100)[10:20:2], "parameter": nn.Parameter(torch.ones(2)),
        "size": torch.Size([1, 2]), "device": torch.device("cpu"), "dtype": torch.float16,
        "sparse": torch.eye(3).to_sparse(),
    }  # fmt: skip
    for name, value in (
        ("state", net.state_dict()), ("checkpoint", checkpoint), ("dtypes", kinds), ("odd", odd),
        ("module", net), ("embedding", {"e.weight": torch.randn(100, 8)}), ("empty", {}),
        ("lstm", nn.LSTM(4, 8, 2).state_dict()), ("tensor", torch.randn(4)),
        ("transformer", nn.TransformerEncoderLayer(8, 2, 16).state_dict()),
    ):  # fmt: skip
        for end in ("pt", "pth", "bin"):
            put(f"torch-{name}.{end}", lambda p, v=value: torch.save(v, p))
        put(
            f"torch-legacy-{name}.pt",
            lambda p, v=value: torch.save(v, p, _use_new_zipfile_serialization=False),
        )
    script = torch.jit.script(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)))
    put("torchscript-script.pt", lambda p: torch.jit.save(script, str(p)))
    traced = torch.jit.trace(net.eval(), torch.zeros(1, 1, 4, 4))
    put("torchscript-traced.pt", lambda p: torch.jit.save(traced, str(p)))
    with _optional("torch.export"):
        program = torch.export.export(net.eval(), (torch.zeros(1, 1, 4, 4),))
        put("torch-export.pt2", lambda p: torch.export.save(program, str(p)))
    with _optional("safetensors"):
        safe = importlib.import_module("safetensors.torch")
        put("safetensors-torch.safetensors", safe.save(net.state_dict(), {"format": "pt"}))
        put("safetensors-dtypes.safetensors", safe.save(kinds))


def keras_models(put: Maker) -> None:
    keras = importlib.import_module("keras")
    layers = keras.layers
    dense = keras.Sequential([keras.Input((4,)), layers.Dense(3, "relu"), layers.Dense(1)])
    image = keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Conv2D(2, 3), layers.BatchNormalization(),
         layers.MaxPooling2D(), layers.Flatten(), layers.Dropout(0.1), layers.Dense(2, "softmax")]
    )  # fmt: skip
    text = keras.Sequential(
        [keras.Input((5,)), layers.Embedding(10, 4), layers.LSTM(3), layers.Dense(1)]
    )
    inputs = keras.Input((4,))
    two = layers.Dense(2)(inputs)
    functional = keras.Model(inputs, layers.Concatenate()([two, inputs]))
    dense.compile("adam", "mse")
    models = {"dense": dense, "image": image, "text": text, "functional": functional}
    for name, model in models.items():
        put(f"keras-{name}.keras", lambda p, m=model: m.save(str(p)))
        put(f"keras-{name}.h5", lambda p, m=model: m.save(str(p)))
        put(f"keras-{name}.weights.h5", lambda p, m=model: m.save_weights(str(p)))
        put(f"keras-{name}.json", model.to_json().encode())


def onnx_models(put: Maker) -> None:
    skl2onnx = importlib.import_module("skl2onnx")
    linear = importlib.import_module("sklearn.linear_model")
    ensemble = importlib.import_module("sklearn.ensemble")
    np = importlib.import_module("numpy")
    x, y, _ = numbers()
    x = x.astype(np.float32)
    for model in (
        linear.LogisticRegression(), linear.LinearRegression(),
        ensemble.RandomForestClassifier(5), ensemble.GradientBoostingRegressor(n_estimators=5),
        ensemble.IsolationForest(n_estimators=5),
    ):  # fmt: skip
        opset = {"": 17, "ai.onnx.ml": 3}
        made = skl2onnx.to_onnx(model.fit(x, y), x[:1], target_opset=opset)
        put(f"onnx-{type(model).__name__}.onnx", made.SerializeToString())


def arrays(put: Maker) -> None:
    np = importlib.import_module("numpy")
    pd = importlib.import_module("pandas")
    x, y, _ = numbers()
    for name, value in (
        ("float", x), ("int", y), ("fortran", np.asfortranarray(x)), ("empty", np.zeros((0, 3))),
        ("scalar", np.array(1.5)), ("text", np.array(["a", "bc"])), ("bytes", np.array([b"ab"])),
        ("records", np.zeros(3, dtype=[("a", "i4"), ("b", "f8", (2,))])),
        ("dates", np.array(["2026-01-01"], dtype="M8[D]")), ("bool", y.astype(bool)),
        ("half", x.astype("f2")), ("big", x.astype(">f8")), ("complex", x.astype("c16")),
    ):  # fmt: skip
        put(f"npy-{name}.npy", lambda p, v=value: np.save(p, v))
        put(f"numpy-{name}.pkl", pickle.dumps(value))
    put("npz-plain.npz", lambda p: np.savez(p, x=x, y=y))
    put("npz-packed.npz", lambda p: np.savez_compressed(p, x=x, y=y))
    put("npy-objects.npy", lambda p: np.save(p, np.array([1, "a", None], dtype=object)))
    frame = pd.DataFrame({"a": y, "b": x[:, 0], "c": pd.Categorical(["x", "y"] * 40)})
    put("pandas-frame.pkl", frame.to_pickle)
    put("pandas-series.pkl", frame["b"].to_pickle)
    with _optional("safetensors"):
        safe = importlib.import_module("safetensors.numpy")
        put("safetensors-numpy.safetensors", safe.save({"x": x, "y": y}))
        put("safetensors-empty.safetensors", safe.save({}))


def gguf_models(put: Maker) -> None:
    gguf = importlib.import_module("gguf")
    np = importlib.import_module("numpy")
    template = (
        "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] | trim }}</s>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    for name, quantized in (("llama", False), ("quantized", True)):

        def write(path: Path, quantized: bool = quantized) -> None:
            writer = gguf.GGUFWriter(str(path), "llama")
            writer.add_name("tiny")
            writer.add_context_length(128)
            writer.add_embedding_length(32)
            writer.add_block_count(1)
            writer.add_tokenizer_model("gpt2")
            writer.add_token_list(["<s>", "</s>", "a", "b"])
            writer.add_token_types([3, 3, 1, 1])
            writer.add_chat_template(template)
            values = np.random.default_rng(0).normal(size=(4, 32)).astype(np.float32)
            if quantized:
                kind = gguf.GGMLQuantizationType.Q8_0
                packed = gguf.quants.quantize(values, kind)
                writer.add_tensor("token_embd.weight", packed, raw_dtype=kind)
            else:
                writer.add_tensor("token_embd.weight", values)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()

        put(f"gguf-{name}.gguf", write)


def hub_folder(put: Maker) -> None:
    """A folder as model hubs serve it."""
    tokenizers = importlib.import_module("tokenizers")
    safe = importlib.import_module("safetensors.numpy")
    np = importlib.import_module("numpy")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="[UNK]"))  # noqa: S106
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    trainer = tokenizers.trainers.BpeTrainer(special_tokens=["[UNK]", "[CLS]", "[PAD]"])
    tokenizer.train_from_iterator(["the cat sat on the mat", "a dog"] * 20, trainer)
    told = json.loads(tokenizer.to_str())
    template = "{% for message in messages %}{{ message['content'] }}{{ eos_token }}{% endfor %}"
    texts: dict[str, Any] = {
        "config.json": {
            "architectures": ["BertForSequenceClassification"], "model_type": "bert",
            "hidden_size": 32, "torch_dtype": "float32", "transformers_version": "5.3.0",
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast", "chat_template": template,
            "eos_token": "</s>", "model_max_length": 1000000000000000019884624838656,
        },
        "special_tokens_map.json": {"unk_token": "[UNK]", "pad_token": "[PAD]"},
        "generation_config.json": {"do_sample": True, "temperature": 0.6, "top_p": 0.9},
        "vocab.json": told["model"]["vocab"],
        "preprocessor_config.json": {"do_resize": True, "size": {"height": 224, "width": 224}},
        "model.safetensors.index.json": {"metadata": {"total_size": 128}, "weight_map": {}},
    }  # fmt: skip
    for name, value in texts.items():
        put(f"hub/{name}", json.dumps(value, indent=2).encode())
    put("hub/tokenizer.json", lambda p: tokenizer.save(str(p)))
    put("hub/merges.txt", b"#version: 0.2\nt h\nth e\n")
    put("hub/vocab.txt", b"[PAD]\n[UNK]\n[CLS]\nthe\ncat\n")
    put(
        "hub/README.md", b"---\nlicense: mit\nlibrary_name: transformers\n---\n# Tiny\n\nA model.\n"
    )
    put("hub/LICENSE", b"MIT License\n\nCopyright (c) 2026\n")
    put("hub/.gitattributes", b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n")
    weights = {"bert.embeddings.weight": np.zeros((4, 8), np.float32)}
    put("hub/model.safetensors", safe.save(weights, {"format": "pt"}))


class _optional:  # noqa: N801 - reads as a statement
    """Leave out what is not installed or cannot be made, and say so."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: object, _: object) -> bool:
        if kind is not None and issubclass(kind, Exception):
            print(f"left out {self._what}: {kind.__name__}: {str(error)[:120]}", file=sys.stderr)
            return True
        return False


FAMILIES = (scikit_learn, boosting, pytorch, keras_models, onnx_models, arrays, gguf_models)


def main() -> None:
    warnings.simplefilter("ignore")
    put = Maker(Path(sys.argv[1]))
    for family in (*FAMILIES, hub_folder):
        with _optional(family.__name__):
            sys.stdout, kept = io.StringIO(), sys.stdout
            try:
                family(put)
            finally:
                sys.stdout = kept
    print(json.dumps({"files": put.count}))


if __name__ == "__main__":
    main()
