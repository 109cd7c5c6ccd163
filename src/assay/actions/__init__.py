"""The vocabulary: every action that can be asked of a workspace, one small file for each family.

What lives here
    `people` (actors, roles, keys, tokens), `administration` (projects, policy, key rings),
    `datasets`, `models` (register), `extraction` (from sources; examine), `assessment`,
    `release` (approve, promote, hold, revoke), `serving` (deploy, query, kill),
    `reading` (evidence, checks, bundles).

May import
    The workspace and the capabilities below it.

An attacker who owns it can
    ask for less evidence than an action should, which policy then misses; it cannot sign, append
    or open a key by itself.
"""

from assay.actions import (
    administration,
    assessment,
    datasets,
    extraction,
    models,
    people,
    reading,
    release,
    serving,
)

__all__ = [
    "administration",
    "assessment",
    "datasets",
    "extraction",
    "models",
    "people",
    "reading",
    "release",
    "serving",
]
