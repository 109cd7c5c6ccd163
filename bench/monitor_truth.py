"""Do alarms tell the truth?  False alarms without drift, power and delay with it, beside others.

Run: ``python bench/monitor_truth.py [--histories 300] [--quick]``.  Peers live in environments of
their own below ``build/bench-venvs``; what cannot be installed is said and left out.

1. *False alarms*: how many of 300 histories without any drift (30 features, 60 days) have an alarm.
2. *Power and delay*: one feature of 30 shifts on day 11 and stays so; how many histories are found
   within 30 days, and after how many days in the median.
3. *Evidently*: that its rule as applied here is what Evidently itself computes.
4. *Census*: US census employment, reference 2015, three years of 12 windows: its natural drift, and
   a group that the reference did not have.
5. *CBPE*: estimated performance beside what came true, and beside NannyML's.
6. *Loss*: false alarms, power and delay of betting on labels.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _monitor_rules as rules
import numpy as np
import numpy.typing as npt
import polars as pl
from _monitor_rules import Alarms, History

from assay.monitor import profiles
from assay.monitor.detectors import cbpe, shift
from assay.monitor.detectors.betting import Losses, Risk, tolerated

BUILD = Path(__file__).parent.parent / "build"
VENVS = BUILD / "bench-venvs"
PEERS = {
    "evidently": ["evidently==0.7.23", "pandas<3", "pyarrow"],
    "nannyml": ["nannyml==0.13.1", "numpy<2.3", "pandas<3", "statsmodels", "pyarrow"],
}
ARL = 365.0
"""One false alarm a year, with a window a day."""
DAYS, SHIFTED, WITHIN = 60, 10, 30
ROWS = (200, 1_000, 10_000)
PSI = (0.01, 0.015, 0.05, 0.1, 0.2)
TOLERATED = 0.2
EVEN = np.full(16, 1 / 16)
CATEGORIES = np.array([0.4, 0.25, 0.15, 0.1, 0.07, 0.03])
KINDS = {f"n{i}": "ordered" for i in range(20)} | {f"c{i}": "category" for i in range(10)}

RULES: dict[str, Callable[[History], Alarms]] = {
    "assay, any shift": lambda history: rules.assay(history, ARL, 0.0),
    f"assay, shifts above {TOLERATED}": lambda history: rules.assay(history, ARL, TOLERATED),
    "Shiryaev-Roberts, averaged *": lambda history: rules.shiryaev_roberts(history, ARL),
    "backward e-values": lambda history: rules.backward(history, ARL),
    "Evidently: any column": rules.evidently_column,
    "Evidently: half the columns": rules.evidently_dataset,
    "PSI > 0.2": rules.psi_rule,
    "p < 0.05": rules.p_rule,
    "Benjamini-Hochberg a day": rules.bh_rule,
}


def history(rng: np.random.Generator, rows: int, reference: int, moved: Any = None) -> History:
    """30 features without drift; with `moved`, the shares of one of them after `SHIFTED` days."""

    def with_missing(counts: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        return np.concatenate([counts, np.zeros((*counts.shape[:-1], 1), np.int64)], axis=-1)

    before: dict[str, Any] = {}
    days: dict[str, Any] = {}
    for name, kind in KINDS.items():
        shares = EVEN if kind == "ordered" else CATEGORIES
        before[name] = with_missing(rng.multinomial(reference, shares))
        drawn = rng.multinomial(rows, shares, DAYS)
        if moved is not None and name == "n3":
            drawn[SHIFTED:] = rng.multinomial(rows, moved, DAYS - SHIFTED)
        days[name] = with_missing(drawn)
    return History(KINDS, before, days)


def tilted(psi: float) -> npt.NDArray[np.float64]:
    """Shares that lean to one end, by so much PSI."""
    low, high = 0.0, 5.0
    shares = EVEN
    for _ in range(60):
        tilt = (low + high) / 2
        shares = EVEN * np.exp(tilt * np.linspace(-1, 1, len(EVEN)))
        shares = shares / shares.sum()
        found = float(np.sum((shares - EVEN) * np.log(shares / EVEN)))
        low, high = (tilt, high) if found < psi else (low, tilt)
    return shares


def false_alarms(histories: int) -> None:
    print(f"\n1. Histories of {DAYS} days without drift that have an alarm, of {histories}\n")
    columns = [(reference, rows) for reference in (10_000, 50_000) for rows in ROWS]
    print(f"{'rule':32}" + "".join(f"{f'{rows:,}/day':>12}" for _, rows in columns))
    print(f"{'reference rows':32}" + "".join(f"{reference:>12,}" for reference, _ in columns))
    table: dict[str, list[float]] = {name: [] for name in RULES}
    for column in columns:
        rng = np.random.default_rng(list(column))
        count = dict.fromkeys(RULES, 0)
        for _ in range(histories):
            one = history(rng, column[1], column[0])
            for name, rule in RULES.items():
                count[name] += bool(rule(one).any())
        for name, found in count.items():
            table[name].append(found / histories)
    for name, shares in table.items():
        print(f"{name:32}" + "".join(f"{share:12.1%}" for share in shares))
    print("* not proven for more than one cut; normal approximation")


def power(histories: int) -> None:
    print(
        f"\n2. A shift on day {SHIFTED + 1} in 1 of 30 features, reference 10,000: found within "
        f"{WITHIN} days (share of {histories}), days until then (median)\n"
    )
    columns = [(psi, rows) for rows in ROWS for psi in PSI]
    print(f"{'rows a day':32}" + "".join(f"{rows:>10,}" for _, rows in columns))
    print(f"{'PSI':32}" + "".join(f"{psi:>10}" for psi, _ in columns))
    table: dict[str, list[str]] = {name: [] for name in RULES}
    for psi, rows in columns:
        rng = np.random.default_rng([rows, int(psi * 1000)])
        delays: dict[str, list[int]] = {name: [] for name in RULES}
        for _ in range(histories):
            one = history(rng, rows, 10_000, tilted(psi))
            for name, rule in RULES.items():
                when = np.flatnonzero(rule(one)[SHIFTED : SHIFTED + WITHIN])
                if len(when):
                    delays[name].append(int(when[0]) + 1)
        for name, found in delays.items():
            share = f"{len(found) / histories:.0%}"
            table[name].append(f"{share} {np.median(found):.0f}d" if found else share)
    for name, cells in table.items():
        print(f"{name:32}" + "".join(f"{cell:>10}" for cell in cells))
    print("(what cries wolf every day also 'finds' every shift: read this beside table 1)")


def environment(name: str) -> Path | None:
    """The Python of a peer's environment; None where it cannot be made."""
    folder = VENVS / name
    python = folder / "bin" / "python"
    if (folder / "made").exists():
        return python
    install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    for step in ([sys.executable, "-m", "venv", str(folder)], [*install, *PEERS[name]]):
        done = subprocess.run(step, capture_output=True, text=True)
        if done.returncode:
            print(f"  {name}: {(done.stderr.strip().splitlines() or ['?'])[-1][:200]}")
            return None
    (folder / "made").write_text("")
    return python


