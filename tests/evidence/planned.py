"""A version that is within an approved plan of changes, and everything that shows it: made by hand.

Each statement can be changed, left out, or put into somebody else's name.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from assay import canonical
from assay.clock import FixedClock, parse_timestamp, timestamp
from assay.evidence import bounds, plans
from assay.evidence.facts import Evidence
from assay.evidence.plan_records import LOOP, RUNNER, pipeline_subject, run_subject
from assay.evidence.records import ActorState, KeyState, State, VersionState
from assay.evidence.signers import MemorySigner
from assay.evidence.statement import SLSA_PROVENANCE, Statement, Subject, predicate_type
from assay.types import Digest

PROJECT = "alpha"
START = parse_timestamp("2026-03-01T00:00:00Z")
KEYS = {name: MemorySigner.generate() for name in ("workspace", "pia", "ann", "abe", "sam")}


def digest(what: str) -> Digest:
    return canonical.digest(what.encode())


CODE, LIBRARIES = digest("code"), digest("libraries")
ARTIFACT, SERVED = digest("model"), digest("onnx")
LOG, OLD, TRAIN, TEST = digest("log"), digest("old rows"), digest("train"), digest("test")
RUN = "run-1"
RETRAINING = "retraining-1"


def day(number: float) -> str:
    return timestamp(START + timedelta(days=number))


def plan(**changed: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "format": plans.FORMAT,
        "model": "score",
        "why": "people change",
        "valid_until": day(100),
        "every": "7d",
        "most": 3,
        "triggers": ["data_drift", "schedule"],
        "pipeline": {
            "source": "retrain.py:train",
            "function": "retrain:train",
            "data": "dataset",
            "code": CODE,
            "environment": LIBRARIES,
            "seed": 7,
        },
        "parameters": {"leaves": {"least": 4, "most": 64}, "kind": {"is": "tree"}},
        "data": {"least": "10d", "most": "60d", "least_rows": 500, "others": {"old": OLD}},
        "registered": {
            **{name: {"is": value} for name, value in DETAILS.items() if name in plans.REGISTERED},
            "threshold": {"least": 0.4, "most": 0.6},
        },
        "holds": {"quality.auc_lower": {"least": 0.7}, "quality.rows": {"least": 300}},
        "challenge": {
            "loss": "brier",
            "alpha": 0.01,
            "improvement": 0.001,
            "least_rows": 200,
            "horizon": "2d",
            "slices": ["sex"],
            "most_harm": 0.05,
            "slice_rows": 100,
        },
    }
    return {**made, **changed}


DETAILS: dict[str, Any] = {
    "purpose": "scoring",
    "label": "y",
    "positive": 1,
    "threshold": 0.5,
    "sensitive": ["sex"],
    "leave_out": ["y"],
    "format": "onnx",
    "kind": "classifier",
    "classes": [0, 1],
    "features": ["a", "b"],
    "provenance": "observed",
    "run": RUN,
    "dataset": "train",
    "trained_on": TRAIN,
    "test": "test",
}
FACTS: dict[str, Any] = {
    "quality": {
        "auc_lower": {"__extn": {"fn": "decimal", "arg": "0.7400"}},
        "rows": 400,
    }
}


@dataclass
class Said:
    """A statement to be."""

    kind: str
    producer: str
    subject: dict[str, Digest]
    predicate: dict[str, Any]
    at: str
    by: str = "workspace"
    project: str = PROJECT


@dataclass
class World:
    """Everything that shows that ``score@2`` is within its plan and beat ``score@1``."""

    said: dict[str, Said] = field(default_factory=dict[str, Said])
    state: State = field(default_factory=State)
    version: VersionState = field(
        default_factory=lambda: VersionState(
            PROJECT, "score", "2", "id-ci", ARTIFACT, SERVED, copy.deepcopy(DETAILS)
        )
    )
    facts: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(FACTS))
    now: str = field(default_factory=lambda: day(52))
    looked: set[str] = field(default_factory=set[str])
    _told: list[tuple[Evidence, set[Digest]]] = field(
        default_factory=list[tuple[Evidence, set[Digest]]]
    )

    def evidence(self) -> list[Evidence]:
        """The statements in their order, each with the key that signed it."""
        made: list[Evidence] = []
        for index, said in enumerate(self.said.values()):
            clock = FixedClock(parse_timestamp(said.at))
            slsa = said.kind == SLSA_PROVENANCE
            statement = Statement.new(
                subject={"x": digest("x")},
                predicate_type=said.kind if slsa else predicate_type(said.kind),
                predicate=said.predicate,
                project=said.project,
                producer=said.producer,
                clock=clock,
            )
            subject = [
                Subject(name, {"sha256": d.removeprefix("sha256:")})
                for name, d in said.subject.items()
            ]
            statement = Statement(
                statement.type, subject, statement.predicateType, said.predicate, statement.header
            )
            name = envelope_of(said)
            keyid = KEYS[said.by].public.keyid
            made.append(Evidence(index, name, statement, [keyid], said.producer))
        return made

    def look(self, _project: str, *digests: Digest) -> list[Evidence]:
        self.looked |= set(digests)
        return [e for e, about in self._told if about & set(digests)]

    def judged(self) -> bounds.Judged | None:
        """The version's own envelope is that of the statement as it now is."""
        if "fit" in self.said and self.version.details.get("build") == "fit":
            self.version.details["build"] = envelope_of(self.said["fit"])
        self._told = [(e, set(e.statement.digests)) for e in self.evidence()]
        self.looked = set()
        return bounds.judge(self.look, self.state, self.version, self.facts, now=self.now)

    def open(self) -> bool:
        """Whether it may be promoted by itself, where two people have to approve the plan."""
        found = self.judged()
        if found is None:
            return False
        told = found.context()
        return told["within"] and told["won"] and told["approvals"] >= 2


