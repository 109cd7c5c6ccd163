"""The parent's side of an endpoint: keep a confined worker alive.

Nothing here parses a model: its bytes are only hashed and handed to the worker, and what the worker
says of them is believed only as far as it is a description at all.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from assay import files
from assay.errors import AssayError, Unavailable, Usage, Verification
from assay.isolation.limits import GIB, PAYLOAD_LIMIT, Level, Limits
from assay.isolation.worker import Worker
from assay.serve import inference
from assay.serve.endpoint import Answered, Endpoint
from assay.serve.protocol import DATATYPES, FLOATS, OPEN, Description, Input
from assay.types import Digest, check_digest

if TYPE_CHECKING:
    from types import TracebackType

LIMITS = Limits(memory_bytes=4 * GIB, wall_seconds=30.0, threads=16)
"""`wall_seconds` bounds the start of the worker and, by itself, each request."""
# Room in one call for the header around the model's bytes.
_INLINE = PAYLOAD_LIMIT - 4096
STABLE_SECONDS = 60.0
"""A worker that lived this long died of something new: its replacement does not wait."""
MOST_SECONDS = 60.0
"""The longest wait before a replacement."""
_MOST_FIELDS = 10_000
_MOST_NAME = 1024


class Host:
    """One model behind a confined worker that is replaced when it dies.

    `model` is the ONNX model: its bytes, or the path of a file (which a model of more than
    256 MiB has to be).  The worker answers only for bytes of that digest, at every start.

    A request that a crash or a time-out cuts off fails with `Unavailable`; the next one finds a new
    worker.  The first death costs no wait; one that follows within `STABLE_SECONDS` of a start
    doubles the wait from 1 s up to `MOST_SECONDS`, so that a model that cannot live, or a request
    that kills it, does not keep a processor busy with starting it.

    Raises what `Worker.start` raises: `Denied` below the isolation level `require`, `Usage` for a
    model that cannot be served, `Verification` for other bytes than `digest` names.
    """

    def __init__(
        self,
        model: bytes | Path,
        *,
        digest: str | None = None,
        require: Level | None = None,
        limits: Limits = LIMITS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if isinstance(model, bytes) and len(model) > _INLINE:
            raise Usage(
                f"a model of {len(model)} bytes is too large to be handed over in one piece",
                remedy="write it to a file and give its path",
                code="serve.size",
            )
        self._source = model.resolve() if isinstance(model, Path) else model
        self.digest: Digest = check_digest(digest) if digest else _digest_of(model)
        """What is served: the worker is started with these bytes or not at all."""
        self._require: Level | None = require
        self._limits = limits
        self._clock = clock
        self._turn = threading.Lock()
        self._closed = False
        self._deaths = 0
        self.restarts = 0
        """How often a worker was started in the place of one that had died."""
        self._started = 0.0
        self._not_before = 0.0
        self._worker: Worker | None = None
        worker = self._start()
        try:
            self.description = believed(worker.call(inference.DESCRIBE))
        except BaseException:
            worker.close()
            raise
        self._worker = worker
        self.level: Level = cast("Level", worker.level)
        """How confined the worker is."""

    @property
    def ready(self) -> bool:
        """Whether a request asked now would find a worker, or be allowed to start one."""
        worker = self._worker
        if self._closed:
            return False
        return (worker is not None and worker.alive) or self._clock() >= self._not_before

    @property
    def pid(self) -> int | None:
        """The process that answers; None while there is none."""
        worker = self._worker
        return worker.pid if worker is not None else None

    def infer(self, request: bytes) -> bytes:
        """The worker's answer; what it raises, and `Unavailable` while there is no worker."""
        with self._turn:
            worker = self._living()
            try:
                return worker.call(request)
            finally:
                if not worker.alive:
                    self._died()

    def warm(self) -> None:
        """Ask once, so that the first caller does not wait for what a first answer makes ready.

        Raises `Unavailable` when the worker does not survive it; what else the model says of a row
        of noughts is of no interest.
        """
        row = {given.name: [_nought(given)] for given in self.description.inputs}
        try:
            self.infer(msgspec.msgpack.encode(row))
        except AssayError:
            if self._worker is None:
                raise

    def endpoint(
        self,
        model: str,
        version: str,
        *,
        permit: Callable[[str], str],
        facts: Mapping[str, Any] | None = None,
        record: Callable[[Answered], None] | None = None,
        extras: Sequence[Input] = (),
        feedback: Callable[[str, bytes], dict[str, Any]] | None = None,
        feedback_permit: Callable[[str], str] | None = None,
    ) -> Endpoint:
        """The `Endpoint` that answers from this host.

        Its facts are `facts`, the digest and the isolation level; a digest or level in `facts` that
        says otherwise is refused (`Usage`).
        """
        held = {"digest": self.digest, "isolation": self.level}
        given = dict(facts or {})
        for name, value in held.items():
            if given.get(name, value) != value:
                raise Usage(
                    f"{name} {given[name]!r} is to be served, and {value!r} is what is here",
                    code="serve.facts",
                )
        return Endpoint(
            model=model,
            version=version,
            inputs=self.description.inputs,
            outputs=self.description.outputs,
            permit=permit,
            infer=self.infer,
            facts={**given, **held},
            ready=lambda: self.ready,
            restarts=lambda: self.restarts,
            record=record,
            extras=extras,
            feedback=feedback,
            feedback_permit=feedback_permit,
        )

    def close(self) -> None:
        """End the worker at once; a request in progress fails, and so does every later one."""
        self._closed = True
        worker = self._worker
        if worker is not None:
            worker.close()

    def __enter__(self) -> Host:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self) -> Worker:
        inputs = (self._source,) if isinstance(self._source, Path) else ()
        self._started = self._clock()
        return Worker.start(
            inference.TARGET,
            inference.encode_init(self.digest, self._source),
            inputs=inputs,
            limits=self._limits,
            require=self._require,
        )

    def _living(self) -> Worker:
        """A worker that lives, a new one if need be."""
        self._check_open()
        worker = self._worker
        if worker is not None and worker.alive:
            return worker
        if worker is not None:  # It died between two requests.
            self._died()
        wait = self._not_before - self._clock()
        if wait > 0:
            raise Unavailable(
                "the model's process has ended several times and is not started again yet",
                remedy=f"ask again in {wait:.0f} seconds",
                code="serve.restarting",
            )
        try:
            worker = self._start()
        except AssayError as error:
            self._died()
            # Whatever is wrong now is no mistake of the caller whose request came first.
            raise Unavailable(
                f"the model's process cannot be started again: {error.message}",
                code="serve.start",
            ) from error
        self._worker = worker
        self.restarts += 1
        if self._closed:  # While it started.
            worker.close()
            self._check_open()
        return worker

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("the endpoint is closed", code="serve.closed")

    def _died(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None
        now = self._clock()
        if now - self._started >= STABLE_SECONDS:
            self._deaths = 0
        wait = min(2.0 ** (self._deaths - 1), MOST_SECONDS) if self._deaths else 0.0
        self._deaths = min(self._deaths + 1, 16)
        self._not_before = now + wait


def _nought(given: Input) -> Any:
    nought = {"BYTES": "", "BOOL": False}.get(
        given.datatype, 0.0 if given.datatype in FLOATS else 0
    )
    return nought if given.width is None else [nought] * max(given.width, 1)


def _digest_of(model: bytes | Path) -> Digest:
    if isinstance(model, bytes):
        return Digest("sha256:" + hashlib.sha256(model).hexdigest())
    hashing = hashlib.sha256()
    with files.open_input(model, what="model") as stream:
        while piece := stream.read(1 << 20):
            hashing.update(piece)
    return Digest("sha256:" + hashing.hexdigest())


def believed(raw: bytes) -> Description:
    """What the worker says of its model, where it is a description at all; else `Verification`."""
    try:
        said = msgspec.msgpack.decode(raw, type=Description)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise Verification("the model's description cannot be read", code="serve.model") from error
    for fields in (said.inputs, said.outputs):
        names = [field.name for field in fields]
        if (
            not 1 <= len(names) <= _MOST_FIELDS
            or len(set(names)) != len(names)
            or not all(1 <= len(name) <= _MOST_NAME for name in names)
            or not all(field.datatype in DATATYPES for field in fields)
        ):
            raise Verification("the model's description contradicts itself", code="serve.model")
    widths = {given.width for given in said.inputs} - {None, OPEN}
    shapes = [output.shape for output in said.outputs]
    if not all(width is not None and 2 <= width <= 1 << 20 for width in widths) or not all(
        1 <= len(shape) <= 2 and shape[0] == OPEN and shape[-1] >= OPEN for shape in shapes
    ):
        raise Verification("the model's description contradicts itself", code="serve.model")
    return said
