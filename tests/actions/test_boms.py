"""Bills of materials through the door: from the evidence, and from nothing else."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from workspace.town import Town, model

from assay import canonical
from assay.actions.bom_contents import DECLARABLE
from assay.actions.boms import PRODUCER, Bill, FindInBoms, ReadBom, WriteBom
from assay.actions.people import project_target
from assay.actions.release import Supersede
from assay.errors import NotFound, Usage, Verification
from assay.evidence import envelope as dsse
from assay.evidence.signers import MemorySigner
from assay.evidence.statement import SLSA_PROVENANCE, Statement
from assay.supply.bom import cyclonedx, elements, index, spdx
from assay.types import Digest
from assay.workspace.action import Action, Doing, Outcome, Target
from assay.workspace.view import View

WRITE = WriteBom(project="alpha", model="score", version="1")
READ = ReadBom(project="alpha", model="score", version="1")
CODE = "22" * 32


def write(town: Town, who: str = "eve", **changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"project": "alpha", "model": "score", "version": "1", **changes}
    done: dict[str, Any] = town.do(who, WriteBom(**made))
    return done


def read(town: Town, **changes: Any) -> Bill:
    made: dict[str, Any] = {"project": "alpha", "model": "score", "version": "1", **changes}
    found: Bill = town.do("una", ReadBom(**made))
    return found


def status(bill: Bill, name: str) -> str:
    return next(e["status"] for e in bill.summary["elements"] if e["name"] == name)


def properties(component: dict[str, Any]) -> dict[str, str]:
    return {p["name"]: p["value"] for p in component.get("properties", [])}


# -- a model that was registered by hand -----------------------------------------------------------


def test_three_statements_are_one_bill_and_both_documents_are_valid(town: Town) -> None:
    size = town.size
    done = write(town)
    assert town.kinds(size) == [
        "decision",
        cyclonedx.PREDICATE_TYPE,
        spdx.PREDICATE_TYPE,
        "bom",
        "outcome",
    ]
    bill = read(town)
    cyclonedx.validate(bill.cyclonedx)
    spdx.validate(bill.spdx)
    assert done["cyclonedx"] == canonical.digest(cyclonedx.encode(bill.cyclonedx))
    assert done["spdx"] == canonical.digest(spdx.encode(bill.spdx))
    assert done["components"] == 1 + len(bill.cyclonedx["components"])
    assert done["present"] + done["declared"] + done["known_unknown"] == 50
    facts = town.ws.view.facts("alpha", town.ws.view.version("alpha", "score", "1").artifact)
    assert facts.values["bom"] == {
        name: done[name] for name in ("components", "unpinned", "known_unknown")
    }
    town.check()


def test_the_same_evidence_gives_the_same_bytes_whenever_it_is_asked(town: Town) -> None:
    first = write(town)
    town.clock.advance(timedelta(days=3))
    assert write(town) == first
    bill = read(town)
    registered = town.ws.view.version("alpha", "score", "1").artifact
    newest = max(
        item.statement.header.issued
        for item in town.ws.view.evidence("alpha", registered)
        if item.producer != PRODUCER
    )
    assert bill.cyclonedx["metadata"]["timestamp"] <= newest


def test_of_a_model_registered_by_hand_only_what_its_file_names_is_listed(town: Town) -> None:
    done = write(town)
    assert done["libraries"] == "unknown"
    libraries = [c for c in read(town).cyclonedx["components"] if c["type"] == "library"]
    assert {c["name"] for c in libraries} >= {"scikit-learn"}
    assert {properties(c)["assay:basis"] for c in libraries} == {"declared"}
    # Nobody lists them all, and of those that are listed nobody names a digest.
    assert done["unpinned"] == len(libraries)
    assert read(town).cyclonedx["compositions"][0]["aggregate"] == "unknown"


def test_libraries_that_nobody_knows_are_never_counted_as_pinned(town: Town) -> None:
    path = town.repo / "model.onnx"
    made = town.do("eve", model(town.repo, "bare", path=str(path)))
    done = write(town, model="bare", version=made["version"])
    libraries = read(town, model="bare").cyclonedx["components"]
    assert not [c for c in libraries if c["type"] == "library"]
    assert done["unpinned"] == 1


def test_what_people_declare_stays_declared_and_what_was_measured_is_present(town: Town) -> None:
    write(town)
    bill = read(town)
    assert status(bill, "Dataset license") == "declared"
    assert status(bill, "Dataset provenance") == "declared"
    assert status(bill, "Intended application area") == "declared"
    assert status(bill, "Model description") == "declared"
    assert status(bill, "Dataset statistical properties") == "present"
    assert status(bill, "Security metrics") == "present"
    assert status(bill, "Model hash value") == "present"
    assert status(bill, "Infrastructure hardware") == "known unknown"
    assert status(bill, "Vulnerability referencing") == "known unknown"
    assert status(bill, "Model license") == "known unknown"


def test_no_row_and_no_name_of_a_person_is_in_a_bill(town: Town) -> None:
    write(town)
    bill = read(town)
    text = json.dumps([bill.cyclonedx, bill.spdx])
    rows = (town.repo / "train.csv").read_text().splitlines()[1:]
    assert not [row for row in rows if row.partition(",")[0] in text]
    names = set(town.ws.directory.names().values())
    assert names
    authors = bill.cyclonedx["metadata"]["authors"]
    assert not {a["name"].removeprefix("actor ") for a in authors} & names


def test_each_value_names_a_statement_that_is_on_the_ledger(town: Town) -> None:
    write(town)
    bill = read(town)
    named = {
        value
        for part in [bill.cyclonedx["metadata"], *index.components(bill.cyclonedx)]
        for name, value in properties(part).items()
        if name.startswith("assay:source")
    }
    known = {
        dsse.envelope_digest(dsse.decode(leaf.envelope))
        for leaf in town.ws.view.leaves()
        if leaf.envelope is not None
    }
    assert len(named) >= 4
    assert named <= known


# -- a model that a run made -----------------------------------------------------------------------


class Made(Action, frozen=True, kw_only=True):
    """Stands for a run of two steps: the first made an intermediate from a dataset."""

    name: ClassVar[str] = "runPipeline"
    artifact: str
    dataset: str

    def target(self, view: View) -> Target:
        asked = {
            "environment": "locked",
            "isolation": "full",
            "ports": [],
            "variables": [],
            "processes": False,
            "executor": "local",
        }
        return project_target(view, self.project, asked)

    def apply(self, doing: Doing) -> Outcome:
        between = canonical.digest(b"clean rows")
        steps = [
            ("clean", between, self.dataset, "pandas@3.1.1"),
            ("fit", self.artifact, between, "scikit-learn@1.9.1"),
        ]
        made = [
            Statement.new(
                subject={f"{name}/out": Digest(output), "key": canonical.digest(name.encode())},
                predicate_type=SLSA_PROVENANCE,
                predicate=_provenance(doing.decision, name, source, library),
                project=self.project,
                producer="assay.pipeline/1",
                clock=doing.clock,
            )
            for name, output, source, library in steps
        ]
        doing.record(made)
        return Outcome(doing.decision)


def _provenance(run: str, name: str, source: str, library: str) -> dict[str, Any]:
    return {
        "buildDefinition": {
            "externalParameters": {
                "pipeline": "credit:main",
                "step": f"credit:{name}",
                "task": name,
                "seed": 7,
                "arguments": {"depth": 4},
            },
            "resolvedDependencies": [
                {"name": "code", "digest": {"sha256": "11" * 32}},
                {"name": "code:credit", "digest": {"sha256": CODE}},
                {"uri": f"pkg:pypi/{library}", "digest": {"sha256": "44" * 32}},
                {
                    "uri": "pkg:pypi/helper (of no distribution)@unknown",
                    "digest": {"sha256": "55" * 32},
                },
                {"uri": "not a package", "digest": {"sha256": "66" * 32}},
                {"name": "input", "digest": {"sha256": source.removeprefix("sha256:")}},
            ],
        },
        "runDetails": {"metadata": {"invocationId": run, "finishedOn": "2026-01-01T00:00:30.000Z"}},
        "assay_environment": "locked",
        "assay_isolation": "full",
    }


@pytest.fixture
def observed(town: Town) -> Town:
    """``made@1``, of which the runner saw both steps."""
    artifact = town.ws.view.version("alpha", "score", "1").served
    rows = town.ws.view.dataset("alpha", "train").content
    run = town.do("ci", Made(project="alpha", artifact=str(artifact), dataset=rows))
    path = str(town.repo / "model.onnx")
    town.do("ci", model(town.repo, "made", path=path, run=run, train="", test=""))
    return town


def test_a_run_is_followed_back_to_its_data_code_and_libraries(observed: Town) -> None:
    done = write(observed, model="made")
    bill = read(observed, model="made")
    assert done["libraries"] == "incomplete"
    found = {c["name"]: c for c in bill.cyclonedx["components"]}
    assert found["scikit-learn"]["purl"] == "pkg:pypi/scikit-learn@1.9.1"
    assert found["scikit-learn"]["hashes"] == [{"alg": "SHA-256", "content": "44" * 32}]
    assert found["scikit-learn"]["licenses"][0]["expression"] == "BSD-3-Clause"
    assert properties(found["pandas"])["assay:basis"] == "evidence"
    assert found["code:credit"]["hashes"][0]["content"] == CODE
    assert found["train"]["type"] == "data"
    tasks = bill.cyclonedx["formulation"][0]["workflows"][0]["tasks"]
    assert [task["name"] for task in tasks] == ["clean", "fit"]
    assert {"parameters": [{"name": "depth", "value": "4"}, {"name": "seed", "value": "7"}]} in (
        tasks[0]["inputs"]
    )
    assert {"resource": {"ref": "dataset:training:train"}} in tasks[0]["inputs"]
    for name in ("Model training properties", "Infrastructure software", "Model producers"):
        assert status(bill, name) == "present"
    assert status(bill, "SBOM dependency relationships") == "present"


def test_a_module_of_no_distribution_is_listed_and_counts_as_unpinned(observed: Town) -> None:
    done = write(observed, model="made")
    found = read(observed, model="made").cyclonedx["components"]
    (helper,) = [c for c in found if c["name"] == "helper"]
    assert "version" not in helper
    assert done["unpinned"] == 1


def test_a_runner_that_only_says_so_is_not_believed(observed: Town) -> None:
    """Anybody's key, another producer's word, and another project's say nothing."""
    artifact = observed.ws.view.version("alpha", "made", "1").artifact
    bill = write(observed, model="made")
    for producer, project, signer in (
        ("assay.pipeline/1", "alpha", MemorySigner.generate()),
        ("somebody/1", "alpha", observed.workspace_key),
        ("assay.pipeline/1", "beta", observed.workspace_key),
    ):
        forged = Statement.new(
            subject={"fit/out": artifact},
            predicate_type=SLSA_PROVENANCE,
            predicate=_provenance("run", "evil", "sha256:" + "99" * 32, "evil@1"),
            project=project,
            producer=producer,
            clock=observed.clock,
        )
        observed.slip_in(forged, signer)
    assert write(observed, model="made") == bill
    assert "evil" not in json.dumps(read(observed, model="made").cyclonedx)


