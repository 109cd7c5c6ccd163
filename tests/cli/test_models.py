"""Taking in models: good ones, hostile ones, ones that cannot be served."""

from __future__ import annotations

import pickle
import shutil
import subprocess
from pathlib import Path
from typing import Any

DECLARED = (
    *("--owner", "x", "--origin", "x", "--licence", "x", "--purpose", "x"),
    *("--legal-basis", "contract", "--residency", "local"),
)


class Evil:
    def __reduce__(self) -> Any:
        return subprocess.call, ("touch owned",)


def test_a_registration_says_in_words_what_became_of_the_model(
    registered: Any, files: Path
) -> None:
    done = registered(
        *("model", "register", files / "model.skops", "--name", "again"),
        *("--purpose", "credit-scoring", "--train", "loans", "--label", "default"),
        by="alice",
    )
    assert done.code == 0
    for said in ("registered again@1", "format: skops", "scan: clean", "parity: decides as"):
        assert said in done.out
    assert "isolation level" in done.out
    assert "assay model check again@1 --for production --project fraud" in done.out


def test_a_model_that_would_run_code_is_quarantined_with_the_reasons(registered: Any) -> None:
    (registered.ws / "evil.pkl").write_bytes(pickle.dumps(Evil()))
    done = registered(
        *("model", "register", "evil.pkl", "--name", "evil", "--purpose", "credit-scoring"),
        *("--train", "loans", "--label", "default"),
        by="alice",
    )
    assert done.code == 4
    assert "quarantined" in done.out
    assert "subprocess" in done.out
    assert "malicious" in done.out
    assert not (registered.ws / "owned").exists()
    assert registered("model", "scan", "evil@1", by="alice").code == 4
    assert "quarantined" in registered.ok("model", "list", by="alice").out
    checked = registered("model", "check", "evil@1", by="alice")
    assert checked.code == 3
    assert "✗ gate.scan" in checked.out
    assert "✗ gate.servable" in checked.out
    page = registered.ok("passport", "evil@1", "--json", by="alice").json
    assert page["served"] == ""
    assert {claim["title"] for claim in page["missing"]} >= {"gate.scan", "gate.servable"}
    assert registered("serve", "evil@1", by="alice").code == 3
    assert registered("approve", "evil@1", by="bob").code != 0
    registered.ok("export", "evil@1", by="alice")
    assert "evil@1" in registered.ok("verify", "evil-1.assay").out
    told = registered(
        *("model", "register", "evil.pkl", "--name", "evil", "--purpose", "x", "--json"),
        by="alice",
    )
    assert told.code == 4
    assert told.json["scan"]["verdict"] == "malicious"


def test_a_model_that_cannot_be_served_says_why_and_which_way_leads_on(registered: Any) -> None:
    import numpy as np
    import safetensors.numpy

    safetensors.numpy.save_file({"w": np.ones(3)}, registered.ws / "w.safetensors")
    done = registered(
        *("model", "register", "w.safetensors", "--name", "bare", "--train", "loans"),
        *("--label", "default", "--purpose", "credit-scoring"),
        by="alice",
    )
    assert done.code == 1
    assert "cannot be served" in done.out
    assert "→" in done.out
    shown = registered.ok("model", "show", "bare@1", by="alice").out
    assert "served:     nothing" in shown
    assert "why not: " in shown


def test_a_model_that_needs_rows_to_be_converted_is_refused_without_them(
    registered: Any, files: Path
) -> None:
    done = registered(
        *("model", "register", files / "model.skops", "--name", "bare"),
        *("--purpose", "credit-scoring"),
        by="alice",
    )
    assert done.code == 2
    assert "--train DATASET" in done.err
    assert "bare" not in registered.ok("model", "list", by="alice").out


def test_weights_without_a_network_are_not_asked_for_rows_that_would_not_help(
    registered: Any,
) -> None:
    import numpy as np
    import safetensors.numpy

    safetensors.numpy.save_file({"w": np.ones(3)}, registered.ws / "w.safetensors")
    done = registered(
        *("model", "register", "w.safetensors", "--name", "bare", "--purpose", "x"), by="alice"
    )
    assert done.code == 1
    assert "weights without the computation" in done.out
    assert "--train" not in done.out


def test_a_label_that_the_model_never_gives_is_refused_when_it_is_registered(
    registered: Any, files: Path
) -> None:
    done = registered(
        *("model", "register", files / "model.skops", "--name", "again"),
        *("--purpose", "credit-scoring", "--train", "loans", "--label", "default"),
        *("--positive", "7"),
        by="alice",
    )
    assert done.code == 2
    assert "'7' is none of the labels" in done.err
    assert "0, 1" in done.err
    assert "again" not in registered.ok("model", "list", by="alice").out


def test_a_model_cannot_be_registered_to_be_judged_on_what_it_was_trained_on(
    registered: Any, files: Path
) -> None:
    declared = ("--purpose", "credit-scoring", "--train", "loans", "--label", "default")
    done = registered(
        *("model", "register", files / "model.skops", "--name", "again", *declared),
        *("--test", "loans"),
        by="alice",
    )
    assert done.code == 2
    assert "same rows" in done.err