def ask(name: str, folder: Path) -> dict[str, Any] | None:
    """What a peer answers about the files in a folder."""
    python = environment(name)
    if python is None:
        return None
    script = Path(__file__).with_name("_monitor_peers.py")
    quiet = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "DO_NOT_TRACK": "1"}
    done = subprocess.run(
        [str(python), str(script), name, str(folder)],
        capture_output=True,
        text=True,
        env={**quiet, "NML_DISABLE_USAGE_LOGGING": "1"},
    )
    if done.returncode:
        print(f"  {name}: {(done.stderr.strip().splitlines() or ['?'])[-1][:200]}")
        return None
    return json.loads((folder / "answer.json").read_text())


def _rows(counts: dict[str, Any], kinds: dict[str, str]) -> pl.DataFrame:
    """A table with these counts, each column in an order of its own (which rules do not see)."""
    made: dict[str, Any] = {}
    for name, row in counts.items():
        cells = np.repeat(np.arange(len(row)), row)
        made[name] = (
            cells.astype(np.float64) if kinds[name] == "ordered" else [f"k{c}" for c in cells]
        )
    return pl.DataFrame(made)


def evidently(days: int) -> None:
    print("\n3. Evidently's rule as applied above, against Evidently's own report")
    rng = np.random.default_rng(11)
    worst, decisions, same = 0.0, 0, 0
    for rows in ROWS:
        one = history(rng, rows, 10_000, tilted(0.05))
        ours = rules.evidently_scores(one)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            _rows(one.reference, KINDS).write_parquet(folder / "reference.parquet")
            chosen = range(SHIFTED - days // 2, SHIFTED + days // 2)
            for day in chosen:
                _rows(one.day(day), KINDS).write_parquet(folder / f"window-{day:02}.parquet")
            answer = ask("evidently", folder)
        if answer is None:
            return
        for day, window in zip(chosen, answer["windows"], strict=True):
            for place, column in enumerate(KINDS):
                value, _, threshold = window["columns"][column]
                worst = max(worst, abs(value - ours[day, place]))
                decisions += 1
                same += (value >= threshold) == (ours[day, place] >= 0.1)
    print(
        f"   the same decision in {same:,} of {decisions:,} columns; largest difference of a "
        f"score {worst:.1e}"
    )


FEATURES = [
    *("AGEP", "SCHL", "MAR", "RELP", "DIS", "ESP", "CIT", "MIG", "MIL"),
    *("ANC", "NATIVITY", "DEAR", "DEYE", "DREM", "SEX", "RAC1P"),
]
GROUPS = {
    "deaf or hard of hearing": pl.col("DEAR").cast(pl.String) == "1",
    "Asian": pl.col("RAC1P").cast(pl.String) == "6",
    "born abroad": pl.col("NATIVITY").cast(pl.String) == "2",
    "65 and older": pl.col("AGEP") >= 65,
}


def census() -> tuple[pl.DataFrame, pl.DataFrame] | None:
    """Reference (2015) and three years of rows with labels, each year shuffled."""
    python = environment("nannyml")
    found = sorted((VENVS / "nannyml").rglob("employment_MA_reference.pq")) if python else []
    if not found:
        print("   left out: the census data comes with nannyml's wheel")
        return None
    path = str(found[0])
    later = pl.read_parquet(path.replace("reference", "analysis")).join(
        pl.read_parquet(path.replace("reference", "analysis_target")), on="id"
    )
    years = [later.filter(pl.col("year") == year) for year in (2016, 2017, 2018)]
    return pl.read_parquet(path), pl.concat(
        [year.sample(fraction=1, shuffle=True, seed=7) for year in years]
    )


def watched(
    reference: pl.DataFrame, windows: list[pl.DataFrame], tolerance: float
) -> list[shift.Reading]:
    layout = profiles.layout(reference.select(FEATURES))

    def counts(frame: pl.DataFrame) -> dict[str, Any]:
        return {
            c.name: c.vector() for c in profiles.measure(frame.select(FEATURES), layout).columns
        }

    kinds = {
        column.name: "ordered" if isinstance(column, profiles.Number) else "category"
        for column in layout.columns
    }
    return shift.run(counts(reference), map(counts, windows), kinds, arl=12, tolerance=tolerance)


def parts(frame: pl.DataFrame, number: int) -> list[pl.DataFrame]:
    return [frame[i * len(frame) // number : (i + 1) * len(frame) // number] for i in range(number)]


def natural_drift() -> None:
    print(
        "\n4. Census: reference 2015, 36 windows of 2016-2018 (about 5,800 rows), one false alarm "
        "a year of 12 windows"
    )
    data = census()
    if data is None:
        return
    reference, later = data
    test = reference.sample(fraction=0.3, shuffle=True, seed=1)
    windows = parts(later, 36)
    for tolerance in (0.0, 0.1, 0.15, TOLERATED):
        cells: list[str] = []
        for frame in (reference, test):
            readings = watched(frame, windows, tolerance)
            alarms = sum(reading.crossed for reading in readings)
            most = max(readings, key=lambda reading: reading.log_evidence)
            by = f" ({most.causes[0].feature})" if most.causes else ""
            cells.append(f"{alarms:2} alarms, most evidence {most.log_evidence:5.1f}{by}")
        print(f"   smallest shift {tolerance:<4}  all of 2015: {cells[0]:38} 30 %: {cells[1]}")
    print(f"   (limit {np.log(2 * 12):.1f})")
    print(
        f"   A group that the reference has not, let in with window 25; smallest shift {TOLERATED}"
    )
    for name, group in GROUPS.items():
        known = watched(
            test.filter(~group),
            [part.filter(~group) for part in windows[:24]] + windows[24:],
            TOLERATED,
        )
        early = sum(reading.crossed for reading in known[:24])
        first = next((reading for reading in known[24:] if reading.crossed), None)
        share = later.select(group.mean()).item()
        if first is None:
            print(f"   {name:24} {share:6.1%} of rows: not found, {early} alarms before")
            continue
        causes = ", ".join(
            f"{c.feature} {c.from_share:.1%} -> {c.to_share:.1%}" for c in first.causes[:3]
        )
        print(
            f"   {name:24} {share:6.1%} of rows: found in window {first.number} (evidence "
            f"{first.log_evidence:.0f}), {early} alarms before; {causes}"
        )


def without_labels() -> None:
    print("\n5. Performance without labels: mean absolute error against what came true, 36 windows")
    data = census()
    if data is None:
        return
    reference, later = (
        frame.select(score="predicted_probability", answer="prediction", label="employed")
        for frame in data
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reference.write_parquet(folder / "reference.parquet")
        later.write_parquet(folder / "analysis.parquet")
        peer = ask("nannyml", folder)
    bounds = (
        peer["bounds"]
        if peer
        else [[i * len(later) // 36, (i + 1) * len(later) // 36] for i in range(36)]
    )
    start = time.process_time()
    score = reference["score"].to_numpy()
    threshold = float(reference.filter(pl.col("answer") == 1)["score"].min())  # pyright: ignore
    edges = profiles.score_edges(score, threshold=threshold)
    ones = reference.filter(pl.col("label") == 1)["score"].to_numpy()
    calibration = cbpe.calibrate(
        profiles.scores(score, edges), profiles.scores(ones, edges), [0, *edges, 1], threshold
    )
    windows = [later[first:last] for first, last in bounds]
    estimates = [
        cbpe.estimate(profiles.scores(part["score"].to_numpy(), edges), calibration)
        for part in windows
    ]
    seconds = time.process_time() - start
    realised = [real_metrics(part) for part in windows]
    print(f"   {'metric':14}{'assay':>10}{'NannyML':>10}{'within 2 errors':>18}{'NannyML':>10}")
    for metric in cbpe.METRICS:
        true = np.array([real[metric] for real in realised])
        value = np.array([estimate[metric].value for estimate in estimates])
        error = np.array([estimate[metric].error for estimate in estimates])
        row = f"   {metric:14}{np.abs(value - true).mean():10.5f}"
        theirs = {"auc": "roc_auc"}.get(metric, metric)
        inside = f"{np.mean(np.abs(value - true) <= 2 * error):.0%}"
        if peer:
            other = np.array(peer["metrics"][theirs])
            wide = 2 * np.array(peer["errors"][theirs])
            row += f"{np.abs(other - true).mean():10.5f}{inside:>18}"
            row += f"{np.mean(np.abs(other - true) <= wide):10.0%}"
        else:
            row += f"{'-':>10}{inside:>18}"
        print(row)
    print(
        f"   processor seconds: assay {seconds:.3f}"
        + (f", NannyML {peer['seconds']:.3f}" if peer else "")
    )


def losses(histories: int) -> None:
    print(
        f"\n6. An error rate of 10 %, measured on 5,000 rows, a tenth more tolerated: {histories} "
        f"histories of {DAYS} days with an alarm, or found within {WITHIN} days of a rise\n"
    )
    rises = (0.12, 0.15, 0.2)
    print(f"{'labels a day':14}{'no rise':>10}" + "".join(f"{f'to {r:.0%}':>12}" for r in rises))
    for rows in ROWS:
        rng = np.random.default_rng(rows)
        cells: list[str] = []
        for rate in (0.1, *rises):
            found: list[int] = []
            for _ in range(histories):
                wrong = float(rng.binomial(5_000, 0.1))
                risk = Risk(tolerated(Losses(5_000, wrong, wrong), margin=0.1), ARL)
                days = [*[0.1] * SHIFTED, *[rate] * (WITHIN if rate > 0.1 else DAYS - SHIFTED)]
                alarms = [
                    risk.update(Losses(rows, count, count)).crossed
                    for count in rng.binomial(rows, days).astype(np.float64).tolist()
                ]
                if any(alarms[SHIFTED if rate > 0.1 else 0 :]):
                    found.append(alarms.index(True, SHIFTED if rate > 0.1 else 0) - SHIFTED + 1)
            share = f"{len(found) / histories:.1%}"
            cells.append(f"{share} {np.median(found):.0f}d" if found and rate > 0.1 else share)
        print(f"{rows:<14,}{cells[0]:>10}" + "".join(f"{cell:>12}" for cell in cells[1:]))


def real_metrics(frame: pl.DataFrame) -> dict[str, float]:
    score, label = frame["score"].to_numpy(), frame["label"].to_numpy() == 1
    said = frame["answer"].to_numpy() == 1
    hits, false, missed = (said & label).sum(), (said & ~label).sum(), (~said & label).sum()
    order = score.argsort()
    ranks = np.empty(len(score))
    found, first, count = np.unique(score[order], return_index=True, return_counts=True)
    ranks[order] = np.repeat(first + (count + 1) / 2, count)
    del found
    positives = label.sum()
    pairs = positives * (len(label) - positives)
    return {
        "accuracy": float((said == label).mean()),
        "precision": float(hits / (hits + false)),
        "recall": float(hits / positives),
        "specificity": float((~said & ~label).sum() / (~label).sum()),
        "f1": float(2 * hits / (2 * hits + false + missed)),
        "auc": float((ranks[label].sum() - positives * (positives + 1) / 2) / pairs),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--histories", type=int, default=300)
    options.add_argument("--quick", action="store_true", help="a tenth of the histories")
    given = options.parse_args()
    histories = max(10, given.histories // 10) if given.quick else given.histories
    start = time.process_time()
    print(f"Limit: one false alarm a year, {ARL:.0f} windows a year.  Seeds are fixed.")
    evidently(4)
    natural_drift()
    without_labels()
    losses(histories)
    power(max(10, histories // 6))
    false_alarms(histories)
    print(f"\n{time.process_time() - start:.0f} s of processor time")


if __name__ == "__main__":
    main()
