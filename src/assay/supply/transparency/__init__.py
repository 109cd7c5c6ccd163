"""Transparency: the ledger where others can see it, and others who vouch for what they saw.

What lives here
    `tiles` (a ledger's public files over HTTP, as C2SP tlog-tiles), `publish` (the same as a
    folder), `witness` and `witness_server` (cosign checkpoints of logs that only grow, C2SP
    tlog-witness), `witnesses` (ask such witnesses), `monitor` with `expectations` (follow the log
    of somebody else and say when it breaks its promise), `remote` (the one way all of them ask
    another machine) and `web` (the little of HTTP that the servers need).

May import
    Floor 0 and `assay.evidence`.

An attacker who owns it can
    publish nothing, or something that no signature covers, which every reader notices; keep
    silent about a fork.  With a witness's key: cosign a fork, which takes a quorum of witnesses to
    be believed.  It reads no envelope and holds no key of a workspace.
"""
