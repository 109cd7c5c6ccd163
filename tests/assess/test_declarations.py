from __future__ import annotations

import re
from typing import Any

import numpy as np

from assay.assess.declarations import DECLARATIONS, PRIVACY, QUALITY
from assay.assess.privacy import KIND as PRIVACY_KIND
from assay.assess.privacy import privacy
from assay.assess.quality import KIND as QUALITY_KIND
from assay.assess.quality import quality

TYPES = {"bool", "long", "decimal", "string", "datetime", "set"}
PLACES = {"model", "version", "project", "data", "training"}


def predicates() -> dict[str, Any]:
    generator = np.random.default_rng(0)
    y = generator.integers(0, 2, 400)
    p = np.clip(0.3 + 0.4 * y + 0.2 * generator.normal(size=400), 0.05, 0.95)
    group = np.arange(400) % 2
    member = np.arange(400) < 200
    scorer = lambda rows: p[rows[:, 0]]  # noqa: E731
    return {
        QUALITY: quality(y, p, champion=p[::-1], train=(y, p), sensitive={"group": group}),
        PRIVACY: privacy(np.arange(400).reshape(-1, 1), y, member, scorer, train=lambda *_: scorer),
    }


def test_every_declared_fact_is_found_where_it_is_declared() -> None:
    made = predicates()
    for fact in DECLARATIONS:
        value: Any = made[fact["predicate_type"]]
        for step in fact["path"].split("."):
            value = value[step]
        assert type(value) is (int if fact["type"] == "long" else float), fact["name"]


def test_declarations_have_the_form_that_policy_reads() -> None:
    for fact in DECLARATIONS:
        assert set(fact) == {
            "name", "type", "predicate_type", "path", "worse", "order", "description", "remedy",
            "seconds",
        }  # fmt: skip
        assert re.fullmatch(r"(quality|privacy)\.[a-z_]+", fact["name"])
        assert fact["type"] in TYPES
        assert fact["worse"] in {"lower", "higher"}
        assert set(re.findall(r"{(\w+)}", fact["remedy"])) <= PLACES
        assert fact["seconds"] > 0
    names = [fact["name"] for fact in DECLARATIONS]
    assert len(set(names)) == len(names)
    assert f"https://assay.dev/evidence/{QUALITY_KIND}/v1" == QUALITY
    assert f"https://assay.dev/evidence/{PRIVACY_KIND}/v1" == PRIVACY
