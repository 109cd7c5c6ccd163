"""The supply chain of a model: what a file would do to whoever loads it, where it came from, what
it is made of, and what is known against its parts.

What lives here
    The scanner: `scan` and `batch` (one file or folder; many), `content` (which reader), `readers`
    (one for each format), `archives` and `texts`; `pickles`, `machine`, `containers` and `opcodes`
    (a strict walk over a pickle), `allowed` with the tables in `names*` (what a pickle may reach),
    `calls`, `layouts` and `tensors` (what with), `findings`, `rules` and `suppressions`.
    `signing` (OpenSSF model signatures), `transparency` (the ledger for others to see), `bom`
    (bills of materials), `advisories` and `licences` (what is known against parts), `packages`
    (names that look like others), `intake` (somebody else's model), and `declarations` (the facts
    that gates may ask for).

May import
    Floors 0 and 1; no library that loads models, and nothing that a file names.

An attacker who owns it can
    call a malicious file clean, a stranger's signature trusted and a vulnerable part harmless.
    What a scan lets pass is still loaded in a confined process only; nothing here holds a key of
    the workspace or decides.
"""
