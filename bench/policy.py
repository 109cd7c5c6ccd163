"""What a decision costs, beside a bare cedarpy call on the same request in the same run.

Run: ``python bench/policy.py``.  Times are CPU microseconds for one decision, the best of several
rounds, because other work on the machine only ever adds to them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cedarpy
import msgspec

from assay.assess.declarations import DECLARATIONS
from assay.policy import settings, testing
from assay.policy.bundle import Bundle, build, write_defaults
from assay.policy.engine import Engine, Request
from assay.policy.schema import read_declarations

ROUNDS, CALLS = 7, 300

OTHERS = [
    ("scan.clean", "bool", "false"),
    ("parity.disagreement", "decimal", "higher"),
    ("provenance.level", "string", ""),
    ("doctor.critical", "long", "higher"),
    ("doctor.issued", "datetime", "lower"),
]


def declarations() -> list[dict[str, Any]]:
    """The facts that the default gates read."""
    known = {item["name"] for item in DECLARATIONS}
    return DECLARATIONS + [
        {
            "name": name,
            "type": kind,
            "predicate_type": f"https://assay.dev/evidence/{name.partition('.')[0]}/v1",
            "path": name.partition(".")[2],
            "worse": worse,
            "order": [],
            "description": name,
            "remedy": "",
            "seconds": 0,
        }
        for name, kind, worse in OTHERS
        if name not in known
    ]


def micros(work: Callable[[], object]) -> float:
    """CPU microseconds for one call."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(CALLS):
            work()
        best = min(best, (time.process_time() - start) / CALLS * 1e6)
    return best


def show(what: str, value: float, note: str = "") -> None:
    print(f"{what:<52}{value:>10,.0f} µs   {note}")


def promotion(bundle: Bundle, **changes: Any) -> Request:
    """A promotion to production in which everything passes but the changes."""
    declared = read_declarations(bundle.declarations)
    fields: dict[str, Any] = {"roles": ["ml_engineer"], **changes}
    case = testing.Case(name="bench", action="promote", expect="allow", **fields)
    table = testing.read_table(bundle.tests, declared)
    limits = settings.limits(bundle.settings, "")
    return testing.build_request(case, "promote", table, declared, limits)


def main() -> None:
    folder = Path(tempfile.mkdtemp()) / "policy"
    write_defaults(folder)
    start = time.process_time()
    bundle = build(folder, declarations())
    built = (time.process_time() - start) * 1e6
    raw = bundle.encode()
    start = time.process_time()
    engine = Engine(Bundle.decode(raw))
    opened = (time.process_time() - start) * 1e6

    asked = promotion(bundle)
    missing = promotion(bundle, approvals=0, without=["quality.auc_lower", "privacy.auc_upper"])
    stranger = promotion(bundle, roles=["auditor"], approvals=0)
    assert engine.decide(asked).allowed
    assert len(engine.decide(missing).reasons) == 3
    assert len(engine.decide(stranger).reasons) == 2

    # The bare call: what cedarpy's README shows, with everything given as text each time; and the
    # least that the same library takes, with its handles parsed once and the entities as well.
    text = "\n".join(bundle.policies.values())
    request = {
        "principal": asked.principal,
        "action": asked.action,
        "resource": asked.resource,
        "context": asked.context,
    }
    assert cedarpy.is_authorized(request, text, asked.entities, bundle.schema).allowed
    policies, schema = cedarpy.PolicySet.from_str(text), cedarpy.Schema.from_str(bundle.schema)
    parsed = cedarpy.Entities.from_json_str(msgspec.json.encode(asked.entities).decode(), schema)

    naive = micros(lambda: cedarpy.is_authorized(request, text, asked.entities, bundle.schema))
    handles = micros(lambda: cedarpy.is_authorized(request, policies, asked.entities, schema))
    least = micros(lambda: cedarpy.is_authorized(request, policies, parsed, schema))
    allowed = micros(lambda: engine.decide(asked))

    print(
        f"{len(engine.rules)} policies, bundle of {len(raw):,} bytes, "
        f"{engine.decide(asked).engine}\n"
    )
    show("bare call, policies and schema as text", naive)
    show("bare call, policies and schema parsed once", handles)
    show("bare call, entities parsed once too", least)
    show(
        "decide: allowed", allowed, f"{allowed / handles:.2f} of bare, {naive / allowed:.0f}x text"
    )
    show("decide: three gates fail", micros(lambda: engine.decide(missing)))
    show("decide: no role, two reasons", micros(lambda: engine.decide(stranger)))
    print()
    show("decode a bundle and make its engine", opened)
    show("build a bundle from its folder", built)
    if allowed > 1000:
        raise SystemExit("an allowed promotion takes more than 1 ms of CPU")


if __name__ == "__main__":
    main()
