"""Secrets by reference: ``env:NAME`` or ``file:PATH``, never the secret itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from assay import files
from assay.errors import AssayError, Unavailable, Usage

_MOST = 1 << 14


def check(reference: str, whose: str) -> str:
    """`reference` if it is one, or empty; else `Usage`, which does not repeat it."""
    kind, colon, where = reference.partition(":")
    if reference and (not colon or kind not in ("env", "file") or not where.isprintable()):
        raise Usage(
            f"{whose}: its credential is not a reference",
            remedy='write where it is kept: credential = "env:NAME" or "file:PATH"; if that was '
            "the secret itself, it has been in a file that is committed: change it",
            code="source.credential",
        )
    if reference and not where:
        raise Usage(
            f"{whose}: its credential names nothing after {kind}:",
            remedy=f'credential = "{kind}:NAME"',
            code="source.credential",
        )
    return reference


def resolve(
    reference: str, whose: str, base: Path, environment: Mapping[str, str] | None = None
) -> str:
    """The secret behind a reference, without a line feed at its end; empty for no reference.

    A relative path begins at `base`.  Raises `Unavailable` naming the reference.
    """
    check(reference, whose)
    if not reference:
        return ""
    kind, _, where = reference.partition(":")
    if kind == "env":
        found = (os.environ if environment is None else environment).get(where, "")
        if not found:
            raise _missing(whose, reference, f"export {where}=…")
        return found
    try:
        found = files.read(base / where, limit=_MOST, what="credential").decode()
    except (AssayError, UnicodeDecodeError, ValueError):
        raise _missing(whose, reference, "write the secret to that file, as one line") from None
    found = found.removesuffix("\n").removesuffix("\r")
    if not found or not found.isprintable():
        raise _missing(whose, reference, "write the secret to that file, as one line")
    return found


def _missing(whose: str, reference: str, remedy: str) -> Unavailable:
    return Unavailable(
        f"{whose}: there is no credential in {reference}", remedy=remedy, code="source.credential"
    )
