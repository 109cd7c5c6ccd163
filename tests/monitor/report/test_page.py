"""The page: what it says first, what it leaves out, and what it never does in a browser."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monitor.report import watched

from assay.monitor.report import as_json, page
from assay.monitor.report.model import Evidence, Feature, Report, Window
from assay.monitor.report.pages import MOST_BYTES, listed_windows


class Tree(HTMLParser):
    """The elements and attributes of a page, as a parser finds them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def text_of(made: str) -> str:
    """What a reader reads, more or less."""
    body = re.sub(r"<style>.*?</style>|<[^>]+>", " ", made, flags=re.S)
    return " ".join(html.unescape(body).split())


def hostile(names: tuple[str, ...] = watched.HOSTILE) -> Report:
    """A report in which everything that data can name is hostile."""
    made = watched.alarmed(12)
    features = [
        msgspec.structs.replace(
            watched.feature(name, i, count=12, moved=True, category=bool(i % 2)),
            name=name,
            words=name,
            labels=tuple((names * 2)[:9]) if i % 2 else tuple((names * 2)[:18]),
        )
        for i, name in enumerate(names)
    ]
    slices = [
        msgspec.structs.replace(s, column=name, value=name, words=name, metric=name)
        for s, name in zip(watched.slices(len(names)), names, strict=False)
    ]
    first = names[0]
    alerts = [
        watched.alert(
            title=n, kind=n, causes=(n,), steps=(n,), note=n, id=n, raised=n, since_time=n
        )
        for n in names
    ]
    windows = [
        msgspec.structs.replace(
            w,
            state=names[i % len(names)],
            version=names[i % len(names)],
            streams={**w.streams, names[i % len(names)]: Evidence(log_e=9, limit=5, crossed=True)},
            measured={**w.measured, names[i % len(names)]: watched.figure(0.5, 0.1)},
        )
        for i, w in enumerate(made.windows)
    ]
    incidents = [
        msgspec.structs.replace(
            i, id=n, title=n, state=n, deadlines=(watched.Deadline(name=n, due=n),)
        )
        for i in made.incidents
        for n in names
    ]
    happenings = [watched.Happening(at=n, title=n, text=n, source=n) for n in names]
    return Report(
        about=watched.about(
            12,
            endpoint=first,
            project=names[1],
            version=names[2],
            stage=names[3],
            workspace=names[4],
        ),
        baseline=msgspec.structs.replace(watched.BASELINE, data=first, version=names[5]),
        promise=msgspec.structs.replace(
            watched.PROMISE, every=first, horizon=names[1], slices=names
        ),
        compared=first,
        windows=tuple(windows),
        features=tuple(features),
        slices=tuple(slices),
        alerts=tuple(alerts),
        incidents=tuple(incidents),
        labels=watched.Labels(rows=10, labelled=1, counts=dict.fromkeys(names, 3)),
        happenings=tuple(happenings),
        notes=names,
    )


# -- what it says ---------------------------------------------------------------------------------


def test_the_verdict_comes_first_with_since_when_and_what_to_do() -> None:
    said = text_of(page(watched.alarmed()))
    verdict = said.index("Something is wrong, since 15 Feb 2026")
    assert verdict < said.index("assay retrain employment") < said.index("The evidence")
    assert said.index("labels confirm that the performance has fallen".capitalize()) > verdict


def test_label_coverage_stands_beside_every_measured_figure() -> None:
    made = page(watched.quiet())
    for figure in re.findall(r'<p class="num soft">.*?</p>', made, re.S)[:2]:
        assert re.search(
            r"measured \S+ \(.*?\) in window \d+, with labels for [\d.]+ % of its", figure
        )


def test_a_figure_without_labels_is_said_to_be_estimated_only() -> None:
    report = msgspec.structs.replace(
        watched.quiet(), windows=watched.windows(30, labels=0.0), labels=None
    )
    said = text_of(page(report))
    assert "No label has come back yet" in said
    assert "not measured: no labels" in said
    assert "Labels none yet" in said


def test_few_labels_are_said_in_per_cent() -> None:
    labels = watched.Labels(rows=10_000, labelled=300, counts={})
    said = text_of(page(msgspec.structs.replace(watched.quiet(), labels=labels)))
    assert "Labels for 3.0 % of the rows so far" in said


