"""Suppressions: signed, by digest, until a day; refused otherwise."""

from __future__ import annotations

import contextlib
import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay import canonical
from assay.errors import AssayError, Corrupt, NotFound, Usage, Verification
from assay.evidence.signers import MemorySigner
from assay.supply import suppressions as kept
from assay.supply.batch import Answer, Batch, Found, Scanned

TODAY = date(2026, 6, 1)
CAROL = MemorySigner.generate()
MALLORY = MemorySigner.generate()
DIGEST = canonical.digest(b"a model")


def entry(**changed: Any) -> kept.Entry:
    fields: dict[str, Any] = {
        "rule": "pickle.call",
        "digest": DIGEST,
        "reason": "our own class",
        "owner": "risk@example.com",
        "added": TODAY,
        "expires": TODAY + timedelta(days=90),
    }
    return kept.entry(**{**fields, **changed})


def write(folder: Path, data: bytes, *signers: MemorySigner) -> Path:
    path = folder / "assay-suppressions.toml"
    path.write_bytes(data)
    if signers:
        kept.signature_path(path).write_bytes(kept.sign(data, *signers))
    return path


def load(path: Path, today: date = TODAY) -> kept.Trusted:
    return kept.load(path, [CAROL.public], today=today)


def scanned(*severities: tuple[str, str], digest: str = DIGEST, count: int = 0) -> Batch:
    findings = [msgspec.convert(
        {"rule": rule, "severity": severity, "where": "+0", "what": "x"}, Found
    ) for rule, severity in severities]  # fmt: skip
    order = ("malicious", "unscannable", "suspicious")
    verdict: Any = next((s for s in order if s in {f.severity for f in findings}), "clean")
    answer = Answer(verdict, "pickle", 7, findings, count or len(findings), digest)
    return Batch([Scanned("m.pkl", answer)], "full")


def judged(batch: Batch, *entries: kept.Entry) -> kept.Judged:
    (one,) = kept.judge(batch, kept.Trusted(entries, ("k",), ()))
    return one


# -- the file --------------------------------------------------------------------------------------

LINE = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40
)


@given(reason=LINE, owner=LINE, file=st.text(max_size=30), days=st.integers(1, kept.MOST_DAYS))
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read_back_as_it_was(
    reason: str, owner: str, file: str, days: int
) -> None:
    made = entry(reason=reason, owner=owner, file=file, expires=TODAY + timedelta(days=days))
    assert kept.parse(kept.render([made]), today=TODAY).suppress == [made]


@given(data=st.binary(max_size=300))
@settings(max_examples=60, deadline=None)
def test_whatever_the_file_holds_only_errors_of_ours_come_out(data: bytes) -> None:
    for text in (data, b'format = "assay/suppressions/v1"\n' + data):
        with contextlib.suppress(AssayError):
            kept.parse(text, today=TODAY)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"reason =", b"excuse ="),
        (b'owner = "risk@example.com"\n', b""),
        (b'reason = "our own class"', b'reason = ""'),
        (b"expires = 2026-08-30", b"expires = 2026-11-29"),
        (b"expires = 2026-08-30", b"expires = 2026-06-01"),
        (b"expires = 2026-08-30", b'expires = "soon"'),
        (b"expires = 2026-08-30\n", b""),
        (b"added = 2026-06-01", b"added = 2026-06-05"),
        (b"added = 2026-06-01", b"added = 2026-06-01T00:00:00Z"),
        (b"added = 2026-06-01", b"added = 2026-06-01T00:00:00"),
        (b"added = 2026-06-01", b"added = 12:00:00"),
        (b"expires = 2026-08-30", b"expires = 9999-12-31"),
        (b"added = 2026-06-01\nexpires = 2026-08-30", b"added = 9999-12-30\nexpires = 9999-12-31"),
        (b'accepts = "suspicious"', b'accepts = "everything"'),
        (b'rule = "pickle.call"', b'rule = "*"'),
        (b"sha256:", b"sha1:"),
        (b"[[suppress]]", b"[[suppress]]\nforce = true"),
        (b"[[suppress]]", b"key = 1\n[[suppress]]"),
    ],
)
def test_an_entry_that_is_not_as_it_should_be_is_refused(old: bytes, new: bytes) -> None:
    good = kept.render([entry()])
    assert old in good
    with pytest.raises(Usage, match="suppressions are not"):
        kept.parse(good.replace(old, new, 1), today=TODAY)


def test_one_finding_suppressed_twice_is_refused() -> None:
    with pytest.raises(Usage, match="twice"):
        kept.parse(kept.render([entry(), entry(reason="another")]), today=TODAY)


def test_another_version_is_refused_by_its_name() -> None:
    text = kept.render([]).replace(b"suppressions/v1", b"suppressions/v9")
    with pytest.raises(Corrupt, match="v9"):
        kept.parse(text, today=TODAY)


