"""What an application serves and may call, and the turn of one request at it.

An `Endpoint` is one loaded version and the callables around it.  The application holds the one that
answers now as a `Serving`; when another takes its place, what it had begun ends here.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from assay import ids
from assay.errors import Unavailable, Usage
from assay.serve import protocol
from assay.serve.protocol import Input, Output, Tensor
from assay.types import check_digest, check_name

SUPERSEDED = "not_found.endpoint.version"
"""The code of a permit's error when another version than this one is to answer."""
NOT_LOGGED = "unavailable.serve.log"


@dataclass(frozen=True, slots=True)
class Answered:
    """One answered request, as it is recorded before the caller hears of it."""

    id: str
    """A UUIDv7, told to the caller as ``parameters.prediction_id``."""
    actor: str
    """Who asked."""
    columns: dict[str, list[Any]]
    """What the model was given: one value, or one list of values, for each row.  A missing number
    is NaN, a missing text None."""
    extras: dict[str, list[Any]]
    """What else the caller gave, of the endpoint's `extras`."""
    outputs: list[Tensor]
    """Everything the model answered, whatever of it the caller asked for; data is flat."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What the application serves, and what it may call."""

    model: str
    version: str
    inputs: list[Input]
    outputs: list[Output]
    permit: Callable[[str], str]
    """Token → actor; raises `Denied`, and `NotFound` (`SUPERSEDED`) when another version is to
    answer.  Asked for every request, on the thread of the event loop."""
    infer: Callable[[bytes], bytes]
    """A msgpack-encoded mapping of columns → msgpack-encoded list of output tensors."""
    facts: dict[str, Any]
    """Said of the model in its metadata: `digest` (of what is served), isolation, approval."""
    ready: Callable[[], bool] = lambda: True
    """Whether `infer` could answer now."""
    restarts: Callable[[], int] = lambda: 0
    """How often the model's process was started again."""
    record: Callable[[Answered], None] | None = None
    """Called with each prediction after the model answered and before the caller hears of it, off
    the event loop.  What it raises turns the answer into a 503: a prediction that is not recorded
    is not given."""
    extras: Sequence[Input] = ()
    """Inputs that may be given with a request, are recorded and never reach the model."""
    feedback: Callable[[str, bytes], dict[str, Any]] | None = None
    """Token and body of ``POST /v2/models/NAME/feedback`` → what is told; raises as `permit` does,
    and `Usage` for a body that is none.  Called off the event loop, one at a time."""
    feedback_permit: Callable[[str], str] | None = None
    """Token → actor who may give feedback, asked as `permit` is and in its place, before a byte of
    the body is read; without it `permit` answers."""


class Serving:
    """One endpoint while it answers: whose turn it is, and how many requests are in progress.

    Raises `Usage` for a name, version, digest or extra input that is none.
    """

    def __init__(self, endpoint: Endpoint, *, restarts: int = 0) -> None:
        check_name(endpoint.model, what="model name")
        check_name(endpoint.version, what="version")
        self.endpoint = endpoint
        self.digest = check_digest(str(endpoint.facts.get("digest", "")))
        self.said_of_all: dict[str, Any] = {
            "model_name": endpoint.model,
            "model_version": endpoint.version,
            "parameters": {"digest": self.digest},
        }
        self.routes = _routes(endpoint)
        """What is served, by exact path: what is not listed does not exist, however it is
        spelled."""
        self.superseded: float | None = None
        """When a permit first said that another version is to answer."""
        self._restarts = restarts
        self._inputs = [*endpoint.inputs, *endpoint.extras]
        names = [given.name for given in self._inputs]
        if len(set(names)) != len(names):
            raise Usage(
                f"an input of {endpoint.model} is named twice among its inputs and extras",
                remedy="an extra input is one that the model does not take",
                code="serve.extras",
            )
        self._optional = {given.name for given in endpoint.extras}
        # One confined worker, one request at a time inside it: frames must not interleave.
        self.turn = asyncio.Lock()
        self._lock = threading.Lock()
        self._inside = 0
        self._leaving = False
        self._empty = threading.Event()

    @property
    def restarts(self) -> int:
        """How often a worker was started again: of this endpoint and of those before it."""
        return self._restarts + self.endpoint.restarts()

    # Any thread.  A request enters before anything is asked and leaves after its answer, so that
    # the process behind an endpoint that is replaced ends after the last of them.

    def enter(self) -> bool:
        """Whether the request may begin here; False once another endpoint has taken over."""
        with self._lock:
            if self._leaving:
                return False
            self._inside += 1
            return True

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._leaving and not self._inside:
                self._empty.set()

    def retire(self) -> None:
        """Let nobody in any more."""
        with self._lock:
            self._leaving = True
            if not self._inside:
                self._empty.set()

    def emptied(self, seconds: float) -> bool:
        """Wait until the last request has left; False when that takes longer."""
        return self._empty.wait(seconds)

    # One prediction.

    def predict(self, actor: str, body: bytes) -> tuple[bytes, int]:
        """The answer and its number of rows.  Off the event loop, which stays free for others."""
        e = self.endpoint
        request = protocol.parse(body)
        columns = protocol.columns(request, self._inputs, self._optional)
        extras = {name: columns.pop(name) for name in self._optional & columns.keys()}
        wanted = protocol.chosen(request, e.outputs)
        rows = len(next(iter(columns.values())))
        answer = e.infer(msgspec.msgpack.encode(columns))
        outputs = protocol.decode_answer(answer, e.outputs, rows)
        made = ids.new_id()
        if e.record is not None:
            try:
                e.record(Answered(made, actor, columns, extras, outputs))
            except Exception as error:
                raise Unavailable("the prediction cannot be recorded", code="serve.log") from error
        told = protocol.InferResponse(
            e.model,
            e.version,
            [output for output in outputs if output.name in wanted],
            request.id,
            {"digest": self.digest, "prediction_id": made},
        )
        return msgspec.json.encode(told), rows


def _routes(endpoint: Endpoint) -> dict[bytes, str]:
    named = f"/v2/models/{endpoint.model}"
    routes = {
        "/v2": "server",
        "/v2/": "server",
        "/v2/health/ready": "ready",
        "/metrics": "metrics",
    }
    for base in (named, f"{named}/versions/{endpoint.version}"):
        routes |= {base: "metadata", f"{base}/ready": "model_ready", f"{base}/infer": "infer"}
    if endpoint.feedback is not None:
        routes[f"{named}/feedback"] = "feedback"
    return {path.encode(): route for path, route in routes.items()}
