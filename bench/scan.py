"""What scanners find, what they stumble over, and what they cost: assay beside five others.

Run: ``python bench/scan.py [CORPUS]``; the corpus has a ``manifest.csv`` (path, expected, …) and
lies by default in ``../shared/scan-corpus`` beside the repository; without it the generated files
are used alone.  The peers, and the libraries that make the ordinary files, live in environments of
their own below ``build/bench-venvs``; what cannot be installed is said and left out.  Nothing that
is scanned is ever loaded.

*Found* counts a file that the scanner's own command line would refuse with its defaults; for assay
that is every verdict but clean.  *Error* is what a scanner could not read and did not flag.  Costs
are processor time: of a call, in one process after imports, and of assay's whole command line with
its confined processes.

Goals: every hostile file found; 99 % of ordinary ones clean, no errors; median 2 ms a small file;
1 GB/s on large pickles, joblibs and safetensors; ``assay scan --help`` within 300 ms.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import _benign_models
import _malicious_models

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build"
VENVS = BUILD / "bench-venvs"
PEERS: dict[str, tuple[str, list[str]]] = {
    "picklescan": ("picklescan", ["picklescan==1.0.5"]),
    "picklescan --strict": ("picklescan", ["picklescan==1.0.5"]),
    "fickling": ("fickling", ["fickling==0.1.12", "typing-extensions"]),
    "modelscan": ("modelscan", ["modelscan[h5py]==0.8.8"]),
    "modelaudit": ("modelaudit", ["modelaudit==0.2.54"]),
    "hayward": ("hayward", ["hayward==1.4.1"]),
}
SECONDS = 90.0
"""Processor time that one scanner may take for one set; what it did not reach is not counted."""
SMALL = 64 << 10
_SKIPPED = 20_000
"""MB a second that no scanner reaches that looks at every byte."""
_LARGE = """
import pickle, sys, numpy as np, joblib
from safetensors.numpy import save_file
folder = sys.argv[1]
values = {f"w{n}": np.random.default_rng(n).normal(size=(2048, 2048)) for n in range(8)}
pickle.dump(values, open(folder + "/arrays.pkl", "wb"), 5)
joblib.dump(values, folder + "/arrays.joblib")
save_file(values, folder + "/arrays.safetensors")
pickle.dump([float(n) for n in range(2_000_000)], open(folder + "/floats.pkl", "wb"), 4)
"""


def environment(name: str, *steps: Sequence[str]) -> Path | None:
    """The Python of an environment with these packages; None where it cannot be made."""
    folder = VENVS / name
    python = folder / "bin" / "python"
    wanted = json.dumps(steps)
    if (folder / "made").exists() and (folder / "made").read_text() in ("", wanted):
        return python
    shutil.rmtree(folder, ignore_errors=True)
    if subprocess.run([sys.executable, "-m", "venv", folder], capture_output=True).returncode:
        return None
    for step in steps:
        install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *step]
        done = subprocess.run(install, capture_output=True, text=True)
        if done.returncode:
            print(f"  {name}: {(done.stderr.strip().splitlines() or ['?'])[-1][:200]}")
            return None
    (folder / "made").write_text(wanted)
    return python


def libraries() -> Path | None:
    """The Python that makes ordinary models."""
    alone = ["--no-deps", *_benign_models.ALONE]
    return environment("benign", _benign_models.LIBRARIES, alone, _benign_models.BESIDE)


def quiet(home: Path) -> dict[str, str]:
    """The environment that peers run in: no telemetry, nothing of this user's."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "CI": "1",
        "DO_NOT_TRACK": "1",
        "NO_ANALYTICS": "1",
        "PROMPTFOO_DISABLE_TELEMETRY": "1",
        **({"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}),
    }


def ask(
    scanner: str, python: Path, files: Sequence[Path], seconds: float = SECONDS
) -> dict[Path, tuple[str, float]]:
    """File → (verdict, processor seconds), of those reached."""
    with tempfile.TemporaryDirectory() as home:
        env = quiet(Path(home))
        if scanner != "assay":
            env.pop("PYTHONPATH", None)
        done = subprocess.run(
            [python, HERE / "_scan_peers.py", scanner, str(seconds)],
            input="".join(f"{path}\n" for path in files),
            capture_output=True, text=True, env=env, cwd=home,
        )  # fmt: skip
    told = [json.loads(line) for line in done.stdout.splitlines()]
    if len(told) < len(files) and done.returncode:
        print(f"  {scanner} ended early: {done.stderr.strip()[-200:]}")
    return {Path(item["path"]): (item["verdict"], item["cpu"]) for item in told}


def shuffled(files: Sequence[Path]) -> list[Path]:
    """In an order that says nothing, the same every time: a slow scanner reads a fair part."""
    return sorted(files, key=lambda path: hashlib.sha256(path.name.encode()).digest())


def corpus(folder: Path) -> dict[str, list[Path]]:
    sets: dict[str, list[Path]] = {"malicious": [], "benign": [], "inert": []}
    with (folder / "manifest.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            sets[row["expected"]].append(folder / row["path"])
    return sets


def generated() -> tuple[list[Path], list[Path]]:
    """The hostile and the ordinary files; the latter empty where their libraries are not had."""
    hostile = BUILD / "bench-malicious"
    shutil.rmtree(hostile, ignore_errors=True)
    _malicious_models.make(hostile)
    ordinary = BUILD / "bench-benign"
    script = HERE / "_benign_models.py"
    if not ordinary.exists() or ordinary.stat().st_mtime < script.stat().st_mtime:
        python = libraries()
        shutil.rmtree(ordinary, ignore_errors=True)
        ordinary.mkdir(parents=True)
        if python is None:
            print("  the libraries of ordinary models cannot be installed: none are scanned")
        else:
            done = subprocess.run([python, script, ordinary], capture_output=True, text=True)
            for line in done.stderr.splitlines():
                if "left out" in line or "could not be fitted" in line:
                    print(f"  {line}")
            ordinary.touch()
    return tuple(
        sorted(path for path in folder.rglob("*") if path.is_file())
        for folder in (hostile, ordinary)
    )  # type: ignore[return-value]


def scanners() -> dict[str, Path]:
    found = {"assay": Path(sys.executable)}
    for name, (folder, packages) in PEERS.items():
        python = environment(folder, packages)
        if python is None:
            print(f"  {name}: cannot be installed here, left out")
        else:
            found[name] = python
    return found


def matrix(title: str, files: Sequence[Path], pythons: Mapping[str, Path], hostile: bool) -> None:
    """One table; then assay's mistakes by name."""
    print(f"\n{title}: {len(files):,} files")
    print(f"  {'':<20} {'read':>6} {'found' if hostile else 'clean':>7} {'flagged':>8} "
          f"{'error':>6} {'skipped':>8} {'median ms':>10} {'mean ms':>8}")  # fmt: skip
    mistakes: dict[Path, str] = {}
    for name, python in pythons.items():
        told = ask(name, python, shuffled(files))
        if not told:
            print(f"  {name:<20} gave no answer")
            continue
        counts = Counter(verdict for verdict, _ in told.values())
        flagged = sum(counts[v] for v in ("flagged", "malicious", "suspicious"))
        errors = counts["error"] + counts["unscannable"]
        good = flagged if hostile else counts["clean"]
        if name == "assay":
            good = len(told) - counts["clean"] if hostile else counts["clean"]
            mistakes = {p: v for p, (v, _) in told.items() if (v == "clean") is hostile}
        small = [cpu for path, (_, cpu) in told.items() if path.stat().st_size <= SMALL] or [0.0]
        print(f"  {name:<20} {len(told):>6,} {100 * good / len(told):>6.1f}% {flagged:>8,} "
              f"{errors:>6,} {counts['skipped']:>8,} {1000 * statistics.median(small):>10.2f} "
              f"{1000 * statistics.mean(small):>8.2f}")  # fmt: skip
    what = "misses" if hostile else "alarms"
    print(f"  assay's {what}: {len(mistakes)}")
    for path, verdict in sorted(mistakes.items()):
        why = "" if hostile else f"  {verdict}: {_why(path)}"
        print(f"    {path.parent.name}/{path.name}{why}")


def _why(path: Path) -> str:
    from assay.supply.scan import scan

    first = scan(path)["findings"][0]
    return f"{first['rule']} at {first['where']}: {first['what']}"[:150]


def throughput(pythons: Mapping[str, Path]) -> None:
    python = environment(
        "benign",
        _benign_models.LIBRARIES,
        ["--no-deps", *_benign_models.ALONE],
        _benign_models.BESIDE,
    )
    if python is None:
        return
    print("\nlarge files: MB for a second of processor time, the best of two; what only skips over")
    print(
        "the numbers (as assay may: they are no opcodes) or does not know the name says 'not read'"
    )
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([python, "-c", _LARGE, folder], check=True)
        files = sorted(Path(folder).iterdir())
        heads = [f"{path.name} {path.stat().st_size >> 20} MB" for path in files]
        print(f"  {'':<20} " + " ".join(f"{head:>26}" for head in heads))
        for name, interpreter in pythons.items():
            cells: list[str] = []
            for path in files:
                runs = [ask(name, interpreter, [path], 1.0) for _ in range(2)]
                costs = [answer[path] for answer in runs if path in answer]
                if not costs:
                    cells.append("-")
                    continue
                least = max(1e-4, min(cpu for _, cpu in costs))
                rate = path.stat().st_size / least / 1e6
                shown = f"{rate:,.0f}" if rate < _SKIPPED else "not read"
                cells.append(f"{shown if costs[0][0] != 'error' else '-'} ({costs[0][0]})")
            print(f"  {name:<20} " + " ".join(f"{cell:>26}" for cell in cells))


def command_line(files: Sequence[Path]) -> None:
    """What the whole command costs, its confined processes included."""
    command = [sys.executable, "-m", "assay", "scan"]
    print("\nassay's command line, everything included")
    for name, words, goal in (
        ("scan --help", ["--help"], "300 ms"),
        ("scan, one small file", [str(min(files, key=lambda p: p.stat().st_size))], ""),
    ):
        best = (float("inf"), float("inf"))
        for _ in range(5):
            best = min(best, _cost([*command, *words]))
        print(f"  {name:<24} {best[0] * 1000:>7.0f} ms, {best[1] * 1000:.0f} ms processor time"
              + (f" (goal: {goal})" if goal else ""))  # fmt: skip
    with tempfile.NamedTemporaryFile("w", suffix=".lst") as listed:
        listed.write("".join(f"{path}\n" for path in files))
        listed.flush()
        one = _cost([*command, str(files[0])])[1]
        wall, cpu = _cost([*command, "--files-from", listed.name])
    each = 1000 * (cpu - one) / max(1, len(files) - 1)
    print(f"  {f'scan, {len(files):,} files':<24} {wall:>7.1f} s, {cpu:.1f} s processor time: "
          f"{each:.2f} ms a file beside the start (goal: 2 ms)")  # fmt: skip


def _cost(command: Sequence[str]) -> tuple[float, float]:
    """Seconds, and processor seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    given = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent.parent / "shared/scan-corpus"
    print("peers:", ", ".join(sorted({packages[0] for _, packages in PEERS.values()})))
    pythons = scanners()
    hostile, ordinary = generated()
    if (given / "manifest.csv").is_file():
        sets = corpus(given.resolve())
        matrix("hostile files of the corpus", sets["malicious"], pythons, True)
        matrix("ordinary files of the corpus", sets["benign"], pythons, False)
        told = ask("assay", pythons["assay"], sets["inert"])
        print("\npayloads as data only, which should not be malicious: assay says")
        print(f"  {dict(Counter(verdict for verdict, _ in told.values()))}")
    else:
        print(f"no corpus in {given}: generated files only")
    matrix("hostile files, generated", hostile, pythons, True)
    if ordinary:
        matrix("ordinary files, made by the real libraries", ordinary, pythons, False)
        command_line([path for path in ordinary if path.stat().st_size <= SMALL])
    throughput(pythons)


if __name__ == "__main__":
    main()
