"""Sources: where a project may take data from, as people configured it in ``assay.toml``.

::

    [projects.fraud.sources.core]
    url = "postgresql://reader@db.example:5432/core"
    credential = "env:CORE_PASSWORD"

========================================  ========================================================
url                                       what is read, and what the credential is
========================================  ========================================================
``sqlite:///data/loans.sqlite``           a query; no credential.  Three slashes for a path below
                                          the folder of ``assay.toml``, four for an absolute one
``postgresql://USER@HOST[:PORT]/DB``      a query; the password.  ``?sslmode=``, ``?sslrootcert=``
                                          and ``?host=`` (the folder of a socket) as in libpq
``s3://BUCKET[/PREFIX]``                  an object; ``ACCESS_KEY_ID:SECRET``.  With `endpoint` and
                                          `region` for servers that speak S3
``file:FOLDER``                           a file below a folder, relative to ``assay.toml``
========================================  ========================================================

A connection to another machine is encrypted and the server's name checked against the system's
certificates, unless the URL says another ``sslmode``.  Nothing is taken from the environment that
the source does not name: no ``PGPASSWORD``, no ``~/.pgpass``, no AWS profile.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from assay.data import references
from assay.errors import Usage

Kind: TypeAlias = Literal["sqlite", "postgresql", "s3", "file"]

_SCHEMES: dict[str, Kind] = {
    "sqlite": "sqlite",
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "s3": "s3",
    "file": "file",
}
_PARAMETERS = {"host", "sslmode", "sslrootcert"}
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
MOST_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True)
class Source:
    """One configured source.  `place` is its URL as it may be shown: it never holds a secret."""

    name: str
    kind: Kind
    place: str
    credential: str = field(repr=False)
    """The reference."""
    timeout: int
    path: str = ""
    """sqlite and file: the file or folder, perhaps relative; s3: the prefix."""
    host: str = ""
    """postgresql: a name, an address, or the folder of a socket.  s3: the bucket."""
    port: int = 5432
    user: str = ""
    database: str = ""
    sslmode: str = ""
    sslrootcert: str = ""
    endpoint: str = ""
    region: str = ""

    @property
    def asks(self) -> Literal["query", "object"]:
        """What has to be named to read from it."""
        return "query" if self.kind in ("sqlite", "postgresql") else "object"

    def secret(self, base: Path, environment: Mapping[str, str] | None = None) -> str:
        """What the credential refers to; see `assay.data.references.resolve`."""
        return references.resolve(self.credential, f"source {self.name}", base, environment)


def parse(
    name: str,
    url: str,
    *,
    credential: str = "",
    endpoint: str = "",
    region: str = "",
    timeout: int = 300,
) -> Source:
    """A source from its configuration; raises `Usage`, which never repeats the URL."""
    whose = f"source {name}"
    references.check(credential, whose)
    if not 0 < timeout <= MOST_SECONDS:
        raise _wrong(whose, f"its timeout is not from 1 to {MOST_SECONDS} seconds", "timeout = 300")
    if not url.isprintable() or "\\" in url or " " in url:
        raise _wrong(whose, "its url has a space, a backslash or unprintable characters")
    scheme, colon, _ = url.partition(":")
    kind = _SCHEMES.get(scheme)
    if kind is None or not colon:
        raise _wrong(whose, "its url is of no kind that is known")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _wrong(whose, "its url cannot be read") from None
    if parts.password is not None or (parts.username and kind != "postgresql"):
        raise Usage(
            f"{whose}: its url holds a password or a user, and this file is committed",
            remedy='keep the secret elsewhere, name it by credential = "env:NAME", and change it',
            code="source.password",
        )
    if parts.fragment or (parts.query and kind != "postgresql"):
        raise _wrong(whose, "its url has parameters, which this kind has none of")
    if (endpoint or region) and kind != "s3":
        raise _wrong(whose, "endpoint and region are for s3:// only", "remove them")
    made = {"sqlite": _sqlite, "postgresql": _postgresql, "s3": _s3, "file": _file}[kind]
    fields = made(whose, parts, port)
    if kind == "s3":
        fields |= {"endpoint": _endpoint(whose, endpoint), "region": region or "us-east-1"}
    return Source(
        name=name,
        kind=kind,
        place=_shown(kind, fields),
        credential=credential,
        timeout=timeout,
        **fields,  # pyright: ignore[reportArgumentType] - each kind fills its own.
    )


def _sqlite(whose: str, parts: SplitResult, port: int | None) -> dict[str, str | int]:
    path = unquote(parts.path)
    if parts.netloc or port or len(path) < 2 or not path.isprintable():
        raise _wrong(whose, "its url is not sqlite:///PATH")
    return {"path": _clean(whose, path[1:])}


def _file(whose: str, parts: SplitResult, port: int | None) -> dict[str, str | int]:
    path = unquote(parts.path)
    if parts.netloc or port or not path or path.startswith("/") or not path.isprintable():
        raise _wrong(whose, "its url is not file:FOLDER, a folder below that of assay.toml")
    return {"path": _clean(whose, path)}


def _s3(whose: str, parts: SplitResult, port: int | None) -> dict[str, str | int]:
    if port or not _BUCKET.fullmatch(parts.netloc):
        raise _wrong(whose, "its url is not s3://BUCKET[/PREFIX]")
    return {"host": parts.netloc, "path": _clean(whose, unquote(parts.path).strip("/"))}


def _postgresql(whose: str, parts: SplitResult, port: int | None) -> dict[str, str | int]:
    given = parse_qsl(parts.query, keep_blank_values=True)
    asked = dict(given)
    if len(asked) != len(given) or not asked.keys() <= _PARAMETERS:
        # Their names only: a value may be a password.
        raise _wrong(
            whose,
            "its url has a parameter that is not allowed",
            f"allowed: {', '.join(sorted(_PARAMETERS))}; the password goes into credential",
        )
    user, database = unquote(parts.username or ""), unquote(parts.path.removeprefix("/"))
    host = asked.get("host") or parts.hostname or ""
    if not user or not database or not host or "/" in database:
        raise _wrong(whose, "its url is not postgresql://USER@HOST[:PORT]/DATABASE")
    if "," in host or not (user + database + host).isprintable():
        raise _wrong(whose, "its url names several hosts, or has unprintable characters")
    mode = asked.get("sslmode") or ("prefer" if _here(host) else "verify-full")
    if mode not in _SSL_MODES:
        raise _wrong(whose, "its sslmode is unknown", f"sslmode={'|'.join(_SSL_MODES)}")
    return {
        "host": host,
        "port": port or 5432,
        "user": user,
        "database": database,
        "sslmode": mode,
        "sslrootcert": asked.get("sslrootcert", ""),
    }


def _here(host: str) -> bool:
    """Whether a connection to `host` leaves this machine."""
    if host.startswith("/") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _endpoint(whose: str, endpoint: str) -> str:
    if not endpoint:
        return ""
    try:
        parts = urlsplit(endpoint)
    except ValueError:
        parts = urlsplit("")
    known = parts.scheme in ("http", "https") and parts.hostname and endpoint.isprintable()
    if not known or parts.query or parts.username is not None:
        raise _wrong(whose, "its endpoint is not http[s]://HOST[:PORT]", "endpoint = …")
    if parts.scheme == "http" and not _here(parts.hostname or ""):
        raise _wrong(
            whose,
            "its endpoint is on another machine and not encrypted",
            "use https:, or a proxy on this machine",
        )
    return endpoint


def _clean(whose: str, path: str) -> str:
    if ".." in path.split("/"):
        raise _wrong(whose, "its url goes up through '..'", "name the place without it")
    return path


def _shown(kind: Kind, fields: dict[str, str | int]) -> str:
    match kind:
        case "sqlite":
            return f"sqlite:///{fields['path']}"
        case "file":
            return f"file:{fields['path']}"
        case "s3":
            return f"s3://{fields['host']}" + (f"/{fields['path']}" if fields["path"] else "")
        case "postgresql":
            return f"postgresql://{fields['host']}:{fields['port']}/{fields['database']}"


def _wrong(whose: str, what: str, remedy: str = "") -> Usage:
    return Usage(
        f"{whose}: {what}",
        remedy=remedy
        or "url = sqlite:///PATH, postgresql://USER@HOST/DATABASE, s3://BUCKET/PREFIX or "
        "file:FOLDER",
        code="source.url",
    )
