"""Everything that is known of a run before it begins: its code, its graph, its environment.

Nothing is imported here: first-party code is read once, as bytes; what is hashed is what is staged
and run.  The graph comes from a confined process, or from memory where the same code with the same
parameters in the same environment was traced before.
"""

from __future__ import annotations

import contextlib
import functools
import re
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import msgspec

from assay import canonical, files
from assay.isolation.grants import Grants
from assay.isolation.limits import GIB, Limits
from assay.isolation.paths import search_path
from assay.isolation.run import run
from assay.pipeline import graph as graphs
from assay.pipeline import imports, keys, tracing, watching
from assay.pipeline.bytecode import compiled_for
from assay.pipeline.code import Codebase, pack_code, write_code
from assay.pipeline.environment import Environment, Memo, environment
from assay.pipeline.graph import Graph
from assay.pipeline.installed import import_name
from assay.pipeline.keys import Components
from assay.pipeline.tracing import Traced
from assay.pipeline.verified import Checker
from assay.pipeline.watching import Used
from assay.types import Digest

_TRACING = Limits(memory_bytes=8 * GIB, cpu_seconds=120, wall_seconds=180, answer_bytes=64 << 20)


@dataclass
class Plan:
    """A traced pipeline and what its steps depend on."""

    folder: Path
    codebase: Codebase
    memo: Memo
    data: dict[str, Digest]
    """Every staged file that is not Python source: a step can read all of them."""
    cache: Path
    environment: Environment
    """Of every step together."""
    graph: Graph = field(init=False)
    named_files: frozenset[str] = frozenset()
    """What may be paths, in parameters that whoever asks for the run gave: not in the code."""
    stop: threading.Event = field(default_factory=threading.Event)
    """Set, from any thread, to end the run: between two things, so that nothing is half done."""
    _environments: dict[tuple[str, ...], Environment] = field(default_factory=dict)
    _code: dict[str, Components] = field(default_factory=dict)

    @functools.cached_property
    def archive(self) -> bytes:
        """The staged code as one file, for executors that ship it."""
        return pack_code(self.codebase.files())

    @functools.cached_property
    def archive_digest(self) -> Digest:
        return canonical.digest(self.archive)

    def bytecode(self) -> Path:
        """Compiled files of the libraries; made if there are none yet, which takes seconds."""
        again = functools.partial(environment, self.imports(), memo=self.memo, folder=self.folder)
        return compiled_for(self.environment, again, self.cache)

    def imports(self) -> list[str]:
        """The top-level library modules that any step's code, or the pipeline's, imports."""
        modules = {
            node.target.partition(":")[0] for node in self.graph.nodes if node.kind == "step"
        }
        modules.add(self.codebase.module)
        return sorted({n for m in modules for n in self.codebase.closure(m).third_party})

    @functools.cached_property
    def imported(self) -> tuple[str, ...]:
        """`imports`, which the environment is of."""
        return tuple(self.imports())

    @property
    def ports(self) -> list[int]:
        """TCP ports that any step declares."""
        return sorted({port for node in self.graph.nodes for port in node.options.ports})

    @property
    def variables(self) -> list[str]:
        """Environment variables that any step declares."""
        return sorted({name for node in self.graph.nodes for name in node.options.variables})

    @property
    def processes(self) -> bool:
        """Whether any step may start processes."""
        return any(node.options.processes for node in self.graph.nodes)

    def code_of(self, target: str) -> Components:
        """The part of a step's key that is its code and what is installed."""
        module = target.partition(":")[0]
        if module not in self._code:
            closure = self.codebase.closure(module)
            installed = self.installed(closure.third_party)
            self._code[module] = keys.of_code(closure, self.data, installed)
        return self._code[module]

    def covered(self, target: str) -> frozenset[str]:
        """The staged files that a step's key covers."""
        closure = self.codebase.closure(target.partition(":")[0])
        return closure.paths | frozenset(self.data)

    def installed(self, imports: Sequence[str]) -> Environment:
        """The verified distributions behind these top-level modules."""
        wanted = tuple(sorted(set(imports)))
        if wanted not in self._environments:
            self._environments[wanted] = environment(wanted, memo=self.memo, folder=self.folder)
        return self._environments[wanted]

    def is_as_it_was(self) -> bool:
        """Whether the libraries are still those that were verified."""
        checker = Checker(self.memo, time.time_ns)
        return all(
            environment(names, memo=self.memo, folder=self.folder, checker=checker).digest
            == known.digest
            for names, known in list(self._environments.items())
        )

    def has_module(self, name: str) -> bool:
        """Whether a step could import a module now.  Nothing is imported here."""
        return self.codebase.find(name) is not None or watching.is_there(name, search_path())


