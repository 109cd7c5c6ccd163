"""What a bill of materials says, before it is written in anybody's format.

Every value carries what it rests on.  *evidence*: a statement that counts says so, and `source` is
the digest of its envelope.  *declared*: somebody, or a file, says so and nothing here checked it.
*unknown*: nobody says, and `why` tells the reason: an empty field would look like an answer.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

FORMAT = "assay/bom-contents/v1"

Basis: TypeAlias = Literal["evidence", "declared", "unknown"]
Completeness: TypeAlias = Literal["complete", "incomplete", "unknown"]
_ORDER: tuple[Basis, ...] = ("unknown", "declared", "evidence")


class Told(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A value and what it rests on."""

    value: Any = None
    basis: Basis = "unknown"
    source: str = ""
    """The digest of the envelope of the statement that it is from; empty for what is in no
    statement."""
    why: str = ""
    """Of what is unknown, the reason; of what is declared, who declares it."""

    @property
    def known(self) -> bool:
        return self.basis != "unknown"


def evidence(value: Any, source: str, why: str = "") -> Told:
    """A value from a statement that counts; unknown where the statement has none."""
    if value is None:
        return Told(why=why or "the statement does not say")
    return Told(value, "evidence", source, why)


def declared(value: Any, by: str, source: str = "", *, otherwise: str = "") -> Told:
    """A value that somebody declares; unknown where it is empty, because of `otherwise`."""
    if value is None or value == "" or value == []:
        return Told(why=otherwise or f"{by} does not say")
    return Told(value, "declared", source, by)


def unknown(why: str) -> Told:
    """What nobody says, and why."""
    return Told(why=why)


def worst(values: list[Told]) -> Basis:
    """What several values rest on together: the least of them."""
    found: list[Basis] = [told.basis for told in values]
    return min(found, key=_ORDER.index) if found else "unknown"


class Licence(Told, frozen=True):
    """A licence; `spdx` says whether the value is an SPDX licence expression, or only a name."""

    spdx: bool = False


