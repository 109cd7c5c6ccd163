"""Models from elsewhere: into quarantine, out of it by policy, and what is on record about both."""

from __future__ import annotations

import io
import pickle
import shutil
import zipfile
from pathlib import Path

import pytest
from actions.taking import CARD, Payload, pinned, release, settings, status, take
from supply.intake.servers import COMMIT, Hub, serving
from workspace.town import Town

from assay.actions.intake import Intake
from assay.actions.intake_records import intakes
from assay.actions.passports import sentences
from assay.errors import Denied, NotFound, Unavailable, Usage, Verification
from assay.supply.intake import records
from assay.types import Digest

# -- in -------------------------------------------------------------------------------------------


def test_what_was_taken_in_is_sealed_scanned_judged_and_on_record(town: Town, folder: Path) -> None:
    since = town.size
    done = take(town, folder)
    assert done["status"] == "quarantined"
    assert done["scan"]["clean"]
    assert done["licence"] == "apache-2.0"
    assert done["licences"]["denied_count"] == done["licences"]["unknown_count"] == 0
    assert done["signer"] == "unsigned"
    assert done["source"]["pinned"] is False
    assert done["models"] == [{"path": "score.onnx", "format": "onnx"}]
    assert town.kinds(since) == ["decision", "intake", "scan", "licences", "outcome"]
    (statement,) = town.statements("intake", since)
    assert statement.header.producer == records.PRODUCER
    assert statement.digests == [done["digest"], records.all_of("alpha")]
    files = {entry.path for entry in town.ws.store.open_tree("alpha/models", done["digest"])}
    assert files == {"README.md", "score.onnx"}
    assert not list((town.root / "work").iterdir())
    assert "alpha/theirs@1" not in town.ws.view.follow().versions
    town.check()


def test_facts_say_pinned_only_once_the_digest_was_asked_for(town: Town, folder: Path) -> None:
    first = take(town, folder)
    gates = town.refused("eve", release(first["digest"]))
    assert gates == ["intake.pinned"]
    again = take(town, folder, digest=first["digest"])
    assert again["source"]["pinned"]
    with pytest.raises(Verification) as caught:
        take(town, folder, digest=f"sha256:{'0' * 64}")
    assert caught.value.code == "verification.intake.digest"
    town.do("eve", release(first["digest"]))


def test_a_repository_of_a_hub_is_pinned_by_its_commit(town: Town) -> None:
    files = {"README.md": CARD.format("mit").encode()}
    files["model.onnx"] = (town.repo / "model.onnx").read_bytes()
    stand_in = Hub(files)
    with serving(stand_in) as server:
        settings(
            town,
            f'hub = "{server.url}"\nhosts = ["{server.place}"]\nplain = ["{server.place}"]',
        )
        branch = take(town, "hf:acme/credit@main")
        assert branch["source"] == {
            "scheme": "hf",
            "locator": "hf:acme/credit",
            "revision": COMMIT,
            "asked": "main",
            "pinned": False,
            "bound": True,
        }
        commit = take(town, f"hf:acme/credit@{COMMIT}")
        assert commit["source"]["pinned"]
    assert town.do("eve", release(commit["digest"]))["version"] == "1"


def test_without_the_setting_a_hub_on_this_machine_is_not_reached(town: Town) -> None:
    with serving(Hub({})) as server:
        settings(town, f'hub = "{server.url}"\nplain = ["{server.place}"]')
        with pytest.raises(Denied) as caught:
            take(town, "hf:acme/credit")
        assert caught.value.code == "denied.intake.address"
        assert server.asked == []
    assert town.kinds(town.size - 2) == ["decision", "outcome"]


