"""Intake: take in somebody else's model or data, and know afterwards what was taken from where.

What lives here
    `locators` (what may be asked for), `settings` (limits, and what people allowed), `fetching`
    (the way in), `local`, `hub`, `registry`, `buckets`, `packages`, `web` (one for each kind of
    source), `network` and `addresses` (the only way out: HTTPS to checked addresses), `quarantine`
    (the private folder that everything lands in, counted and hashed), `wheels` (a wheel's files
    against its own record), `licences` (what a model says of itself), `records` and `differences`
    (what is written down, and what changed since the last time).

May import
    Floors 0 and 1 and the rest of `assay.supply`.  No source's own client library: what is spoken
    is a few documented requests, and each has to keep the same rules.

An attacker who owns it can
    say that bytes came from a place from which they did not come.  It scans nothing, releases
    nothing, and opens no file that it fetched: that is for confined processes and for policy.
"""
