"""What a task is called with: references resolved to artifacts, and their part of its key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay import files
from assay.errors import Unavailable, Usage
from assay.pipeline import keys
from assay.pipeline.confined import Argument, Call, Mixed, Plain, Read
from assay.pipeline.graph import MOST_ITEMS, Const, Each, File, From, Items, Node, Value, references
from assay.pipeline.host import Host, Source
from assay.pipeline.plan import Plan
from assay.pipeline.records import Artifact


@dataclass(frozen=True, slots=True)
class Resolved:
    """The arguments of one task."""

    arguments: dict[str, Argument]
    inputs: list[Source]
    components: dict[str, str]

    def call(self, target: str, seed: int) -> Call:
        return Call(target, self.arguments, seed)


@dataclass
class _Given:
    """What a node gave."""

    outputs: list[list[Artifact]]
    datasets: frozenset[str]
    value: Any


class Resolver:
    """What the finished nodes of a run gave, and where their files lie while it runs."""

    def __init__(self, plan: Plan, host: Host, folder: Path) -> None:
        self._plan = plan
        self._host = host
        self._folder = folder
        self._nodes = {node.id: node for node in plan.graph.nodes}
        self._given: dict[str, _Given] = {}
        self._files: dict[str, Artifact] = {}

    def put(
        self,
        node: str,
        outputs: list[list[Artifact]],
        datasets: Sequence[str] | frozenset[str],
        value: Any,
    ) -> None:
        """Note what a node gave, and which datasets it comes from."""
        self._given[node] = _Given(outputs, frozenset(datasets), value)

    def lineage(self, node: Node) -> frozenset[str]:
        """The datasets that what `node` gives is made from."""
        found: set[str] = set()
        for value in node.arguments.values():
            for reference in references(value):
                found |= self._given[reference.node].datasets
        return frozenset(found)

    def value(self, value: Value) -> Any:
        """An argument of a built-in step: plain, or what another built-in step gave."""
        if isinstance(value, Const):
            return value.value
        if isinstance(value, From):
            return self._given[value.node].value
        raise Usage(
            "a built-in step takes plain values and what other built-in steps gave",
            remedy="give it a value",
            code="pipeline.argument",
        )

    def artifact(self, value: Value, what: str) -> Artifact:
        """The one artifact that an argument of a built-in step stands for."""
        if isinstance(value, From):
            output = self._given[value.node].outputs[value.output]
            if len(output) == 1:
                return output[0]
        raise Usage(
            f"{what} is not one thing that a step returned",
            remedy="give it what a step returned, not a list or a plain value",
            code="pipeline.argument",
        )

    def datasets(self, value: Value) -> frozenset[str]:
        """The datasets behind an argument."""
        return self._given[value.node].datasets if isinstance(value, From) else frozenset()

    def resolve(self, node: Node, number: int | None) -> Resolved:
        """The arguments of a step, or of its task `number` where it is mapped."""
        arguments: dict[str, Argument] = {}
        inputs: list[Source] = []
        components: dict[str, str] = {}
        for name, value in node.arguments.items():
            taken = self._taken(value, number or 0)
            made, digests = self._argument(taken, inputs)
            arguments[name] = made
            if isinstance(made, Plain):
                components |= keys.of_plain(name, made.value)
            else:
                many = not isinstance(made, Read) or made.many
                components |= keys.of_input(name, digests, many=many)
        return Resolved(arguments, inputs, components)

    def items(self, value: Items | From) -> list[Value | Artifact]:
        """What a mapped argument ranges over."""
        if isinstance(value, Items):
            return list(value.items)
        return list(self._given[value.node].outputs[value.output])

    def place(self, source: Source) -> Path:
        """Where an input file lies in plain, for as long as the run lasts."""
        path = self._folder / source.name
        if not path.exists():
            part = self._folder / "part"
            files.make_folder(self._folder)
            try:
                self._host.place(source.artifact, part)
                part.rename(path)
            except OSError as error:
                raise Unavailable(
                    f"cannot write an input to {path}: {error.strerror}",
                    remedy="free disk space",
                    code="write",
                ) from error
            finally:
                part.unlink(missing_ok=True)
        return path

    # -- inside -----------------------------------------------------------------------------------

    def _taken(self, value: Value, number: int) -> Value | Artifact:
        return self.items(value.of)[number] if isinstance(value, Each) else value

    def _argument(
        self, value: Value | Artifact, inputs: list[Source]
    ) -> tuple[Argument, list[str]]:
        if isinstance(value, Const):
            return Plain(value.value), []
        if isinstance(value, (Artifact, File)):
            artifact = self._file(value.path) if isinstance(value, File) else value
            suffix = Path(value.path).suffix if isinstance(value, File) else ""
            inputs.append(Source(artifact, suffix))
            # A step can see how the name of a file ends.
            return Read([len(inputs) - 1]), [artifact.digest + suffix]
        if isinstance(value, From):
            output = self._given[value.node].outputs[value.output]
            many = self._nodes[value.node].outputs[value.output].many
            first = len(inputs)
            inputs.extend(Source(artifact) for artifact in output)
            numbers = list(range(first, len(inputs)))
            return Read(numbers, many), [artifact.digest for artifact in output]
        if isinstance(value, Items):
            return self._items(value, inputs)
        raise Usage(
            "each() stands inside a list", remedy="mark the whole list", code="pipeline.each"
        )

    def _items(self, value: Items, inputs: list[Source]) -> tuple[Argument, list[str]]:
        made: list[Plain | Read] = []
        digests: list[str] = []
        for item in value.items:
            one, of_one = self._argument(item, inputs)
            if isinstance(one, Mixed) or (isinstance(one, Read) and one.many):
                raise Usage(
                    "a list of lists of results cannot be passed to a step",
                    remedy="pass each list as an argument of its own",
                    code="pipeline.nested",
                )
            made.append(one)
            digests.append(of_one[0] if of_one else keys.of_plain("", one.value)["argument:"])  # pyright: ignore[reportAttributeAccessIssue]
        return Mixed(made), digests

    def _file(self, path: str) -> Artifact:
        if path not in self._files:
            self._files[path] = self._host.file(path)
        return self._files[path]


def lengths(node: Node, resolver: Resolver) -> int | None:
    """How many tasks a mapped node has; None for one that is not mapped."""
    counts = {
        name: len(resolver.items(value.of))
        for name, value in node.arguments.items()
        if isinstance(value, Each)
    }
    if not counts:
        return None
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        raise Usage(
            f"{node.id} is mapped over lists of different lengths: {told}",
            remedy="map over lists of one length",
            code="pipeline.each",
        )
    count = next(iter(counts.values()))
    if count > MOST_ITEMS:
        raise Usage(
            f"{node.id} is mapped over {count:,} items; {MOST_ITEMS:,} are possible",
            remedy="map over partitions of them",
            code="pipeline.size",
        )
    return count
