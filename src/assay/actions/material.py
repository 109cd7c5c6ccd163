"""What several actions need of data and model files: frames, columns, private copies."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay import files
from assay.actions.datasets import ReadDataset
from assay.errors import Usage
from assay.evidence.state import DatasetState
from assay.formats.schema import Column
from assay.types import Digest
from assay.workspace.action import Doing

if TYPE_CHECKING:
    import polars as pl

MODEL_LIMIT = 1 << 30
"""Bytes of a model that is read whole; ONNX itself ends at 2 GiB."""
_NAMED = 12
"""Columns that an error names."""


def models_ring(project: str) -> str:
    """The key ring under which a project's models lie."""
    return f"{project}/models"


def read_frame(
    doing: Doing, dataset: str, purpose: str, target: str = "", *, ticket: str = ""
) -> tuple[pl.DataFrame, Digest]:
    """A registered dataset's rows and digest, read through the door for a stated purpose."""
    from assay.data import tables

    doing.progress(f"reading {dataset}")
    found = doing.view.dataset(doing.project, dataset)
    stream = doing.nested(
        ReadDataset(project=doing.project, dataset=dataset, purpose=purpose, ticket=ticket)
    )
    with stream:
        table = tables.read_stream(
            stream, dataset, expect=found.details["schema"], target=target or None
        )
    return table.frame, found.content


def columns_of(frame: pl.DataFrame, leave_out: Sequence[str] = ()) -> list[Column]:
    """A frame as the model side takes it: numbers, truth values and dates as floats (days since
    1970), text as strings."""
    import polars as pl

    columns: list[Column] = []
    for series in frame.get_columns():
        if series.name in leave_out:
            continue
        if series.dtype == pl.String:
            columns.append(Column(series.name, "string", series.to_list()))
            continue
        if series.dtype.is_temporal():
            series = series.cast(pl.Datetime("us")).dt.epoch("us") / 86_400e6
        columns.append(Column(series.name, "float", series.cast(pl.Float64).to_list()))
    return columns


def labels_of(frame: pl.DataFrame, target: str) -> list[int | str]:
    """The labels as the model's classes are spelt: whole numbers or text."""
    if target not in frame.columns:
        raise Usage(
            f"the dataset has no column {target!r}, which the model predicts",
            remedy=f"columns: {', '.join(frame.columns)}",
            code="data.target",
        )
    found: list[Any] = frame[target].to_list()
    if all(isinstance(v, str) for v in found):
        return found
    if all(v is not None and float(v).is_integer() for v in found):
        return [int(v) for v in found]
    raise Usage(
        f"column {target!r} holds labels that are neither text nor whole numbers",
        remedy="a classifier's labels are whole numbers or text",
        code="data.target",
    )


@contextlib.contextmanager
def private_copy(doing: Doing, digest: Digest, details: dict[str, Any]) -> Generator[Path]:
    """The sealed original as plain files in a folder of our own, gone when the block ends.

    What is scanned and converted is what was sealed, whatever happens to the user's file.
    """
    folder = doing.layout.root / "work" / doing.decision
    files.make_folder(folder)
    ring = models_ring(doing.project)
    path = folder / "model"
    try:
        if details.get("tree"):
            doing.store.extract_tree(ring, digest, path)
        else:
            with doing.store.open(ring, digest) as stream, files.new_file(path) as copy:
                shutil.copyfileobj(stream, copy, 1 << 20)
        yield path
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_alike(
    train: DatasetState, test: DatasetState, leave_out: Sequence[str], *, code: str
) -> None:
    """Raise `Usage` where columns that a model was trained on are missing from held-out rows."""
    there = {column["name"] for column in test.details["schema"]}
    columns = [str(column["name"]) for column in train.details["schema"]]
    missing = [name for name in columns if name not in there and name not in leave_out]
    if not missing:
        return
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    raise Usage(
        f"{test.name} lacks columns of {train.name}: {', '.join(missing[:_NAMED])}{more}",
        remedy="judge it on rows that have them; or, for those that are no features, register the "
        "model with --leave-out COLUMN",
        code=code,
    )
