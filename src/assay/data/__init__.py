"""Data: tables read as hostile input, described without giving away whose they are.

What lives here
    `tables` (CSV and Parquet to a checked frame), `rows` (which bytes are a well-formed CSV),
    `parquet` (read in a confined process), `kinds` (of values), `profile` (schema and bounded
    statistics), `samples` (real public tables for trying things out, fetched through pip and
    pinned by digest).

May import
    Floor 0, `assay.isolation` and Polars.  `samples` alone starts another program: pip.

An attacker who owns it can
    feed wrong rows into training and assessment, and describe a table falsely.  The sealed table
    and its digest are made elsewhere, so what was read can be compared with what was registered.
"""