def test_a_secret_is_named_and_never_written_down(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Hub({"m.json": b"{}"}, token="hf_s3cret")) as server:
        place = server.place
        text = f'hub = "{server.url}"\nhosts = ["{place}"]\nplain = ["{place}"]\n'
        settings(town, f'{text}credentials = {{"{place}" = "env:HUB_TOKEN"}}')
        with pytest.raises(Unavailable) as caught:
            take(town, "hf:acme/credit")
        assert "env:HUB_TOKEN" in caught.value.message
        monkeypatch.setenv("HUB_TOKEN", "hf_s3cret")
        since = town.size
        take(town, "hf:acme/credit")
        for statement in town.statements(since=since):
            assert b"s3cret" not in statement.encode()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('credentials = {"m.example" = "hf_s3cret"}', "usage.source.credential"),
        ("most_bytes = 0", "usage.intake.settings"),
        ("seconds = -1", "usage.intake.settings"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(town: Town, text: str, code: str) -> None:
    settings(town, text)
    with pytest.raises(Usage) as caught:
        take(town, "hf:acme/credit")
    assert caught.value.code == code
    assert "s3cret" not in f"{caught.value.as_dict()}"


def test_limits_of_the_project_hold(town: Town, folder: Path) -> None:
    settings(town, "most_bytes = 100")
    with pytest.raises(Usage) as caught:
        take(town, folder)
    assert caught.value.code == "usage.intake.size"
    assert not list((town.root / "work").iterdir())


def test_nothing_is_taken_out_of_the_workspaces_own_folder(town: Town) -> None:
    for locator, given in (
        (town.root / "keys" / "workspace.pem", {}),
        (town.repo, {}),  # Holds it.
        (f"s3://{town.repo.name}/{town.root.name}", {"mirror": str(town.repo.parent)}),
        ("hf:acme/credit", {"mirror": str(town.root)}),
    ):
        with pytest.raises(Usage) as caught:
            take(town, locator, **given)
        assert caught.value.code == "usage.intake.path"


@pytest.mark.parametrize("who", ["ann", "oli", "una", "web", "bea"])
def test_who_may_not_register_models_may_not_take_any_in(
    town: Town, folder: Path, who: str
) -> None:
    assert "role" in town.refused(who, Intake(project="alpha", locator=str(folder)))


# -- out ------------------------------------------------------------------------------------------


def test_a_released_model_is_a_version_with_its_origin(town: Town, folder: Path) -> None:
    done = pinned(town, folder)
    since = town.size
    out = town.do("eve", release(done["digest"]))
    assert status(town, done["digest"]) == "released"
    version = town.ws.view.version("alpha", "theirs", "1")
    assert version.served == version.artifact == out["artifact"]
    (released,) = town.statements("intake-release", since)
    assert set(released.digests) == {done["digest"], out["artifact"]}
    (origin,) = town.statements("intake", since)
    assert origin.predicate["source"]["locator"] == str(folder)
    # The model's own facts say where it came from.
    facts = town.ws.view.facts("alpha", Digest(out["artifact"])).values
    assert facts["intake"] == {"pinned": True, "signer": "unsigned"}
    # The registration names the release as what it was part of.
    decisions = [s for s in town.statements("decision", since) if s.predicate["allowed"]]
    asked = {s.predicate["action"]: s for s in decisions}
    assert asked["registerModel"].predicate["parent"] == asked["releaseIntake"].header.id
    assert asked["releaseIntake"].predicate["evidence"]
    town.check()


def test_a_passport_says_where_a_model_was_taken_from(town: Town, folder: Path) -> None:
    out = town.do("eve", release(pinned(town, folder)["digest"]))
    said = dict(sentences("intake", out["origin"]))["Taken in"]
    assert str(folder) in said
    assert "apache-2.0" in said
    assert "unsigned" in said
    assert "score.onnx" in dict(sentences("intake-release", out))["Out of quarantine"]


def test_a_data_scientist_takes_in_and_an_engineer_releases(town: Town, folder: Path) -> None:
    done = take(town, folder, who="sam")
    done = take(town, folder, who="sam", digest=done["digest"])
    assert town.refused("sam", release(done["digest"])) == ["role"]
    town.do("eve", release(done["digest"]))


def test_a_poisoned_file_stays_in_quarantine(town: Town, folder: Path) -> None:
    (folder / "score.onnx").unlink()
    (folder / "score.pkl").write_bytes(pickle.dumps(Payload()))
    done = pinned(town, folder)
    assert done["scan"]["verdict"] == "malicious"
    assert town.refused("eve", release(done["digest"])) == ["intake.scan"]
    assert status(town, done["digest"]) == "quarantined"
    assert not [v for v in town.ws.view.follow().versions.values() if v.name == "theirs"]


def test_what_hides_a_payload_beside_a_good_model_stays_in_quarantine(
    town: Town, folder: Path
) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Payload()))
    (folder / "training_args.bin").write_bytes(packed.getvalue())
    done = pinned(town, folder)
    assert "intake.scan" in town.refused("eve", release(done["digest"], file="score.onnx"))