@pytest.mark.parametrize("days", [0, -1, kept.MOST_DAYS + 1])
def test_no_entry_is_made_that_lasts_too_long_or_not_at_all(days: int) -> None:
    with pytest.raises(Usage, match="180 days"):
        entry(expires=TODAY + timedelta(days=days))


# -- the signature ---------------------------------------------------------------------------------


def test_entries_count_when_a_named_key_signed_these_bytes(tmp_path: Path) -> None:
    trusted = load(write(tmp_path, kept.render([entry()]), CAROL))
    assert trusted.entries == (entry(),)
    assert trusted.signers == (CAROL.public.keyid,)


def test_an_unsigned_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Verification, match="not signed"):
        load(write(tmp_path, kept.render([entry()])))


def test_a_file_signed_by_somebody_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Verification, match="nobody known"):
        load(write(tmp_path, kept.render([entry()]), MALLORY))


def test_a_file_changed_after_it_was_signed_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, kept.render([entry()]), CAROL)
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(Verification, match="changed after"):
        load(path)


def test_a_signature_under_which_other_bytes_were_put_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, kept.render([entry()]), CAROL)
    beside = kept.signature_path(path)
    told = json.loads(beside.read_bytes())
    data = kept.render([entry(accepts="malicious")])
    told["payload"] = canonical.b64(data)
    path.write_bytes(data)
    beside.write_bytes(msgspec.json.encode(told))
    with pytest.raises(Verification, match="does not hold"):
        load(path)


def test_a_signature_of_something_else_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, kept.render([entry()]), CAROL)
    beside = kept.signature_path(path)
    told = json.loads(beside.read_bytes())
    told["payloadType"] = "application/vnd.in-toto+json"
    beside.write_bytes(msgspec.json.encode(told))
    with pytest.raises(Verification, match="something else"):
        load(path)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        load(tmp_path / "nothing.toml")


def test_an_expired_entry_does_not_count_and_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, kept.render([entry()]), CAROL)
    assert load(path, TODAY + timedelta(days=89)).entries == (entry(),)
    trusted = load(path, TODAY + timedelta(days=90))
    assert trusted.entries == ()
    assert trusted.expired == (entry(),)


# -- what they change ------------------------------------------------------------------------------


def test_a_suppressed_finding_is_kept_beside_and_the_file_counts_as_clean() -> None:
    one = judged(scanned(("pickle.call", "suspicious")), entry())
    assert one.verdict == "clean"
    assert one.scanned.answer.verdict == "suspicious"
    assert [found.rule for found, _ in one.suppressed] == ["pickle.call"]


@pytest.mark.parametrize("severity", ["unscannable", "malicious"])
def test_what_is_worse_than_suspicious_is_covered_only_where_the_entry_says_so(
    severity: str,
) -> None:
    batch = scanned(("pickle.call", severity))
    assert judged(batch, entry()).verdict == severity
    assert judged(batch, entry(accepts=severity)).verdict == "clean"
    milder = scanned(("pickle.call", "suspicious"))
    assert judged(milder, entry(accepts=severity)).verdict == "suspicious"


@pytest.mark.parametrize(
    "other",
    [
        {"digest": canonical.digest(b"another")},
        {"rule": "pickle.global"},
        {"rule": "pickle"},
    ],
)
def test_another_file_or_another_rule_is_not_covered(other: dict[str, str]) -> None:
    assert judged(scanned(("pickle.call", "suspicious")), entry(**other)).verdict == "suspicious"


def test_a_file_without_a_digest_is_never_covered() -> None:
    batch = scanned(("scan.stopped", "unscannable"), digest="")
    assert judged(batch, entry(rule="scan.stopped", accepts="unscannable")).verdict == "unscannable"


def test_the_worst_of_what_is_left_decides() -> None:
    batch = scanned(("pickle.call", "suspicious"), ("pickle.frame", "unscannable"))
    assert judged(batch, entry()).verdict == "unscannable"


def test_a_file_with_more_findings_than_were_written_down_keeps_its_verdict() -> None:
    one = judged(scanned(("pickle.call", "suspicious"), count=101), entry())
    assert one.verdict == "suspicious"


def test_without_suppressions_everything_stays_as_it_was_scanned() -> None:
    (one,) = kept.judge(scanned(("pickle.call", "suspicious")), None)
    assert one.verdict == "suspicious"
    assert not one.suppressed


def test_a_baseline_takes_in_what_is_suspicious_and_counts_what_is_worse() -> None:
    batch = scanned(
        ("pickle.call", "suspicious"), ("pickle.call", "suspicious"), ("zip.path", "malicious")
    )
    entries, worse = kept.baseline(
        kept.judge(batch, None), reason="in use", owner="risk", today=TODAY, days=30
    )
    assert [(e.rule, e.accepts, e.file) for e in entries] == [
        ("pickle.call", "suspicious", "m.pkl")
    ]
    assert worse == 1
