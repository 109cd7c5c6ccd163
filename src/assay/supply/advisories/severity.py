"""How severe an advisory is: by its CVSS vector, else by its publisher's word, else *unrated*.

*Unrated* is not low: it is counted apart, and a gate can ask about it.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any, NamedTuple

from assay.supply.advisories.osv import Entry

RANKS = {"low": 1, "unrated": 2, "medium": 3, "high": 4, "critical": 5}
"""For showing the worst first; of several advisories about one vulnerability any rating counts
before none."""

_CLASSES = {"CVSS_V4": "CVSS4", "CVSS_V3": "CVSS3", "CVSS_V2": "CVSS2"}


class Rating(NamedTuple):
    """A severity, the score it follows from, and who gave it."""

    severity: str
    score: float | None
    by: str

    def rank(self) -> tuple[int, float]:
        """The worst last; anything is worse than not rated."""
        rank = 0 if self.severity == "unrated" else RANKS[self.severity]
        return (rank, self.score or 0.0)


UNRATED = Rating("unrated", None, "")


def rate(entry: Entry) -> Rating:
    """The worst of the scores of an advisory, version 2 only where there is no other."""
    if entry.id.startswith("MAL-"):
        return Rating("critical", None, "malicious package")
    scored = [rating for told in entry.severity if (rating := _score(told.type, told.score))]
    newer = [rating for rating in scored if rating.by != "CVSS_V2"]
    if newer or scored:
        return max(newer or scored, key=Rating.rank)
    if entry.rated:
        return Rating(entry.rated, None, "publisher")
    return UNRATED


@functools.cache
def scores() -> bool:
    """Whether vectors can be scored: ``pip install 'assay[supply]'`` brings what it takes."""
    return _library() is not None


@functools.cache
def _library() -> Any | None:
    try:
        return importlib.import_module("cvss")
    except ImportError:
        return None


@functools.lru_cache(maxsize=4096)
def _score(kind: str, vector: str) -> Rating | None:
    library = _library()
    if library is None or kind not in _CLASSES:
        return None
    try:
        score = float(getattr(library, _CLASSES[kind])(vector).scores()[0])
    except Exception:  # Each version has errors of its own, and some are those of a bare parser.
        return None
    return Rating(band(score, kind), score, kind) if 0 <= score <= 10 else None


def band(score: float, kind: str) -> str:
    """The qualitative rating of a score, as CVSS v3.1 and v4.0 define it (section 5, section 6.4).

    A score of 0 is *low*: somebody found it worth an advisory.
    """
    if score >= 9.0 and kind != "CVSS_V2":
        return "critical"
    if score >= 7.0:
        return "high"
    return "medium" if score >= 4.0 else "low"
