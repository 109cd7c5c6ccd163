"""``assay ledger``, ``assay witness`` and what ``assay verify`` does with their files."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Here, copy_of


@contextlib.contextmanager
def running(here: Here, *args: str | Path) -> Generator[str]:
    """The URL at which a command that goes on answers; it is stopped as Ctrl-C would."""
    given = {
        "ASSAY_KEYS": str(here.folder / "keys"),
        "XDG_STATE_HOME": str(here.folder / "state"),
        "PYTHONUNBUFFERED": "1",
    }
    words = [sys.executable, "-m", "assay", *map(str, args), "--port", "0"]
    process = subprocess.Popen(
        words, cwd=here.ws, env={**os.environ, **given}, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found is not None, line
        yield found[0]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


@pytest.fixture(scope="module")
def told(_registered: Here, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A workspace whose ledger is served and cosigned by a witness, and what both are called."""
    here = copy_of(_registered, tmp_path_factory.mktemp("told") / "it")
    vkey = here.ok("ledger", "vkey").out.strip()
    key, state = here.folder / "w.pem", here.folder / "w.state"
    here.ok("witness", "init", "--name", "w.example/1", "--key", key, "--state", state)
    witness = here.ok("witness", "vkey", "--state", state).out.strip()
    with (
        running(here, "witness", "serve", "--key", key, "--state", state, "--log", vkey) as there,
        running(here, "ledger", "serve") as url,
    ):
        here.ok("ledger", "witness", "add", there, witness)
        here.ok("ledger", "cosign")
        yield here, vkey, witness, url


def test_a_proof_beside_a_model_verifies_anywhere(told: Any, files: Path, tmp_path: Path) -> None:
    here, vkey, witness, _ = told
    shutil.copy(files / "model.skops", tmp_path / "model.skops")
    proof = tmp_path / "model.skops.tlog-proof"
    made = here.ok("ledger", "proof", tmp_path / "model.skops", "--json", by="alice").json
    assert made["file"] == str(proof)
    here.ok("ledger", "cosign")
    here.ok("ledger", "proof", "credit@1", "--output", proof, "--force", by="alice")
    text = proof.read_text()
    assert text.startswith("c2sp.org/tlog-proof@v1\nextra ")
    assert "\n— w.example/1 " in text
    done = here.ok("verify", proof, "--vkey", vkey, "--witness", witness, "--json").json
    assert done["artifact"] == str(tmp_path / "model.skops")
    assert [item["witness"] for item in done["cosignatures"]] == ["w.example/1"]
    assert "evidence/model-version/v1" in done["predicate_type"]
    with (tmp_path / "model.skops").open("ab") as stream:
        stream.write(b"x")
    changed = here("verify", proof, "--vkey", vkey)
    assert changed.code == 4
    assert "is not what" in changed.all
    proof.write_text(text.replace("index 1", "index 2"))
    assert here("verify", proof, "--vkey", vkey).code == 4


def test_a_proof_needs_the_right_to_export(told: Any, tmp_path: Path) -> None:
    here, _, _, _ = told
    output = tmp_path / "x.tlog-proof"
    here.ok("actor", "new-key", "dora", "--development")
    denied = here("ledger", "proof", "credit@1", "--output", output, "--force", by="dora")
    assert denied.code != 0
    assert here("ledger", "proof", "nothing@1", by="alice").code == 1
    assert here("ledger", "proof", "999999", by="alice").code == 1


def test_a_leafs_number_proves_that_it_is_there_and_says_nothing(told: Any, tmp_path: Path) -> None:
    here, vkey, _, _ = told
    output = tmp_path / "leaf.tlog-proof"
    here.ok("ledger", "proof", "0", "--output", output)
    assert b"envelope" not in output.read_bytes()
    done = here.ok("verify", output, "--vkey", vkey)
    assert "only that there is such a leaf" in done.out


def test_a_proof_outside_a_workspace_needs_the_logs_key(told: Any, tmp_path: Path) -> None:
    here, vkey, witness, _ = told
    output = tmp_path / "leaf.tlog-proof"
    here.ok("ledger", "proof", "0", "--output", output)
    elsewhere = Here(tmp_path / "elsewhere")
    elsewhere.ws.mkdir(parents=True)
    assert elsewhere("verify", output).code == 2
    elsewhere.ok("verify", output, "--vkey", vkey)
    assert elsewhere("verify", output, "--vkey", witness).code == 2
    other = vkey.replace("assay.invalid", "other.invalid")
    assert elsewhere("verify", output, "--vkey", other).code == 2


def test_a_bundle_gets_its_witnesses_later(told: Any, tmp_path: Path) -> None:
    here, vkey, witness, _ = told
    out = tmp_path / "credit.assay"
    here.ok("export", "credit@1", "--out", out, by="alice")
    here.ok("verify", out)
    lonely = here("verify", out, "--witness", witness)
    assert lonely.code == 4
    assert "0 of the 1 witnesses" in lonely.all
    here.ok("ledger", "cosign", "--for", out)
    done = here.ok("verify", out, "--witness", witness, "--vkey", vkey)
    assert "the checkpoint was seen by w.example/1" in done.out
    beside = out.with_name("credit.assay.cosigned")
    data = beside.read_text()
    beside.write_text(data.replace("old ", "old 1"))
    assert here("verify", out, "--witness", witness).code == 4


