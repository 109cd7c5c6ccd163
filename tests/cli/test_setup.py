"""Making a workspace, and looking after it."""

from __future__ import annotations

import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

SECRET = re.compile(r"ASSAY-RECOVERY-1(?:-[A-Z2-7]{7}){8}")


def everything(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


class Terminal:
    """Standard input of somebody who reads what is printed and types it back."""

    def __init__(self, printed: Any, answer: str) -> None:
        self._printed = printed
        self._answer = answer

    def isatty(self) -> bool:
        return False

    def readline(self) -> str:
        secret = SECRET.findall(self._printed.getvalue())[-1]
        return {"whole": secret, "last": secret.rpartition("-")[2].lower()}[self._answer] + "\n"


@pytest.fixture
def confirmed(empty: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`init` by somebody who types back the last group."""
    import io

    made: dict[str, Any] = {}

    def init(*args: str, answer: str = "last", **env: str) -> Any:
        real = io.StringIO
        streams: list[io.StringIO] = []

        def stream(*given: str) -> Any:
            streams.append(real(*given))
            # `Here` makes standard output, standard error, standard input, in this order.
            return Terminal(streams[1], answer) if len(streams) == 3 else streams[-1]

        monkeypatch.setattr("io.StringIO", stream)
        try:
            return empty("init", *args, **env)
        finally:
            monkeypatch.setattr("io.StringIO", real)

    made["init"] = init
    return init


@pytest.mark.parametrize("answer", ["whole", "last"])
def test_a_workspace_is_made_once_the_recovery_secret_was_typed_back(
    confirmed: Any, empty: Any, answer: str
) -> None:
    done = confirmed(
        "--name", "alice", "--project", "fraud", answer=answer, ASSAY_PASSPHRASE="open sesame"
    )
    assert done.code == 0
    (secret,) = SECRET.findall(done.all)
    assert secret not in done.out
    kept = b"".join(path.read_bytes() for path in everything(empty.folder))
    assert secret.encode() not in kept
    assert b"open sesame" not in kept
    key = empty.folder / "keys" / "alice.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert key.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    listed = empty.ok("actor", "list", "--json", ASSAY_PASSPHRASE="open sesame").json
    assert [(a["name"], a["level"]) for a in listed] == [("alice", "personal-key")]


@pytest.mark.parametrize("typed", ["", "\n", "AAAAAAA\n", "ASSAY-RECOVERY-1\n"])
def test_an_unconfirmed_secret_leaves_nothing_half_made(empty: Any, typed: str) -> None:
    done = empty("init", "--name", "alice", typed=typed, ASSAY_PASSPHRASE="open sesame")
    assert done.code == 2
    assert "not confirmed" in done.err
    assert everything(empty.folder) == []


def test_a_workspace_without_a_passphrase_is_refused_before_the_secret_is_shown(
    empty: Any,
) -> None:
    done = empty("init", "--name", "alice", typed="x\n")
    assert done.code == 2
    assert "ASSAY_PASSPHRASE" in done.err
    assert SECRET.search(done.all) is None
    assert everything(empty.folder) == []


def test_a_short_passphrase_is_refused_before_the_secret_is_shown(empty: Any) -> None:
    for command in (("init", "--name", "alice"), ("actor", "new-key", "alice")):
        done = empty(*command, typed="x\n", ASSAY_PASSPHRASE="short")
        assert done.code == 2
        assert "8 characters" in done.err
        assert SECRET.search(done.all) is None
        assert everything(empty.folder) == []


def test_an_existing_recipient_needs_no_proof_and_is_checked(empty: Any) -> None:
    made = empty.ok("keys", "new-recovery", "--json").json
    wrong = empty("init", "--recovery-recipient", "AAAA", ASSAY_PASSPHRASE="open sesame")
    assert wrong.code == 2
    assert everything(empty.folder) == []
    done = empty.ok(
        *("init", "--name", "alice", "--recovery-recipient", made["recipient"], "--json"),
        ASSAY_PASSPHRASE="open sesame",
    )
    assert done.json["recovery_recipient"] == made["recipient"]
    assert SECRET.search(done.all) is None


def test_a_failure_takes_back_the_key_that_was_made(empty: Any) -> None:
    for folder in ("policy", "assay-policy"):
        (empty.ws / folder).mkdir()
        (empty.ws / folder / "strange.bin").write_bytes(b"x")
    done = empty("init", "--development", "--name", "alice")
    assert done.code == 2
    assert not (empty.folder / "keys" / "alice.pem").exists()
    assert not (empty.ws / "assay.toml").exists()
    (empty.ws / "assay-policy" / "strange.bin").unlink()
    empty.ok("init", "--development", "--name", "alice")


def test_a_second_workspace_in_one_folder_is_refused_and_the_first_untouched(
    founded: Any,
) -> None:
    before = (founded.ws / "assay.toml").read_bytes()
    done = founded("init", "--development")
    assert done.code == 1
    assert "holds a workspace" in done.err
    assert (founded.ws / "assay.toml").read_bytes() == before


def test_a_git_repository_keeps_its_files_and_ignores_what_is_sealed(empty: Any) -> None:
    subprocess.run(["git", "init", "-q", empty.ws], check=True)
    (empty.ws / "README.md").write_text("mine\n")
    (empty.ws / ".gitignore").write_text("*.pyc\n")
    empty.ok("init", "--development", "--name", "alice")
    assert (empty.ws / "README.md").read_text() == "mine\n"
    assert (empty.ws / ".gitignore").read_text() == "*.pyc\n"
    listed = subprocess.run(
        ["git", "-C", empty.ws, "status", "--porcelain", "-uall"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "assay.toml" in listed
    assert ".assay" not in listed


def test_the_doctor_finds_a_critical_fault_and_says_so_by_its_status(founded: Any) -> None:
    done = founded.ok("doctor", by="alice")
    assert "0 critical" in done.out
    (founded.ws / ".assay").chmod(0o755)
    found = founded("doctor", "--json", by="alice")
    assert found.code == 4
    assert found.json["critical"] == 1
    assert "chmod" in founded("doctor", by="alice").out


def test_only_an_administrator_examines_the_workspace(founded: Any) -> None:
    done = founded("doctor", by="bob")
    assert done.code == 3
    assert "admin" in done.err


def test_recovery_of_a_workspace_at_rest_does_nothing(founded: Any) -> None:
    assert "nothing was left to do" in founded.ok("recover").out
    assert founded.ok("recover", "--json").json == {"done": []}


def test_the_catalog_is_compared_with_the_ledger_and_made_anew(founded: Any) -> None:
    import sqlite3

    founded.ok("decision", "list", by="alice")
    assert founded.ok("rebuild", "--check", "--json").json["same"] is True
    with sqlite3.connect(founded.ws / ".assay" / "catalog.sqlite") as database:
        database.execute("update actors set disabled = 1")
    done = founded("rebuild", "--check")
    assert done.code == 4
    assert "only in the catalog" in done.out
    founded.ok("rebuild")
    founded.ok("rebuild", "--check")


def test_what_a_destroyed_ring_held_is_named_as_lost(founded: Any) -> None:
    founded.ok("project", "create", "churn", by="alice")
    founded.ok("data", "list", "--project", "churn", by="alice")
    founded.ok(
        *("keys", "destroy", "--ring", "churn/evidence", "--reason", "erasure"),
        *("--ticket", "DPO-17"),
        by="alice",
    )
    founded.ok("rebuild")
    lost = founded.ok("rebuild", "--check", "--json").json["unreadable"]
    assert {leaf["project"] for leaf in lost} == {"churn"}


def test_the_root_key_is_recovered_from_a_backup_and_the_secret(empty: Any) -> None:
    made = empty.ok("keys", "new-recovery", "--json").json
    empty.ok(
        *("init", "--name", "alice", "--recovery-recipient", made["recipient"]),
        ASSAY_PASSPHRASE="open sesame",
    )
    empty.ok("keys", "backup", "--out", "rings.backup", ASSAY_PASSPHRASE="open sesame")
    root_key = empty.ws / ".assay" / "keys" / "root.key"
    root_key.unlink()
    other = empty.ok("keys", "new-recovery", "--json").json["secret"]
    wrong = empty("keys", "recover", "--backup", "rings.backup", ASSAY_RECOVERY_SECRET=other)
    assert wrong.code == 4
    assert not root_key.exists()
    assert empty("keys", "recover", "--backup", "rings.backup").code == 2
    secret = made["secret"]
    done = empty.ok("keys", "recover", "--backup", "rings.backup", ASSAY_RECOVERY_SECRET=secret)
    assert secret not in done.all
    empty.ok("doctor", ASSAY_PASSPHRASE="open sesame")
    again = empty.ok("keys", "recover", "--json", ASSAY_RECOVERY_SECRET=secret).json
    assert "_workspace/evidence" in again["restored"]


def test_a_development_workspace_says_that_it_has_no_backup(founded: Any) -> None:
    done = founded("keys", "backup", "--out", "rings.backup", by="alice")
    assert done.code == 2
    assert "--recipient" in done.err
    assert not (founded.ws / "rings.backup").exists()
