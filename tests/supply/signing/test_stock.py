"""What we sign, the stock tool verifies; what it signs, we verify; where it is lax, we are not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from assay.errors import Verification
from assay.evidence.signers import FileSigner
from assay.supply.signing import Trust, bundle, sign, verify

from .conftest import Stock
from .making_models import Holder, certified, folder, payload_of, private_pem, public_pem

pytestmark = pytest.mark.slow

_NOW = datetime.now(timezone.utc)
"""The stock tool looks at this machine's clock, and knows no other."""
_ROOT = certified("root", authority=True, at=_NOW, days=3650)
_MIDDLE = certified("middle", _ROOT, authority=True, at=_NOW)
_LEAF = certified("Release", _MIDDLE, code=True, email="ml@example.com", at=_NOW)


@dataclass(frozen=True)
class Place:
    """A folder with a model in ``credit``, a key, and the stock tool."""

    folder: Path
    stock: Stock

    @property
    def model(self) -> Path:
        return self.folder / "credit"

    @property
    def signature(self) -> Path:
        return self.model / "model.sig"

    @property
    def key(self) -> Path:
        return self.folder / "key.pub"

    def ours(self, model: Path | None = None, *, certificates: bool = False) -> None:
        """Sign with ours."""
        if certificates:
            signer = FileSigner.load(private_pem(_LEAF.key, self.folder / "leaf.pem"))
            chain = [_LEAF.certificate, _MIDDLE.certificate]
        else:
            signer, chain = FileSigner.load(self.folder / "key.pem"), []
        document = sign(model or self.model, signer, ignore=["model.sig"], certificates=chain)
        self.signature.write_bytes(bundle.encoded(document))

    def theirs(self, *options: str | Path, model: str = "credit") -> None:
        """Sign with the stock tool."""
        key = ("--private_key", "key.pem", "--signature", self.signature)
        done = self.stock("sign", "key", model, *key, *options, at=self.folder)
        assert done.returncode == 0, done.stderr

    def they_verify(self, *options: str, model: str = "credit") -> bool:
        key = ("--public_key", self.key, "--signature", self.signature)
        done = self.stock("verify", "key", model, *key, *options, at=self.folder)
        assert (done.returncode == 0) == ("succeeded" in done.stdout)
        return done.returncode == 0

    def we_verify(self, model: Path | None = None, trust: Trust | None = None) -> str:
        """How; or, with what words it is refused."""
        try:
            found = verify(model or self.model, self.signature, trust or Trust.of_key(self.key))
        except Verification as error:
            return error.message
        return found.method


@pytest.fixture
def place(tmp_path: Path, stock: Stock) -> Place:
    key = ec.generate_private_key(ec.SECP256R1())
    private_pem(key, tmp_path / "key.pem")
    public_pem(key, tmp_path / "key.pub")
    folder(
        tmp_path / "credit", {"a-b/c": b"1", "a/b": b"2", "a.bin": b"3", "Z": b"", "\u00e9": b"4"}
    )
    return Place(tmp_path, stock)


def test_they_verify_what_we_sign_by_key(place: Place) -> None:
    place.ours()
    assert place.they_verify()
    assert place.we_verify() == "key"
    (place.model / "a.bin").write_bytes(b"x")
    assert not place.they_verify()
    assert "'a.bin' was changed" in place.we_verify()


def test_they_verify_a_single_file_that_we_sign(place: Place) -> None:
    place.ours(place.model / "a.bin")
    assert place.they_verify(model="credit/a.bin")


def test_they_verify_what_we_sign_by_certificate(place: Place) -> None:
    place.ours(certificates=True)
    root = place.folder / "root.pem"
    root.write_bytes(_ROOT.pem)
    named = ("--signature", place.signature, "--certificate_chain", root)
    done = place.stock("verify", "certificate", "credit", *named, at=place.folder)
    assert done.returncode == 0, done.stderr
    assert place.we_verify(trust=Trust.of_root(root)) == "certificate"


