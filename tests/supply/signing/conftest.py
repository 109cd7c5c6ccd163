from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from assay import files

_PACKAGES = ("model-signing==1.1.1", "pyOpenSSL>=26", "sigstore>=4.5,<5")
"""The tool does not name pyOpenSSL among what it needs."""

Stock = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def stock() -> Stock:
    """The tool ``model_signing``: as ASSAY_TEST_MODEL_SIGNING names it, or installed from PyPI into
    a folder of its own that later runs find again."""
    program = Path(os.environ.get("ASSAY_TEST_MODEL_SIGNING") or _installed())

    def run(*args: str | Path, at: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, *map(str, args)],
            cwd=at,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def _installed() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "assay-tests"
    home = cache / f"model-signing-1.1.1-py{sys.version_info.major}.{sys.version_info.minor}"
    program = home / "bin" / "model_signing"
    try:
        files.make_folder(cache)
        with files.Lock(cache / "lock"):
            if not (home / "complete").exists():
                for command in (
                    [sys.executable, "-m", "venv", "--clear", home],
                    [home / "bin" / "pip", "install", "-q", *_PACKAGES],
                ):
                    subprocess.run(command, check=True, capture_output=True, timeout=600)
                (home / "complete").touch()
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"the stock tool model_signing cannot be installed here: {error}")
    return program
