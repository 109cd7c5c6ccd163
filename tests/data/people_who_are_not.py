"""Tables with a known truth: people who do not exist, and things that are no people.

Made by rules from short lists with a fixed seed, so that everybody tests on the same.
"""

from __future__ import annotations

import random
from typing import Any

import polars as pl

GIVEN = (
    *("James", "Mary", "Robert", "Patricia", "John", "Jennifer", "Michael", "Linda", "David"),
    *("Elizabeth", "William", "Barbara", "Richard", "Susan", "Joseph", "Jessica", "Thomas"),
    *("Karen", "Christopher", "Sarah", "Daniel", "Nancy", "Matthew", "Laura", "Anthony", "Emily"),
)
FAMILY = (
    *("Smith", "Johnson", "Williams", "Brown", "Jones", "Garcia", "Miller", "Davis", "Martinez"),
    *("Anderson", "Taylor", "Thomas", "Moore", "Jackson", "Thompson", "White", "Harris", "Clark"),
    *("Lewis", "Robinson", "Walker", "Wright", "Nguyen", "Campbell", "Mitchell", "Carter"),
)
STREETS = ("Main Street", "Oak Avenue", "Park Road", "Cedar Lane", "Maple Drive", "Hill Court")
JOBS = (
    *("Software engineer", "Nurse", "Teacher", "Accountant", "Plumber", "Sales manager", "Clerk"),
    *("Electrician", "Data analyst", "Truck driver", "Pharmacist", "Civil engineer", "Chef"),
    *("Bank teller", "Graphic designer", "Welder", "Librarian", "Surveyor", "Physiotherapist"),
)
COMPANIES = (
    *("Acme Corp", "Globex Ltd", "Initech Systems", "Umbrella Holdings", "Stark Industries"),
    *("Northern Steel plc", "Blue Ridge Foods", "Vector Logistics GmbH", "Delta Freight Inc"),
    *("Harbor Insurance", "Summit Energy", "Pioneer Telecom", "Orchard Retail Group"),
)
CITIES = (
    *("London", "Paris", "Berlin", "Madrid", "Rome", "Vienna", "Lisbon", "Dublin", "Austin"),
    *("Houston", "Dallas", "Denver", "Phoenix", "Charlotte", "Jackson", "Madison", "Florence"),
    *("Victoria", "Sydney", "Oslo", "Prague", "Warsaw", "Athens", "Boston", "Seattle"),
)
COLOURS = ("Red", "Ruby", "Violet", "Olive", "Jade", "Amber", "Hazel", "Scarlet", "Rose", "Ivory")
THINGS = ("Chair", "Phone", "Shirt", "Laptop", "Mug", "Lamp", "Table", "Backpack", "Bottle")
REVIEWS = (
    "The battery lasts long and charges quickly",
    "Arrived late but works well enough for me",
    "I would not buy this again, poor quality",
    "Great value, my kids love playing with it",
)


def luhn(digits: str) -> str:
    """`digits` and their check digit."""
    total = 0
    for place, char in enumerate(reversed(digits)):
        value = int(char) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return digits + str(-total % 10)


def iban(account: int) -> str:
    """A German account number with its check digits."""
    body = f"37040044{account:010d}"
    check = 98 - int(body + "131400") % 97
    return f"DE{check:02d}{body}"