@pytest.mark.parametrize("licence", ["", "cc-by-nc-4.0", "agpl-3.0-only", "somebody's own"])
def test_a_licence_that_is_denied_or_not_known_keeps_it_in(
    town: Town, folder: Path, licence: str
) -> None:
    (folder / "README.md").write_text(CARD.format(licence))
    done = pinned(town, folder)
    assert town.refused("eve", release(done["digest"])) == ["intake.licence"]


def test_whoever_takes_it_in_says_the_licence_only_where_none_is_declared(
    town: Town, folder: Path
) -> None:
    (folder / "README.md").write_text(CARD.format("cc-by-nc-4.0"))
    assert take(town, folder, licence="MIT")["licence"] == "cc-by-nc-4.0"
    (folder / "README.md").write_text("# nothing said\n")
    done = pinned(town, folder, licence="MIT")
    assert done["licence"] == "MIT"
    town.do("eve", release(done["digest"]))


def test_a_pickle_is_converted_and_compared_when_it_is_released(town: Town) -> None:
    done = pinned(town, town.repo / "model.joblib", licence="MIT")
    out = town.do("eve", release(done["digest"], train="train", test="test", label="y", positive=1))
    assert out["served"] != out["artifact"]
    converted = out["origin"]["converted"]
    assert (converted["from"], converted["to"]) == ("sklearn-joblib", "onnx")
    assert converted["parity"]["decision_disagreement"] == 0
    facts = town.ws.view.facts("alpha", Digest(out["served"])).values
    assert facts["intake"]["pinned"]
    assert facts["scan"]["clean"]


def test_of_several_models_one_is_named(town: Town, folder: Path) -> None:
    shutil.copy(folder / "score.onnx", folder / "other.onnx")
    done = pinned(town, folder)
    with pytest.raises(Usage) as caught:
        town.do("eve", release(done["digest"]))
    assert "score.onnx" in caught.value.remedy
    with pytest.raises(Usage):
        town.do("eve", release(done["digest"], file="../score.onnx"))
    assert town.do("eve", release(done["digest"], file="other.onnx"))["file"] == "other.onnx"


def test_a_folder_without_a_single_model_is_kept_whole_and_says_so(town: Town) -> None:
    from safetensors.numpy import save_file

    folder = town.base / "shards"
    folder.mkdir()
    import numpy as np

    for part in range(2):
        save_file({f"w{part}": np.ones(3)}, folder / f"model-{part}.safetensors")
    done = pinned(town, folder, licence="MIT")
    out = town.do("eve", release(done["digest"]))
    assert out["file"] == ""
    assert out["artifact"] == done["digest"]
    assert out["served"] is None
    assert "computation" in out["registered"]["details"]["unservable"]
    town.check()


def test_releasing_again_makes_no_second_version(town: Town, folder: Path) -> None:
    done = pinned(town, folder)
    first = town.do("eve", release(done["digest"]))
    again = town.do("eve", release(done["digest"]))
    assert (first["version"], again["version"]) == ("1", "1")
    assert again["registered"]["again"]
    other = town.do("eve", release(done["digest"], purpose="marketing"))
    assert other["version"] == "2"


@pytest.mark.parametrize(
    ("reference", "kind"),
    [("0" * 12, NotFound), ("sha256:zz", Usage), ("12345", Usage), ("", Usage), ("../x", Usage)],
)
def test_what_was_never_taken_in_cannot_be_released(
    town: Town, reference: str, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        town.do("eve", release(reference))


def test_another_project_knows_nothing_of_it(town: Town, folder: Path) -> None:
    done = pinned(town, folder)
    with pytest.raises(NotFound):
        town.do("bea", release(done["digest"], project="beta"))
    assert intakes(town.ws.view, "beta") == []
    assert "role" in town.refused("bea", release(done["digest"]))
