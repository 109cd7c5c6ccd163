"""People, projects, tokens, keys and policy; and that projects are isolated from each other."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DECLARED = (
    *("--owner", "x", "--origin", "x", "--licence", "x", "--purpose", "x"),
    *("--legal-basis", "contract", "--residency", "local"),
)


def test_of_several_enrolled_keys_one_must_be_named(founded: Any) -> None:
    done = founded("data", "list")
    assert done.code == 2
    assert "--as NAME" in done.err
    assert "alice, bob, carol" in done.err
    founded.ok("data", "list", "--as", "alice")


def test_the_one_enrolled_key_among_several_is_found_by_its_public_half(founded: Any) -> None:
    for name in ("bob", "carol"):
        (founded.folder / "keys" / f"{name}.pem").unlink()
    founded.ok("actor", "new-key", "stranger", "--development")
    founded.ok("data", "list")


def test_a_key_that_nobody_enrolled_is_refused(founded: Any) -> None:
    founded.ok("actor", "new-key", "mallory", "--development")
    done = founded("data", "list", by="mallory")
    assert done.code == 3
    assert "actor enrol" in done.err


def test_a_new_key_is_never_written_over_another(founded: Any) -> None:
    before = (founded.folder / "keys" / "bob.pem").read_bytes()
    assert founded("actor", "new-key", "bob", "--development").code == 1
    assert (founded.folder / "keys" / "bob.pem").read_bytes() == before


def test_a_new_key_is_printed_without_its_private_half(founded: Any) -> None:
    made = founded.ok("actor", "new-key", "dora", ASSAY_PASSPHRASE="open sesame")
    assert made.json["level"] == "personal-key"
    assert "PRIVATE" not in made.all
    assert "open sesame" not in made.all
    assert founded("actor", "new-key", "emil").code == 2


@pytest.mark.parametrize("key", ["{}", '{"key": 1}', "[]", '{"algorithm": "rsa", "spki": ""}'])
def test_what_is_no_public_key_is_not_enrolled(founded: Any, key: str) -> None:
    (founded.ws / "key.json").write_text(key)
    given = key if key.startswith("{") else "key.json"
    done = founded("actor", "enrol", "dora", "--key", given, by="alice")
    assert done.code == 2
    assert "public key" in done.err


def test_a_name_and_a_key_are_enrolled_once(founded: Any) -> None:
    public = founded.ok("actor", "new-key", "dora", "--development").out
    assert founded("actor", "enrol", "bob", "--key", public, by="alice").code == 1
    founded.ok("actor", "enrol", "dora", "--key", public, by="alice")
    assert founded("actor", "enrol", "dora2", "--key", public, by="alice").code == 2
    assert founded("actor", "enrol", "keyless", by="alice").code == 2


def test_roles_are_granted_and_taken_away(founded: Any) -> None:
    founded.ok("actor", "role", "bob", "grant", "auditor", by="alice")
    listed = founded.ok("actor", "list", "--json", by="alice").json
    (bob,) = [who for who in listed if who["name"] == "bob"]
    assert bob["roles"] == ["fraud/approver", "fraud/auditor"]
    founded.ok("actor", "role", "bob", "revoke", "fraud/approver", by="alice")
    founded.ok("actor", "role", "bob", "revoke", "fraud/auditor", by="alice")
    assert founded("data", "list", by="bob").code == 3
    assert founded("actor", "role", "bob", "give", "x", by="alice").code == 2
    assert founded("actor", "role", "bob", "grant", "fraud/king", by="alice").code == 2
    assert founded("actor", "role", "nobody", "grant", "auditor", by="alice").code == 1
    assert founded("actor", "role", "bob", "grant", "admin", by="bob").code == 3


def test_a_disabled_person_can_do_nothing_and_an_erased_one_has_no_name(founded: Any) -> None:
    founded.ok("actor", "disable", "bob", by="alice")
    done = founded("data", "list", by="bob")
    assert done.code == 3
    assert "actor.disabled" in done.err
    founded.ok("actor", "enable", "bob", by="alice")
    founded.ok("data", "list", by="bob")
    founded.ok("actor", "erase", "bob", by="alice")
    assert "bob" not in founded.ok("actor", "list", by="alice").out


def test_a_token_is_shown_once_alone_on_standard_output(founded: Any) -> None:
    founded.ok("actor", "enrol", "app", "--kind", "service", "--role", "service", by="alice")
    made = founded.ok("token", "create", "--for", "app", "--days", "7", by="alice")
    secret = made.out.strip()
    assert secret.startswith("assay_")
    assert secret not in made.err
    listed = founded.ok("token", "list", by="alice")
    assert secret not in listed.all
    assert secret.rpartition("_")[2] not in listed.all
    (held,) = founded.ok("token", "list", "--json", by="alice").json
    assert held["token"] in secret
    founded.ok("token", "revoke", held["token"], by="alice")
    assert founded.ok("token", "list", "--json", by="alice").json[0]["revoked"] is True
    assert founded("token", "create", "--for", "app", "--days", "9999", by="alice").code == 2


def test_no_secret_of_the_workspace_is_ever_printed(founded: Any) -> None:
    keys = founded.ws / ".assay" / "keys"
    secrets = [keys / "workspace.pem", keys / "ledger.pem", founded.folder / "keys" / "alice.pem"]
    lines = {line for path in secrets for line in path.read_text().splitlines()[1:-1]}
    root = (keys / "root.key").read_text()
    for command in (
        ("doctor",),
        ("keys", "status"),
        ("keys", "status", "--json"),
        ("keys", "rotate-workspace", "--reason", "yearly"),
        ("actor", "list", "--json"),
        ("decision", "list", "--json"),
        ("store", "check", "--json"),
    ):
        printed = founded.ok(*command, by="alice").all
        assert not [line for line in lines if line in printed], command
        assert root[-60:-10] not in printed


def test_keys_are_turned_revoked_and_destroyed_on_the_record(founded: Any) -> None:
    founded.ok("keys", "rotate", "--ring", "fraud/data", by="alice")
    made = founded.ok("keys", "rotate-workspace", "--reason", "yearly", "--json", by="alice").json
    founded.ok("keys", "revoke", made["before"], "--reason", "yearly", by="alice")
    status = founded.ok("keys", "status", "--json", by="alice").json
    assert {"ring": "fraud/data", "generation": 2} in status["rings"]
    assert [key["revoked"] is None for key in status["workspace_keys"]] == [False, True]
    assert founded("keys", "status", by="bob").code == 3
    assert founded("keys", "rotate", "--ring", "fraud/nothing", by="alice").code == 1
    assert founded("keys", "revoke", "nothing", "--reason", "x", by="alice").code == 1
    lost = founded.ok(
        *("keys", "destroy", "--ring", "fraud/data", "--reason", "erasure"),
        *("--ticket", "DPO-17"),
        by="alice",
    )
    assert "Destroy those copies" in lost.out
    assert "fraud/data" in founded.ok("keys", "status", by="alice").out


def test_the_store_is_checked_and_collected(registered: Any) -> None:
    assert registered.ok("store", "check", "--json", by="alice").json == []
    collected = registered.ok("store", "collect", "--json", by="alice").json
    assert collected["deleted"] == 0
    blobs = [p for p in (registered.ws / ".assay/blobs/blobs").rglob("*") if p.is_file()]
    # The largest is the policy bundle, without which nobody may even look.
    sorted(blobs, key=lambda p: p.stat().st_size)[-2].unlink()
    done = registered("store", "check", by="alice")
    assert done.code == 4
    assert "missing" in done.out
    assert registered("store", "check", by="bob").code == 3


def test_a_policy_is_checked_tested_applied_and_shown(founded: Any) -> None:
    founded.ok("policy", "check")
    founded.ok("policy", "test")
    settings = founded.ws / "policy" / "settings.toml"
    settings.write_text(settings.read_text().replace("min_approvers = 2", "min_approvers = 3"))
    applied = founded.ok("policy", "apply", "--summary", "three", "--json", by="alice").json
    assert applied["before"] != applied["bundle"]
    shown = founded.ok("policy", "show", "--json").json
    assert shown["bundle"] == applied["bundle"]
    assert shown["settings"]["default"]["min_approvers"] == 3
    assert "gate.approvals" in founded.ok("policy", "show", "--action", "promote").out
    assert founded("policy", "show", "--action", "dance").code == 2


def test_a_policy_with_a_hole_is_not_applied(founded: Any) -> None:
    active = founded.ok("policy", "show", "--json").json["bundle"]
    gates = founded.ws / "policy" / "gates.cedar"
    whole = gates.read_text()
    gates.write_text(whole.replace("when { resource.hold };", "when { false };", 1))
    assert founded("policy", "test").code == 2
    assert founded("policy", "check").code == 2
    assert founded("policy", "apply", by="alice").code == 2
    gates.write_text(whole + "\nforbid (")
    broken = founded("policy", "check")
    assert broken.code == 2
    assert "gates.cedar" in broken.err
    assert founded.ok("policy", "show", "--json").json["bundle"] == active


def test_only_an_administrator_applies_a_policy_and_nothing_is_stored_before(
    founded: Any,
) -> None:
    settings = founded.ws / "policy" / "settings.toml"
    settings.write_text(settings.read_text().replace("min_approvers = 2", "min_approvers = 0"))
    blobs = founded.ws / ".assay" / "blobs"
    before = sorted(p for p in blobs.rglob("*") if p.is_file())
    assert founded("policy", "apply", by="bob").code == 3
    assert sorted(p for p in blobs.rglob("*") if p.is_file()) == before


# -- isolation ------------------------------------------------------------------------------------

CLOSED = [
    ("data", "list"),
    ("data", "show", "loans"),
    ("data", "hold", "loans", "--reason", "x"),
    ("model", "list"),
    ("model", "show", "credit@1"),
    ("model", "check", "credit@1"),
    ("model", "assess", "credit@1", "--data", "holdout"),
    ("model", "scan", "credit@1"),
    ("approve", "credit@1"),
    ("promote", "credit@1", "--to", "development"),
    ("hold", "credit@1", "--reason", "x"),
    ("revoke", "credit@1", "--reason", "x"),
    ("serve", "credit@1", "--port", "0"),
    ("passport", "credit@1"),
    ("export", "credit@1"),
    ("decision", "list"),
    ("decision", "show", "x"),
    ("token", "list"),
]


@pytest.fixture
def two_projects(registered: Any, enrol: Callable[..., None]) -> Any:
    """erin is an engineer, and everything else, of churn; she has no role in fraud."""
    enrol(registered, "erin")
    registered.ok("project", "create", "churn", "--owner", "erin", by="alice")
    return registered


def test_an_engineer_of_one_project_gets_nothing_of_another(two_projects: Any) -> None:
    """Not even whether something is there: what exists, what does not and what is no project at
    all are denied in the same words."""
    for command in CLOSED:
        done = two_projects(*command, "--project", "fraud", by="erin")
        other = [re.sub("credit|loans|holdout", "nothing", word) for word in command]
        answers = {
            told.all.replace("nowhere", "fraud")
            for told in (
                done,
                two_projects(*other, "--project", "fraud", by="erin"),
                two_projects(*other, "--project", "nowhere", by="erin"),
            )
        }
        assert done.code == 3, (command, done)
        assert len(answers) == 1, (command, answers)
    assert sorted(path.name for path in two_projects.ws.iterdir()) == [
        ".assay",
        "assay.toml",
        "policy",
    ]


def test_a_project_is_as_if_the_other_were_not_there(two_projects: Any) -> None:
    as_erin = {"by": "erin", "ASSAY_PROJECT": "churn"}
    assert two_projects.ok("model", "list", "--json", **as_erin).json == []
    assert two_projects.ok("data", "list", "--json", **as_erin).json == []
    assert two_projects("model", "show", "credit@1", **as_erin).code == 1
    listed = two_projects.ok("project", "list", "--json", by="erin").json
    assert [p["project"] for p in listed] == ["churn"]
    actors = two_projects.ok("actor", "list", "--json", **as_erin).json
    assert [(a["name"], {r.partition("/")[0] for r in a["roles"]}) for a in actors] == [
        ("erin", {"churn"})
    ]
    every = two_projects.ok("project", "list", "--json", by="alice").json
    assert [(p["project"], p["readable"]) for p in every] == [("churn", False), ("fraud", True)]


def test_an_administrator_gets_nothing_inside_a_project_that_is_not_theirs(
    two_projects: Any, files: Path
) -> None:
    done = two_projects("data", "list", "--project", "churn", by="alice")
    assert done.code == 3
    register = ("data", "register", files / "loans.csv", *DECLARED, "--project", "churn")
    assert two_projects(*register, by="alice").code == 3
    assert two_projects(*register, by="erin").code == 0


def test_a_project_that_does_not_exist_is_denied_as_one_of_others_is(founded: Any) -> None:
    done = founded("data", "list", "--project", "nothing", by="alice")
    assert done.code == 3
    assert "if there is one" in done.err
    assert founded("data", "list", "--project", "../up", by="alice").code == 2
    assert founded("project", "create", "fraud", by="alice").code == 2


def test_who_has_no_key_is_not_said_to_have_one(founded: Any) -> None:
    founded.ok("actor", "enrol", "app", "--kind", "service", "--role", "service", by="alice")
    line = next(
        line
        for line in founded.ok("actor", "list", by="alice").out.splitlines()
        if line.startswith("app ")
    )
    assert "no key" in line
    assert "personal-key" not in line


def test_decisions_are_listed_with_what_they_are_about_and_by_action(registered: Any) -> None:
    registered("promote", "credit@1", "--to", "production", by="alice")
    found = registered.ok("decision", "list", "--action", "promote", by="alice").out
    assert "model version fraud/credit@1" in found
    assert "readEvidence" not in found
    assert "Assay::" not in found
    wrong = registered("decision", "list", "--action", "dance", by="alice")
    assert wrong.code == 2
    assert "promote" in wrong.err


def test_a_denial_names_a_thing_as_people_do_and_each_command_once(registered: Any) -> None:
    done = registered("promote", "credit@1", "--to", "production", by="alice")
    assert done.err.splitlines()[0] == "denied: promote on model version fraud/credit@1"
    assert done.err.count("→ assay model assess") == 1
    assert registered("doctor", by="bob").err.startswith("denied: examine on the workspace\n")


def test_a_policy_that_can_be_applied_says_so_and_nothing_is_applied_twice(founded: Any) -> None:
    assert "can be applied" in founded.ok("policy", "check").out
    assert "nothing to apply" in founded.ok("policy", "apply", by="alice").out
