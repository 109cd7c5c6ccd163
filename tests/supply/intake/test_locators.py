"""What may be asked for, and what is refused without being repeated."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import Usage
from assay.supply.intake.locators import parse

D = "sha256:" + "a" * 64
C = "0123456789" * 4


@pytest.mark.parametrize(
    ("text", "scheme", "place", "revision", "exact"),
    [
        ("model.onnx", "file", "model.onnx", "", False),
        ("./some/folder", "file", "./some/folder", "", False),
        ("hf:acme/credit", "hf", "hf:acme/credit", "main", False),
        ("hf:acme/credit@v1.2", "hf", "hf:acme/credit", "v1.2", False),
        ("hf://acme/credit@refs/pr/3", "hf", "hf:acme/credit", "refs/pr/3", False),
        (f"hf:acme/credit@{C}", "hf", "hf:acme/credit", C, True),
        ("hf:bert@5f1d2c0", "hf", "hf:bert", "5f1d2c0", False),
        ("oci://ghcr.io/a/b", "oci", "oci://ghcr.io/a/b", "latest", False),
        ("oci://ghcr.io/a/b:v1", "oci", "oci://ghcr.io/a/b", "v1", False),
        (f"oci://ghcr.io/a/b@{D}", "oci", "oci://ghcr.io/a/b", D, True),
        (f"oci://localhost:5000/b:v1@{D}", "oci", "oci://localhost:5000/b", D, True),
        ("s3://models/credit/v3", "s3", "s3://models/credit/v3", "", False),
        ("s3://models", "s3", "s3://models", "", False),
        ("pypi:Magika==1.0.3#magika/m.onnx", "pypi", "pypi:magika#magika/m.onnx", "1.0.3", False),
        (f"pypi:a_b==1@{D}#m", "pypi", "pypi:a-b#m", "1", True),
        ("https://m.example/a/b.onnx", "https", "https://m.example/a/b.onnx", "", False),
    ],
)
def test_a_locator_names_a_source_and_perhaps_which_one(
    text: str, scheme: str, place: str, revision: str, exact: bool
) -> None:
    found = parse(text)
    assert (found.scheme, found.place, found.revision) == (scheme, place, revision)
    assert found.exact is exact


@pytest.mark.parametrize(
    "text",
    [
        *("", "hf:", "hf:a/b/c", "hf:../b", "hf:a/..", "hf:a/b@../x", "hf:a/b@x//y", "hf:a b/c"),
        *(
            "oci://",
            "oci://host",
            "oci://host/UP",
            "oci://host:99999/a",
            "oci:host/a",
            "oci://h/a@sha256:1",
        ),
        *("s3://", "s3://UP/x", "s3://models/../x", "s3://models//x", "s3:models"),
        *("pypi:x", "pypi:x==", "pypi:-r==1", "pypi:x==1;os", "pypi:x==1 --index-url=http://e"),
        *(
            "https://",
            "https:///x",
            "https://h/",
            "https://h/a?token=1",
            "https://h/../../etc/passwd",
            "https://h/%2e%2e/a",
            "https://h/a/..%2fb",
            "https://h/.",
            "https://h/a#b",
            "https:h/a",
        ),
        *("http://h/a", "ftp://h/a", "git+https://h/a", "file:///etc/passwd", "gs://b/x"),
        *("a\nb", "x" * 3000, "https://h:99999999/a"),
    ],
)
def test_anything_else_is_refused_with_the_forms_there_are(text: str) -> None:
    with pytest.raises(Usage) as caught:
        parse(text)
    assert caught.value.code.startswith("usage.intake.")
    assert "hf:ORG/NAME" in caught.value.remedy


@pytest.mark.parametrize("scheme", ["https", "oci", "s3"])
def test_a_locator_with_a_password_is_refused_and_not_repeated(scheme: str) -> None:
    with pytest.raises(Usage) as caught:
        parse(f"{scheme}://user:hunter2@host/x")
    assert caught.value.code == "usage.intake.password"
    assert "hunter2" not in f"{caught.value.as_dict()}"


@given(st.text(max_size=80), st.sampled_from(["", "hf:", "oci://", "s3://", "pypi:", "https://"]))
def test_any_text_is_a_locator_or_a_usage_error(text: str, scheme: str) -> None:
    try:
        found = parse(scheme + text)
    except Usage:
        return
    assert found.place
    assert "\n" not in found.place
