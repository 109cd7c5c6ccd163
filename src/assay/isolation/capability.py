"""What a machine offers for confinement, and the level that amounts to."""

from __future__ import annotations

from dataclasses import dataclass

from assay.errors import Denied
from assay.isolation.limits import LEVELS, Level


@dataclass(frozen=True, slots=True)
class Capability:
    """The means of confinement that were tried on this machine and found to work.

    A process is confined by all of these or not started: what this says is what is done.
    """

    limits: bool
    """Resource limits can be set."""
    landlock_abi: int
    """The version of Landlock; 0 when there is none."""
    seccomp: bool
    """System calls can be filtered."""
    uid_separation: bool
    """A process can be given a user id of its own (this one is root)."""
    user_namespace: bool
    """A process can enter a user namespace of its own (to count its threads alone)."""
    bubblewrap: str | None
    """The bubblewrap program in use: an empty file system and no view of other processes."""
    notes: tuple[str, ...] = ()
    """In words, what is missing or weaker than it could be."""

    @property
    def level(self) -> Level:
        if not self.limits:
            return "none"
        if not self.seccomp:
            return "limits"
        return "full" if self.landlock_abi else "process"

    def demand(self, required: Level | None) -> Level:
        """The level reached, when it is at least `required`; else `Denied` naming what is missing.

        None requires nothing.
        """
        if required is None or LEVELS.index(self.level) >= LEVELS.index(required):
            return self.level
        missing = [
            text
            for have, text in (
                (self.limits, "resource limits (setrlimit)"),
                (self.seccomp, "system call filters (seccomp, on x86_64 or aarch64)"),
                (self.landlock_abi or required == "process", "Landlock"),
            )
            if not have
        ]
        raise Denied(
            f"isolation level {required!r} is required, and this machine reaches {self.level!r}: "
            f"it lacks {', '.join(missing)}",
            remedy="run on Linux 5.13 or later with Landlock and seccomp enabled, in a container "
            "whose own filter permits both; or require less in policy",
            code="isolation.level",
            details={
                "required": required,
                "reached": self.level,
                "missing": missing,
                "notes": list(self.notes),
            },
        )
