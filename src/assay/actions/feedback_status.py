"""What became of the labels of an endpoint, from what the ledger says: no label is opened."""

from __future__ import annotations

from typing import Any

from assay.actions.feedback_records import batches, losses, spool_of
from assay.actions.monitor_records import closing, recorded
from assay.clock import timestamp
from assay.workspace.layout import Layout
from assay.workspace.view import View


def status(view: View, layout: Layout, project: str, endpoint: str) -> dict[str, Any]:
    """The sources with what they gave and why labels were refused; the windows with how much of
    each is labelled; what waits to be sealed, and what is lost.

    Raises `NotFound` for an endpoint that was never deployed.
    """
    from assay.monitor import spool

    held = recorded(view, project, endpoint)
    sources: dict[str, dict[str, Any]] = {}
    for batch in batches(view, project, endpoint):
        empty: dict[str, Any] = {"rows": 0, "accepted": 0, "refused": {}, "batches": 0}
        told = sources.setdefault(batch.source, {"source": batch.source, **empty})
        told["rows"] += batch.rows
        told["accepted"] += batch.accepted
        told["batches"] += 1
        told["last"] = max(batch.last, told.get("last", ""))
        for reason, count in batch.refused.items():
            told["refused"][reason] = told["refused"].get(reason, 0) + count
    measured = {told["number"]: told for told in held.performances}
    windows: list[dict[str, Any]] = []
    for window in held.windows:
        at = closing(held, window) if window["version"] in held.baselines else None
        figures = measured.get(window["number"])
        windows.append(
            {
                **{key: window[key] for key in ("number", "version", "from", "to", "rows")},
                "closes": timestamp(at) if at is not None else None,
                "final": bool(figures and figures["final"]),
                "labelled": figures["labelled"] if figures else None,
                "coverage": figures["coverage"] if figures else None,
                "counts": figures["counts"] if figures else {},
                "sources": figures["sources"] if figures else {},
            }
        )
    return {
        "endpoint": endpoint,
        "sources": list(sources.values()),
        "windows": windows,
        "waiting": len(spool.waiting(spool_of(layout, project, endpoint))),
        "written": spool.written(spool_of(layout, project, endpoint)),
        "lost": losses(view, project, endpoint),
    }
