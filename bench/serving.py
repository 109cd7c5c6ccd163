"""What a prediction costs, beside the least that the same server can do.

Each server is a process of its own that one client asks over kept connections, in the same run: an
empty application on plain uvicorn, the same behind this package's bounded connections, the
endpoint, whose model runs in a confined process (counted apart), and the same with every prediction
sealed and written down before it is answered.  Run: ``python bench/serving.py``.
"""

from __future__ import annotations

import json
import multiprocessing
import pickle
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from assay.clock import SystemClock
from assay.formats.convert import convert, decode_converted, encode_request
from assay.formats.detect import detect
from assay.formats.schema import Column
from assay.monitor.log import PredictionLog
from assay.monitor.segments import describe
from assay.serve.app import Answered, Application
from assay.serve.host import Host
from assay.serve.listen import Listening, run
from assay.serve.protocol import Input, Output
from assay.store import Ring

Record = Callable[[Answered], None]

REQUESTS = 3_000
ROUNDS = 5
COLUMNS = 4
TOKEN = "assay_bench_secret"  # noqa: S105 - opens nothing.
PATH = "/v2/models/bench/infer"


def model() -> bytes:
    """A logistic regression over `COLUMNS` numbers, as assay converts it."""
    from sklearn.linear_model import LogisticRegression

    rows = np.random.default_rng(1).normal(size=(200, COLUMNS))
    fitted = LogisticRegression().fit(rows, (rows[:, 0] > 0).astype(int))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pickle"
        path.write_bytes(pickle.dumps(fitted))
        columns = [Column(f"x{i}", "float", rows[:, i].tolist()) for i in range(COLUMNS)]
        return decode_converted(convert(encode_request(path, detect(path).format, columns))).onnx


async def empty(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body and answers four bytes."""
    if scope["type"] == "lifespan":
        for _ in range(2):
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", b"4")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"null"})


def plain(tell: Connection, _: bytes) -> None:
    import uvicorn

    # Of no named protocol, asyncio would leave Nagle's delay on: 40 ms for each answer.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    tell.send((listener.getsockname()[1], None))
    config = uvicorn.Config(empty, http="h11", log_config=None, access_log=False)
    uvicorn.Server(config).run(sockets=[listener])


def bounded(tell: Connection, _: bytes) -> None:
    run(empty, port=0, ready=lambda listening: tell.send((listening.port, None)))


def endpoint(tell: Connection, onnx: bytes, record: Record | None = None) -> None:
    with Host(onnx) as host:

        def ready(listening: Listening) -> None:
            tell.send((listening.port, host.pid))

        made = host.endpoint("bench", "1", permit=lambda _: "bench", record=record)
        run(Application(made), port=0, ready=ready)


def logged(tell: Connection, onnx: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ring = Ring("bench/predictions", "bench", bytes(32), [bytes(32)])
        inputs = [Input(f"x{i}", "FP32") for i in range(COLUMNS)]
        outputs = [
            Output("label", "INT64", [-1]),
            Output("probabilities", "FP32", [-1, 2], [0, 1]),
        ]
        meta = describe("bench", "1", "sha256:" + "0" * 64, inputs, outputs)
        log = PredictionLog(Path(folder), lambda: ring, meta, clock=SystemClock(), naming=bytes(32))
        endpoint(tell, onnx, log.answered)


def request(rows: int) -> bytes:
    values = np.random.default_rng(2).normal(size=(COLUMNS, rows)).round(3).tolist()
    inputs = [
        {"name": f"x{i}", "shape": [rows], "datatype": "FP32", "data": column}
        for i, column in enumerate(values)
    ]
    body = json.dumps({"inputs": inputs}).encode()
    lines = [
        f"POST {PATH} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {TOKEN}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def ask(channel: socket.socket, said: bytes) -> None:
    """One request and its whole answer."""
    channel.sendall(said)
    heard = b""
    while b"\r\n\r\n" not in heard:
        heard += channel.recv(1 << 16)
    head, _, body = heard.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), heard
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while len(body) < length:
        body += channel.recv(1 << 16)


def cpu(pid: int | None) -> float:
    """Processor seconds of a process; clock_getcpuclockid(3)."""
    return 0.0 if pid is None else time.clock_gettime((~pid << 3) | 2)


def measure(serve: Callable[[Connection, bytes], None], onnx: bytes, said: bytes) -> list[float]:
    """Requests/s, and µs of the server's and of the worker's processor for each: medians."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    server = spawn.Process(target=serve, args=(there, onnx))
    server.start()
    there.close()  # Whoever waits for a server that failed hears that it did.
    try:
        port, worker = here.recv()
        found: list[tuple[float, float, float]] = []
        with socket.create_connection(("127.0.0.1", port)) as channel:
            channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(ROUNDS + 1):
                before = cpu(server.pid), cpu(worker)
                start = time.perf_counter()
                for _ in range(REQUESTS):
                    ask(channel, said)
                seconds = time.perf_counter() - start
                now = cpu(server.pid), cpu(worker)
                used = [(n - b) / REQUESTS * 1e6 for n, b in zip(now, before, strict=True)]
                found.append((REQUESTS / seconds, used[0], used[1]))
    finally:
        server.terminate()
        server.join()
    return [statistics.median(values) for values in zip(*found[1:], strict=True)]


def main() -> None:
    onnx = model()
    print(f"{'one client, one connection':<42}{'requests/s':>12}{'server µs':>12}{'worker µs':>12}")
    for rows in (1, 100):
        said = request(rows)
        least = 0.0
        for name, serve in (
            ("empty application on uvicorn", plain),
            ("the same, bounded connections", bounded),
            ("endpoint, confined model", endpoint),
            ("endpoint, predictions logged", logged),
        ):
            rate, server, worker = measure(serve, onnx, said)
            least = least or server
            note = f"   {(server + worker) / least:.1f} of empty" if worker else ""
            print(
                f"{f'{rows:>3} rows: {name}':<42}{rate:>12,.0f}{server:>12.0f}{worker:>12.0f}{note}"
            )


if __name__ == "__main__":
    main()
