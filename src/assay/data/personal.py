"""Which columns hold personal data: decided per column, told without a value.

A bounded sample of each column's distinct values is looked at in a confined process
(`assay.data.personal_scan`), which answers with counts.  Here the counts become a decision for
each column and kind, by one of four ways, and the way is told:

``value``
    enough of the values are of the kind (a share above the kind's threshold);
``checksum``
    the same, where a value counts only if its check digits are right;
``name+value``
    the column's name says so, and fewer values need to agree;
``name``
    the column's name says so, and the values have the shape of it.

Numbers are judged by check digits and names only, so that ages, incomes and running numbers are
none.  What this finds is not all there is: single given names or surnames under a column name that
does not say so are mostly missed, as are nicknames, and whatever a combination of harmless columns
gives away.  ``bench/personal.py`` measures both kinds of error.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import polars as pl

from assay.data.kinds import kind_of
from assay.data.personal_scan import MODEL
from assay.errors import Unavailable
from assay.isolation.limits import GIB, Limits
from assay.isolation.run import run

How: TypeAlias = Literal["value", "checksum", "name+value", "name"]

SAMPLE = 300
"""Distinct values looked at in each column, at most."""
_MOST_VALUES = 30_000
_LEAST_SAMPLE = 60
_LONGEST = 300
_FEW = 5
"""Below so many distinct values a column is a category, and has to be clearer."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a kind is decided; shares of 2 are never reached."""

    alone: float
    """The share of values that decides without the column's name."""
    named: float = 2
    """The share that decides where the name says so."""
    words: re.Pattern[str] | None = None
    """What the name says, in words joined by spaces."""
    unless: re.Pattern[str] | None = None
    shape: re.Pattern[str] | None = None
    """What most values look like, where the name alone decides."""
    how: How = "value"


def _words(text: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{text})\b")


_CHECKSUM = _Kind(0.7, how="checksum")
_NAME_SHAPE = re.compile(r"[^\W\d_][^\W\d_'’.-]*(?:[ ,'’.-]+[^\W\d_]+\.?){0,4}")
_IDENTITY = _words(
    "ssn|social security|national id|nationalid|passport|tax id|taxid|tin|nif|nie|nino|pesel|cpf|"
    "personnummer|identity (?:card|number)|id card|driver s? ?licen[cs]e|drivers? licen[cs]e|"
    "driving licen[cs]e|licen[cs]e number|nhs number|aadhaar|steuer id|medicare"
)

