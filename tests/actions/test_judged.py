"""What a model is judged on is not what it was trained on, however the rows were registered.

Each of these opened every gate but the approvals for a tree that knows its rows by heart.
"""

from __future__ import annotations

import joblib
import pytest
from workspace.town import Town, at_point, dataset, model, numbers, write_table

from assay.actions.assessment import AssessModel
from assay.actions.release import Promote
from assay.assess.assessors import PRIVACY
from assay.errors import Conflict, Usage
from assay.formats.schema import Column
from assay.plugins import Assessment, Rows


def judge(data: str, train: str = "train", version: str = "1") -> AssessModel:
    return AssessModel(project="alpha", model="score", version=version, data=data, train=train)


def register(town: Town, name: str, rows: list[list[float]]) -> None:
    write_table(town.repo / f"{name}.csv", rows)
    town.do("sam", dataset(town.repo, name))


def refused(town: Town, action: AssessModel, code: str) -> None:
    size = len(town.statements("quality"))
    with pytest.raises(Usage) as caught:
        town.do("eve", action)
    assert caught.value.code == f"usage.assess.{code}"
    assert len(town.statements("quality")) == size


def test_training_rows_in_another_order_are_not_others(town: Town) -> None:
    register(town, "copy", numbers(600, 1)[::-1])
    refused(town, judge("copy"), "same_data")


def test_a_tenth_of_training_rows_among_others_is_too_much(town: Town) -> None:
    register(town, "mixed", [*numbers(500, 5), *numbers(600, 1)[:60]])
    refused(town, judge("mixed"), "same_data")


def test_the_training_file_under_another_name_is_not_judged_on(town: Town) -> None:
    town.do("sam", dataset(town.repo, "copy", file="train.csv"))
    refused(town, judge("copy", "test"), "same_data")
    refused(town, judge("copy", ""), "same_data")


def test_other_rows_do_not_stand_in_for_what_it_was_trained_on(town: Town) -> None:
    register(town, "spare", numbers(600, 9))
    refused(town, judge("test", "spare"), "other_train")


def test_the_name_of_the_training_data_registered_anew_names_other_rows(town: Town) -> None:
    before = town.ws.view.dataset("alpha", "train").content
    register(town, "train", numbers(600, 9))
    refused(town, judge("test"), "other_train")
    assert town.ws.view.version("alpha", "score", "1").details["trained_on"] == before


def test_former_training_data_under_another_name_is_not_judged_on(town: Town) -> None:
    register(town, "copy", numbers(600, 1))
    register(town, "train", numbers(600, 9))
    refused(town, judge("copy", ""), "same_data")


@pytest.mark.parametrize("name", ["train", "test"])
def test_data_registered_anew_meanwhile_ends_the_assessment(town: Town, name: str) -> None:
    def meanwhile() -> None:
        register(town, name, numbers(600, 9))

    size = len(town.statements("quality"))
    with at_point("door.decided", meanwhile), pytest.raises(Conflict):
        town.do("eve", judge("test"))
    assert len(town.statements("quality")) == size


def test_a_tree_that_knows_its_rows_by_heart_stays_out(town: Town) -> None:
    from sklearn.tree import DecisionTreeClassifier

    rows = numbers(600, 1)
    tree = DecisionTreeClassifier().fit([r[:3] for r in rows], [int(r[3]) for r in rows])
    joblib.dump(tree, town.repo / "tree.joblib")
    town.do("eve", model(town.repo, path=str(town.repo / "tree.joblib")))
    register(town, "copy", [*rows[1:], *numbers(1, 5)])
    refused(town, judge("copy", version="2"), "same_data")
    found = town.do("eve", judge("test", version="2"))["found"]
    assert found["quality"]["gap"]["auc"]["upper"] > 0.1
    asked = Promote(project="alpha", model="score", version="2", stage="production")
    assert {"gate.gap", "gate.privacy"} <= set(town.refused("eve", asked))


def test_an_assessment_says_how_many_rows_were_shared(town: Town) -> None:
    (quality,) = town.statements("quality")
    assert quality.predicate["shared_rows"] == {"share": 0.0, "expected": 0.0}