class Library(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An installed library: with its version and digest it is pinned."""

    name: str
    """Normalised, as in a package URL."""
    version: str = ""
    digest: Told = Told(why="no statement names a digest")
    """``sha256:…`` over `digest_of`."""
    digest_of: str = "installed files"
    licence: Licence = Licence(why="its metadata is not at hand")
    supplier: Told = Told(why="its metadata is not at hand")
    use: str = "training"
    """What it took part in: ``training``, ``conversion``, or ``the model file`` that names it."""
    basis: Basis = "evidence"
    """What the name and version rest on."""
    source: str = ""
    requires: tuple[str, ...] = ()
    """Names of the other libraries here that it needs."""

    @property
    def pinned(self) -> bool:
        return bool(self.version) and self.digest.known


class Dataset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A dataset that the model was trained or judged on."""

    name: str
    use: str
    """``training`` or ``test``."""
    content: Told
    """Its digest: keyed (HMAC-SHA-256), because a plain one of guessable rows would give them
    away."""
    description: Told = Told(why="nobody described it")
    owner: Told = Told(why="nobody is named")
    origin: Told = Told(why="nobody says where it is from")
    licence: Licence = Licence(why="nobody says under which licence it is")
    personal: Told = Told(why="nobody says whether it holds personal data")
    special: Told = Told(why="nobody says whether it holds special categories")
    legal_basis: Told = Told(why="nobody names one")
    purposes: Told = Told(why="nobody names one")
    format: Told = Told(why="it was not recorded")
    columns: Told = Told(why="they were not recorded")
    statistics: Told = Told(why="nothing was measured")
    made_from: Told = Told(why="nobody says what it was made from")


class Code(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A module of the code that made the model."""

    name: str
    digest: str
    source: str = ""


class Tool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What did something to the model: trained, converted, scanned or measured it."""

    name: str
    version: str
    use: str
    source: str = ""


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A step of the run that made the model, as the runner saw it."""

    name: str
    pipeline: str
    run: str
    parameters: dict[str, str] = {}
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    environment: str = ""
    isolation: str = ""
    finished: str = ""
    source: str = ""


class Metric(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A measured figure."""

    name: str
    value: str
    lower: str = ""
    upper: str = ""
    part: str = ""
    """Of which rows, where not of all."""
    kind: Literal["quality", "security"] = "quality"
    source: str = ""


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who signed what of the model."""

    keyid: str
    key_kind: str
    """``workspace``, ``person``, …"""
    kind: str
    """The kind of statement."""
    statement: str
    """The digest of its envelope."""


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The model version that the bill is about."""

    name: str
    version: str
    artifact: Told
    """The digest of what was registered."""
    served: Told = Told(why="nothing of it can be served")
    """The digest of what is served: the artifact itself, or its conversion."""
    producer: Told = Told(why="nobody is named")
    registered: Told = Told(why="it was not recorded")
    purpose: Told = Told(why="nobody says")
    description: Told = Told(why="nobody described it")
    limitations: Told = Told(why="nobody declares any")
    licence: Licence = Licence(why="nobody says under which licence it is")
    format: Told = Told(why="it was not recognised")
    family: Told = Told(why="the file does not tell")
    architecture: Told = Told(why="the file does not tell")
    task: Told = Told(why="what it answers is not known")
    inputs: Told = Told(why="what it takes is not known")
    outputs: Told = Told(why="what it answers is not known")
    approach: Told = Told(why="nobody says how it was trained")
    training: Told = Told(why="nobody says how it was trained")
    parent: Told = Told(why="nobody says whether it was made from another model")
    references: Told = Told(why="nobody names any")
    metrics: tuple[Metric, ...] = ()


class Contents(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that the bill of one model version says."""

    project: str
    workspace: str
    issued: str
    """When the newest statement was issued that this is gathered from."""
    author: Told
    model: Model
    assay: str = ""
    """The version of assay that writes it."""
    system: Told = Told(why="nothing of it is served")
    """The endpoints where it is served."""
    data_flow: Told = Told(why="nobody describes how data moves through the system")
    data_usage: Told = Told(why="nobody says what becomes of the data that users give")
    application_area: Told = Told(why="nobody declares one")
    hardware: Told = Told(why="nobody describes the hardware")
    controls: Told = Told(why="no control is evidenced")
    compliance: Told = Told(why="nobody declares any")
    security_policy: Told = Told(why="nobody names one")
    vulnerabilities: Told = Told(why="nobody looked for known vulnerabilities")
    datasets: tuple[Dataset, ...] = ()
    code: tuple[Code, ...] = ()
    libraries: tuple[Library, ...] = ()
    libraries_known: Completeness = "unknown"
    libraries_why: str = ""
    """Why it is not known which libraries there are, or where the list may end."""
    tools: tuple[Tool, ...] = ()
    steps: tuple[Step, ...] = ()
    signatures: tuple[Signature, ...] = ()
    format: Literal["assay/bom-contents/v1"] = FORMAT

    @property
    def unpinned(self) -> int:
        """Libraries without a version or without a digest."""
        return sum(not library.pinned for library in self.libraries)


def normal(contents: Contents) -> Contents:
    """The same, in the one order in which it is written: lists here are sets."""
    return msgspec.structs.replace(
        contents,
        datasets=tuple(sorted(set_of(contents.datasets), key=lambda d: (d.use, d.name))),
        code=tuple(sorted(set_of(contents.code), key=lambda c: (c.name, c.digest))),
        libraries=tuple(sorted(set_of(contents.libraries), key=lambda x: (x.name, x.version))),
        tools=tuple(sorted(set_of(contents.tools), key=lambda t: (t.use, t.name, t.version))),
        steps=tuple(sorted(set_of(contents.steps), key=lambda s: (s.run, s.name, s.source))),
        signatures=tuple(
            sorted(set_of(contents.signatures), key=lambda s: (s.statement, s.kind, s.keyid))
        ),
        model=msgspec.structs.replace(
            contents.model,
            metrics=tuple(
                sorted(contents.model.metrics, key=lambda m: (m.kind, m.name, m.part, m.source))
            ),
        ),
    )


def set_of(items: Any) -> list[Any]:
    """The items, each once."""
    seen: dict[bytes, Any] = {}
    for item in items:
        seen.setdefault(msgspec.json.encode(item, order="sorted"), item)
    return list(seen.values())
