"""Evidence: signed statements, the ledger they stand on, and what may be concluded from them.

What lives here
    `statement` (in-toto v1) and `envelope` (DSSE), `signers` (keys and signatures), `trust` (the
    versioned trust root), `ledger` (append, read, prove) with `follower`, `segments`, `tiles`,
    `merkle`, `notes`, `tlog_proof`, `memory` and `audit` behind it, `state` (the fold of the
    ledger: everything that can deny) over `records`, `changes` and `requests` (who asked), `facts`
    (typed values from verified statements), `approvals` (whose yes counts), and `plans` of changes
    with `plan_records`, `lineage` and `bounds` (whether a version is shown to be within one).

May import
    Floor 0 and `cryptography`.

An attacker who owns it can
    make lies count as evidence in this process.  What is on the ledger stays verifiable by anybody
    with another implementation of in-toto, DSSE, Ed25519 and C2SP tlog-tiles.
"""
