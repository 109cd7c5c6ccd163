"""What monitoring found, to look at.

What lives here
    The page (HTML with drawings made on the server), the same as JSON, OpenMetrics and the
    dashboard file for Grafana.

May import
    What `assay.monitor` may, and Jinja for the page.

An attacker who owns it can
    show wrong figures to who looks; not change what is recorded, nor run code in the reader's
    browser under the policy that the page declares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from assay.monitor.report.model import Report


def page(report: Report) -> str:
    """The report as one HTML document, below 300 kB whatever it holds."""
    from assay.monitor.report.pages import render

    return render(report)


def as_json(report: Report) -> dict[str, Any]:
    """All of the report as plain values, with its verdict: ``assay/monitor-report/v1``."""
    from assay.monitor.report.plain import as_json

    return as_json(report)
