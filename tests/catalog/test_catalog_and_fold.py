"""The catalog shows what the fold of the ledger makes of the same leaves, hostile ones included."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay import canonical
from assay.canonical import digest
from assay.catalog import derive
from assay.catalog.catalog import Catalog, Entry
from assay.clock import FixedClock, timestamp
from assay.errors import AssayError
from assay.evidence import envelope as dsse
from assay.evidence import ledger as ledgers
from assay.evidence.records import REQUEST_FORMAT
from assay.evidence.signers import MemorySigner, Signer
from assay.evidence.state import WORKSPACE, State, fold, kind_of
from assay.evidence.statement import PREFIX, Statement, predicate_type
from assay.workspace.opening import Founding, create_workspace, fill, open_catalog

CLOCK = FixedClock(datetime(2026, 11, 24, 12, tzinfo=timezone.utc))
WORKSPACE_KEY, ADMIN, ADA, STRANGER = (MemorySigner.generate() for _ in range(4))
SIGNERS = {"workspace": WORKSPACE_KEY, "admin": ADMIN, "ada": ADA, "stranger": STRANGER}


def key(signer: Signer) -> dict[str, str]:
    return msgspec.to_builtins(signer.public)


class Chain:
    """Signed leaves, each folded at once, and indexed as a filler would."""

    def __init__(self) -> None:
        self.state = State()
        self.entries: list[Entry] = []
        self.decisions: list[str] = []
        admin = {"id": "admin", "key": key(ADMIN), "level": "personal-key"}
        genesis = {
            "workspace": "w",
            "bundle": digest(b"bundle"),
            "workspace_keys": [key(WORKSPACE_KEY)],
            "admin": {**admin, "roles": ["_workspace/admin"]},
            "project": "fraud",
        }
        self.add(self.statement("genesis", genesis, WORKSPACE))

    def statement(
        self, kind: str, predicate: dict[str, Any], project: str, subject: str = "thing"
    ) -> Statement:
        return Statement.new(
            subject={subject: digest(subject.encode())},
            predicate_type=kind if "/" in kind else predicate_type(kind),
            predicate=predicate,
            project=project,
            producer="assay.door/1",
            clock=CLOCK,
        )

    def add(
        self, item: Statement | bytes | None, signer: Signer = WORKSPACE_KEY, ring: str = ""
    ) -> None:
        """Append raw bytes, or a statement to sign; None is a leaf whose ring was destroyed."""
        raw, statement = item, None
        if isinstance(item, Statement):
            raw = dsse.encode(dsse.sign(item, signer))
            ring = ring or item.header.project
        assert not isinstance(raw, Statement)
        index = self.state.size
        fold(self.state, index, raw)
        if raw is not None:
            with contextlib.suppress(AssayError):
                statement = dsse.decode(raw).statement()
        accepted = index not in {rejected for rejected, _ in self.state.rejected}
        self.entries.append(Entry(index, ring or "fraud", digest(raw or b""), statement, accepted))

    def decide(self, action: str, project: str, **changed: Any) -> str:
        predicate: dict[str, Any] = {
            "action": action,
            "actor": "admin",
            "allowed": True,
            "durability": "before",
            **changed,
        }
        made = self.statement("decision", predicate, project)
        request = {
            "workspace": "w",
            "id": made.header.id,
            "issued": timestamp(CLOCK.now()),
            "project": project,
            "action": action,
            "params": {},
        }
        body = canonical.encode({"format": REQUEST_FORMAT, **request})
        asking = SIGNERS.get(predicate["actor"], STRANGER)
        proof = {"keyid": asking.public.keyid, "sig": canonical.b64(asking.sign(body))}
        made.predicate["request"] = {**request, "proof": proof}
        self.add(made)
        self.decisions.append(made.header.id)
        return made.header.id

    def close(self, decision: str, project: str, status: Any = "done") -> None:
        self.add(self.statement("outcome", {"decision": decision, "status": status}, project))

    def tell(self, told: dict[str, Any]) -> None:
        """Append what `told` describes: mostly what the door would write, or a trick."""
        kind, project, trick = told["kind"], told["project"], told["trick"]
        if trick == "destroyed":
            return self.add(None)
        if trick == "garbage":
            return self.add(b'{"payload":')
        action = told["action"] if trick != "wrong action" else "deploy"
        if kind == "hold" and told["predicate"]["subject"] == "dataset":
            action = "holdDataset"
        where = "claims" if trick == "other project" else project
        changed: dict[str, Any] = {}
        if trick == "denied":
            changed["allowed"] = False
        if trick == "segment":
            changed["durability"] = "segment"
        if kind == "approval":
            changed["actor"] = told["actor"]
        decision = self.decide(action, where, **changed)
        if trick == "closed":
            self.close(decision, where)
        if trick == "old decision":
            decision = self.decisions[told["old"] % len(self.decisions)]
        predicate: dict[str, Any] = {**told["predicate"], "decision": decision}
        if trick == "damaged":
            name, value = told["damage"]
            predicate[sorted(predicate)[name % len(predicate)]] = value
        if trick == "lacking":
            del predicate[sorted(predicate)[told["old"] % len(predicate)]]
        full = f"{PREFIX}{kind}/v2" if trick == "later version" else kind
        made = self.statement(full, predicate, project, told["about"])
        if trick == "same id":
            again = self.decisions[told["old"] % len(self.decisions)]
            header = msgspec.structs.replace(made.header, id=again)
            made = msgspec.structs.replace(made, header=header)
        person = "ada" if kind == "approval" else "workspace"
        signer = SIGNERS[told["signer"] if trick == "signer" else person]
        self.add(made, signer, "claims" if trick == "ring" else "")
        if trick == "twice":
            self.add(self.statement(full, predicate, project), signer)
        if trick == "replayed":
            self.add(made, signer)
        if trick != "left open":
            self.close(decision, where, told["status"])
        return None


ACTIONS = {
    "actor": "enrolActor",
    "disabled": "disableActor",
    "dataset": "registerDataset",
    "model-version": "registerModel",
    "alias": "promote",
    "revocation": "revoke",
    "hold": "hold",
    "approval": "approve",
    "key-revocation": "revokeKey",
    "decision": "applyPolicy",
    "outcome": "applyPolicy",
    "genesis": "applyPolicy",
    "scan": "assess",
}
TRICKS = [
    *("destroyed", "garbage", "wrong action", "other project", "denied", "segment", "closed"),
    *("old decision", "damaged", "lacking", "later version", "signer", "ring", "twice", "replayed"),
    "left open",
    "same id",
]
# Few values, so that what is told is mostly about the same few things.
PROJECTS = [*["fraud"] * 16, *["claims"] * 3, WORKSPACE]
NAMES = [*["credit"] * 6, "loans"]
VERSIONS = ["1", "2", "3", "4"] * 3 + ["5", "6", "7", "staging"]
ALIASES = ["production"] * 4 + ["staging", "staging", "champion", "3"]
BYTES = [digest(b"one"), digest(b"one"), digest(b"two")]
ACTORS = ["ada", "bob", "admin", "x" * 200]
TEXTS = ["ada", "a\0b", "é" * 256, "'; DROP TABLE actors; --", "\U0001f600" * 99]
DETAILS = [{}, {"a\0b": "\0", "é": [1.5, None]}, {"rows": 1, "deep": [{}]}]
ODD = [None, "", 1, 1.5, True, [], {}, ["a"], "a\0b", "x" * 5000, "é", "a/b@c", "open"]
FLAGS = [True, False]
VERSION: dict[str, list[Any]] = {"name": NAMES, "version": VERSIONS}
PREDICATES: dict[str, dict[str, list[Any]]] = {
    "actor": {
        "actor": ACTORS,
        "kind": ["person", "person", "service"],
        "level": TEXTS,
        "disabled": FLAGS,
        "keys": [[], [], [key(ADA)], [key(ADMIN)]],
    },
    "disabled": {
        "actor": ACTORS[:3],
        "kind": ["person"],
        "level": TEXTS,
        "disabled": FLAGS,
        "keys": [[]],
    },
    "dataset": {"name": NAMES, "content": BYTES, "owner": TEXTS, "details": DETAILS},
    "model-version": {
        "name": NAMES,
        "version": ["1", "5", "6", "7", "8", "staging"],
        "author": ACTORS,
        "artifact": BYTES,
        "served": [*BYTES, None, ""],
        "details": DETAILS,
    },
    "alias": {**VERSION, "alias": ALIASES},
    "revocation": VERSION,
    "hold": {**VERSION, "subject": ["dataset", "model"], "held": [True, True, False]},
    "approval": {**VERSION, "stage": ALIASES, "comment": TEXTS},
    "key-revocation": {"keyid": [signer.public.keyid for signer in SIGNERS.values()]},
    "decision": {
        "action": TEXTS,
        "actor": TEXTS,
        "allowed": FLAGS,
        "request": DETAILS,
        "durability": ["before", "segment"],
        "bundle": ODD,
        "reasons": ODD,
    },
    "outcome": {"decision": TEXTS, "status": ODD},
    "genesis": {"admin": [{"id": "eve", "level": "x", "roles": []}]},
    "scan": VERSION,
}
KINDS = [
    *[kind for kind in PREDICATES if kind != "key-revocation"],
    *["model-version", "dataset", "alias", "alias", "hold", "revocation"] * 4,
]


def telling(seed: int) -> dict[str, Any]:
    """One thing to tell; a third of them are tricks."""
    choose = random.Random(seed)  # noqa: S311 - it makes no secrets
    # The workspace's own key is revoked seldom: nothing is accepted from then on.
    kind = choose.choice(KINDS if choose.random() < 0.99 else ["key-revocation"])
    about_people = kind in ("actor", "disabled", "key-revocation")
    said = {name: choose.choice(values) for name, values in PREDICATES[kind].items()}
    return {
        "kind": "actor" if kind == "disabled" else kind,
        "action": ACTIONS[kind],
        "project": choose.choice([WORKSPACE] * 4 + ["fraud"] if about_people else PROJECTS),
        "predicate": said,
        "trick": choose.choice(TRICKS) if choose.random() < 0.33 else "",
        "about": choose.choice(["one", "two", "thing"]),
        "actor": choose.choice(["ada", "ada", "ada", "bob", "admin"]),
        "signer": choose.choice(sorted(SIGNERS)),
        "old": choose.randrange(10),
        "damage": (choose.randrange(10), choose.choice(ODD)),
        "status": choose.choice(["done", "done", *ODD]),
    }


def plainly(kind: str, action: str, project: str, said: dict[str, Any]) -> dict[str, Any]:
    """Something to tell that the fold accepts."""
    common = {"trick": "", "about": "thing", "status": "done"}
    return {"kind": kind, "action": action, "project": project, "predicate": said, **common}


def registration(version: str, served: bytes | None, project: str = "fraud") -> dict[str, Any]:
    said = {
        "name": "credit",
        "version": version,
        "author": "ada",
        "artifact": digest(b"a"),
        "served": digest(served) if served else None,
        "details": {},
    }
    return plainly("model-version", "registerModel", project, said)


SIGNATORY: dict[str, Any] = {
    "actor": "ada",
    "kind": "person",
    "level": "x",
    "disabled": False,
    "keys": [key(ADA)],
}
FIRST_SERVED = [b"one", b"one", None, None]
BEGINNING = [
    # Somebody who signs approvals, which the workspace cannot.
    plainly("actor", "enrolActor", WORKSPACE, SIGNATORY),
    *(registration(str(number + 1), served) for number, served in enumerate(FIRST_SERVED)),
    registration("1", b"one", "claims"),
]


def shown(text: str) -> str:
    """A text as both databases can hold it."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def state_in_rows(state: State) -> dict[str, Any]:
    """What of the state the catalog lists."""
    return {
        "actors": {
            actor: (held.kind, shown(held.level), held.disabled)
            for actor, held in state.actors.items()
        },
        "datasets": {
            name: (held.content, shown(held.owner), held.details, held.hold)
            for name, held in state.datasets.items()
        },
        "model_versions": {
            name: (v.author, v.artifact, v.served or "", v.details, v.stage, v.revoked, v.hold)
            for name, v in state.versions.items()
        },
        "models": {f"{v.project}/{v.name}" for v in state.versions.values()},
        "aliases": state.aliases,
        "decisions": {
            decision: (held.index, held.project, shown(held.action), shown(held.actor))
            for decision, held in state.open.items()
        },
    }


