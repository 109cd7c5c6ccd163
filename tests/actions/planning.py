"""Plans of changes for the town's model."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from workspace.town import Town, model

from assay import canonical
from assay.actions.changes import ApproveChange, ProposeChange, proposed
from assay.actions.retraining_steps import Retrain, retrainings
from assay.actions.serving import Deploy
from assay.clock import timestamp
from assay.evidence.plans import FORMAT, REGISTERED

CODE = canonical.digest(b"code")
LIBRARIES = canonical.digest(b"libraries")


def plan(town: Town, name: str = "score", **changed: Any) -> dict[str, Any]:
    """A plan for a model of alpha, that keeps all that version 1 is registered with."""
    details = town.ws.view.version("alpha", name, "1").details
    made: dict[str, Any] = {
        "format": FORMAT,
        "model": name,
        "why": "people change",
        "valid_until": timestamp(town.clock.at + timedelta(days=100)),
        "every": "7d",
        "most": 3,
        "triggers": ["schedule"],
        "pipeline": {
            "source": "retrain.py:train",
            "function": "retrain:train",
            "data": "dataset",
            "code": CODE,
            "environment": LIBRARIES,
        },
        "parameters": {"leaves": {"least": 4, "most": 64}},
        "data": {"most": "60d"},
        "registered": {name: {"is": details.get(name)} for name in REGISTERED},
        "holds": {"quality.auc_lower": {"least": 0.6}},
    }
    return {**made, **changed}


def propose(
    town: Town, *approvers: str, by: str = "eve", name: str = "score", **changed: Any
) -> str:
    """Propose a plan and have it approved; its digest."""
    done = town.do(by, ProposeChange(project="alpha", plan=plan(town, name, **changed)))
    for person in approvers:
        town.do(person, ApproveChange(project="alpha", plan=done["plan"]))
    return str(done["plan"])


def retrain(town: Town, digest: str = "", endpoint: str = "score", **changed: Any) -> Retrain:
    """A retraining on the last thirty days."""
    now = town.clock.at
    made: dict[str, Any] = {
        "project": "alpha",
        "endpoint": endpoint,
        "source": "retrain.py:train",
        "function": "retrain:train",
        "parameters": {"dataset": f"{endpoint}-log", "leaves": 8},
        "given": ("dataset",),
        "data": "dataset",
        "since": timestamp(now - timedelta(days=30)),
        "until": timestamp(now),
        "plan": digest,
    }
    return Retrain(**{**made, **changed})


def begin(town: Town) -> None:
    """Of one endpoint a retraining has begun; of another one may begin under a plan."""
    town.do("eve", model(town.repo, "second", path=str(town.repo / "model.onnx")))
    stage = "development"
    town.do("eve", Deploy(project="alpha", model="second", version="1", stage=stage))
    propose(town, "ann", "abe", name="second")
    town.do("eve", retrain(town))


def first(town: Town) -> str:
    """The plan that was proposed first, if any was."""
    return next((found.digest for found in proposed(town.ws.view, "alpha")), "sha256:0")


def begun(town: Town) -> str:
    """The retraining that was begun first, if any was."""
    return next((r.id for r in retrainings(town.ws.view, "alpha", "score")), "none")
