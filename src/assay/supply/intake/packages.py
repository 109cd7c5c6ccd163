"""From a package index: a file or folder inside a released wheel, which is never installed.

pip fetches it, under pip's own configuration (mirror, proxy, certificates, ``PIP_NO_INDEX``), and
compares it with the hash that the index gives.  What the network rules of the other sources bound,
pip's configuration bounds here: people write both.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from assay import canonical, files
from assay.errors import AssayError, NotFound, Unavailable, Usage, Verification
from assay.supply.intake import wheels
from assay.supply.intake.fetching import Fetched, Request
from assay.supply.intake.locators import Locator
from assay.supply.intake.quarantine import Claim, Quarantine
from assay.supply.licences import metadata
from assay.supply.licences.expressions import UNKNOWN
from assay.types import Digest

_POLL = 0.25
_LOG = 10_000


def fetch(request: Request, into: Quarantine) -> Fetched:
    """Have pip fetch the wheel beside the quarantine, and take what was asked for out of it."""
    locator = request.locator
    work = into.folder.parent / "wheel"
    files.make_folder(work)
    named = f"{locator.name}=={locator.revision}"
    claimed = locator.digest
    if not claimed:
        request.progress(f"asking the index for {named}")
        claimed = _claimed(named, work, into)
    request.progress(f"downloading {named}")
    wheel = _download(named, claimed, work, into)
    return _take(wheel, claimed, request, into)


def from_mirror(request: Request, mirror: Path, into: Quarantine) -> Fetched:
    """The wheel from a folder of wheels."""
    locator = request.locator
    found = [path for path in sorted(mirror.iterdir()) if _is_of(path.name, locator)]
    if locator.digest:
        found = [path for path in found if _digest(path) == locator.digest] or found
    if not found:
        raise NotFound(
            f"{into.source}: the mirror {mirror} has no wheel of it",
            remedy=f"pip download --no-deps {locator.name}=={locator.revision}, where there is a "
            "network",
            code="intake.mirror",
        )
    return _take(found[0], locator.digest, request, into)


def _take(wheel: Path, claimed: str, request: Request, into: Quarantine) -> Fetched:
    locator = request.locator
    digest = _digest(wheel)
    if claimed and digest != claimed:
        raise Verification(
            f"{into.source}: the wheel has the digest {digest}, not {claimed}",
            remedy="do not use it; find out what the index is serving",
            code="intake.digest",
        )
    request.progress(f"reading {wheel.name}")
    try:
        read = wheels.read(wheel, locator.path)
    except AssayError as error:
        code = error.code.partition(".")[2]
        raise type(error)(
            f"{into.source}: {error.message}", remedy=error.remedy, code=code
        ) from error
    if re.sub(r"[-_.]+", "-", read.project).lower() != locator.name:
        raise Verification(
            f"{into.source}: the wheel says that it is {read.project[:100]!r}",
            remedy="do not use it; find out what the index is serving",
            code="intake.wheel",
        )
    into.plan([(_name(member.path, locator.path), len(member.content)) for member in read.members])
    for member in read.members:
        claim = Claim("sha256", member.recorded, "wheel RECORD")
        name = _name(member.path, locator.path)
        into.add(name, [member.content], size=len(member.content), claims=[claim])
    by = "the digest given" if request.locator.digest else "the index's digest" if claimed else ""
    note = f"{wheel.name}, {digest}, {f'compared with {by}' if by else 'compared with no digest'}"
    licence = metadata.expression(read.heads)
    return Fetched(digest, "" if licence == UNKNOWN else licence, (note,))


def _name(path: str, asked: str) -> str:
    """A member's path in quarantine: below the folder that was asked for, or its last part."""
    return path.rpartition("/")[2] if path == asked else path


def _is_of(name: str, locator: Locator) -> bool:
    """Whether a file's name is that of a wheel of this project and version."""
    project, _, rest = name.partition("-")
    same = re.sub(r"[-_.]+", "-", project).lower() == locator.name
    return same and name.endswith(".whl") and rest.partition("-")[0] == locator.revision