def test_nothing_to_show_is_said_plainly() -> None:
    said = text_of(page(Report(about=watched.about(1))))
    assert "Nothing is watched yet" in said
    assert "assay monitor baseline employment@3 --project fraud" in said
    early = Report(about=watched.about(1), baseline=watched.BASELINE, promise=watched.PROMISE)
    said = text_of(page(early))
    assert "No window yet" in said
    assert "assay monitor run employment --project fraud --once" in said
    assert "No alert was ever raised" in said


def test_the_promise_and_the_checkpoint_are_on_the_page() -> None:
    said = text_of(page(watched.quiet()))
    assert "at most 1 false alarm a year" in said
    assert "checkpoint 4,211" in said
    assert "This page itself is not signed." in said


def test_every_drawing_has_a_title_and_a_table_beside_it() -> None:
    made = page(watched.alarmed())
    drawings = re.findall(r"<svg[^>]*>", made)
    named = [d for d in drawings if "aria-hidden" not in d]
    assert len(named) > 20
    assert all('role="img"' in d for d in named)
    titles = re.findall(r'role="img"><title>([^<]+)</title>', made)
    assert len(titles) == len(named)
    assert "The same as a table" in made


# -- bounds ---------------------------------------------------------------------------------------


def test_two_hundred_features_and_four_hundred_windows_fit_and_what_is_left_out_is_said() -> None:
    made = page(watched.crowded(200, 400))
    assert len(made.encode()) < MOST_BYTES
    said = text_of(made)
    assert "140 features more are left out here" in said
    assert "360 more are left out" in said
    assert "20 groups more are left out here" in said


def test_earlier_windows_leave_the_drawing_and_are_counted() -> None:
    report = msgspec.structs.replace(watched.quiet(), windows=watched.windows(520))
    assert "120 earlier windows more are left out" in text_of(page(report))


@pytest.mark.parametrize("long", ["W" * 5_000, "&" * 5_000, "\u202e" * 5_000, "\U0001f600" * 5_000])
def test_long_names_make_it_show_less_and_never_grow(long: str) -> None:
    names = tuple(f"{i}{long}" for i in range(len(watched.HOSTILE)))
    made = hostile(names)
    many = msgspec.structs.replace(
        made,
        features=made.features * 20,
        windows=made.windows * 40,
        slices=made.slices * 20,
        alerts=made.alerts * 20,
    )
    assert len(page(many).encode()) < MOST_BYTES


def test_the_strongest_evidence_is_shown_first_and_alarms_are_never_left_out_of_the_table() -> None:
    report = watched.crowded(200, 400)
    made = page(report)
    best = max(report.features, key=lambda f: f.log_e)
    assert made.index(best.name) == made.index("<h3>", made.index("What has moved")) + 4
    rung = [w.number for w in report.windows if any(e.crossed for e in w.streams.values())]
    listed = [w.number for w in listed_windows(report.windows, 20)]
    assert rung
    assert set(rung) <= set(listed)
    assert listed == sorted(listed, reverse=True)


# -- hostile names --------------------------------------------------------------------------------

_SAFE = {
    *("html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "h3", "p", "span"),
    *("section", "div", "strong", "ol", "li", "ul", "code", "dl", "dt", "dd", "svg", "desc"),
    *("rect", "path", "text", "circle", "details", "summary", "table", "thead", "tbody", "tr"),
    *("th", "td", "article", "br"),
}


def test_names_from_data_make_no_element_and_no_attribute() -> None:
    plain, attacked = Tree(page(watched.alarmed())), Tree(page(hostile()))
    assert set(attacked.tags) <= _SAFE
    assert {name for name, _ in attacked.attributes} <= {n for n, _ in plain.attributes} | {"id"}
    assert not [n for n, _ in attacked.attributes if n.startswith("on") or n in ("style", "href")]


def test_control_and_direction_characters_are_spelt_out() -> None:
    made = page(hostile())
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x09\x0b-\x1f]", made)
    assert "\\u202e" in made


def test_the_page_allows_one_style_sheet_by_its_hash_and_nothing_else() -> None:
    made = page(hostile())
    style = re.search(r"<style>(.*?)</style>", made, re.S)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', made)
    assert policy
    assert html.unescape(policy[1]) == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert made.count("<style>") == 1
    assert "url(" not in style[1]
    assert "@import" not in style[1]