def catalog_in_rows(catalog: Catalog) -> dict[str, Any]:
    """Every row of the same tables, whoever it belongs to; of decisions, those that are open."""
    tables: dict[str, list[dict[str, Any]]] = {}
    for line in catalog.dump():
        told = msgspec.json.decode(line)
        if "table" in told:
            tables.setdefault(told["table"], []).append(told["row"])

    def keyed(table: str, naming: str, *columns: str) -> dict[str, Any]:
        rows = tables.get(table, [])
        for row in rows:
            if "details" in row:
                row["details"] = msgspec.json.decode(row["details"])
        found = {naming.format(**row): tuple(row[column] for column in columns) for row in rows}
        assert len(found) == len(rows)
        return found

    model_version = ("author", "artifact", "served", "details", "stage", "revoked", "hold")
    tables["decisions"] = [r for r in tables.get("decisions", []) if r["status"] == "open"]
    aliases = keyed("aliases", "{project}/{name}@{alias}", "version")
    return {
        "actors": keyed("actors", "{id}", "kind", "level", "disabled"),
        "datasets": keyed("datasets", "{project}/{name}", "content", "owner", "details", "hold"),
        "model_versions": keyed("model_versions", "{project}/{name}@{version}", *model_version),
        "models": {*keyed("models", "{project}/{name}")},
        "aliases": {alias: version for alias, (version,) in aliases.items()},
        "decisions": keyed("decisions", "{id}", "leaf", "project", "action", "actor"),
    }