def test_we_verify_what_they_sign_by_key(place: Place) -> None:
    place.theirs()
    assert place.we_verify() == "key"
    (place.model / "new").touch()
    assert "'new' is there, but was not signed" in place.we_verify()


def test_we_verify_a_single_file_that_they_sign(place: Place) -> None:
    place.theirs(model="credit/a.bin")
    assert place.we_verify(place.model / "a.bin") == "key"


def _pem(path: Path, holder: Holder) -> Path:
    path.write_bytes(holder.pem)
    return path


@pytest.mark.parametrize("shown", [(_MIDDLE,), (_MIDDLE, _ROOT), (_ROOT, _MIDDLE)])
def test_we_verify_what_they_sign_by_certificate(place: Place, shown: tuple[Holder, ...]) -> None:
    base = place.folder
    chain = [
        part
        for n, holder in enumerate(shown)
        for part in ("--certificate_chain", _pem(base / f"{n}.pem", holder))
    ]
    done = place.stock(
        *("sign", "certificate", "credit", "--signature", place.signature),
        *("--private_key", private_pem(_LEAF.key, base / "leaf.pem")),
        *("--signing_certificate", _pem(base / "leaf.crt", _LEAF), *chain),
        at=base,
    )
    assert done.returncode == 0, done.stderr
    assert place.we_verify(trust=Trust.of_root(_pem(base / "root.pem", _ROOT))) == "certificate"
    other = certified("root", authority=True)
    refused = place.we_verify(trust=Trust.of_root(_pem(base / "other.pem", other)))
    assert "does not lead to other.pem" in refused


def test_we_agree_on_what_is_signed_and_on_the_models_digest(place: Place) -> None:
    place.theirs()
    theirs = payload_of(json.loads(place.signature.read_bytes()))
    place.ours()
    ours = payload_of(json.loads(place.signature.read_bytes()))
    for payload in (ours, theirs):
        payload["predicate"]["serialization"]["ignore_paths"].sort()
    assert ours == theirs


def test_what_they_leave_out_we_leave_out_and_tell(place: Place) -> None:
    for name in (".git/config", "notes/x"):
        folder(place.model, {name: b"x"})
    place.theirs("--ignore-paths", place.model / "notes")
    found = verify(place.model, place.signature, Trust.of_key(place.key))
    assert found.ignored == (".git/config", "notes/x")
    place.signature.unlink()
    document = sign(
        place.model,
        FileSigner.load(place.folder / "key.pem"),
        ignore=["model.sig", "notes"],
    )
    place.signature.write_bytes(bundle.encoded(document))
    assert place.they_verify()


def test_they_overlook_new_files_in_one_mode_and_we_never_do(place: Place) -> None:
    place.theirs()
    (place.model / "modeling_evil.py").write_text("import os")
    assert place.they_verify("--ignore_unsigned_files")
    assert "'modeling_evil.py' is there, but was not signed" in place.we_verify()


def test_they_follow_links_in_one_mode_and_we_never_do(place: Place) -> None:
    (place.model / "a.bin").rename(place.folder / "outside")
    (place.model / "a.bin").symlink_to(place.folder / "outside")
    place.theirs("--allow_symlinks")
    assert place.they_verify("--allow_symlinks")
    assert "'a.bin' is a link" in place.we_verify()


def test_they_take_a_second_signature_and_loose_base64_and_we_do_not(place: Place) -> None:
    place.ours()
    whole = json.loads(place.signature.read_bytes())
    whole["dsseEnvelope"]["signatures"] *= 2
    place.signature.write_text(json.dumps(whole))
    assert place.they_verify()
    assert "2 signatures" in place.we_verify()
    whole["dsseEnvelope"]["signatures"].pop()
    whole["dsseEnvelope"]["payload"] = (
        whole["dsseEnvelope"]["payload"][:8] + "\n" + (whole["dsseEnvelope"]["payload"][8:])
    )
    place.signature.write_text(json.dumps(whole))
    assert place.they_verify()
    assert "base64" in place.we_verify()
