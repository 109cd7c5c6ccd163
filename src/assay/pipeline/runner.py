"""The life of a run: what is ready is looked up or run, what is finished is kept and recorded.

The runner decides nothing and holds no key: what it reads, keeps, signs and asks goes through its
`Host`, which is an action behind the door.  One thread drives; executors run the steps elsewhere.

Re-use is sound because of three things together.  A key names everything that a step's process
could read, and what it read besides is noticed and named, and its result not stored.  What was
found under a key is read and hashed again before it is used.  And keys of later steps are made of
the digests of what earlier ones gave, never of the earlier keys.
"""

from __future__ import annotations

import collections
import heapq
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, ParamSpec, TypeAlias, TypeVar

import msgspec

from assay import canonical
from assay.errors import AssayError, Conflict
from assay.pipeline import graph as graphs
from assay.pipeline import keys, observed
from assay.pipeline.arguments import Resolved, Resolver, lengths
from assay.pipeline.execution import LOG, answer_of, tail
from assay.pipeline.graph import Node
from assay.pipeline.host import Found, Host, Made
from assay.pipeline.judging import (
    altered,
    checked,
    is_final,
    outputs_differ,
    raised,
    stopped,
    unforeseen,
)
from assay.pipeline.plan import Plan
from assay.pipeline.records import Artifact, Event, Problem, TaskRecord
from assay.plugins import Executor, Finished, Task, TaskInput

P = ParamSpec("P")
R = TypeVar("R")
CacheUse: TypeAlias = Literal["use", "read", "ignore"]
"""``read`` never lets others use what this run makes; ``ignore`` runs everything anew, and what
that gives is what is used from then on."""

FILE_BYTES = 64 << 30
_POLL = 0.2
_LOOKING = 19
_RECORDING = 0.5  # Seconds between two groups of results that are made durable.
_LONGEST_PAUSE = 30.0


@dataclass
class Job:
    """One task on its way: what it is called with, and what came of it so far."""

    node: Node
    record: TaskRecord
    resolved: Resolved
    known: Found | None = None
    folder: Path = field(default_factory=Path)
    """Of its last attempt."""
    first: list[str] = field(default_factory=list)
    """Digests of a first execution's outputs, where determinism is checked."""


