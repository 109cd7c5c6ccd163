"""VEX: statements that a vulnerability does, or does not, matter in a product.

Source: OpenVEX v0.2.0, https://github.com/openvex/spec.  A statement lowers a finding only when it
comes from a trusted signer (which is for the caller to decide), says *not_affected* with one of the
five justifications or *fixed*, and names exactly what was found: the vulnerability by the id or an
alias of *each* advisory behind it, and the product by a package URL with that very version, or by
the digest of the model that contains it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from assay.clock import parse_timestamp, timestamp
from assay.errors import AssayError, Usage
from assay.supply.advisories.inventory import from_purl
from assay.supply.advisories.matching import Advisory, Finding, Package, Result
from assay.supply.advisories.versions import filed_as

CONTEXT = "https://openvex.dev/ns/v0.2.0"
PREDICATE_TYPE = CONTEXT
_FAMILY = "https://openvex.dev/ns"
_MOST_BYTES = 8 << 20
_MOST_STATEMENTS = 10_000

Status = Literal["not_affected", "affected", "fixed", "under_investigation"]
Justification = Literal[
    "component_not_present",
    "vulnerable_code_not_present",
    "vulnerable_code_not_in_execute_path",
    "vulnerable_code_cannot_be_controlled_by_adversary",
    "inline_mitigations_already_exist",
]
STATUSES: tuple[Status, ...] = ("not_affected", "affected", "fixed", "under_investigation")
JUSTIFICATIONS: tuple[Justification, ...] = (
    "component_not_present",
    "vulnerable_code_not_present",
    "vulnerable_code_not_in_execute_path",
    "vulnerable_code_cannot_be_controlled_by_adversary",
    "inline_mitigations_already_exist",
)


class Identifiers(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    rename={"cpe22": "@cpe22", "cpe23": "@cpe23"},
):
    purl: str = ""
    cpe22: str = ""
    cpe23: str = ""


class Vulnerability(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    rename={"at_id": "@id"},
):
    name: str
    at_id: str = ""
    description: str = ""
    aliases: tuple[str, ...] = ()


class Subcomponent(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    rename={"at_id": "@id"},
):
    at_id: str = ""
    identifiers: Identifiers = Identifiers()
    hashes: dict[str, str] = {}


class Product(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    rename={"at_id": "@id"},
):
    at_id: str = ""
    identifiers: Identifiers = Identifiers()
    hashes: dict[str, str] = {}
    subcomponents: tuple[Subcomponent, ...] = ()


class Statement(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    rename={"at_id": "@id"},
):
    """One assertion.  Who made it is not in it."""

    vulnerability: Vulnerability
    status: Status
    at_id: str = ""
    version: int = 1
    timestamp: str = ""
    last_updated: str = ""
    products: tuple[Product, ...] = ()
    supplier: str = ""
    status_notes: str = ""
    justification: Justification | None = None
    impact_statement: str = ""
    action_statement: str = ""
    action_statement_timestamp: str = ""

    @property
    def lowers(self) -> bool:
        """Whether it can take a finding away."""
        return self.status == "fixed" or (
            self.status == "not_affected" and self.justification is not None
        )


class Document(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    rename={"context": "@context", "at_id": "@id"},
):
    """An OpenVEX document."""

    context: str
    at_id: str
    author: str
    timestamp: str
    version: int
    statements: tuple[Statement, ...]
    role: str = ""
    last_updated: str = ""
    tooling: str = ""


def decode(data: bytes | str) -> Document:
    """A document from JSON; `Usage` names what is wrong with anything else."""
    if len(data) > _MOST_BYTES:
        raise _wrong(f"it is larger than {_MOST_BYTES >> 20} MiB")
    try:
        document = msgspec.json.decode(data, type=Document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _wrong(str(error)) from error
    return check(document)


def check(document: Document) -> Document:
    """What the schema says beyond the types of its fields."""
    if document.context != _FAMILY and not document.context.startswith(f"{_FAMILY}/v0."):
        raise _wrong(f"its @context is {document.context[:80]!r}")
    if not document.at_id or not document.author or document.version < 1:
        raise _wrong("it has no @id, author or version")
    if not 0 < len(document.statements) <= _MOST_STATEMENTS:
        raise _wrong("it has no statements, or too many")
    for number, statement in enumerate(document.statements):
        if why := _fault(statement):
            raise _wrong(f"statements[{number}] {why}")
    try:
        for text in (
            document.timestamp,
            *(s.timestamp for s in document.statements if s.timestamp),
        ):
            parse_timestamp(text)
    except AssayError as error:
        raise _wrong(error.message) from error
    return document


def _fault(statement: Statement) -> str:
    reasons = (statement.justification is not None) + bool(statement.impact_statement)
    if not statement.vulnerability.name:
        return "names no vulnerability"
    if statement.status == "not_affected" and reasons != 1:
        return "is not_affected, which takes a justification or an impact_statement, not both"
    if statement.status == "affected" and not statement.action_statement:
        return "is affected, which takes an action_statement"
    return ""


def write(
    statements: Sequence[Statement], *, author: str, at: datetime, identity: str
) -> dict[str, Any]:
    """An OpenVEX document in JSON's types; `identity` is its IRI."""
    document = Document(
        context=CONTEXT,
        at_id=identity,
        author=author,
        timestamp=timestamp(at),
        version=1,
        tooling="assay",
        statements=tuple(statements),
    )
    return msgspec.to_builtins(check(document))


