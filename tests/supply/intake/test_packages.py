"""Wheels: each file against the wheel's record, the wheel against its digest."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from supply.intake.conftest import Take
from supply.intake.servers import sha256

from assay.errors import AssayError, NotFound, Unavailable, Usage, Verification
from assay.supply.intake import wheels

METADATA = (
    "Metadata-Version: 2.4\nName: Acme.Model\nVersion: 1.0\nLicense-Expression: MIT\n\nText\n"
)
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
MODEL = b"weights" * 50


def wheel(
    folder: Path,
    files: Mapping[str, bytes] | None = None,
    *,
    metadata: str = METADATA,
    record: str | None = None,
    twice: str = "",
    name: str = "acme_model-1.0-py3-none-any.whl",
) -> Path:
    """A wheel with these files and the record that is true of them, or another one."""
    held = {"acme/model.onnx": MODEL, "acme/__init__.py": b"raise SystemExit"}
    info = "acme_model-1.0.dist-info"
    told = {f"{info}/METADATA": metadata.encode(), f"{info}/WHEEL": WHEEL.encode()}
    held = {**(held if files is None else files), **told}
    lines = [f"{path},{_hash(content)},{len(content)}" for path, content in held.items()]
    lines.append("acme_model-1.0.dist-info/RECORD,,")
    path = folder / name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in held.items():
            archive.writestr(member, content)
        text = "\n".join(lines) + "\n" if record is None else record
        archive.writestr("acme_model-1.0.dist-info/RECORD", text)
        if twice:
            with pytest.warns(UserWarning, match="Duplicate name"):
                archive.writestr(twice, b"another")
    return path


def _hash(content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
    return f"sha256={digest}"


def test_a_file_is_read_out_of_a_wheel_with_what_its_record_says(tmp_path: Path) -> None:
    read = wheels.read(wheel(tmp_path), "acme/model.onnx")
    assert [(m.path, m.content, m.recorded) for m in read.members] == [
        ("acme/model.onnx", MODEL, sha256(MODEL))
    ]
    assert (read.project, read.version) == ("Acme.Model", "1.0")
    assert read.heads["license-expression"] == ["MIT"]


def test_a_folder_is_read_out_of_a_wheel(tmp_path: Path) -> None:
    made = wheel(tmp_path, {"acme/m/a.bin": b"a", "acme/m/sub/b.bin": b"b", "acme/mm": b"c"})
    read = wheels.read(made, "acme/m")
    assert [m.path for m in read.members] == ["a.bin", "sub/b.bin"]


@pytest.mark.parametrize("path", ["", "acme/none", "acme/model.onn", "acme_model-1.0.dist-inf"])
def test_a_path_that_a_wheel_lacks_is_answered_with_those_there_are(
    tmp_path: Path, path: str
) -> None:
    with pytest.raises(Usage) as caught:
        wheels.read(wheel(tmp_path), path)
    assert "acme/model.onnx" in caught.value.remedy
    assert "__init__" not in caught.value.remedy


@pytest.mark.parametrize(
    "record",
    [
        "",
        "acme/model.onnx,,\n",
        f"acme/model.onnx,{_hash(b'other')},5\n",
        f"acme/model.onnx,{_hash(MODEL)},1\nacme/model.onnx,{_hash(MODEL)},1\n",
        f"acme/model.onnx,md5={'0' * 22},5\n",
        "acme/model.onnx,sha256=!!!,5\n",
        "acme/model.onnx,sha256=\u00c3\u00a9,5\n",
        "acme/model.onnx,a,b,c\n",
        '"',
        "\udcff",
    ],
)
def test_a_file_that_the_record_does_not_prove_is_refused(tmp_path: Path, record: str) -> None:
    made = wheel(tmp_path, record=record.encode("utf-8", "surrogateescape").decode("latin-1"))
    with pytest.raises(Verification) as caught:
        wheels.read(made, "acme/model.onnx")
    assert caught.value.code == "verification.intake.wheel"


def test_a_wheel_that_is_damaged_or_contradicts_itself_is_refused(tmp_path: Path) -> None:
    good = wheel(tmp_path).read_bytes()
    broken = {
        "empty": b"",
        "text": b"not a wheel",
        "cut": good[: len(good) // 2],
        "flipped": good[:50] + b"\0" * 6 + good[56:],
    }
    for name, content in broken.items():
        path = tmp_path / f"{name}.whl"
        path.write_bytes(content)
        with pytest.raises(Verification):
            wheels.read(path, "acme/model.onnx")
    with pytest.raises(Verification):
        wheels.read(wheel(tmp_path, twice="acme/model.onnx", name="twice.whl"), "acme/model.onnx")
    two = {"acme/model.onnx": MODEL, "other-1.dist-info/RECORD": b""}
    with pytest.raises(Verification):
        wheels.read(wheel(tmp_path, two, name="two.whl"), "acme/model.onnx")


def test_names_that_lead_out_never_reach_a_disk(take: Take, tmp_path: Path) -> None:
    wheel(tmp_path, {"acme/../../evil": b"x", "acme/ok": b"y"})
    with pytest.raises(AssayError):
        take("pypi:acme-model==1.0#acme", mirror=tmp_path)
    assert not list(tmp_path.rglob("evil"))


def test_a_folder_of_wheels_is_a_mirror(take: Take, tmp_path: Path) -> None:
    made = wheel(tmp_path)
    fetched, held = take("pypi:acme.model==1.0#acme/model.onnx", mirror=tmp_path)
    digest = f"sha256:{sha256(made.read_bytes())}"
    assert (fetched.revision, fetched.licence) == (digest, "MIT")
    assert [(t.path, t.checked) for t in held.taken] == [("model.onnx", "wheel RECORD")]
    take(f"pypi:acme-model==1.0@{digest}#acme/model.onnx", mirror=tmp_path)
    with pytest.raises(Verification):
        take(f"pypi:acme-model==1.0@sha256:{'0' * 64}#acme/model.onnx", mirror=tmp_path)
    with pytest.raises(NotFound):
        take("pypi:acme-model==1.1#acme/model.onnx", mirror=tmp_path)
    with pytest.raises(NotFound):
        take("pypi:acme==1.0#acme/model.onnx", mirror=tmp_path)


def test_a_wheel_of_another_project_under_a_good_name_is_refused(
    take: Take, tmp_path: Path
) -> None:
    wheel(tmp_path, metadata=METADATA.replace("Acme.Model", "evil"))
    with pytest.raises(Verification):
        take("pypi:acme-model==1.0#acme/model.onnx", mirror=tmp_path)


@pytest.mark.parametrize(
    ("said", "licence"),
    [
        ("License-Expression: Apache-2.0", "Apache-2.0"),
        ("License: MIT", "MIT"),
        ("Classifier: License :: OSI Approved :: ISC License (ISCL)", "ISC"),
        ("License: see the file", ""),
        ("Keywords: none", ""),
    ],
)
def test_the_licence_is_what_the_metadata_says(
    take: Take, tmp_path: Path, said: str, licence: str
) -> None:
    wheel(tmp_path, metadata=METADATA.replace("License-Expression: MIT", said))
    fetched, _ = take("pypi:acme-model==1.0#acme/model.onnx", mirror=tmp_path)
    assert fetched.licence == licence


# -- through pip ----------------------------------------------------------------------------------


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip with no index but a folder of wheels."""
    there = tmp_path / "wheels"
    there.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(there))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return there


