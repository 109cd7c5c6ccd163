# ruff: noqa: ARG001, PTH109, PTH208 - every target takes a payload.
"""Functions that the tests run confined: the honest ones.  Imported in the confined process."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def echo(payload: bytes) -> bytes:
    return payload


def surroundings(payload: bytes) -> bytes:
    """What a confined function can see of where it came from."""
    del payload
    descriptors = []
    for number in range(256):
        try:
            os.fstat(number)
        except OSError:
            continue
        descriptors.append(number)
    return json.dumps(
        {
            "environment": dict(os.environ),
            "arguments": sys.argv,
            "folder": os.getcwd(),
            "descriptors": descriptors,
            "path": sys.path,
            "uid": os.getuid(),
            "modules": sorted(name for name in sys.modules if name.startswith("assay")),
        }
    ).encode()


def read_file(payload: bytes) -> bytes:
    return Path(payload.decode()).read_bytes()


def list_folder(payload: bytes) -> bytes:
    return json.dumps(sorted(os.listdir(payload.decode()))).encode()


def raise_usage(payload: bytes) -> bytes:
    from assay.errors import Usage

    raise Usage(
        f"the model {payload.decode()} has no ONNX form",
        remedy="export it from its own library",
        code="formats.convert",
    )


def raise_value_error(payload: bytes) -> bytes:
    raise ValueError(payload.decode())


def raise_system_exit(payload: bytes) -> bytes:
    raise SystemExit(payload.decode())


def raise_denied(payload: bytes) -> bytes:
    from assay.errors import Denied

    raise Denied("forged", code="policy")


def not_bytes(payload: bytes) -> Any:
    return payload.decode()


def long_answer(payload: bytes) -> bytes:
    return b"x" * int(payload)


def sleep(payload: bytes) -> bytes:
    time.sleep(float(payload))
    return b"awake"


def start_threads(payload: bytes) -> bytes:
    import threading

    gate = threading.Event()
    threads = [threading.Thread(target=gate.wait) for _ in range(int(payload))]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join()
    return str(len(threads)).encode()


def factory(init: bytes) -> Any:
    """A worker that counts its calls, and does what it is told."""
    calls = 0

    def handle(request: bytes) -> bytes:
        nonlocal calls
        calls += 1
        if request == b"raise":
            raise ValueError("told to")
        if request == b"crash":
            import signal

            signal.raise_signal(signal.SIGSEGV)
        if request == b"hang":
            time.sleep(3600)
        return init + b":" + str(calls).encode() + b":" + request

    return handle


def echo_factory(init: bytes) -> Any:
    return echo


def failing_factory(init: bytes) -> Any:
    raise ValueError(init.decode())


# --- the libraries that a confined model needs.


def numpy_linear_algebra(payload: bytes) -> bytes:
    import numpy as np

    matrix = np.random.default_rng(int(payload)).normal(size=(64, 64))
    return str(bool(np.allclose(matrix @ np.linalg.inv(matrix), np.eye(64)))).encode()


def convert_and_predict(payload: bytes) -> bytes:
    """Read a scikit-learn model, convert it to ONNX and compare both on two threads."""
    import pickle

    import numpy as np
    import onnxruntime as ort
    from skl2onnx import to_onnx

    model = pickle.loads(Path(payload.decode()).read_bytes())  # noqa: S301
    rows = np.linspace(-2, 2, 40, dtype=np.float32).reshape(10, 4)
    onnx: Any = to_onnx(model, rows[:1], options={"zipmap": False})
    converted = onnx.SerializeToString()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    options.inter_op_num_threads = 1
    session = ort.InferenceSession(converted, options, providers=["CPUExecutionProvider"])
    probabilities = session.run(None, {session.get_inputs()[0].name: rows})[1]
    return str(float(np.abs(probabilities - model.predict_proba(rows)).max())).encode()


def boosters(payload: bytes) -> bytes:
    """Read an XGBoost and a LightGBM model and predict with both."""
    import lightgbm
    import numpy as np
    import xgboost

    folder = Path(payload.decode())
    rows = np.linspace(-2, 2, 40).reshape(10, 4)
    first = xgboost.Booster(model_file=folder / "model.ubj")
    second = lightgbm.Booster(model_file=str(folder / "model.txt"))
    one = first.predict(xgboost.DMatrix(rows))
    two = np.asarray(second.predict(rows, num_threads=1))
    return json.dumps([len(one), len(two)]).encode()


def skops_and_polars(payload: bytes) -> bytes:
    import polars
    import skops.io

    path = Path(payload.decode())
    model = skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))
    total = polars.DataFrame({"a": [1, 2]}).select(polars.col("a").sum()).item()
    return f"{type(model).__name__} {total}".encode()