KINDS: dict[str, _Kind] = {
    "PERSON": _Kind(
        0.5,
        0.15,
        _words(
            "name|names|given|first|last|surname|forename|maiden|fullname|firstname|lastname|fname|"
            "lname|person|patient|customer|client|employee|applicant|borrower|contact|author|"
            "nachname|vorname|nom|prenom|nombre|apellido|apellidos|cognome"
        ),
        _words(
            "product|company|brand|file|city|country|state|region|event|school|store|column|item|"
            "class|species|category|team|movie|title|host|domain|model|user|type|code|group|"
            "department|street|bank|merchant|variable|feature|dataset|set|place|station|airport|"
            "drug|gene|job|occupation|employer|id|ids|number|count|status|segment|date|time|seen"
        ),
    ),
    "FULL_NAME": _Kind(
        2,
        2,
        _words(
            "first name|firstname|given name|givenname|given|fname|last name|lastname|lname|"
            "surname|forename|family name|maiden|maiden name|middle name|full name|fullname|"
            "patient name|customer name|client name|employee name|applicant name|person name|"
            "contact name|borrower name|nachname|vorname|prenom|apellidos?|cognome"
        ),
        _words("id|count|length|hash|score|flag"),
        _NAME_SHAPE,
    ),
    "EMAIL_ADDRESS": _Kind(0.02, 0.01, _words("e ?mails?|mail")),
    "PHONE_NUMBER": _Kind(
        0.5,
        0.2,
        _words("(?:tele)?phones?|mobile|cell|cellphone|fax|tel|telefon|msisdn|phone number"),
        _words("type|model|brand|code|service|lines?|plan|os|minutes|calls?|has|is|country"),
        re.compile(r"\+?[\d ()/.-]{6,20}(?:x\d+)?"),
    ),
    "CREDIT_CARD": _Kind(
        0.7,
        0.2,
        _words("credit card|card number|cc ?number|cc ?num|pan|cc"),
        _words("type|expires?|expiry|brand|limit|balance|has|is|holder"),
        re.compile(r"[\d -]{12,23}"),
        how="checksum",
    ),
    "IBAN_CODE": _Kind(0.1, 0.05, _words("iban|account"), how="checksum"),
    "IP_ADDRESS": _Kind(0.3, 0.1, _words("ip|ip ?address|ipv4|ipv6|client ip")),
    "US_SSN": _Kind(0.5, 0.2, _words("ssn|social security|social")),
    "STREET_ADDRESS": _Kind(
        0.25,
        0.1,
        _words("address|street|addr|adresse|direccion|indirizzo|street ?address"),
        _words("e ?mail|ip|mac|web|url|type|id|wallet|memory"),
    ),
    "DATE_OF_BIRTH": _Kind(
        2,
        2,
        _words(
            "dob|birth|birth ?date|date of birth|birth ?day|born|geburtsdatum|naissance|nacimiento"
        ),
        _words("place|country|city|weight|order|rate|count|year|month|state"),
        re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:[T ].*)?"),
    ),
    "NATIONAL_ID": _Kind(
        2,
        2,
        _IDENTITY,
        _words("type|country|state|has|is|class|expires?"),
        re.compile(r"[\w .+/-]{5,24}"),
    ),
    "USERNAME": _Kind(
        2,
        2,
        _words("user ?name|login|screen ?name|nick ?name|handle|twitter|account name"),
        _words("count|date|time|last|type"),
        re.compile(r"\S{3,40}"),
    ),
    "PASSWORD": _Kind(
        2,
        2,
        _words("password|passwd|pwd|passphrase"),
        _words("changed|age|length|date"),
        re.compile(r"\S{4,200}"),
    ),
}
"""What is looked for besides the identity numbers of `personal_scan.CHECKED`, which have check
digits."""
_LEAST_CARD = 10**11
_SHAPED = 0.7
_DISTINCT = 0.05
"""Where the name alone decides, values repeat less than this would have it."""


@dataclass(frozen=True, slots=True)
class Found:
    """One kind of personal data in one column: the share of the values looked at, and how it was
    decided; `share` is of the shape where the name decided."""

    column: str
    kind: str
    share: float
    how: How


def check_installed() -> None:
    """Raise `Unavailable` unless the extra is installed; imports nothing of it."""
    for module in ("presidio_analyzer", "spacy", MODEL):
        if importlib.util.find_spec(module) is None:
            raise Unavailable(
                "looking for personal data needs presidio-analyzer and a spaCy model",
                remedy="pip install 'assay[checks]'",
                code="data.checks",
            )


def find(frame: pl.DataFrame) -> tuple[list[Found], dict[str, Any]]:
    """The personal data in a checked frame, and how much was looked at at what level of isolation.

    Raises `Unavailable` when the extra is not installed, or there is no answer.
    """
    check_installed()
    texts = {
        column.name: values
        for column in frame.get_columns()
        if (values := _texts(column, _sample_size(frame.width)))
    }
    outcome = run(
        "assay.data.personal_scan:confined",
        json.dumps(list(texts.values())).encode(),
        limits=Limits(memory_bytes=8 * GIB, cpu_seconds=600, wall_seconds=900),
    )
    counts = dict(zip(texts, json.loads(outcome.value), strict=True))
    found: list[Found] = []
    for column in frame.get_columns():
        found += decide(column, texts.get(column.name, []), counts.get(column.name, {}))
    looked = {
        "isolation": outcome.level,
        "columns": frame.width,
        "values": sum(map(len, texts.values())),
        "most_values": _sample_size(frame.width),
    }
    return found, looked


