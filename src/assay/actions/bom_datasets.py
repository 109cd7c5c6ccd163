"""The datasets of a version's bill: what it was trained and judged on, as their owners declared
them and as they were measured."""

from __future__ import annotations

from typing import Any

import msgspec

from assay.actions.bom_found import Found
from assay.actions.bom_process import Process, inputs_of, is_step
from assay.evidence.facts import Evidence
from assay.evidence.state import kind_of
from assay.supply.bom.licences import spell
from assay.supply.bom.model import Dataset, Licence, Told, declared, evidence, unknown
from assay.types import Digest


def datasets(found: Found, process: Process) -> tuple[Dataset, ...]:
    """Those named when it was registered, those it was judged on, and those its run was given."""
    d, project, state = found.version.details, found.version.project, found.view.state
    wanted: dict[tuple[str, str], str] = {}
    if d.get("dataset"):
        wanted["training", str(d["dataset"])] = str(d.get("trained_on") or "")
    for item in found.about:
        judged = (item.statement.predicate.get("datasets") or {}).get("data") or {}
        if kind_of(item.statement) == "quality" and judged.get("name"):
            wanted.setdefault(("test", str(judged["name"])), str(judged.get("content", "")))
    if d.get("test"):
        held = state.datasets.get(f"{project}/{d['test']}")
        wanted.setdefault(("test", str(d["test"])), held.content if held else "")
    known = set(wanted.values())
    for content in process.inputs:
        for dataset in state.datasets.values():
            if dataset.project == project and content in dataset.contents and content not in known:
                wanted.setdefault(("training", dataset.name), content)
    return tuple(_dataset(found, use, name, held) for (use, name), held in wanted.items())


def _dataset(found: Found, use: str, name: str, content: str) -> Dataset:
    if not content:
        return Dataset(name, use, unknown("the content of that time was not recorded"))
    digest = Digest(content)
    sheet, profile = found.last("datasheet", digest), found.last("data-profile", digest)
    registered = found.last("dataset", digest)
    source = registered.envelope_digest if registered else found.source
    made = Dataset(name, use, evidence(content, source))
    if profile is not None:
        columns: Any = profile.statement.predicate.get("schema") or []
        named = [f"{c.get('name')}: {c.get('type', c.get('dtype', ''))}" for c in columns]
        made = msgspec.structs.replace(
            made, columns=evidence(named or None, profile.envelope_digest)
        )
    return made if sheet is None else _from_sheet(made, sheet, _made_from(found, digest))


def _made_from(found: Found, digest: Digest) -> Told:
    for item in found.counting(digest):
        inputs = inputs_of(item) if is_step(item) else []
        if inputs:
            return evidence(sorted(inputs), found.use(item).envelope_digest)
    return unknown("nobody says what it was made from")


def _from_sheet(made: Dataset, sheet: Evidence, made_from: Told) -> Dataset:
    """A dataset as its datasheet describes it: what was measured there is evidence."""
    p, source = sheet.statement.predicate, sheet.envelope_digest

    def answer(group: str, name: str) -> Told:
        found: Any = (p.get(group) or {}).get(name) or {}
        value, basis = found.get("value"), found.get("basis")
        if value is None or value in ("", []) or basis not in ("declared", "measured"):
            return unknown("its datasheet does not say")
        if basis == "measured":
            return evidence(value, source)
        return declared(value, f"the owner of {made.name}", source)

    licence = answer("distribution", "licence")
    names = ("rows", "columns", "subjects", "missing_values", "repeated_rows")
    measured = {name: answer("composition", name) for name in names}
    counts = {name: told.value for name, told in measured.items() if told.basis == "evidence"}
    return msgspec.structs.replace(
        made,
        owner=answer("maintenance", "owner"),
        origin=answer("collection", "origin"),
        licence=spell(str(licence.value), licence.why, source)
        if licence.known
        else Licence(why=licence.why),
        personal=answer("composition", "personal"),
        special=answer("composition", "special_categories"),
        legal_basis=answer("collection", "legal_basis"),
        purposes=answer("motivation", "purposes"),
        format=answer("preprocessing", "format"),
        statistics=evidence(counts or None, source),
        # What was taken from a source by assay itself is made from nothing else.
        made_from=made_from if made_from.known else answer("collection", "source"),
    )
