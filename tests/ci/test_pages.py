"""The Markdown and the HTML page: what a reader sees, and what a hostile name cannot make of it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay import files
from assay.ci import folder, markdown, page
from assay.ci.escaping import code, distinct, prose, shown
from assay.ci.model import Changed, Estimate, Finding, Gate, Metric, Report, Slice, Step
from assay.errors import Conflict, Usage

from .reports import HOSTILE, report

TEXTS = st.one_of(
    st.sampled_from(HOSTILE), st.text(max_size=60), st.text("@#/:|`<>\\!-*[]()", max_size=30)
)

MARKDOWN_TAGS = {
    *("h2", "h3", "p", "table", "thead", "tbody", "tr", "th", "td", "code", "strong"),
    *("details", "summary", "blockquote"),
}
LIVE = re.compile(r"(?<!\w)@[a-z0-9]|://|\bwww\.\w|(?<!\w)[#!]\d", re.IGNORECASE)
"""What GitHub or GitLab would make a mention, a reference or a link of, outside code."""


class Seen(HTMLParser):
    """The tags of a page, the cells of its rows, and the text outside code."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.rows: list[list[str]] = []
        self.loose = ""
        self.comments: list[str] = []
        self.links: list[str | None] = []
        self._inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        self._inside.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def handle_data(self, data: str) -> None:
        if "code" not in self._inside and "style" not in self._inside:
            self.loose += data
        if self.rows and self.rows[-1] and {"td", "th"} & set(self._inside):
            self.rows[-1][-1] += data


def seen(html: str) -> Seen:
    found = Seen()
    found.feed(html)
    found.close()
    return found


def rendered(text: str) -> Seen:
    """The Markdown as CommonMark with GitHub's tables makes HTML of it, raw HTML allowed."""
    parser: Any = pytest.importorskip("markdown_it").MarkdownIt("commonmark").enable("table")
    return seen(parser.render(text))


# -- hostile names ---------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_a_hostile_name_stays_in_its_cell_of_the_markdown(text: str) -> None:
    plain, hostile = (
        rendered(markdown.render(report()).decode()),
        rendered(markdown.render(report(text)).decode()),
    )
    assert hostile.tags <= MARKDOWN_TAGS
    assert not hostile.comments
    assert hostile.attributes <= {"style"}
    assert [len(row) for row in hostile.rows] == [len(row) for row in plain.rows]
    assert not LIVE.search(hostile.loose)
    assert all(c.isprintable() or c in "\n\u2060" for c in hostile.loose)


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_a_hostile_name_stays_in_its_cell_of_the_page(text: str) -> None:
    plain, hostile = seen(page.render(report()).decode()), seen(page.render(report(text)).decode())
    assert hostile.tags == plain.tags
    assert hostile.attributes == plain.attributes
    assert not hostile.comments
    assert [len(row) for row in hostile.rows] == [len(row) for row in plain.rows]
    assert not {"script", "img", "a", "iframe", "link", "form"} & hostile.tags


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_a_sentence_is_still_read_as_it_was_written(text: str) -> None:
    read = rendered(f"| {prose(text)} | {code(text)} |\n| --- | --- |\n")
    sentence, name = read.rows[0]
    assert sentence.replace("\u2060", "") == (" ".join(shown(text).split()) or "–")
    assert name == (shown(text).replace("`", "\\x60").replace("|", "\\x7c").strip() or "–")


@given(st.text(max_size=400))
def test_what_is_shown_is_one_printable_line_of_bounded_length(text: str) -> None:
    assert shown(text).isprintable()
    assert len(shown(text)) <= 300 * 10
    assert distinct(text).isprintable()


def test_no_page_holds_an_image_or_an_address() -> None:
    for text in HOSTILE:
        read = rendered(markdown.render(report(text)).decode())
        assert not {"img", "a"} & read.tags


# -- what a reader sees ----------------------------------------------------------------------------


def test_the_verdict_comes_first_and_the_remedy_before_the_figures() -> None:
    text = markdown.render(report()).decode()
    assert text.startswith("## ❌ assay: failed\n\nReason: 1 of 2 gates is closed")
    order = [text.index(part) for part in ("Gates: 1 of 2", "What opens them", "Figures", "Slices")]
    assert order == sorted(order)
    assert "`assay model assess credit`" in text
    assert "-0.04 (-0.06 to -0.02) | **worse** | paired bootstrap, 95%" in text