@settings(max_examples=25, deadline=None)
@given(name=st.text(max_size=300))
def test_any_name_at_all_stays_text(name: str) -> None:
    feature = Feature(
        name=name, kind="category", labels=(name, "b"), reference=(1, 2), current=(2, 1), words=name
    )
    report = Report(about=watched.about(1), windows=watched.windows(3), features=(feature,))
    tree = Tree(page(report))
    assert set(tree.tags) <= _SAFE


@settings(max_examples=40, deadline=None)
@given(
    log_e=st.floats(allow_nan=True, allow_infinity=True),
    limit=st.floats(allow_nan=True, allow_infinity=True),
    rows=st.integers(0, 10**12),
    value=st.floats(allow_nan=True, allow_infinity=True),
)
def test_figures_of_any_kind_are_drawn_or_left_out_but_never_break_the_page(
    log_e: float, limit: float, rows: int, value: float
) -> None:
    figure = watched.Figure(value=value, lower=value, upper=value)
    window = Window(
        number=0,
        begin=watched.at(0),
        end=watched.at(1),
        rows=rows,
        streams={"data_drift": Evidence(log_e=log_e, limit=limit)},
        estimated={"auc": figure},
        measured={"auc": figure},
        labelled=rows,
    )
    feature = Feature(
        name="x", kind="ordered", log_e=log_e, limit=limit, history=(log_e,), effects={"psi": value}
    )
    report = Report(about=watched.about(1), windows=(window,), features=(feature,))
    made = page(report)
    assert not re.search(r'(d|x|y|width|height)="[^"]*(nan|inf)', made)
    json.dumps(as_json(report), allow_nan=False)


# -- in a browser ---------------------------------------------------------------------------------

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")

_LOOK = b"""<!doctype html><title>waiting</title><iframe id=f src="/page" width=360></iframe>
<script>
document.getElementById("f").onload = () => {
  const d = document.getElementById("f").contentDocument, w = d.defaultView;
  const all = [...d.querySelectorAll("*")];
  document.body.textContent = JSON.stringify({
    title: d.title,
    scripts: d.scripts.length,
    handlers: all.filter(e => [...e.attributes].some(a => a.name.startsWith("on"))).length,
    loaded: w.performance.getEntriesByType("resource").length,
    styled: w.getComputedStyle(d.querySelector(".verdict")).borderLeftStyle,
    shown: w.getComputedStyle(d.querySelector("h2")).display,
    drawings: d.querySelectorAll("svg[role=img]").length,
    fits: d.documentElement.scrollWidth <= d.documentElement.clientWidth,
  });
};
</script>"""


@pytest.fixture
def served() -> Iterator[tuple[ThreadingHTTPServer, list[str]]]:
    """A server that keeps what it is asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        pages: dict[str, bytes] = {"/": _LOOK}  # noqa: RUF012

        def do_GET(self) -> None:
            asked.append(self.path)
            body = self.pages.get(self.path, b"")
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server, asked
    server.shutdown()
    server.server_close()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
def test_in_a_browser_no_script_runs_nothing_is_fetched_and_the_style_applies(
    served: tuple[ThreadingHTTPServer, list[str]], tmp_path: Path
) -> None:
    server, asked = served
    there = f"http://127.0.0.1:{server.server_port}"
    names = tuple(name.replace("http://127.0.0.1:9", there) for name in watched.HOSTILE)
    server.RequestHandlerClass.pages["/page"] = page(hostile(names)).encode()  # pyright: ignore
    done = subprocess.run(
        [
            str(CHROMIUM),
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--enable-logging=stderr", "--virtual-time-budget=5000", "--dump-dom"),
            *(f"--user-data-dir={tmp_path}", "--window-size=1200,900", f"{there}/"),
        ],
        capture_output=True,
        timeout=120,
        check=True,
    )
    found = re.search(rb"<body>(\{.*?\})</body>", done.stdout)
    assert found, done.stdout[-2_000:]
    seen = json.loads(html.unescape(found[1].decode()))
    assert seen["scripts"] == seen["handlers"] == seen["loaded"] == 0
    assert seen["title"] != "owned"
    assert seen["styled"] == "solid"
    assert seen["shown"] == "block"
    assert seen["drawings"] > 10
    assert seen["fits"], "a hostile name makes a narrow page wider than the screen"
    assert b"Refused to" not in done.stderr
    assert set(asked) <= {"/", "/page", "/favicon.ico"}
