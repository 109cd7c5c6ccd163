"""The pages that can be run are run: the reader in formats.md, the package in extend.md and the
change of root key in keys-and-recovery.md.  The roads are in test_docs_roads.py."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import rfc8785
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.serialization import load_der_public_key

from assay import canonical, plugins
from assay.actions.administration import CreateProject, DestroyRing, Examine, RotateRing
from assay.actions.people import CreateToken, EnrolActor, ManageRole
from assay.clock import SystemClock
from assay.errors import Denied
from assay.evidence import envelope, statement
from assay.evidence.facts import FactDeclaration, value_of
from assay.evidence.signers import MemorySigner
from assay.evidence.state import kind_of
from assay.plugins import Assessment, Rows
from assay.policy import bundle as policies
from assay.store import generate_recovery
from assay.workspace.credentials import Person
from assay.workspace.door import Workspace
from assay.workspace.opening import (
    Founding,
    create_workspace,
    declared_facts,
    open_workspace,
    trusted_root,
)

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
_FENCE = re.compile(r"^```([a-z]*)(?: file=\S+)?\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: str, *kinds: str) -> list[tuple[str, str]]:
    """The code blocks of a page, as (kind, code)."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [(kind, code) for kind, code in _FENCE.findall(text) if kind in kinds]


def run(code: str, name: str) -> dict[str, Any]:
    """Run a block of Python from our own page; returns its names."""
    namespace: dict[str, Any] = {"__name__": name}
    exec(compile(code, name, "exec"), namespace)  # noqa: S102
    return namespace


