"""Which columns are found to hold personal data.

Measured by ``bench/personal.py`` over pairs of column and kind (precision, recall; columns of
personal data / all columns):

==========================================================  =========  ======  ========
table                                                       precision  recall  columns
==========================================================  =========  ======  ========
people who do not exist, and harmless columns (here)             1.00    1.00   13 / 39
FakeNameGenerator (presidio-evaluator 0.3.2, 3,000 rows)         1.00    1.00   12 / 31
the same, its columns called c0 to c30                           1.00    0.33   12 / 31
COMPAS, Adult, German credit, four tables of scikit-learn        1.00    1.00   4 / 150
==========================================================  =========  ======  ========

The last row was not looked at while the thresholds were chosen.  In the third, all that values can
show is found (full names, street and mail addresses, telephone numbers); given names, surnames,
birthdays, user names, passwords and mangled numbers are not told without their column's name.
"""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest

from assay.data import personal
from assay.data.personal import Found, decide, spelt, undeclared
from assay.errors import Unavailable

from .people_who_are_not import harmless, luhn
from .people_who_are_not import personal as people


@pytest.fixture(scope="module")
def found() -> list[Found]:
    """One look at a table of people and of harmless columns, side by side."""
    who, _ = people()
    return personal.find(pl.concat([who, harmless()], how="horizontal"))[0]


def test_each_kind_of_personal_data_is_found(found: list[Found]) -> None:
    _, kinds = people()
    told = {(item.column, item.kind) for item in found}
    assert told >= set(kinds.items())


def test_nothing_harmless_cries_wolf(found: list[Found]) -> None:
    names = set(harmless(10).columns)
    assert [item for item in found if item.column in names] == []


def test_no_column_of_people_is_taken_for_much_else(found: list[Found]) -> None:
    _, kinds = people()
    more = {(i.column, i.kind) for i in found} - set(kinds.items())
    assert more <= {("last_login_ip", "USERNAME")}


def test_without_names_of_columns_what_the_values_show_is_found_still() -> None:
    who, kinds = people()
    renamed = who.rename({name: f"c{place}" for place, name in enumerate(who.columns)})
    told = {i.column: i.kind for i in personal.find(renamed)[0]}
    shown = {renamed.columns[p]: kinds[name] for p, name in enumerate(who.columns)}
    # Single names, dates and user names say what they are by their column's name only.
    hidden = {"first_name", "surname", "date_of_birth", "user_name"}
    expected = {
        column: kind for column, kind in shown.items() if who.columns[int(column[1:])] not in hidden
    }
    assert {c: k for c, k in told.items() if c in expected} == expected


@pytest.mark.slow
def test_names_within_text_are_found_and_text_without_them_is_not() -> None:
    who, _ = people(200)
    notes = [f"Spoke to {name} on the phone about the late payment." for name in who["customer"]]
    plain = ["Spoke to the customer on the phone about the late payment."] * 100 + [
        f"Invoice {n} was paid in two parts." for n in range(100)
    ]
    told = personal.find(pl.DataFrame({"notes": notes, "remarks": plain}))[0]
    assert {(i.column, i.kind) for i in told} == {("notes", "PERSON")}


def test_a_few_addresses_among_other_text_are_found() -> None:
    texts = [f"ticket {n} closed" for n in range(180)] + [
        f"please write to user{n}@example.org" for n in range(20)
    ]
    told = personal.find(pl.DataFrame({"comment": texts}))[0]
    assert [(i.kind, i.how) for i in told] == [("EMAIL_ADDRESS", "value")]


@pytest.mark.slow
def test_the_answer_is_the_same_for_the_same_rows_in_any_order() -> None:
    who, _ = people(700)
    assert personal.find(who) == personal.find(who.reverse())


def test_nothing_of_the_values_is_in_what_is_told(found: list[Found]) -> None:
    who, _ = people()
    told = json.dumps(personal.told(found))
    for column in who.get_columns():
        assert not any(str(value) in told for value in column.head(50))


def test_the_network_is_not_needed_nor_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    told, looked = personal.find(pl.DataFrame({"contact": ["a@example.org"] * 3}))
    assert [i.kind for i in told] == ["EMAIL_ADDRESS"]
    assert looked["isolation"] in ("full", "process", "limits", "none")


def test_a_table_without_text_needs_no_look() -> None:
    told, looked = personal.find(pl.DataFrame({"x": [1.5, 2.5], "y": [True, None]}))
    assert told == []
    assert looked["values"] == 0


@pytest.mark.parametrize("missing", ["presidio_analyzer", "spacy", personal.MODEL])
def test_without_the_extra_nothing_is_decided(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    real = importlib.util.find_spec

    def find_spec(name: str, *more: Any) -> Any:
        return None if name == missing else real(name, *more)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    with pytest.raises(Unavailable) as caught:
        personal.find(pl.DataFrame({"a": ["x"]}))
    assert caught.value.remedy == "pip install 'assay[checks]'"


# -- the decision, without a look -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("MothersMaiden_name2", "mothers maiden name"),
        ("CCNumber", "cc number"),
        ("dateOfBirth", "date of birth"),
        ("E-Mail", "e mail"),
        ("c1", "c"),
        ("", ""),
    ],
)
def test_a_column_name_is_spelt_in_words(name: str, words: str) -> None:
    assert spelt(name) == words


def kinds(name: str, values: list[Any], counts: dict[str, int]) -> list[tuple[str, str]]:
    column = pl.Series(name, values)
    texts = [str(v) for v in dict.fromkeys(values)]
    return [(f.kind, f.how) for f in decide(column, texts, counts)]


def test_a_name_lowers_what_the_values_must_show() -> None:
    values = [f"Value {n}" for n in range(100)]
    assert kinds("x", values, {"PERSON": 49}) == []
    assert kinds("x", values, {"PERSON": 50}) == [("PERSON", "value")]
    assert kinds("applicant", values, {"PERSON": 15}) == [("PERSON", "name+value")]
    assert kinds("applicant", values, {"PERSON": 14}) == []
    assert kinds("product_name", values, {"PERSON": 49}) == []


def test_a_category_of_few_values_must_be_clearer() -> None:
    assert kinds("x", ["Ada Lovelace", "Grace Hopper", "none"] * 50, {"PERSON": 2}) == []


def test_numbers_are_judged_by_check_digits_and_not_by_chance() -> None:
    cards = [int(luhn(f"4{n:014d}")) for n in range(100)]
    assert kinds("x", cards, {"CREDIT_CARD": 100}) == [("CREDIT_CARD", "checksum")]
    assert kinds("x", cards, {"CREDIT_CARD": 15, "PHONE_NUMBER": 100}) == []
    assert kinds("x", list(range(100)), {}) == []


def test_a_birthday_is_told_by_its_name_and_shape_only() -> None:
    days = pl.Series("dob", range(100)).cast(pl.Date)
    assert [f.kind for f in decide(days, [], {})] == ["DATE_OF_BIRTH"]
    assert decide(days.alias("opened"), [], {}) == []
    assert decide(days.alias("birth_year"), [], {}) == []


def test_what_is_declared_is_not_undeclared_unless_all_is_said_to_be_about_nobody() -> None:
    held = [Found("a", "PERSON", 1, "value"), Found("b", "PERSON", 1, "value")]
    assert undeclared(held, personal=True, declared=["a"]) == ["b"]
    assert undeclared(held, personal=False, declared=["a"]) == ["a", "b"]
    assert undeclared(held * 2, personal=True, declared=["a", "b", "c"]) == []
