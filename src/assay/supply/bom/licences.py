"""How a licence is written: as an SPDX expression where it is one, else as the name it has."""

from __future__ import annotations

import functools
from typing import Any

from assay.supply.bom.model import Licence

_LONGEST = 200
_MEANT = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license v2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "cc by 4.0": "CC-BY-4.0",
    "cc by-sa 4.0": "CC-BY-SA-4.0",
    "cc0": "CC0-1.0",
    "mit license": "MIT",
    "mozilla public license 2.0": "MPL-2.0",
    "new bsd": "BSD-3-Clause",
}
"""Spellings that mean one licence and no other.  ``BSD License`` and ``Apache Software License``
are not among them: there are several of each."""


def spell(text: str, by: str, source: str = "") -> Licence:
    """A licence that somebody declares; unknown where it says nothing."""
    said = " ".join(text.split())[:_LONGEST]
    if not said or said.upper() in ("UNKNOWN", "NOASSERTION", "NONE"):
        return Licence(why=f"{by} does not say")
    expression = _expression(_MEANT.get(said.lower(), said))
    return Licence(expression or said, "declared", source, by, spdx=bool(expression))


def _expression(text: str) -> str:
    """The same as an SPDX expression in its normal spelling; empty where it is none."""
    licensing = _licensing()
    if licensing is None:
        return ""
    try:
        told = licensing.validate(text)
    except Exception:  # The library raises errors of its parser's parser, too.
        return ""
    return "" if told.errors else str(told.normalized_expression or "")


@functools.cache
def _licensing() -> Any:
    try:
        import license_expression
    except ImportError:
        return None
    return license_expression.get_spdx_licensing()