def unexact(statement: Statement, digests: Iterable[str]) -> str:
    """Why a statement names nothing exactly; empty when it does.

    Its products must be packages with a version, or one of the artifacts with these digests.
    """
    held = frozenset(digests)
    if not statement.products:
        return "names no product"
    for product in statement.products:
        is_model = _has_digest(product, held)
        if not is_model and not _exact(product):
            return f"names {(_purl(product) or product.at_id or 'a product')[:80]!r}, no version"
        for inner in product.subcomponents:
            if not _exact(inner):
                return f"names {(_purl(inner) or inner.at_id or 'a part')[:80]!r}, no version"
    return ""


def _purl(named: Product | Subcomponent) -> str:
    return named.identifiers.purl or (named.at_id if named.at_id.startswith("pkg:") else "")


def _exact(named: Product | Subcomponent) -> bool:
    package = from_purl(_purl(named))
    return package is not None and bool(package.version)


def _has_digest(product: Product, digests: frozenset[str]) -> bool:
    return f"sha256:{product.hashes.get('sha-256', '')}" in digests


def _names(named: Product | Subcomponent, package: Package) -> bool:
    """Whether a package URL names this package at this very version, letter by letter."""
    told = from_purl(_purl(named))
    return (
        told is not None
        and told.ecosystem == package.ecosystem
        and bool(package.version)
        and told.version == package.version
        and filed_as(told.ecosystem, told.name) == filed_as(package.ecosystem, package.name)
    )


def covers(statement: Statement, finding: Finding, digests: frozenset[str]) -> bool:
    """Whether a statement is about the product in which something was found."""
    for product in statement.products:
        if _has_digest(product, digests):
            inner = product.subcomponents
            if not inner or any(_names(part, finding.package) for part in inner):
                return True
        elif not product.subcomponents and _names(product, finding.package):
            return True
    return False


def _about(statement: Statement, advisory: Advisory) -> bool:
    # The statement's own aliases are its author's word for two things being one: what was found
    # has to bear the name itself.
    return statement.vulnerability.name in advisory.names


def answer(
    result: Result, documents: Iterable[tuple[str, Document]], digests: Iterable[str] = ()
) -> Result:
    """`result` with what trusted documents say of its findings.

    `documents` are (where it comes from, document), oldest first: of several statements about one
    thing the last counts.  `digests` are those of the model that has the packages.
    """
    held = frozenset(digests)
    ordered = [
        (source, statement) for source, document in documents for statement in _in_order(document)
    ]
    findings = tuple(_answered(finding, ordered, held) for finding in result.findings)
    return msgspec.structs.replace(result, findings=findings)


def _in_order(document: Document) -> list[Statement]:
    def when(statement: Statement) -> datetime:
        return parse_timestamp(statement.timestamp or document.timestamp)

    return sorted(document.statements, key=when)


def _answered(
    finding: Finding, ordered: Sequence[tuple[str, Statement]], digests: frozenset[str]
) -> Finding:
    told: list[tuple[str, Statement]] = []
    for advisory in finding.advisories:
        said = [
            (source, statement)
            for source, statement in ordered
            if _about(statement, advisory) and covers(statement, finding, digests)
        ]
        if not said:
            continue
        told.append(said[-1])
    if not told:
        return finding
    whole = len(told) == len(finding.advisories)
    # Shown is whatever keeps the finding; only when nothing does, what takes it away.
    source, shown = min(told, key=lambda pair: pair[1].lowers)
    counts = "no" if whole and shown.lowers else "yes"
    vex = {"status": shown.status, "source": source, "counts": counts}
    if shown.justification is not None:
        vex["justification"] = shown.justification
    return msgspec.structs.replace(finding, vex=vex)


def _wrong(why: str) -> Usage:
    return Usage(
        f"not an OpenVEX document: {why[:300]}",
        remedy="see https://github.com/openvex/spec; `assay vulns vex` writes one",
        code="advisories.vex",
    )