def test_a_column_that_is_not_there_is_answered_with_those_most_like_it(
    registered: Any, files: Path
) -> None:
    def named(label: str) -> str:
        options = ("--purpose", "credit-scoring", "--train", "loans", "--label", label)
        done = registered(
            *("model", "register", files / "model.skops", "--name", "again", *options), by="alice"
        )
        assert done.code == 2
        return done.err

    assert "did you mean default?" in named("Default")
    assert "columns: income, debt" in named("zzz")


def test_a_file_or_folder_that_cannot_be_taken_in_is_refused_before_anything_is_recorded(
    registered: Any,
) -> None:
    before = registered.ok("verify", ".", "--json").json["checkpoint_size"]
    declared = ("--purpose", "credit-scoring", "--name", "x")
    for args in (("model", "register", "nope.skops", *declared), ("data", "register", "nope.csv")):
        done = registered(*args, *(DECLARED if args[0] == "data" else ()), by="alice")
        assert done.code == 1
        assert "does not exist" in done.err
    assert registered("data", "register", ".", *DECLARED, by="alice").code == 2
    assert registered.ok("verify", ".", "--json").json["checkpoint_size"] == before


def test_an_assessment_is_of_what_was_registered_unless_told_otherwise(
    registered: Any, files: Path
) -> None:
    left_out = registered("model", "assess", "credit@1", by="alice")
    assert left_out.code == 2
    assert "--data DATASET" in left_out.err
    registered.ok(
        *("model", "register", files / "model.skops", "--name", "again"),
        *("--purpose", "credit-scoring", "--train", "loans", "--test", "holdout"),
        *("--label", "default"),
        by="alice",
    )
    done = registered.ok("model", "assess", "again@1", "--json", by="alice").json
    assert done["datasets"]["data"]["name"] == "holdout"
    assert done["datasets"]["train"]["name"] == "loans"
    assert "gap" in done["found"]["quality"]
    # One look at the held-out rows alone would leave the gap unknown for good.
    registered.ok("model", "assess", "again@1", "--data", "holdout", by="alice")
    gates = registered("model", "check", "again@1", "--json", by="alice").json["gates"]
    assert next(gate for gate in gates if gate["gate"] == "gate.gap")["passed"]


def test_what_cannot_be_served_is_not_sent_to_be_assessed(registered: Any) -> None:
    (registered.ws / "evil.pkl").write_bytes(pickle.dumps(Evil()))
    registered(
        *("model", "register", "evil.pkl", "--name", "evil", "--purpose", "credit-scoring"),
        by="alice",
    )
    checked = registered("model", "check", "evil@1", by="alice")
    assert checked.code == 3
    assert "model assess" not in checked.out
    assert "it cannot be served: " in checked.out
    assert "→ save the model again" in checked.out
    page = registered.ok("passport", "evil@1", "--json", by="alice").json
    assert "quarantined" in " ".join(page["summary"])
    assert not [c for c in page["missing"] if "supplied by" in c["source"]]


def test_a_name_out_of_a_hostile_archive_is_cut_to_a_line(registered: Any) -> None:
    import zipfile

    with zipfile.ZipFile(registered.ws / "odd.zip", "w") as archive:
        archive.writestr("n" * 4000 + ".pkl", pickle.dumps(Evil()))
    done = registered(
        *("model", "register", "odd.zip", "--name", "odd", "--purpose", "credit-scoring"),
        by="alice",
    )
    assert done.code == 4
    assert max(len(line) for line in done.out.splitlines()) < 400


def test_a_path_that_goes_up_is_taken_as_typed(registered: Any, files: Path) -> None:
    shutil.copy(files / "loans.csv", registered.folder / "up.csv")
    registered.ok(
        *("data", "register", "../up.csv", "--owner", "x", "--origin", "x", "--licence", "x"),
        *("--purpose", "credit-scoring", "--legal-basis", "not-personal", "--residency", "local"),
        by="alice",
    )
    assert "up" in registered.ok("data", "list", by="alice").out


def test_assessing_needs_rows_that_the_model_was_not_trained_on(registered: Any) -> None:
    done = registered("model", "assess", "credit@1", "--data", "loans", by="alice")
    assert done.code == 2
    assert "held out" in done.err


def test_a_held_dataset_is_read_by_nobody(registered: Any) -> None:
    registered.ok("data", "hold", "holdout", "--reason", "erasure request", by="bob")
    assert "on hold" in registered.ok("data", "list", by="alice").out
    done = registered("model", "assess", "credit@1", "--data", "holdout", by="alice")
    assert done.code == 3
    assert "data.hold" in done.err
    registered.ok("data", "release", "holdout", "--reason", "done", by="bob")
    assert "on hold" not in registered.ok("data", "show", "holdout", by="alice").out
