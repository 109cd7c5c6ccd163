"""A workspace whose policy is of an older version works on, and can be brought up to this one."""

from __future__ import annotations

from pathlib import Path

from workspace.town import WORKSPACE, Town

from assay.actions.administration import ApplyPolicy
from assay.actions.datasets import ReadDataset, TrainOn
from assay.actions.people import CreateToken
from assay.actions.reading import ExportEvidence
from assay.govern.verify import verify
from assay.policy.document import Bundle
from assay.workspace.opening import POLICY_RING

GOLDEN = Path(__file__).parents[1] / "golden" / "policy-bundle-v1.json"
READ = ReadDataset(project="alpha", dataset="train", purpose="scoring")
TRAIN = TrainOn(project="alpha", dataset="train", purpose="scoring")


def apply(town: Town, bundle: Bundle) -> None:
    digest = town.ws.store.put(POLICY_RING, bundle.encode())
    assert digest == bundle.digest
    town.do("ada", ApplyPolicy(project=WORKSPACE, bundle=digest, summary="of another version"))


def test_what_an_older_policy_knows_it_decides_and_the_rest_it_denies(town: Town) -> None:
    current = town.ws.engine().bundle
    town.check_data()
    apply(town, Bundle.decode(GOLDEN.read_bytes()))
    town.reopen()
    town.do("sam", READ).close()
    town.do("oli", CreateToken(project="alpha", actor=town.ids["web"]))
    assert town.refused("eve", TRAIN) == ["engine.error"]
    assert "role" in town.refused("ci", READ)
    assert town.refused("eve", CreateToken(project="alpha", actor=town.ids["ci"]))
    town.deploy()
    data: bytes = town.do("eve", ExportEvidence(project="alpha", model="score", version="1"))

    apply(town, current)
    town.do("ci", READ).close()
    town.do("eve", TRAIN)
    # What was decided under the older policy is asked of that policy again.
    told = town.do("eve", ExportEvidence(project="alpha", model="score", version="1"))
    for exported in (data, told):
        report = verify(exported, now=town.clock.at, pinned=town.ws.layout.pinned)
        assert [(d.action, d.allowed) for d in report.decisions] == [
            ("promote", True),
            ("deploy", True),
        ]
