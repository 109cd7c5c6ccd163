"""The comment: a hostile report, a hostile archive, and a run that is not what it says."""

from __future__ import annotations

import io
import json
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.ci import comment, folder, markdown
from assay.ci.comment import MARKER, Target, body, no_report, read, target
from assay.ci.model import Finding, Source, encode
from assay.errors import AssayError, Corrupt, Usage

from .reports import COMMIT, HOSTILE, report
from .test_pages import LIVE, MARKDOWN_TAGS, rendered

ABOUT = Target(7, COMMIT, "https://github.com/a/b/actions/runs/12", "success")


def event(**changes: Any) -> bytes:
    run = {
        "event": "pull_request",
        "head_sha": COMMIT,
        "head_repository": {"id": 99},
        "html_url": ABOUT.run,
        "conclusion": "failure",
        "pull_requests": [],
    }
    return json.dumps({"workflow_run": {**run, **changes}}).encode()


def pulls(*found: tuple[int, str, int | None]) -> bytes:
    return b"".join(
        json.dumps({"number": n, "sha": sha, "repository": repository}).encode() + b"\n"
        for n, sha, repository in found
    )


def archive(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, data in members:
            opened.writestr(name, data)
    return buffer.getvalue()


# -- which pull request ----------------------------------------------------------------------------


def test_the_request_is_found_by_commit_and_repository() -> None:
    others = ((1, "3" * 40, 99), (2, COMMIT, 98), (3, COMMIT, None))
    found = target(event(), pulls(*others, (7, COMMIT, 99)))
    assert found == Target(7, COMMIT, ABOUT.run, "failure")


@pytest.mark.parametrize(
    "found", [(), ((7, "3" * 40, 99),), ((7, COMMIT, 98),), ((7, COMMIT, 99), (8, COMMIT, 99))]
)
def test_a_run_that_no_open_request_ends_with_is_not_commented(found: Any) -> None:
    assert target(event(), pulls(*found)) is None


@pytest.mark.parametrize(
    "data",
    [
        event(event="push"),
        event(head_sha="main"),
        event(head_sha=COMMIT + "\n"),
        event(head_repository=None),
        event(head_repository={"id": "99"}),
        b"{}",
        b"[]",
        b"nonsense",
        b"[" * 100_000,
    ],
)
def test_another_event_is_refused(data: bytes) -> None:
    with pytest.raises(Usage):
        target(data, pulls((7, COMMIT, 99)))


@pytest.mark.parametrize(
    "data", [b"nonsense", b'{"number": "7"}', b"[1]", b'{"number": 7}', b"\xff"]
)
def test_a_list_that_cannot_be_read_is_refused(data: bytes) -> None:
    with pytest.raises(Usage):
        target(event(), data)


def test_only_what_github_says_is_repeated_of_the_event() -> None:
    wrong = event(html_url="https://evil.example/x) [y](z", conclusion="<b>")
    found = target(wrong, pulls((7, COMMIT, 99)))
    assert found is not None
    assert (found.run, found.conclusion) == ("", "unknown")


# -- the archive -----------------------------------------------------------------------------------


def test_what_was_written_is_read_from_a_folder_and_from_an_archive(tmp_path: Path) -> None:
    place = tmp_path / "out"
    folder.write(report(), place, {"scan-1": b"{}"}, b"c2sp.org/tlog-proof@v1\n")
    assert read(place) == report()
    members = [(str(p.relative_to(place)), p.read_bytes()) for p in place.rglob("*") if p.is_file()]
    packed = tmp_path / "report.zip"
    packed.write_bytes(archive(*members))
    assert read(packed) == report()


def link(name: str) -> zipfile.ZipInfo:
    found = zipfile.ZipInfo(name)
    found.external_attr = (stat.S_IFLNK | 0o777) << 16
    return found


GOOD = ("gates.json", encode(report()))
BAD_ARCHIVES: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "not a zip": lambda: b"PK\x03\x04" + b"x" * 100,
    "no report": lambda: archive(("report.md", b"# hello")),
    "traversal": lambda: archive(GOOD, ("../x", b"")),
    "absolute": lambda: archive(GOOD, ("/etc/passwd", b"")),
    "unknown": lambda: archive(GOOD, ("run.sh", b"")),
    "statement elsewhere": lambda: archive(GOOD, ("statements/a/b.dsse.json", b"")),
    "hidden statement": lambda: archive(GOOD, ("statements/.x.dsse.json", b"")),
    "link": lambda: archive(GOOD, (link("report.md"), b"/etc/passwd")),
    "linked report": lambda: archive((link("gates.json"), b"/etc/passwd")),
    "zero byte": lambda: archive(GOOD).replace(b"gates.json", b"gates.jso\0"),
    "truncated": lambda: archive(GOOD)[:-30],
    "bomb": lambda: archive(("gates.json", b" " * (comment.MOST_REPORT + 1))),
    "many": lambda: archive(GOOD, *((f"statements/{n}.dsse.json", b"") for n in range(2_001))),
    "foreign format": lambda: archive(("gates.json", b'{"format": "x"}')),
    "markdown": lambda: archive(("gates.json", b"# you have been owned")),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", BAD_ARCHIVES)
def test_a_hostile_archive_is_refused(tmp_path: Path, name: str) -> None:
    place = tmp_path / "report.zip"
    place.write_bytes(BAD_ARCHIVES[name]())
    with pytest.raises(Corrupt) as caught:
        read(place)
    assert caught.value.message.isprintable()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    place = tmp_path / "report.zip"
    place.write_bytes(archive(GOOD, ("gates.json", b"{}")))
    with pytest.raises(Corrupt, match="twice"):
        read(place)


def test_a_damaged_member_is_refused(tmp_path: Path) -> None:
    data = bytearray(archive(GOOD))
    data[60:80] = b"\xff" * 20
    (tmp_path / "report.zip").write_bytes(data)
    with pytest.raises(Corrupt):
        read(tmp_path / "report.zip")


def test_a_sparse_archive_is_refused_by_its_size(tmp_path: Path) -> None:
    place = tmp_path / "report.zip"
    place.touch()
    os.truncate(place, comment.MOST_ARCHIVE + 1)
    with pytest.raises(Corrupt, match="MiB"):
        read(place)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=8))
