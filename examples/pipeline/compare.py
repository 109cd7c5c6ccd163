"""What the run of this example is held to, read from what `--json` printed.

python compare.py cached RUN.json            every step was taken from the cache
python compare.py computed RUN.json          every step ran
python compare.py same RUN.json OTHER.json   both gave the same bytes, step by step
python compare.py observed MODEL.json        a run was seen to make the model
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    match sys.argv[1:]:
        case ["cached", run]:
            states(read(run), {"cached"})
        case ["computed", run]:
            states(read(run), {"done"})
        case ["same", run, other]:
            same(read(run), read(other))
        case ["observed", model]:
            level = read(model)["facts"]["provenance"]["level"]
            need(level == "observed", f"the model's provenance is {level}, not observed")
        case _:
            sys.exit(__doc__)


def states(run: dict[str, Any], wanted: set[str]) -> None:
    """Hold the steps to how they ended.  Built-in steps look at the workspace each time."""
    steps = [task for task in run["tasks"] if "components" in task]
    others = {task["name"]: task["state"] for task in steps if task["state"] not in wanted}
    need(bool(steps) and not others, f"not {wanted}: {others}")
    print(f"{len(steps)} steps: {', '.join(wanted)}; all tasks: {run['counts']}")


def same(run: dict[str, Any], other: dict[str, Any]) -> None:
    one, two = outputs(run), outputs(other)
    differ = sorted(name for name in one.keys() | two.keys() if one.get(name) != two.get(name))
    need(not differ, f"these steps gave other bytes: {', '.join(differ)}")
    count = sum(len(digests) for digests in one.values())
    print(f"{run['executor']} and {other['executor']} gave the same {count} outputs")


def outputs(run: dict[str, Any]) -> dict[str, list[str]]:
    """Task → the digests of what it gave."""
    return {
        task["name"]: [artifact["digest"] for output in task["outputs"] for artifact in output]
        for task in run["tasks"]
        if task.get("outputs")
    }


def need(true: bool, otherwise: str) -> None:
    if not true:
        sys.exit(otherwise)


def read(path: str) -> dict[str, Any]:
    return json.loads(Path(path).read_text())


if __name__ == "__main__":
    main()