def test_what_came_from_elsewhere_keeps_its_origin_licence_and_signer(town: Town) -> None:
    artifact = town.ws.view.version("alpha", "score", "1").artifact
    told: dict[str, Any] = {
        "source": {"scheme": "hf", "locator": "org/name", "revision": "abc", "pinned": True},
        "licence": "apache-2.0",
        "signature": {"method": "key", "identity": "org", "trusted": False},
    }
    for trusted in (False, True):
        told["signature"]["trusted"] = trusted
        made = town.statement(
            "intake", told, "alpha", about=artifact, producer="assay.supply.intake/1"
        )
        town.slip_in(made, town.workspace_key)
        write(town)
        found = read(town).cyclonedx["metadata"]["component"]
        assert found["licenses"][0]["expression"] == "Apache-2.0"
        assert properties(found)["assay:references"] == "hf:org/name@abc"
        # An untrusted signature's name is anybody's: then the place stands for who made it.
        assert found["supplier"]["name"] == ("org" if trusted else "hf:org/name")
        basis = properties(found)["assay:basis:producer"]
        assert basis == ("evidence" if trusted else "declared")
    assert status(read(town), "Model license") == "declared"


# -- what is declared ------------------------------------------------------------------------------


def test_whoever_writes_it_may_declare_what_nobody_else_says(town: Town) -> None:
    before = write(town)
    done = write(town, declare={"hardware": "one processor", "licence": "MIT"})
    bill = read(town)
    assert status(bill, "Infrastructure hardware") == "declared"
    assert status(bill, "Model license") == "declared"
    assert done["known_unknown"] == before["known_unknown"] - 2
    model = bill.cyclonedx["metadata"]["component"]
    assert model["licenses"] == [{"expression": "MIT", "acknowledgement": "declared"}]
    declared_by = properties(bill.cyclonedx["metadata"])["assay:by:hardware"]
    assert declared_by == f"actor {town.ids['eve']}"