class Runner:
    """Runs one plan, once."""

    def __init__(
        self,
        plan: Plan,
        host: Host,
        executor: Executor,
        *,
        work: Path,
        seed: int,
        cache: CacheUse = "use",
        check_determinism: bool = False,
        require: str | None = None,
    ) -> None:
        self._plan = plan
        self._host = host
        self._executor = executor
        self._work = work
        self._seed = seed
        self._cache = cache
        self._twice = check_determinism
        self._require = require
        self.tasks: list[TaskRecord] = []
        self.failed: AssayError | None = None
        self.cancelled = False
        self._resolver = Resolver(plan, host, work / "inputs")
        self._left: dict[str, int] = {}
        self._jobs: dict[str, list[Job]] = {}
        self._ready: collections.deque[Job] = collections.deque()
        self._later: list[tuple[float, int, Job]] = []
        self._flying: dict[Future[Finished], Job] = {}
        self._made: list[Made] = []
        self._look_again = 0.0
        self._folders = 0
        self._opened = False

    def run(self) -> None:
        """Run all of it; `tasks`, `failed` and `cancelled` say what came of it."""
        sorter = graphs.order(self._plan.graph)
        nodes = {node.id: node for node in self._plan.graph.nodes}
        try:
            while sorter.is_active() and self.failed is None and not self._stopping():
                for name in sorter.get_ready():
                    if not self._stopping():
                        self._begin(nodes[name])
                self._start()
                for name in [n for n, left in self._left.items() if not left]:
                    del self._left[name]
                    self._collect(nodes[name])
                    sorter.done(name)
                    break
                else:
                    self._land()
        except KeyboardInterrupt:
            self.cancelled = True
        except AssayError as error:
            self.failed = self.failed or error
        except BaseException:  # A mistake of ours.  Nothing may go on behind it.
            self._executor.shutdown(cancel=True)
            raise
        try:
            while self._flying and not self._stopping():
                self._land()  # What still ran when another step failed is kept, too.
            self._executor.shutdown(cancel=self.cancelled)
            while self._flying:
                self._land()
        except KeyboardInterrupt:
            self.cancelled = True
            self._executor.shutdown(cancel=True)
        except AssayError as error:
            self.failed = self.failed or error
            self._executor.shutdown(cancel=True)
        try:
            self._flush(last=True)
        except AssayError as error:
            self.failed = self.failed or error
        self._skip_rest(nodes)

    def _stopping(self) -> bool:
        """Whether somebody asked for an end."""
        self.cancelled = self.cancelled or self._plan.stop.is_set()
        return self.cancelled

    # -- beginning --------------------------------------------------------------------------------

    def _begin(self, node: Node) -> None:
        """Make the tasks of a node whose inputs are all there."""
        if node.kind == "effect":
            self._jobs[node.id] = []
            self._left[node.id] = 0
            self._effect(node)
            return
        try:
            if any(output.kind == "model" for output in node.outputs):
                for dataset in sorted(self._resolver.lineage(node)):
                    self._host.may_train(dataset)
            count = lengths(node, self._resolver)
        except AssayError as error:
            record = TaskRecord(node.id, node.id, "waiting")
            self.tasks.append(record)
            self._fail(record, stopped(error, node.id, node.options))
            raise
        names = [node.id] if count is None else [f"{node.id}[{n}]" for n in range(count)]
        self._jobs[node.id] = []
        self._left[node.id] = len(names)
        for number, name in enumerate(names):
            record = TaskRecord(name, node.id, "waiting")
            self.tasks.append(record)
            try:
                resolved = self._resolver.resolve(node, None if count is None else number)
            except AssayError as error:
                self._fail(record, stopped(error, name, node.options))
                raise
            job = Job(node, record, resolved)
            self._jobs[node.id].append(job)
            self._ready.append(job)

    def _effect(self, node: Node) -> None:
        record = TaskRecord(node.id, node.id, "running")
        self.tasks.append(record)
        self._tell(record, "running")
        begun = time.perf_counter()
        try:
            done = self._host.effect(node, self._resolver)
        except AssayError as error:
            self._fail(record, error)
            raise
        record.seconds = time.perf_counter() - begun
        record.value = done.value
        record.outputs = [[done.rows]] if done.rows else []
        record.state = "cached" if done.unchanged else "done"
        self._resolver.put(node.id, record.outputs, done.datasets, done.value)
        self._tell(record, "unchanged" if done.unchanged else "done")

    def _start(self) -> None:
        """Look up what is ready, and run what is not found, as far as there are slots."""
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            self._ready.append(heapq.heappop(self._later)[2])
        while self._ready and len(self._flying) < self._executor.slots and not self._stopping():
            job = self._ready.popleft()
            try:
                if not job.record.attempts and self._look_up(job):
                    self._left[job.node.id] -= 1
                    continue
                self._submit(job)
            except AssayError as error:
                self._fail(job.record, stopped(error, job.record.name, job.node.options))
                raise

    def _look_up(self, job: Job) -> bool:
        """Take a result that is there already; else note why there is none."""
        record, node = job.record, job.node
        shared = self._plan.code_of(node.target)
        record.components = {
            **keys.of_step(self._host.project, node),
            "seed": str(self._seed),
            **keys.of_variables(self._host.variables(node.options.variables)),
            **job.resolved.components,
        }
        record.key = keys.digest({**shared, **record.components})
        if self._cache == "ignore":
            record.why = ["the cache was not to be used"]
            return False
        known = self._host.find(record.key, resume=not node.options.cacheable)
        if known is None:
            if node.options.cacheable:
                record.why = self._host.explain(record, shared)
            else:
                record.why = [
                    "it uses the network or starts processes, and does not say cache=True"
                ]
            return False
        problem = observed.stale(known, self._plan) or self._damaged(known)
        if problem:
            record.why = [problem]
            return False
        record.state, record.outputs = "cached", known.outputs
        record.envelope, record.made_by, record.level = known.envelope, known.run, known.level
        self._tell(record, "cached")
        return True

    def _damaged(self, known: Found) -> str:
        for artifact in [a for output in known.outputs for a in output]:
            if why := self._host.damaged(artifact):
                return f"an earlier result cannot be used: {why}"
        return ""

    def _submit(self, job: Job) -> None:
        record, node, options = job.record, job.node, job.node.options
        if not self._opened:
            self._calling(job, self._executor.open, self._plan.archive, self._plan.archive_digest)
            self._opened = True
        self._folders += 1
        record.state, record.attempts = "running", record.attempts + 1
        task = Task(
            name=record.name,
            payload=msgspec.msgpack.encode(job.resolved.call(node.target, self._seed)),
            inputs=tuple(
                TaskInput(item.name, str(self._resolver.place(item)))
                for item in job.resolved.inputs
            ),
            memory_bytes=options.memory,
            cpu_seconds=options.cpu or max(1, int(options.timeout) + 1),
            wall_seconds=options.timeout,
            file_bytes=FILE_BYTES,
            environment=self._host.environment(options.variables),
            ports=options.ports,
            processes=options.processes,
            require=self._require,
            distributions=self._plan.environment.digest,
            imports=self._plan.imported,
        )
        self._tell(record, "running" if record.attempts == 1 else f"attempt {record.attempts}")
        job.folder = self._work / f"task-{self._folders}"
        self._flying[self._calling(job, self._executor.submit, task, job.folder)] = job

    @staticmethod
    def _calling(job: Job, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call an executor, which may be a plug-in."""
        try:
            return function(*args, **kwargs)
        except AssayError:
            raise
        except Exception as error:
            raise unforeseen(error, job.record.name) from error

    # -- landing ----------------------------------------------------------------------------------

    def _land(self) -> None:
        """Wait until something is finished, and keep what it gave."""
        if not self._flying:
            if self._later:
                time.sleep(max(0.0, min(_POLL, self._later[0][0] - time.monotonic())))
            return
        done, _ = wait(self._flying, timeout=_POLL, return_when=FIRST_COMPLETED)
        for future in done:
            job = self._flying.pop(future)
            try:
                finished = future.result()
                self._finish(job, finished)
            except AssayError as error:
                self._retry(job, error)
            except Exception as error:  # A cancelled future, or a mistake in an executor.
                self._retry(job, unforeseen(error, job.record.name))
        self._flush()

    def _finish(self, job: Job, finished: Finished) -> None:
        record, node = job.record, job.node
        answer = checked(answer_of(finished), node, record.name)
        record.seconds, record.cpu_seconds = answer.seconds, finished.cpu_seconds
        record.max_rss, record.level, record.where = (
            finished.max_rss,
            finished.level,
            finished.where,
        )
        if answer.raised is not None:
            raise raised(answer.raised, record.name, self._host.run)
        seen = observed.compare(answer, node, self._plan)
        observed.check_there(finished, answer, self._plan, record.name)
        if seen.problems and self._plan.environment.state != "altered":
            raise altered(seen.problems, record.name)
        record.log = self._host.keep_log(Path(finished.log))
        if self._twice and not self._same(job, finished):
            return
        record.outputs = self._keep(node, answer.outputs, finished.outputs)
        record.unstored = seen.unstored
        if finished.level != "full":
            record.unstored.append(
                f"what it reads cannot be bounded at isolation level {finished.level}"
            )
        usable = self._cache != "read" and not record.unstored
        self._made.append(
            Made(
                record=record,
                node=node,
                code=self._plan.code_of(node.target),
                arguments=job.resolved,
                seen=seen,
                key=record.key if usable and node.options.cacheable else "",
                resume=record.key if usable and not node.options.cacheable else "",
            )
        )
        record.state = "done"
        self._left[node.id] -= 1
        self._tell(record, "done")

    def _same(self, job: Job, finished: Finished) -> bool:
        """Whether a second execution gave the same bytes; False while there was only one."""
        digests = [canonical.digest_file(Path(path)) for path in finished.outputs]
        if not job.first:
            job.first = list(digests) or ["nothing"]
            job.record.attempts = 0
            self._submit(job)
            return False
        if job.first != (digests or ["nothing"]):
            raise outputs_differ(job.node, job.record.name, self._seed)
        return True

    def _keep(self, node: Node, named: list[list[str]], paths: list[str]) -> list[list[Artifact]]:
        there = iter(paths)
        return [
            [self._host.keep(Path(next(there)), output) for _ in files_of]
            for output, files_of in zip(node.outputs, named, strict=True)
        ]

    def _retry(self, job: Job, error: AssayError) -> None:
        record = job.record
        if self._stopping():
            return  # It did not fail: `_skip_rest` says what became of it.
        error = stopped(error, record.name, job.node.options)
        again = record.attempts <= job.node.options.retries and not job.first
        if not again or is_final(error):
            log = job.folder / LOG
            if printed := tail(log):
                record.log = self._host.keep_log(log)
                error.details["printed"] = printed
            self._fail(record, error)
            self.failed = self.failed or error
            return
        pause = min(_LONGEST_PAUSE, 0.5 * 2 ** (record.attempts - 1))
        self._tell(record, f"failed, tried again: {error.message}")
        heapq.heappush(self._later, (time.monotonic() + pause, self._folders, job))

    def _collect(self, node: Node) -> None:
        """A node is done: what its tasks gave becomes what it gives."""
        if node.kind == "effect":
            return
        outputs = [job.record.outputs for job in self._jobs[node.id]]
        if node.mapped:
            joined = [[output[n][0] for output in outputs] for n in range(len(node.outputs))]
        else:
            joined = outputs[0]
        self._resolver.put(node.id, joined, self._resolver.lineage(node), None)

    # -- telling ----------------------------------------------------------------------------------

    def _fail(self, record: TaskRecord, error: AssayError) -> None:
        record.state = "failed"
        record.problem = Problem(error.code, error.message, error.remedy)
        self._tell(record, f"failed: {error.message}")

    def _skip_rest(self, nodes: dict[str, Node]) -> None:
        why = "the run was stopped" if self.cancelled else "an earlier step failed"
        for record in self.tasks:
            if record.state in ("waiting", "running"):
                record.state, record.why = "skipped", [why]
        begun = {record.node for record in self.tasks} | set(self._jobs)
        for name in nodes:
            if name not in begun:
                self.tasks.append(TaskRecord(name, name, "skipped", why=[why]))

    def _flush(self, *, last: bool = False) -> None:
        """Record what is finished, if the libraries are still those that its keys name.

        Looking takes a while, so it is done no more than a twentieth of the time and twice a
        second; until then what is finished waits, and is lost if the driver is killed.
        """
        if not self._made or (time.monotonic() < self._look_again and not last):
            return
        begun, same = time.monotonic(), self._plan.is_as_it_was()
        self._look_again = (now := time.monotonic()) + max(_RECORDING, _LOOKING * (now - begun))
        made, self._made = self._made, []
        if same:
            self._host.record(made)
            return
        for item in made:
            item.record.unstored = ["the installed libraries changed while it ran"]
        raise Conflict(
            "the installed libraries changed while the run went on: "
            f"{', '.join(item.record.name for item in made[:3])} may have used either",
            remedy="run it again when the installation is finished",
            code="environment.changed",
        )

    def _tell(self, record: TaskRecord, what: str) -> None:
        self._host.tell(Event(f"{record.name}: {what}", record))
