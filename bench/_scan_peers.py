"""One scanner over a list of files, in its own environment: an adapter for `bench/scan.py`.

Run: ``python _scan_peers.py SCANNER SECONDS < paths``.  Prints a line of JSON for each file: what
its own command line would answer with its defaults, and the processor time it took, imports left
out.  After SECONDS of processor time the rest is left out, and missing in the answer.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import os
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def picklescan(strict: bool = False) -> Callable[[str], str]:
    scan_file = importlib.import_module("picklescan.scanner").scan_file_path

    def scan(path: str) -> str:
        found = scan_file(path, strict=strict)
        return "flagged" if found.issues_count else "error" if found.scan_err else "clean"

    return scan


def picklescan_strict() -> Callable[[str], str]:
    return picklescan(True)


def fickling() -> Callable[[str], str]:
    loader = importlib.import_module("fickling.loader")

    def scan(path: str) -> str:
        if zipfile.is_zipfile(path):
            results = list(loader.scan_zip_archive(path, graceful=True).values())
        else:
            results = [loader.scan_file(path, graceful=True)]
        unsafe = any(not result.is_safe for result in results if not result.errors)
        return "flagged" if unsafe else "error" if any(r.errors for r in results) else "clean"

    return scan


def modelscan() -> Callable[[str], str]:
    module = importlib.import_module("modelscan.modelscan")

    def scan(path: str) -> str:
        found = module.ModelScan()
        found.scan(Path(path))
        if found.issues.all_issues:
            return "flagged"
        return "error" if found.errors else "clean" if found.scanned else "skipped"

    return scan


def modelaudit() -> Callable[[str], str]:
    core = importlib.import_module("modelaudit.core")

    def scan(path: str) -> str:
        found = core.scan_model_directory_or_file(path)
        return {0: "clean", 1: "flagged"}.get(core.determine_exit_code(found), "error")

    return scan


def hayward() -> Callable[[str], str]:
    module = importlib.import_module("hayward")
    scanner = module.ModelFileScanner()

    def scan(path: str) -> str:
        found = list(scanner.scan_file(Path(path)))
        if any(finding.severity.value in ("critical", "high") for finding in found):
            return "flagged"
        return "error" if any(module.is_coverage_gap(f) for f in found) else "clean"

    return scan


def assay() -> Callable[[str], str]:
    scan_path = importlib.import_module("assay.supply.scan").scan

    def scan(path: str) -> str:
        return str(scan_path(Path(path))["verdict"])

    return scan


SCANNERS: dict[str, Callable[[], Callable[[str], str]]] = {
    "assay": assay,
    "picklescan": picklescan,
    "picklescan --strict": picklescan_strict,
    "fickling": fickling,
    "modelscan": modelscan,
    "modelaudit": modelaudit,
    "hayward": hayward,
}


def main() -> None:
    name, seconds = sys.argv[1], float(sys.argv[2])
    logging.disable(logging.CRITICAL)
    answers = os.fdopen(os.dup(1), "w")
    quiet: Any = io.StringIO()
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        scan = SCANNERS[name]()
        begun = time.process_time()
        for line in sys.stdin:
            path = line.rstrip("\n")
            before = time.process_time()
            if before - begun > seconds:
                break
            try:
                verdict = scan(path)
            except Exception:  # What its command line would end with a traceback or a status for.
                verdict = "error"
            told = {"path": path, "verdict": verdict, "cpu": time.process_time() - before}
            answers.write(json.dumps(told) + "\n")
            quiet.seek(0)
            quiet.truncate()
    answers.close()


if __name__ == "__main__":
    main()
