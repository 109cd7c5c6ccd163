"""Ready workflows for GitHub Actions and GitLab CI.

They treat proposed code as what it is: it runs without secrets and cannot write what others read.
Actions are pinned by the commits of released versions.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

from jinja2 import Environment, PackageLoader, StrictUndefined

from assay import __version__
from assay.errors import Usage

Server: TypeAlias = Literal["github", "gitlab"]

SERVERS: tuple[Server, ...] = ("github", "gitlab")

ACTIONS = {
    "checkout": "actions/checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd # v6.0.2",
    "python": "actions/setup-python@a309ff8b426b58ec0e2a45f0f869d46889d02405 # v6.2.0",
    "restore": "actions/cache/restore@9255dc7a253b0ccc959486e2bca901246202afeb # v5.0.1",
    "save": "actions/cache/save@9255dc7a253b0ccc959486e2bca901246202afeb # v5.0.1",
    "upload": "actions/upload-artifact@b7c566a772e6b6bfb58ed0dc250532a479d7789f # v6.0.0",
    "download": "actions/download-artifact@37930b1c2abaa49bbe596cd826c3c89aef350131 # v7.0.0",
    "sarif": "github/codeql-action/upload-sarif@5d4e8d1aca955e8d8589aabd499c5cae939e33c7 # v4.31.9",
}
"""Each action by the commit of a release."""

_FILES: dict[Server, dict[str, str]] = {
    "github": {
        ".github/workflows/assay.yml": "github-assay.yml",
        ".github/workflows/assay-comment.yml": "github-comment.yml",
    },
    "gitlab": {".gitlab/assay.gitlab-ci.yml": "gitlab-assay.yml"},
}

_RULES = {
    "pipeline": (
        re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,199}"),
        "a path such as pipelines/credit.py",
    ),
    "branch": (re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,99}"), "a branch such as main"),
    "python": (re.compile(r"3\.[0-9]{1,2}"), "a version such as 3.12"),
    "requirements": (
        re.compile(r"([A-Za-z0-9_][A-Za-z0-9_./-]{0,199})?"),
        "a path such as requirements.txt",
    ),
    "version": (re.compile(r"[0-9][0-9A-Za-z.+!-]{0,40}"), "a released version of assay"),
}
"""What may be put into a workflow: nothing that YAML, a shell or a template would interpret."""


def render(
    server: str,
    *,
    pipeline: str = "pipeline.py",
    branch: str = "main",
    python: str = "3.12",
    requirements: str = "requirements.txt",
    version: str = __version__,
) -> dict[str, str]:
    """The files of a workflow: path in the repository → content.

    `requirements` is the file with the project's own packages, best with hashes; empty for none.
    """
    if server not in _FILES:
        raise Usage(
            f"there is no workflow for {server[:40]!r}",
            remedy=f"one of: {', '.join(SERVERS)}",
            code="ci.server",
        )
    values = {
        "pipeline": pipeline,
        "branch": branch,
        "python": python,
        "requirements": requirements,
        "version": version,
    }
    for name, (allowed, example) in _RULES.items():
        if allowed.fullmatch(values[name]) is None or ".." in values[name]:
            raise Usage(
                f"{name} {values[name][:80]!r} cannot be put into a workflow",
                remedy=f"give {example}",
                code="ci.workflow",
            )
    environment = Environment(  # noqa: S701 - YAML, of values that hold nothing to escape
        loader=PackageLoader("assay.ci", "templates"),
        undefined=StrictUndefined,
        variable_start_string="<<",
        variable_end_string=">>",
        block_start_string="<%",
        block_end_string="%>",
        comment_start_string="<#",
        comment_end_string="#>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return {
        path: environment.get_template(template).render(uses=ACTIONS, **values)
        for path, template in _FILES[server].items()
    }
