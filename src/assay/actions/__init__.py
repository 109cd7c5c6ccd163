"""The vocabulary: every action that can be asked of a workspace, one small file for each family.

What lives here
    `people` (actors, roles, keys, tokens), `administration` (projects, policy, key rings),
    `datasets`, `models` (register), `extraction` (from sources; examine), `intake` (of somebody
    else's models, with `intake_data`, `intake_records` and `intake_sources`), `assessment`,
    `baselines` (what is normal for a version), `release` (approve, promote, hold, revoke),
    `changes` (plans of what may change by itself; `proposing` makes one of a file), `challenges`
    (a version against the one in production), `retraining` (carried out over `retraining_steps`,
    `retraining_due` and `retraining_evidence`),
    `serving` (deploy, query, kill), `alerts` (raise and acknowledge them, with what changed before
    in `alert_causes`), `notifications` (tell them to the channels), `incidents` (what happened, and
    its clocks), `runs` (of pipelines; `run_host` and its neighbours are what a run reaches of the
    workspace), `feedback` (labels of what was predicted; `feedback_records` are those on the
    ledger, `feedback_recorder` takes them from requests), `collecting` (of labelled rows),
    `comparison` (of two versions), `reading` (evidence, checks, bundles), `transparency` (one
    statement, to be proven beside its artifact), `vulnerabilities` (and licences, of what a model
    needs).

May import
    The workspace and the capabilities below it.

An attacker who owns it can
    ask for less evidence than an action should, which policy then misses; it cannot sign, append
    or open a key by itself.
"""

from __future__ import annotations

import importlib

FAMILIES = (
    "administration",
    "alerts",
    "assessment",
    "baselines",
    "boms",
    "challenges",
    "changes",
    "collecting",
    "comparison",
    "datasets",
    "extraction",
    "feedback",
    "incidents",
    "intake",
    "intake_data",
    "models",
    "monitoring",
    "notifications",
    "people",
    "predictions",
    "reading",
    "release",
    "retraining_steps",
    "runs",
    "serving",
    "transparency",
    "vulnerabilities",
)
"""The modules that define actions."""


def register() -> None:
    """Import every action, so that recovery can rebuild each of them from its decision.

    Not done on import: whoever performs one action need not wait for the libraries of all.
    """
    for family in FAMILIES:
        importlib.import_module(f"assay.actions.{family}")
