"""Whether a document is SPDX 3.0.1: the published model, and references that lead nowhere.

The model is the one that comes with the optional library `spdx-python-model`, generated from the
specification's own SHACL shapes; nothing is fetched.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from assay.errors import Unavailable, Verification

CONTEXT = "https://spdx.org/rdf/3.0.1/spdx-context.jsonld"
_MOST_TOLD = 300
_ADDRESS = re.compile(r" \([0-9]{6,}\)")
"""How the library names an object: by its place in memory."""
_KNOWN = "https://spdx.org/rdf/3.0.1/terms/"


def validate(document: Mapping[str, Any]) -> None:
    """Raise `Verification`, naming the place and the rule, unless `document` is SPDX 3.0.1.

    Raises `Unavailable` where the model is not installed: what was not checked is not valid.
    """
    context = document.get("@context")
    if context != CONTEXT:
        raise Verification(
            f"$.@context: {str(context)[:80]!r} is not what is checked here: SPDX 3.0.1",
            remedy="write it again in SPDX 3.0.1, or convert it",
            code="bom.version",
        )
    unknown = sorted(set(document) - {"@context", "@graph"})
    if unknown:
        raise Verification(
            f"$.{unknown[0][:80]}: is no field of an SPDX document",
            remedy="an SPDX 3 document has @context and @graph",
            code="bom.schema",
        )
    graph = document.get("@graph")
    if not isinstance(graph, list):
        raise Verification(
            "$.@graph: is no list of elements",
            remedy="an SPDX 3 document holds its elements in @graph",
            code="bom.schema",
        )
    _check_ids(graph)  # pyright: ignore[reportUnknownArgumentType]
    _check_model(document)


def _check_ids(graph: list[Any]) -> None:
    places: dict[str, str] = {}
    for number, element in enumerate(graph):
        if not isinstance(element, Mapping):
            raise Verification(
                f"$.@graph[{number}]: is no object",
                remedy="each element is an object with a type",
                code="bom.schema",
            )
        name = element.get("spdxId") or element.get("@id")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if isinstance(name, str):
            if name in places:
                raise Verification(
                    f"$.@graph[{number}]: the id {name[:80]!r} is given twice, first at "
                    f"{places[name]}",
                    remedy="each id names one element",
                    code="bom.reference",
                )
            places[name] = f"$.@graph[{number}]"


def _check_model(document: Mapping[str, Any]) -> None:
    try:
        from spdx_python_model import v3_0_1 as spdx
    except ImportError as error:
        raise Unavailable(
            "the model of SPDX is not installed, so nothing can be checked against it",
            remedy="pip install 'assay[supply]'",
            code="bom.extra",
        ) from error
    found, why = _read(spdx, document)
    if why:
        place = "$.@graph"
        for number, element in enumerate(document["@graph"]):
            _, alone = _read(spdx, {"@context": CONTEXT, "@graph": [element]})
            if alone:
                place, why = f"$.@graph[{number}]", alone
                break
        raise Verification(
            f"{place}: {why}", remedy="SPDX 3.0.1 does not allow this", code="bom.schema"
        )
    missing = sorted(name for name in found.link() if not str(name).startswith(_KNOWN))
    if missing:
        raise Verification(
            f"$.@graph: refers to {missing[0][:80]!r}, which is no element of this document",
            remedy="add the element, or an entry of the document's import",
            code="bom.reference",
        )
    documents = list(found.foreach_type(spdx.SpdxDocument))
    if len(documents) != 1:
        raise Verification(
            f"$.@graph: holds {len(documents)} elements of type SpdxDocument",
            remedy="an SPDX document has exactly one",
            code="bom.schema",
        )


def _read(spdx: Any, document: Mapping[str, Any]) -> tuple[Any, str]:
    """The elements, and what is wrong with one of them."""
    found: Any = spdx.SHACLObjectSet()
    try:
        spdx.JSONLDDeserializer().deserialize_data(dict(document), found)
        # Writing it again is what holds each element to the number of values that it must have.
        spdx.JSONLDSerializer().serialize_data(found)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        said = error.args[0] if error.args else type(error).__name__
        return found, _ADDRESS.sub("", str(said))[:_MOST_TOLD]
    return found, ""
