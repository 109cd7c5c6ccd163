"""Everything that Apprise reaches: chat, mail, SMS.  An optional library (``assay[alerts]``)."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from typing import Any

from assay.monitor.channels.message import Letter

_TYPES = {"info": "info", "warning": "warning", "critical": "failure", "over": "success"}


class Unusable(Exception):
    """Why a channel of Apprise cannot be used, in words that hold no secret."""


def available() -> bool:
    return importlib.util.find_spec("apprise") is not None


def notify(url: str, letter: Letter, seconds: float) -> bool:
    """Whether the service behind `url` took the text.

    Redirects are not followed, whatever the address says; nothing is kept on disk; the library
    writes no address to its log.
    """
    if not available():
        raise Unusable("Apprise is not installed: pip install 'assay[alerts]'")
    apprise: Any = importlib.import_module("apprise")
    # What a service answers may repeat an address: its log goes nowhere.
    log = logging.getLogger("apprise")
    log.propagate = False
    if not log.handlers:
        log.addHandler(logging.NullHandler())
    asset = apprise.AppriseAsset(
        app_id="assay",
        app_desc="assay alerts",
        storage_mode=apprise.PersistentStoreMode.MEMORY,
        http_redirects=False,
        service_timeout=seconds,
        secure_logging=True,
        async_mode=False,
    )
    service = apprise.Apprise.instantiate(url, asset=asset)
    if service is None:
        raise Unusable("its address is none that Apprise knows")
    service.redirects = False
    service.socket_connect_timeout = service.socket_read_timeout = seconds
    sender = apprise.Apprise(asset=asset)
    sender.add(service)
    return bool(
        sender.notify(
            title=letter.title,
            body=letter.body,
            notify_type=_TYPES[letter.severity],
            body_format=apprise.NotifyFormat.TEXT,
            timeout=seconds,
        )
    )
