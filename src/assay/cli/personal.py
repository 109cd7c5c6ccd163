"""The personal keys of whoever is at the terminal.

A key ``NAME.pem`` has its public half beside it in ``NAME.pub``: what an administrator is handed,
and how the right one of several keys is found without asking for their passphrases.
"""

from __future__ import annotations

import getpass
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from assay.errors import AssayError, Corrupt, NotFound, Usage

if TYPE_CHECKING:
    from assay.evidence.signers import FileSigner, PublicKey
    from assay.workspace.door import Workspace

PUBLIC_FORMAT = "assay/public-key/v1"
_LIMIT = 1 << 14
_SHORTEST = 8
"""Characters of a new passphrase."""


def default_actor(workspace: Workspace) -> str:
    """The only personal key of this user, or the only one that is enrolled in `workspace`."""
    from assay.workspace.layout import key_folder

    folder = key_folder()
    names = sorted(path.stem for path in folder.glob("*.pem"))
    if not names:
        raise NotFound(
            f"no personal key in {folder}",
            remedy="make one: assay actor new-key NAME",
            code="key",
        )
    if len(names) > 1:
        state = workspace.view.follow()
        known = {name: public_half(name) for name in names}
        enrolled = [
            name
            for name, key in known.items()
            if key is None or state.actor_of_key(key.keyid, state.size) is not None
        ]
        if len(enrolled) != 1:
            raise Usage(
                f"several personal keys in {folder}: {', '.join(enrolled or names)}",
                remedy="say who you are with --as NAME or ASSAY_ACTOR=NAME",
                code="actor",
            )
        names = enrolled
    return names[0]


def key_path(name: str) -> Path:
    """Where the personal key called `name` lies."""
    from assay.types import check_name
    from assay.workspace.layout import key_folder

    return key_folder() / f"{check_name(name, what='key name')}.pem"


def public_half(name: str) -> PublicKey | None:
    """The public half of a personal key, from the file beside it; None when there is none."""
    from assay import files

    try:
        path = key_path(name).with_suffix(".pub")
        return read_public(files.read(path, limit=_LIMIT, what="public key"), str(path))[0]
    except AssayError:
        return None


def load_key(name: str) -> tuple[FileSigner, bool]:
    """A personal key and whether a passphrase protects it."""
    from assay.evidence.signers import FileSigner, is_protected

    path = key_path(name)
    if not path.exists():
        raise NotFound(
            f"no personal key {path}", remedy=f"make one: assay actor new-key {name}", code="key"
        )
    protected = is_protected(path)
    return FileSigner.load(path, passphrase(name) if protected else None), protected


def make_key(name: str, secret: str | None) -> FileSigner:
    """A new personal key, protected unless `secret` is None, and its public half beside it."""
    from assay import files
    from assay.evidence.signers import FileSigner

    path = key_path(name)
    files.make_folder(path.parent)
    signer = FileSigner.create(path, secret)
    document = msgspec.json.format(msgspec.json.encode(public_document(name, signer, secret)))
    files.write(path.with_suffix(".pub"), document + b"\n", mode=0o644)
    return signer


def remove_key(name: str) -> None:
    """Take back a key that was made a moment ago and is of no use yet."""
    from assay import files

    files.remove(key_path(name))
    files.remove(key_path(name).with_suffix(".pub"))


def public_document(name: str, signer: FileSigner, secret: str | None) -> dict[str, object]:
    """What is handed to an administrator: the public half, and how the private one is kept."""
    return {
        "format": PUBLIC_FORMAT,
        "name": name,
        "level": "development-key" if secret is None else "personal-key",
        "key": msgspec.to_builtins(signer.public),
    }


def read_public(raw: bytes, what: str) -> tuple[PublicKey, str]:
    """A public key as `assay actor new-key` prints it (or its ``key`` alone), and its level."""
    from assay.evidence.signers import PublicKey

    try:
        plain = msgspec.json.decode(raw)
        level = "personal-key"
        if isinstance(plain, dict) and "key" in plain:
            if plain.get("format") != PUBLIC_FORMAT:
                raise ValueError(f"its format is {str(plain.get('format'))[:40]!r}")
            plain, level = plain["key"], str(plain.get("level", level))
        key = msgspec.convert(plain, PublicKey)
        _ = key.keyid  # Raises for what is no key.
    except (ValueError, Corrupt) as error:
        raise Usage(
            f"{what} is no public key: {error}",
            remedy="give the file or the JSON that `assay actor new-key NAME` printed",
            code="public_key",
        ) from error
    return key, level


def passphrase(name: str, *, new: bool = False) -> str:
    """From ``ASSAY_PASSPHRASE``, else asked at the terminal, never on the command line."""
    given = os.environ.get("ASSAY_PASSPHRASE")
    if given:
        return _long_enough(given) if new else given
    if not sys.stdin.isatty():
        raise Usage(
            f"the key {name} needs {'a' if new else 'its'} passphrase",
            remedy="set ASSAY_PASSPHRASE, or run this at a terminal",
            code="passphrase",
        )
    if not new:
        return getpass.getpass(f"Passphrase for {name}: ")
    first = _long_enough(getpass.getpass(f"New passphrase for the key {name}: "))
    if getpass.getpass("Again: ") != first:
        raise Usage("the two passphrases differ", remedy="try again", code="passphrase")
    return first


def _long_enough(secret: str) -> str:
    """Whoever copies the key's file can try passphrases as fast as their machine goes."""
    if len(secret) < _SHORTEST:
        raise Usage(
            f"the passphrase is shorter than {_SHORTEST} characters",
            remedy="choose a longer one, for example of several words; or try assay out with "
            "--development",
            code="passphrase",
        )
    return secret


def user_name() -> str:
    """The operating system's user as an assay name."""
    try:
        raw = getpass.getuser()
    except (KeyError, OSError):
        raw = "me"
    return as_name(raw) or "me"


def as_name(text: str) -> str:
    """`text` as close to an assay name as it gets; perhaps empty."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:64].strip("-._")
