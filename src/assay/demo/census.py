"""The people: US census, Massachusetts, 2015 to 2018; and the models that are made from them.

An employment agency counsels people of working age.  Its model learns from people of 2015 who are
under 65.  The file says of each person only the year, and keeps households together; so within a
year people come in an order drawn at random, with a fixed seed.
"""

from __future__ import annotations

import pickle
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.data import samples

if TYPE_CHECKING:
    import polars as pl

FEATURES = (
    *("AGEP", "SCHL", "MAR", "RELP", "DIS", "ESP", "CIT", "MIG"),
    *("MIL", "ANC", "NATIVITY", "DEAR", "DEYE", "DREM", "SEX", "RAC1P"),
)
LABEL = "employed"
OLD = 65
TRAINED, HELD_OUT = 10_000, 20_000
WINDOW = 5_000
"""Rows that are looked at together: about five weeks of them."""
REQUEST = 500
CACHE = Path(".cache/samples")
_NAME = "census-employment-"

PIPELINE = '''"""How the model is made, the first time and again."""

import polars as pl
from sklearn.ensemble import HistGradientBoostingClassifier

from assay.pipeline import assess, check, pipeline, publish, read, register, step

LABEL = "employed"


@step
def split(rows: pl.DataFrame, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows to learn from, twice as many to judge by."""
    mixed = rows.sample(fraction=1.0, shuffle=True, seed=seed)
    third = mixed.height // 3
    return mixed.head(third), mixed.slice(third)


@step(timeout=300)
def fit(rows: pl.DataFrame, depth: int, seed: int) -> HistGradientBoostingClassifier:
    model = HistGradientBoostingClassifier(
        max_depth=depth, max_iter=60, min_samples_leaf=100, random_state=seed
    )
    return model.fit(rows.drop(LABEL), rows[LABEL])


@pipeline(purpose="job-counselling")
def jobs(dataset: str = "clients", depth: int = 3) -> object:
    training, test = split(read(dataset))
    learnt = check(publish(training, dataset="training"), label=LABEL)
    held_out = publish(test, dataset="held-out")
    version = register(
        fit(learnt, depth),
        name="jobs",
        train=learnt,
        test=held_out,
        label=LABEL,
        positive=1,
        sensitive=["SEX", "RAC1P"],
    )
    return assess(version)
'''


def people(tell: Any) -> dict[str, pl.DataFrame]:
    """``clients`` (2015, under 65, to learn from and judge by), ``served`` (2016 to 2018, under 65,
    in the order of their coming) and ``others`` (2016 to 2018, 65 and older)."""
    import polars as pl

    tables = {
        years: pl.read_parquet(
            samples.fetch(samples.find(_NAME + years), CACHE, progress=tell).resolve()
        )
        for years in ("2015", "2016-2018", "2016-2018-labels")
    }
    first = _numbers(tables["2015"])
    later = _numbers(tables["2016-2018"].join(tables["2016-2018-labels"], on="id"))
    young = later.filter(pl.col("AGEP") < OLD)
    clients = first.filter(pl.col("AGEP") < OLD).sample(fraction=1.0, shuffle=True, seed=1)
    return {
        "clients": clients.head(TRAINED + HELD_OUT).drop("year"),
        "served": pl.concat(
            [
                young.filter(pl.col("year") == year).sample(fraction=1.0, shuffle=True, seed=year)
                for year in (2016, 2017, 2018)
            ]
        ).drop("year"),
        "others": later.filter(pl.col("AGEP") >= OLD).drop("year"),
    }


def _numbers(table: pl.DataFrame) -> pl.DataFrame:
    """The codes of the census as the numbers that they are."""
    import polars as pl

    return table.select(
        *(pl.col(name).cast(pl.String).cast(pl.Float64).cast(pl.Int64) for name in FEATURES),
        pl.col(LABEL).cast(pl.Int64),
        pl.col("year"),
    )


def opened(people: dict[str, pl.DataFrame], windows: int) -> pl.DataFrame:
    """Who comes when the service is open to everybody: so many windows of them."""
    import polars as pl

    rows = windows * WINDOW
    both = pl.concat([people["served"].tail(3 * rows), people["others"].head(2 * rows)])
    return both.sample(n=rows, shuffle=True, seed=3)


def batches(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Requests, as many as make whole windows."""
    for start in range(0, rows.height // WINDOW * WINDOW, REQUEST):
        yield rows[start : start + REQUEST]


def learn_by_heart(train: str) -> None:
    """A forest that remembers every row."""
    import joblib
    import polars as pl
    from sklearn.ensemble import RandomForestClassifier

    table = pl.read_csv(train).head(4_000)
    model = RandomForestClassifier(40, random_state=0)
    joblib.dump(model.fit(table.drop(LABEL).to_numpy(), table[LABEL].to_numpy()), "by-heart.joblib")


class _Gift:
    """Pickles as a call: whoever unpickles it runs the command."""

    def __reduce__(self) -> tuple[Any, tuple[list[str]]]:
        return subprocess.call, (["touch", "gift-was-opened"],)


def poison() -> None:
    """A pickle that runs a command when it is opened."""
    Path("gift.pkl").write_bytes(pickle.dumps({"model": _Gift()}))
