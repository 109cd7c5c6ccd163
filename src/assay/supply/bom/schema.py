"""Whether a document is CycloneDX 1.7: the published schema, and what a schema cannot say.

The schema is the one that comes with the optional library, read from the disk: nothing is fetched.
A schema says nothing of references, so a name that is given twice, or refers to nothing, is looked
for here.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from assay.errors import Unavailable, Verification

_REFERRING = frozenset({"ref", "dependsOn", "provides", "assemblies", "dependencies", "subjects"})
"""Where a text is the bom-ref of something: as a value, or in a list."""
_MOST_TOLD = 300


def validate(document: Mapping[str, Any]) -> None:
    """Raise `Verification`, naming the place and the rule, unless `document` is CycloneDX 1.7.

    Raises `Unavailable` where the schema is not installed: what was not checked is not valid.
    """
    version = document.get("specVersion")
    if document.get("bomFormat") != "CycloneDX" or version != "1.7":
        raise Verification(
            f"$.specVersion: {str(version)[:40]!r} is not what is checked here: CycloneDX 1.7",
            remedy="write it again in CycloneDX 1.7, or convert it",
            code="bom.version",
        )
    error = next(iter(_validator().iter_errors(document)), None)
    if error is not None:
        error = _inmost(error)
        place = "$" + "".join(_part(part) for part in error.absolute_path)
        raise Verification(
            f"{place}: {error.message[:_MOST_TOLD]}",
            remedy=f"CycloneDX 1.7 asks for {error.validator}: "
            f"{str(error.validator_value)[:_MOST_TOLD]}",
            code="bom.schema",
        )
    _check_references(document)


def _inmost(error: Any) -> Any:
    """Of the alternatives that all failed, the one that came furthest."""
    while error.context:
        error = max(error.context, key=lambda e: (len(e.absolute_path), e.validator != "required"))
    return error


def _part(part: object) -> str:
    return f"[{part}]" if isinstance(part, int) else f".{part}"


@functools.cache
def _validator() -> Any:
    try:
        from cyclonedx.schema import SchemaVersion
        from cyclonedx.validation.json import JsonStrictValidator

        # The library's own method parses text; what is checked here is parsed already.
        made: Any = JsonStrictValidator(SchemaVersion.V1_7)._validator  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType, reportUnknownVariableType]
    except ImportError as error:
        raise Unavailable(
            "the schema of CycloneDX is not installed, so nothing can be checked against it",
            remedy="pip install 'assay[supply]'",
            code="bom.extra",
        ) from error
    return made


def _check_references(document: Mapping[str, Any]) -> None:
    given: dict[str, str] = {}
    used: list[tuple[str, str]] = []
    for place, name, value in _walk(document, "$"):
        if name == "bom-ref" and isinstance(value, str):
            if value in given:
                raise Verification(
                    f"{place}: the bom-ref {value[:80]!r} is given twice, first at {given[value]}",
                    remedy="each bom-ref names one thing",
                    code="bom.reference",
                )
            given[value] = place
        elif name in _REFERRING:
            used += _texts(place, value)
    for place, value in used:
        if value not in given and not value.startswith("urn:cdx:"):
            raise Verification(
                f"{place}: refers to {value[:80]!r}, which is no bom-ref in this document",
                remedy="refer to something that is there, or leave it out",
                code="bom.reference",
            )
    listed = Counter(str(item.get("ref")) for item in document.get("dependencies", ()))
    twice = [ref for ref, times in listed.items() if times > 1]
    if twice:
        raise Verification(
            f"$.dependencies: {twice[0][:80]!r} is listed twice",
            remedy="list what a component depends on once",
            code="bom.reference",
        )


def _texts(place: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, list):
        for number, item in enumerate(cast("list[Any]", value)):
            if isinstance(item, str):
                yield f"{place}[{number}]", item


def _walk(value: Any, place: str) -> Iterator[tuple[str, str, Any]]:
    """Every field of every object, as (place, name, value); without recursion."""
    waiting: list[tuple[Any, str]] = [(value, place)]
    while waiting:
        item, where = waiting.pop()
        if isinstance(item, Mapping):
            for name, inner in cast("Mapping[str, Any]", item).items():
                at = f"{where}.{name}"
                yield at, name, inner
                waiting.append((inner, at))
        elif isinstance(item, Sequence) and not isinstance(item, (str, bytes)):
            waiting += [(inner, f"{where}[{i}]") for i, inner in enumerate(cast("Any", item))]
