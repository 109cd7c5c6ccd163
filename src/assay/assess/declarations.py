"""The facts that gates may ask of these assessments.

Each is a plain dict in the form of `assay.evidence.facts.FactDeclaration`.  Bounds are declared
rather than middles: a gate that asks for a bound is not passed by luck.
"""

from __future__ import annotations

from typing import Any

QUALITY = "https://assay.dev/evidence/quality/v1"
PRIVACY = "https://assay.dev/evidence/privacy-membership/v1"

_QUALITY_REMEDY = "assay model assess {model}@{version} --data {data} --project {project}"
_PRIVACY_REMEDY = (
    "assay model assess {model}@{version} --data {data} --train {training} --project {project}"
)


def _fact(
    name: str, type_: str, path: str, worse: str, description: str, seconds: int
) -> dict[str, Any]:
    private = name.startswith("privacy.")
    return {
        "name": name,
        "type": type_,
        "predicate_type": PRIVACY if private else QUALITY,
        "path": path,
        "worse": worse,
        "order": [],
        "description": description,
        "remedy": _PRIVACY_REMEDY if private or "gap" in name else _QUALITY_REMEDY,
        "seconds": seconds,
    }


DECLARATIONS: list[dict[str, Any]] = [
    _fact("quality.rows", "long", "rows", "lower", "Rows that the model was assessed on.", 10),
    _fact("quality.auc", "decimal", "auc.value", "lower", "AUC on rows not trained on.", 10),
    _fact(
        "quality.auc_lower",
        "decimal",
        "auc.lower",
        "lower",
        "Lower bound of the AUC (two-sided 95 %, DeLong).",
        10,
    ),
    _fact(
        "quality.accuracy_lower",
        "decimal",
        "accuracy.lower",
        "lower",
        "Lower bound of the accuracy at the threshold (two-sided 95 %, Wilson).",
        10,
    ),
    _fact(
        "quality.brier_upper",
        "decimal",
        "brier.upper",
        "higher",
        "Upper bound of the Brier score (two-sided 95 %).",
        10,
    ),
    _fact(
        "quality.lift_lower",
        "decimal",
        "lift.auc.lower",
        "lower",
        "Lower bound of the AUC gained over the prior; above 0 the model ranks better than chance.",
        10,
    ),
    _fact(
        "quality.skill_lower",
        "decimal",
        "lift.log_loss.lower",
        "lower",
        "Lower bound of the log loss (nats) saved over the prior; above 0 probabilities inform.",
        10,
    ),
    _fact(
        "quality.champion_lift_lower",
        "decimal",
        "champion.auc.lower",
        "lower",
        "Lower bound of the AUC gained over the reigning model on the same rows (paired).",
        20,
    ),
    _fact(
        "quality.gap_upper",
        "decimal",
        "gap.auc.upper",
        "higher",
        "Upper bound of the AUC lost from training rows to others.",
        20,
    ),
    _fact(
        "quality.slice_auc_lower",
        "decimal",
        "slices.worst.auc_lower",
        "lower",
        "Lowest lower bound of the AUC in any slice of a sensitive column of 50 rows or more.",
        20,
    ),
    _fact(
        "privacy.members",
        "long",
        "rows.members",
        "lower",
        "Training rows that membership inference was tried on.",
        60,
    ),
    _fact(
        "privacy.others",
        "long",
        "rows.others",
        "lower",
        "Other rows that membership inference was tried on.",
        60,
    ),
    _fact(
        "privacy.auc_upper",
        "decimal",
        "auc_upper",
        "higher",
        "Upper bound of the AUC of the best membership attack that was run.",
        60,
    ),
    _fact(
        "privacy.loss_auc_upper",
        "decimal",
        "loss.auc.upper",
        "higher",
        "Upper bound of the AUC of the loss attack (Yeom et al. 2018).",
        60,
    ),
    _fact(
        "privacy.rmia_auc_upper",
        "decimal",
        "rmia.auc.upper",
        "higher",
        "Upper bound of the AUC of RMIA (Zarifzadeh et al. 2024); absent when it was not run.",
        60,
    ),
]
