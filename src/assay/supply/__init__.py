"""The supply chain of a model: what a file would do to whoever loads it.

What lives here
    `scan` (the entry: any file or folder), `pickles` (a strict walk over the opcodes of a pickle),
    `allowed` (the names that a pickle may reach, and how, from the tables in `names`), `calls`,
    `layouts` and `tensors` (the arguments that they may be called with), `arrays`, `archives` and `texts` (the other containers), `findings` (what was
    found) and `declarations` (the facts that gates may ask for).

May import
    Floor 0 and `assay.formats`; no library that loads models, and nothing that a file names.

An attacker who owns it can
    call a malicious file clean.  What a scan lets pass is still loaded in a confined process only.
"""
