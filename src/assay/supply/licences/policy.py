"""Which licences are allowed: lists from ``assay/licence-policy/v1``, a TOML file, or defaults."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from assay import files
from assay.errors import Usage
from assay.supply.licences import expressions, models
from assay.supply.licences.expressions import UNKNOWN

FORMAT = "assay/licence-policy/v1"
_MOST_BYTES = 1 << 20

Verdict = Literal["allowed", "review", "unknown", "denied"]
WORST: dict[Verdict, int] = {"allowed": 0, "review": 1, "unknown": 2, "denied": 3}

ALLOWED = (
    *("0BSD", "AFL-3.0", "Apache-2.0", "BlueOak-1.0.0", "BSD-2-Clause", "BSD-3-Clause"),
    *("BSD-3-Clause-LBNL", "BSL-1.0", "CC-BY-4.0", "CC0-1.0", "CDLA-Permissive-1.0"),
    *("CDLA-Permissive-2.0", "CNRI-Python", "HPND", "ISC", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0"),
    *("NCSA", "ODC-By-1.0", "PDDL-1.0", "PostgreSQL", "PSF-2.0", "Python-2.0", "Unicode-3.0"),
    *("Unlicense", "UPL-1.0", "WTFPL", "X11", "Zlib", "ZPL-2.1", "Unicode-DFS-2016"),
    *("LGPL-2.1-only", "LGPL-2.1-or-later", "LGPL-3.0-only", "LGPL-3.0-or-later"),
    *("LicenseRef-scancode-openmdw-1.0", "GPL-3.0-only WITH GCC-exception-3.1"),
    *("GPL-3.0-or-later WITH GCC-exception-3.1", "Apache-2.0 WITH LLVM-exception"),
    models.INTERNAL,
)
"""Permissive licences, and weak copyleft for libraries that are used and not changed."""
DENIED = (
    *("AGPL-1.0-only", "AGPL-1.0-or-later", "AGPL-3.0-only", "AGPL-3.0-or-later", "SSPL-1.0"),
    *("BUSL-1.1", "Elastic-2.0", "JSON", "CC-BY-NC-3.0", "CC-BY-NC-4.0", "CC-BY-NC-ND-4.0"),
    *("CC-BY-NC-SA-3.0", "CC-BY-NC-SA-4.0", "LicenseRef-Qwen-RESEARCH"),
)
"""Licences that a service over a network, or commercial use, is at odds with."""


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What of licences is allowed.  What is on none of the lists gets `unlisted`."""

    format: Literal["assay/licence-policy/v1"] = FORMAT
    allowed: tuple[str, ...] = ALLOWED
    denied: tuple[str, ...] = DENIED
    review: tuple[str, ...] = ()
    unlisted: Literal["allowed", "review", "denied"] = "review"
    commercial: bool = True
    """Whether it is for commercial use: then what forbids that is denied, allowed or not."""
    declared: dict[str, str] = {}
    """Component (``name`` or ``name@version``) → the expression that somebody found it to be
    under, where its own metadata does not say."""

    def verdict(self, licence: str, exception: str = "") -> Verdict:
        """About one licence of an expression."""
        whole = f"{licence} WITH {exception}" if exception else licence
        if whole in self.denied or (licence in self.denied and whole not in self.allowed):
            return "denied"
        terms = models.terms_of(licence)
        if self.commercial and terms is not None and terms.commercial == "no":
            return "denied"
        if whole in self.review:
            return "review"
        if whole in self.allowed or (exception and licence in self.allowed):
            return "allowed"
        return self.unlisted

    def judge(self, expression: str) -> Verdict:
        """All of ``AND`` have to be allowed; of ``OR`` the best may be chosen."""
        if expression == UNKNOWN:
            return "unknown"
        found = expressions.fold(
            expression,
            self.verdict,
            lambda parts: max(parts, key=WORST.__getitem__),
            lambda parts: min(parts, key=WORST.__getitem__),
        )
        return "unknown" if found is None else found

    def of(self, component: str, expression: str) -> str:
        """What a component is under: its own word, else what was declared for it."""
        if expression != UNKNOWN:
            return expression
        name = component.rpartition("@")[0] or component
        told = self.declared.get(component, self.declared.get(name, UNKNOWN))
        return expressions.normalise(told)


def from_mapping(given: Mapping[str, Any], where: str) -> Policy:
    """A policy from plain data; raises `Usage` for a licence nobody knows."""
    try:
        policy = msgspec.convert(dict(given), Policy)
    except msgspec.ValidationError as error:
        raise _wrong(where, str(error)) from error
    for name in (*policy.allowed, *policy.denied, *policy.review, *policy.declared.values()):
        if expressions.normalise(name) == UNKNOWN:
            raise _wrong(where, f"{name[:80]!r} is no SPDX licence and no licence of a model")
    if twice := set(policy.allowed) & {*policy.denied, *policy.review}:
        raise _wrong(where, f"{min(twice)} is on two lists")
    canonical = {
        field: tuple(expressions.normalise(name) for name in getattr(policy, field))
        for field in ("allowed", "denied", "review")
    }
    return msgspec.structs.replace(policy, **canonical)


def read(path: Path) -> Policy:
    """A policy from a TOML file that a user names; it says its format."""
    with files.open_input(path, what="licence policy") as stream:
        data = stream.read(_MOST_BYTES + 1)
    try:
        told = tomllib.loads(data[:_MOST_BYTES].decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise _wrong(str(path), str(error)) from error
    if told.get("format") != FORMAT or len(data) > _MOST_BYTES:
        raise _wrong(str(path), f'it does not begin with format = "{FORMAT}", or is too large')
    return from_mapping(told, str(path))


def _wrong(where: str, why: str) -> Usage:
    return Usage(
        f"{where[:200]}: not a licence policy: {why[:300]}",
        remedy="see docs/vulnerabilities.md#licences",
        code="licences.policy",
    )