def test_no_damage_of_an_archive_is_more_than_refused(
    tmp_path_factory: pytest.TempPathFactory, at: int, noise: bytes
) -> None:
    data = bytearray(archive(("gates.json", encode(report())[:1_500]), ("report.md", b"x")))
    at %= len(data)
    data[at : at + len(noise)] = noise
    place = tmp_path_factory.getbasetemp() / "damaged.zip"
    place.write_bytes(data)
    with pytest.raises(AssayError):
        read(place)


def test_a_folder_with_a_link_or_a_stranger_is_refused(tmp_path: Path) -> None:
    for name in ("linked", "strange", "deep", "report", "whole"):
        folder.write(report(), tmp_path / name, {"a": b"{}"})
    (tmp_path / "linked" / "report.md").unlink()
    (tmp_path / "linked" / "report.md").symlink_to("/etc/passwd")
    (tmp_path / "strange" / "evil.sh").touch()
    (tmp_path / "deep" / "statements" / "x").mkdir()
    (tmp_path / "report" / "gates.json").unlink()
    os.mkfifo(tmp_path / "report" / "gates.json")
    for name in ("linked", "strange", "deep", "report"):
        with pytest.raises(Corrupt):
            read(tmp_path / name)
    (tmp_path / "door").symlink_to(tmp_path / "whole")
    with pytest.raises(Usage):
        read(tmp_path / "door")


# -- the comment -----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE)
def test_a_comment_is_ours_whatever_the_report_holds(text: str) -> None:
    for said in (body(report(text), ABOUT), no_report(text, ABOUT)):
        assert said.startswith(f"{MARKER}\n## ")
        found = rendered(said)
        assert found.comments == [" assay:ci-report/v1 "]
        assert found.tags <= MARKDOWN_TAGS | {"a", "em"}
        assert not LIVE.search(found.loose)
        assert found.links == [ABOUT.run]
        assert "nothing in it is verified" in said


def test_a_comment_keeps_to_what_github_takes() -> None:
    many = [Finding(rule=f"r{n}", level="note", message="@|<" * 500) for n in range(5_000)]
    said = body(report(findings=many), ABOUT)
    assert len(said) <= markdown.COMMENT_BYTES
    assert "left out" in said


def test_a_report_about_another_commit_is_refused() -> None:
    for source in (Source(), Source(commit="3" * 40)):
        with pytest.raises(Corrupt, match="another commit"):
            body(report(source=source), ABOUT)


def test_the_number_in_the_report_changes_nothing() -> None:
    lying = report(source=msgspec.structs.replace(report().source, request=1))
    assert body(lying, ABOUT) == body(report(), ABOUT)


def test_a_run_that_failed_is_said_to_have_failed() -> None:
    assert "ended as *failure*" in body(report(), Target(7, COMMIT, "", "failure"))
