"""Taking in models: good ones, hostile ones, ones that cannot be served."""

from __future__ import annotations

import pickle
import shutil
import subprocess
from pathlib import Path
from typing import Any


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
