from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import pickle
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper

from assay.errors import Denied
from assay.formats.convert import convert, decode_converted, encode_request
from assay.formats.detect import detect
from assay.formats.schema import Column
from assay.serve import inference
from assay.serve.app import Application, Endpoint
from assay.serve.host import Host
from assay.serve.listen import Listening, run
from assay.serve.protocol import Description

TOKEN = "assay_1_secret"
DIGEST = "sha256:" + "ab" * 32


def converted(model: Any, columns: list[Column], folder: Path) -> bytes:
    path = folder / "model.pickle"
    path.write_bytes(pickle.dumps(model))
    payload = encode_request(path, detect(path).format, columns)
    return decode_converted(convert(payload)).onnx


@pytest.fixture(scope="session")
def matrix_model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Three columns of numbers; the classes 0 and 1, by the sign of the first."""
    from sklearn.linear_model import LogisticRegression

    rows = np.random.default_rng(1).normal(size=(200, 3))
    model = LogisticRegression(C=100).fit(rows, (rows[:, 0] > 0).astype(int))
    columns = [Column(f"x{i}", "float", rows[:, i].tolist()) for i in range(3)]
    return converted(model, columns, tmp_path_factory.mktemp("matrix"))


@pytest.fixture(scope="session")
def columns_model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A number that may be missing and a string; the classes "no" and "yes"."""
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    rng = np.random.default_rng(2)
    age = rng.normal(40, 10, size=200)
    city = rng.choice(["Bern", "Genève"], size=200)
    frame = pd.DataFrame({"age": age, "city": city.astype(object)})
    encode = ColumnTransformer(
        [
            ("n", SimpleImputer(), ["age"]),
            ("c", OneHotEncoder(handle_unknown="ignore"), ["city"]),
        ]
    )
    labels = np.where(city == "Bern", "yes", "no")
    model = make_pipeline(encode, LogisticRegression(max_iter=500)).fit(frame, labels)
    columns = [Column("age", "float", age.tolist()), Column("city", "string", city.tolist())]
    return converted(model, columns, tmp_path_factory.mktemp("columns"))


@pytest.fixture(scope="session")
def regressor_model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Twice its one column."""
    from sklearn.linear_model import LinearRegression

    rows = np.arange(20.0).reshape(-1, 1)
    model = LinearRegression().fit(rows, 2 * rows[:, 0])
    columns = [Column("x", "float", rows[:, 0].tolist())]
    return converted(model, columns, tmp_path_factory.mktemp("regressor"))


@pytest.fixture(scope="session")
def counting_model() -> bytes:
    """A hostile model: it counts up to the greatest value that it is given."""
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["still"]),
            helper.make_node("Add", ["sum", "one"], ["more"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("more", TensorProto.FLOAT, None),
        ],
    )
    return foreign(
        [
            helper.make_node("ReduceMax", ["x"], ["greatest"], keepdims=0),
            helper.make_node("Cast", ["greatest"], ["turns"], to=TensorProto.INT64),
            helper.make_node("Mul", ["x", "zero"], ["start"]),
            helper.make_node("Loop", ["turns", "", "start"], ["y"], body=body),
        ],
        [("x", TensorProto.FLOAT, [None, 1])],
        [("y", TensorProto.FLOAT, [None, 1])],
        [one, helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0])],
    )


def foreign(
    nodes: Sequence[Any],
    inputs: Sequence[tuple[str, int, list[int | None] | None]],
    outputs: Sequence[tuple[str, int, list[int | None] | None]],
    initializer: Sequence[Any] = (),
) -> bytes:
    """An ONNX model that assay did not convert."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(*given) for given in inputs],
        [helper.make_tensor_value_info(*given) for given in outputs],
        list(initializer),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


@pytest.fixture
def foreign_model() -> Callable[..., bytes]:
    return foreign


def permit(token: str) -> str:
    if token != TOKEN:
        raise Denied("the token is not known here", code="token")
    return "alice"


