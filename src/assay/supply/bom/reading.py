"""A bill of materials that somebody sent: read with bounds, recognised, checked against its format.

The bytes are anybody's.  They are bounded before anything looks at them: how many, how deeply
nested, how many values; and names that JSON allows to stand twice are refused, because readers
differ about which counts.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import msgspec

from assay import files
from assay.errors import Usage, Verification
from assay.supply.bom import schema, spdx_model

Kind: TypeAlias = Literal["CycloneDX 1.7", "SPDX 3.0.1"]

MOST_BYTES = 64 << 20
MOST_DEPTH = 64
MOST_VALUES = 2_000_000
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_NO_JSON = "give a CycloneDX 1.7 or SPDX 3.0.1 document in JSON"


class Checked(msgspec.Struct, frozen=True):
    """What a bill is that holds to its format."""

    kind: Kind
    document: dict[str, Any]
    components: int


def read(path: Path) -> tuple[Kind, dict[str, Any]]:
    """The document in a file; raises `Usage` or `Verification` naming the rule, `NotFound`."""
    with files.open_input(path, what="bill of materials") as stream:
        data = stream.read(MOST_BYTES + 1)
    return decode(data, name=str(path))


def decode(data: bytes, *, name: str = "bill of materials") -> tuple[Kind, dict[str, Any]]:
    """The document in `data`, which is still to be checked."""
    if len(data) > MOST_BYTES:
        raise Usage(
            f"{name} is larger than {MOST_BYTES >> 20} MiB",
            remedy="a bill of materials is not that large; split it",
            code="bom.size",
        )
    _check_shape(data, name)
    try:
        value = json.loads(data, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Usage(
            f"{name} is not JSON that every reader reads alike: {str(error)[:200]}",
            remedy=_NO_JSON,
            code="bom.json",
        ) from error
    if not isinstance(value, dict):
        raise Usage(f"{name}: $ is no JSON object", remedy=_NO_JSON, code="bom.json")
    document = cast("dict[str, Any]", value)
    return _kind(document, name), document


def check(document: dict[str, Any], kind: Kind) -> Checked:
    """Hold a document to its format; raises `Verification` naming place and rule."""
    if kind == "CycloneDX 1.7":
        schema.validate(document)
        count = len(document.get("components", ()))
        return Checked(kind, document, count + ("component" in document.get("metadata", {})))
    spdx_model.validate(document)
    packages = [e for e in document["@graph"] if str(e.get("type")).endswith(("Package", "_File"))]
    return Checked(kind, document, len(packages))


def check_confined(payload: bytes) -> bytes:
    """`read` and `check` for a path in UTF-8, the answer in JSON without the document: the form
    that `assay.isolation.run` calls."""
    kind, document = read(Path(payload.decode()))
    checked = check(document, kind)
    return msgspec.json.encode({"kind": checked.kind, "components": checked.components})


def _kind(document: dict[str, Any], name: str) -> Kind:
    if "bomFormat" in document or "specVersion" in document:
        if document.get("bomFormat") == "CycloneDX" and document.get("specVersion") == "1.7":
            return "CycloneDX 1.7"
        said = f"{document.get('bomFormat')} {document.get('specVersion')}"
    elif document.get("@context") == spdx_model.CONTEXT:
        return "SPDX 3.0.1"
    elif "spdxVersion" in document:
        said = str(document["spdxVersion"])
    elif "@context" in document:
        said = str(document["@context"])
    else:
        raise Usage(
            f"{name}: $ has neither bomFormat nor @context, so it is no bill of materials",
            remedy=_NO_JSON,
            code="bom.kind",
        )
    place = "$.specVersion" if "specVersion" in document else "$"
    raise Verification(
        f"{name}: {place}: {said[:80]!r} is not what is checked here",
        remedy="CycloneDX 1.7 and SPDX 3.0.1 are; convert it",
        code="bom.version",
    )


def _check_shape(data: bytes, name: str) -> None:
    """How deep and how many, told without building anything."""
    plain = _STRINGS.sub(b"", data)
    depth = deepest = 0
    for sign in re.finditer(rb"[\[\]{}]", plain):
        depth += 1 if sign[0] in b"[{" else -1
        deepest = max(deepest, depth)
        if deepest > MOST_DEPTH:
            raise Usage(
                f"{name} is nested deeper than {MOST_DEPTH} levels",
                remedy="flatten it: components may refer to each other by bom-ref",
                code="bom.depth",
            )
    if plain.count(b",") + plain.count(b"[") + plain.count(b"{") > MOST_VALUES:
        raise Usage(
            f"{name} holds more than {MOST_VALUES:,} values",
            remedy="a bill of materials is not that large; split it",
            code="bom.size",
        )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        counted = Counter(name for name, _ in pairs)
        twice = next(name for name in counted if counted[name] > 1)
        raise ValueError(f"the name {twice[:80]!r} stands twice in one object")
    return made


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")
