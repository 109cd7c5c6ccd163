"""A bill that somebody sent: bounded, recognised, and every refusal names the rule."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from full import full
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import AssayError, NotFound, Usage, Verification
from assay.supply.bom import cyclonedx, reading, spdx

GOOD = cyclonedx.encode(cyclonedx.document(full()))


def test_both_formats_are_recognised_and_checked() -> None:
    kind, document = reading.decode(GOOD)
    assert kind == "CycloneDX 1.7"
    assert reading.check(document, kind).components == 7
    kind, document = reading.decode(spdx.encode(spdx.document(full())))
    assert kind == "SPDX 3.0.1"
    assert reading.check(document, kind).components == 6


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "usage.bom.json"),
        (b"not json", "usage.bom.json"),
        (b"\xff\xfe\x00", "usage.bom.json"),
        (b"[]", "usage.bom.json"),
        (b"{}", "usage.bom.kind"),
        (b'{"a": NaN}', "usage.bom.json"),
        (b'{"a": 1, "a": 2}', "usage.bom.json"),
        (GOOD[:-1], "usage.bom.json"),
        (b"[" * 100_000, "usage.bom.depth"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, "usage.bom.depth"),
        (b"[" + b"1," * reading.MOST_VALUES + b"1]", "usage.bom.size"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "usage.bom.json"),
        (b'{"bomFormat": "CycloneDX", "specVersion": "1.5"}', "verification.bom.version"),
        (b'{"bomFormat": "CycloneDX", "specVersion": 1.7}', "verification.bom.version"),
        (b'{"specVersion": "1.7"}', "verification.bom.version"),
        (b'{"spdxVersion": "SPDX-2.3"}', "verification.bom.version"),
        (
            b'{"@context": "https://spdx.org/rdf/3.0.0/spdx-context.jsonld"}',
            "verification.bom.version",
        ),
        (b'{"@context": ["https://example.org"]}', "verification.bom.version"),
    ],
)
def test_what_is_no_bill_is_refused_and_named(data: bytes, code: str) -> None:
    with pytest.raises(AssayError) as caught:
        reading.decode(data, name="sent.json")
    assert caught.value.code == code
    assert "sent.json" in caught.value.message
    assert caught.value.remedy


def test_a_file_that_is_too_large_is_refused_before_it_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MOST_BYTES", 100)
    path = tmp_path / "large.json"
    path.write_bytes(b"[" * 200)
    with pytest.raises(Usage, match="larger than"):
        reading.read(path)


def test_a_file_of_a_terabyte_of_nothing_costs_no_more_than_the_bound(tmp_path: Path) -> None:
    path = tmp_path / "sparse.json"
    with path.open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(Usage, match="larger than 64 MiB"):
        reading.read(path)


def test_what_is_not_there_or_is_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        reading.read(tmp_path / "gone.json")
    with pytest.raises(Usage):
        reading.read(tmp_path)


def test_brackets_in_text_do_not_count_as_depth() -> None:
    document = cyclonedx.document(full())
    document["components"][0]["data"][0]["description"] = '[{"\\' * 500
    kind, read = reading.decode(json.dumps(document).encode())
    reading.check(read, kind)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise_anything_of_its_own(data: bytes) -> None:
    with contextlib.suppress(Usage, Verification):
        reading.decode(data)


def _keys(value: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        item = waiting.pop()
        pairs = list(item.items() if isinstance(item, dict) else enumerate(item))
        found += [(item, key) for key, _ in pairs]
        waiting += [inner for _, inner in pairs if isinstance(inner, (dict, list))]
    return found


@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from([None, 3, -1.5, "x", [], {}, [[]], True]))
def test_whatever_stands_at_any_place_is_accepted_or_refused_and_never_crashes(
    data: st.DataObject, value: Any
) -> None:
    makers: list[Callable[..., dict[str, Any]]] = [cyclonedx.document, spdx.document]
    document = data.draw(st.sampled_from(makers))(full())
    at, key = data.draw(st.sampled_from(_keys(document)))
    at[key] = value
    with contextlib.suppress(Usage, Verification):
        kind, read = reading.decode(json.dumps(document).encode())
        reading.check(read, kind)
