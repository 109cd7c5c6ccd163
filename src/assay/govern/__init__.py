"""What a regulator, a customer or an auditor asks for, made from evidence alone.

What lives here
    `bundle` (a self-contained export of one model version), `verify` (checks it with nothing but
    the file and, if given, the pinned trust root), `passport` (one page about a version).

May import
    Floor 1 (evidence, policy) and floor 0.

An attacker who owns it can
    write a page that says something else than the evidence; the bundle beside it still verifies
    and contradicts the page.
"""
