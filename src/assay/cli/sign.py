"""``assay sign``: sign a model folder or file, so that every tool can verify it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli.output import check_result, counted, emit, escape, progress, say, write_result
from assay.cli.session import AsJson, Force
from assay.errors import Conflict, Usage

if TYPE_CHECKING:
    from assay.supply.signing.cache import Cache

UseCache = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        help="Remember digests here, and do not read unchanged files again. Trusts this machine's "
        "file system.",
        metavar="FILE",
    ),
]


def add_to(app: typer.Typer) -> None:
    app.command("sign")(sign)


def sign(
    model: Annotated[Path, typer.Argument(help="A model's folder, or its only file.")],
    key: Annotated[
        str,
        typer.Option(
            help="A P-256 key: a PEM file, or pkcs11:…, awskms:…, gcpkms:…, azurekms:….",
            metavar="FILE|URI",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(help="Default: model.sig in the folder, or FILE.sig.", metavar="FILE"),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(help="Leave this out, listed as such in the signature.", metavar="PATH"),
    ] = None,
    git: Annotated[
        bool, typer.Option("--git", help="Sign git's own files, too, which other tools skip.")
    ] = False,
    unlock: Annotated[
        str,
        typer.Option(
            help="Where the key's passphrase or PIN is: env:NAME or file:PATH.", metavar="REF"
        ),
    ] = "",
    public_key: Annotated[
        Path | None,
        typer.Option(help="The public half, for a key in a cloud's service.", metavar="PEM"),
    ] = None,
    certificate: Annotated[
        list[Path] | None,
        typer.Option(
            help="The signer's certificate, then those above it: verified by root, not by key.",
            metavar="PEM",
        ),
    ] = None,
    cache: UseCache = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Sign a model: every file's digest, in the form of OpenSSF Model Signing.

    Besides assay verify, the tool model_signing and others verify it. Neither needs a workspace.

    Example: assay sign credit/ --key release.pem
    """
    from assay.supply.signing import bundle, making, services, statement, trust

    target = output or (model / "model.sig" if model.is_dir() else Path(f"{model}.sig"))
    check_result(target, force=force or _is_signature(target))
    signer = services.open_signer(key, lambda: _secret(unlock, key), public=public_key)
    chain = trust.certificates_files(certificate or ())
    left_out = [*(ignore or ()), *_own(model, target)]
    known = opened(cache, model)
    with progress(as_json) as told:
        document = making.sign(
            model,
            signer,
            ignore=left_out,
            git=git,
            certificates=chain,
            cache=known,
            progress=told,
        )
    data = bundle.encoded(document)
    write_result(target, data, force=force or _is_signature(target))
    if known is not None:
        known.save()
    claim = statement.decode(bundle.decode(data, str(target)).payload, str(target))
    hint = bundle.hint(bundle.pem_of(making.public_key(signer.public)))
    done: dict[str, Any] = {
        "signature": str(target),
        "digest": claim.digest,
        "key": f"sha256:{hint}",
        "method": "certificate" if chain else "key",
        "files": len(claim.files),
        "ignored": list(claim.ignored),
    }
    emit(as_json, done, lambda: _told(done, model))


def _told(done: dict[str, Any], model: Path) -> None:
    say(f"[green]✓[/] signed {counted(done['files'], 'file')} of {escape(model)}")
    say(f"  model {escape(done['digest'])}, by the key {escape(done['key'])}")
    say(f"  not covered: {escape(', '.join(done['ignored']) or 'nothing')}")
    say(
        f"  → assay verify {escape(model)} --signature {escape(done['signature'])} --key PUBLIC.pem"
    )


def _secret(reference: str, key: str) -> str:
    from assay.cli import personal
    from assay.supply.signing import services

    return services.resolve(reference) if reference else personal.passphrase(key)


def _own(model: Path, target: Path) -> list[str]:
    from assay.supply.signing.checking import own_path

    own = own_path(model, target) if model.is_dir() else ""
    return [own] if own else []


def _is_signature(path: Path) -> bool:
    """Whether it is one of a model: signing again may replace that, and nothing else."""
    from assay.errors import AssayError
    from assay.supply.signing import bundle

    try:
        bundle.read(path)
    except AssayError:
        return False
    return True


def opened(path: Path | None, model: Path) -> Cache | None:
    """The cache that was asked for; never inside the model, whose files it would be one of."""
    from assay.supply.signing.cache import Cache
    from assay.supply.signing.checking import own_path

    if path is None:
        return None
    if model.is_dir() and own_path(model, path):
        raise Usage(
            f"the cache {path} would lie in the model",
            remedy="name a file elsewhere",
            code="signing.cache",
        )
    if path.exists() and not path.is_file():
        raise Conflict(f"{path} is no file", remedy="name a file", code="signing.cache")
    return Cache.load(path, model)
