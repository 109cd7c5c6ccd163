"""Which addresses may be connected to: those of the public Internet, unless people said more.

A name is resolved once and what is connected to is the address that was checked, so that a name
that means something else a moment later (DNS rebinding) leads nowhere.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import Any, TypeAlias

from assay.errors import Denied, Unavailable
from assay.supply.intake.settings import Settings

Resolve: TypeAlias = Callable[[str, int], list[str]]
"""A host and a port to the texts of its addresses; raises `OSError`."""

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, as the system resolves it."""
    found: list[Any] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(item[4][0]).partition("%")[0] for item in found))


def checked(
    host: str, port: int, settings: Settings, source: str, *, resolver: Resolve = resolve
) -> list[str]:
    """The addresses of `host` to connect to; `Denied` (``intake.address``) if one is not public.

    One private address among public ones is enough: which one would be used is up to luck.
    """
    try:
        found = resolver(host, port)
    except (OSError, UnicodeError):
        raise Unavailable(
            f"{source}: the host {host[:100]} cannot be found",
            remedy="check its name and the network, or mirror it first (--mirror FOLDER)",
            code="intake.host",
        ) from None
    if not found:
        raise Unavailable(f"{source}: {host[:100]} has no address", code="intake.host")
    if f"{host}:{port}" in settings.hosts or host in settings.hosts:
        return found
    for text in found:
        if not is_public(text):
            raise Denied(
                f"{source}: {host[:100]} is at {text}, which is not on the public Internet",
                remedy=f'if it is meant to be reached: hosts = ["{host[:100]}:{port}"] in '
                "[projects.NAME.intake] of assay.toml",
                code="intake.address",
            )
    return found


def is_public(text: str) -> bool:
    """Whether an address belongs to the public Internet, whichever way it is written."""
    try:
        address: _Address = ipaddress.ip_address(text)
    except ValueError:
        return False
    for inner in _meant(address):
        if not inner.is_global or inner.is_multicast or inner.is_reserved or inner.is_unspecified:
            return False
    return True


def _meant(address: _Address) -> list[_Address]:
    """An address, and the IPv4 address that it stands for if it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address.sixtofour is not None:
        return [address, address.sixtofour]
    if address.teredo is not None:
        return [address, *address.teredo]
    if address in _NAT64:
        return [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)]
    return [address]
