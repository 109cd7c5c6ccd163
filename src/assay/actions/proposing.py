"""A plan of changes made from a file: completed with the code, the libraries and the version that
are there now."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from assay.actions import runs
from assay.actions.changes import ProposeChange
from assay.actions.retraining_evidence import horizon_of
from assay.errors import NotFound
from assay.monitor import changes
from assay.workspace.door import Workspace


def from_file(
    workspace: Workspace,
    project: str,
    file: Path,
    *,
    folder: Path,
    tell: Callable[[str], None] = lambda _: None,
) -> ProposeChange:
    """What to ask the door for, to propose the plan in a file; raises `Usage` or `NotFound`.

    Plans the pipeline, as `assay run` does, and runs nothing of it.
    """
    view = workspace.view
    view.follow()
    draft = changes.parse(file.read_bytes(), file.name)
    source, data = changes.source_of(draft)
    model = str(draft.get("model", ""))
    number = view.state.aliases.get(f"{project}/{model}@production")
    if number is None:
        raise NotFound(
            f"no version of {model[:60]!r} is in production in project {project}",
            remedy="a plan says what may differ from the version in production: promote one first",
            code="change.version",
        )
    champion = view.version(project, model, number)
    given: dict[str, Any] = {data: model}
    for name, bound in draft.get("parameters", {}).items():
        # Any value that the plan allows: which code is run does not depend on it.
        given[name] = changes.any_value(bound)
    tell(f"planning {source}")
    action = runs.prepare(workspace, project, source, folder=folder, parameters=given)
    planned = runs.planned(action)
    plan = changes.complete(
        draft,
        function=action.pipeline,
        code=planned.archive_digest,
        environment=planned.environment.digest,
        details=champion.details,
        horizon=horizon_of(view, champion),
    )
    return ProposeChange(project=project, plan=msgspec.to_builtins(plan))
