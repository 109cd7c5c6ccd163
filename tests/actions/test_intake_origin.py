"""What came from elsewhere: rejected, upgraded, signed, spoken for by others; and data."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from actions.taking import CARD, Payload, pinned, release, settings, status, take
from workspace.town import WORKSPACE, Town, at_point, model

from assay.actions.administration import CollectGarbage
from assay.actions.intake import Intake, RejectIntake
from assay.actions.intake_data import ReleaseData
from assay.actions.intake_records import intakes
from assay.actions.reading import ExportEvidence
from assay.errors import Conflict, Corrupt, NotFound, Usage, Verification
from assay.evidence.signers import MemorySigner
from assay.evidence.state import kind_of
from assay.types import Digest

# -- data -----------------------------------------------------------------------------------------


def _data(digest: str, **given: Any) -> ReleaseData:
    made: dict[str, Any] = {
        "project": "alpha",
        "dataset": "theirs",
        "owner": "risk",
        "licence": "CC0-1.0",
        "purposes": ("scoring",),
        "legal_basis": "not-personal",
        "personal": False,
        "residency": ("local",),
    }
    return ReleaseData(digest=digest, **{**made, **given})


def test_a_table_is_released_as_a_dataset_with_its_origin(town: Town) -> None:
    done = pinned(town, town.repo / "test.csv", licence="CC0-1.0")
    out = town.do("eve", _data(done["digest"]))
    found = town.ws.view.dataset("alpha", "theirs")
    assert found.content == out["content"]
    assert found.details["origin"].startswith(str(town.repo / "test.csv"))
    assert status(town, done["digest"]) == "released"
    facts = town.ws.view.facts("alpha", found.content).values
    assert facts["intake"]["pinned"]
    town.check()


def test_a_table_is_released_by_policy_and_under_the_licence_that_it_declares(
    town: Town,
) -> None:
    unpinned = take(town, town.repo / "test.csv", licence="CC0-1.0")
    assert town.refused("eve", _data(unpinned["digest"])) == ["intake.pinned"]
    done = pinned(town, town.repo / "train.csv", licence="CC-BY-4.0")
    with pytest.raises(Usage) as caught:
        town.do("eve", _data(done["digest"]))
    assert "CC-BY-4.0" in caught.value.remedy
    assert town.refused("sam", _data(done["digest"], licence="CC-BY-4.0")) == ["role"]
    assert "alpha/theirs" not in town.ws.view.follow().datasets


def test_of_several_tables_one_is_named(town: Town, folder: Path) -> None:
    for name in ("a.csv", "b.csv"):
        shutil.copy(town.repo / "test.csv", folder / name)
    done = pinned(town, folder)
    licence = {"licence": "apache-2.0"}
    with pytest.raises(Usage) as caught:
        town.do("eve", _data(done["digest"], **licence))
    assert "a.csv, b.csv" in caught.value.remedy
    out = town.do("eve", _data(done["digest"], file="b.csv", **licence))
    assert out["file"] == "b.csv"


# -- rejected -------------------------------------------------------------------------------------


def test_what_was_rejected_stays_in_unless_somebody_says_why(town: Town, folder: Path) -> None:
    done = pinned(town, folder)
    with pytest.raises(Usage):
        town.do("eve", RejectIntake(project="alpha", digest=done["digest"], reason=" "))
    town.do("eve", RejectIntake(project="alpha", digest=done["digest"][7:19], reason="typosquat"))
    assert status(town, done["digest"]) == "rejected"
    assert take(town, folder, digest=done["digest"])["status"] == "rejected"
    with pytest.raises(Conflict) as caught:
        town.do("eve", release(done["digest"]))
    assert "typosquat" in caught.value.message
    out = town.do("eve", release(done["digest"], despite="it is ours after all"))
    assert out["despite"] == "it is ours after all"
    assert status(town, done["digest"]) == "released"


def test_a_rejection_while_it_is_being_released_wins(town: Town, folder: Path) -> None:
    done = pinned(town, folder)
    other = town.reopen()
    town.close()

    def reject() -> None:
        action = RejectIntake(project="alpha", digest=done["digest"], reason="found out")
        other.perform(town.who("sam"), action)

    with at_point("store.extracted", reject), pytest.raises(Conflict):
        town.do("eve", release(done["digest"]))
    assert status(town, done["digest"]) == "rejected"
    assert town.statements("intake-release") == []


def test_garbage_collection_keeps_what_is_in_quarantine_and_drops_what_was_rejected(
    town: Town, folder: Path
) -> None:
    from datetime import timedelta

    kept = take(town, folder)
    (folder / "README.md").write_text(CARD.format("mit"))
    dropped = pinned(town, folder)
    town.do("eve", RejectIntake(project="alpha", digest=dropped["digest"], reason="no"))
    town.clock.advance(timedelta(days=2))
    town.do("ada", CollectGarbage(project=WORKSPACE))
    assert town.ws.store.exists("alpha/models", kept["digest"])
    assert not town.ws.store.exists("alpha/models", dropped["digest"])
    with pytest.raises(NotFound):
        town.do("eve", release(dropped["digest"], despite="too late"))


# -- upgrades -------------------------------------------------------------------------------------


def test_an_upgrade_says_what_changed_since_what_was_released(town: Town, folder: Path) -> None:
    first = pinned(town, folder)
    assert first["previous"] is None
    town.do("eve", release(first["digest"]))
    assert take(town, folder)["previous"] is None
    (folder / "README.md").write_text(CARD.format("mit"))
    (folder / "hook.pkl").write_bytes(pickle.dumps(Payload()))
    (folder / "score.onnx").rename(folder / "better.onnx")
    then = take(town, folder)
    assert then["previous"] == first["digest"]
    found = then["differences"]
    assert found["files"]["added"] == ["better.onnx", "hook.pkl"]
    assert found["files"]["removed"] == ["score.onnx"]
    assert [change["path"] for change in found["files"]["changed"]] == ["README.md"]
    assert found["licence"] == {"from": "apache-2.0", "to": "mit"}
    assert found["verdict"] == {"from": "clean", "to": "malicious"}
    assert any("eval" in name for name in found["globals"]["added"])
    assert found["findings"]["added"]


# -- who signed it --------------------------------------------------------------------------------


def _signed(folder: Path, *, ignore: Sequence[str] = ()) -> str:
    """Sign a folder as OpenSSF Model Signing does; the trust list that knows the key."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    from assay.supply import signing

    signer = MemorySigner.generate("ecdsa-p256-sha256")
    (folder / "model.sig").write_text(json.dumps(signing.sign(folder, signer, ignore=ignore)))
    key: Any = signer._key
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return f'format = "assay/trust-list/v1"\n[[key]]\nname = "acme"\npem = """\n{pem}"""\n'


