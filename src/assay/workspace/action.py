"""What an action is: a question for policy, and the work that follows a yes.

An action is plain data, so that it can be signed by who asks, written into the decision, and done
again after a crash.  It says which resource it touches and which evidence matters (`target`), and
does its work in `apply`, which must be idempotent for one decision id.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec

from assay import canonical
from assay.clock import Clock
from assay.errors import Usage
from assay.evidence.envelope import Envelope
from assay.evidence.state import WORKSPACE
from assay.evidence.statement import Statement
from assay.policy import vocabulary as cedar
from assay.types import Digest

if TYPE_CHECKING:
    from assay.store import Store
    from assay.workspace.credentials import Credential
    from assay.workspace.directory import Directory
    from assay.workspace.layout import Layout
    from assay.workspace.view import View

Durability = Literal["before", "segment"]
"""``before``: the decision is durable before anything is done.  ``segment``: decided once per
credential and state, recorded in aggregate."""

SIGNED = frozenset({"assay/bundle/v1"})
"""Formats of documents that `Doing.sign` signs."""

REGISTRY: dict[str, type[Action]] = {}
"""Every action class by its type name, so that recovery can rebuild one from a decision."""


class Target(msgspec.Struct):
    """The resource an action touches, as policy sees it."""

    uid: str
    entities: list[dict[str, Any]]
    context: dict[str, Any] = {}
    digests: dict[str, Digest] = {}
    """The artifacts it is about, by name; their evidence is cited in the decision."""
    cited: list[str] = []
    """Digests of the envelopes whose facts are in `context`."""
    subjects: list[str] = []
    """Names in `State.revisions` that must not change between decision and record."""
    words: dict[str, str] = {}
    """What the placeholders of a remedy mean: ``{model}``, ``{version}``, ``{data}``, ..."""
    outsider: bool = False
    """Whether who asks has no role in the project, and so learns nothing of it by being denied."""

    def guarded(self, actor: str) -> list[str]:
        """What may not move meanwhile.  Whoever may act at all may be stopped for all."""
        return [*self.subjects, "policy", "keys", f"actor:{actor}"]


class Outcome(msgspec.Struct):
    """What `apply` did: a value for the caller and the statements to record."""

    value: Any = None
    statements: list[Statement] = []
    signed: list[Envelope] = []
    """Statements already signed by somebody else: a person's approval, a foreign builder."""
    status: str = "done"


@dataclass(frozen=True, slots=True)
class Doing:
    """What `apply` may use.  It holds no key: the door signs what `apply` returns."""

    decision: str
    actor: str
    project: str
    layout: Layout
    store: Store
    directory: Directory
    clock: Clock
    view: View
    credential: Credential | None
    nested: Callable[[Action], Any]
    """Perform a further action for the same actor; its decision names this one as its parent."""
    progress: Callable[[str], None]
    record: Callable[[Sequence[Statement]], list[Digest]]
    """Sign evidence and append it while the action still runs; the envelopes' digests.  It stays,
    whatever becomes of the action, so it may change no state: `ValueError` for what would."""
    sign: Callable[[Mapping[str, Any]], tuple[str, bytes]]
    """The workspace key's id and signature over a document that leaves the workspace; only for the
    formats in `SIGNED`, none of which means anything on the ledger."""

    def attest(
        self,
        kind: str,
        subject: Mapping[str, Digest],
        predicate: Mapping[str, Any],
        *,
        producer: str = "assay.door/1",
    ) -> Statement:
        """A statement of ours about `subject`, naming the decision that allowed it."""
        from assay.evidence.statement import predicate_type

        told = {"decision": self.decision, **predicate}
        return self.statement(predicate_type(kind), subject, told, producer=producer)

    def statement(
        self,
        predicate_type: str,
        subject: Mapping[str, Digest],
        predicate: Mapping[str, Any],
        *,
        producer: str,
    ) -> Statement:
        """A statement of any type: one that is not ours has a predicate as its specification
        says."""
        return Statement.new(
            subject=subject,
            predicate_type=predicate_type,
            predicate=predicate,
            project=self.project,
            producer=producer,
            clock=self.clock,
        )


class Action(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every action.  `project` is required; ``_workspace`` for the workspace itself."""

    project: str

    name: ClassVar[str] = ""
    """The Cedar action."""
    durability: ClassVar[Durability] = "before"
    redo: ClassVar[bool] = False
    """Whether recovery repeats `apply` (the decision and the ledger determine it) or abandons."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.name:  # What has none is a base of others, and cannot be asked.
            REGISTRY[cls.__name__] = cls

    def target(self, view: View) -> Target:
        """The resource, entities and context for policy; raises `NotFound` or `Usage`."""
        raise NotImplementedError

    def asked_by(self, view: View, actor: str) -> dict[str, Any]:  # noqa: ARG002 - for others.
        """What of the context for policy depends on who asks."""
        return {}

    def apply(self, doing: Doing) -> Outcome:
        """Do it.  May put blobs; must not touch the ledger."""
        raise NotImplementedError

    def params(self) -> dict[str, Any]:
        """The action as plain JSON, from which `from_params` rebuilds it.

        Raises `Usage` for what JSON cannot carry exactly, and nobody could therefore sign.
        """
        made: dict[str, Any] = {}
        for name, value in msgspec.to_builtins(self).items():
            try:
                canonical.encode(value)
            except ValueError as error:
                raise Usage(
                    f"{name} holds text that is not UTF-8, or a number too large to be written "
                    "down exactly",
                    remedy="rename the file, or correct the value",
                    code="action.value",
                ) from error
            made[name] = value
        return {"type": type(self).__name__, **made}


def check_project(action: Action, target: Target) -> None:
    """Raise `Usage` unless the action names the project that the resource lies in.

    The workspace itself and its key rings lie in ``_workspace``.
    """
    kind, name = cedar.parse_uid(target.uid)
    uid = {"type": kind, "id": name}
    resource = next((entity for entity in target.entities if entity["uid"] == uid), None)
    if resource is not None:
        whole = kind.rpartition("::")[2] in ("Workspace", "KeyRing")
        if action.project == (WORKSPACE if whole else cedar.project_of(resource)):
            return
    raise Usage(
        f"{action.name} on {target.uid} cannot be asked in project {action.project[:80]}",
        remedy=f"name the project it lies in; for the workspace and its key rings, {WORKSPACE}",
        code="project",
    )


def from_params(params: Mapping[str, Any]) -> Action | None:
    """The action that `Action.params` described; None when its class is not installed, or is of
    another version that asks for something else."""
    cls = REGISTRY.get(str(params.get("type")))
    if cls is None:
        return None
    try:
        return msgspec.convert({k: v for k, v in params.items() if k != "type"}, cls)
    except msgspec.ValidationError:
        return None