@pytest.mark.slow
def test_pip_fetches_what_is_named_and_installs_nothing(take: Take, offline: Path) -> None:
    made = wheel(offline)
    digest = f"sha256:{sha256(made.read_bytes())}"
    fetched, held = take(f"pypi:acme-model==1.0@{digest}#acme/model.onnx")
    assert fetched.revision == digest
    assert [t.path for t in held.taken] == ["model.onnx"]
    with pytest.raises(Unavailable) as caught:
        take(f"pypi:acme-model==1.0@sha256:{'0' * 64}#acme/model.onnx")
    assert "pypi:acme-model" in caught.value.message
    with pytest.raises(Unavailable):
        take("pypi:acme-model==9#acme/model.onnx")


@pytest.mark.slow
def test_without_a_digest_the_index_is_asked_for_its_own(take: Take, offline: Path) -> None:
    wheel(offline)
    fetched, _ = take("pypi:acme-model==1.0#acme/model.onnx")
    assert "the index's digest" in fetched.notes[0]


@pytest.mark.slow
def test_what_pip_says_is_told_without_a_password(
    take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "http://ann:hunter2@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    with pytest.raises(Unavailable) as caught:
        take("pypi:acme-model==1.0#acme/model.onnx")
    assert "hunter2" not in f"{caught.value.as_dict()}"
