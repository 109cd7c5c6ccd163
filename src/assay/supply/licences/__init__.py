"""Licences of packages, data and models: what is under which, and what a policy says of it.

What lives here
    `models` (licences of models, and what they ask), `expressions` (SPDX expressions), `metadata`
    (from what a package declares to an expression, or to *unknown*), `policy` (allowed, denied, to
    be reviewed) and `judging` (`judge`, and what is signed).

May import
    Floors 0 and 1, and its neighbours in `assay.supply`.

An attacker who owns it can
    call a licence allowed that is not.  Whoever wrote a package can declare a licence that it has
    not; what is judged here is what is declared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assay.supply.licences.policy import Policy

__all__ = ["judge"]


def judge(expressions: Mapping[str, str], policy: Policy) -> dict[str, Any]:
    """The predicate ``https://assay.dev/evidence/licences/v1`` about components and what each is
    under (see `assay.supply.licences.judging`)."""
    from assay.supply.licences import judging

    return judging.judge(expressions, policy)