def envelope_of(said: Said) -> Digest:
    whole = [said.kind, said.producer, sorted(said.subject.items()), said.predicate, said.at]
    return canonical.digest(canonical.encode(whole))


def provenance(
    step: str, inputs: list[Digest], made: dict[str, Digest], change: Callable[[Any], None] | None
) -> Said:
    def entry(name: str, value: str) -> dict[str, Any]:
        return {"name": name, "digest": {"sha256": value.removeprefix("sha256:")}}

    predicate = {
        "buildDefinition": {
            "buildType": "https://assay.dev/pipeline-step/v1",
            "externalParameters": {
                "pipeline": "retrain:train",
                "step": f"retrain:{step}",
                "task": step,
                "seed": 7,
                "arguments": {},
            },
            "internalParameters": {"options": {"ports": [], "variables": []}},
            "resolvedDependencies": [
                entry("code", CODE),
                entry("environment", LIBRARIES),
                *(entry("input", value) for value in inputs),
            ],
        },
        "runDetails": {"metadata": {"invocationId": RUN}},
        "assay_isolation": "full",
        "assay_environment": "verified",
        "assay_executor": {"name": "local", "where": ""},
    }
    if change:
        change(predicate)
    return Said(SLSA_PROVENANCE, RUNNER, made, predicate, day(41))


