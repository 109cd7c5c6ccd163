"""``assay monitor baseline``: what is measured, what each knob means, and what is refused."""

from __future__ import annotations

from typing import Any

BASELINE = ("monitor", "baseline", "credit@1", "--data", "holdout")


def test_a_baseline_says_its_figures_and_what_each_knob_means(registered: Any) -> None:
    done = registered.ok(*BASELINE, "--slice", "age", "--false-alarms", "2/year", by="alice")
    said = " ".join(done.out.split())
    assert "what is normal for credit@1, by 500 rows of holdout" in said
    for figure in ("accuracy: 0.", "auc: 0.", "f1: 0.", "brier: 0."):
        assert figure in said
    assert "slices: 5" in said
    assert "--window: what came within one day is looked at together" in said
    assert "--false-alarms: at most 2 false alarms a year, over all features" in said
    assert "--smallest-shift: a share of 50 % may move to 55.0 %" in said
    assert "--horizon: labels are waited for during 30 days" in said
    assert "--slice: each of age is watched by itself as well" in said
    assert "--label-cap: at most 1,000,000 labels a day" in said


def test_for_machines_it_is_the_statement_s_predicate(registered: Any) -> None:
    done = registered.ok(*BASELINE, "--window", "5000rows", "--json", by="alice").json
    assert (done["endpoint"], done["version"], done["rows"]) == ("credit", "1", 500)
    assert done["plan"]["window"] == {"rows": 5000}
    assert done["layout"]["format"] == "assay/profile-layout/v1"
    assert done["profile"]["format"] == "assay/profile/v1"
    assert done["training_profile"]["rows"] == 600


def test_without_registered_test_data_it_says_what_to_name(registered: Any) -> None:
    done = registered("monitor", "baseline", "credit@1", by="alice")
    assert done.code == 2
    assert "registered without --test" in done.err
    assert "--data DATASET" in done.err


def test_training_rows_and_nonsense_are_refused_in_one_line_with_a_remedy(registered: Any) -> None:
    for words, said in (
        (("--data", "loans"), "was trained on loans"),
        (("--false-alarms", "never"), "1/year"),
        (("--window", "tomorrow"), "1d, 12h or 5000rows"),
        (("--slice", "colour"), "columns: age"),
    ):
        done = registered(*BASELINE, *words, by="alice")
        assert done.code == 2, words
        assert said in " ".join(done.err.split())
        assert "Traceback" not in done.err


def test_an_approver_measures_nothing(registered: Any) -> None:
    done = registered(*BASELINE, by="bob")
    assert done.code == 3
    assert "monitor" not in registered.ok("model", "show", "credit@1", by="alice").out
