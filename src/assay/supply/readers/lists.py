"""The lists of known names, kept as text beside the readers: ``[section]`` and words."""

from __future__ import annotations

import functools
from pathlib import Path


@functools.cache
def load(name: str) -> dict[str, frozenset[str]]:
    """Section → its words."""
    text = Path(__file__).with_name(f"{name}.txt").read_text(encoding="utf-8")
    found: dict[str, set[str]] = {}
    section = ""
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if line.startswith("["):
            section = line.strip("[]")
            continue
        found.setdefault(section, set()).update(line.split())
    return {name: frozenset(words) for name, words in found.items()}
