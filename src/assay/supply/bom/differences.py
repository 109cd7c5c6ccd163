"""What is different between two bills: components, datasets and measured figures, by name.

Works on CycloneDX documents, ours or anybody's that holds to the schema.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

_COMPARED = ("version", "hashes", "licenses", "supplier")
_IGNORED = ("assay:source", "assay:by:")
"""Another statement that says the same is no difference."""


def diff(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """What was added, removed and changed between two CycloneDX documents.

    ``{"same": bool, "components": {"added", "removed", "changed"}, "datasets": {…}, "model": […],
    "metrics": […]}``; a change is ``{"name", "field", "old", "new"}``.
    """
    before, after = _components(old), _components(new)
    datasets = _compared(before, after, data=True)
    components = _compared(before, after, data=False)
    model = list(_changes("", _model(old), _model(new)))
    metrics = list(_metric_changes(_metrics(old), _metrics(new)))
    lists = [*components.values(), *datasets.values(), model, metrics]
    return {
        "same": not any(lists),
        "components": components,
        "datasets": datasets,
        "model": model,
        "metrics": metrics,
    }


def _compared(
    before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]], *, data: bool
) -> dict[str, list[Any]]:
    def mine(parts: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        return {k: v for k, v in parts.items() if (v.get("type") == "data") is data}

    old, new = mine(before), mine(after)
    changed = [
        change
        for key in sorted(old.keys() & new.keys())
        for change in _changes(_name(new[key]), old[key], new[key])
    ]
    return {
        "added": [_told(new[key]) for key in sorted(new.keys() - old.keys())],
        "removed": [_told(old[key]) for key in sorted(old.keys() - new.keys())],
        "changed": changed,
    }


def _components(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """All components, nested ones too, by what they are called."""
    found: dict[str, dict[str, Any]] = {}
    waiting: list[dict[str, Any]] = list(reversed(document.get("components", [])))
    while waiting:
        component = waiting.pop()
        waiting += reversed(component.get("components", []))
        use = _property(component, "assay:use")
        group = component.get("group", "")
        key = f"{component.get('type')}:{use}:{group}:{component.get('name')}"
        if key in found:  # The same library, twice: told apart by its version.
            key = f"{key}@{component.get('version', '')}"
        found[key] = component
    return found


def _name(component: Mapping[str, Any]) -> str:
    name = str(component.get("name"))
    use = _property(component, "assay:use")
    return f"{name} ({use})" if component.get("type") == "data" and use else name


def _told(component: Mapping[str, Any]) -> dict[str, str]:
    made = {"name": _name(component), "type": str(component.get("type"))}
    version = component.get("version")
    return {**made, "version": str(version)} if version else made


def _model(document: Mapping[str, Any]) -> dict[str, Any]:
    found = document.get("metadata", {}).get("component", {})
    card = found.get("modelCard", {})
    parameters = dict(card.get("modelParameters", {}))
    parameters.pop("datasets", None)
    properties = [*found.get("properties", []), *card.get("properties", [])]
    kept = [p for p in properties if not str(p.get("name")).startswith("assay:signed-by")]
    return {
        **{name: found[name] for name in ("name", "version", *_COMPARED) if name in found},
        **parameters,
        "considerations": card.get("considerations", {}),
        "properties": kept,
    }


def _changes(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    fields = [*_COMPARED, *sorted({*old, *new} - {*_COMPARED}) * (not name)]
    for field in fields:
        if field != "properties" and old.get(field) != new.get(field):
            yield {
                "name": name,
                "field": field,
                "old": _shown(field, old.get(field)),
                "new": _shown(field, new.get(field)),
            }
    before, after = _properties(old), _properties(new)
    for field in sorted({*before, *after}):
        if before.get(field) != after.get(field):
            yield {
                "name": name,
                "field": field.removeprefix("assay:"),
                "old": before.get(field),
                "new": after.get(field),
            }


def _shown(field: str, value: Any) -> Any:
    if field == "hashes" and isinstance(value, list):
        hashes = cast("list[dict[str, str]]", value)
        return ", ".join(f"{item.get('alg')}:{item.get('content')}" for item in hashes)
    if field == "licenses" and isinstance(value, list):
        return " AND ".join(licences(cast("list[dict[str, Any]]", value)))
    return value


def licences(listed: list[dict[str, Any]]) -> list[str]:
    """What a component's licences are called, however they are given."""
    found: list[str] = []
    for item in listed:
        licence = item.get("license", {})
        found.append(str(item.get("expression") or licence.get("id") or licence.get("name")))
    return found


def _properties(component: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in component.get("properties", []):
        name = str(item.get("name"))
        if not name.startswith(_IGNORED):
            value = str(item.get("value", ""))
            found[name] = f"{found[name]}; {value}" if name in found else value
    return found


def _property(component: Mapping[str, Any], name: str) -> str:
    found = component.get("properties", [])
    return next((str(p.get("value", "")) for p in found if p.get("name") == name), "")


def _metrics(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    card = document.get("metadata", {}).get("component", {}).get("modelCard", {})
    listed = card.get("quantitativeAnalysis", {}).get("performanceMetrics", [])
    return {f"{item.get('type')}|{item.get('slice', '')}": item for item in listed}


def _metric_changes(
    old: dict[str, dict[str, Any]], new: dict[str, dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if before != after:
            name, _, part = key.partition("|")
            yield {
                "name": f"{name} ({part})" if part else name,
                "field": "value",
                "old": before.get("value") if before else None,
                "new": after.get("value") if after else None,
            }
