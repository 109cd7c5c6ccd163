"""From an OCI registry: the layers of one artifact, each by the digest that its manifest gives.

Source: https://github.com/opencontainers/distribution-spec (pulling) and image-spec (manifests).
A layer's file name is its annotation ``org.opencontainers.image.title``, as ORAS, KitOps and
ModelPack write it; layers stay as they are, an archive among them too.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlencode, urlsplit

import msgspec

from assay import canonical, files
from assay.errors import Denied, NotFound, Unavailable, Usage, Verification
from assay.supply.intake.fetching import Fetched, Request, chosen
from assay.supply.intake.network import Answer, Client
from assay.supply.intake.quarantine import Claim, Quarantine

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
_ACCEPT = ", ".join((_MANIFEST, _INDEX, _DOCKER))
_TITLE = "org.opencontainers.image.title"
_LICENCES = "org.opencontainers.image.licenses"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CHALLENGE = re.compile(r'(\w+)="([^"\\]*)"')
_PIECE = 1 << 20

_Blob: TypeAlias = Callable[[str], AbstractContextManager[Iterator[bytes]]]


class _Descriptor(msgspec.Struct, frozen=True, rename="camel"):
    digest: str
    size: int
    media_type: str = ""
    annotations: dict[str, str] | None = None


class _Manifest(msgspec.Struct, frozen=True, rename="camel"):
    media_type: str = ""
    layers: list[_Descriptor] = []
    manifests: list[_Descriptor] = []
    annotations: dict[str, str] | None = None


def fetch(request: Request, into: Quarantine) -> Fetched:
    """The layers of an artifact, by digest or by tag."""
    session = _Session(request, into)
    request.progress(f"asking {request.locator.host} what {request.locator.revision} is")
    raw = session.manifest(request.locator.revision)
    manifest, digest = _read(raw, request.locator.digest, into.source)
    if manifest.manifests:
        only = _single(manifest, into.source)
        manifest, _ = _read(session.manifest(only.digest), only.digest, into.source)
    return _take(manifest, digest, session.blob, request, into)


def from_layout(request: Request, layout: Path, into: Quarantine) -> Fetched:
    """The same from an OCI image layout in a folder."""
    locator, most = request.locator, into.limits.document_bytes
    if not (layout / "oci-layout").is_file():
        raise NotFound(
            f"{into.source}: the mirror has no OCI image layout in {layout}",
            remedy="copy it there where there is a network (for example oras copy --to-oci-layout)",
            code="intake.mirror",
        )
    index = _decode(files.read(layout / "index.json", limit=most, what="index"), into.source)
    named = [
        entry
        for entry in index.manifests
        if entry.digest == locator.digest
        or (
            not locator.digest
            and (entry.annotations or {}).get("org.opencontainers.image.ref.name")
            == locator.revision
        )
    ]
    if len(named) != 1 or not _DIGEST.fullmatch(named[0].digest):
        raise NotFound(
            f"{into.source}: the layout in {layout} has no {locator.revision[:80]!r}",
            remedy="name a tag or digest of its index.json",
            code="intake.mirror",
        )

    def path(digest: str) -> Path:
        return layout / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def opened(digest: str) -> AbstractContextManager[Iterator[bytes]]:
        return _Pieces(path(digest))

    with files.open_input(path(named[0].digest), what="manifest") as stream:
        raw = stream.read(most + 1)
    manifest, digest = _read(raw[:most], named[0].digest, into.source)
    return _take(manifest, digest, opened, request, into)


class _Pieces:
    """A file's pieces, for as long as a block lasts."""

    def __init__(self, path: Path) -> None:
        self._stream = files.open_input(path, what="blob of the mirror")

    def __enter__(self) -> Iterator[bytes]:
        return iter(lambda: self._stream.read(_PIECE), b"")

    def __exit__(self, *_: object) -> None:
        self._stream.close()


def _take(
    manifest: _Manifest, digest: str, blob: _Blob, request: Request, into: Quarantine
) -> Fetched:
    layers: dict[str, _Descriptor] = {}
    for layer in manifest.layers:
        if not _DIGEST.fullmatch(layer.digest) or layer.size < 0:
            raise _strange(into.source, "a layer has no SHA-256 digest")
        title = (layer.annotations or {}).get(_TITLE, "")
        name = title or f"{layer.digest.removeprefix('sha256:')}.layer"
        if layers.setdefault(name, layer).digest != layer.digest:
            raise _strange(into.source, f"two layers are called {name[:80]!r}")
    names = chosen(request, sorted(layers), into.source)
    into.plan([(name, layers[name].size) for name in names])
    for name in names:
        layer = layers[name]
        request.progress(f"fetching {name}")
        claim = Claim("sha256", layer.digest.removeprefix("sha256:"), "OCI digest")
        with blob(layer.digest) as pieces:
            into.add(name, pieces, size=layer.size, claims=[claim])
    return Fetched(digest, (manifest.annotations or {}).get(_LICENCES, ""))


