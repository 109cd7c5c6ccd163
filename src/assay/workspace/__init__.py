"""One deployment of assay, and the one door into it.

What lives here
    `door` (`Workspace.perform`: decide, write down, do, record; read this file first), `action`
    (what an action is), `credentials` (who asks), `view` (the folded state, verified evidence and
    facts that a decision sees), `segments` (decisions made once per credential and counted),
    `layout` (the files of a workspace: create, open), `running` (which decisions
    a living process works on).

May import
    The catalog, floor 1 (evidence, store, policy) and floor 0.  Never a capability, an action or a
    skin: they import this.

An attacker who owns it can
    do whatever the workspace key can, since this code holds it; every change still lands on the
    ledger, where anyone with a newer checkpoint sees it.
"""