def test_a_declaration_does_not_replace_what_is_on_record(town: Town) -> None:
    write(town, declare={"application_area": "war"})
    found = properties(read(town).cyclonedx["metadata"])
    assert found["assay:application_area"] == "scoring"


@pytest.mark.parametrize(
    "declare",
    [{"controls": "many"}, {"artifact": "x"}, {"hardware": " "}, {"hardware": "x" * 1001}],
)
def test_what_cannot_be_declared_is_refused(town: Town, declare: dict[str, str]) -> None:
    with pytest.raises(Usage) as caught:
        write(town, declare=declare)
    assert caught.value.code == "usage.bom.declare"
    assert caught.value.remedy
    assert "controls" not in DECLARABLE


# -- who may, and which bill counts ----------------------------------------------------------------


def test_who_may_not_assess_may_not_write_and_strangers_may_not_read(town: Town) -> None:
    assert town.refused("una", WRITE)
    assert town.refused("bea", WRITE)
    write(town)
    assert town.refused("bea", READ)
    assert town.refused("bea", FindInBoms(project="alpha", what="numpy"))


def test_a_version_without_a_bill_says_how_to_make_one(town: Town) -> None:
    with pytest.raises(NotFound) as caught:
        read(town)
    assert caught.value.remedy == "assay bom write score@1 --project alpha"


