"""A bundle proves what it says to somebody who has nothing else, and nothing else verifies."""

from __future__ import annotations

import copy
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from workspace.town import WORKSPACE, Town, copy_of

from assay import canonical
from assay.actions.people import ManageRole, RevokeToken
from assay.actions.reading import ExportEvidence
from assay.actions.release import Hold, Promote, Revoke
from assay.errors import AssayError, Corrupt, Verification
from assay.evidence import envelope as dsse
from assay.evidence.state import kind_of
from assay.govern.verify import Report, verify
from assay.types import Digest
from assay.workspace.credentials import token_id_of

EXPORT = ExportEvidence(project="alpha", model="score", version="1")


class Exported:
    """A bundle of a version in production, and what a verifier needs."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.data: bytes = town.do("eve", EXPORT)
        self.plain: dict[str, Any] = json.loads(self.data)
        self.now: datetime = town.clock.at
        self.pinned: Digest = town.ws.layout.pinned

    def verify(self, data: bytes | None = None, *, pinned: Digest | None = None) -> Report:
        return verify(
            self.data if data is None else data, now=self.now, pinned=pinned or self.pinned
        )

    def signed(self, plain: dict[str, Any]) -> bytes:
        """A bundle altered by somebody who holds the workspace key, and signed anew."""
        signature = self.town.workspace_key.sign(canonical.encode(plain["body"]))
        return canonical.encode({**plain, "sig": canonical.b64(signature)})

    def fails(self, data: bytes) -> AssayError:
        with pytest.raises((Verification, Corrupt)) as caught:
            self.verify(data)
        assert caught.value.message
        return caught.value


@pytest.fixture(scope="module")
def exported(built: Town, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Nothing here changes it."""
    with pytest.MonkeyPatch.context() as environment:
        town = copy_of(built, tmp_path_factory.mktemp("exported") / "town", environment)
        town.approve("ann")
        town.refused(
            "eve", Promote(project="alpha", model="score", version="1", stage="production")
        )
        town.deploy()
        return Exported(town)


# -- what verifies --------------------------------------------------------------------------------


def test_an_exported_bundle_verifies_and_says_what_it_proves(exported: Exported) -> None:
    report = exported.verify()
    assert report.pinned
    assert (report.stage, report.revoked) == ("production", False)
    assert report.subject["name"] == "score"
    told = [(d.action, d.allowed, d.outcome, d.asked_by) for d in report.decisions]
    key = "signed by a personal key"
    assert told == [
        ("promote", False, "denied", key),
        ("promote", True, "done", key),
        ("deploy", True, "done", key),
    ]
    assert report.decisions[0].gates == ["gate.approvals"]
    assert any("who asked" in check for check in report.checks)


def test_a_report_says_how_old_it_is_and_what_it_cannot_prove(exported: Exported) -> None:
    later = exported.now + timedelta(days=3)
    report = verify(exported.data, now=later)
    assert report.age_seconds >= 3 * 86_400
    assert not report.pinned
    assert "not compared" in report.limits[0]
    assert len(exported.verify().limits) == len(report.limits) - 1


def test_a_revocation_shows_in_every_later_bundle(town: Town) -> None:
    town.do("ann", Revoke(project="alpha", model="score", version="1", reason="bad"))
    assert Exported(town).verify().revoked


def test_what_was_asked_with_a_token_verifies_by_the_token_on_the_ledger(town: Town) -> None:
    """Denied and allowed; the token's making, and its end, come along."""
    role = ManageRole(project=WORKSPACE, actor=town.ids["web"], role="alpha/operator", granted=True)
    promote = Promote(project="alpha", model="score", version="1", stage="staging")
    assert town.refused("web", promote) == ["role"]
    town.do("ada", role)
    town.do("web", Hold(project="alpha", model="score", version="1", reason="look again"))
    token = token_id_of(town.tokens["web"])
    town.do("oli", RevokeToken(project="alpha", token=token))
    exported = Exported(town)
    report = exported.verify()
    assert report.held
    assert (report.decisions[-1].action, report.decisions[-1].asked_by) == (
        "promote",
        "asked with a token",
    )
    assert any("2 asked with a token" in check for check in report.checks)
    told = [leaf.statement for leaf in report.leaves if kind_of(leaf.statement) == "token"]
    assert [(one.predicate["token"], one.predicate["revoked"]) for one in told] == [
        (token, False),
        (token, True),
    ]
    made = next(leaf.index for leaf in report.leaves if kind_of(leaf.statement) == "token")
    leaves = [leaf for leaf in exported.plain["body"]["leaves"] if leaf["index"] != made]
    body = {**exported.plain["body"], "leaves": leaves}
    error = exported.fails(exported.signed({**exported.plain, "body": body}))
    assert "token" in error.message


