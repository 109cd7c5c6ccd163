"""What changed between two intakes of one source: the first thing to look at in an upgrade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_LISTED = 200
"""Files and names that are listed each; the counts are of all."""


def between(
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    scanned_before: Mapping[str, Any] | None,
    scanned: Mapping[str, Any],
) -> dict[str, Any]:
    """The differences of two intake predicates and of the scans beside them.

    What is the same is left out, but for counts; an empty mapping says that nothing changed.
    """
    found: dict[str, Any] = {}
    old = {file["path"]: file["digest"] for file in before.get("files", [])}
    new = {file["path"]: file["digest"] for file in now["files"]}
    changed = sorted(path for path in old.keys() & new.keys() if old[path] != new[path])
    added, removed = sorted(new.keys() - old.keys()), sorted(old.keys() - new.keys())
    if added or removed or changed:
        found["files"] = {
            "added": added[:_LISTED],
            "removed": removed[:_LISTED],
            "changed": [
                {"path": path, "from": old[path], "to": new[path]} for path in changed[:_LISTED]
            ],
            "counts": {"added": len(added), "removed": len(removed), "changed": len(changed)},
        }
    pairs = {
        "revision": (before["source"]["revision"], now["source"]["revision"]),
        "licence": (before.get("licence", ""), now["licence"]),
        "signer": (_signer(before), _signer(now)),
        "verdict": ((scanned_before or {}).get("verdict", "not scanned"), scanned["verdict"]),
    }
    for name, (was, is_) in pairs.items():
        if was != is_:
            found[name] = {"from": was, "to": is_}
    reached = _gone_and_new((scanned_before or {}).get("globals", []), scanned["globals"])
    if reached:
        found["globals"] = reached
    findings = _gone_and_new(_findings(scanned_before or {}), _findings(scanned))
    if findings:
        found["findings"] = findings
    return found


def _signer(predicate: Mapping[str, Any]) -> str:
    signature = predicate.get("signature") or {}
    identity = str(signature.get("identity", ""))
    return f"{predicate.get('signer', 'unsigned')}{f': {identity}' if identity else ''}"


def _findings(scanned: Mapping[str, Any]) -> list[str]:
    return [f"{f['severity']} {f['rule']}: {f['what']}" for f in scanned.get("findings", [])]


def _gone_and_new(before: Sequence[str], now: Sequence[str]) -> dict[str, list[str]]:
    gone, new = sorted(set(before) - set(now)), sorted(set(now) - set(before))
    return {"added": new[:_LISTED], "removed": gone[:_LISTED]} if gone or new else {}
