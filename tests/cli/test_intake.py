"""``assay intake`` as people type it; and a real model out of a real wheel, good and poisoned."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Here

WHEEL = "magika-1.0.3-py3-none-manylinux_2_28_x86_64.whl"
PINNED = "sha256:3e9b49134e8116ee40b431664dcbed9e199413efddcce1a173c734b4e0521529"
INSIDE = "magika/models/standard_v3_3"
MODEL = f"{INSIDE}/model.onnx"
MODEL_DIGEST = "sha256:fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c"


@pytest.fixture
def theirs(tmp_path: Path, files: Path) -> Path:
    """A model that somebody hands over, with a card."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    shutil.copy(files / "model.skops", folder / "model.skops")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    return folder


def test_a_model_is_taken_in_looked_at_and_rejected(founded: Here, theirs: Path) -> None:
    taken = founded.ok("intake", theirs, by="alice")
    assert "not pinned" in taken.out
    again = taken.err.rpartition("→ ")[2].split()
    pinned = founded.ok(*again[1:], by="alice")
    assert "assay intake release" in pinned.out
    listed = founded.ok("intake", "list", by="alice")
    assert "quarantined" in listed.out
    digest = again[-1]
    shown = founded.ok("intake", "show", digest[:19], by="alice")
    for text in ("model.skops: skops", "licence: mit", "signed: unsigned", "intake.pinned"):
        assert text in shown.out
    founded.ok("intake", "reject", digest, "--reason", "[bold]typosquat[/]", by="alice")
    assert "rejected: [bold]typosquat[/]" in founded.ok("intake", "show", digest, by="alice").out
    out = founded("intake", "release", digest, "--name", "m", "--purpose", "p", by="alice")
    assert out.code == 1
    assert "--despite" in out.err


def test_a_released_model_that_cannot_be_served_says_why(founded: Here, theirs: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    (theirs / "model.skops").unlink()
    save_file({"weight": np.ones(3)}, theirs / "model.safetensors")
    again = founded.ok("intake", theirs, by="alice").err.rpartition("→ ")[2].split()
    founded.ok(*again[1:], by="alice")
    release = ("intake", "release", again[-1], "--name", "m", "--purpose", "p")
    done = founded(*release, by="alice")
    assert done.code == 1
    assert "released as m@1" in done.out
    assert "cannot be served" in done.out
    told = founded(*release, "--json", by="alice")
    assert told.json["registered"]["again"]


def test_a_release_that_needs_rows_to_convert_says_so(founded: Here, theirs: Path) -> None:
    again = founded.ok("intake", theirs, by="alice").err.rpartition("→ ")[2].split()
    founded.ok(*again[1:], by="alice")
    release = ("intake", "release", again[-1], "--name", "m", "--purpose", "p")
    done = founded(*release, by="alice")
    assert done.code == 2
    assert "--train DATASET" in done.err
    assert founded.ok("intake", "list", "--json", by="alice").json[-1]["status"] == "quarantined"


def test_a_file_that_is_not_clean_ends_with_4_and_stays_in(founded: Here, tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return eval, ("1",)

    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(Payload()))
    digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    done = founded("intake", path, "--digest", digest, "--licence", "MIT", by="alice")
    assert done.code == 4
    assert "quarantined" in done.out
    tree = founded("intake", path, "--json", by="alice").json["digest"]
    out = founded("intake", "release", tree, "--name", "m", "--purpose", "p", by="alice")
    assert out.code == 3
    assert "intake.scan" in out.err


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("hf:a/b/c",), 2, "hf:ORG/NAME"),
        (("https://u:hunter2@h/x",), 2, "credentials"),
        (("hf:acme/x", "--mirror", "missing"), 1, "missing does not exist"),
        (("show", "zz"), 2, "assay intake list"),
        (("show", "123456"), 1, "assay intake list"),
        (("release", "123456"), 2, "--name, --purpose"),
        (("reject", "123456"), 2, "--reason"),
    ],
)
def test_a_mistake_is_one_line_with_what_to_do(
    founded: Here, words: tuple[str, ...], code: int, text: str
) -> None:
    done = founded("intake", *words, by="alice")
    assert done.code == code, done
    assert text in done.all
    assert "hunter2" not in done.all
    assert "Traceback" not in done.all


def test_the_help_names_the_forms_and_the_commands(founded: Here) -> None:
    told = founded.ok("intake", "--help").out
    for text in ("hf:ORG/NAME", "oci://", "s3://", "pypi:", "release", "reject", "--mirror"):
        assert text in told
    assert founded("intake").code == 2
    assert founded.ok("intake", "list", by="alice").out.startswith("nothing yet")