# -- the reader in formats.md ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, Person]]:
    """A workspace with one project, made as `assay init --development` makes it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setenv("ASSAY_KEYS", str(tmp_path_factory.mktemp("keys")))
        key = MemorySigner.generate()
        founding = Founding("fraud", "ada", key, "development-key", development=True)
        made = create_workspace(tmp_path_factory.mktemp("repository"), founding)
        yield made, Person(key)
        made.close()


@pytest.fixture(scope="module")
def reader() -> dict[str, Any]:
    """The code of formats.md, which must not use assay."""
    ((_, block),) = blocks("formats.md", "python")
    imported = re.findall(r"^(?:import|from) ([\w., ]+)", block, re.MULTILINE)
    assert imported
    assert not any("assay" in names for names in imported)
    return run(block, "formats.md")


@pytest.mark.parametrize("size", [0, 1, 16_383, 16_384, 16_385, 3 * 16_384])
@pytest.mark.parametrize("salted", [False, True])
def test_the_documented_reader_opens_content(
    workspace: tuple[Workspace, Person], reader: dict[str, Any], size: int, salted: bool
) -> None:
    made, _ = workspace
    made.store.rings.rotate("fraud/data")
    plain = bytes(range(256)) * (size // 256) + bytes(size % 256)
    digest = made.store.put("fraud/data", plain, salted=salted)
    layout = made.layout
    ring = reader["Ring"](layout.rings / "fraud" / "data.ring", layout.root_key)
    assert reader["content"](layout.blobs, ring, digest) == plain


def test_the_documented_reader_refuses_an_altered_byte(
    workspace: tuple[Workspace, Person], reader: dict[str, Any]
) -> None:
    made, _ = workspace
    ring = reader["Ring"](made.layout.rings / "fraud" / "data.ring", made.layout.root_key)
    sealed = bytearray(made.store.rings.ring("fraud/data").seal(b"secret", "lease"))
    assert ring.open(bytes(sealed), "lease") == b"secret"
    sealed[-1] ^= 1
    with pytest.raises(InvalidTag):
        ring.open(bytes(sealed), "lease")
    with pytest.raises(ValueError, match="another key, another context"):
        ring.open(made.store.rings.ring("fraud/data").seal(b"secret", "lease"), "index")


def test_the_documented_reader_checks_the_ledger(
    workspace: tuple[Workspace, Person], reader: dict[str, Any]
) -> None:
    made, person = workspace
    made.perform(person, CreateProject(project="_workspace", new="care", owner=_me(workspace)))
    root = trusted_root(made.layout)
    note = made.ledger.note.decode()
    size, expected = reader["checkpoint_root"](note, root.ledger_key.spki)
    keys = {key.keyid: key.spki for key in root.workspace_keys}
    assert size == made.ledger.checkpoint.size > 5
    for leaf in made.ledger.read(0, size):
        assert leaf.envelope is not None
        assert leaf.nonce is not None
        envelope = json.loads(leaf.envelope)
        path = made.ledger.inclusion(leaf.index)
        carried = {
            "index": leaf.index,
            "nonce": canonical.b64(leaf.nonce),
            "envelope": envelope,
            "proof": [canonical.b64(node) for node in path],
        }
        assert reader["root_of"](carried, size) == expected
        assert reader["verify_envelope"](envelope, keys)["_type"] == statement.TYPE


def test_the_documented_layout_of_a_segment_opens_every_envelope(
    workspace: tuple[Workspace, Person], reader: dict[str, Any]
) -> None:
    made, _ = workspace
    layout, root = made.layout, trusted_root(made.layout)
    key = load_der_public_key(canonical.unb64(root.ledger_key.spki, what="key"))
    assert isinstance(key, Ed25519PublicKey)
    magic = b"assay/segment/v1\n"
    seen: dict[int, bytes] = {}
    for path in sorted(layout.ledger.glob("sealed/**/*.seg")):
        data = path.read_bytes()
        assert data.startswith(magic)
        body, signature = data[:-64], data[-64:]
        digest = hashlib.sha256(body).digest()
        key.verify(signature, magic + root.origin.encode() + b"\n" + digest)
        end = 21 + int.from_bytes(data[17:21], "big")
        header = msgspec.msgpack.decode(data[21:end])
        assert path.name == f"{header['first']}-{len(header['owners'])}.seg"
        for project, length in zip(header["projects"], header["sections"], strict=True):
            ring = reader["Ring"](layout.rings / project / "evidence.ring", layout.root_key)
            opened = msgspec.msgpack.decode(ring.open(data[end : end + length], "evidence"))
            end += length
            assert opened["format"] == "assay/segment-section/v1"
            for index, nonce, sealed in opened["entries"]:
                at = 32 * (index - header["first"])
                commitment = header["commitments"][at : at + 32]
                assert hashlib.sha256(nonce + sealed).digest() == commitment
                seen[index] = sealed
    read = {leaf.index: leaf.envelope for leaf in made.ledger.read(0, made.ledger.checkpoint.size)}
    assert seen == read


def test_the_documented_backup_opens_with_the_recovery_secret(
    workspace: tuple[Workspace, Person], reader: dict[str, Any]
) -> None:
    made, _ = workspace
    secret, recipient = generate_recovery()
    backup = json.loads(made.store.rings.backup(recipient))
    plain = base64.b32decode("".join(secret.removeprefix("ASSAY-RECOVERY-1-").split("-")))
    assert plain[32:] == hashlib.sha256(plain[:32]).digest()[:3]
    private = X25519PrivateKey.from_private_bytes(plain[:32])
    suite = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
    (entry,) = [entry for entry in backup["entries"] if entry["ring"] == "fraud/data"]
    info = rfc8785.dumps(["assay/ring-backup/v1", recipient, entry["ring"], entry["id"]])
    holds = json.loads(suite.decrypt(base64.b64decode(entry["sealed"]), private, info=info))
    ring = reader["Ring"](made.layout.rings / "fraud" / "data.ring", made.layout.root_key)
    assert [base64.b64decode(key) for key in holds["keys"]["generations"]] == ring.keys


def _described_kinds() -> dict[str, str]:
    """Kind → its row in the tables of predicates."""
    section = (DOCS / "formats.md").read_text().partition("\n## Predicates\n")[2]
    rows = re.findall(r"^\| `([a-z-]+)` (\|.*)$", section.partition("\n## ")[0], re.MULTILINE)
    return dict(rows)


def _me(workspace: tuple[Workspace, Person]) -> str:
    (actor,) = workspace[0].view.follow().actors
    return actor


def test_every_field_of_what_the_door_records_is_described(
    workspace: tuple[Workspace, Person],
) -> None:
    made, person = workspace
    state = made.view.follow()
    for role in ("fraud/approver", "fraud/operator"):
        made.perform(
            person,
            ManageRole(project="_workspace", actor=_me(workspace), role=role, granted=True),
        )
    enrol = EnrolActor(project="_workspace", actor="shop", kind="service", roles=("fraud/service",))
    made.perform(person, enrol)
    made.perform(person, CreateToken(project="fraud", actor="shop"))
    made.perform(person, RotateRing(project="_workspace", ring="fraud/models"))
    made.perform(
        person, DestroyRing(project="_workspace", ring="care/data", reason="a test", ticket="T-1")
    )
    made.perform(person, Examine(project="_workspace"))
    with pytest.raises(Denied):
        made.perform(
            person, DestroyRing(project="_workspace", ring="care/models", reason="", ticket="T-1")
        )
    described = {k: set(re.findall(r"`([a-z_0-9]+)`", r)) for k, r in _described_kinds().items()}
    seen: set[str] = set()
    for leaf in made.ledger.read(0, state.size):
        assert leaf.envelope is not None
        found = envelope.decode(leaf.envelope).statement()
        kind = kind_of(found)
        seen.add(kind)
        unnamed = set(found.predicate) - {"decision"} - described[kind]
        assert not unnamed, f"{kind}: {unnamed}"
    assert len(seen) > 8


# -- keys-and-recovery.md -------------------------------------------------------------------------


def test_the_change_of_root_key_works_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "ws").mkdir()
    monkeypatch.chdir(tmp_path / "ws")
    key = MemorySigner.generate()
    made = create_workspace(
        Path.cwd(), Founding("fraud", "ada", key, "development-key", development=True)
    )
    digest = made.store.put("fraud/data", b"kept")
    old = made.layout.root_key.read_bytes()
    ((_, block),) = blocks("keys-and-recovery.md", "python")
    run(block, "keys-and-recovery.md")
    again = open_workspace(Path.cwd(), clock=SystemClock())
    assert again.layout.root_key.read_bytes() != old
    assert again.store.read("fraud/data", digest, 10) == b"kept"


# -- extend.md ------------------------------------------------------------------------------------


def test_the_package_of_the_page_about_extending_is_found_and_its_gate_is_a_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = next(code for _, code in blocks("extend.md", "python") if "ASSESSOR" in code)
    project, producers, case, *_ = (code for _, code in blocks("extend.md", "toml"))
    gate = next(code for _, code in blocks("extend.md", "") if code.startswith("@id"))
    site = tmp_path / "site"
    _install(site, module, project)
    monkeypatch.syspath_prepend(str(site))
    try:
        assessor = plugins.load("assay.assessors")["positive-share"]
        declared = declared_facts()
    finally:
        sys.modules.pop("positive_share", None)
    found = assessor.assess(_given())
    assert found == {"rows": 3, "share": 2 / 3}
    (fact,) = [f for f in declared if f["name"] == "positive.share"]
    said = statement.Statement.new(
        subject={"credit@1": canonical.digest(b"")},
        predicate_type=statement.predicate_type(assessor.kind),
        predicate=found,
        project="fraud",
        producer=assessor.producer,
        clock=SystemClock(),
    )
    assert fact["predicate_type"] == said.predicateType
    assert value_of(msgspec.convert(fact, FactDeclaration), said) == 2 / 3

    folder = tmp_path / "policy"
    policies.write_defaults(folder)
    _append(folder / "producers.toml", producers)
    _append(folder / "gates.cedar", gate)
    tests = (folder / "tests.toml").read_text()
    passing = tests.replace("[facts]\n", '[facts]\n"positive.share" = "0.2000"\n', 1)
    (folder / "tests.toml").write_text(passing)
    _append(folder / "tests.toml", case)
    assert policies.check(policies.build(folder, declared)) == []


def _append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + "\n" + text)


def _install(site: Path, module: str, project: str) -> None:
    """What pip would leave of the page's package."""
    told = tomllib.loads(project)["project"]
    (site / "positive_share").mkdir(parents=True)
    (site / "positive_share" / "__init__.py").write_text(module)
    info = site / f"positive_share-{told['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {told['name']}\nVersion: {told['version']}\n"
    )
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
        for group, points in told["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("".join(groups))


def _given() -> Assessment:
    scores = np.array([[0.9, 0.1], [0.4, 0.6], [0.5, 0.5]])
    return Assessment(
        test=Rows([], [0, 1, 1], {}),
        train=None,
        classes=[0, 1],
        positive=1,
        threshold=0.5,
        seed=0,
        score=lambda _: scores,
        champion=None,
        shadow=None,
        progress=lambda _: None,
    )
