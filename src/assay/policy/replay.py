"""Ask an old decision again: the same request, under the bundle that it names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from assay.errors import AssayError
from assay.policy.document import Bundle
from assay.policy.engine import Decision, Engine, Request


class Replay(msgspec.Struct, frozen=True):
    """Whether policy answers as recorded, and if not, in what it differs."""

    same: bool
    differences: list[str]
    decision: Decision | None
    """The answer given now; None when the request or the bundle cannot be read any more."""

    def __bool__(self) -> bool:
        return self.same

    @property
    def explanation(self) -> str:
        """In one sentence."""
        if self.same:
            return "The policy decides as it did."
        return "The policy does not decide as recorded: " + "; ".join(self.differences) + "."


def replay(
    bundle: Bundle, recorded_request: Mapping[str, Any], recorded: Mapping[str, Any]
) -> Replay:
    """Decide `recorded_request` under `bundle` and compare with the `recorded` decision.

    `recorded` has ``allowed`` and ``reasons``; a ``bundle`` in it must be the digest of `bundle`.
    The texts of reasons are not compared: which gates failed is the decision.
    """
    differences: list[str] = []
    if recorded.get("bundle", bundle.digest) != bundle.digest:
        differences.append(f"it was made under bundle {recorded['bundle']}, not {bundle.digest}")
    try:
        request = msgspec.convert(dict(recorded_request), Request)
        decision = Engine(bundle).decide(request)
        gates = [str(reason["gate"]) for reason in recorded["reasons"]]
        allowed = recorded["allowed"]
    except AssayError as error:
        return Replay(False, [*differences, error.message], None)
    except (msgspec.ValidationError, KeyError, TypeError) as error:
        return Replay(False, [*differences, f"the record is incomplete: {error}"], None)
    if decision.allowed is not allowed:
        said = {True: "allowed", False: "denied"}
        differences.append(
            f"recorded as {said.get(allowed, repr(allowed))}, now {said[decision.allowed]}"
        )
    now = [reason.gate for reason in decision.reasons]
    for gate in gates:
        if gate not in now:
            differences.append(f"{gate} failed then and passes now")
    for gate in now:
        if gate not in gates:
            differences.append(f"{gate} passed then and fails now")
    if not differences and gates != now:
        differences.append("the failing gates come in another order")
    return Replay(not differences, differences, decision)
