"""Assess: how good a model is, and what it gives away, with the uncertainty of both.

What lives here
    `assessors` (what ``assay model assess`` runs), `quality` (discrimination, calibration, lift,
    generalisation, slices), `privacy` (membership inference), `overlap` (rows judged on that were
    trained on), `intervals` (the statistics under them), `declarations` (the facts that gates may
    ask for).

May import
    Floor 0, `assay.formats.schema`, NumPy, SciPy and Polars.

An attacker who owns it can
    make a bad or leaking model look good.  What was measured is signed with method, seeds, rows
    and interval, so that anybody with the data can measure it again.
"""
