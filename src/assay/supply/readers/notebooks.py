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
_SHELL = re.compile(r"^\s*(!|%%(bash|sh|script|perl|ruby|system|!)|%(system|sx|run|load_ext)\b)")


def looks_like_notebook(value: Any) -> bool:
    """Whether a JSON document is a notebook."""
    return isinstance(value, dict) and "nbformat" in value and isinstance(value.get("cells"), list)


def check(part: Part, value: Any) -> str:
    """The cells, their outputs, and the source as a whole; the format."""
    code: list[str] = []
    for number, cell in enumerate(value["cells"]):
        if not isinstance(cell, dict):
            part.find("notebook", "unscannable", f"cell {number} cannot be read")
            continue
        text = _joined(cell.get("source"))
        if cell.get("cell_type") == "code":
            lines = text.split("\n")
            if any(_SHELL.match(line) for line in lines):
                what = f"cell {number} runs a command of the shell"
                part.find("notebook.shell", "suspicious", what)
            code += ["" if line.lstrip().startswith(("!", "%", "?")) else line for line in lines]
        elif _ACTIVE.search(text):
            part.find("notebook.output", "suspicious", f"cell {number} holds a page that runs code")
        _check_outputs(part, number, cell.get("outputs"))
    sources.check(part, "\n".join(code) + "\n")
    return "notebook"


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
