"""``assay verify`` for a model: its signature, by whom, and each of its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from assay.cli.output import counted, emit, escape, note, progress, say
from assay.errors import Usage

if TYPE_CHECKING:
    from assay.supply.signing import Trust, Verified

_MEDIA_TYPE = b"application/vnd.dev.sigstore.bundle"
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Asked:
    """What was typed about the signature of a model."""

    signature: Path | None = None
    keys: tuple[Path, ...] = ()
    roots: tuple[Path, ...] = ()
    lists: tuple[Path, ...] = ()
    strict: bool = False
    cache: Path | None = None

    @classmethod
    def of(
        cls,
        signature: Path | None,
        keys: Sequence[Path] | None,
        roots: Sequence[Path] | None,
        lists: Sequence[Path] | None,
        strict: bool,
        cache: Path | None,
    ) -> Asked:
        """From what was typed."""
        given = (tuple(keys or ()), tuple(roots or ()), tuple(lists or ()))
        return cls(signature, *given, strict, cache)

    @property
    def anything(self) -> bool:
        """Whether a model was meant."""
        return self != Asked()

    def trust(self) -> Trust:
        """Whose signatures count; `Usage` when nobody was named."""
        from assay.supply.signing import Trust

        named = [
            *(Trust.of_key(path) for path in self.keys),
            *(Trust.of_root(path) for path in self.roots),
            *(Trust.load(path) for path in self.lists),
        ]
        if not named:
            raise Usage(
                "nobody is named whose signature counts",
                remedy="--key PUBLIC.pem, --certificate-root ROOT.pem, or --trust LIST.toml",
                code="verify.trust",
            )
        found = named[0]
        for other in named[1:]:
            found |= other
        return found


def verify(what: Path, asked: Asked, as_json: bool) -> bool:
    """Check `what` if it is a model, or was called one; False if it is something else."""
    signature = asked.signature or _beside(what, asked)
    if signature is None:
        return False
    from assay.cli.sign import opened
    from assay.supply.signing import verify as check

    trust = asked.trust()
    cache = opened(asked.cache, what)
    with progress(as_json) as told:
        found = check(what, signature, trust, strict=asked.strict, cache=cache, progress=told)
    if cache is not None:
        cache.save()
    value = {
        "model": str(what),
        "signature": str(signature),
        "method": found.method,
        "identity": found.identity,
        "trusted_as": found.trusted_as,
        "digest": found.digest,
        "files": len(found.files),
        "bytes": found.bytes,
        "ignored": list(found.ignored),
        "cached": cache is not None,
    }
    emit(as_json, value, lambda: _told(what, found, cached=cache is not None))
    return True


def _told(what: Path, found: Verified, *, cached: bool) -> None:
    say(f"[green]✓[/] {escape(what)} is the model that was signed: {escape(found.digest)}")
    say(
        f"  by {escape(found.identity)} ({found.method}), trusted as {escape(found.trusted_as)}; "
        f"{counted(len(found.files), 'file')}, {found.bytes:,} bytes"
    )
    if cached:
        say("  [yellow]unchanged files were not read[/]: as far as this file system tells")
    for path in found.ignored[:_SHOWN]:
        say(f"  [yellow]not covered by the signature[/]: {escape(path)}")
    if len(found.ignored) > _SHOWN:
        say(f"  [yellow]and {len(found.ignored) - _SHOWN} more[/]; --json lists them")


def _beside(what: Path, asked: Asked) -> Path | None:
    """The signature that lies with a model; None where there is none, and no model was meant."""
    if what.is_dir():
        if (what / "assay.toml").exists() and not asked.anything:
            return None
        found = [path for path in sorted(what.glob("*.sig")) if _is_bundle(path)]
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise Usage(
                f"{what} holds several signatures: {names}",
                remedy=f"choose one: --signature {found[0]}",
                code="verify.signature",
            )
        if found:
            return found[0]
    elif _is_bundle(what):
        raise Usage(
            f"{what} is a signature; alone it says nothing about a model",
            remedy=f"assay verify MODEL --signature {what}",
            code="verify.signature",
        )
    other = Path(f"{what}.sig") if what.name else what
    if _is_bundle(other):
        return other
    # Where a signature belongs and none can be read, somebody may have damaged it.
    meant = what / "model.sig" if what.is_dir() else other
    if asked.anything and meant.is_file():
        return meant
    if asked.anything:
        raise Usage(
            f"there is no signature with {what}",
            remedy="name it: --signature FILE",
            code="verify.signature",
        )
    return None


def _is_bundle(path: Path) -> bool:
    """Whether a file is, or begins like, a Sigstore bundle; what is in it is not looked at."""
    if path.suffix != ".sig" or path.is_symlink() or not path.is_file():
        return False
    try:
        with path.open("rb") as stream:
            return _MEDIA_TYPE in stream.read(1 << 12)
    except OSError:
        note(f"{escape(path)} cannot be read")
        return False
