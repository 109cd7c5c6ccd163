"""The built-in steps: what a pipeline asks of the workspace, done by the driver through its door.

They are not the pipeline's code: each is an action, decided by policy for whoever started the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from assay.errors import Usage
from assay.pipeline.graph import Node, Output
from assay.pipeline.notes import Result, tracing, value_of

FRAME = Output("rows", "parquet/1")
REFERENCE = Output("version", "json/1")


def read(dataset: str, *, purpose: str = "") -> Any:
    """The rows of a registered dataset, for a parameter of type ``pl.DataFrame`` (or pandas).

    `purpose` is what they are read for; by default the pipeline's.
    """
    return _note("read", dataset, FRAME, {"dataset": dataset, "purpose": purpose})


def extract(
    source: str,
    *,
    dataset: str,
    owner: str,
    licence: str,
    purposes: Sequence[str],
    legal_basis: str,
    query: str = "",
    path: str = "",
    residency: Sequence[str] = ("local",),
    subject_column: str = "",
    personal_columns: Sequence[str] = (),
    special: bool = False,
    retain_until: str = "",
) -> Any:
    """Take a snapshot of a source named in ``assay.toml``, register it as `dataset`, give its rows.

    `query` is one SELECT for a database, `path` an object or file below the source.  The other
    arguments are the datasheet, as for ``assay data register``.  Where nothing has changed since
    the last snapshot, that one is used.
    """
    given = {
        "source": source,
        "dataset": dataset,
        "owner": owner,
        "licence": licence,
        "purposes": list(purposes),
        "legal_basis": legal_basis,
        "query": query,
        "path": path,
        "residency": list(residency),
        "subject_column": subject_column,
        "personal_columns": list(personal_columns),
        "special": special,
        "retain_until": retain_until,
    }
    return _note("extract", dataset, FRAME, given)


def publish(rows: Any, *, dataset: str, personal_columns: Sequence[str] = ()) -> Any:
    """Register rows that a step returned as a dataset, under the datasheet of the dataset that they
    were made from; gives the same rows."""
    given = {"rows": rows, "dataset": dataset, "personal_columns": list(personal_columns)}
    return _note("publish", dataset, FRAME, given)


def check(dataset: Any, *, label: str = "") -> Any:
    """Look for undeclared personal data, duplicates and label outliers in what `read` or `extract`
    gave; a model can be trained on it only then.  Gives the same rows."""
    return _note("check", _name_of(dataset, "check"), FRAME, {"rows": dataset, "label": label})


def register(
    model: Any,
    *,
    name: str,
    train: Any = None,
    test: Any = None,
    label: str = "",
    positive: int | str | None = None,
    threshold: float = 0.5,
    sensitive: Sequence[str] = (),
    leave_out: Sequence[str] = (),
    description: str = "",
) -> Any:
    """Register the model that a step returned; gives its version.

    `train` and `test` are what `read`, `extract` or `check` gave; the other arguments are those of
    ``assay model register``.  The same model from the same rows is not registered twice.
    """
    given = {
        "model": model,
        "name": name,
        "train": train,
        "test": test,
        "label": label,
        "positive": positive,
        "threshold": threshold,
        "sensitive": list(sensitive),
        "leave_out": list(leave_out),
        "description": description,
    }
    return _note("register", name, REFERENCE, given)


def assess(version: Any, *, data: Any = None, seed: int = 0) -> Any:
    """Measure a registered version on `data`, by default what it was registered with as `test`.

    Gives the version again, so that what follows waits for it.
    """
    given = {"version": version, "data": data, "seed": seed}
    return _note("assess", "model", REFERENCE, given)


def promote(version: Any, *, stage: str = "development", region: str = "") -> Any:
    """Promote a version to a stage, if every gate is open.  Gives the version again."""
    return _note(
        "promote", stage, REFERENCE, {"version": version, "stage": stage, "region": region}
    )


def _note(effect: str, about: str, output: Output, given: dict[str, Any]) -> Result:
    if not about:
        raise Usage(f"{effect} needs a name", remedy=f'{effect}("name")', code="pipeline.argument")
    arguments = {name: value_of(value, f"{effect}({name}=…)") for name, value in given.items()}
    return tracing().add(
        effect, lambda node_id: Node(node_id, "effect", effect, arguments, outputs=[output])
    )


def _name_of(given: Any, what: str) -> str:
    if not isinstance(given, Result):
        raise Usage(
            f"{what} takes what read or extract gave",
            remedy='check(read("loans"))',
            code="pipeline.argument",
        )
    return "data"
