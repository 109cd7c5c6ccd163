"""Bills of materials of models: what went in, what it rests on, and what nobody knows.

What lives here
    `model` (`Contents`: everything a bill says, each value with what it rests on), `cyclonedx` and
    `spdx` (the two documents made of it), `parts` (what these have in common), `schema` and
    `spdx_model` (whether a document holds to its published schema), `elements` (the minimum
    elements of an SBOM for AI, each present, declared or known to be unknown), `differences`
    (between two bills), `index` (which bills contain a package, a digest or a key), `reading` (a
    bill that somebody sent), `licences` (how one is written), `installed` (what the metadata of an
    installed library says) and `named` (what a model file says of itself).

May import
    Floor 0, `packaging` and, inside functions, the optional libraries that hold the two schemas.

An attacker who owns it can
    write a bill that leaves something out or calls it evidenced.  It signs nothing: whoever
    compares the bill with the statements that it names sees the difference.
"""