_ALONE = """
import sys, socket
def refuse(*_, **__):
    raise SystemExit("network")
socket.socket.connect = refuse
socket.create_connection = refuse
from datetime import datetime, timezone
from pathlib import Path
from assay.govern.verify import verify
report = verify(Path("bundle").read_bytes(), now=datetime.now(timezone.utc), pinned=sys.argv[1])
print(report.stage, len(report.decisions))
"""


def test_verification_needs_no_workspace_no_home_and_no_network(
    exported: Exported, tmp_path: Path
) -> None:
    (tmp_path / "bundle").write_bytes(exported.data)
    done = subprocess.run(
        [sys.executable, "-c", _ALONE, exported.pinned],
        cwd=tmp_path,
        env={"HOME": str(tmp_path / "nowhere"), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["production", "3"], done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_bundle_holds_nothing_of_other_projects(town: Town) -> None:
    """Not their models, data, people or roles, although people here also work there."""
    for name in ("eve", "ann"):
        role = ManageRole(
            project=WORKSPACE, actor=town.ids[name], role="beta/auditor", granted=True
        )
        town.do("ada", role)
    town.deploy()
    bundle = Exported(town)
    bundle.verify()
    plain = bundle.plain
    texts = [bundle.data.decode()]
    texts += [
        canonical.unb64(leaf["envelope"]["payload"], what="payload").decode()
        for leaf in plain["body"]["leaves"]
    ]
    for word in ("beta", "secretive", town.ids["bea"], town.ids["bob"]):
        assert not [text for text in texts if word in text], word
    assert set(plain["body"]["names"].values()) == {"ada", "sam", "eve", "ann", "abe"}


def test_the_bundle_of_another_project_holds_nothing_of_this_one(town: Town) -> None:
    bundle = town.do("bea", ExportEvidence(project="beta", model="secretive", version="1"))
    report = verify(bundle, now=town.clock.at, pinned=town.ws.layout.pinned)
    assert report.subject["project"] == "beta"
    leaves = json.loads(bundle)["body"]["leaves"][1:]  # Genesis founds the first project.
    for leaf in leaves:
        payload = canonical.unb64(leaf["envelope"]["payload"], what="payload").decode()
        assert '"score"' not in payload
        assert "alpha/ml_engineer" not in payload


# -- what does not --------------------------------------------------------------------------------


def test_a_bit_flipped_anywhere_is_noticed(exported: Exported) -> None:
    chance = random.Random(20260101)  # noqa: S311
    for _ in range(150):
        data = bytearray(exported.data)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        exported.fails(bytes(data))


@pytest.mark.parametrize("cut", [0, 1, 2, 100, -1, -2])
def test_a_truncated_bundle_is_refused(exported: Exported, cut: int) -> None:
    exported.fails(exported.data[:cut])
    exported.fails(exported.data + b"\n")


Path_ = tuple[str | int, ...]


def _fields(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """One path to a value for each shape of path: of a list only the first and the last item."""
    if isinstance(value, dict):
        for key in value:
            yield from _fields(value[key], (*path, key))
    elif isinstance(value, list):
        for index in sorted({0, len(value) - 1} if value else set[int]()):
            yield from _fields(value[index], (*path, index))
    else:
        yield path


def _set(plain: dict[str, Any], path: Path_, change: Callable[[Any], Any]) -> dict[str, Any]:
    changed = copy.deepcopy(plain)
    here: Any = changed
    for part in path[:-1]:
        here = here[part]
    here[path[-1]] = change(here[path[-1]])
    return changed


def _other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return value[:-1] + ("0" if value[-1:] != "0" else "1")
    return "?"


def test_every_field_altered_is_noticed_by_the_outer_signature_at_the_latest(
    exported: Exported,
) -> None:
    paths = [path for path in _fields(exported.plain) if "policies" not in path]
    assert len(paths) > 40
    for path in paths:
        exported.fails(canonical.encode(_set(exported.plain, path, _other)))


_FREE = {"exported", "names"}
"""What the exporter alone vouches for."""


def test_every_field_altered_and_signed_anew_by_the_exporter_is_noticed_by_its_own_check(
    exported: Exported,
) -> None:
    """The exporter cannot alter what others signed: trust, checkpoint, leaves, policies."""
    for path in _fields(exported.plain["body"]):
        if path[0] in _FREE or (path[0] == "policies" and len(path) > 3):
            continue
        changed = {**exported.plain, "body": _set(exported.plain["body"], path, _other)}
        exported.fails(exported.signed(changed))


@pytest.mark.parametrize("value", [None, [], {}, "", -1, 1.5])
def test_a_field_of_another_type_never_crashes_the_verifier(exported: Exported, value: Any) -> None:
    for path in _fields(exported.plain):
        if path[:2] == ("body", "policies") and len(path) > 4:
            continue
        changed = _set(exported.plain, path, lambda _: value)
        if changed == exported.plain:
            continue
        exported.fails(canonical.encode(changed))
        if "body" in path[:1] and not _FREE & set(path[1:2]):
            exported.fails(exported.signed(changed))


def test_a_leaf_that_others_stand_on_cannot_be_left_out(exported: Exported) -> None:
    """Whatever is left out, the bundle fails, or says less; it never says more."""
    whole = exported.verify()
    failed = 0
    numbers = range(0, len(exported.plain["body"]["leaves"]), 3)
    for number in numbers:
        changed = copy.deepcopy(exported.plain)
        del changed["body"]["leaves"][number]
        exported.fails(canonical.encode(changed))
        try:
            report = exported.verify(exported.signed(changed))
        except (Verification, Corrupt):
            failed += 1
            continue
        assert len(report.leaves) == len(whole.leaves) - 1
        assert [d for d in report.decisions if d.allowed and d not in whole.decisions] == [
            d for d in report.decisions if d.outcome == "open"
        ]
    assert failed


def test_leaves_swapped_doubled_or_out_of_order_are_refused(exported: Exported) -> None:
    leaves: list[Any] = exported.plain["body"]["leaves"]
    orders = [
        [leaves[1], leaves[0], *leaves[2:]],
        [leaves[0], leaves[0], *leaves[1:]],
        [*leaves[:-1], leaves[-1], leaves[-1]],
        leaves[::-1],
        leaves[1:],
        [],
    ]
    for order in orders:
        changed = {**exported.plain, "body": {**exported.plain["body"], "leaves": order}}
        exported.fails(exported.signed(changed))
    one, two = copy.deepcopy(leaves[2]), copy.deepcopy(leaves[3])
    one["envelope"], two["envelope"] = two["envelope"], one["envelope"]
    order = [*leaves[:2], one, two, *leaves[4:]]
    changed = {**exported.plain, "body": {**exported.plain["body"], "leaves": order}}
    assert "leaf 2" in exported.fails(exported.signed(changed)).message


def test_what_is_of_another_workspace_does_not_pass_for_this_one(
    exported: Exported, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from workspace.town import inside

    from assay.evidence.signers import MemorySigner
    from assay.workspace.opening import Founding, create_workspace

    with pytest.MonkeyPatch.context() as environment:
        base = tmp_path_factory.mktemp("elsewhere")
        inside(base, environment)
        founder = MemorySigner.generate()
        other = create_workspace(
            base, Founding("alpha", "eve", founder, "personal-key", development=True)
        )
    assert "pinned" in str(_refused(exported, other.layout.pinned))
    from assay.evidence import trust

    foreign = [msgspec.to_builtins(root) for root in trust.load(other.layout.trust)]
    body = {**exported.plain["body"], "trust": foreign}
    assert "trust root" in exported.fails(exported.signed({**exported.plain, "body": body})).message
    body = {**exported.plain["body"], "checkpoint": other.view.note.decode()}
    assert "checkpoint" in exported.fails(exported.signed({**exported.plain, "body": body})).message
    # Without a pin a whole other workspace vouches for itself, and the report says so.
    assert exported.verify().pinned


def _refused(exported: Exported, pinned: Digest) -> AssayError:
    with pytest.raises(Verification) as caught:
        exported.verify(pinned=pinned)
    return caught.value


def test_a_bundle_about_another_version_than_it_says_is_refused(exported: Exported) -> None:
    for field, value in (("version", "2"), ("name", "other"), ("project", "beta")):
        body = exported.plain["body"]
        changed = {**exported.plain, "body": {**body, "subject": {**body["subject"], field: value}}}
        assert "registration" in exported.fails(exported.signed(changed)).message


def test_an_envelope_without_its_signatures_is_refused(exported: Exported) -> None:
    leaf = exported.plain["body"]["leaves"][5]
    bare = dsse.decode(canonical.encode(leaf["envelope"]))
    changed = copy.deepcopy(exported.plain)
    changed["body"]["leaves"][5]["envelope"] = msgspec.to_builtins(
        msgspec.structs.replace(bare, signatures=())
    )
    assert "leaf" in exported.fails(exported.signed(changed)).message
