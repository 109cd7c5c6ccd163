"""From a bucket of an object store: an object, or all below a prefix.

Who may read it and at which address is configured by people (a source of the project); whoever
asks for an intake names the bucket only.
"""

from __future__ import annotations

from assay.errors import NotFound, Usage
from assay.supply.intake.fetching import Fetched, Request, chosen
from assay.supply.intake.quarantine import Quarantine


def fetch(request: Request, into: Quarantine) -> Fetched:
    """An object by its key, or all objects below a prefix, named by what follows it."""
    locator, bucket = request.locator, request.bucket
    if bucket is None:
        raise Usage(
            f"{into.source}: no source of the project is that bucket",
            remedy='[projects.NAME.sources.LAKE] url = "s3://BUCKET" in assay.toml, with its '
            "credential",
            code="intake.bucket",
        )
    prefix = locator.path.rstrip("/")
    found: dict[str, tuple[str, int]] = {}
    for key, size in bucket.list(prefix):
        if key == prefix:
            name = key.rpartition("/")[2]
        elif not prefix or key.startswith(f"{prefix}/"):
            name = key[len(prefix) + 1 :] if prefix else key
        else:
            continue  # ``model-2`` begins with ``model``, and is another thing.
        if name and not name.endswith("/"):
            found[name] = (key, size)
        if len(found) > request.settings.limits.files:
            break  # The plan refuses so many.
    if not found:
        raise NotFound(
            f"{into.source}: there is nothing of that name",
            remedy="check the bucket and the prefix",
            code="intake",
        )
    names = chosen(request, sorted(found), into.source)
    into.plan([(name, found[name][1]) for name in names])
    for name in names:
        key, size = found[name]
        request.progress(f"fetching {name}")
        into.add(name, bucket.read(key), size=size)
    return Fetched("")
