"""One place to tell alerts: what may stand in its address, and what of it may be shown."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import SplitResult, urlsplit

from assay.errors import Usage
from assay.monitor.alerts import SEVERITIES

KINDS = ("alertmanager", "webhook", "apprise")
LONGEST = 60
"""Seconds that a channel may ask for."""
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}")
_SPAN = re.compile(r"([0-9]{1,4})(m|h|d)")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True)
class Channel:
    """Where to tell, how, and what of.

    url, credential
        With the secrets behind their references: neither is ever printed or written down.
    least
        The severity from which on it is told.
    projects
        Whose alerts it is told; none named: everybody's.
    repeat
        After which time an alert that is still open is told again; None for never.  Alertmanager
        forgets alerts when it starts anew, so it is told again every four hours.
    plain
        Whether it may be reached without TLS beyond this machine.
    ca
        A file of certificate authorities, instead of the system's.
    """

    name: str
    kind: str
    url: str = field(repr=False)
    credential: str = field(default="", repr=False)
    least: str = "warning"
    projects: tuple[str, ...] = ()
    repeat: timedelta | None = None
    seconds: float = 10.0
    plain: bool = False
    ca: str = ""

    @property
    def shown(self) -> str:
        """What may be shown of the address: no path, for that may hold a secret too."""
        if self.kind == "apprise":
            scheme, colon, _ = self.url.partition("://")
            return f"{scheme}://…" if colon and _SCHEME.fullmatch(scheme) else "…"
        parts = _split(self.name, self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    def tells(self, project: str, severity: str) -> bool:
        """Whether an alert of a project and severity is for this channel."""
        grave = SEVERITIES.index(severity) >= SEVERITIES.index(self.least)
        return grave and (not self.projects or project in self.projects)


def check(channel: Channel, *, referenced: Collection[str] = ()) -> Channel:
    """`channel` if it can be told; else `Usage`, which repeats neither address nor secret.

    `referenced` names the fields that were given as references: only those may hold a secret.
    """
    name = channel.name
    if _NAME.fullmatch(name) is None:
        raise Usage(
            f"a channel is called {name[:40]!r}",
            remedy="call it by 1-64 lower-case letters, digits, '.', '_' or '-'",
            code="alerts.channel",
        )
    if channel.kind not in KINDS:
        raise _wrong(name, f"its kind is {channel.kind[:40]!r}", f"one of {', '.join(KINDS)}")
    if channel.least not in SEVERITIES:
        raise _wrong(name, f"least is {channel.least[:40]!r}", f"one of {', '.join(SEVERITIES)}")
    if not 1 <= channel.seconds <= LONGEST:
        raise _wrong(name, "its timeout is out of range", f"from 1 to {LONGEST} seconds")
    if channel.credential and "credential" not in referenced:
        raise _secret(name, "credential")
    if not channel.credential.isascii() or not channel.credential.isprintable():
        raise _wrong(name, "its credential holds what no header can", "one line of plain ASCII")
    if channel.kind == "apprise":
        _check_apprise(channel, "url" in referenced)
    else:
        _check_http(channel, "url" in referenced)
    return channel


def _check_http(channel: Channel, hidden: bool) -> None:
    parts = _split(channel.name, channel.url)
    if (parts.username or parts.password or parts.query) and not hidden:
        raise _secret(channel.name, "url")
    if parts.username or parts.password:
        raise _wrong(
            channel.name,
            "its address holds a user or a password",
            'credential = "env:NAME" or "file:PATH", which holds USER:PASSWORD or a token',
        )
    own = is_own(parts.hostname or "")
    if parts.scheme == "http" and not own and not channel.plain:
        raise _wrong(
            channel.name,
            "its address has no TLS and is not this machine",
            "https://, or plain = true if nobody else can listen on the way",
        )
    if parts.scheme == "http" and not own and channel.credential:
        raise _wrong(channel.name, "it would send a credential without TLS", "https://")


def _check_apprise(channel: Channel, hidden: bool) -> None:
    scheme, colon, rest = channel.url.partition("://")
    if not colon or not rest or _SCHEME.fullmatch(scheme) is None:
        raise _wrong(channel.name, "its address is none that Apprise knows", "SCHEME://…")
    # Of most services the address is made of tokens.
    plain = scheme.lower() in ("json", "jsons", "xml", "xmls", "form", "forms")
    if (not plain or "@" in rest or "?" in rest) and not hidden:
        raise _secret(channel.name, "url")
    if channel.credential:
        raise _wrong(channel.name, "Apprise takes no credential beside its address", "url alone")


def _split(name: str, url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = None
    printable = url.isascii() and url.isprintable() and " " not in url
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise _wrong(name, "its address is none", "https://HOST[:PORT][/PATH]")
    if not printable or parts.fragment or "\\" in url:
        raise _wrong(name, "its address holds what none can", "https://HOST[:PORT][/PATH]")
    return parts


def is_own(host: str) -> bool:
    """Whether a host is this machine, without asking anybody for its name."""
    return host in ("localhost", "::1") or re.fullmatch(r"127(\.[0-9]{1,3}){3}", host) is not None


def _wrong(name: str, what: str, remedy: str) -> Usage:
    return Usage(
        f"the channel {name}: {what}",
        remedy=f"in assay.toml, [[alerts.channels]]: {remedy}",
        code="alerts.channel",
    )


def _secret(name: str, key: str) -> Usage:
    return _wrong(
        name,
        f"its {key} may hold a secret, and stands in a file that is committed",
        f'{key} = "env:NAME" or "file:PATH"; if it was one, change it',
    )


def span(name: str, text: str) -> timedelta | None:
    """``30m``, ``4h`` or ``1d``; None for nothing."""
    if not text:
        return None
    found = _SPAN.fullmatch(text)
    if found is None or int(found[1]) == 0:
        raise _wrong(name, f"repeat is {text[:20]!r}", 'repeat = "30m", "4h" or "1d"')
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
