"""What the catalog answers, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy
from hypothesis import given, settings
from hypothesis import strategies as st

from assay import canonical
from assay.catalog import derive, schema
from assay.catalog.catalog import Catalog, Entry
from assay.catalog.migrate import MIGRATIONS
from assay.errors import Conflict, Corrupt


@pytest.fixture
def catalog(url: str) -> Any:
    opened = Catalog.open(url)
    yield opened
    opened.close()


def test_an_empty_catalog_stands_at_leaf_0_and_lists_nothing(catalog: Catalog) -> None:
    assert catalog.position() == 0
    assert catalog.statements("fraud") == []
    assert catalog.models("fraud") == []
    assert catalog.versions("fraud", "credit") == []
    assert catalog.datasets("fraud") == []
    assert catalog.decisions("fraud", limit=10) == []
    assert catalog.actors() == []


def test_a_statement_is_found_by_kind_and_by_what_it_is_about(catalog: Catalog, story: Any) -> None:
    story.say("scan", {"verdict": "clean"}, about={"model.onnx": b"onnx"})
    story.say("quality", {"auc": 0.75}, about={"model.onnx": b"onnx", "test": b"rows"})
    story.say("https://slsa.dev/provenance/v1", {"builder": "ci"}, about={"other": b"other"})
    catalog.index_all(story.entries)

    assert [row.leaf for row in catalog.statements("fraud")] == [2, 1, 0]
    assert [row.leaf for row in catalog.statements("fraud", kind="scan")] == [0]
    about = catalog.statements("fraud", subject=canonical.digest(b"onnx"))
    assert [row.kind for row in about] == ["quality", "scan"]
    assert about[0].predicate == {"auc": 0.75}
    assert about[0].subjects == {
        "model.onnx": canonical.digest(b"onnx"),
        "test": canonical.digest(b"rows"),
    }
    assert about[0].envelope == story.entries[1].envelope
    foreign = catalog.statements("fraud", kind="https://slsa.dev/provenance/v1")
    assert [row.predicate for row in foreign] == [{"builder": "ci"}]


def test_statements_are_paged_from_the_newest(catalog: Catalog, story: Any) -> None:
    for number in range(5):
        story.say("scan", {"number": number})
    catalog.index_all(story.entries)
    first = catalog.statements("fraud", limit=2)
    second = catalog.statements("fraud", limit=2, before=first[-1].leaf)
    assert [row.leaf for row in first + second] == [4, 3, 2, 1]


def test_a_project_never_sees_the_rows_of_another(catalog: Catalog, story: Any) -> None:
    story.register("1")
    story.register("1", b"claims", project="claims")
    story.decide()
    catalog.index_all(story.entries)
    assert [row.project for row in catalog.statements("claims")] == ["claims"]
    assert catalog.statements("claims", subject=canonical.digest(b"onnx")) == []
    assert [row.versions for row in catalog.models("claims")] == [1]
    assert catalog.decisions("claims") == []


def test_the_ring_of_the_leaf_decides_who_sees_a_statement_not_its_header(
    catalog: Catalog, story: Any
) -> None:
    lying = story.register("1", project="claims")
    catalog.index(msgspec.structs.replace(lying, project="fraud"))
    assert catalog.statements("claims") == []
    assert [row.project for row in catalog.statements("fraud")] == ["fraud"]
    # What the fold made of it is filed where the fold files it: it is there for policy, too.
    assert catalog.versions("fraud", "credit") == []
    assert [row.project for row in catalog.versions("claims", "credit")] == ["claims"]


def test_a_model_lists_its_newest_version_and_its_aliases(catalog: Catalog, story: Any) -> None:
    story.register("1")
    story.register("10", b"ten")
    story.say("alias", {"name": "credit", "version": "1", "alias": "production"})
    story.say("alias", {"name": "credit", "version": "10", "alias": "staging"})
    catalog.index_all(story.entries)
    [model] = catalog.models("fraud")
    assert (model.versions, model.latest, model.leaf) == (2, "10", 0)
    assert model.aliases == {"production": "1", "staging": "10"}
    assert [row.version for row in catalog.versions("fraud", "credit")] == ["10", "1"]
    assert [row.stage for row in catalog.versions("fraud", "credit")] == ["staging", "production"]
    assert catalog.versions("fraud", "credit")[1].details == {"format": "onnx", "auc": 0.75}


def test_an_alias_points_where_it_was_last_put(catalog: Catalog, story: Any) -> None:
    story.register("1")
    story.register("2", b"two")
    for version in ("1", "2"):
        story.say("alias", {"name": "credit", "version": version, "alias": "production"})
    catalog.index_all(story.entries)
    assert [(row.alias, row.version, row.leaf) for row in catalog.aliases("fraud", "credit")] == [
        ("production", "2", 3)
    ]


def test_a_version_number_registered_twice_keeps_its_first_artifact(
    catalog: Catalog, story: Any
) -> None:
    story.register("1", b"first")
    story.register("1", b"second")
    catalog.index_all(story.entries)
    [version] = catalog.versions("fraud", "credit")
    assert version.served == canonical.digest(b"first")


def test_a_revocation_reaches_the_same_bytes_under_another_number(
    catalog: Catalog, story: Any
) -> None:
    story.register("1", b"bad")
    story.register("2", b"bad")
    story.register("3", b"good")
    story.register("1", b"bad", project="claims")
    story.say("revocation", {"name": "credit", "version": "1"}, about={"credit@1": b"bad"})
    catalog.index_all(story.entries)
    revoked = {row.version: row.revoked for row in catalog.versions("fraud", "credit")}
    assert revoked == {"1": True, "2": True, "3": False}
    assert not catalog.versions("claims", "credit")[0].revoked


def test_a_hold_is_laid_and_lifted(catalog: Catalog, story: Any) -> None:
    story.register("1")
    story.dataset("loans")
    story.say("hold", {"subject": "model", "name": "credit", "version": "1", "held": True})
    story.say("hold", {"subject": "dataset", "name": "loans", "held": True})
    catalog.index_all(story.entries)
    assert catalog.versions("fraud", "credit")[0].hold
    assert catalog.datasets("fraud")[0].hold
    lifted = story.say(
        "hold", {"subject": "model", "name": "credit", "version": "1", "held": False}
    )
    catalog.index_all([lifted])
    assert not catalog.versions("fraud", "credit")[0].hold


def test_a_dataset_is_listed_as_last_registered(catalog: Catalog, story: Any) -> None:
    for rows in (10, 20):
        story.dataset("loans", b"%d" % rows, details={"rows": rows})
    catalog.index_all(story.entries)
    [dataset] = catalog.datasets("fraud")
    assert (dataset.content, dataset.leaf) == (canonical.digest(b"20"), 1)
    assert dataset.details == {"rows": 20}


def test_registering_a_dataset_anew_keeps_its_hold(catalog: Catalog, story: Any) -> None:
    story.dataset("loans")
    story.say("hold", {"subject": "dataset", "name": "loans", "held": True})
    story.dataset("loans", b"more rows")
    catalog.index_all(story.entries)
    [dataset] = catalog.datasets("fraud")
    assert (dataset.hold, dataset.content) == (True, canonical.digest(b"more rows"))


def test_an_alias_takes_the_stage_from_the_version_that_had_it(
    catalog: Catalog, story: Any
) -> None:
    for version in ("1", "2", "3"):
        story.register(version, version.encode())
    for version, alias in (("1", "production"), ("2", "staging"), ("3", "production")):
        story.say("alias", {"name": "credit", "version": version, "alias": alias})
    catalog.index_all(story.entries)
    stages = {row.version: row.stage for row in catalog.versions("fraud", "credit")}
    assert stages == {"1": "", "2": "staging", "3": "production"}


def test_bytes_that_were_revoked_are_revoked_when_registered_again(
    catalog: Catalog, story: Any
) -> None:
    story.register("1", b"bad")
    story.say("revocation", {"name": "credit", "version": "1"})
    story.register("2", b"bad")
    story.register("3", b"good")
    story.register("1", b"bad", project="claims")
    catalog.index_all(story.entries)
    revoked = {row.version: row.revoked for row in catalog.versions("fraud", "credit")}
    assert revoked == {"1": True, "2": True, "3": False}
    assert not catalog.versions("claims", "credit")[0].revoked


def test_versions_that_cannot_be_served_are_not_revoked_together(
    catalog: Catalog, story: Any
) -> None:
    source = {"name": "credit", "author": "ada", "artifact": canonical.digest(b"pickle")}
    for version in ("1", "2"):
        story.say("model-version", {**source, "version": version, "details": {}})
    story.say("revocation", {"name": "credit", "version": "1"})
    story.say("model-version", {**source, "version": "3", "served": None, "details": {}})
    catalog.index_all(story.entries)
    revoked = {row.version: row.revoked for row in catalog.versions("fraud", "credit")}
    assert revoked == {"1": True, "2": False, "3": False}


def test_a_revocation_reaches_no_bytes_that_only_its_subject_names(
    catalog: Catalog, story: Any
) -> None:
    story.register("1", b"bad")
    story.register("2", b"good")
    story.say("revocation", {"name": "credit", "version": "1"}, about={"credit@1": b"good"})
    catalog.index_all(story.entries)
    revoked = {row.version: row.revoked for row in catalog.versions("fraud", "credit")}
    assert revoked == {"1": True, "2": False}


def test_what_the_fold_rejected_is_a_statement_and_nothing_else(
    catalog: Catalog, story: Any
) -> None:
    story.register("1")
    before = [line for line in _dump_after(catalog, story) if b'"statements"' not in line]
    for kind, predicate in {
        "alias": {"name": "credit", "version": "1", "alias": "production"},
        "revocation": {"name": "credit", "version": "1"},
        "hold": {"subject": "model", "name": "credit", "version": "1", "held": True},
        "approval": {"name": "credit", "version": "1", "stage": "production"},
        "actor": {"actor": "eve", "kind": "person", "level": "x", "disabled": False, "keys": []},
        "genesis": {"admin": {"id": "eve", "level": "x"}},
    }.items():
        story.say(kind, predicate, accepted=False)
    rejected = catalog.position()
    after = [line for line in _dump_after(catalog, story) if b'"statements"' not in line]
    told = [line for line in after if b'"subjects"' in line]
    assert len(told) == len(story.entries)
    assert {*after} - {*before} - {*told} == {after[0]}  # Only the position moved.
    assert [row.leaf for row in catalog.statements("fraud")] == [*range(rejected + 5, -1, -1)]


def _dump_after(catalog: Catalog, story: Any) -> list[bytes]:
    catalog.index_all(story.entries)
    return list(catalog.dump())


@pytest.mark.parametrize("kind", sorted(derive.RULES))
def test_a_later_version_of_a_statement_that_is_known_changes_nothing(
    story: Any, kind: str
) -> None:
    every: dict[str, Any] = {
        "name": "credit",
        "version": "1",
        "alias": "a",
        "stage": "production",
        "actor": "eve",
        "kind": "person",
        "level": "x",
        "disabled": False,
        "keys": [],
        "author": "eve",
        "owner": "eve",
        "held": True,
        "subject": "model",
        "details": {},
        "action": "promote",
        "allowed": True,
        "durability": "before",
        "request": {},
        "content": canonical.digest(b"c"),
        "artifact": canonical.digest(b"a"),
        "admin": {"id": "eve", "level": "x"},
        "decision": "x",
        "status": "done",
    }
    story.say(f"https://assay.dev/evidence/{kind}/v2", every)
    catalog = Catalog.open("sqlite://")
    catalog.index_all(story.entries)
    tables = {msgspec.json.decode(line).get("table") for line in catalog.dump()}
    assert tables == {None, "statements", "subjects"}
    catalog.close()


def test_a_decision_is_open_until_its_outcome(catalog: Catalog, story: Any) -> None:
    begun = story.decide()
    story.decide(allowed=False)
    story.decide(durability="segment")
    catalog.index_all(story.entries)
    newest_first = catalog.decisions("fraud", limit=10)
    assert [row.status for row in newest_first] == ["allowed", "denied", "open"]
    assert newest_first[1].reasons == [{"gate": "quality.lift"}]
    assert [row.leaf for row in catalog.decisions("fraud", before=2, limit=1)] == [1]

    decision = begun.statement.header.id
    catalog.index_all([story.say("outcome", {"decision": decision, "status": "done"})])
    assert catalog.decisions("fraud")[-1].status == "done"
    catalog.index_all([story.say("outcome", {"decision": decision, "status": "conflict"})])
    assert catalog.decisions("fraud")[-1].status == "done"


@pytest.mark.parametrize("status", ["open", "", None, 7, ["done"]])
def test_an_outcome_closes_a_decision_whatever_it_calls_that(
    catalog: Catalog, story: Any, status: Any
) -> None:
    begun = story.decide()
    story.say("outcome", {"decision": begun.statement.header.id, "status": status})
    catalog.index_all(story.entries)
    assert [row.status for row in catalog.decisions("fraud")] == ["closed"]


def test_an_outcome_leaves_a_denial_a_denial(catalog: Catalog, story: Any) -> None:
    denied = story.decide(allowed=False)
    story.say("outcome", {"decision": denied.statement.header.id, "status": "done"})
    catalog.index_all(story.entries)
    assert [row.status for row in catalog.decisions("fraud")] == ["denied"]


def test_an_outcome_of_another_project_closes_nothing(catalog: Catalog, story: Any) -> None:
    begun = story.decide()
    predicate = {"decision": begun.statement.header.id, "status": "done"}
    story.say("outcome", predicate, project="claims")
    catalog.index_all(story.entries)
    assert catalog.decisions("fraud")[0].status == "open"


def test_actors_and_approvals_are_listed(catalog: Catalog, story: Any) -> None:
    admin = {"id": "root", "level": "personal-key", "key": {}, "roles": []}
    story.say("genesis", {"admin": admin}, project="_workspace")
    bob: dict[str, Any] = {"actor": "bob", "kind": "person", "level": "oidc", "keys": []}
    story.say("actor", {**bob, "disabled": False}, project="_workspace")
    story.say("actor", {**bob, "disabled": True}, project="_workspace")
    story.register("1")
    approved = story.say("approval", {"name": "credit", "version": "1", "stage": "production"})
    catalog.index_all(story.entries)
    assert [(row.id, row.disabled) for row in catalog.actors()] == [("bob", True), ("root", False)]
    [approval] = catalog.approvals("fraud", "credit", "1")
    assert (approval.stage, approval.envelope) == ("production", approved.envelope)


# -- one function of the ledger -------------------------------------------------------------------


def test_indexing_a_leaf_again_changes_nothing(catalog: Catalog, story: Any) -> None:
    story.register("1")
    story.say("alias", {"name": "credit", "version": "1", "alias": "production"})
    for entry in story.entries:
        catalog.index(entry)
    before = catalog.dump_canonical()
    catalog.index_all(story.entries)
    catalog.index(story.entries[0])
    assert catalog.dump_canonical() == before
    assert catalog.position() == 2


def test_a_gap_is_refused_and_nothing_of_it_is_kept(catalog: Catalog, story: Any) -> None:
    for number in range(3):
        story.say("scan", {"number": number})
    with pytest.raises(Conflict, match="before leaf 1"):
        catalog.index_all([story.entries[0], story.entries[2]])
    assert catalog.position() == 0
    assert catalog.statements("fraud") == []


def test_another_statement_at_a_known_leaf_is_corrupt(catalog: Catalog, story: Any) -> None:
    entry = story.register("1")
    catalog.index_all(story.entries)
    with pytest.raises(Corrupt, match="another statement at leaf 0") as refused:
        catalog.index(msgspec.structs.replace(entry, envelope=canonical.digest(b"other")))
    assert "assay rebuild" in refused.value.remedy


def test_a_leaf_whose_ring_was_destroyed_is_passed_over(catalog: Catalog, story: Any) -> None:
    first, second, third = (story.say("scan", {"number": number}) for number in range(3))
    catalog.index_all([first, Entry(1, "fraud", second.envelope, None, accepted=True), third])
    assert catalog.position() == 3
    assert [row.leaf for row in catalog.statements("fraud")] == [2, 0]


def test_clearing_and_indexing_what_is_left_forgets_a_destroyed_project(
    catalog: Catalog, story: Any
) -> None:
    story.register("1")
    story.register("1", b"claims", project="claims")
    story.say("scan", {"verdict": "clean"}, project="claims")
    catalog.index_all(story.entries)
    catalog.clear()
    assert (catalog.position(), catalog.statements("fraud")) == (0, [])
    catalog.index_all(
        entry if entry.project == "fraud" else msgspec.structs.replace(entry, statement=None)
        for entry in story.entries
    )
    assert catalog.position() == 3
    assert b"claims" not in catalog.dump_canonical()


def tell(story: Any) -> None:
    """One of everything, with names that collations order differently."""
    for name in ("b", "B", "a", "Z", "é", "_", "10", "9"):
        story.dataset(name, name.encode(), owner=name, details={"é": 1.5})
    story.register("1")
    story.register("2", b"two")
    story.say("alias", {"name": "credit", "version": "2", "alias": "production"})
    story.say("approval", {"name": "credit", "version": "2", "stage": "production"})
    story.say("revocation", {"name": "credit", "version": "1"}, about={"credit@1": b"onnx"})
    story.decide(allowed=False)
    actor = {"actor": "bob", "kind": "person", "level": "oidc", "disabled": False, "keys": []}
    story.say("actor", actor, project="_workspace")


def test_a_catalog_filled_in_pieces_equals_one_filled_at_once(
    catalog: Catalog, story: Any, tmp_path: Path
) -> None:
    tell(story)
    for entry in story.entries[:5]:
        catalog.index(entry)
    catalog.index_all(story.entries[3:])
    fresh = Catalog.open(f"sqlite:///{tmp_path / 'fresh.sqlite'}")
    fresh.index_all(story.entries)
    assert fresh.dump_canonical() == catalog.dump_canonical()
    assert [row.name for row in catalog.datasets("fraud")] == sorted(
        ["b", "B", "a", "Z", "é", "_", "10", "9"], key=str.encode
    )


def test_a_changed_row_shows_in_the_dump(catalog: Catalog, story: Any) -> None:
    tell(story)
    catalog.index_all(story.entries)
    before = catalog.dump_canonical()
    with catalog._engine.connect() as connection:
        connection.execute(sqlalchemy.update(schema.model_versions).values(revoked=False))
        connection.commit()
    assert catalog.dump_canonical() != before


def test_a_catalog_in_memory_works_like_any_other(story: Any) -> None:
    tell(story)
    catalog = Catalog.open("sqlite://")
    catalog.index_all(story.entries)
    assert catalog.position() == len(story.entries)
    assert catalog.models("fraud")[0].latest == "2"


# -- hostile statements ---------------------------------------------------------------------------

LONG = "".join(chr(0x10000 + (number * 7919) % 0xFFFF) for number in range(schema.LONGEST_KEY))
"""As long as a key may be, four bytes each, and hard to compress."""
AWKWARD = [
    LONG,
    LONG * 20,
    "",
    "\0",
    "a\0b",
    "x" * 100_000,
    "\u202e",
    "'; DROP TABLE statements; --",
    "\U0001f600",
]


@pytest.mark.parametrize("text", AWKWARD)
def test_awkward_text_is_indexed_and_found_on_both_databases(
    catalog: Catalog, story: Any, text: str
) -> None:
    story.register(text)
    story.say("model-version", {"name": text, "version": text, "author": text, "artifact": text})
    story.dataset(text, owner=text)
    story.say("hold", {"subject": "dataset", "name": text, "held": True})
    story.say("revocation", {"name": text, "version": text})
    begun = story.decide(action=text, actor=text, bundle=text, reasons=[text])
    story.say("outcome", {"decision": begun.statement.header.id, "status": text})
    actor: dict[str, Any] = {"kind": "person", "level": text, "disabled": False, "keys": []}
    story.say("actor", {**actor, "actor": text})
    story.say("genesis", {"admin": {"id": text, "level": text}})
    story.say("approval", {"name": text, "version": text, "stage": text, "comment": text})
    story.say("alias", {"name": text, "version": text, "alias": text})
    story.say("scan", {text: [text]}, about={"name" + text: b"bytes"})
    catalog.index_all(story.entries)
    assert catalog.position() == len(story.entries)
    [found] = catalog.statements("fraud", kind="scan", subject=canonical.digest(b"bytes"))
    assert found.predicate == {text: [text]}
    assert catalog.statements("fraud", kind=text) == []
    assert catalog.versions(text, text) == []
    catalog.models("fraud")
    catalog.dump_canonical()


@pytest.mark.parametrize("kind", sorted(derive.RULES))
@pytest.mark.parametrize(
    "predicate",
    [
        {},
        {"admin": None, "name": None, "allowed": None, "details": None},
        {"admin": {"id": 1}, "name": [], "version": {}, "actor": 7, "decision": {"a": 1}},
        {"name": "n", "version": "v", "alias": 1, "held": "yes", "subject": [], "stage": 0},
    ],
)
def test_a_predicate_without_its_fields_stays_findable_as_a_statement(
    story: Any, kind: str, predicate: dict[str, Any]
) -> None:
    catalog = Catalog.open("sqlite://")
    story.say(kind, predicate)
    story.register("1")
    catalog.index_all(story.entries)
    assert [row.predicate for row in catalog.statements("fraud", kind=kind)][-1] == predicate
    assert len(catalog.versions("fraud", "credit")) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["name", "version", "alias", "author", "served", "held", "subject", "allowed", "actor"]


@settings(max_examples=60, deadline=None)
@given(
    told=st.lists(
        st.tuples(
            st.sampled_from(sorted(derive.RULES)),
            st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(["a", "b"]) | JSON),
        ),
        max_size=12,
    ),
    cuts=st.lists(st.integers(0, 12), max_size=3),
)
def test_whatever_is_told_in_whatever_pieces_the_catalog_is_the_same(
    told: list[tuple[str, dict[str, Any]]], cuts: list[int], new_story: Any
) -> None:
    story = new_story()
    for kind, predicate in told:
        story.say(kind, predicate)
    whole, pieces = Catalog.open("sqlite://"), Catalog.open("sqlite://")
    whole.index_all(story.entries)
    for cut in cuts:
        pieces.index_all(story.entries[pieces.position() : cut])
    pieces.index_all(story.entries)
    assert pieces.dump_canonical() == whole.dump_canonical()
    assert len(whole.statements("fraud")) == len(told)
    whole.close()
    pieces.close()


# -- the schema -----------------------------------------------------------------------------------


def test_the_migrations_make_the_tables_that_the_code_expects(catalog: Catalog) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with catalog._engine.connect() as connection:
        # Collations are the migrations' own business; the rest of a type must agree.
        differ = lambda _c, _i, _m, found, expected: str(found).split()[0] != str(expected)  # noqa: E731
        context = MigrationContext.configure(connection, opts={"compare_type": differ})
        assert compare_metadata(context, schema.metadata) == []
        inspector = sqlalchemy.inspect(connection)
        for table in schema.metadata.sorted_tables:
            key = inspector.get_pk_constraint(table.name)["constrained_columns"]
            assert key == [column.name for column in table.primary_key.columns]


def test_the_newest_migration_is_the_one_that_opening_looks_for() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [schema.HEAD]
