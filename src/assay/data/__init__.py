"""Data: tables read as hostile input, described without giving away whose they are.

What lives here
    *Reading*: `tables` (CSV, Parquet and JSON to a checked frame), `rows` (which bytes are a
    well-formed CSV), `parquet` (read in a confined process), `json_rows`, `cells` (plain values to
    columns), `kinds` (of values).  *Sources*: `sources` (as people configured them), `references`
    (secrets, by where they are), `sql` (PostgreSQL), `sqlite`, `objects` (S3, folders),
    `snapshots` (what one holds at one moment), `samples` (real public tables, fetched through pip
    and pinned by digest).  *Describing*: `profile` (schema and bounded statistics), `datasheet`,
    `fingerprints` (keyed, of rows).  *Examining*: `personal` (undeclared personal data), `issues`
    (repeats, doubtful labels), with `personal_scan` and `label_scan`, which run confined;
    `declarations` (the facts that gates may ask of it).

May import
    Floor 0, `assay.isolation` and Polars; inside the functions that need them psycopg and obstore.
    In confined processes only: presidio-analyzer, spaCy, scikit-learn and cleanlab.  `samples`
    alone starts another program: pip.

An attacker who owns it can
    feed wrong rows into training and assessment, describe a table falsely, overlook personal data,
    and use the credentials of configured sources while they are read.  The sealed table and its
    digest are made elsewhere, so what was read can be compared with what was registered.  One who
    owns only a *source* can give wrong rows of bounded size; one who owns only a file or database
    can do no more than that in a confined process.
"""
