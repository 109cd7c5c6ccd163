"""Where the steps of a run are run: here, in processes side by side, or where a plug-in says."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from assay import plugins
from assay.errors import Unavailable, Usage
from assay.pipeline.code import unpack_code, write_code
from assay.pipeline.execution import execute
from assay.plugins import Executor, Finished, Task


def open_executor(name: str) -> Executor:
    """The executor of that name; raises `Usage` for one that is not installed."""
    points = {point.name: point for point in plugins.installed("assay.executors")}
    if name not in points:
        raise Usage(
            f"there is no executor {name[:40]!r}",
            remedy=f"installed: {', '.join(points)}",
            code="executor",
        )
    try:
        made: Callable[[], Executor] = points[name].load()
    except ImportError as error:
        raise Unavailable(
            f"the executor {name} cannot be loaded: {error}",
            remedy=f"pip install 'assay[{name}]'",
            code="executor",
        ) from error
    return made()


class LocalExecutor:
    """Runs each task in a confined process of this machine, as many at once as it has cores."""

    name = "local"

    def __init__(self, slots: int = 0, compiled: Callable[[], Path | None] = lambda: None) -> None:
        """`compiled` gives the compiled files of the libraries; asked for before the first task."""
        self._compiled = compiled
        self.slots = slots or len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(self.slots, thread_name_prefix="assay-step")
        self._code: Path | None = None
        self._futures: set[_Ending] = set()

    def open(self, code: bytes, digest: str) -> None:
        """Nothing to ship: the code is staged beside the first task's folder."""
        self._bytecode = self._compiled()
        self._archive = code
        self._digest = digest
        self._staging = threading.Lock()

    def submit(self, task: Task, folder: Path) -> Future[Finished]:
        future = _Ending()
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        self._pool.submit(self._run, task, folder, future)
        return future

    def _staged(self, beside: Path) -> Path:
        with self._staging:
            if self._code is None:
                code = beside / "code"
                write_code(unpack_code(self._archive), code)
                self._code = code
            return self._code

    def _run(self, task: Task, folder: Path, future: _Ending) -> None:
        if not future.begin():
            return
        try:
            done = execute(
                task,
                code=self._staged(folder.parent),
                inputs=[Path(item.path) for item in task.inputs],
                folder=folder,
                bytecode=self._bytecode,
                on_start=future.started,
            )
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(done)

    def shutdown(self, *, cancel: bool) -> None:
        for future in list(self._futures) if cancel else ():
            future.cancel()
        self._pool.shutdown(wait=True)


class _Ending(Future[Any]):
    """A future whose cancellation ends what runs."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._end: Callable[[], None] | None = None
        self._stopped = False

    def begin(self) -> bool:
        """Whether it may run: not when it was cancelled before."""
        with self._lock:
            return not self.cancelled() and self.set_running_or_notify_cancel()

    def started(self, end: Callable[[], None]) -> None:
        with self._lock:
            self._end = end
            stopped = self._stopped
        if stopped:
            end()

    def cancel(self) -> bool:
        with self._lock:
            if self.cancelled():
                return True
            if super().cancel():
                self.set_running_or_notify_cancel()  # Tells those who wait for it.
                return True
        if self.done():
            return False
        with self._lock:
            self._stopped = True
            end = self._end
        if end is not None:
            with contextlib.suppress(OSError):
                end()
        return True
