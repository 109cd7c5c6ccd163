"""A recovery backup of the key rings, sealed to the offline recovery recipient."""

from __future__ import annotations

from typing import ClassVar

from assay import canonical
from assay.actions.people import subject_of, workspace_target
from assay.errors import Usage
from assay.evidence import trust
from assay.store.recipients import check_recipient
from assay.workspace.action import Action, Doing, Outcome, Target
from assay.workspace.view import View


class BackupRings(Action, frozen=True, kw_only=True):
    """Every ring's keys in one file that only the recovery secret opens; the value is its bytes.

    That it was made is noted in each ring, so that the receipt of a destroyed one names it.
    """

    name: ClassVar[str] = "maintain"
    recipient: str = ""
    """Empty for the one that the trust root names."""

    def target(self, view: View) -> Target:  # noqa: ARG002
        if self.recipient:
            check_recipient(self.recipient)
        return workspace_target({})

    def apply(self, doing: Doing) -> Outcome:
        root = trust.verify_chain(trust.load(doing.layout.trust), doing.layout.pinned)
        if root.recovery and self.recipient not in ("", root.recovery):
            # Whoever holds the secret reads everything: that is decided when a workspace is made.
            raise Usage(
                "this workspace is recovered by the recipient that its trust root names",
                remedy="leave --recipient out",
                code="backup.recipient",
            )
        recipient = self.recipient or root.recovery
        if not recipient:
            raise Usage(
                "a development workspace has no recovery recipient",
                remedy="make one (assay keys new-recovery) and give it with --recipient",
                code="backup.recipient",
            )
        made = doing.store.rings.backup(recipient)
        predicate = {
            "recipient": recipient,
            "digest": canonical.digest(made),
            "rings": doing.store.rings.names(),
        }
        statement = doing.attest("ring-backup", subject_of("rings"), predicate)
        return Outcome(made, [statement])
