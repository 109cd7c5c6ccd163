"""From this machine: a file, a folder, or a mirror of what lies elsewhere.

A mirror is a folder that somebody filled where there was a network, in one of these forms:

- ``models--ORG--NAME/`` as the cache of Hugging Face's library has it: ``refs/BRANCH`` holds a
  commit, ``snapshots/COMMIT`` the files.  They are links into ``blobs/``, whose files are named
  after their content, which is checked.  No other link is followed.  Whoever filled the folder says
  that they are that commit's, and nothing proves it;
- ``NAME-VERSION-*.whl`` for packages;
- an OCI image layout at ``REGISTRY/REPOSITORY`` (``oci-layout``, ``index.json``, ``blobs/``);
- ``ORG/NAME``, ``BUCKET/PREFIX`` or ``HOST/PATH``: a plain copy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from assay import files
from assay.errors import NotFound, Usage, Verification
from assay.store import trees
from assay.supply.intake.fetching import Fetched, Request, chosen
from assay.supply.intake.quarantine import Claim, Quarantine

_PIECE = 1 << 20
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_BLOB = re.compile(r"(?:\.\./)+blobs/(?P<name>[0-9a-f]{40}|[0-9a-f]{64})")


def fetch(request: Request, into: Quarantine) -> Fetched:
    """A file or folder of this machine."""
    return copy(Path(request.locator.name), request, into)


def copy(path: Path, request: Request, into: Quarantine) -> Fetched:
    """Copy a file or a folder; links and devices raise `Usage`."""
    if request.own is not None:
        there, own = path.resolve(), request.own.resolve()
        if there.is_relative_to(own) or own.is_relative_to(there):
            raise own_folder(path)
    if path.is_dir() and not path.is_symlink():
        openings = dict(trees.walk(path))
        names = chosen(request, sorted(openings), into.source)
        into.plan([(name, None) for name in names])
        # Walked again: each file is opened by the handle of the folder that it was found in.
        for name, opening in trees.walk(path):
            if name in names:
                request.progress(f"copying {name}")
                with opening() as stream:
                    into.add(name, pieces(stream))
        return Fetched("")
    chosen(request, [path.name], into.source)
    with files.open_input(path, what="file") as stream:
        into.plan([(path.name, None)])
        into.add(path.name, pieces(stream))
    return Fetched("")


def own_folder(path: Path) -> Usage:
    """For what lies in the workspace's own folder, or has that in it."""
    return Usage(
        f"{path} lies in the workspace's own folder, or holds it",
        remedy="name a file, or a folder of its own",
        code="intake.path",
    )


def pieces(stream: BinaryIO) -> Iterator[bytes]:
    """A stream, a megabyte at a time."""
    return iter(lambda: stream.read(_PIECE), b"")


# -- mirrors --------------------------------------------------------------------------------------


def from_mirror(request: Request, mirror: Path, into: Quarantine) -> Fetched:
    """What `request` asks for, from a folder instead of the network."""
    from assay.supply.intake import packages, registry

    locator = request.locator
    if not mirror.is_dir():
        raise NotFound(f"the mirror {mirror} is not a folder", code="intake.mirror")
    match locator.scheme:
        case "hf":
            cache = mirror / f"models--{locator.name.replace('/', '--')}"
            if cache.is_dir():
                return _from_cache(_inside(mirror, cache, into.source), request, into)
            return _plain(mirror, locator.name, request, into)
        case "pypi":
            return packages.from_mirror(request, mirror, into)
        case "oci":
            layout = _inside(mirror, mirror / locator.host / locator.name, into.source)
            return registry.from_layout(request, layout, into)
        case "s3":
            return _plain(mirror, f"{locator.name}/{locator.path}", request, into)
        case _:
            parts = urlsplit(locator.name)
            return _plain(mirror, f"{parts.hostname}/{parts.path.strip('/')}", request, into)


def _inside(mirror: Path, path: Path, source: str) -> Path:
    """`path`, if that is below the mirror whatever links and names say; else `Verification`."""
    if not path.resolve().is_relative_to(mirror.resolve()):
        raise Verification(
            f"{source}: {path} leads out of the mirror",
            remedy="mirror it anew; a mirror holds files and no links to elsewhere",
            code="intake.link",
        )
    return path


def _plain(mirror: Path, name: str, request: Request, into: Quarantine) -> Fetched:
    folder = _inside(mirror, mirror / name, into.source)
    if not folder.exists():
        raise NotFound(
            f"{into.source}: the mirror has no {folder}",
            remedy="copy it there where there is a network",
            code="intake.mirror",
        )
    copy(folder, request, into)
    return Fetched(
        "", notes=("from a plain mirror, which says nothing of the revision",), bound=False
    )


def _from_cache(cache: Path, request: Request, into: Quarantine) -> Fetched:
    """A repository as the cache of Hugging Face's library keeps it."""
    asked = request.locator.revision
    commit = asked
    if not _COMMIT.fullmatch(asked):
        reference = _inside(cache, cache / "refs" / asked, into.source)
        commit = files.read(reference, limit=100, what="reference of the mirror").decode().strip()
    snapshot = _inside(cache, cache / "snapshots" / commit, into.source)
    _inside(cache, cache / "blobs", into.source)
    if not _COMMIT.fullmatch(commit) or snapshot.is_symlink() or not snapshot.is_dir():
        raise NotFound(
            f"{into.source}: the mirror {cache} has no snapshot {commit[:64]!r}",
            remedy="name a revision that was downloaded, or download it where there is a network",
            code="intake.mirror",
        )
    found = dict(_snapshot(snapshot, cache, into.source))
    into.plan([(name, None) for name in chosen(request, sorted(found), into.source)])
    for name in chosen(request, sorted(found), into.source):
        request.progress(f"copying {name}")
        blob = found[name]
        with files.open_input(blob, what="file of the mirror") as stream:
            size = blob.stat(follow_symlinks=False).st_size
            into.add(name, pieces(stream), size=size, claims=_claims(blob))
    # Each file is what its blob is called.  That they are the commit's only the folder's name says.
    note = "from a mirror in the form of the hub's cache, whose word for the commit nobody checked"
    return Fetched(commit, notes=(note,), bound=False)


def _snapshot(snapshot: Path, cache: Path, source: str) -> Iterator[tuple[str, Path]]:
    """Every file of a snapshot and where its content lies."""
    waiting = [snapshot]
    while waiting:
        folder = waiting.pop()
        for entry in sorted(folder.iterdir()):
            name = entry.relative_to(snapshot).as_posix()
            if entry.is_symlink():
                link = _BLOB.fullmatch(str(entry.readlink()))
                if link is None:
                    raise Verification(
                        f"{source}: {name[:120]!r} of the mirror is a link to elsewhere",
                        remedy="mirror it anew; nothing but blobs/ of the same repository is read",
                        code="intake.link",
                    )
                yield name, cache / "blobs" / link["name"]
            elif entry.is_dir():
                waiting.append(entry)
            else:
                yield name, entry


def _claims(blob: Path) -> list[Claim]:
    """What the name of a blob says of its content."""
    if blob.parent.name != "blobs":
        return []
    kind = "sha256" if len(blob.name) == 64 else "git-blob"
    return [Claim(kind, blob.name, "name of the mirror's blob")]
