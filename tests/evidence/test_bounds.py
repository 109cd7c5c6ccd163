"""What a plan of changes lets pass, and that each single thing that is not shown closes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from .planned import (
    ARTIFACT,
    LOG,
    PROJECT,
    SERVED,
    TEST,
    Said,
    World,
    day,
    digest,
    world,
)

Change = Callable[[World], None]


def test_what_is_shown_whole_is_within_and_has_won() -> None:
    made = world()
    found = made.judged()
    assert found is not None
    assert found.outside == []
    assert found.unbeaten == []
    assert found.context() == {"approvals": 2, "within": True, "won": True}
    assert found.champion == "1"
    assert {a["actor"] for a in found.approvals} == {"id-ann", "id-abe"}


def test_a_version_that_names_no_retraining_has_no_plan() -> None:
    made = world()
    del made.said["candidate"]
    assert made.judged() is None


def test_a_version_without_anything_to_serve_has_no_plan() -> None:
    made = world()
    made.version.served = None
    assert made.judged() is None


def test_a_retraining_without_a_plan_is_under_none() -> None:
    made = world()
    made.said["candidate"].predicate["plan"] = ""
    assert made.judged() is None


def test_the_same_bytes_under_another_name_are_under_no_plan() -> None:
    made = world()
    made.version.version = "3"
    assert made.judged() is None


def test_what_was_looked_at_is_told_so_that_a_bundle_can_hold_it() -> None:
    made = world()
    found = made.judged()
    assert found is not None
    assert found.looked == made.looked
    assert {SERVED, ARTIFACT, TEST, made.said["plan"].predicate["digest"]} <= found.looked


def test_of_what_was_looked_at_the_statements_alone_give_the_same_answer() -> None:
    made = world()
    made.said["other"] = Said("note", "x", {"y": digest("y")}, {}, day(3))
    whole = made.judged()
    assert whole is not None
    kept = {
        name: said for name, said in made.said.items() if set(said.subject.values()) & whole.looked
    }
    assert "other" not in kept
    made.said = kept
    again = made.judged()
    assert again is not None
    assert again.context() == whole.context()


# -- one thing at a time ---------------------------------------------------------------------------


def at(name: str, *path: str | int, to: Any) -> Change:
    """Put something else in one place of one statement."""

    def change(made: World) -> None:
        where: Any = made.said[name].predicate
        for part in path[:-1]:
            where = where[part]
        where[path[-1]] = to

    return change


def detail(name: str, value: Any) -> Change:
    return lambda made: made.version.details.__setitem__(name, value)


def needs(name: str, step: str, value: str) -> Change:
    """Put another digest among the dependencies of a step."""

    def change(made: World) -> None:
        build = made.said[step].predicate["buildDefinition"]
        for need in build["resolvedDependencies"]:
            if need["name"] == name:
                need["digest"]["sha256"] = digest(value).removeprefix("sha256:")
                return

    return change


def fact(name: str, value: Any) -> Change:
    def change(made: World) -> None:
        made.facts["quality"][name] = value

    return change


def no_fact(name: str) -> Change:
    return lambda made: made.facts["quality"].pop(name)


def decimal(text: str) -> dict[str, Any]:
    return {"__extn": {"fn": "decimal", "arg": text}}


BUILD = ("buildDefinition",)
OUTSIDE: dict[str, Change] = {
    "the same bytes were assessed under another name": lambda m: setattr(
        m.said["quality"], "subject", {"other@1.onnx": SERVED}
    ),
    "it was assessed on other rows than were held out": detail("tested_on", LOG),
    "the plan is for another model": lambda m: setattr(m.version, "name", "other"),
    "it is promoted too late": lambda m: setattr(m, "now", day(101)),
    "the retraining began too late": lambda m: setattr(m.said["begun"], "at", day(101)),
    "another kind of alert": at("begun", "trigger", to="quality"),
    "a person began it without saying why": at("begun", "trigger", to="person"),
    "the retraining that it names never began": at("begun", "id", to="other"),
    "nothing was collected for it": at("collected", "id", to="other"),
    "more rows of the log than allowed": at("collected", "from", to=day(-30)),
    "another stretch than was written down": at("begun", "from", to=day(11)),
    "rows of the future": lambda m: setattr(m.said["collected"], "at", day(39)),
    "too few rows": at("collected", "rows", to=499),
    "a parameter over its most": at("run", "parameters", "leaves", to=65),
    "a parameter under its least": at("run", "parameters", "leaves", to=3),
    "a parameter that is not a number": at("run", "parameters", "leaves", to="8"),
    "another fixed parameter": at("run", "parameters", "kind", to="forest"),
    "a parameter that the plan does not have": at("run", "parameters", "depth", to=2),
    "other rows than were collected": at("run", "parameters", "dataset", to="score-best"),
    "another run": at("run", "run", to="run-2"),
    "another pipeline": at("run", "pipeline", to="other:train"),
    "another seed": at("run", "seed", to=8),
    "steps on another machine": at("run", "executor", to="ray"),
    "other parameters were announced": at("begun", "parameters", "leaves", to=9),
    "other code trained it": needs("code", "fit", "other"),
    "other libraries trained it": needs("environment", "fit", "other"),
    "other code split the rows": needs("code", "split", "other"),
    "rows of unknown origin": needs("input", "split", "somewhere"),
    "a model of unknown origin": needs("input", "fit", "somewhere"),
    "a step that may use the network": at(
        "fit", *BUILD, "internalParameters", "options", "ports", to=[443]
    ),
    "a step that was given a secret": at(
        "split", *BUILD, "internalParameters", "options", "variables", to=["TOKEN"]
    ),
    "a step that was not confined": at("fit", "assay_isolation", to="limits"),
    "altered libraries": at("fit", "assay_environment", to="altered"),
    "a step that ran elsewhere": at("split", "assay_executor", "name", to="ray"),
    "a step of another pipeline": at(
        "split", *BUILD, "externalParameters", "pipeline", to="other:train"
    ),
    "another run made the bytes": at("fit", "runDetails", "metadata", "invocationId", to="run-2"),
    "nobody saw it made": detail("provenance", "declared"),
    "it names no run": detail("run", ""),
    "it names another build": detail("build", digest("other")),
    "it is said to be trained on something else": detail("trained_on", digest("other")),
    "a threshold outside": detail("threshold", 0.61),
    "another label": detail("label", "z"),
    "another positive class": detail("positive", 0),
    "a truth value for a class": detail("positive", True),
    "another purpose": detail("purpose", "marketing"),
    "fewer sensitive columns": detail("sensitive", []),
    "another column left out": detail("leave_out", ["y", "a"]),
    "another format": detail("format", "joblib"),
    "another kind": detail("kind", "regressor"),
    "another class": detail("classes", [0, 1, 2]),
    "another feature": detail("features", ["a", "b", "c"]),
    "assessed on other rows": at("quality", "datasets", "data", "content", to=digest("easy rows")),
    "assessed on what it was trained on": at(
        "quality", "datasets", "data", "content", to=digest("train")
    ),
    "too small an AUC": fact("auc_lower", decimal("0.6999")),
    "too few rows to judge by": fact("rows", 299),
    "an unknown AUC": no_fact("auc_lower"),
    "an AUC that is text": fact("auc_lower", "0.9"),
    "an unknown number of rows": no_fact("rows"),
}
UNBEATEN: dict[str, Change] = {
    "asked by somebody's own rules": at("challenge", "retraining", to=""),
    "asked by the rules of another retraining": at("challenge", "retraining", to="other"),
    "it did not win": at("challenge", "won", to=False),
    "something like won": at("challenge", "won", to=1),
    "against another version": at("challenge", "champion", "version", to="0"),
    "another version": at("challenge", "challenger", "version", to="3"),
    "other bytes": at("challenge", "challenger", "digest", to=digest("other")),
    "another model": at("challenge", "name", to="other"),
    "by luck": at("challenge", "alpha", to=0.05),
    "with too little money": at("challenge", "log_e", to=4.5),
    "by another loss": at("challenge", "loss", to="zero_one"),
    "by less than is asked for": at("challenge", "improvement", to=0.0),
    "on too few rows": at("challenge", "rows", to=199),
    "on early labels": at("challenge", "horizon", to="47h"),
    "on rows it was trained on": at("challenge", "from", to=day(39.9)),
    "on rows the champion was trained on": at("challenge", "champion", "until", to=day(41)),
    "with rows gathered later than said": at("challenge", "challenger", "until", to=day(39)),
    "no slice": at("challenge", "slices", to=[]),
    "harm to a slice": at("challenge", "slices", 1, "harm", "upper", to=0.0501),
    "harm that is no number": at("challenge", "slices", 1, "harm", "upper", to=None),
    "too little known of a slice": at("challenge", "slices", 0, "rows", to=99),
}


@pytest.mark.parametrize("what", OUTSIDE)
def test_any_single_thing_that_is_not_as_the_plan_says_is_outside(what: str) -> None:
    made = world()
    OUTSIDE[what](made)
    found = made.judged()
    if found is None:
        return  # It names no plan at all.
    assert not found.within, what


@pytest.mark.parametrize("what", UNBEATEN)
def test_any_single_thing_about_the_challenge_that_is_not_as_the_plan_says_has_not_won(
    what: str,
) -> None:
    made = world()
    UNBEATEN[what](made)
    found = made.judged()
    assert found is not None
    assert not found.won, what


def test_slices_of_other_columns_do_not_stand_for_those_of_the_plan() -> None:
    made = world()
    for part in made.said["challenge"].predicate["slices"]:
        part["column"] = "age"
    found = made.judged()
    assert found is not None
    assert "sex" in "".join(found.unbeaten)


# -- one statement at a time -----------------------------------------------------------------------

NAMES = list(world().said)


@pytest.mark.parametrize("name", NAMES)
def test_without_any_one_statement_it_is_closed(name: str) -> None:
    made = world()
    del made.said[name]
    assert not made.open()


@pytest.mark.parametrize("name", NAMES)
def test_a_statement_signed_by_somebody_else_does_not_count(name: str) -> None:
    made = world()
    made.said[name].by = "sam"
    # Of state that can deny, the fold already sees to who signed: it is no evidence else.
    assert made.open() == (name == "old")


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("ann", "abe", "old")])
def test_a_statement_of_another_producer_does_not_count(name: str) -> None:
    made = world()
    made.said[name].producer = "somebody/1"
    assert not made.open()


@pytest.mark.parametrize("name", NAMES)
def test_a_statement_of_another_project_does_not_count(name: str) -> None:
    made = world()
    made.said[name].project = "beta"
    assert not made.open()


@pytest.mark.parametrize("name", NAMES)
def test_a_statement_that_somebody_superseded_does_not_count(name: str) -> None:
    made = world()
    assert made.open()
    (index,) = [i for i, n in enumerate(made.said) if n == name]
    made.state.supersessions = {PROJECT: [made.evidence()[index].envelope_digest]}
    assert not made.open()


@pytest.mark.parametrize("name", NAMES)
def test_a_statement_that_cannot_be_read_closes_it_and_breaks_nothing(name: str) -> None:
    for broken in ({}, {"stage": None, "plan": None}, {"datasets": [], "id": 3}):
        made = world()
        made.said[name].predicate = dict(broken)
        assert not made.open() or name == "old"


@pytest.mark.parametrize("name", NAMES)
def test_no_field_can_be_left_out_or_be_of_another_type_and_break_anything(name: str) -> None:
    """Whatever is taken away from a statement: there is an answer, and it opens nothing new."""
    for key in list(world().said[name].predicate):
        for value in (None, [], {}, "", -1):
            made = world()
            made.said[name].predicate[key] = value
            made.judged()
        made = world()
        del made.said[name].predicate[key]
        made.judged()