def personal(rows: int = 600, seed: int = 0) -> tuple[pl.DataFrame, dict[str, str]]:
    """A table of nothing but personal data, and the kind of each column."""
    r = random.Random(seed)  # noqa: S311 - people who do not exist need no secrecy
    given, family = r.choices(GIVEN, k=rows), r.choices(FAMILY, k=rows)
    pairs = list(zip(given, family, strict=True))

    def digits(count: int) -> str:
        return "".join(str(r.randrange(10)) for _ in range(count))

    columns: dict[str, tuple[str, list[Any]]] = {
        "first_name": ("PERSON", given),
        "surname": ("PERSON", family),
        "customer": ("PERSON", [f"{a} {b}" for a, b in pairs]),
        "signatory": ("PERSON", [f"{b.upper()}, {a.upper()}" for a, b in pairs]),
        "contact": (
            "EMAIL_ADDRESS",
            [f"{a}.{b}{r.randrange(99)}@example.org".lower() for a, b in pairs],
        ),
        "telephone": (
            "PHONE_NUMBER",
            [f"+1 212-{r.randrange(200, 999)}-{digits(4)}" for _ in pairs],
        ),
        "residence": (
            "STREET_ADDRESS",
            [f"{r.randrange(1, 999)} {r.choice(STREETS)}" for _ in pairs],
        ),
        "card": ("CREDIT_CARD", [int(luhn(f"4{digits(14)}")) for _ in pairs]),
        "account": ("IBAN_CODE", [iban(r.randrange(10**10)) for _ in pairs]),
        "social": (
            "US_SSN",
            [
                f"{r.randrange(100, 665)}-{r.randrange(10, 99)}-{r.randrange(1000, 9999)}"
                for _ in pairs
            ],
        ),
        "last_login_ip": (
            "IP_ADDRESS",
            [f"{r.randrange(11, 200)}.{digits(2)}.{r.randrange(255)}.7" for _ in pairs],
        ),
        "date_of_birth": (
            "DATE_OF_BIRTH",
            [
                f"{r.randrange(1940, 2005)}-{r.randrange(1, 13):02d}-{r.randrange(1, 29):02d}"
                for _ in pairs
            ],
        ),
        "user_name": ("USERNAME", [f"{a.lower()}{r.randrange(9999)}" for a in given]),
    }
    frame = pl.DataFrame({name: values for name, (_, values) in columns.items()})
    return frame, {name: kind for name, (kind, _) in columns.items()}


def harmless(rows: int = 600, seed: int = 0) -> pl.DataFrame:
    """A table of nothing that says who somebody is, much of it under misleading names."""
    r = random.Random(seed)  # noqa: S311
    return pl.DataFrame(
        {
            "customer_id": r.sample(range(10**8, 10**9), rows),
            "order_number": [str(n) for n in r.sample(range(10**12, 10**13), rows)],
            "row": list(range(rows)),
            "age": [r.randrange(18, 90) for _ in range(rows)],
            "income": [r.randrange(10_000, 200_000) for _ in range(rows)],
            "balance": [round(r.gauss(1000, 300), 2) for _ in range(rows)],
            "created": [1_700_000_000 + r.randrange(10**7) for _ in range(rows)],
            "nanoseconds": [1_700_000_000_000_000_000 + r.randrange(10**15) for _ in range(rows)],
            "occupation": r.choices(JOBS, k=rows),
            "employer": r.choices(COMPANIES, k=rows),
            "product_name": [f"{r.choice(COLOURS)} {r.choice(THINGS)}" for _ in range(rows)],
            "city": r.choices(CITIES, k=rows),
            "colour": r.choices(COLOURS, k=rows),
            "sex": r.choices(("male", "female"), k=rows),
            "title": r.choices(("Mr.", "Mrs.", "Dr."), k=rows),
            "race": r.choices(("White", "Black", "Asian", "Other"), k=rows),
            "email_opened": r.choices((True, False), k=rows),
            "phone_service": r.choices(("Yes", "No"), k=rows),
            "birth_weight": [r.randrange(2000, 4500) for _ in range(rows)],
            "credit_card_limit": [r.randrange(1, 100) * 500 for _ in range(rows)],
            "version": [
                f"{r.randrange(9)}.{r.randrange(20)}.{r.randrange(20)}" for _ in range(rows)
            ],
            "coordinates": [
                f"{r.uniform(-90, 90):.5f},{r.uniform(-180, 180):.5f}" for _ in range(rows)
            ],
            "token": [f"{r.getrandbits(64):016x}" for _ in range(rows)],
            "review": [f"{r.choice(REVIEWS)}, {r.randrange(1, 6)} stars" for _ in range(rows)],
            "url": [
                f"https://shop{r.randrange(99)}.example.com/p/{r.randrange(10**6)}"
                for _ in range(rows)
            ],
            "seen": [
                f"2024-{r.randrange(1, 13):02d}-{r.randrange(1, 29):02d}" for _ in range(rows)
            ],
        }
    )
