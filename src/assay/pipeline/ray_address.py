"""Which Ray cluster, by which transport and with which token; decided before Ray is loaded."""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from assay import files
from assay.errors import NotFound, Unavailable, Usage

ADDRESS = "ASSAY_RAY_ADDRESS"
TOKEN_PATH = "RAY_AUTH_TOKEN_PATH"  # noqa: S105 - the name of a variable.
_TLS = ("RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT")
_PASSED_ON = (
    "HOME",
    "LANG",
    "LC_ALL",
    "PATH",
    "TZ",
    "VIRTUAL_ENV",
    "LD_LIBRARY_PATH",
    "XDG_CACHE_HOME",
)
"""All that Ray needs of this process's environment.  The rest may hold secrets, which workers of a
Ray started here would inherit."""
# Ray tries a head that refuses its token once a second, 20 times.
_ALWAYS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_NUM_REDIS_GET_RETRIES": "3",
}
# The name is Ray's.  Without it Ray takes this machine's address on the network in place of
# 127.0.0.1, under Linux too: it would listen there, or look there for a head in vain.
_STAY_ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
_ANSWERS_WITHIN = 10.0

Transport: TypeAlias = Literal["plain (loopback)", "tls", "plain"]


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where Ray is, and how it is talked to."""

    address: str | None
    """``host:port``; None to start one here."""
    transport: Transport
    token: Path | None
    """The token's file; None where one is made for a Ray started here."""
    environment: dict[str, str]


def configured(environment: Mapping[str, str], address: str | None = None) -> Cluster:
    """The cluster that `address`, or else the environment, names.

    Raises `Usage` for an address that is none, for a token that others can read, and for a network
    without TLS; `NotFound` where there is no token.
    """
    address = address or environment.get(ADDRESS) or None
    passed = {name: environment[name] for name in _PASSED_ON if name in environment}
    passed |= _ALWAYS
    if address is None:
        passed |= _STAY_ON_LOOPBACK
        return Cluster(None, "plain (loopback)", None, passed)
    host, port = _parts(address)
    tls = environment.get("RAY_USE_TLS", "").lower() in ("1", "true")
    if tls:
        passed |= {"RAY_USE_TLS": "1", **_certificates(environment)}
    elif not is_loopback(host):
        raise Usage(
            f"{address} is on a network, and Ray would talk to it in plaintext: data, code, token",
            remedy="set RAY_USE_TLS=1 and the certificates RAY_TLS_SERVER_CERT, RAY_TLS_SERVER_KEY "
            "and RAY_TLS_CA_CERT, here and on every node",
            code="ray.transport",
        )
    else:
        passed |= _STAY_ON_LOOPBACK
        host = socket.getaddrinfo(host.strip("[]"), None)[0][4][0]
    token = _token_of(environment)
    passed[TOKEN_PATH] = str(token)
    return Cluster(f"{host}:{port}", "tls" if tls else "plain (loopback)", token, passed)


def _parts(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal() or not 1024 <= int(port) <= 65535:
        raise Usage(
            f"{address[:80]!r} is no address of a Ray head",
            remedy=f"set {ADDRESS} to HOST:PORT, as `ray start --head` prints it",
            code="ray.address",
        )
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether every address that `host` stands for is this machine's own."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), None)
    except (OSError, UnicodeError):
        return False
    return bool(found) and all(
        ipaddress.ip_address(str(entry[4][0]).partition("%")[0]).is_loopback for entry in found
    )


def _certificates(environment: Mapping[str, str]) -> dict[str, str]:
    for name in _TLS:
        if not Path(environment.get(name, "")).is_file():
            raise Usage(
                f"RAY_USE_TLS is set, and {name} names no file",
                remedy=f"set {', '.join(_TLS)} to files of PEM",
                code="ray.transport",
            )
    return {name: environment[name] for name in _TLS}


def _token_of(environment: Mapping[str, str]) -> Path:
    named = environment.get(TOKEN_PATH)
    path = Path(named) if named else Path(environment.get("HOME", "/")) / ".ray" / "auth_token"
    try:
        state = path.stat()
    except OSError as error:
        raise NotFound(
            f"there is no token for the Ray cluster at {path}",
            remedy=f"copy the head's token there with mode 0600, or name its file in {TOKEN_PATH}",
            code="ray.token",
        ) from error
    if not stat.S_ISREG(state.st_mode) or stat.S_IMODE(state.st_mode) & 0o077:
        raise Usage(
            f"other users can read the token {path} (mode {stat.S_IMODE(state.st_mode):04o}), and "
            "who has it can run code on every node",
            remedy=f"chmod 600 {path}; and make a new token if others could log in",
            code="ray.token",
        )
    if state.st_uid != os.geteuid():
        raise Usage(
            f"the token {path} belongs to another user",
            remedy="copy it to a file of your own with mode 0600",
            code="ray.token",
        )
    return path.absolute()


def check_there(address: str) -> None:
    """Raises `Unavailable` where nothing listens, which Ray takes minutes to find out."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWERS_WITHIN).close()
    except OSError as error:
        raise Unavailable(
            f"there is no Ray head at {address}: {error.strerror or error}",
            remedy=f"start it with `ray start --head`, and set {ADDRESS} to what that prints",
            code="ray.connect",
        ) from error


def new_token(path: Path) -> None:
    """A fresh token, readable by this user alone from the first byte."""
    files.write(path, secrets.token_hex(32).encode(), mode=0o600, replace=False)
