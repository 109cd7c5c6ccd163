"""``report.html``: the same report as one self-contained page: no script, no request anywhere."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from assay.ci import tables
from assay.ci.escaping import shown
from assay.ci.model import Report

MOST_ROWS = 2_000
"""Rows shown of one table."""
_MOST = 2_000


def render(report: Report) -> bytes:
    """The page."""
    environment = Environment(
        loader=PackageLoader("assay.ci", "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = lambda text: shown(text, _MOST)
    template = environment.get_template("report.html")
    found = template.render(
        r=report, head=tables.head(report), sections=tables.sections(report), most=MOST_ROWS
    )
    return found.encode() + b"\n"