def test_what_it_was_trained_on_need_not_be_named_again(town: Town) -> None:
    register(town, "more", numbers(500, 7))
    found = town.do("eve", judge("more", ""))
    assert found["datasets"]["train"]["name"] == "train"
    assert "gap" in found["found"]["quality"]
    served = town.ws.view.version("alpha", "score", "1").served
    assert served is not None
    assert "gap_upper" in town.ws.view.facts("alpha", served).values["quality"]


@pytest.mark.parametrize("seed", [-1, 2**53])
def test_a_seed_that_is_none_is_refused_before_anything_is_decided(town: Town, seed: int) -> None:
    size = town.size
    with pytest.raises(Usage):
        town.do(
            "eve", AssessModel(project="alpha", model="score", version="1", data="test", seed=seed)
        )
    assert town.size == size


@pytest.mark.parametrize("text", ["\udcff.csv", "\ud800"])
def test_text_that_nobody_can_sign_is_refused(town: Town, text: str) -> None:
    size = town.size
    with pytest.raises(Usage, match="path holds text that is not UTF-8"):
        town.do("sam", dataset(town.repo, "odd", file=text))
    assert town.size == size


def test_a_mistake_while_doing_leaves_no_open_decision(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    town.approve("ann", "abe")
    monkeypatch.setattr(Promote, "apply", broken)
    with pytest.raises(ZeroDivisionError):
        town.promote()
    monkeypatch.undo()
    assert town.ws.view.follow().open == {}
    assert town.reopen().recover() == []
    assert town.ws.view.follow().aliases == {}


def cut(town: Town, name: str, seed: int, columns: dict[str, int]) -> None:
    """Register rows of some of the columns, each known by a name of its own."""
    lines = [",".join(columns)]
    lines += [",".join(str(row[at]) for at in columns.values()) for row in numbers(600, seed)]
    (town.repo / f"{name}.csv").write_text("\n".join(lines) + "\n")
    town.do("sam", dataset(town.repo, name))


WITH_ID = {"a": 0, "b": 1, "c": 2, "number": 2, "y": 3}


def test_held_out_rows_that_lack_columns_are_refused_when_a_model_is_registered(
    town: Town,
) -> None:
    cut(town, "narrow", 5, {"b": 1, "y": 3})
    size = town.size
    with pytest.raises(Usage) as caught:
        town.do("eve", model(town.repo, test="narrow"))
    assert caught.value.code == "usage.model.columns"
    assert "narrow lacks columns of train: a, c" in caught.value.message
    assert "--leave-out" in caught.value.remedy
    assert town.size == size


def test_a_column_of_the_training_rows_alone_can_be_left_out(town: Town) -> None:
    cut(town, "wide", 1, WITH_ID)
    with pytest.raises(Usage, match=r"lacks columns of wide: number$"):
        town.do("eve", model(town.repo, train="wide"))
    made = town.do("eve", model(town.repo, train="wide", leave_out=("number",)))
    assert made["served"], made["details"]
    found = town.do("eve", judge("test", "wide", made["version"]))["found"]
    assert set(found) == {"quality", "privacy-membership"}


def test_a_column_left_out_is_in_one_of_the_datasets(town: Town) -> None:
    with pytest.raises(Usage) as caught:
        town.do("eve", model(town.repo, leave_out=("cc",)))
    assert caught.value.code == "usage.model.column"


def test_rows_to_judge_on_that_lack_columns_are_refused_before_anything_is_decided(
    town: Town,
) -> None:
    cut(town, "narrow", 5, {"a": 0, "b": 1, "y": 3})
    size = town.size
    refused(town, judge("narrow"), "columns")
    refused(town, judge("narrow", ""), "columns")
    assert town.size == size


def test_an_assessor_of_tables_that_do_not_match_says_which_columns_are_missing() -> None:
    column = Column("a", "float", [1.0, 2.0])
    given = Assessment(
        test=Rows([column], [0, 1], {}),
        train=Rows([column, Column("b", "float", [1.0, 2.0])], [0, 1], {}),
        classes=[0, 1],
        positive=1,
        threshold=0.5,
        seed=0,
        score=lambda _: pytest.fail("asked for scores"),
        champion=None,
        shadow=None,
        progress=lambda _: None,
    )
    with pytest.raises(Usage, match=r"trained on: b$"):
        PRIVACY.assess(given)
