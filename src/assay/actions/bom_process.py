"""The steps that made a model, from the word of the pipeline's runner: code, libraries, inputs.

Followed back from the model's own bytes: each step names what it was given, and what was given may
have been made by another step.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import unquote

from packaging.utils import canonicalize_name

from assay.evidence.facts import Evidence
from assay.evidence.state import VersionState
from assay.evidence.statement import SLSA_PROVENANCE
from assay.govern import origin
from assay.supply.bom.model import Code, Library, Step, Told, evidence
from assay.types import Digest

_MOST_STEPS = 1_000
_LONGEST = 200
_PURL = re.compile(r"pkg:pypi/([^@]+)@(.*)", re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_PREFIX = "sha256:"


class Process:
    """What is known of how a version was made; empty where nobody saw it."""

    def __init__(self, found: VersionState, counting: Callable[..., list[Evidence]]) -> None:
        self._found = found
        self._counting = counting
        self.items: list[Evidence] = []
        self.steps: list[Step] = []
        self.code: list[Code] = []
        self.libraries: list[Library] = []
        self.inputs: list[Digest] = []
        """Everything that a step was given."""
        if found.details.get("provenance") == "observed":
            self._follow()

    def _follow(self) -> None:
        build = str(self._found.details.get("build", ""))
        waiting = [i for i in self._counting(self._found.artifact) if i.envelope_digest == build]
        seen = {build}
        known: dict[tuple[str, str], Library] = {}
        codes: dict[str, Code] = {}
        while waiting and len(self.items) < _MOST_STEPS:
            item = waiting.pop()
            if not is_step(item):
                continue
            self.items.append(item)
            self._take(item, known, codes)
            for digest in inputs_of(item):
                self.inputs.append(Digest(digest))
                made = [i for i in self._counting(Digest(digest)) if _made(i, digest)]
                # Of several that made the same bytes, the last.
                for earlier in made[-1:]:
                    if earlier.envelope_digest not in seen:
                        seen.add(earlier.envelope_digest)
                        waiting.append(earlier)
        self.libraries = list(known.values())
        self.code = list(codes.values())

    def _take(
        self,
        item: Evidence,
        known: dict[tuple[str, str], Library],
        codes: dict[str, Code],
    ) -> None:
        p, source = item.statement.predicate, item.envelope_digest
        for name, uri, digest in _dependencies(item):
            if name.startswith(("code:", "data:")):
                codes.setdefault(f"{name} {digest}", Code(name, digest, source))
            elif uri and (library := _library(uri, digest, source)) is not None:
                known.setdefault((library.name, library.version), library)
        asked: Any = (p.get("buildDefinition") or {}).get("externalParameters") or {}
        details: Any = p.get("runDetails") or {}
        self.steps.append(
            Step(
                name=_text(asked.get("task") or asked.get("step") or "step"),
                pipeline=_text(asked.get("pipeline", "")),
                run=origin.run_of(p),
                parameters=_parameters(asked),
                inputs=tuple(inputs_of(item)),
                outputs=tuple(_outputs(item)),
                environment=_text(p.get("assay_environment", "")),
                isolation=_text(p.get("assay_isolation", "")),
                finished=_text((details.get("metadata") or {}).get("finishedOn", "")),
                source=source,
            )
        )


def inputs_of(item: Evidence) -> list[str]:
    """The digests of what a step was given."""
    return [digest for name, _, digest in _dependencies(item) if name == "input"]


def is_step(item: Evidence) -> bool:
    """Whether this is the runner's word about a step."""
    return item.statement.predicateType == SLSA_PROVENANCE and item.producer == origin.RUNNER


def _made(item: Evidence, digest: str) -> bool:
    """Whether a step gave these bytes: what it is found by again is no artifact."""
    return is_step(item) and digest in _outputs(item)


def _outputs(item: Evidence) -> list[str]:
    return [
        _PREFIX + subject.digest["sha256"]
        for subject in item.statement.subject
        if subject.name not in ("key", "resume", "run") and "sha256" in subject.digest
    ]


def _dependencies(item: Evidence) -> list[tuple[str, str, str]]:
    """Name, URI and digest of each material."""
    definition: Any = item.statement.predicate.get("buildDefinition") or {}
    found: list[tuple[str, str, str]] = []
    for descriptor in definition.get("resolvedDependencies") or []:
        held = (descriptor.get("digest") or {}).get("sha256")
        digest = f"{_PREFIX}{held}" if held else ""
        found.append((str(descriptor.get("name", "")), str(descriptor.get("uri", "")), digest))
    return found


def _library(uri: str, digest: str, source: str) -> Library | None:
    """A library from its URL.  Modules that no distribution owns have names that are none."""
    parts = _PURL.fullmatch(uri)
    if parts is None:
        return None
    name, version = unquote(parts[1]), unquote(parts[2])
    apart = name.partition(" ")[0]
    plain = canonicalize_name(apart) if _NAME.fullmatch(apart) else apart
    return Library(
        name=plain,
        version="" if version == "unknown" else version,
        digest=evidence(digest, source) if digest else Told(why="the runner names no digest"),
        use="training",
        source=source,
    )


def _parameters(asked: dict[str, Any]) -> dict[str, str]:
    found = {"seed": _text(asked.get("seed", ""))} if "seed" in asked else {}
    arguments = cast("dict[str, Any]", asked.get("arguments") or {})
    return {**found, **{str(name): _text(value) for name, value in arguments.items()}}


def _text(value: Any) -> str:
    return str(value)[:_LONGEST]