def world(**changed: Any) -> World:
    """Where everything is as it should be; `changed` replaces parts of the plan."""
    made = World()
    made.version.details["build"] = "fit"
    state = made.state
    state.workspace_keys = {KEYS["workspace"].public.keyid: KeyState(KEYS["workspace"].public, 0)}
    for name in ("pia", "ann", "abe", "sam"):
        key = KEYS[name].public
        state.actors[f"id-{name}"] = ActorState(
            "person", "personal-key", keys={key.keyid: KeyState(key, 0)}
        )
    state.actors["id-ci"] = ActorState("service", "token")
    state.roles[f"{PROJECT}/approver"] = ["id-ann", "id-abe"]
    state.roles[f"{PROJECT}/data_scientist"] = ["id-pia", "id-sam"]
    document = plan(**changed)
    name = plans.digest_of(plans.read(document))
    here = {"retrainings": digest("retrainings"), "change-plan:score": name}
    told = {"id": RETRAINING, "endpoint": "score", "model": "score", "plan": name}
    parameters = {"dataset": "score-log", "leaves": 8, "kind": "tree"}
    said = made.said
    said["plan"] = Said(
        "change-plan",
        LOOP,
        {"change-plan:score": name},
        {"plan": document, "digest": name, "proposer": "id-pia"},
        day(0),
    )
    for person in ("ann", "abe"):
        said[person] = Said(
            "change-approval",
            "person",
            {"change-plan:score": name},
            {"plan": name, "approved": True, "comment": ""},
            day(1),
            by=person,
        )
    said["old"] = Said(
        "dataset", "assay.door/1", {"old": OLD}, {"name": "old", "content": OLD}, day(2)
    )
    said["begun"] = Said(
        "retraining",
        LOOP,
        here,
        {
            **told,
            "stage": "begun",
            "champion": "1",
            "trigger": "data_drift",
            "parameters": dict(parameters),
            "from": day(10),
            "to": day(40),
        },
        day(40),
    )
    said["collected"] = Said(
        "retraining",
        LOOP,
        {**here, "score-log": LOG},
        {
            **told,
            "stage": "collected",
            "dataset": "score-log",
            "content": LOG,
            "rows": 900,
            "from": day(10),
            "to": day(40),
        },
        day(40.1),
    )
    said["run"] = Said(
        "pipeline-run",
        RUNNER,
        {f"run:{RUN}": run_subject(RUN), "pipeline": pipeline_subject(PROJECT, "retrain:train")},
        {
            "run": RUN,
            "root": RUN,
            "pipeline": "retrain:train",
            "parameters": parameters,
            "seed": 7,
            "executor": "local",
            "state": "running",
        },
        day(40.2),
    )
    said["split"] = provenance(
        "split",
        [LOG, OLD],
        {"split/train": TRAIN, "split/test": TEST, "run": run_subject(RUN)},
        None,
    )
    said["fit"] = provenance("fit", [TRAIN], {"fit/model": ARTIFACT, "key": digest("key")}, None)
    said["candidate"] = Said(
        "retraining",
        LOOP,
        {**here, "score@2": ARTIFACT, "score@2.onnx": SERVED},
        {**told, "stage": "candidate", "name": "score", "version": "2", "run": RUN},
        day(42),
    )
    said["quality"] = Said(
        "quality",
        "assay.assess.quality/1",
        {"score@2.onnx": SERVED},
        {"datasets": {"data": {"name": "test", "content": TEST}}, "auc": 0.76},
        day(43),
    )
    said["challenge"] = Said(
        "challenge",
        LOOP,
        {"score@2.onnx": SERVED},
        {
            "name": "score",
            "retraining": RETRAINING,
            "champion": {"version": "1", "digest": digest("1"), "until": day(5)},
            "challenger": {"version": "2", "digest": SERVED, "until": day(40)},
            "from": day(40),
            "until": day(50),
            "horizon": "2d",
            "rows": 600,
            "loss": "brier",
            "alpha": 0.01,
            "improvement": 0.001,
            "mean": {"value": 0.02, "lower": 0.01, "upper": 0.03},
            "log_e": 9.0,
            "won": True,
            "lost": False,
            "slices": [
                {"column": "sex", "value": v, "rows": 300, "harm": {"upper": 0.01}}
                for v in ("f", "m")
            ],
        },
        day(51),
    )
    return made


def complaints(made: World) -> str:
    found = made.judged()
    assert found is not None
    return "; ".join([*found.outside, *found.unbeaten])
