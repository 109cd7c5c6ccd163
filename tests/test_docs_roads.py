"""The pages that lead somebody along a road are walked: get-started.md and pipelines.md."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
_FENCE = re.compile(r"^```([a-z]*)(?: file=(\S+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: str) -> list[tuple[str, str, str]]:
    """What somebody types who follows a page: (sh or python, the file that it becomes, code)."""
    found = _FENCE.findall((DOCS / page).read_text(encoding="utf-8"))
    return [block for block in found if block[0] in ("sh", "python")]


# -- get-started.md -------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_road_of_the_first_page_leads_to_an_answer_and_the_brake_holds(tmp_path: Path) -> None:
    repository, environment = _reader(tmp_path)
    port = _free_port()
    server: subprocess.Popen[bytes] | None = None
    printed = ""
    answers: list[int] = []
    try:
        for kind, _, code in blocks("get-started.md"):
            script = code.replace("8080", str(port))
            if script.startswith("assay serve"):
                server = subprocess.Popen(
                    ["bash", "-c", f"exec {script}"], cwd=repository, env=environment
                )
                _wait(port, server)
                continue
            if script.startswith("curl"):
                answers.append(_ask(port, repository, script))
                continue
            printed += _typed(kind, script, repository, environment)
            if script.startswith("assay hold"):
                (curl,) = [c for *_, c in blocks("get-started.md") if c.startswith("curl")]
                answers.append(_ask(port, repository, curl))
    finally:
        if server is not None:
            server.terminate()
            server.wait(30)
    assert answers == [200, 403]
    assert "credit-1.assay is a bundle, and it verifies" in printed
    assert (repository / "passport-credit-1.html").is_file()


def _reader(folder: Path) -> tuple[Path, dict[str, str]]:
    """An empty repository, and the environment of somebody who has installed assay."""
    repository, tools = folder / "repository", folder / "bin"
    repository.mkdir()
    tools.mkdir()
    (tools / "assay").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m assay "$@"\n')
    (tools / "assay").chmod(0o755)
    return repository, {
        **{k: v for k, v in os.environ.items() if not k.startswith("ASSAY_")},
        "PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ASSAY_KEYS": str(folder / "keys"),
        "XDG_STATE_HOME": str(folder / "state"),
        "ASSAY_ACTOR": "ada",
    }


def _typed(kind: str, script: str, repository: Path, environment: dict[str, str]) -> str:
    """What a block of shell or Python prints; it must end well."""
    done = subprocess.run(
        [sys.executable, "-c", script]
        if kind == "python"
        else ["bash", "-euo", "pipefail", "-c", script],
        cwd=repository,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait(port: int, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/live", timeout=1):
                return
        except OSError:
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(0.1)
            alive = server.poll() is None
            assert alive, "the endpoint did not start"
            assert time.monotonic() < until, "the endpoint did not answer"


def _ask(port: int, repository: Path, curl: str) -> int:
    """What the page's curl command asks, without curl; the status of the answer."""
    body = re.search(r"-d '(.*)'", curl, re.DOTALL)
    assert body is not None
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v2/models/credit/infer",
        data=body[1].encode(),
        headers={
            "Content-Type": "application/json",
            "Authorization": f"Bearer {(repository / 'token').read_text().strip()}",
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - ours
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


# -- pipelines.md ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_notebook_becomes_a_pipeline_as_the_page_says(tmp_path: Path) -> None:
    repository, environment = _reader(tmp_path)
    printed: list[str] = []
    for kind, name, code in blocks("pipelines.md"):
        if name:
            (repository / name).write_text(code)
        else:
            printed.append(_typed(kind, code, repository, environment))
    runs = [re.findall(r"^done  \w+: (.*), in ", text, re.MULTILINE) for text in printed]
    first, again, changed, back, release = [counts for (counts,) in filter(None, runs)]
    assert (first, again, changed, back) == (
        "3 done, 1 cached",
        "4 cached",
        "3 done, 1 cached",
        "4 cached",
    )
    assert release == "4 done, 3 cached"
    text = "".join(printed)
    assert "code of scoring changed" in text
    assert "scored 1000 rows" in text
    assert re.search(r"^provenance\.level +observed", text, re.MULTILINE)
