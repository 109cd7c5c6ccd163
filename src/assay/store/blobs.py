"""Where sealed bytes lie: a local folder, or an object store such as S3.

A backend sees random names and sealed bytes.  It is trusted with nothing but keeping them: what it
loses is missed, what it alters is noticed.  Keys are ``blobs/…``, ``index/…`` and ``leases/…``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from assay import files
from assay.errors import AssayError, NotFound, Unavailable

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_SHOW = 200
_REFUSALS = ("AccessDenied", "SignatureDoesNotMatch", "InvalidAccessKeyId", "403 Forbidden")


class Stored(msgspec.Struct, frozen=True):
    """What a listing says of one object; `modified` is the backend's own time."""

    key: str
    size: int
    modified: datetime


class Blobs(Protocol):
    """A backend.  Every method raises `Unavailable` when the storage cannot do it now."""

    def put(self, key: str, pieces: Iterable[memoryview | bytes]) -> None:
        """Store under a key that was never used; whole and durable when it returns, or not at all.

        A piece is valid only until the next one is asked for.
        """
        ...

    def create(self, key: str, data: bytes) -> bool:
        """Store a small object unless the key is in use; whether it was stored."""
        ...

    def replace(self, key: str, data: bytes) -> None:
        """Store a small object whether or not the key is in use."""
        ...

    def get(self, key: str, start: int, count: int) -> bytes:
        """A range, shorter at the object's end; raises `NotFound`."""
        ...

    def size(self, key: str) -> int:
        """Length in bytes; raises `NotFound`."""
        ...

    def delete(self, key: str) -> None:
        """Remove; a missing object is fine."""
        ...

    def list(self, prefix: str) -> Iterator[Stored]:
        """Everything under a prefix that ends with ``/``, in no order."""
        ...

    def leftovers(self) -> Iterator[Stored]:
        """What interrupted writes left behind; `delete` takes their keys."""
        ...


