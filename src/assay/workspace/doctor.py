"""What is wrong with a workspace as it stands here, each finding with its remedy.

The findings are recorded as evidence about the workspace, so that a gate may ask for a healthy one.
They say what this process can see on this machine, and nothing about others.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from typing import Any, Literal

import msgspec

from assay.clock import Clock, not_before
from assay.errors import AssayError
from assay.evidence.signers import is_protected
from assay.isolation.probe import probe
from assay.policy import bundle as policies
from assay.store import Store
from assay.workspace import layout as layouts
from assay.workspace.layout import Layout
from assay.workspace.view import View

KIND = "doctor"
PRODUCER = "assay.doctor/1"

Grade = Literal["ok", "warning", "critical"]


class Finding(msgspec.Struct, frozen=True):
    """One thing looked at, what was found, and what to do about it."""

    check: str
    grade: Grade
    what: str
    remedy: str = ""


def examine(layout: Layout, store: Store, view: View, clock: Clock, decision: str) -> list[Finding]:
    """Look at everything; a check that cannot be made is itself a critical finding.

    `decision` is the one that allowed this examination, which is therefore still open.
    """
    checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("keys", lambda: _keys(layout)),
        ("recovery", lambda: _recovery(layout, store)),
        ("ledger", lambda: _ledger(layout, view, clock, decision)),
        ("store", lambda: _store(store, view)),
        ("policy", lambda: _policy(layout, view)),
        ("isolation", _isolation),
        ("catalog", lambda: _catalog(layout)),
    ]
    found: list[Finding] = []
    for name, check in checks:
        try:
            found += check()
        except AssayError as error:
            found.append(Finding(name, "critical", error.message, error.remedy))
    return found


def predicate(findings: list[Finding]) -> dict[str, Any]:
    """The predicate ``doctor/v1``."""
    return {
        "critical": sum(f.grade == "critical" for f in findings),
        "warnings": sum(f.grade == "warning" for f in findings),
        "isolation": probe().level,
        "findings": msgspec.to_builtins(findings),
    }


def _keys(layout: Layout) -> Iterator[Finding]:
    private = [layout.workspace_key, layout.ledger_key]
    private += [] if layout.config.keys else [layout.root_key]
    broken = False
    for path in [layout.root, layout.keys, *private]:
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
        if mode is None:
            broken = True
            yield Finding("keys", "critical", f"{path} is missing", "restore it from a backup")
        elif mode & 0o077:
            broken = True
            remedy = f"chmod go-rwx {path}; if somebody may have read it, turn the keys"
            yield Finding("keys", "critical", f"{path} is open to other users", remedy)
    if not broken:
        yield Finding("keys", "ok", "the workspace's keys are readable by their owner alone")
    mine = sorted(layouts.key_folder().glob("*.pem"))
    bare = [path.stem for path in mine if not is_protected(path)]
    if bare:
        yield Finding(
            "personal keys",
            "warning",
            f"without a passphrase: {', '.join(bare)}",
            "make keys with a passphrase: assay actor new-key NAME",
        )
    if len(mine) > 1:
        yield Finding(
            "personal keys",
            "warning",
            f"{len(mine)} people's keys can be read by one user of this machine: approvals by "
            "them are shown as self-approved",
            "keep each person's key on that person's own machine",
        )


def _recovery(layout: Layout, store: Store) -> Iterator[Finding]:
    from assay.store import carried_backup

    if layout.config.development:
        yield Finding(
            "recovery",
            "warning",
            "development workspace: if root.key is lost, everything sealed is lost",
            "make a workspace without --development before it holds anything that matters",
        )
        return
    carried_backup(layout.rings)
    count = len(store.rings.names())
    yield Finding("recovery", "ok", f"{count} rings open with the offline recovery secret")


def _ledger(layout: Layout, view: View, clock: Clock, decision: str) -> Iterator[Finding]:
    state = view.follow()
    not_before(clock.now(), view.checkpoint.time)
    if state.rejected:
        leaves = ", ".join(str(index) for index, _ in state.rejected[:5])
        yield Finding(
            "ledger",
            "critical",
            f"{len(state.rejected)} leaves claim a change they are not entitled to: {leaves}",
            "find out who held the workspace's keys; assay verify .assay/ledger",
        )
    memory = layouts.state_folder()
    if memory.is_relative_to(layout.base):
        yield Finding(
            "ledger",
            "warning",
            f"the newest checkpoint is remembered in {memory}, inside the workspace",
            "set XDG_STATE_HOME to a folder outside, so that a roll-back is noticed",
        )
    open_ones = len(state.open.keys() - {decision})
    if open_ones:
        yield Finding(
            "ledger",
            "warning",
            f"{open_ones} decisions have no outcome: running now, or interrupted",
            "assay recover",
        )
    yield Finding("ledger", "ok", f"{state.size} leaves, followed to the newest checkpoint")


def _store(store: Store, view: View) -> Iterator[Finding]:
    missing = [
        v
        for v in view.state.versions.values()
        if v.served is not None and not v.revoked
        # The index and the length; `assay store check` reads everything.
        if not store.exists(f"{v.project}/models", v.served)
    ]
    for version in missing:
        name = f"{version.name}@{version.version}"
        yield Finding(
            "store", "critical", f"the sealed bytes of {name} are missing", "assay store check"
        )
    if not missing:
        yield Finding("store", "ok", "every model version in use is in the store")


def _policy(layout: Layout, view: View) -> Iterator[Finding]:
    active = view.state.bundle
    here = policies.build(layout.policy, _declarations(view))
    for problem in policies.check(here):
        remedy = f"edit {layout.policy}, then assay policy apply"
        yield Finding("policy", "warning", problem, remedy)
    if here.digest != active:
        yield Finding(
            "policy",
            "warning",
            f"the files in {layout.policy} differ from the active bundle",
            "assay policy check, then assay policy apply",
        )
    else:
        yield Finding("policy", "ok", f"the files in {layout.policy} are the active bundle")


def _declarations(view: View) -> list[dict[str, Any]]:
    """Those of the active bundle: what is installed meanwhile changes nothing until applied."""
    return [msgspec.to_builtins(declared) for declared in view.policy.declarations]


def _isolation() -> Iterator[Finding]:
    capability = probe()
    grade: Grade = "ok" if capability.level in ("process", "full") else "warning"
    what = f"models run confined at level {capability.level}"
    remedy = "" if grade == "ok" else "run on Linux 5.13 or later with Landlock and seccomp"
    yield Finding("isolation", grade, "; ".join([what, *capability.notes]), remedy)


def _catalog(layout: Layout) -> Iterator[Finding]:
    url = layout.catalog_url
    local = url.startswith("sqlite")
    if not local and "sslmode=disable" in url:
        yield Finding(
            "catalog",
            "critical",
            "the catalog's database is reached without TLS",
            "remove sslmode=disable from its URL",
        )
        return
    where = "in a file of this workspace" if local else "in PostgreSQL"
    yield Finding("catalog", "ok", f"the catalog is {where}; assay rebuild --check compares it")
