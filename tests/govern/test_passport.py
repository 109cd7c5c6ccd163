"""The page about a version: every name on it is text, whatever it looks like."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import msgspec
import pytest

from assay.govern.passport import Claim, Gate, Passport, approval_level, render

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}{% raw %}&amp;\u202e"


def passport(text: str) -> Passport:
    claim = Claim(text, text, text)
    return Passport(
        name=text,
        version=text,
        project=text,
        stage=text,
        revoked=False,
        held=True,
        summary=(text,),
        proven=(claim,),
        declared=(claim,),
        missing=(claim,),
        approvals=(claim,),
        approval_level=text,
        gates=(Gate(text, False, text, text, text), Gate(text, True, text, text, text)),
        artifact=text,
        served=text,
        checkpoint_size=3,
        checkpoint_time=text,
        workspace=text,
    )


class Seen(HTMLParser):
    """The tags and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]


def seen(page: str) -> Seen:
    parser = Seen()
    parser.feed(page)
    return parser


def test_a_hostile_name_or_description_stays_text() -> None:
    page = render(passport(HOSTILE))
    assert seen(page).tags == seen(render(passport("score"))).tags
    assert "<script" not in page
    assert "{{ 7*7 }}" in page
    assert "&lt;script&gt;" in page


def test_the_page_runs_nothing_and_asks_nobody() -> None:
    found = seen(render(passport("score")))
    assert not {"script", "iframe", "object", "embed", "link", "img", "form"} & set(found.tags)
    assert not [name for _, name, _ in found.attributes if name.startswith("on")]
    links = [value or "" for _, name, value in found.attributes if name in ("href", "src")]
    assert all(link.startswith("#") for link in links)
    assert not re.search(r"url\(|@import", render(passport("score")))


@pytest.mark.parametrize(
    ("holders", "told"),
    [
        ([], "not approved"),
        ([{"uid": 1, "host": "a"}], "approved by one person"),
        ([{"uid": 1, "host": "a"}, {"uid": 2, "host": "a"}], "approved by 2 people"),
        ([{"uid": 1, "host": "a"}, {"uid": 1, "host": "b"}], "approved by 2 people"),
        ([{"uid": 1, "host": "a"}, {"uid": 1, "host": "a"}], "self-approved"),
        ([{}, {}], "self-approved"),
    ],
)
def test_two_keys_that_one_user_can_read_are_not_two_people(
    holders: list[dict[str, object]], told: str
) -> None:
    assert approval_level([{"held_by": held} for held in holders]).startswith(told)


def test_a_version_that_cannot_be_served_is_marked_at_the_head_of_its_page() -> None:
    page = render(msgspec.structs.replace(passport("score"), served=""))
    assert '<span class="state bad">cannot be served</span>' in page
    assert "cannot be served</span>" not in render(passport("score"))
