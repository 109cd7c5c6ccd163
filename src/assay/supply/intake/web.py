"""From a web server: one file."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from assay.supply.intake.fetching import Fetched, Request
from assay.supply.intake.quarantine import Quarantine


def fetch(request: Request, into: Quarantine) -> Fetched:
    """One file over HTTPS; its name is the last part of the URL's path."""
    locator = request.locator
    name = unquote(urlsplit(locator.name).path.rpartition("/")[2])
    secret = request.settings.secret(locator.host, locator.port)
    client = request.client(into)
    request.progress(f"fetching {name}")
    with client.get(locator.name, authorization=f"Bearer {secret}" if secret else "") as answer:
        into.plan([(name, answer.length)])
        into.add(name, answer.pieces, size=answer.length)
        notes = () if answer.url == locator.name else (f"redirected to {_shown(answer.url)}",)
    return Fetched("", notes=notes)


def _shown(url: str) -> str:
    """A URL without what often is a secret."""
    return url.partition("?")[0][:300]