# Seeds, so that sequences are dense and a failing one still shrinks to the few that matter.
TELLINGS = st.lists(st.integers(0, 2**48).map(telling), min_size=25, max_size=40)


def chain_of(told: list[dict[str, Any]]) -> Chain:
    chain = Chain()
    for one in [*BEGINNING, *told]:
        chain.tell(one)
    return chain


def test_the_catalog_shows_what_the_fold_made_of_the_same_leaves(url: str) -> None:
    catalog = Catalog.open(url)

    @settings(max_examples=60, deadline=None)
    @given(TELLINGS)
    def shows_what_the_fold_made(told: list[dict[str, Any]]) -> None:
        chain = chain_of(told)
        catalog.clear()
        catalog.index_all(chain.entries)
        assert catalog_in_rows(catalog) == state_in_rows(chain.state)

    try:
        shows_what_the_fold_made()
    finally:
        catalog.close()


def test_those_leaves_say_something_of_every_kind_that_is_accepted_and_that_is_rejected() -> None:
    seen: Counter[tuple[str, bool]] = Counter()

    @settings(max_examples=12, deadline=None, derandomize=True)
    @given(TELLINGS)
    def count(told: list[dict[str, Any]]) -> None:
        for entry in chain_of(told).entries:
            if entry.statement is not None:
                seen[kind_of(entry.statement), entry.accepted] += 1

    count()
    assert {(kind, how) for kind in derive.RULES for how in (True, False)} <= {*seen}


def test_the_filler_tells_the_catalog_what_the_fold_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    founding = Founding("fraud", "ada", ADMIN, "personal-key", development=True)
    workspace = create_workspace(tmp_path / "repo", founding, clock=CLOCK)
    chain = Chain()
    said = {"actor": "eve", "kind": "person", "level": "x", "disabled": False, "keys": []}
    forged = chain.statement("actor", said, WORKSPACE)
    version = {"name": "credit", "version": "1", "author": "eve", "artifact": digest(b"a")}
    forgeries = [forged, chain.statement("model-version", {**version, "details": {}}, "fraud")]
    workspace.ledger.append(
        [
            ledgers.Entry(made.header.project, dsse.encode(dsse.sign(made, STRANGER)))
            for made in forgeries
        ]
    )

    held, fresh = open_catalog(workspace), Catalog.open("sqlite://")
    fill(fresh, workspace.ledger)
    for catalog in (held, fresh):
        assert catalog.position() == 3
        assert [row.kind for row in catalog.statements("fraud")] == ["model-version"]
        assert catalog.models("fraud") == []
        assert catalog_in_rows(catalog) == state_in_rows(workspace.view.follow())
    assert held.dump_canonical() == fresh.dump_canonical()
    held.close()
    fresh.close()
