"""The headline of a passport is what the gates read, and no better."""

from __future__ import annotations

from workspace.town import Town, dataset, numbers, write_table

from assay.actions.assessment import AssessModel
from assay.actions.passports import build
from assay.actions.reading import ReadEvidence
from assay.actions.release import Supersede
from assay.evidence import envelope as dsse
from assay.evidence.state import kind_of


def headline(town: Town) -> str:
    view = town.do("una", ReadEvidence(project="alpha"))
    made = build(town.ws, town.who("una"), view, project="alpha", model="score", version="1")
    return "\n".join(made.summary)


def assess_on_easy_rows(town: Town) -> None:
    """Rows that are far from where the label turns."""
    easy = [r for r in numbers(2000, 4) if (r[0] + r[1] / 2 > 0.75) == bool(r[3])]
    write_table(town.repo / "easy.csv", easy)
    town.do("sam", dataset(town.repo, "easy"))
    town.do("eve", AssessModel(project="alpha", model="score", version="1", data="easy"))


def test_an_assessment_on_friendlier_rows_does_not_better_the_headline(town: Town) -> None:
    before = headline(town)
    assess_on_easy_rows(town)
    assert headline(town) == before
    first, second = (s.predicate["auc"]["lower"] for s in town.statements("quality"))
    assert first < second


def test_what_was_superseded_is_no_headline(town: Town) -> None:
    assess_on_easy_rows(town)
    town.ws.view.follow()
    quality = [
        dsse.envelope_digest(envelope)
        for leaf in town.ws.view.leaves()
        if leaf.envelope is not None
        and kind_of((envelope := dsse.decode(leaf.envelope)).statement()) == "quality"
    ]
    for envelope in quality:
        supersede = Supersede(
            project="alpha", model="score", version="1", envelope=envelope, reason="wrong rows"
        )
        town.do("ann", supersede)
    assert "has not been measured" in headline(town)
