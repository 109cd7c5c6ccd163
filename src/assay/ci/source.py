"""Which commit a run is about, from what a CI server says in the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from assay.ci.model import MOST_TEXT, Source, commit

_PULL = re.compile(r"refs/pull/([1-9][0-9]{0,9})/(?:merge|head)")
_NUMBER = re.compile(r"[1-9][0-9]{0,9}")


def source(environment: Mapping[str, str], event: object = None) -> Source:
    """What GitHub Actions, GitLab CI or nobody says about the run.

    `event` is the JSON document at ``GITHUB_EVENT_PATH``: GitHub runs the *merge* of a pull
    request, and only there names the commit that was pushed.  Anything malformed counts as unknown.
    """
    if environment.get("GITHUB_ACTIONS") == "true":
        return _github(environment, event)
    if environment.get("GITLAB_CI") == "true":
        return _gitlab(environment)
    return Source()


def _github(environment: Mapping[str, str], event: object) -> Source:
    pulled = _PULL.fullmatch(environment.get("GITHUB_REF", ""))
    head = commit(_at(event, "pull_request", "head", "sha"))
    return Source(
        commit=head or commit(environment.get("GITHUB_SHA")),
        base=commit(_at(event, "pull_request", "base", "sha")) or _before(event),
        branch=_text(environment.get("GITHUB_HEAD_REF") or environment.get("GITHUB_REF_NAME")),
        repository=_text(environment.get("GITHUB_REPOSITORY")),
        request=int(pulled[1]) if pulled else None,
    )


def _before(event: object) -> str:
    """The commit that a push moved the branch from; none for a new branch."""
    found = commit(_at(event, "before"))
    return found if found.strip("0") else ""


def _gitlab(environment: Mapping[str, str]) -> Source:
    number = _NUMBER.fullmatch(environment.get("CI_MERGE_REQUEST_IID", ""))
    pushed = environment.get("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA")
    base = environment.get("CI_MERGE_REQUEST_DIFF_BASE_SHA") or environment.get(
        "CI_COMMIT_BEFORE_SHA", ""
    )
    branch = environment.get("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME")
    return Source(
        commit=commit(pushed) or commit(environment.get("CI_COMMIT_SHA")),
        base=commit(base) if base.strip("0") else "",
        branch=_text(branch or environment.get("CI_COMMIT_REF_NAME")),
        repository=_text(environment.get("CI_PROJECT_PATH")),
        request=int(number[0]) if number else None,
    )


def _at(value: Any, *path: str) -> object:
    for name in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def _text(value: str | None) -> str:
    return (value or "")[:MOST_TEXT]
