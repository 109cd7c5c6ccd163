"""One object of a bucket, or one file below a folder: read whole, within bounds."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from assay import files
from assay.data.rows import Limits, bounded_binary, pieces
from assay.data.sources import Source
from assay.errors import AssayError, Denied, NotFound, Unavailable, Usage

_MOST_PATH = 1024
_REFUSALS = ("AccessDenied", "SignatureDoesNotMatch", "InvalidAccessKeyId", "403 Forbidden")
MOST_BYTES = 2 << 30
"""An object is held in memory while it is read."""


def check_path(path: str) -> str:
    """`path` if it names an object; else `Usage`."""
    parts = path.split("/")
    if (
        not path
        or len(path) > _MOST_PATH
        or not path.isprintable()
        or any(part in ("", ".", "..") for part in parts)
    ):
        raise Usage(
            f"{path[:80]!r} does not name an object",
            remedy="name it by its path below the source's, for example 2026/loans.parquet",
            code="source.path",
        )
    return path


def read_file(source: Source, base: Path, path: str, limits: Limits, *, apart: Path) -> bytes:
    """A file below the source's folder.

    Nothing is read through a symbolic link that leads out of it, nor in the folder `apart` (the
    workspace's own).  Raises `NotFound` or `Usage`.
    """
    folder = (base / source.path).resolve()
    found = (folder / check_path(path)).resolve()
    if not found.is_relative_to(folder) or found.is_relative_to(apart.resolve()):
        raise Usage(
            f"source {source.name}: {path} leads out of its folder, or into the workspace's own",
            remedy="name a file below the source's folder",
            code="source.path",
        )
    room = Limits(file_bytes=min(limits.file_bytes, MOST_BYTES))
    with files.open_input(found, what=f"source {source.name}: file") as stream:
        return bounded_binary(pieces(stream), f"source {source.name}: {path}", room)


def read_s3(source: Source, secret: str, path: str, limits: Limits) -> bytes:
    """An object of the source's bucket.

    Raises `NotFound`, `Denied` for a credential that does not suffice, `Usage` for one too large,
    `Unavailable` for a server that cannot be reached or does not answer in time.
    """
    key = check_path(path)
    store = _bucket(source, secret)
    most = min(limits.file_bytes, MOST_BYTES)
    content = bytearray()
    try:
        found = store.get(key)
        if found.meta["size"] > most:
            raise _too_large(source, path, most)
        for piece in found.stream(min_chunk_size=1 << 20):
            content += bytes(piece)
            if len(content) > most:
                raise _too_large(source, path, most)
        if len(content) != found.meta["size"]:
            raise _unreachable(source, "the object was cut off")
    except AssayError:
        raise
    except Exception as error:
        raise _failed(source, path, error) from None
    return bytes(content)


class Bucket:
    """A source's bucket: what lies below a prefix, and objects in pieces.

    Raises what `read_s3` raises.
    """

    def __init__(self, source: Source, secret: str) -> None:
        self._source = source
        self._store = _bucket(source, secret)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """The object `prefix`, and all below it, each with its size."""
        try:
            if prefix:
                with contextlib.suppress(FileNotFoundError):
                    yield prefix, self._store.head(prefix)["size"]
            for piece in self._store.list(prefix or None):
                yield from ((found["path"], found["size"]) for found in piece)
        except Exception as error:
            raise _failed(self._source, prefix, error) from None

    def read(self, key: str) -> Iterator[bytes]:
        """One object, in pieces of at least a megabyte."""
        try:
            for piece in self._store.get(key).stream(min_chunk_size=1 << 20):
                yield bytes(piece)
        except Exception as error:
            raise _failed(self._source, key, error) from None


def _bucket(source: Source, secret: str) -> Any:
    try:
        from obstore.store import S3Store
    except ImportError as error:
        raise Unavailable(
            "S3 needs the package obstore", remedy="pip install 'assay[s3]'", code="source.s3"
        ) from error
    key, colon, private = secret.partition(":")
    if not (key and colon and private):
        raise Usage(
            f"source {source.name}: its credential is not ACCESS_KEY_ID:SECRET",
            remedy=f"keep both, with a colon between them, in {source.credential or 'env:NAME'}",
            code="source.credential",
        )
    place: dict[str, Any] = {"endpoint": source.endpoint} if source.endpoint else {}
    with _without_aws():
        return S3Store(
            source.host,
            prefix=source.path or None,
            region=source.region,
            access_key_id=key,
            secret_access_key=private,
            client_options={
                "allow_http": source.endpoint.startswith("http:"),
                "timeout": f"{source.timeout}s",
                "connect_timeout": "5s",
            },
            retry_config={"max_retries": 2},
            **place,
        )


@contextlib.contextmanager
def _without_aws() -> Any:
    """obstore takes what it is not told from ``AWS_*``; a source says all there is."""
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("AWS_")}
    try:
        yield
    finally:
        os.environ.update(kept)


def _failed(source: Source, path: str, error: Exception) -> AssayError:
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

    if isinstance(error, FileNotFoundError):
        return NotFound(
            f"source {source.name}: there is no object {path} in {source.place}",
            remedy="check the path and the bucket",
            code="source.object",
        )
    refused = isinstance(error, (PermissionDeniedError, UnauthenticatedError)) or any(
        word in str(error) for word in _REFUSALS
    )
    if refused:
        return Denied(
            f"source {source.name}: the server refuses the credential for {path}",
            remedy="check what the source's credential refers to, and its rights",
            code="source.refused",
        )
    # What the library says quotes the request, and with it the id of the access key.
    return _unreachable(source, type(error).__name__)


def _unreachable(source: Source, why: str) -> Unavailable:
    return Unavailable(
        f"source {source.name}: cannot read from {source.place} ({why})",
        remedy="check the endpoint, the bucket and the network, then try again",
        code="source",
    )


def _too_large(source: Source, path: str, most: int) -> Usage:
    return Usage(
        f"source {source.name}: {path} is larger than {most:,} bytes",
        remedy="split it, or take it from a database by a query",
        code="data.too_large",
    )
