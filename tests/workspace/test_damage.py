"""Somebody edits the files of a workspace: noticed and named, or harmless; never a wrong yes."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from workspace.town import WORKSPACE, Town, copy_of, inside

from assay.actions.people import DisableActor, ManageRole
from assay.actions.reading import ReadEvidence
from assay.actions.release import Promote, Revoke
from assay.errors import AssayError, Denied
from assay.workspace.opening import open_workspace

PROMOTE = Promote(project="alpha", model="score", version="1", stage="production")
STAGING = Promote(project="alpha", model="score", version="1", stage="staging")


def kind_of(town: Town, path: Path) -> str:
    """Which kind of file it is: ``ledger/sealed``, ``keys/workspace.pem``, ``assay.toml``..."""
    inside = path.relative_to(town.repo).parts
    if inside[0] != ".assay":
        return inside[0]
    parts = inside[1:]
    if parts[0] not in ("ledger", "blobs", "keys"):
        return parts[0]
    return "/".join(parts[: 3 if parts[1] == "tile" else 2])


def samples(town: Town) -> dict[str, Path]:
    """One file of each kind, the newest of those with contents."""
    found: dict[str, Path] = {}
    for path in sorted(town.repo.rglob("*")):
        relevant = path.is_file() and path.stat().st_size
        if relevant and path.suffix not in (".csv", ".joblib", ".onnx"):
            found[kind_of(town, path)] = path
    return found


KINDS = (
    ".gitignore",
    "assay.toml",
    "blobs/blobs",
    "blobs/index",
    "denials",
    "directory",
    "epoch",
    "keys/ledger.pem",
    "keys/root.key",
    "keys/workspace.pem",
    "ledger/checkpoint",
    "ledger/sealed",
    "ledger/tile/0",
    "ledger/tile/entries",
    "policy",
    "rings",
    "snapshot",
    "trust",
)


def prepared(built: Town, base: Path, monkeypatch: pytest.MonkeyPatch) -> Town:
    """A town in which all was revoked, and every kind of file exists."""
    town = copy_of(built, base, monkeypatch)
    town.approve("ann", "abe")
    town.refused("una", PROMOTE)
    town.do("ann", Revoke(project="alpha", model="score", version="1", reason="bad"))
    una = town.ids["una"]
    town.do("ada", ManageRole(project=WORKSPACE, actor=una, role="alpha/auditor", granted=False))
    town.do("ada", DisableActor(project=WORKSPACE, actor=town.ids["oli"]))
    town.ws.close()
    town.close()
    return town


@pytest.fixture(scope="module")
def revoked(built: Town, tmp_path_factory: pytest.TempPathFactory) -> Town:
    with pytest.MonkeyPatch.context() as environment:
        return prepared(built, tmp_path_factory.mktemp("revoked") / "town", environment)


def test_the_kinds_of_files_are_all_there_are(revoked: Town) -> None:
    assert tuple(sorted(samples(revoked))) == KINDS


def everything_denied(town: Town) -> dict[str, str]:
    """What must be refused however the files were damaged; the reasons."""
    asked: dict[str, tuple[str, Any]] = {
        "a revoked version": ("eve", PROMOTE),
        "a revoked version for staging": ("eve", STAGING),
        "a role taken away": ("una", ReadEvidence(project="alpha")),
        "somebody disabled": ("oli", ReadEvidence(project="alpha")),
        "a role never held": ("sam", PROMOTE),
    }
    reasons: dict[str, str] = {}
    for what, (name, action) in asked.items():
        try:
            ws = open_workspace(town.repo, clock=town.clock)
            ws.perform(town.who(name), action)
        except AssayError as error:
            reasons[what] = error.code
        else:
            raise AssertionError(f"{what} was allowed")
    return reasons


def altered(data: bytes, how: str, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    if how == "flipped":
        return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
    if how == "cut":
        return data[:at]
    if how == "grown":
        return data + b"\0"
    return bytes(len(data))


HOW = ("flipped", "flipped again", "cut", "zeroed")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_any_kind_that_was_altered_never_turns_a_no_into_a_yes(
    revoked: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    chance = random.Random(kind)  # noqa: S311
    for number, how in enumerate(HOW):
        town = copy_of(revoked, tmp_path / str(number), monkeypatch)
        path = samples(town)[kind]
        path.write_bytes(altered(path.read_bytes(), how.split()[0], chance))
        everything_denied(town)
        shutil.rmtree(town.base)


REBUILT = ("epoch", "denials", "snapshot", ".gitignore", "policy")
"""Damage to these costs nothing but time: the state is folded anew, counters begin anew."""


@pytest.mark.parametrize("kind", REBUILT)
@pytest.mark.parametrize("how", ["flipped", "cut", "grown", "zeroed", "removed"])
def test_what_can_be_rebuilt_is_rebuilt(
    revoked: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, how: str
) -> None:
    town = copy_of(revoked, tmp_path / "town", monkeypatch)
    before = msgspec.to_builtins(town.ws.view.follow())
    town.close()
    path = samples(town)[kind]
    if how == "removed":
        path.unlink()
    else:
        path.write_bytes(altered(path.read_bytes(), how, random.Random(kind)))  # noqa: S311
    assert msgspec.to_builtins(town.reopen().view.follow()) == before
    assert town.refused("eve", PROMOTE) == ["gate.revoked"]
    town.do("eve", ReadEvidence(project="alpha"))
    assert town.ws.epoch.read() is not None or how in ("flipped", "cut")


@pytest.mark.parametrize(
    "kind", ["keys/ledger.pem", "keys/root.key", "keys/workspace.pem", "trust", "ledger/checkpoint"]
)
def test_what_the_workspace_stands_on_is_named_when_it_was_altered(
    revoked: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    chance = random.Random(kind)  # noqa: S311
    for number in range(6):
        town = copy_of(revoked, tmp_path / str(number), monkeypatch)
        path = samples(town)[kind]
        data = path.read_bytes()
        # Within the material, not the words around it.
        at = chance.randrange(len(data) // 3, 2 * len(data) // 3)
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(AssayError) as caught:
            open_workspace(town.repo, clock=town.clock)
        named = ("key", "trust root", "checkpoint", "ledger", "ring")
        assert any(word in caught.value.message for word in named)
        assert caught.value.exit_status == 4
        shutil.rmtree(town.base)


def problems_of(town: Town) -> list[str]:
    """What is wrong with the ledger, by the examination or, where it does not open, by that."""
    try:
        return [problem.path for problem in town.reopen().ledger.check()]
    except AssayError as error:
        return [error.message]


def test_each_file_of_the_ledger_that_is_altered_or_lost_is_named(
    revoked: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    town = copy_of(revoked, tmp_path / "town", monkeypatch)
    ledger = town.root / "ledger"
    paths = [path for path in sorted(ledger.rglob("*")) if path.is_file() and path.name != "lock"]
    chance = random.Random(7)  # noqa: S311
    tiles = [path for path in paths if "tile" in path.parts]
    chosen = {*chance.sample(paths, 6), *tiles[:1], *tiles[-2:]}
    for path in sorted(chosen):
        data = path.read_bytes()
        for spoilt in (data[:-1] + bytes([data[-1] ^ 1]), None):
            path.unlink()
            if spoilt is not None:
                path.write_bytes(spoilt)
            name = path.relative_to(ledger).as_posix()
            assert name in " ".join(problems_of(town))
            path.write_bytes(data)
    town.check()


def test_a_lost_tile_is_written_again_by_recovery(
    revoked: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    town = copy_of(revoked, tmp_path / "town", monkeypatch)
    tile = samples(town)["ledger/tile/entries"]
    data = tile.read_bytes()
    tile.unlink()
    done = town.reopen().recover()
    assert any(tile.name in line for line in done)
    assert tile.read_bytes() == data


def test_an_altered_blob_is_named_and_not_served(
    built: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    town = copy_of(built, tmp_path / "town", monkeypatch)
    for path in (town.root / "blobs" / "blobs").rglob("*"):
        if path.is_file() and path.stat().st_size < 4_000:
            data = path.read_bytes()
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(AssayError) as caught:
        town.deploy()
    assert caught.value.exit_status == 4
    assert [p for p in open_workspace(town.repo).store.check() if p.kind == "altered"]


def test_an_altered_directory_names_nobody_and_changes_no_decision(
    revoked: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    town = copy_of(revoked, tmp_path / "town", monkeypatch)
    path = town.root / "directory"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert town.ws.directory.name(town.ids["eve"]) == town.ids["eve"]
    with pytest.raises(AssayError):
        town.ws.directory.names()
    town.do("eve", ReadEvidence(project="alpha"))


def test_a_snapshot_of_before_brings_nothing_back(
    built: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    town = copy_of(built, tmp_path / "town", monkeypatch)
    town.approve("ann", "abe")
    town.ws.close()
    older = (town.root / "snapshot").read_bytes()
    town.do("ann", Revoke(project="alpha", model="score", version="1", reason="bad"))
    town.ws.close()
    (town.root / "snapshot").write_bytes(older)
    town.close()
    assert town.refused("eve", PROMOTE) == ["gate.revoked"]


def test_a_snapshot_of_another_workspace_is_not_believed(
    built: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = copy_of(built, tmp_path / "one", monkeypatch)
    two = copy_of(built, tmp_path / "two", monkeypatch)
    # The same keys, another history: only the root under the snapshot tells them apart.
    inside(one.base, monkeypatch)
    one.do("ada", ManageRole(project=WORKSPACE, actor=one.ids["sam"], role=ENGINEER, granted=True))
    one.ws.close()
    inside(two.base, monkeypatch)
    two.do("una", ReadEvidence(project="alpha"))
    for _ in range(3):
        two.do("una", ReadEvidence(project="alpha"))
    shutil.copy(one.root / "snapshot", two.root / "snapshot")
    two.close()
    with pytest.raises(Denied):
        two.do("sam", STAGING)


ENGINEER = "alpha/ml_engineer"


def edit(town: Town, change: Callable[[str], str]) -> None:
    config = town.repo / "assay.toml"
    config.write_text(change(config.read_text()))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('trust_root = "sha256:', 'trust_root = "sha256:0'),
        ("format = ", "unknown = 1\nformat = "),
        ("assay/config/v1", "assay/config/v2"),
        ('folder = ".assay"', 'folder = "/etc"'),
        ('folder = ".assay"', 'folder = "../elsewhere"'),
        ('workspace = "', 'workspace = "0'),
        ('project = "alpha"', 'project = "../beta"'),
    ],
)
def test_an_edited_configuration_is_refused(
    built: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str
) -> None:
    town = copy_of(built, tmp_path / "town", monkeypatch)
    edit(town, lambda text: text.replace(old, new))
    with pytest.raises(AssayError):
        open_workspace(town.repo)
