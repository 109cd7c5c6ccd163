"""Names and sentences of any origin, made fit for a page.

A column, a module or a branch may be called anything, and a page is read by people and by the
server that shows it: markup, mentions, references and links that a name smuggles in must stay the
letters that they are.
"""

from __future__ import annotations

import hashlib
import re

MOST = 300
"""Characters shown of one text."""

_JOINER = "&#8288;"
"""An invisible word joiner: the servers look for mentions, references and addresses in the text
*after* Markdown is rendered, so no escape of Markdown hides them; a split one is none."""

_PLAIN = re.compile(r"[A-Za-z0-9 .,()'\"/:;?%+=-]|[^\x00-\x7f]")
_SPLIT = re.compile(r"[@#!$%&~^](?=[\w\"'])|:(?=[^\s\d])|\bwww\.(?=\S)", re.IGNORECASE)


def shown(text: object, most: int = MOST) -> str:
    """One line without control, format or direction characters: they are spelt ``\\u202e``."""
    whole = str(text)
    cut = whole if len(whole) <= most else whole[: most - 1] + "…"
    return "".join(c if c.isprintable() else _spelt(c) for c in cut)


def _spelt(character: str) -> str:
    number = ord(character)
    short = {0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t"}
    if number in short:
        return short[number]
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def distinct(text: object, most: int = 120) -> str:
    """`shown`, where two long texts with one beginning stay two."""
    whole = str(text)
    if len(whole) <= most:
        return shown(whole, most)
    digest = hashlib.sha256(whole.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return f"{shown(whole[: most - 10], most)}…{digest}"


def code(text: object, most: int = MOST) -> str:
    """A Markdown code span that can stand in a table: nothing in it is interpreted by anybody."""
    inside = shown(text, most).replace("`", "\\x60").replace("|", "\\x7c").strip()
    return f"`{inside}`" if inside else "–"


def prose(text: object, most: int = MOST) -> str:
    """A sentence in Markdown that can stand in a table, without any markup of its own."""
    line = " ".join(shown(text, most).split())
    splits = {found.end() for found in _SPLIT.finditer(line)}
    out: list[str] = []
    for number, character in enumerate(line):
        plain = _PLAIN.fullmatch(character) is not None
        joiner = _JOINER if number in splits else ""
        out.append(joiner + (character if plain else f"&#{ord(character)};"))
    return "".join(out) or "–"