class _Session:
    """Requests to one registry, with the token that it asks for."""

    def __init__(self, request: Request, into: Quarantine) -> None:
        self._locator = request.locator
        self._settings = request.settings
        self._source = into.source
        self._client: Client = request.client(into)
        self._host = request.locator.host
        port = request.locator.port
        plain = f"{self._host}:{port}" in request.settings.plain
        shown = f"[{self._host}]" if ":" in self._host else self._host
        self._base = f"{'http' if plain else 'https'}://{shown}:{port}"
        self._authorization = ""

    def manifest(self, reference: str) -> bytes:
        url = f"{self._base}/v2/{self._locator.name}/manifests/{reference}"
        for final in (False, True):
            statuses = () if final else (401,)
            with self._client.get(
                url, accept=_ACCEPT, authorization=self._authorization, statuses=statuses
            ) as answer:
                if answer.status == 200:
                    return self._client.whole(answer)
                challenge = answer.headers.get("www-authenticate", "")
            self._authorization = self._answer(challenge)
        raise AssertionError("a final answer raises or returns")

    def blob(self, digest: str) -> AbstractContextManager[Iterator[bytes]]:
        url = f"{self._base}/v2/{self._locator.name}/blobs/{digest}"
        return _Body(self._client.get(url, authorization=self._authorization))

    def _basic(self, host: str, port: int) -> str:
        """The header with what people named for a host; empty for nothing."""
        secret = self._settings.secret(host, port)
        return f"Basic {base64.b64encode(secret.encode()).decode()}" if secret else ""

    def _answer(self, challenge: str) -> str:
        """What to say to a registry that wants to know who asks."""
        kind, _, rest = challenge.partition(" ")
        basic = self._basic(self._host, self._locator.port)
        if kind.lower() == "basic" and basic:
            return basic
        fields = dict(_CHALLENGE.findall(rest))
        if kind.lower() != "bearer" or "realm" not in fields:
            raise Denied(
                f"{self._source}: {self._host} wants a credential",
                remedy=f'[projects.NAME.intake.credentials] "{self._host}" = "env:NAME", which '
                "holds USER:PASSWORD",
                code="intake.refused",
            )
        realm = fields.pop("realm")
        query = {k: v for k, v in fields.items() if k in ("service", "scope")}
        # A token server is told the secret that people named for it, and never another one's.
        there = urlsplit(realm)
        try:
            basic = self._basic(there.hostname or "", there.port or 443)
        except ValueError:
            raise _strange(self._source, "its token server's URL cannot be read") from None
        joined = f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}"
        raw = self._client.document(joined, authorization=basic)
        try:
            told = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
            token = msgspec.json.decode(told.get("token") or told["access_token"], type=str)
        except (msgspec.MsgspecError, KeyError, RecursionError):
            raise _strange(self._source, "its token server's answer cannot be read") from None
        if not token.isascii() or not token.isprintable():
            raise _strange(self._source, "its token server's answer cannot be read")
        return f"Bearer {token}"


class _Body:
    """The pieces of an answer, for as long as a block lasts."""

    def __init__(self, opened: AbstractContextManager[Answer]) -> None:
        self._opened = opened

    def __enter__(self) -> Iterator[bytes]:
        return self._opened.__enter__().pieces

    def __exit__(self, *raised: object) -> None:
        self._opened.__exit__(*raised)  # pyright: ignore[reportArgumentType]


def _read(raw: bytes, expected: str, source: str) -> tuple[_Manifest, str]:
    digest = canonical.digest(raw)
    if expected and digest != expected:
        raise Verification(
            f"{source}: the manifest has the digest {digest}, not {expected}",
            remedy="do not use it; ask whoever runs the registry what is being served",
            code="intake.digest",
        )
    return _decode(raw, source), digest


def _decode(raw: bytes, source: str) -> _Manifest:
    try:
        return msgspec.json.decode(raw, type=_Manifest)
    except (msgspec.MsgspecError, RecursionError):
        raise _strange(source, "its manifest cannot be read") from None


def _single(manifest: _Manifest, source: str) -> _Descriptor:
    if len(manifest.manifests) == 1 and _DIGEST.fullmatch(manifest.manifests[0].digest):
        return manifest.manifests[0]
    raise Usage(
        f"{source}: it is an index of {len(manifest.manifests)} artifacts",
        remedy="name one of them by its digest: oci://REGISTRY/REPOSITORY@sha256:…",
        code="intake.index",
    )


def _strange(source: str, why: str) -> Unavailable:
    return Unavailable(
        f"{source}: {why}", remedy="check that it is an OCI registry", code="intake.registry"
    )
