"""Identifiers: UUIDv7 (RFC 9562): they sort by time, and nothing autoincrements into meaning."""

from __future__ import annotations

import uuid

import uuid6


def new_id() -> str:
    """A fresh UUIDv7 in its canonical 36-character form."""
    return str(uuid6.uuid7())


def is_id(text: str) -> bool:
    """Whether `text` is a UUID in canonical form."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
