"""Scan many files, each in a confined process that reads one after the other.

Starting a process costs fifty times what reading a small file does, so a process is used for many.
A file whose reading has to be stopped, or that breaks the reader, is *unscannable*, and the next
one gets a new process.  What a process answers is checked like any other foreign input.  A file
that took over the process could lie about those after it in the same folder; it can reach nothing
else, and at level ``full`` sees only what was to be scanned.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from assay import canonical
from assay.errors import AssayError, Unavailable
from assay.isolation.limits import GIB, LEVELS, MIB, Limits
from assay.isolation.worker import Worker
from assay.supply.findings import ORDER, Severity, printable
from assay.supply.targets import Target

Verdict: TypeAlias = Literal["clean", "suspicious", "unscannable", "malicious"]
Progress: TypeAlias = Callable[[int, str], None]

_SPARE = 6 * GIB
_SLOWEST = 10 * MIB
"""Bytes a second; what takes longer is stopped."""
_LEAST_SECONDS = 240.0
"""For any file: on a busy machine the clock runs while the process waits for its turn."""
_LONGEST_SECONDS = 4 * 3600.0
_WORTH_A_PROCESS = 300
"""Small files whose reading costs about what a start does, with a margin."""
_WORTH_BYTES = 64 * MIB
_MOST_ANSWER = 1 << 20
_MOST_HASHED = 64 * GIB
"""A file that is longer than this, which may well be all holes, gets no digest."""
_RANK = {verdict: rank for rank, verdict in enumerate(("clean", *reversed(ORDER)))}


class Found(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One finding, as in the predicate of a scan."""

    rule: str
    severity: Severity
    where: str
    what: str


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the scanner said of one file."""

    verdict: Verdict
    format: str
    bytes: int
    findings: list[Found]
    findings_count: int
    digest: str = ""
    """Of the file; only where there is something to say about it."""


class Scanned(msgspec.Struct, frozen=True):
    """One file and what was found in it."""

    path: str
    """As the user named it."""
    answer: Answer


class Batch(msgspec.Struct):
    """All of them, in the order in which they were asked for."""

    files: list[Scanned]
    level: str | None = None
    """The weakest confinement of the processes; None where none was needed."""


def scanner(_: bytes) -> Callable[[bytes], bytes]:
    """The factory that a confined worker is made of: a request in, an answer in JSON out.

    A request is the path, and behind a zero byte the file's name in its folder.
    """
    return _scan_one


def _scan_one(request: bytes) -> bytes:
    first, _, second = request.partition(b"\0")
    path, inside = Path(os.fsdecode(first)), os.fsdecode(second)
    try:
        answer = _read(path, inside)
        if answer.verdict != "clean" and answer.bytes <= _MOST_HASHED:
            answer = msgspec.structs.replace(answer, digest=str(canonical.digest_file(path)))
    except AssayError as error:
        answer = unread("file.unreadable", error.message)
    except Exception as error:  # Whatever a reader trips over, the file is not read.
        answer = unread("scan.stopped", f"the reader failed ({type(error).__name__})")
    return msgspec.json.encode(answer)


def _read(path: Path, inside: str) -> Answer:
    from assay.supply.scan import scan

    told = scan(path, where=inside)
    # Whoever asked knows where the file lies; what remains is where in it.
    shown = printable(inside)
    findings = [
        Found(each["rule"], each["severity"], each["where"].removeprefix(shown), each["what"])
        for each in told["findings"]
    ]
    return Answer(told["verdict"], told["format"], told["bytes"], findings, told["findings_count"])


def unread(rule: str, what: str) -> Answer:
    """The answer about a file that was not read, or not to its end."""
    return Answer("unscannable", "unknown", 0, [Found(rule, "unscannable", "+0", what)], 1)


def run(
    targets: Sequence[Target], *, jobs: int = 0, progress: Progress = lambda _, __: None
) -> Batch:
    """Scan the targets with up to `jobs` processes at once (0: one for each processor).

    `progress` is told how many are done, and one that is being read.  Raises `Unavailable` when no
    process can be started.
    """
    answers: list[Answer | None] = [None] * len(targets)
    waiting: deque[int] = deque()
    for number, target in enumerate(targets):
        if target.rule:
            answers[number] = unread(target.rule, target.problem)
        else:
            waiting.append(number)
    crew = _Crew(targets, answers, waiting, progress)
    levels = crew.work(_useful(targets, waiting, jobs)) if waiting else []
    files = [
        Scanned(target.shown, answer or unread("scan.stopped", "was not read"))
        for target, answer in zip(targets, answers, strict=True)
    ]
    return Batch(files, next((level for level in LEVELS if level in levels), None))


def _useful(targets: Sequence[Target], waiting: Sequence[int], jobs: int) -> int:
    """How many processes are worth their start."""
    total = sum(targets[number].size for number in waiting)
    worth = 1 + max(len(waiting) // _WORTH_A_PROCESS, total // _WORTH_BYTES)
    return max(1, min(jobs or len(os.sched_getaffinity(0)), worth, len(waiting)))


class _Crew:
    """Threads that each keep one confined process and take files from one queue."""

    def __init__(
        self,
        targets: Sequence[Target],
        answers: list[Answer | None],
        waiting: deque[int],
        progress: Progress,
    ) -> None:
        self._targets = targets
        self._answers = answers
        self._waiting = waiting
        self._progress = progress
        self._done = itertools.count(len(targets) - len(waiting))
        self._turn = threading.Lock()
        self._workers: set[Worker] = set()
        self._levels: list[str] = []
        self._failed: list[BaseException] = []
        largest = max((targets[number].size for number in waiting), default=0)
        self._limits = Limits(
            memory_bytes=_SPARE + largest,
            wall_seconds=min(_LONGEST_SECONDS, _LEAST_SECONDS + largest / _SLOWEST),
            answer_bytes=_MOST_ANSWER,
        )

    def work(self, count: int) -> Sequence[str]:
        """Scan everything; the levels of confinement that were reached."""
        threads = [threading.Thread(target=self._take, daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.2)
        except BaseException:
            self._waiting.clear()
            with self._turn:
                for worker in self._workers:
                    worker.close()
            raise
        if self._failed:
            raise self._failed[0]
        return self._levels

    def _take(self) -> None:
        worker: Worker | None = None
        roots: tuple[Path, ...] = ()
        try:
            while True:
                try:
                    number = self._waiting.popleft()
                except IndexError:
                    return
                target = self._targets[number]
                if worker is None or not worker.alive or roots is not target.roots:
                    self._end(worker)
                    worker, roots = self._start(target.roots), target.roots
                self._progress(next(self._done), target.shown)
                self._answers[number] = _ask(worker, target)
        except BaseException as error:  # Told by the thread that waits.
            self._waiting.clear()
            self._failed.append(error)
        finally:
            self._end(worker)

    def _start(self, roots: tuple[Path, ...]) -> Worker:
        # One that vanished meanwhile is found missing when it is opened.
        there = [root for root in roots if root.exists()]
        worker = Worker.start("assay.supply.batch:scanner", b"", inputs=there, limits=self._limits)
        with self._turn:
            self._workers.add(worker)
            self._levels.append(worker.level)
        return worker

    def _end(self, worker: Worker | None) -> None:
        if worker is not None:
            worker.close()
            with self._turn:
                self._workers.discard(worker)


def _ask(worker: Worker, target: Target) -> Answer:
    try:
        said = worker.call(os.fsencode(target.path) + b"\0" + os.fsencode(target.inside))
    except Unavailable as error:
        return unread("scan.stopped", f"its reading was stopped: {error.message}")
    except AssayError as error:
        return unread("scan.stopped", f"the reader failed ({error.code})")
    try:
        answer = msgspec.json.decode(said, type=Answer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return unread("scan.stopped", "the reader answered nonsense")
    worst = {found.severity for found in answer.findings}
    expected = next((severity for severity in ORDER if severity in worst), "clean")
    listed = answer.findings_count == len(answer.findings)
    if _RANK[answer.verdict] < _RANK[expected] or (listed and expected != answer.verdict):
        return unread("scan.stopped", "the reader contradicts itself")
    if answer.findings_count < len(answer.findings) or (not listed and not worst):
        return unread("scan.stopped", "the reader miscounts")
    return msgspec.structs.replace(answer, findings=[_plain(found) for found in answer.findings])


def _plain(found: Found) -> Found:
    return Found(
        printable(found.rule), found.severity, printable(found.where), printable(found.what)
    )
