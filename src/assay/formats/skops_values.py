"""The values inside of a skops schema, each checked and in its one spelling."""

from __future__ import annotations

import json
from typing import Any

from assay.errors import Usage

_ADDRESS = "_stop_words_id"


def damaged(what: str) -> Usage:
    """A file that skops did not write."""
    return Usage(
        f"the skops archive {what}", remedy="save the model again with skops", code="skops.damaged"
    )


def part(node: Any, name: str, place: str, *, absent: bool = False) -> Any:
    """What a node holds under a name; raises `Usage` where it holds nothing, unless `absent`."""
    found = node.get(name) if isinstance(node, dict) else None
    if found is None and not absent:
        raise damaged(f"lacks {name} at {place}")
    return found


def json_text(text: Any, place: str) -> str:
    """The one spelling of a JSON text."""
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise damaged(f"holds something else than JSON at {place}") from error
    if isinstance(value, (dict, list)):
        raise damaged(f"holds a container as JSON at {place}")
    return json.dumps(value)


def slice_of(content: Any, place: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: part(content, name, place, absent=True) for name in ("start", "stop", "step")
    }
    if not all(value is None or type(value) is int for value in found.values()):
        raise damaged(f"has a slice of something else than numbers at {place}")
    return found


def in_order(content: Any, place: str) -> list[Any]:
    """The nodes of a set, in an order that does not depend on the hashes of this process."""
    if not isinstance(content, list):
        raise damaged(f"has no set at {place}")
    return sorted(content, key=lambda node: _value(node, place))


def without_address(content: Any) -> Any:
    """The state of a vectoriser without the address of its stop words.

    scikit-learn notes it to warn about them once; after a load it is another one in any case.
    """
    state: Any = content.get("content") if isinstance(content, dict) else None
    noted: Any = state.get(_ADDRESS) if isinstance(state, dict) else None
    if not isinstance(noted, dict) or noted.get("__loader__") != "JsonNode":
        return content
    return {**content, "content": {**state, _ADDRESS: {**noted, "content": "0"}}}


def frozen(content: Any, place: str) -> Any:
    """The arguments of `frozenset`, one list, sorted."""
    arguments = part(content, "content", place)
    if not arguments:
        return content
    items = in_order(part(arguments[0], "content", place), place)
    return {**content, "content": [{**arguments[0], "content": items}]}


def _value(node: Any, place: str) -> str:
    """What a member of a set is, as text."""
    loader = part(node, "__loader__", place)
    if loader == "TupleNode":
        return "(" + ",".join(_value(item, place) for item in node["content"]) + ")"
    if loader != "JsonNode":
        raise Usage(
            f"the set at {place} holds something else than text and numbers, whose order changes "
            "from process to process",
            remedy="use a list or a tuple",
            code="skops.set",
        )
    return str(node.get("content"))
