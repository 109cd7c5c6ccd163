"""What a trusted signer signed is still read strictly: two readers must not see two models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assay import canonical
from assay.errors import Usage, Verification
from assay.supply.signing import bundle, checking, sign, statement, verify

from .making_models import FILES, NOW, SIGNER, TRUST, folder, payload_of, resigned

Document = dict[str, Any]
Change = Callable[[Document], Any]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return folder(tmp_path / "credit")


@pytest.fixture
def document(model: Path) -> Document:
    return sign(model, SIGNER)


def refused(model: Path, data: Document, word: str) -> None:
    path = model.with_name("model.sig")
    path.write_bytes(json.dumps(data).encode())
    with pytest.raises(Verification) as raised:
        verify(model, path, TRUST, now=NOW)
    assert word in raised.value.message
    assert str(path) in raised.value.message


def _resource(payload: Document, **changes: Any) -> None:
    payload["predicate"]["resources"][0].update(changes)


STATEMENTS: dict[str, tuple[Change, str]] = {
    "another type": (lambda p: p.update(_type="https://in-toto.io/Statement/v0.1"), "Statement/v1"),
    "another predicate": (
        lambda p: p.update(predicateType="https://slsa.dev/provenance/v1"),
        "slsa.dev",
    ),
    "the predicate of early tools": (
        lambda p: p.update(predicateType="https://model_signing/Digests/v0.1"),
        "Digests",
    ),
    "two subjects": (lambda p: p["subject"].append(p["subject"][0]), "2 subjects"),
    "no subject": (lambda p: p.update(subject=[]), "0 subjects"),
    "a subject of another digest": (
        lambda p: p["subject"][0]["digest"].update(sha256="0" * 64),
        "not that of the files",
    ),
    "no digest of the subject": (lambda p: p["subject"][0].update(digest={}), "sha256 is missing"),
    "a file twice": (
        lambda p: p["predicate"]["resources"].insert(0, p["predicate"]["resources"][0]),
        "twice",
    ),
    "another order": (lambda p: p["predicate"]["resources"].reverse(), "not sorted"),
    "no files": (lambda p: p["predicate"].update(resources=[]), "holds no file"),
    "another algorithm": (lambda p: _resource(p, algorithm="blake2b"), "blake2b"),
    "a short digest": (lambda p: _resource(p, digest="ab"), "64 hexadecimal digits"),
    "an upper-case digest": (lambda p: _resource(p, digest="A" * 64), "64 hexadecimal digits"),
    "a digest that is a number": (lambda p: _resource(p, digest=1), "64 hexadecimal digits"),
    "a way out": (lambda p: _resource(p, name="../x"), "leads out"),
    "an absolute path": (lambda p: _resource(p, name="/etc/passwd"), "leads out"),
    "a NUL": (lambda p: _resource(p, name="a\0b"), "control sign"),
    "a backslash": (lambda p: _resource(p, name="a\\b"), "backslash"),
    "half a character": (lambda p: _resource(p, name="\ud800"), "UTF-8"),
    "an empty name": (lambda p: _resource(p, name=""), "leads out"),
    "the whole beside files": (lambda p: _resource(p, name="."), "leads out"),
    "two names for one": (lambda p: _resource(p, name="WEIGHTS.bin"), "collides"),
    "shards": (
        lambda p: p["predicate"]["serialization"].update(method="shards", shard_size=10),
        "'shards'",
    ),
    "another hash": (
        lambda p: p["predicate"]["serialization"].update(hash_type="blake3"),
        "'blake3'",
    ),
    "links that are text": (
        lambda p: p["predicate"]["serialization"].update(allow_symlinks="false"),
        "allow_symlinks",
    ),
    "everything left out": (
        lambda p: p["predicate"]["serialization"].update(ignore_paths=["."]),
        "the whole model",
    ),
    "the way up left out": (
        lambda p: p["predicate"]["serialization"].update(ignore_paths=[".."]),
        "leads out",
    ),
    "a listed file left out": (
        lambda p: p["predicate"]["serialization"].update(ignore_paths=["sub"]),
        "leaves it out",
    ),
    "too much left out": (
        lambda p: p["predicate"]["serialization"].update(ignore_paths=["x"] * 1001),
        "1001 paths",
    ),
    "no predicate": (lambda p: p.pop("predicate"), "predicate is missing"),
    "a list for a predicate": (lambda p: p.update(predicate=[]), "no object"),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_signed_statement_is_refused_with(name: str, model: Path, document: Document) -> None:
    change, word = STATEMENTS[name]
    payload = payload_of(document)
    change(payload)
    refused(model, resigned(document, json.dumps(payload).encode()), word)


@pytest.mark.parametrize(
    ("alter", "word"),
    [
        (lambda p: p + b" {}", "not JSON"),
        (lambda p: b'{"_type":1,' + p[1:], "given twice"),
        (lambda p: p.replace(b'"name"', b'"name":"x","name"', 1), "given twice"),
        (lambda p: b'{"x":NaN,' + p[1:], "NaN"),
        (lambda _: b"\xff", "not JSON"),
        (lambda _: b"", "not JSON"),
        (lambda p: b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"," + p[1:], "not JSON"),
        (lambda p: b'{"x":' + b"9" * 5000 + b"," + p[1:], "not JSON"),
    ],
)
def test_a_signed_payload_with_two_readings_is_refused(
    alter: Callable[[bytes], bytes], word: str, model: Path, document: Document
) -> None:
    payload = canonical.unb64(document["dsseEnvelope"]["payload"], what="payload")
    refused(model, resigned(document, alter(payload)), word)


def test_fields_that_the_format_may_gain_are_ignored(model: Path, document: Document) -> None:
    payload = payload_of(document)
    payload["predicate"]["card"] = {"licence": "Apache-2.0"}
    payload["extra"] = 1
    path = model.with_name("model.sig")
    path.write_bytes(bundle.encoded(resigned(document, json.dumps(payload, indent=2).encode())))
    assert set(verify(model, path, TRUST, now=NOW).files) == set(FILES)


def test_files_sorted_by_letters_are_taken_and_give_another_digest(
    model: Path, document: Document
) -> None:
    payload = payload_of(document)
    resources = payload["predicate"]["resources"]
    resources.sort(key=lambda resource: resource["name"])
    digests = [checking.Digest(f"sha256:{resource['digest']}") for resource in resources]
    payload["subject"][0]["digest"]["sha256"] = statement.root(digests).removeprefix("sha256:")
    path = model.with_name("model.sig")
    path.write_bytes(bundle.encoded(resigned(document, json.dumps(payload).encode())))
    assert verify(model, path, TRUST, now=NOW).digest == statement.root(digests)


def test_no_more_files_than_a_tree_may_have_are_signed() -> None:
    digest = checking.Digest("sha256:" + "0" * 64)
    with pytest.raises(Usage, match="at most"):
        statement.encode("m", {f"{n:06}": digest for n in range(100_001)}, ())