def test_a_signature_counts_under_the_projects_own_trust_list(town: Town, folder: Path) -> None:
    known = _signed(folder)
    assert take(town, folder)["signer"] == "untrusted"
    (town.repo / "trust.toml").write_text(known)
    settings(town, 'trust = "trust.toml"')
    done = pinned(town, folder)
    assert done["signer"] == "trusted"
    assert done["signature"]["method"] == "key"
    (folder / "README.md").write_text(CARD.format("mit"))
    changed = take(town, folder)
    assert changed["signer"] == "untrusted"
    assert "README.md" in changed["signature"]["why"]


def test_a_stranger_signature_and_an_extra_file_are_untrusted(town: Town, folder: Path) -> None:
    known = _signed(folder)
    _signed(folder)  # By another key.
    (town.repo / "trust.toml").write_text(known)
    settings(town, 'trust = "trust.toml"')
    assert take(town, folder)["signer"] == "untrusted"
    (folder / "model.sig").write_text("{}")
    assert take(town, folder)["signer"] == "untrusted"


def test_git_files_that_every_tool_leaves_out_are_written_down_and_not_released(
    town: Town, folder: Path
) -> None:
    (folder / ".gitattributes").write_text("*.onnx filter=lfs\n")
    (folder / ".github").mkdir()
    shutil.copy(folder / "score.onnx", folder / ".github" / "other.onnx")
    (town.repo / "trust.toml").write_text(_signed(folder))
    settings(town, 'trust = "trust.toml"')
    done = pinned(town, folder)
    assert done["signer"] == "trusted"
    assert done["signature"]["ignored"] == [".gitattributes", ".github/other.onnx"]
    with pytest.raises(Verification, match="does not cover"):
        town.do("eve", release(done["digest"], file=".github/other.onnx"))
    assert status(town, done["digest"]) == "quarantined"
    town.do("eve", release(done["digest"], file="score.onnx"))


def test_a_signature_of_some_of_the_files_is_untrusted(town: Town, folder: Path) -> None:
    shutil.copy(folder / "score.onnx", folder / "more.onnx")
    (town.repo / "trust.toml").write_text(_signed(folder, ignore=["more.onnx"]))
    settings(town, 'trust = "trust.toml"')
    done = pinned(town, folder)
    assert done["signer"] == "untrusted"
    assert "more.onnx" in done["signature"]["why"]


# -- another organisation's bundle ----------------------------------------------------------------


def _bundle(town: Town) -> tuple[Path, str, Path]:
    """What another workspace exports about its model, its trust root, and the model itself."""
    made = town.do("eve", ExportEvidence(project="alpha", model="score", version="1"))
    path = town.base / "score-1.assay"
    path.write_bytes(made["bundle"] if isinstance(made, dict) else made)
    return path, town.ws.layout.config.trust_root, town.repo / "model.onnx"


def test_another_workspaces_claims_stay_its_own(town: Town) -> None:
    """The town takes in, in beta, what alpha exports: its own trust root stands for theirs."""
    path, root, onnx = _bundle(town)
    action = Intake(
        project="beta", locator=str(onnx), bundle=str(path), trust_root=root, licence="MIT"
    )
    done = town.do("bea", action)
    told = done["attributed"]
    assert told["trust_root"] == root
    assert told["files"] == ["model.onnx"]
    assert {"https://assay.dev/evidence/quality/v1"} <= {c["type"] for c in told["claims"]}
    # None of it is a fact in beta: neither about the tree nor about the file.
    for digest in (done["digest"], done["files"][0]["digest"]):
        facts = town.ws.view.facts("beta", Digest(digest)).values
        assert "quality" not in facts


@pytest.mark.parametrize("broken", ["root", "bytes", "other", "alone"])
def test_a_bundle_that_proves_nothing_here_is_refused(
    town: Town, folder: Path, broken: str
) -> None:
    path, root, onnx = _bundle(town)
    given = {"bundle": str(path), "trust_root": root}
    if broken == "root":
        given["trust_root"] = f"sha256:{'1' * 64}"
    elif broken == "bytes":
        data = path.read_bytes()
        path.write_bytes(data.replace(b'"revoked":false', b'"revoked":true ')[:-9])
    elif broken == "other":
        onnx = folder / "README.md"
    else:
        del given["trust_root"]
    with pytest.raises((Verification, Usage, Corrupt)) as caught:
        take(town, onnx, **given)
    assert caught.value.exit_status in (2, 4)


def test_what_an_intake_says_is_for_the_projects_people(town: Town, folder: Path) -> None:
    take(town, folder)
    assert [kind_of(s) for s in town.statements("intake")] == ["intake"]
    town.do("eve", model(town.repo, "mine"))
    assert len(intakes(town.ws.view, "alpha")) == 1