def unconfined(model: bytes) -> tuple[Description, Callable[[bytes], bytes]]:
    """What a worker would do, in this process: for tests of everything around it."""
    digest = "sha256:" + hashlib.sha256(model).hexdigest()
    handler = inference.load(inference.encode_init(digest, model))
    return msgspec.msgpack.decode(handler(inference.DESCRIBE), type=Description), handler


@pytest.fixture(scope="session")
def matrix_endpoint(matrix_model: bytes) -> Endpoint:
    return endpoint_of(matrix_model)


@pytest.fixture(scope="session")
def columns_endpoint(columns_model: bytes) -> Endpoint:
    return endpoint_of(columns_model)


def endpoint_of(model: bytes) -> Endpoint:
    described, handler = unconfined(model)
    return Endpoint(
        model="credit",
        version="3",
        inputs=described.inputs,
        outputs=described.outputs,
        permit=permit,
        infer=handler,
        facts={"digest": DIGEST, "isolation": "none", "approved_by": 2},
    )


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        told = json.loads(self.body)
        assert isinstance(told, dict)
        return told


Ask = Callable[..., Answer]


def ask(
    app: Application,
    method: str,
    path: str | bytes,
    body: bytes | Sequence[dict[str, Any]] = b"",
    *,
    token: str | bytes | None = TOKEN,
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> Answer:
    """One request in this process, as a server would pass it on."""
    if isinstance(body, bytes):
        messages: list[dict[str, Any]] = [{"type": "http.request", "body": body}]
    else:
        messages = list(body)
    given = list(headers)
    if token is not None:
        raw = token if isinstance(token, bytes) else token.encode()
        given.append((b"authorization", b"Bearer " + raw))
    raw_path = path if isinstance(path, bytes) else path.encode()
    scope = {
        "type": "http",
        "method": method,
        "path": raw_path.decode("latin-1"),
        "raw_path": raw_path,
        "headers": given,
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    return Answer(
        sent[0]["status"],
        {name.decode(): value.decode() for name, value in sent[0]["headers"]},
        sent[1]["body"],
    )


@pytest.fixture(name="ask", scope="session")
def _ask() -> Ask:
    return ask


Serving = Callable[..., contextlib.AbstractContextManager[str]]


@contextlib.contextmanager
def serving(application: Application, **options: Any) -> Generator[str]:
    """The URL of a real server on a free loopback port."""
    begun = threading.Event()
    found: list[Listening] = []
    failed: list[BaseException] = []

    def ready(listening: Listening) -> None:
        found.append(listening)
        begun.set()

    def serve() -> None:
        try:
            run(application, port=0, ready=ready, **options)
        except BaseException as error:
            failed.append(error)
        finally:
            begun.set()

    thread = threading.Thread(target=serve)
    thread.start()
    assert begun.wait(30)
    if failed:
        raise failed[0]
    try:
        yield found[0].url
    finally:
        found[0].stop()
        thread.join(30)
    assert not thread.is_alive()
    assert not failed


@pytest.fixture(name="serving", scope="session")
def _serving() -> Serving:
    return serving


@pytest.fixture(scope="module")
def matrix_host(matrix_model: bytes) -> Iterator[Host]:
    with Host(matrix_model) as host:
        yield host


@pytest.fixture(scope="module")
def columns_host(columns_model: bytes) -> Iterator[Host]:
    with Host(columns_model) as host:
        yield host


@pytest.fixture
def good() -> bytes:
    """A request to the matrix model: two rows, one of each class."""
    return infer_request(x0=[2.0, -2.0], x1=[0.0, 0.5], x2=[0.0, 0.5])


def infer_request(**columns: list[Any]) -> bytes:
    return json.dumps(
        {
            "inputs": [
                {
                    "name": name,
                    "shape": [len(values)],
                    "datatype": "BYTES" if isinstance(values[0], str) else "FP32",
                    "data": values,
                }
                for name, values in columns.items()
            ]
        }
    ).encode()


@pytest.fixture
def request_of() -> Callable[..., bytes]:
    return infer_request
