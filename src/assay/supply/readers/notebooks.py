"""Jupyter notebooks: their cells are source, their outputs pages that a browser shows."""

from __future__ import annotations

import re
from typing import Any

from assay.supply.readers import sources
from assay.supply.readers.part import Part

_ACTIVE = re.compile(
    r"<\s*(script|iframe|object|embed|form|meta|link|base)\b|\bon\w+\s*=|javascript:", re.I
)
_SCRIPTS = frozenset({"application/javascript", "text/javascript", "application/x-javascript"})
_HARMLESS = re.compile(
    r"[ \t]*%(matplotlib([ \t]+\w+)?|autoreload([ \t]+\d)?|load_ext[ \t]+(autoreload|tensorboard)"
    r"|config[ \t]+\w+\.\w+[ \t]*=[ \t]*['\"]?[\w.-]+['\"]?|precision[ \t]+\d+|pwd|who|whos)[ \t]*"
)
"""Magics that run nothing of the notebook's choosing."""
_TIMED = re.compile(r"[ \t]*%{1,2}(time|capture)\b([ \t]+|$)")
"""Magics behind which Python stands."""


def looks_like_notebook(value: Any) -> bool:
    """Whether a JSON document is a notebook."""
    return isinstance(value, dict) and "nbformat" in value and isinstance(value.get("cells"), list)


def check(part: Part, value: Any) -> str:
    """The cells, their outputs, and the source as a whole; the format."""
    if value.get("nbformat") != 4 or "worksheets" in value:
        part.find("notebook", "unscannable", "the notebook is of a version that is not read")
    code: list[str] = []
    for number, cell in enumerate(value["cells"]):
        if not isinstance(cell, dict):
            part.find("notebook", "unscannable", f"cell {number} cannot be read")
            continue
        text = _joined(cell.get("source"))
        if cell.get("cell_type") == "code":
            code += _code(part, number, text.split("\n"))
        elif _ACTIVE.search(text):
            part.find("notebook.output", "suspicious", f"cell {number} holds a page that runs code")
        _check_outputs(part, number, cell.get("outputs"))
    sources.check(part, "\n".join(code) + "\n")
    return "notebook"


def _code(part: Part, number: int, lines: list[str]) -> list[str]:
    """The Python of a cell; magics and commands that are more than settings are reported."""
    code: list[str] = []
    for line in lines:
        plain = line.lstrip(" \t\f\v\r\xa0")
        if not plain.startswith(("!", "%", "?")):
            code.append(line)
        elif timed := _TIMED.match(line):
            code.append(line[timed.end() :])
        else:
            code.append("")
            if not (_HARMLESS.fullmatch(line) or plain.startswith("?")):
                what = f"cell {number} runs a command: {plain.strip()[:60]}"
                part.find("notebook.shell", "suspicious", what)
    return code


def _check_outputs(part: Part, number: int, outputs: Any) -> None:
    for output in outputs if isinstance(outputs, list) else ():
        data = output.get("data") if isinstance(output, dict) else None
        for kind, value in data.items() if isinstance(data, dict) else ():
            page = kind in ("text/html", "image/svg+xml") and _ACTIVE.search(_joined(value))
            if kind in _SCRIPTS or page:
                what = f"an output of cell {number} is a page that runs code"
                part.find("notebook.output", "suspicious", what)


def _joined(value: Any) -> str:
    if isinstance(value, list):
        return "".join(item for item in value if isinstance(item, str))
    return value if isinstance(value, str) else ""
