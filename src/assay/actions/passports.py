"""A passport from the evidence: every claim with the statement it rests on, in plain words.

A statement is shown as proven when its signature counts and its producer is trusted for it by the
active policy bundle: the same rule that makes it a fact for the gates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from assay.actions import monitor_story
from assay.actions.gates import Checklist, GateState, checklist
from assay.actions.passport_watch import watched
from assay.actions.release import Promote
from assay.evidence import notes
from assay.evidence.facts import Evidence
from assay.evidence.state import VersionState, kind_of, workspace_digest
from assay.evidence.statement import SLSA_PROVENANCE
from assay.govern import origin
from assay.govern.passport import Claim, Gate, Passport, approval_level
from assay.workspace.credentials import Credential
from assay.workspace.door import Workspace
from assay.workspace.view import View

_LEVELS = {
    "development-key": "with a development key, which no passphrase protects",
    "personal-key": "with a personal key",
    "oidc": "with an identity vouched for by an OpenID Connect provider",
}
_PASSING = frozenset({"decision", "outcome", "segment", "approval", "alias", "endpoint"})


def build(
    workspace: Workspace,
    credential: Credential,
    view: View,
    *,
    project: str,
    model: str,
    version: str,
    stage: str = "production",
) -> Passport:
    """The passport of a version as of now.  `view` is what `ReadEvidence` gave the caller."""
    found = view.version(project, model, version)
    gates = checklist(
        workspace,
        credential,
        Promote(project=project, model=model, version=found.version, stage=stage),
    )
    evidence = view.evidence(
        project,
        *dict.fromkeys(d for d in (found.artifact, found.served) if d),
        workspace_digest(view.state.workspace),
    )
    names = workspace.directory
    approvals = view.approvals(found, stage)
    level = approval_level(approvals)
    build = str(found.details.get("build", ""))
    proven = _proven(view, project, f"{found.name}@{found.version}", evidence, build)
    checkpoint = view.checkpoint
    return Passport(
        name=found.name,
        version=found.version,
        project=project,
        stage=found.stage,
        revoked=found.revoked,
        held=found.hold,
        summary=_summary(found, _worst(view, found, evidence), level, gates, stage),
        proven=tuple(proven),
        declared=tuple(_declared(view, found, names.name(found.author))),
        missing=tuple(
            _missing(gate, servable=found.served is not None)
            for gate in gates.gates
            if not gate.passed
        ),
        approvals=tuple(_approval(approval, names.name) for approval in approvals),
        approval_level=level,
        gates=tuple(
            Gate(gate.gate, gate.passed, gate.advice, gate.control, gate.remedy)
            for gate in gates.gates
        ),
        artifact=found.artifact,
        served=found.served or "",
        checkpoint_size=checkpoint.size,
        checkpoint_time=notes.time_text(checkpoint),
        workspace=view.state.workspace,
        watched=watched(view, found),
    )


def _proven(
    view: View, project: str, ref: str, evidence: list[Evidence], build: str
) -> list[Claim]:
    trusted = {
        (producer.producer, kind)
        for producer in view.policy.producers
        for kind in producer.predicate_types
    }
    superseded = view.state.superseded_in(project)
    # The workspace's health changes: of its examinations only the last says how it is.
    examined = max((e.index for e in evidence if kind_of(e.statement) == "doctor"), default=-1)
    claims: list[Claim] = []
    for item in evidence:
        kind = kind_of(item.statement)
        counts = (item.producer, item.statement.predicateType) in trusted
        built = kind == SLSA_PROVENANCE
        if built and item.envelope_digest != build:
            continue  # Of the same bytes, and not what this version refers to.
        if kind in _PASSING or not counts or (kind == "doctor" and item.index != examined):
            continue
        note = " (superseded: it no longer counts)" if item.envelope_digest in superseded else ""
        named = [subject.name.removesuffix(".onnx") for subject in item.statement.subject]
        if kind != "doctor" and not built and ref not in named:
            note = f" (of the same bytes as {named[0]}){note}"
        source = _source(item.index, item.envelope_digest)
        for title, text in sentences(kind, item.statement.predicate):
            claims.append(Claim(title + note, text, f"{source} · {item.statement.header.issued}"))
    return claims


def _source(index: int, digest: str) -> str:
    return f"leaf {index} · {digest}"


def _declared(view: View, found: VersionState, author: str) -> list[Claim]:
    by = f"declared by {author}"
    details = found.details
    claims = [Claim("Purpose", str(details["purpose"]), by)]
    if details.get("description"):
        claims.append(Claim("Description", str(details["description"]), by))
    if details.get("provenance") != "observed":
        told = "nobody but who registered it says how it was made"
        claims.append(Claim("Origin of the model", told, by))
    for role, name in (("Training data", details["dataset"]), ("Test data", details.get("test"))):
        dataset = view.state.datasets.get(f"{found.project}/{name}") if name else None
        if dataset is None:
            continue
        d = dataset.details
        personal = "personal data" if d["personal"] else "not personal data"
        special = ", with special categories" if d["special"] else ""
        text = (
            f"{name}: {d['rows']:,} rows from {d['origin']}, {personal}{special}; "
            f"licence {d['licence']}; legal basis {d['legal_basis']}; "
            f"for {', '.join(d['purposes'])}"
        )
        claims.append(Claim(role, text, f"declared for {dataset.owner} · {dataset.content}"))
    return claims


def _missing(gate: GateState, *, servable: bool) -> Claim:
    measured = ", ".join(f"{name} {value}" for name, value in gate.measured.items())
    # What cannot be served cannot be assessed or approved either.
    supplied = f"supplied by: {gate.remedy}" if gate.remedy and servable else ""
    return Claim(gate.gate, gate.advice, " · ".join(filter(None, (measured, supplied))))


def _approval(approval: dict[str, Any], name: Callable[[str], str]) -> Claim:
    level = _LEVELS.get(approval["level"], approval["level"])
    said = f", who said: {approval['comment']}" if approval["comment"] else ""
    return Claim(
        name(approval["actor"]),
        f"signed on {approval['issued']} {level}{said}",
        _source(approval["index"], approval["envelope"]),
    )


# -- in words -------------------------------------------------------------------------------------


def _worst(view: View, found: VersionState, evidence: list[Evidence]) -> dict[str, dict[str, Any]]:
    """For each fact the predicate that policy reads it from: of those that count, the worst.

    The headline of a page must not be better than the gates' figure, however often and on
    whichever rows a version was assessed again.
    """
    predicates = {item.envelope_digest: item.statement.predicate for item in evidence}
    facts = view.version_facts(found)
    return {
        name: predicates[sources[0]]
        for name, sources in facts.sources.items()
        if sources and sources[0] in predicates
    }


def _summary(
    found: VersionState,
    worst: dict[str, dict[str, Any]],
    level: str,
    gates: Checklist,
    stage: str,
) -> tuple[str, ...]:
    lines = [f"{found.name} version {found.version} was made for {found.details['purpose']}."]
    quality = worst.get("quality.auc_lower")
    if quality is None:
        lines.append("How well it works has not been measured here.")
    else:
        ranks = "a positive case above a negative one"
        if len(quality["classes"]) > 2:
            ranks = "a case of a class above one of another (the mean over its classes)"
        lines.append(
            f"On the {quality['rows']:,} rows that it was assessed on, it ranks {ranks} in "
            f"{_percent(quality['auc']['value'])} of pairs; with 95 % confidence, in at least "
            f"{_percent(quality['auc']['lower'])}."
        )
    privacy = worst.get("privacy.auc_upper")
    if privacy is None:
        lines.append("Whether it gives away who was in its training data has not been tested.")
    else:
        lines.append(
            "An attacker who tries to tell whether a person was in the training data is right in "
            f"at most {_percent(privacy['auc_upper'])} of pairs, where guessing gives 50 %."
        )
    if found.revoked:
        lines.append("It was revoked and must not be used.")
    elif found.hold:
        lines.append("It is on hold and must not be put to use until the hold is lifted.")
    elif found.details.get("quarantined"):
        lines.append("Its file is quarantined, because of what the scan found: it cannot be used.")
    elif not found.served:
        lines.append(f"It cannot be served: {found.details.get('unservable', '')}.")
    else:
        closed = sum(not gate.passed for gate in gates.gates)
        state = f"{_count(closed, 'gate')} {'is' if closed == 1 else 'are'} closed"
        state = state if closed else "every gate is open"
        lines.append(f"For {stage}, {state}; it is {level}.")
    return tuple(lines)


def sentences(kind: str, predicate: dict[str, Any]) -> list[tuple[str, str]]:
    """What a statement of a known kind says, as (title, sentence); one line for any other."""
    made = _SENTENCES.get(kind)
    try:
        return made(predicate) if made is not None else [(kind, "a signed statement of this kind")]
    except (KeyError, TypeError, ValueError):
        return [(kind, "a signed statement that this version of assay cannot put into words")]


def _quality(p: dict[str, Any]) -> list[tuple[str, str]]:
    found = [
        ("Quality", f"AUC {_interval(p['auc'])} on {p['rows']:,} rows it was assessed on"),
        ("Accuracy", f"{_interval(p['accuracy'])} at the threshold"),
        (
            "Better than the base rates",
            f"saves {_interval(p['lift']['log_loss'])} nats of log loss over the prior",
        ),
    ]
    if "gap" in p:
        found.append(("Overfitting", f"loses {_interval(p['gap']['auc'])} AUC on new rows"))
    worst = (p.get("slices") or {}).get("worst")
    if worst:
        group = f"{worst['column']} = {worst['value']}"
        found.append(("Weakest group", f"{group}: AUC of at least {worst['auc_lower']:.3f}"))
    return found


def _privacy(p: dict[str, Any]) -> list[tuple[str, str]]:
    attacks = [name for name in ("loss", "rmia") if name in p]
    return [
        (
            "Privacy",
            f"membership inference ({' and '.join(attacks)}) reaches an AUC of at most "
            f"{p['auc_upper']:.3f}, where guessing gives 0.5; {p['rows']['members']:,} training "
            f"rows against {p['rows']['others']:,} others",
        )
    ]


def _parity(p: dict[str, Any]) -> list[tuple[str, str]]:
    share, rows = p["decision_disagreement"], p["rows"]
    if share == 0:
        text = f"decides as the original on all of {rows:,} rows, odd ones included"
    else:
        text = f"decides otherwise than the original on up to {_percent(share)} of a kind of rows"
    return [("Conversion", f"{text}; scores differ by at most {p['max_abs_diff']:.2g}")]


def _scan(p: dict[str, Any]) -> list[tuple[str, str]]:
    files = _count(p["files"], "file")
    if p["clean"]:
        text = f"clean: {files} read to the last byte, nothing that could run code"
    else:
        text = f"{p['verdict']}: {_count(p['findings_count'], 'finding')} in {files}"
    return [("Scan", text)]


def _version(p: dict[str, Any]) -> list[tuple[str, str]]:
    return [("Registration", f"{p['name']}@{p['version']} is exactly the bytes {p['artifact']}")]


def _built(p: dict[str, Any]) -> list[tuple[str, str]]:
    return [("How it was made", origin.in_words(p))]


def _intake(p: dict[str, Any]) -> list[tuple[str, str]]:
    source = p["source"]
    pinned = "which was asked for by name" if source["pinned"] else "as it was then, not pinned"
    licence = f"declares the licence {p['licence']}" if p["licence"] else "declares no licence"
    found = f"from {source['locator']}, {source['revision']}, {pinned}; {licence}; {p['signer']}"
    return [("Taken in", found)]


def _released(p: dict[str, Any]) -> list[tuple[str, str]]:
    told = f"{p['file'] or 'the whole folder'} of {p['digest']}, for {p['purpose']}"
    despite = f"; although it was rejected: {p['despite']}" if p["despite"] else ""
    return [("Out of quarantine", f"{told}{despite}")]


def _doctor(p: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (
            "Workspace",
            f"examined: {_count(p['critical'], 'critical finding')}, "
            f"{_count(p['warnings'], 'warning')}; isolation {p['isolation']}",
        )
    ]


_SENTENCES: dict[str, Callable[[dict[str, Any]], list[tuple[str, str]]]] = {
    "quality": _quality,
    "privacy-membership": _privacy,
    "parity": _parity,
    "scan": _scan,
    "model-version": _version,
    "intake": _intake,
    "intake-release": _released,
    "doctor": _doctor,
    "baseline": lambda p: [monitor_story.baseline(p)[:2]],
    "challenge": lambda p: [monitor_story.challenge(p)[:2]],
    "retraining": lambda p: [monitor_story.retraining(p)[:2]],
    SLSA_PROVENANCE: _built,
}


def _interval(figure: dict[str, Any]) -> str:
    return f"{figure['value']:.3f} ({figure['lower']:.3f} to {figure['upper']:.3f})"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