def make(
    target: str,
    *,
    folder: Path,
    parameters: Mapping[str, Any],
    named: Sequence[str],
    memo: Memo,
    work: Path,
    cache: Path,
) -> Plan:
    """Read the code of ``FILE[:PIPELINE]`` or ``MODULE[:PIPELINE]`` and trace it.

    `named` are the parameters that whoever asks gave, the values of which may name any file;
    `work` is a private folder for what is staged meanwhile, `cache` one for what is compiled.
    Raises `Usage`, `NotFound` or `Unavailable` for what is wrong with it.
    """
    where, _, name = target.partition(":")
    given = Path(where) if where.endswith((".py", ".ipynb")) or "/" in where else where
    codebase = Codebase.read(given, folder=folder)
    closure = codebase.closure(codebase.module)
    installed = environment(closure.third_party, memo=memo, folder=folder)
    data = {
        path: canonical.digest(content)
        for path, content in codebase.files().items()
        if not path.endswith(".py")
    }
    request = tracing.Request(codebase.module, name, dict(parameters), list(codebase.roots))
    known = keys.digest(
        {
            **keys.of_code(closure, data, installed),
            "trace": msgspec.json.encode(request, order="deterministic").decode(),
        }
    )
    files = frozenset(text for name in named for text in _texts(parameters[name]))
    plan = Plan(folder, codebase, memo, data, cache, installed, named_files=files)
    told = _remembered(plan, known)
    if told is None:
        again = functools.partial(environment, closure.third_party, memo=memo, folder=folder)
        told = _trace(codebase, request, work, compiled_for(installed, again, cache))
        plan.graph = graphs.decode(told.graph)
        also = _also_used(plan, told.used)
        if also is not None:
            kept = _Remembered(told, also, _distributions(plan, also))
            memo.put(f"{_GRAPH}/{known}", msgspec.msgpack.encode(kept))
    else:
        plan.graph = graphs.decode(told.graph)
    plan.environment = plan.installed(plan.imports())
    return plan


def _texts(value: Any) -> Iterator[str]:
    """The texts in a parameter, which may be JSON itself, as paths are spelt in a graph."""
    if isinstance(value, (list, tuple)):
        for item in cast("Sequence[Any]", value):
            yield from _texts(item)
    elif isinstance(value, (str, Path)):
        yield str(Path(value))
        if str(value).lstrip().startswith("["):
            with contextlib.suppress(msgspec.MsgspecError):
                yield from (
                    str(Path(text)) for text in msgspec.json.decode(str(value), type=list[str])
                )


_GRAPH = "graph/v3"


class _Remembered(msgspec.Struct):
    """A graph, and the libraries that others loaded by themselves to come to it, as they were."""

    traced: Traced
    imports: list[str]
    distributions: dict[str, str]


def _remembered(plan: Plan, known: Digest) -> Traced | None:
    """What the same code gave before, if it would still."""
    data = plan.memo.get(f"{_GRAPH}/{known}")
    try:
        kept = msgspec.msgpack.decode(data, type=_Remembered) if data is not None else None
    except msgspec.MsgspecError:
        return None
    if kept is None or any(plan.has_module(name) for name in kept.traced.used.missing):
        return None
    return kept.traced if _distributions(plan, kept.imports) == kept.distributions else None


def _distributions(plan: Plan, imports: Sequence[str]) -> dict[str, str]:
    return dict(plan.installed(imports).distributions) if imports else {}


# Names of what gives something else each time, or on another machine, and of modules for that.
_CHANGING = re.compile(
    rb"\b(?:now|today|utcnow|time|time_ns|localtime|gmtime|ctime|asctime|strftime|clock\w*"
    rb"|monotonic\w*|perf_counter\w*|process_time\w*|timeit|\w*random\w*|\w*rng|getrandbits"
    rb"|uuid\w*|secrets|token_\w+|environ\w*|getenv\w*|getpid|getppid|getlogin|getuser|getcwd|cwd"
    rb"|gethostname|uname|\w*cpu_count|\w*affinity|\w*temp\w*|mk[sd]temp|getrusage|resource|id)\b"
)


def _also_used(plan: Plan, used: Used) -> list[str] | None:
    """What libraries loaded by themselves, where a graph follows from that and from what its key
    names, so that it can be remembered; None where it does not.

    A pipeline that asks for the time or for chance, in its own code, is traced anew each time; so
    is one with libraries that nobody here knows, which might.
    """
    closure = plan.codebase.closure(plan.codebase.module)
    covered = closure.paths | frozenset(plan.data)
    others = set(used.libraries) - plan.installed(closure.third_party).covers - {"assay"}
    also = sorted({name for entry in others if (name := import_name(entry))})
    added = plan.installed(also) if also else None
    if added is not None and (added.state == "altered" or not others <= added.covers):
        return None
    if used.listed or not set(used.code) <= covered or (others and not also):
        return None
    if imports.sight_through(closure.third_party) is imports.Sight.BYTES:
        return None
    files = plan.codebase.files()
    if any(_CHANGING.search(files[path]) for path in closure.paths if path.endswith(".py")):
        return None
    return also


def encoded(graph: Graph) -> bytes:
    """A graph's bytes, for its digest."""
    return msgspec.msgpack.encode(graph)


def _trace(codebase: Codebase, request: tracing.Request, work: Path, bytecode: Path) -> Traced:
    files.make_folder(work)
    with tempfile.TemporaryDirectory(dir=work, prefix="trace-") as place:
        code, scratch = Path(place) / "code", Path(place) / "scratch"
        write_code(codebase.files(), code)
        files.make_folder(scratch)
        roots = tuple(code / root for root in codebase.roots)
        outcome = run(
            tracing.TARGET,
            msgspec.msgpack.encode(request),
            limits=_TRACING,
            grants=Grants(scratch=scratch, code=roots, bytecode=bytecode),
        )
    try:
        return msgspec.msgpack.decode(outcome.value, type=Traced)
    except (msgspec.MsgspecError, ValueError) as error:
        raise graphs.wrong("its answer cannot be read") from error