def test_a_forged_or_superseded_bill_does_not_count(town: Town) -> None:
    write(town)
    bill = read(town)
    artifact = town.ws.view.version("alpha", "score", "1").artifact
    forged = {**bill.cyclonedx, "components": []}
    digest = canonical.digest(canonical.encode(forged))
    for kind, predicate in (
        (cyclonedx.PREDICATE_TYPE, forged),
        ("https://assay.dev/evidence/bom/v1", {**bill.summary, "cyclonedx": digest}),
    ):
        made = Statement.new(
            subject={"score@1": artifact},
            predicate_type=kind,
            predicate=predicate,
            project="alpha",
            producer=PRODUCER,
            clock=town.clock,
        )
        town.slip_in(made, MemorySigner.generate())
    assert read(town) == bill
    gone = Supersede(
        project="alpha", model="score", version="1", envelope=bill.envelope, reason="wrong"
    )
    town.do("ann", gone)
    with pytest.raises(NotFound):
        read(town)


def test_a_summary_whose_documents_are_others_is_no_bill(town: Town) -> None:
    write(town)
    bill = read(town)
    artifact = town.ws.view.version("alpha", "score", "1").artifact
    made = Statement.new(
        subject={"score@1": artifact},
        predicate_type="https://assay.dev/evidence/bom/v1",
        predicate={**bill.summary, "cyclonedx": "sha256:" + "00" * 32, "present": 50},
        project="alpha",
        producer=PRODUCER,
        clock=town.clock,
    )
    town.slip_in(made, town.workspace_key)
    assert read(town) == bill


def test_what_does_not_hold_to_its_schema_is_never_signed(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Any) -> None:
        raise Verification("$: wrong")

    monkeypatch.setattr(spdx, "validate", refuse)
    size = town.size
    with pytest.raises(Verification):
        write(town)
    assert not {cyclonedx.PREDICATE_TYPE, spdx.PREDICATE_TYPE, "bom"} & set(town.kinds(size))


# -- where -----------------------------------------------------------------------------------------


def test_where_names_versions_endpoints_and_those_of_which_nothing_is_known(
    observed: Town,
) -> None:
    write(observed)
    write(observed, model="made")
    observed.deploy()
    observed.do("eve", model(observed.repo, "other"))
    found = observed.do("una", FindInBoms(project="alpha", what="pandas"))
    assert [(item["model"], item["version"]) for item in found["found"]] == [("made", "1")]
    assert found["without"] == ["other@1"]
    assert found["open_ended"] == ["score@1"]
    found = observed.do("una", FindInBoms(project="alpha", what="scikit-learn"))
    by_model = {item["model"]: item for item in found["found"]}
    assert set(by_model) == {"made", "score"}
    assert by_model["score"]["stage"] == "production"
    assert len(by_model["score"]["endpoints"]) == 1
    assert by_model["made"]["endpoints"] == []


def test_where_finds_a_dataset_a_model_and_a_key(town: Town) -> None:
    write(town)
    view = town.ws.view
    version = view.version("alpha", "score", "1")
    (key,) = view.state.workspace_keys
    for what in (view.dataset("alpha", "train").content, version.artifact, version.served, key):
        found = town.do("una", FindInBoms(project="alpha", what=str(what)))
        assert [item["model"] for item in found["found"]] == ["score"], what
    nothing = town.do("una", FindInBoms(project="alpha", what="sha256:" + "00" * 32))
    assert nothing["found"] == []
    assert nothing["open_ended"] == []
    with pytest.raises(Usage):
        town.do("una", FindInBoms(project="alpha", what="not a thing"))


def test_the_counts_are_those_of_the_elements(town: Town) -> None:
    done = write(town)
    listed = [elements.Element(**e) for e in read(town).summary["elements"]]
    assert elements.counts(listed) == {
        key: done[key] for key in ("present", "declared", "known_unknown")
    }
