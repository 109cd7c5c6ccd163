"""Pipelines: typed functions as steps, a graph of them, and a run whose re-use can be trusted.

What lives here
    `step`, `pipeline`, `each` and the built-in steps (`read`, `extract`, `check`, `publish`,
    `register`, `assess`, `promote`): all that a pipeline's author imports.  Behind them: `graph`
    (the plan, as plain data), `tracing` (a pipeline's code to a graph), `code` and `environment`
    (what a result depends on, hashed without importing any of it), `keys`, `codecs` (values as
    files, never pickle), `confined` (the inside of a step's process), `execution`, `executors` and
    `ray_executor` (where steps run), `runner` (the life of a run) and `records` (what is kept).

May import
    Floor 0, isolation and formats.  Frames and model libraries only inside confined processes.

An attacker who owns it can
    run steps unconfined and claim any provenance for what they made, so that later runs re-use
    it.  An attacker who owns only the *code of a pipeline* chooses what its own steps answer; it
    sees the inputs that the run's actor may read, and neither keys, ledger, other projects nor
    the network, unless policy granted ports.
"""

from assay.pipeline.effects import assess, check, extract, promote, publish, read, register
from assay.pipeline.notes import each
from assay.pipeline.steps import Pipeline, Step, pipeline, step

__all__ = [
    "Pipeline",
    "Step",
    "assess",
    "check",
    "each",
    "extract",
    "pipeline",
    "promote",
    "publish",
    "read",
    "register",
    "step",
]