def test_the_worst_comes_first_everywhere() -> None:
    found = Report(
        verdict="failed",
        why="w",
        project="p",
        pipeline="p",  # type: ignore[arg-type]
        gates=[Gate(id="a", passed=True), Gate(id="z", passed=False)],
        slices=[
            Slice(
                column="c", value=v, metric="auc", estimate=Estimate(value=x, lower=x - d), rows=9
            )
            for v, x, d in (("good", 0.9, 0.0), ("bad", 0.7, 0.1), ("unsure", 0.8, 0.4))
        ],
        findings=[
            Finding(rule="n", level="note", message="m"),
            Finding(rule="e", level="error", message="m"),
        ],
        steps=[Step(name="ran", state="done"), Step(name="broke", state="failed")],
    )
    for text in (markdown.render(found).decode(), page.render(found).decode()):
        for first, then in (
            ("z", "a"),
            ("unsure", "bad"),
            ("bad", "good"),
            ("error", "note"),
            ("broke", "ran"),
        ):
            cells = {
                word: min(
                    text.find(m)
                    for m in (f"`{word}`", f">{word}<", f"**{word}**", f"| {word} |")
                    if m in text
                )
                for word in (first, then)
            }
            assert cells[first] < cells[then], (first, then)


def many(rows: int, text: str = "x" * 300) -> Report:
    return report(
        findings=[
            Finding(rule=f"r{n}", level="note", message=text, help=text) for n in range(rows)
        ],
        code=[Changed(name=f"m{n}", before="1", after="2") for n in range(rows)],
    )


@pytest.mark.parametrize("limit", [markdown.SUMMARY_BYTES, markdown.COMMENT_BYTES, 8_000, 2_000])
def test_the_markdown_keeps_to_its_size_and_says_what_is_missing(limit: int) -> None:
    text = markdown.render(many(6_000, "@<|&" * 200), limit=limit)
    assert len(text) <= limit
    assert b"left out" in text.lower()
    read = rendered(text.decode())
    assert read.tags <= MARKDOWN_TAGS
    assert text.count(b"<details>") == text.count(b"</details>")


def test_what_fits_is_whole() -> None:
    text = markdown.render(many(50))
    assert b"left out" not in text
    assert all(f"`r{n}`".encode() in text for n in range(50))


def test_the_page_counts_the_rows_that_it_leaves_out() -> None:
    text = page.render(many(page.MOST_ROWS + 7, "m")).decode()
    assert "7 more rows are left out" in text


def test_the_page_needs_nothing_and_runs_nothing() -> None:
    text = page.render(report()).decode()
    assert "default-src 'none'" in text
    assert "http" not in text.replace('http-equiv="Content-Security-Policy"', "")
    assert '<html lang="en">' in text
    assert text.count('scope="col"') == text.count("<th ")


def test_a_difference_that_holds_zero_is_not_called_one() -> None:
    from assay.ci.model import Difference

    def change(lower: float, upper: float, better: Any = "higher") -> str:
        found = Difference(value=0.0, lower=lower, upper=upper, method="MOVER")
        return Metric(name="m", now=Estimate(value=0), difference=found, better=better).change

    assert change(-0.1, 0.1) == "not shown"
    assert change(0.1, 0.2) == "better"
    assert change(0.1, 0.2, "lower") == "worse"
    assert change(-0.2, -0.1) == "worse"
    assert Metric(name="m", now=Estimate(value=0)).change == "unknown"


# -- the folder ------------------------------------------------------------------------------------


def test_the_folder_holds_exactly_what_is_named(tmp_path: Path) -> None:
    proof = b"c2sp.org/tlog-proof@v1\nindex 0\n\nx\n"
    names = folder.write(report(), tmp_path / "out", {"scan-1": b"{}"}, proof)
    found = sorted(
        str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()
    )
    assert (
        names
        == found
        == [
            *(
                "assay.sarif",
                "gates.json",
                "junit.xml",
                "log.tlog-proof",
                "metrics.txt",
                "report.html",
            ),
            *("report.md", "statements/scan-1.dsse.json"),
        ]
    )
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_checkpoint_is_called_one_and_no_proof_leaves_no_file(tmp_path: Path) -> None:
    assert "checkpoint" in folder.write(report(), tmp_path / "a", proof=b"assay.example\n1\nAA\n")
    assert len(folder.write(report(), tmp_path / "b")) == 6


def test_the_same_report_is_the_same_folder(tmp_path: Path) -> None:
    for name in ("a", "b"):
        folder.write(report("é"), tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_an_existing_folder_is_never_written_into(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(Conflict):
        folder.write(report(), tmp_path / "out")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(Conflict):
        folder.write(report(), tmp_path / "link")
    with pytest.raises(Usage):
        folder.write(report(), tmp_path / "no" / "out")


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".x", "a\0b", "x" * 200])
def test_a_statement_cannot_choose_its_place(tmp_path: Path, name: str) -> None:
    with pytest.raises(Usage):
        folder.write(report(), tmp_path / "out", {name: b"{}"})
    assert list(tmp_path.iterdir()) == []


def test_a_failure_halfway_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(name: str) -> None:
        raise RuntimeError(name)

    monkeypatch.setattr(files, "failpoint", stop)
    with pytest.raises(RuntimeError, match=r"ci\.folder"):
        folder.write(report(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
