"""From what a package declares to an SPDX expression, or to *unknown*.

``License-Expression`` is one (PEP 639).  ``License`` counts where it is one, word for word, and a
classifier only where it means one licence: "BSD License" may be any of a dozen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from assay.supply.licences.expressions import UNKNOWN, normalise
from assay.supply.licences.models import INTERNAL

_OWN = ("data", "machine-learning-model")
"""What may be an organisation's own."""

_CLASSIFIERS = {
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Mozilla Public License 1.1 (MPL 1.1)": "MPL-1.1",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
    "Boost Software License 1.0 (BSL-1.0)": "BSL-1.0",
    "European Union Public Licence 1.2 (EUPL 1.2)": "EUPL-1.2",
    "European Union Public Licence 1.1 (EUPL 1.1)": "EUPL-1.1",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "GNU General Public License v2 or later (GPLv2+)": "GPL-2.0-or-later",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0-only",
    "GNU General Public License v3 or later (GPLv3+)": "GPL-3.0-or-later",
    "GNU Lesser General Public License v2 (LGPLv2)": "LGPL-2.0-only",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.0-or-later",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
    "GNU Affero General Public License v3": "AGPL-3.0-only",
    "GNU Affero General Public License v3 or later (AGPLv3+)": "AGPL-3.0-or-later",
    "Universal Permissive License (UPL)": "UPL-1.0",
    "zlib/libpng License": "Zlib",
}
"""Classifiers that mean one licence (PEP 639, "Mapping of classifiers").  "Apache Software License"
and "BSD License" are not among them."""

_WORDS = {
    "mit license": "MIT",
    "the mit license": "MIT",
    "apache 2.0": "Apache-2.0",
    "apache-2.0 license": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license 2.0": "Apache-2.0",
    "new bsd": "BSD-3-Clause",
    "new bsd license": "BSD-3-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "bsd 2-clause": "BSD-2-Clause",
    "bsd 2-clause license": "BSD-2-Clause",
    "simplified bsd": "BSD-2-Clause",
    "mpl 2.0": "MPL-2.0",
    "isc license": "ISC",
    "gplv3": "GPL-3.0-only",
    "gplv3+": "GPL-3.0-or-later",
    "lgplv3+": "LGPL-3.0-or-later",
}
"""What the field ``License`` says in many packages, and means one licence by its wording."""


def expression(heads: Mapping[str, Sequence[str]]) -> str:
    """The licence of a package by its core metadata (header in lower case → values)."""
    said = _expression(heads)
    return UNKNOWN if INTERNAL in said else said


def _expression(heads: Mapping[str, Sequence[str]]) -> str:
    for text in heads.get("license-expression", ()):
        return normalise(text)
    for text in heads.get("license", ()):
        plain = " ".join(text.split())
        found = normalise(_WORDS.get(plain.lower(), plain))
        if found != UNKNOWN:
            return found
    told = [
        text.rpartition(" :: ")[2]
        for text in heads.get("classifier", ())
        if text.startswith("License :: ") and text != "License :: OSI Approved"
    ]
    known = {_CLASSIFIERS.get(text, UNKNOWN) for text in told}
    # Of several it is not said whether all hold or one may be chosen.
    return known.pop() if len(known) == 1 else UNKNOWN


def of_component(component: Mapping[str, Any]) -> str:
    """The licence of a component of a CycloneDX document: all that it lists hold together."""
    listed = component.get("licenses")
    if not isinstance(listed, list) or not listed:
        return UNKNOWN
    own = component.get("type") in _OWN
    found: list[str] = []
    for item in cast("list[Any]", listed):
        told = cast("dict[str, Any]", item) if isinstance(item, dict) else {}
        named = told.get("license")
        inner = cast("dict[str, Any]", named) if isinstance(named, dict) else {}
        text = told.get("expression") or inner.get("id") or inner.get("name")
        said = normalise(text) if isinstance(text, str) else UNKNOWN
        if isinstance(text, str) and text.strip().lower() == "internal":
            said = INTERNAL
        found.append(UNKNOWN if INTERNAL in said and not own else said)
    if UNKNOWN in found:
        return UNKNOWN
    return found[0] if len(found) == 1 else " AND ".join(f"({text})" for text in found)
