"""SPDX licence expressions, with the licences of models among what is known."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any, TypeVar, cast

from assay.errors import Unavailable
from assay.supply.licences import models

UNKNOWN = "unknown"
"""What is not known, and never guessed."""
_LONGEST = 1_000
_NOTHING = frozenset({"", UNKNOWN, "noassertion", "none", "other", "proprietary"})

T = TypeVar("T")


@functools.cache
def _licensing() -> Any:
    """Reads SPDX's list with ScanCode's and ours; `Unavailable` without the library."""
    try:
        library: Any = importlib.import_module("license_expression")
    except ImportError as error:
        raise Unavailable(
            "licences are read by license-expression, which is not installed",
            remedy="pip install 'assay[supply]'",
            code="licences.library",
        ) from error
    spdx = library.get_spdx_licensing()
    symbols = [symbol for key, symbol in spdx.known_symbols.items() if key not in models.BY_ID]
    own = [models.INTERNAL, *models.BY_ID]
    symbols += [library.LicenseSymbol(name) for name in own]
    return library.Licensing(symbols)


def normalise(text: str) -> str:
    """The expression in one spelling, or `UNKNOWN` for anything that is not one whole."""
    if text.strip().lower() in _NOTHING or len(text) > _LONGEST:
        return UNKNOWN
    known = models.BY_NAME.get(text.strip().lower())
    if known is not None:
        return known.id
    parsed = _parse(text)
    return UNKNOWN if parsed is None else str(parsed.render("{symbol.key}"))


def fold(
    text: str,
    symbol: Callable[[str, str], T],
    all_of: Callable[[list[T]], T],
    any_of: Callable[[list[T]], T],
) -> T | None:
    """Evaluate an expression: `symbol` gets a licence and its exception (or an empty string)."""
    parsed = _parse(text)
    return None if parsed is None else _fold(parsed, symbol, all_of, any_of)


def _fold(
    node: Any,
    symbol: Callable[[str, str], T],
    all_of: Callable[[list[T]], T],
    any_of: Callable[[list[T]], T],
) -> T:
    kind = type(node).__name__
    if kind == "LicenseWithExceptionSymbol":
        return symbol(node.license_symbol.key, node.exception_symbol.key)
    if kind == "LicenseSymbol":
        return symbol(cast("str", node.key), "")
    found = [_fold(part, symbol, all_of, any_of) for part in node.args]
    return all_of(found) if kind == "AND" else any_of(found)


@functools.lru_cache(maxsize=4096)
def _parse(text: str) -> Any | None:
    licensing = _licensing()
    if not text or len(text) > _LONGEST or not text.isascii():
        return None
    try:
        parsed = licensing.parse(text, validate=True, strict=True)
    except Exception:  # Of the expression's own errors and of the library's below it.
        return None
    return parsed