def test_the_ledger_itself_is_held_to_what_witnesses_saw(told: Any) -> None:
    here, vkey, witness, _ = told
    done = here.ok("verify", ".assay/ledger", "--witness", witness, "--vkey", vkey)
    assert "seen by w.example/1" in done.out
    assert here("verify", ".assay/ledger", "--witness", witness, "--quorum", "2").code == 2
    assert here("verify", ".assay/ledger", "--quorum", "1").code == 2
    here.ok("verify", ".assay/cosigned", "--witness", witness)


def test_a_ledger_is_watched_and_its_fork_is_proven(told: Any, tmp_path: Path) -> None:
    here, vkey, _, url = told
    state = tmp_path / "seen"
    watch = ("ledger", "watch", url, "--vkey", vkey, "--state", state, "--once")
    first = here.ok(*watch)
    assert "seen for the first time" in first.out
    found = here.ok(*watch, "--json").json
    assert found["verdict"] == "fine"
    assert here(*watch, "--max-age", "1", "--json").code in (0, 1)
    # The same key signs another history: a copy of the workspace that goes its own way.
    copy = copy_of(here, tmp_path / "copy")
    here.ok("ledger", "proof", "credit@1", "--output", tmp_path / "a", by="alice")
    copy.ok("ledger", "proof", "credit@1", "--output", tmp_path / "b", by="alice")
    here.ok(*watch)
    with running(copy, "ledger", "serve") as forked:
        other = ("ledger", "watch", forked, "--vkey", vkey, "--state", state, "--once")
        done = here(*other)
    assert done.code == 4
    proof = state.with_name("seen.misbehaviour")
    shown = here.ok("verify", proof, "--vkey", vkey, "--json").json
    assert (shown["kind"], shown["compared"]) == ("fork", True)
    assert here("verify", proof, "--vkey", vkey.replace("assay.", "a.")).code == 2
    unknown = here.ok("verify", proof)
    assert "compare that key" in unknown.out


def test_whoever_watches_is_told_which_leaves_to_expect(told: Any, tmp_path: Path) -> None:
    here, vkey, _, url = told
    expected = tmp_path / "expected"
    listed = here.ok("ledger", "commitments")
    expected.write_text(listed.out)
    watch = ("ledger", "watch", url, "--vkey", vkey, "--state", tmp_path / "seen", "--once")
    held = here.ok(*watch, "--expect", expected, "--json").json
    assert (held["verdict"], held["size"]) == ("fine", len(listed.out.splitlines()))
    here.ok("ledger", "proof", "credit@1", "--output", tmp_path / "a", by="alice")
    strange = here(*watch, "--expect", expected, "--json")
    assert (strange.code, strange.json["verdict"]) == (4, "misbehaviour")
    assert strange.json["unexpected"][0] == held["size"]
    newer = here.ok("ledger", "commitments", "--since", str(held["size"]))
    expected.write_text(listed.out + newer.out)
    here.ok(*watch, "--expect", expected)
    assert here.ok("ledger", "commitments", "--since", "999999", "--json").json == []


def test_a_watch_of_nothing_is_unreachable(told: Any, tmp_path: Path) -> None:
    here, vkey, _, _ = told
    watch = ("ledger", "watch", "http://127.0.0.1:9", "--vkey", vkey, "--once")
    assert here(*watch, "--state", tmp_path / "seen").code == 1
    for url in ("http://example.com", "file:///etc/passwd"):
        line = ("ledger", "watch", url, "--vkey", vkey, "--once")
        assert here(*line, "--state", tmp_path / "seen").code == 2


def test_a_bundles_leaves_must_be_on_the_ledger_that_is_watched(told: Any, tmp_path: Path) -> None:
    here, vkey, _, url = told
    out = tmp_path / "credit.assay"
    here.ok("export", "credit@1", "--out", out, by="alice")
    state = tmp_path / "seen"
    watch = ("ledger", "watch", url, "--vkey", vkey, "--state", state, "--once")
    here.ok(*watch, "--bundle", out)
    (tmp_path / "none").write_text("")
    unexpected = here(*watch, "--expect", tmp_path / "none")
    assert unexpected.code in (0, 4)  # Nothing is new since the look before.
    state.unlink()
    assert here(*watch, "--expect", tmp_path / "none").code == 4


def test_an_export_can_be_watched_as_well(told: Any, tmp_path: Path) -> None:
    here, vkey, witness, _ = told
    made = here.ok("ledger", "export", tmp_path / "public", "--cosigned", "--json").json
    assert made["vkey"] == vkey
    names = {path.name for path in (tmp_path / "public").iterdir()}
    assert names == {"checkpoint", "tile"}
    here.ok("verify", tmp_path / "public" / "checkpoint", "--witness", witness)
    assert here("ledger", "export", here.ws).code == 1


def test_witnesses_are_listed_and_taken_off(founded: Here) -> None:
    here = founded
    assert here("ledger", "cosign").code == 2
    here.ok("witness", "init", "--name", "w.example", "--key", "w.pem", "--state", "w.state")
    again = here("witness", "init", "--name", "w.example", "--key", "v.pem", "--state", "w.state")
    assert again.code == 2
    vkey = here.ok("witness", "vkey", "--state", "w.state").out.strip()
    here.ok("ledger", "witness", "add", "http://127.0.0.1:9", vkey)
    listed = here.ok("ledger", "witness", "list", "--json").json
    assert listed == [{"url": "http://127.0.0.1:9", "vkey": vkey}]
    away = here("ledger", "cosign")
    assert away.code == 1
    assert not (here.ws / ".assay" / "cosigned").exists()
    here.ok("ledger", "witness", "remove", vkey)
    assert here("ledger", "witness", "remove", vkey).code == 1
    assert here("ledger", "witness", "add", "http://127.0.0.1:9", "nonsense").code == 2
