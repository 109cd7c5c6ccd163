"""From a hub that speaks the API of Hugging Face: a repository of models at one commit.

Two documented requests: ``/api/models/NAME/revision/REVISION?blobs=true`` says which commit a
branch or tag means now, and which files there are with their sizes and ids;
``/NAME/resolve/COMMIT/PATH`` gives one, mostly by a redirect to a store elsewhere.  Every file is
compared with the SHA-256 of its LFS object, or with the id that git gives its content.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from assay.errors import Unavailable
from assay.supply.intake.fetching import Fetched, Request, chosen
from assay.supply.intake.quarantine import Claim, Quarantine

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class _Lfs(msgspec.Struct, frozen=True):
    sha256: str
    size: int


class _Sibling(msgspec.Struct, frozen=True, rename="camel"):
    rfilename: str
    size: int | None = None
    blob_id: str = ""
    lfs: _Lfs | None = None


class _Info(msgspec.Struct, frozen=True, rename="camel"):
    sha: str
    siblings: list[_Sibling]
    card_data: dict[str, Any] | None = None


def fetch(request: Request, into: Quarantine) -> Fetched:
    """The files of one commit."""
    locator, hub = request.locator, request.settings.hub.rstrip("/")
    client = request.client(into)
    host = urlsplit(hub)
    token = request.settings.secret(host.hostname or "", host.port or 443)
    authorization = f"Bearer {token}" if token else ""
    request.progress(f"asking which commit {locator.revision} is")
    url = f"{hub}/api/models/{quote(locator.name)}/revision/{quote(locator.revision, safe='')}"
    raw = client.document(
        f"{url}?blobs=true", accept="application/json", authorization=authorization
    )
    try:
        info = msgspec.json.decode(raw, type=_Info)
    except (msgspec.MsgspecError, RecursionError):
        raise _strange(into.source, "its description of the repository cannot be read") from None
    if not _COMMIT.fullmatch(info.sha) or (locator.exact and info.sha != locator.revision):
        raise _strange(into.source, f"it answers with the commit {info.sha[:64]!r}")
    by_name = {file.rfilename: file for file in info.siblings}
    if len(by_name) != len(info.siblings):
        raise _strange(into.source, "it lists a file twice")
    names = chosen(request, sorted(by_name), into.source)
    into.plan([(name, _size(by_name[name])) for name in names])
    for name in names:
        file = by_name[name]
        request.progress(f"fetching {name}")
        place = f"{hub}/{quote(locator.name)}/resolve/{info.sha}/{quote(name)}"
        with client.get(place, authorization=authorization) as answer:
            into.add(name, answer.pieces, size=_size(file), claims=_claims(file, into.source))
    licence = (info.card_data or {}).get("license")
    return Fetched(info.sha, licence if isinstance(licence, str) else "")


def _size(file: _Sibling) -> int | None:
    return file.lfs.size if file.lfs is not None else file.size


def _claims(file: _Sibling, source: str) -> list[Claim]:
    if file.lfs is not None:
        return [Claim("sha256", file.lfs.sha256, "LFS oid")]
    if re.fullmatch(r"[0-9a-f]{40}", file.blob_id) and file.size is not None:
        return [Claim("git-blob", file.blob_id, "git object id")]
    raise _strange(source, f"it says nothing of the content of {file.rfilename[:100]!r}")


def _strange(source: str, why: str) -> Unavailable:
    return Unavailable(
        f"{source}: {why}",
        remedy="check that `hub` in [projects.NAME.intake] of assay.toml is such a hub",
        code="intake.hub",
    )
