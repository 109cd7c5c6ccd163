"""Channels: where alerts are told outside the workspace.

What lives here
    `channel` (one place to tell, checked), `message` (what is told: names and figures, never a
    row's values), `http` (one bounded request), `services` (Apprise), `sending` (all of them side
    by side, none waiting for another).

May import
    Floor 0, and the alerts beside it; Apprise only where a channel needs it.

An attacker who owns it can
    read and withhold what is told and the secrets of its channels; not the ledger, which knows what
    was taken by whom, nor the rows.
"""

from __future__ import annotations

from assay.monitor.channels.channel import Channel
from assay.monitor.channels.message import Message
from assay.monitor.channels.sending import Result, send

__all__ = ["Channel", "Message", "Result", "send"]
