from __future__ import annotations

from typing import Annotated, Any

import pandera.polars as pa
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandera.api.polars.model_config import BaseConfig
from pandera.typing.polars import DataFrame, LazyFrame

from assay.errors import Usage
from assay.formats.frame_schemas import check, schema_of


class Loans(pa.DataFrameModel):
    age: int = pa.Field(ge=0, le=120)
    name: str = pa.Field(str_matches="^[A-Z]")
    income: float = pa.Field(nullable=False)

    @pa.dataframe_check
    @classmethod
    def earns(cls, data: Any) -> Any:
        return data.lazyframe.select(pl.col("income") > 0)


class Strict(Loans):
    class Config(BaseConfig):
        strict = True


class Coercing(pa.DataFrameModel):
    age: float

    class Config(BaseConfig):
        coerce = True


class Unique(pa.DataFrameModel):
    name: str = pa.Field(unique=True)


GOOD = pl.DataFrame({"age": [1, 50], "name": ["Ada", "Grace"], "income": [0.5, 1.0]})
SECRET = "zebra-4711"


def refusal(frame: Any, schema: Any = Loans) -> str:
    with pytest.raises(Usage) as caught:
        check(frame, schema, "step load: its answer")
    error = caught.value
    assert error.code == "usage.data.schema"
    assert error.message.startswith("step load: its answer")
    assert error.__context__ is None, "pandera's own error holds rows"
    assert "\n" not in error.message + error.remedy
    assert SECRET not in error.message + error.remedy + str(error.details)
    return error.message


@pytest.mark.parametrize(
    ("hint", "found"),
    [
        (Annotated[pl.DataFrame, Loans], Loans),
        (Annotated[pl.DataFrame, "words", Loans], Loans),
        (DataFrame[Loans], Loans),
        (LazyFrame[Loans], Loans),
        (Annotated[DataFrame[Loans], "words"], Loans),
        (pl.DataFrame, None),
        (Annotated[pl.DataFrame, "words"], None),
        (list[int], None),
        (None, None),
        ("text", None),
    ],
)
def test_the_schema_of_a_hint_is_found(hint: Any, found: Any) -> None:
    assert schema_of(hint) is found


def test_a_schema_that_is_an_object_is_found_too() -> None:
    made = pa.DataFrameSchema({"age": pa.Column(int)})
    assert schema_of(Annotated[pl.DataFrame, made]) is made
    check(GOOD, made, "x")


def test_two_schemas_are_one_too_many() -> None:
    with pytest.raises(Usage, match="more than one"):
        schema_of(Annotated[pl.DataFrame, Loans, Strict])


def test_a_frame_that_holds_to_its_schema_passes() -> None:
    check(GOOD, Loans, "x")
    check(GOOD.with_columns(more=1), Loans, "x")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"age": [-1, 200]}, "column 'age': 1 of 2 rows fail the check greater_than_or_equal_to"),
        ({"age": ["x", SECRET]}, "column 'age': is not of type Int64"),
        ({"name": ["Ada", SECRET]}, "column 'name': 1 of 2 rows fail the check str_matches"),
        ({"income": [None, 1.0]}, "column 'income': 1 of 2 rows without a value"),
        ({"income": [-1.0, 1.0]}, "1 of 2 rows fail the check earns"),
    ],
)
def test_a_failure_names_column_check_and_count_and_no_value(
    change: dict[str, Any], told: str
) -> None:
    assert told in refusal(GOOD.with_columns(**{k: pl.Series(v) for k, v in change.items()}))


def test_a_missing_and_a_surplus_column_are_named() -> None:
    assert "column 'income': is missing" in refusal(GOOD.drop("income"))
    assert "column 'more': is not in the schema" in refusal(GOOD.with_columns(more=1), Strict)


def test_values_that_repeat_are_counted() -> None:
    message = refusal(pl.DataFrame({"name": [SECRET, SECRET, "x"]}), Unique)
    assert "column 'name'" in message


def test_a_schema_that_would_change_the_frame_refuses_it() -> None:
    assert "convert" in refusal(GOOD, Coercing)
    check(GOOD.with_columns(age=pl.col("age").cast(pl.Float64)), Coercing, "x")


def test_a_check_that_raises_refuses_and_says_nothing() -> None:
    def raising(_: Any) -> Any:
        raise RuntimeError(SECRET)

    schema = pa.DataFrameSchema({"age": pa.Column(int, pa.Check(raising))})
    assert "could not be done" in refusal(GOOD, schema)


def test_the_environment_does_not_turn_checking_off(monkeypatch: pytest.MonkeyPatch) -> None:
    from pandera.config import CONFIG

    monkeypatch.setattr(CONFIG, "validation_enabled", False)
    refusal(GOOD.with_columns(age=pl.lit(-1)))


def test_what_is_no_frame_is_refused() -> None:
    assert "is of a frame" in refusal({"age": [1]})


@given(st.lists(st.text(min_size=3), min_size=1, max_size=20))
def test_no_text_in_a_column_is_ever_told(values: list[str]) -> None:
    frame = pl.DataFrame({"age": 1, "name": [f"{SECRET}{v}" for v in values], "income": 1.0})
    refusal(frame)


def test_a_frame_of_pandas_is_checked_alike() -> None:
    import pandas as pd
    import pandera.pandas as pap
    from pandera.typing import DataFrame as PandasFrame

    class Rows(pap.DataFrameModel):
        age: int = pap.Field(ge=0)

    assert schema_of(PandasFrame[Rows]) is Rows
    check(pd.DataFrame({"age": [1]}), Rows, "x")
    assert "1 of 2 rows fail" in refusal(pd.DataFrame({"age": [1, -4711]}), Rows)
