"""The licence that a model declares about itself: in its card, in its metadata, or nowhere.

Only what is *declared* is read.  What a licence demands, and whether it is allowed here, is judged
elsewhere; a licence's text beside the files is not compared with anything.
"""

from __future__ import annotations

import re
from pathlib import Path

from assay import files
from assay.errors import AssayError

_CARD = 1 << 20
_FIELD = re.compile(r"license(?P<name>_name)?\s*:\s*(?P<value>\S.{0,200})?")
_ITEM = re.compile(r"-\s+(?P<value>\S.{0,200})")
_NOTHING = frozenset({"other", "unknown"})
"""What a card says that says nothing."""


def declared(folder: Path, outside: str) -> str:
    """The licence of what lies in `folder`; `outside` is what the source said beside the files."""
    try:
        with files.open_input(folder / "README.md", what="model card") as stream:
            found = of_card(stream.read(_CARD).decode("utf-8", "replace"))
    except AssayError:
        found = ""
    return shown(found) or shown(outside)


def of_card(text: str) -> str:
    """The ``license`` of a model card's front matter: of its few forms the plain ones."""
    lines = text.splitlines()
    if not lines or lines[0].strip() != "---":
        return ""
    found: list[str] = []
    name = ""
    listing = False
    for line in lines[1:1000]:
        if line.strip() in ("---", "..."):
            break
        field = _FIELD.fullmatch(line.rstrip())
        item = _ITEM.fullmatch(line.strip())
        if field is not None:
            value = _plain(field["value"] or "")
            if field["name"]:
                name = value
            elif value:
                found.append(value)
            listing = not value and not field["name"]
        elif listing and item is not None:
            found.append(_plain(item["value"]))
        else:
            listing = False
    if found == ["other"] and name:
        return name
    return " AND ".join(found)


def _plain(value: str) -> str:
    """A YAML scalar or a flow list of them, without quotes and comments."""
    value = re.sub(r"\s+#.*$", "", value).strip()
    if value.startswith("[") and value.endswith("]"):
        return " AND ".join(_plain(part) for part in value[1:-1].split(",") if part.strip())
    return value.strip("'\"")


def shown(text: str) -> str:
    """A licence as it is written down: printable, not long, and empty where it says nothing."""
    plain = "".join(c for c in text if c.isprintable())[:200].strip()
    return "" if plain.lower() in _NOTHING else plain
