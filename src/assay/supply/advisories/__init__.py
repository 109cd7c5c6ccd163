"""Known vulnerabilities: a database of advisories, the match with packages, and answers to it.

What lives here
    `osv` (records of the OSV schema), `sources` (a folder, zip or file of them), `database` (the
    one file they are imported into), `versions` (how versions of an ecosystem compare), `matching`
    (which advisories a package has), `severity`, `vex` (statements that a vulnerability does not
    matter here), `inventory` (the packages of a bill of materials, a lock, an environment) and
    `report` (what is signed).

May import
    Floors 0 and 1, and its neighbours in `assay.supply`; never anything that a package brings.

An attacker who owns it can
    hide vulnerabilities.  Whoever only owns a dump can hide those that it should contain; which
    dump was asked, how old it is and how many records it has is on every statement.
"""
