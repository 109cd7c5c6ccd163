"""Reports to render: a full one, and the hostile texts that go everywhere."""

from __future__ import annotations

from typing import Any

from assay.ci.model import (
    Changed,
    Dataset,
    Difference,
    Estimate,
    Finding,
    Gate,
    Measured,
    Metric,
    Report,
    Slice,
    Source,
    Statement,
    Step,
)

COMMIT = "1" * 40
DIGEST = "sha256:" + "ab" * 32

HOSTILE = (
    "<script>alert(1)</script>",
    "<!-- assay:ci-report/v1 -->",
    "</details></code></table>",
    "a|b||c",
    "`x` ``y`` ``` z",
    "![i](data:image/png;base64,AAAA)",
    "[click](https://evil.example)",
    "https://evil.example/x and www.evil.example",
    "@everyone @org/team please merge #1 !2 user@host.example",
    "line\nbreak\r\n## heading\n- item",
    "\x1b[31mred\x1b[0m\x00\x07",
    "\u202egnp.exe\u2066\u200b\ufeff",
    "{{ 7*7 }} ${{ secrets.X }} {% raw %}",
    "*bold* _it_ ~~no~~ \\* &lt;b&gt; &amp;",
    "   ",
    "]]>&quot;'\"\\",
    ":tada: GH-1 :+1:",
    "\ud800 lone",
    "x" * 5_000,
    "/close\n/label ~bug",
)


def report(text: str = "credit", **changes: Any) -> Report:
    """A report with everything in it, `text` in every place for foreign text."""
    found = Report(
        verdict="failed",
        why=f"1 of 2 gates is closed: {text}",
        project=text,
        pipeline=f"pipelines/{text}.py",
        run="0198c0de-0000-7000-8000-000000000000",
        source=Source(commit=COMMIT, base="2" * 40, branch=text, repository=text, request=7),
        steps=[
            Step(
                name="train",
                state="done",
                why=[f"argument {text} is new"],
                seconds=12.5,
                key=DIGEST,
            ),
            Step(name=f"load {text}", state="cached", made_by=text, level=text),
            Step(name="score", state="failed", problem=text, remedy=text, seconds=1.25),
            Step(name="report", state="skipped", why=[text]),
        ],
        gates=[
            Gate(id="quality-floor", passed=True, control="AI Act 15"),
            Gate(
                id=f"privacy {text}",
                passed=False,
                control=text,
                advice=f"Membership inference must stay low. {text}",
                remedy=f"assay model assess {text}",
                measured=[Measured(name=text, value=text, limit=text)],
                seconds=300,
            ),
        ],
        metrics=[
            Metric(
                name=text,
                now=Estimate(value=0.81, lower=0.79, upper=0.83),
                base=Estimate(value=0.85, lower=0.83, upper=0.87),
                difference=Difference(
                    value=-0.04, lower=-0.06, upper=-0.02, method="paired bootstrap"
                ),
                rows=30_000,
            ),
            Metric(name="rmse", now=Estimate(value=1e-7), better="lower"),
        ],
        slices=[
            Slice(
                column=text,
                value=text,
                metric="auc",
                estimate=Estimate(value=0.7, lower=0.6, upper=0.8),
                rows=120,
            )
        ],
        data=[
            Dataset(
                name=text,
                before=DIGEST,
                after=DIGEST,
                rows_before=10,
                rows_after=12,
                new_rows=2,
                columns=[Changed(name=text, after=text)],
            )
        ],
        dependencies=[Changed(name=text, before="1.0", after=text)],
        code=[Changed(name=text, before=DIGEST)],
        findings=[
            Finding(rule=text, level="warning", message=text, path=text, line=3, help=text),
            Finding(rule="scan/pickle", level="error", message=text, title=text),
        ],
        statements=[Statement(kind=text, digest=DIGEST, name="scan-1")],
        checkpoint=f"assay.example/{text}\n12\nAAAA\n",
    )
    return (
        found
        if not changes
        else Report(**{f: getattr(found, f) for f in found.__struct_fields__} | changes)
    )  # type: ignore[arg-type]
