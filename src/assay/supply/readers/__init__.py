"""One strict reader for each format that a model, or a folder of a model, is kept in.

What lives here
    `part` (a stretch of bytes on its way through the scanner), `wire` (protocol buffers), and for
    each format a module that reads it to the last byte: what it would make a loader do goes into
    the report, and what it cannot follow raises `assay.supply.findings.Broken`.

May import
    Floor 0, `assay.formats`, and the modules of `assay.supply` that walk pickles and hold findings;
    no library that loads models, and nothing that a file names.

An attacker who owns it can
    call a malicious file clean.  What a scan lets pass is still loaded in a confined process only.
"""