def _sample_size(columns: int) -> int:
    return max(_LEAST_SAMPLE, min(SAMPLE, _MOST_VALUES // max(1, columns)))


def _texts(column: pl.Series, most: int) -> list[str]:
    """Distinct values evenly spaced in their order: the same for the same rows, whatever their
    order, and from all over the alphabet."""
    kind = kind_of(column.dtype)
    if kind == "int":
        # Numbers shorter than any with check digits are not worth a look.
        column = column.filter(column.abs() >= 10**8)
    elif kind != "string":
        return []
    values = column.drop_nulls().cast(pl.String).str.strip_chars().unique().sort()
    values = values.filter(values != "")
    if values.len() > most:
        places = [place * values.len() // most for place in range(most)]
        values = values.gather(places)
    return [text[:_LONGEST] for text in values.to_list()]


def decide(column: pl.Series, texts: list[str], counts: dict[str, int]) -> list[Found]:
    """What the counts and the name of a column say about it."""
    words = spelt(column.name)
    found: list[Found] = []
    numeric = kind_of(column.dtype) in ("int", "float")
    for kind in {**dict.fromkeys(KINDS), **dict.fromkeys(counts)}:
        rule = KINDS.get(kind, _CHECKSUM)
        share = counts.get(kind, 0) / len(texts) if texts else 0.0
        named = _says(rule, words)
        alone = max(rule.alone, 0.75) if len(texts) < _FEW else rule.alone
        if numeric and rule.how != "checksum":
            share = 0.0
        if share >= alone:
            found.append(Found(column.name, kind, share, rule.how))
        elif named and share >= rule.named:
            found.append(Found(column.name, kind, share, "name+value"))
        elif named and (shaped := _shaped(column, rule)) >= _SHAPED:
            found.append(Found(column.name, kind, shaped, "name"))
    kinds = {f.kind for f in found}
    renamed = [
        Found(f.column, "PERSON", f.share, f.how) if f.kind == "FULL_NAME" else f
        for f in found
        if f.kind != "FULL_NAME" or "PERSON" not in kinds
    ]
    return sorted(renamed, key=lambda f: f.kind)


def spelt(name: str) -> str:
    """A column's name in words: ``MothersMaiden_name2`` is ``mothers maiden name``."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return " ".join(re.findall(r"[^\W\d_]+", apart)).lower()


def _says(rule: _Kind, words: str) -> bool:
    return (
        rule.words is not None
        and rule.words.search(words) is not None
        and (rule.unless is None or rule.unless.search(words) is None)
    )


def _shaped(column: pl.Series, rule: _Kind) -> float:
    """The share of distinct values that look like the kind; 0 where few differ."""
    if rule.shape is None:
        return 0.0
    values = column.drop_nulls()
    distinct = values.unique()
    if distinct.len() < max(_FEW, _DISTINCT * values.len()):
        return 0.0
    kind = kind_of(column.dtype)
    if kind == "date":
        return 1.0 if rule is KINDS["DATE_OF_BIRTH"] else 0.0
    if kind == "float":
        long = int((distinct.abs() >= _LEAST_CARD).sum())
        return long / distinct.len() if rule is KINDS["CREDIT_CARD"] else 0.0
    texts = distinct.sort().cast(pl.String).head(2_000).to_list()
    return sum(rule.shape.fullmatch(t.strip()) is not None for t in texts) / len(texts)


def undeclared(found: list[Found], *, personal: bool, declared: Collection[str]) -> list[str]:
    """The columns in which something was found and nobody declared it, sorted; of data that is
    registered as about nobody, every one."""
    known = set(declared) if personal else set[str]()
    return sorted({f.column for f in found} - known)


def told(found: list[Found]) -> list[dict[str, Any]]:
    """What was found as plain JSON, by column."""
    by_column: dict[str, list[dict[str, Any]]] = {}
    for item in found:
        kind = {"kind": item.kind, "share": round(item.share, 4), "how": item.how}
        by_column.setdefault(item.column, []).append(kind)
    return [{"column": column, "kinds": kinds} for column, kinds in by_column.items()]