# -- the real thing -------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A released wheel with a model in it, fetched by pip and compared with its digest."""
    folder = tmp_path_factory.mktemp("wheel")
    requirement = folder / "requirements.txt"
    requirement.write_text(f"magika==1.0.3 --hash={PINNED}\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"),
            *("--only-binary=:all:", "--dest", str(folder), "-r", str(requirement)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no package index is reached: {done.stderr.strip().splitlines()[-1:]}")
    return folder / WHEEL


def poisoned(wheel: Path, folder: Path, change: Callable[[bytes], bytes], *, record: bool) -> Path:
    """The same wheel with another model in it; with `record` its RECORD agrees."""
    made = folder / wheel.name
    with zipfile.ZipFile(wheel) as good, zipfile.ZipFile(made, "w") as bad:
        model = change(good.read(MODEL))
        digest = base64.urlsafe_b64encode(hashlib.sha256(model).digest()).decode().rstrip("=")
        for entry in good.infolist():
            content = model if entry.filename == MODEL else good.read(entry)
            if entry.filename.endswith("/RECORD") and record:
                lines = content.decode().splitlines()
                lines = [
                    f"{MODEL},sha256={digest},{len(model)}" if ln.startswith(MODEL) else ln
                    for ln in lines
                ]
                content = "\n".join(lines).encode()
            bad.writestr(entry, content)
    return made


def _payload() -> bytes:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return eval, ("__import__('os').getpid()",)

    return pickle.dumps(Payload())


def _outside(model: bytes) -> bytes:
    """The model's largest tensor is read from a file outside of its folder."""
    import onnx

    made = onnx.load_from_string(model)
    tensor = max(made.graph.initializer, key=lambda t: len(t.raw_data))
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "../../../../../etc/passwd"), ("length", "100")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return made.SerializeToString()


@pytest.mark.slow
def test_a_real_model_goes_from_its_wheel_to_released_with_its_origin_and_a_bill(
    founded: Here, wheel: Path
) -> None:
    env = {"PIP_FIND_LINKS": str(wheel.parent), "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": "/dev/null"}
    source = f"pypi:magika==1.0.3@{PINNED}#{INSIDE}"
    taken = founded.ok("intake", source, "--json", by="alice", **env).json
    assert taken["source"]["pinned"]
    assert taken["source"]["revision"] == PINNED
    assert taken["scan"]["verdict"] == "clean"
    assert taken["licence"] == "Apache-2.0"
    assert {f["path"]: f["checked"] for f in taken["files"]} == dict.fromkeys(
        ("README.md", "config.min.json", "metadata.json", "model.onnx"), "wheel RECORD"
    )
    digest = taken["digest"]
    release = ("intake", "release", digest, "--name", "magika", "--purpose", "file-types")
    done = founded.ok(*release, "--json", by="alice").json
    assert done["file"] == "model.onnx"
    assert done["artifact"] == done["served"] == MODEL_DIGEST
    shown = founded.ok("model", "show", "magika@1", "--json", by="alice").json
    assert shown["facts"]["intake"] == {"pinned": True, "signer": "unsigned"}
    assert {"intake", "intake-release"} <= {e["kind"] for e in shown["evidence"]}
    founded.ok("bom", "write", "magika@1", by="alice")
    listed = founded.ok("intake", "list", "--json", by="alice").json
    assert [(i["status"], i["digest"]) for i in listed] == [("released", digest)]
    founded.ok("export", "magika@1", "--out", "magika.assay", by="alice")
    founded.ok("verify", "magika.assay")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["before", "after", "outside"])
def test_a_poisoned_copy_of_it_stays_in_quarantine(
    founded: Here, wheel: Path, tmp_path: Path, how: str
) -> None:
    changes: dict[str, Callable[[bytes], bytes]] = {
        "before": lambda model: _payload() + model,
        "after": lambda model: model + _payload(),
        "outside": _outside,
    }
    made = poisoned(wheel, tmp_path, changes[how], record=True)
    digest = f"sha256:{hashlib.sha256(made.read_bytes()).hexdigest()}"
    mirror = ("--mirror", str(tmp_path), "--json")
    # Whoever knows the digest of the real one is not fooled to begin with.
    real = founded("intake", f"pypi:magika==1.0.3@{PINNED}#{INSIDE}", *mirror, by="alice")
    assert real.code == 4
    assert real.json["error"] == "verification.intake.digest"
    # Whoever takes the poisoned one for the real one has it in quarantine, and there it stays.
    done = founded("intake", f"pypi:magika==1.0.3@{digest}#{INSIDE}", *mirror, by="alice")
    assert done.code == 4
    assert done.json["scan"]["verdict"] in ("malicious", "unscannable")
    release = ("intake", "release", done.json["digest"], "--name", "m", "--purpose", "p")
    denied = founded(*release, by="alice")
    assert denied.code == 3
    assert "intake.scan" in denied.err
    (listed,) = founded.ok("intake", "list", "--json", by="alice").json
    assert listed["status"] == "quarantined"
    assert founded.ok("model", "list", "--json", by="alice").json == []


@pytest.mark.slow
def test_a_poisoned_copy_whose_record_disagrees_is_not_even_taken(
    founded: Here, wheel: Path, tmp_path: Path
) -> None:
    poisoned(wheel, tmp_path, lambda model: _payload() + model, record=False)
    source = f"pypi:magika==1.0.3#{INSIDE}"
    done = founded("intake", source, "--mirror", str(tmp_path), "--json", by="alice")
    assert done.code == 4
    assert done.json["error"] == "verification.intake.wheel"
    assert json.loads(founded.ok("intake", "list", "--json", by="alice").out) == []
    assert not list((founded.ws / ".assay" / "work").iterdir())
    assert os.path.lexists(founded.ws / ".assay")
