"""Frames held to the pandera schema in a type hint, with messages that quote no value.

Pandera's own messages print the rows that fail.  Here a failure names the column, the check and
how many rows fail it; nothing else that pandera says is passed on.

A schema is a check and no conversion: one that would change the frame (``coerce``, defaults,
``strict="filter"``, parsers) refuses it where it would, because what is stored must be what the
step returned.
"""

from __future__ import annotations

import contextlib
import importlib.util
import typing
from collections.abc import Generator
from typing import Annotated, Any

from assay.errors import Unavailable, Usage

_MOST_TOLD = 10
_MOST_TEXT = 80
_FRAMES = frozenset({"DataFrame", "LazyFrame"})


def schema_of(hint: Any) -> Any | None:
    """The schema in ``Annotated[frame, Schema]`` or ``pandera.typing.*.DataFrame[Schema]``; None
    where the hint names none.  Imports nothing.

    ``Schema`` is a `DataFrameModel` or a `DataFrameSchema`.
    """
    if typing.get_origin(hint) is Annotated:
        inner, *notes = typing.get_args(hint)
        found = [note for note in notes if _is_schema(note)]
        if len(found) > 1:
            raise Usage(
                f"{str(hint)[:200]} names more than one schema",
                remedy="name one, which may inherit from others",
                code="data.schema",
            )
        return found[0] if found else schema_of(inner)
    origin = typing.get_origin(hint)
    if (
        origin is not None
        and str(getattr(origin, "__module__", "")).startswith("pandera.typing")
        and getattr(origin, "__qualname__", "") in _FRAMES
    ):
        (schema,) = typing.get_args(hint)
        return schema
    return None


def _is_schema(note: Any) -> bool:
    """Told by the names of its classes, so that nothing is imported for what is none."""
    cls = note if isinstance(note, type) else type(note)
    return any(
        base.__module__.startswith("pandera.")
        and base.__qualname__ in ("DataFrameModel", "DataFrameSchema", "BaseSchema", "BaseModel")
        for base in cls.__mro__
    )


def check(frame: Any, schema: Any, what: str) -> None:
    """Raise `Usage` (``data.schema``) unless `frame` holds to `schema`; `what` is for messages.

    Every failing check is told, up to a number.  A check that itself fails, refuses.
    """
    if importlib.util.find_spec("pandera") is None:
        raise Unavailable(
            f"{what} names a pandera schema, and pandera is not installed",
            remedy="pip install 'assay[checks]'",
            code="data.checks",
        )
    from pandera.errors import SchemaError, SchemaErrors

    if type(frame).__name__ not in _FRAMES:
        raise Usage(
            f"{what} is of type {type(frame).__name__}, and its schema is of a frame",
            remedy="annotate it with its own type",
            code="data.schema",
        )
    try:
        with _everything():
            held = schema.validate(frame, lazy=True)
    except SchemaErrors as error:
        told = [_told(found) for found in error.schema_errors]
    except SchemaError as error:
        told = [_told(error)]
    except Exception as error:
        # A check's own code: what it says may be about values.
        told = [f"a check raised {type(error).__name__}"]
    else:
        told = [] if _same(held, frame) else ["the schema would convert or change it"]
    if told:
        shown = list(dict.fromkeys(told))
        more = f"; and {len(shown) - _MOST_TOLD} more" if len(shown) > _MOST_TOLD else ""
        raise Usage(
            f"{what} does not hold to its schema: {'; '.join(shown[:_MOST_TOLD])}{more}",
            remedy="correct the rows where they are made, or the schema; the rows are not told",
            code="data.schema",
        )


@contextlib.contextmanager
def _everything() -> Generator[None]:
    """Types and values are checked, whatever the environment says of pandera."""
    from pandera.config import ValidationDepth, config_context

    with config_context(validation_enabled=True, validation_depth=ValidationDepth.SCHEMA_AND_DATA):
        yield


def _told(error: Any) -> str:
    reason = str(getattr(getattr(error, "reason_code", None), "name", "")) or "CHECK"
    column = _column(error)
    where = f"column {column!r}: " if column else ""
    match reason:
        case "COLUMN_NOT_IN_DATAFRAME":
            return f"{where or 'a column '}is missing"
        case "COLUMN_NOT_IN_SCHEMA":
            return f"{where or 'a column '}is not in the schema"
        case "WRONG_DATATYPE":
            return f"{where}is not of type {_plain(getattr(error.schema, 'dtype', ''))}"
        case "SERIES_CONTAINS_NULLS":
            return f"{where}{_rows(error)} without a value"
        case "SERIES_CONTAINS_DUPLICATES" | "DUPLICATES":
            return f"{where}{_rows(error)} with a value that is to be unique"
        case "CHECK_ERROR":
            return f"{where}{_check(error)} could not be done"
        case _:
            return f"{where}{_rows(error)} fail {_check(error)}"


def _column(error: Any) -> str:
    named = getattr(error, "column_name", None)
    if named is None and getattr(error, "reason_code", None) is not None:
        # Of a column that is missing or too many, pandera tells the name as what failed.
        of_columns = error.reason_code.name in ("COLUMN_NOT_IN_DATAFRAME", "COLUMN_NOT_IN_SCHEMA")
        cases = error.failure_cases if of_columns else None
        named = cases if isinstance(cases, str) else None
        known: Any = getattr(error.schema, "columns", None)
        if named is None and of_columns and error.reason_code.name.endswith("DATAFRAME"):
            frame = error.data
            names = frame.collect_schema().names() if hasattr(frame, "collect_schema") else frame
            missing = [c for c in known or () if c not in list(names)]
            named = missing[0] if len(missing) == 1 else None
    return _plain(named) if named is not None else ""


def _rows(error: Any) -> str:
    output: Any = error.check_output
    if isinstance(output, bool):
        return "rows"
    try:
        values = output["check_output"] if hasattr(output, "columns") else output
        count = len(values) - int(values.sum())
    except Exception:  # Of another library, or of a check's own making.
        return "rows"
    return f"{count:,} of {len(values):,} rows"


def _check(error: Any) -> str:
    """What the schema calls the check, with the arguments that stand in its code."""
    found = error.check
    text = found if isinstance(found, str) else getattr(found, "error", None) or found.name
    return f"the check {_plain(text)}"


def _plain(text: Any) -> str:
    shown = "".join(c if c.isprintable() else "?" for c in str(text))
    return shown if len(shown) <= _MOST_TEXT else f"{shown[: _MOST_TEXT - 1]}…"


def _same(held: Any, frame: Any) -> bool:
    """Whether validating gave back what it was given."""
    if hasattr(frame, "collect"):
        return bool(held.collect_schema() == frame.collect_schema())
    if list(held.columns) != list(frame.columns):
        return False
    types = getattr(frame, "dtypes", None)
    return list(held.dtypes) == list(types if types is not None else ()) and bool(
        held.equals(frame)
    )