class LocalBlobs:
    """A folder, written through `assay.files` (obstore's own local store does not sync)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __repr__(self) -> str:
        return f"LocalBlobs({self._folder})"

    def _path(self, key: str) -> Path:
        return self._folder / key

    def put(self, key: str, pieces: Iterable[memoryview | bytes]) -> None:
        path = self._path(key)
        files.make_folder(path.parent)
        try:
            with files.new_file(path, replace=False) as stream:
                for piece in pieces:
                    stream.write(piece)
        except FileExistsError as error:
            raise Unavailable(f"{path} exists already", code="blobs.exists") from error

    def create(self, key: str, data: bytes) -> bool:
        path = self._path(key)
        files.make_folder(path.parent)
        try:
            files.write(path, data, replace=False)
        except FileExistsError:
            return False
        return True

    def replace(self, key: str, data: bytes) -> None:
        path = self._path(key)
        files.make_folder(path.parent)
        files.write(path, data)

    def get(self, key: str, start: int, count: int) -> bytes:
        try:
            handle = os.open(self._path(key), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise _missing(key) from error
        except OSError as error:
            raise self._unreadable(key, error) from error
        try:
            return os.pread(handle, count, start)
        except OSError as error:
            raise self._unreadable(key, error) from error
        finally:
            os.close(handle)

    def size(self, key: str) -> int:
        try:
            return self._path(key).stat().st_size
        except FileNotFoundError as error:
            raise _missing(key) from error
        except OSError as error:
            raise self._unreadable(key, error) from error

    def delete(self, key: str) -> None:
        path = self._path(key)
        if path.parent.exists():
            files.remove(path)

    def list(self, prefix: str) -> Iterator[Stored]:
        return (found for found in self._walk(prefix) if not _is_temporary(found.key))

    def leftovers(self) -> Iterator[Stored]:
        return (found for found in self._walk("") if _is_temporary(found.key))

    def _walk(self, prefix: str) -> Iterator[Stored]:
        for folder, _, names in os.walk(self._folder / prefix):
            for name in names:
                path = Path(folder) / name
                try:
                    status = path.lstat()
                except FileNotFoundError:
                    continue  # Removed while we were looking.
                modified = datetime.fromtimestamp(status.st_mtime, timezone.utc)
                yield Stored(path.relative_to(self._folder).as_posix(), status.st_size, modified)

    def _unreadable(self, key: str, error: OSError) -> Unavailable:
        return Unavailable(f"cannot read {self._path(key)}: {error.strerror}", code="blobs")


def _is_temporary(key: str) -> bool:
    name = key.rpartition("/")[2]
    return name.startswith(".") and name.endswith(".tmp")


class ObjectBlobs:
    """An object store that obstore reaches (S3 and its like), with conditional writes.

    Set a lifecycle rule that removes incomplete multipart uploads: they cannot be listed here.
    """

    def __init__(self, store: ObjectStore, name: str) -> None:
        self._store = store
        self._name = name

    def __repr__(self) -> str:
        return f"ObjectBlobs({self._name})"

    @classmethod
    def s3(
        cls,
        bucket: str,
        *,
        access_key: str,
        secret_key: str,
        prefix: str = "",
        endpoint: str | None = None,
        region: str = "us-east-1",
    ) -> ObjectBlobs:
        """A bucket of S3 or a compatible server; plain HTTP only where `endpoint` says ``http:``.

        Raises `Unavailable` when obstore (``assay[s3]``) is not installed.
        """
        try:
            from obstore.store import S3Store
        except ImportError as error:
            raise Unavailable(
                "S3 needs the package obstore", remedy="pip install 'assay[s3]'", code="blobs.s3"
            ) from error
        place: dict[str, Any] = {"endpoint": endpoint} if endpoint else {}
        store = S3Store(
            bucket,
            prefix=prefix or None,
            region=region,
            access_key_id=access_key,
            secret_access_key=secret_key,
            client_options={
                "allow_http": bool(endpoint and endpoint.startswith("http:")),
                "timeout": "60s",
                "connect_timeout": "5s",
            },
            retry_config={"max_retries": 3},
            **place,
        )
        return cls(store, f"s3://{bucket}/{prefix}")

    def put(self, key: str, pieces: Iterable[memoryview | bytes]) -> None:
        failed: list[BaseException] = []

        def copies() -> Iterator[bytes]:
            try:
                yield from (bytes(piece) for piece in pieces)
            except BaseException as error:
                failed.append(error)
                raise

        try:
            self._store.put(key, copies())
        except BaseException as error:
            if failed:  # The source's own error, not the store's wrapping of it.
                raise failed[0] from None
            raise self._failed(key, error) from error

    def create(self, key: str, data: bytes) -> bool:
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            self._store.put(key, data, mode="create")
        except (AlreadyExistsError, PreconditionError):
            return False
        except Exception as error:
            raise self._failed(key, error) from error
        return True

    def replace(self, key: str, data: bytes) -> None:
        try:
            self._store.put(key, data, mode="overwrite", use_multipart=False)
        except Exception as error:
            raise self._failed(key, error) from error

    def get(self, key: str, start: int, count: int) -> bytes:
        try:
            return bytes(self._store.get_range(key, start=start, length=count))
        except Exception as error:
            failed = self._failed(key, error)
            # Object stores call a range that begins at the end an error; it is just empty.
            if not isinstance(failed, NotFound) and start >= self.size(key):
                return b""
            raise failed from error

    def size(self, key: str) -> int:
        try:
            return self._store.head(key)["size"]
        except Exception as error:
            raise self._failed(key, error) from error

    def delete(self, key: str) -> None:
        try:
            self._store.delete(key)
        except FileNotFoundError:
            return
        except Exception as error:
            raise self._failed(key, error) from error

    def list(self, prefix: str) -> Iterator[Stored]:
        try:
            for page in self._store.list(prefix):
                for found in page:
                    yield Stored(found["path"], found["size"], found["last_modified"])
        except Exception as error:
            raise self._failed(prefix, error) from error

    def leftovers(self) -> Iterator[Stored]:
        return iter(())

    def _failed(self, key: str, error: BaseException) -> AssayError | BaseException:
        from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

        if isinstance(error, FileNotFoundError):
            return _missing(key)
        if isinstance(error, AssayError) or not isinstance(error, Exception):
            return error
        refused = isinstance(error, (PermissionDeniedError, UnauthenticatedError)) or any(
            word in str(error) for word in _REFUSALS
        )
        # The first line only: what follows may quote the request, and with it the credentials' id.
        said = str(error).strip().partition("\n")[0][:_SHOW]
        return Unavailable(
            f"{self._name} {'refused' if refused else 'cannot serve'} {key}: {said}",
            remedy="check the access key, its secret and its rights"
            if refused
            else "check the endpoint, the bucket and the network, then retry",
            code="blobs.refused" if refused else "blobs",
        )


def _missing(key: str) -> NotFound:
    return NotFound(f"{key} is not in the blob store", code="blob")
