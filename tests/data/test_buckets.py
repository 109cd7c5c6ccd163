"""A whole prefix of a bucket, from a server that speaks S3: what intake takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from assay.data import sources
from assay.data.objects import Bucket
from assay.errors import AssayError, NotFound, Usage
from assay.supply.intake import buckets, locators
from assay.supply.intake.fetching import Request
from assay.supply.intake.quarantine import Quarantine
from assay.supply.intake.settings import Limits, Settings

if TYPE_CHECKING:
    from .conftest import Bucket as Server

from .conftest import ACCESS, BUCKET, SECRET


@pytest.fixture(scope="session")
def filled(bucket: Server) -> Server:
    bucket.put("models/credit/README.md", b"card")
    bucket.put("models/credit/sub/model.onnx", b"weights" * 1000)
    bucket.put("models/credit-2/other.onnx", b"other")
    return bucket


def opened(server: Server, secret: str = SECRET) -> Bucket:
    source = sources.parse("lake", f"s3://{BUCKET}", endpoint=server.endpoint, credential="env:X")
    return Bucket(source, f"{ACCESS}:{secret}")


def take(server: Server, tmp_path: Path, path: str, **given: object) -> Quarantine:
    limits = Limits(total_bytes=1 << 20, file_bytes=1 << 20, files=3)
    locator = locators.parse(f"s3://{BUCKET}/{path}")
    into = Quarantine(tmp_path / "q" / "intake", locator.place, limits)
    request = Request(locator, Settings(limits=limits), bucket=opened(server), **given)  # pyright: ignore[reportArgumentType]
    buckets.fetch(request, into)
    into.finish()
    return into


def test_a_prefix_is_taken_and_not_what_only_begins_like_it(filled: Server, tmp_path: Path) -> None:
    held = take(filled, tmp_path, "models/credit")
    assert [(t.path, t.size) for t in held.taken] == [("README.md", 4), ("sub/model.onnx", 7000)]


def test_one_object_is_taken_by_its_key(filled: Server, tmp_path: Path) -> None:
    held = take(filled, tmp_path, "models/credit-2/other.onnx")
    assert [t.path for t in held.taken] == ["other.onnx"]
    assert (held.folder / "other.onnx").read_bytes() == b"other"


def test_files_of_a_prefix_are_chosen_by_patterns(filled: Server, tmp_path: Path) -> None:
    held = take(filled, tmp_path, "models", only=("*/sub/*.onnx",))
    assert [t.path for t in held.taken] == ["credit/sub/model.onnx"]


def test_a_prefix_with_nothing_below_is_not_found(filled: Server, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        take(filled, tmp_path, "models/cred")


def test_a_bucket_with_too_much_is_refused(filled: Server, tmp_path: Path) -> None:
    for number in range(5):
        filled.put(f"many/{number}", b"x")
    with pytest.raises(Usage):
        take(filled, tmp_path, "many")


def test_a_wrong_secret_is_refused_without_being_told(filled: Server) -> None:
    for secret in ("wrong-secret",):
        with pytest.raises(AssayError) as caught:
            list(opened(filled, secret).list("models"))
        assert secret not in f"{caught.value.as_dict()}"
        assert ACCESS not in f"{caught.value.as_dict()}"