def _digest(path: Path) -> Digest:
    return canonical.digest_file(path)


# -- pip ------------------------------------------------------------------------------------------


def _claimed(named: str, work: Path, into: Quarantine) -> str:
    """The digest that the index gives for the wheel that pip would choose; empty for none."""
    report = work / "report.json"
    pip = ["install", "--dry-run", "--ignore-installed", f"--report={report}", "--no-deps"]
    _pip([*pip, "--only-binary=:all:", "--ignore-requires-python", named], named, work, into)
    raw = files.read(report, limit=into.limits.document_bytes, what="answer of pip")
    try:
        told: Any = msgspec.json.decode(raw)
        hashes = told["install"][0]["download_info"]["archive_info"].get("hashes", {})
        return f"sha256:{hashes['sha256']}" if "sha256" in hashes else ""
    except (msgspec.MsgspecError, KeyError, IndexError, TypeError, AttributeError):
        raise Unavailable(
            f"{into.source}: pip does not say what the index has",
            remedy="upgrade pip, or give the wheel's digest: pypi:NAME==VERSION@sha256:…#PATH",
            code="intake.index",
        ) from None


def _download(named: str, claimed: str, work: Path, into: Quarantine) -> Path:
    requirement = work / "requirements.txt"
    requirement.write_text(f"{named}{f' --hash={claimed}' if claimed else ''}\n", encoding="ascii")
    there = work / "there"
    there.mkdir()
    strict = ["--require-hashes"] if claimed else []
    pip = ["download", "--no-deps", "--only-binary=:all:", "--ignore-requires-python", *strict]
    _pip([*pip, f"--dest={there}", f"--requirement={requirement}"], named, work, into)
    found = [path for path in there.iterdir() if path.suffix == ".whl"]
    if len(found) != 1:
        raise Unavailable(f"{into.source}: pip gave no wheel", code="intake.index")
    return found[0]


def _pip(arguments: list[str], named: str, work: Path, into: Quarantine) -> None:
    if importlib.util.find_spec("pip") is None:
        raise Unavailable(
            f"{into.source}: this Python has no pip, which fetches packages",
            remedy="python -m ensurepip; or --mirror FOLDER with the wheel in it",
            code="intake.index",
        )
    log = work / "pip.log"
    temporary = work / "tmp"
    files.make_folder(temporary)
    with log.open("wb") as output:
        pip = subprocess.Popen(  # noqa: S603 - our own interpreter, checked arguments
            [
                *(sys.executable, "-m", "pip", *arguments[:1], "--quiet", "--no-input"),
                *("--progress-bar=off", "--no-cache-dir", *arguments[1:]),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": str(temporary)},
        )
        try:
            while pip.poll() is None:
                try:
                    pip.wait(min(_POLL, into.seconds_left))
                except subprocess.TimeoutExpired:
                    if _size(work) > 2 * into.limits.total_bytes:
                        raise Usage(
                            f"{into.source}: the wheel is larger than one intake may take",
                            remedy="raise `most_bytes` in [projects.NAME.intake] of assay.toml",
                            code="intake.size",
                        ) from None
        finally:
            if pip.poll() is None:
                pip.kill()
                pip.wait()
    if pip.returncode != 0:
        raise Unavailable(
            f"{into.source}: pip cannot get {named}: {_reason(log)}",
            remedy="check name, version and digest and pip's configuration, or --mirror FOLDER",
            code="intake.index",
        )


def _size(folder: Path) -> int:
    """Bytes below a folder while pip moves its files about."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size
        except FileNotFoundError:
            continue
    return total


def _reason(log: Path) -> str:
    """pip's last complaint, as one line, without what may be a password in a URL."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _LOG))
        lines = stream.read().decode("utf-8", "replace").splitlines()
    errors = [line for line in lines if line.startswith("ERROR:")] or lines or ["pip said nothing"]
    text = re.sub(r"//[^/@\s]*@", "//", errors[-1])
    return "".join(c if c.isprintable() else " " for c in text).strip()[:300]
