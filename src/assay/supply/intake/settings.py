"""How much may be taken in, how long that may take, and what people allowed beyond the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

HUB = "https://huggingface.co"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one intake may take."""

    total_bytes: int = 20 << 30
    file_bytes: int = 20 << 30
    files: int = 10_000
    seconds: int = 3600
    redirects: int = 5
    document_bytes: int = 16 << 20
    """Bytes of a list or manifest that a source sends about itself."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What ``[projects.NAME.intake]`` says, with the secrets behind its references.

    hosts
        ``HOST`` or ``HOST:PORT`` that may have a private or loopback address.
    plain
        ``HOST:PORT`` that may be reached without TLS.
    secrets
        By ``HOST`` or ``HOST:PORT``: a token for a hub, ``USER:PASSWORD`` for a registry.  Sent to
        that host and to no other, wherever it redirects.
    """

    hosts: frozenset[str] = frozenset()
    plain: frozenset[str] = frozenset()
    secrets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    hub: str = HUB
    limits: Limits = field(default_factory=Limits)

    def secret(self, host: str, port: int) -> str:
        """The secret for a host, or empty."""
        return self.secrets.get(f"{host}:{port}") or self.secrets.get(host, "")
