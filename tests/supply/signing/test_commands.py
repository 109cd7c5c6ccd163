"""``assay sign`` and ``assay verify`` of models, as typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from assay.cli.app import run
from assay.supply.signing import bundle

from .making_models import certified, folder, private_pem, public_pem

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Typed:
    """Run ``assay ARGS`` in a folder that holds the model ``credit`` and a key."""
    monkeypatch.chdir(tmp_path)
    key = ec.generate_private_key(ec.SECP256R1())
    private_pem(key, tmp_path / "key.pem")
    public_pem(key, tmp_path / "key.pub")
    folder(tmp_path / "credit")

    def typed(*args: str) -> tuple[int, str, str]:
        code = run(list(args))
        shown = capsys.readouterr()
        return code, " ".join(shown.out.split()), " ".join(shown.err.split())

    return typed


def test_a_model_is_signed_and_verified(typed: Typed, tmp_path: Path) -> None:
    code, out, _ = typed("sign", "credit", "--key", "key.pem")
    assert code == 0
    assert "signed 4 files of credit" in out
    assert "not covered: .git, .gitattributes, .github, .gitignore, model.sig" in out
    code, out, _ = typed("verify", "credit", "--key", "key.pub")
    assert code == 0
    assert "credit is the model that was signed: sha256:" in out
    assert "trusted as key.pub" in out
    (tmp_path / "credit" / "weights.bin").write_bytes(b"")
    code, _, err = typed("verify", "credit", "--key", "key.pub")
    assert code == 4
    assert "'weights.bin' was changed" in err


def test_machines_are_told_the_same(typed: Typed) -> None:
    _, out, _ = typed("sign", "credit", "--key", "key.pem", "--json")
    signed = json.loads(out)
    _, out, _ = typed("verify", "credit", "--key", "key.pub", "--json")
    verified = json.loads(out)
    assert verified["digest"] == signed["digest"]
    assert verified["identity"] == signed["key"]
    assert (verified["method"], verified["files"], verified["ignored"]) == ("key", 4, [])
    code, out, _ = typed("verify", "credit", "--json")
    assert (code, json.loads(out)["error"]) == (2, "usage.verify.trust")


def test_a_single_file_has_its_signature_beside_it(typed: Typed, tmp_path: Path) -> None:
    assert typed("sign", "credit/weights.bin", "--key", "key.pem", "--output", "w.sig")[0] == 0
    (tmp_path / "w.sig").rename(tmp_path / "credit" / "weights.bin.sig")
    assert typed("verify", "credit/weights.bin", "--key", "key.pub")[0] == 0


def test_nobody_is_trusted_by_default(typed: Typed) -> None:
    typed("sign", "credit", "--key", "key.pem")
    code, _, err = typed("verify", "credit")
    assert code == 2
    assert "--key PUBLIC.pem, --certificate-root ROOT.pem, or --trust LIST.toml" in err


def test_what_holds_no_signature_is_not_taken_for_verified(typed: Typed, tmp_path: Path) -> None:
    code, _, err = typed("verify", "credit", "--key", "key.pub")
    assert code == 2
    assert "there is no signature with credit" in err
    (tmp_path / "credit" / "fake.sig").write_text("ok")
    assert typed("verify", "credit", "--key", "key.pub")[0] == 2
    assert typed("verify", "credit")[0] == 2
    assert typed("verify", "nowhere", "--key", "key.pub")[0] == 2


@pytest.mark.parametrize("model", ["credit", "alone.bin"])
def test_a_signature_that_cannot_be_read_is_not_taken_for_none(
    typed: Typed, tmp_path: Path, model: str
) -> None:
    (tmp_path / "alone.bin").write_bytes(b"weights")
    place = tmp_path / ("credit/model.sig" if model == "credit" else "alone.bin.sig")
    place.write_text("garbage")
    code, _, err = typed("verify", model, "--key", "key.pub")
    assert code == 4
    assert "is no Sigstore bundle" in err


def test_a_signature_alone_is_not_verified(typed: Typed) -> None:
    typed("sign", "credit", "--key", "key.pem")
    code, _, err = typed("verify", "credit/model.sig", "--key", "key.pub")
    assert code == 2
    assert "assay verify MODEL --signature credit/model.sig" in err


def test_one_of_several_signatures_has_to_be_chosen(typed: Typed) -> None:
    typed("sign", "credit", "--key", "key.pem")
    typed("sign", "credit", "--key", "key.pem", "--output", "credit/other.sig")
    code, _, err = typed("verify", "credit", "--key", "key.pub")
    assert code == 2
    assert "model.sig, other.sig" in err
    chosen = ("--signature", "credit/other.sig", "--key", "key.pub")
    assert typed("verify", "credit", *chosen)[0] == 0


def test_signing_again_replaces_a_signature_and_nothing_else(typed: Typed, tmp_path: Path) -> None:
    weights = tmp_path / "credit" / "weights.bin"
    before = weights.read_bytes()
    assert typed("sign", "credit", "--key", "key.pem")[0] == 0
    assert typed("sign", "credit", "--key", "key.pem")[0] == 0
    code, _, err = typed("sign", "credit", "--key", "key.pem", "--output", str(weights))
    assert code == 1
    assert "exists" in err
    assert weights.read_bytes() == before


def test_what_is_left_out_is_shown_and_refused_when_strict(typed: Typed, tmp_path: Path) -> None:
    typed("sign", "credit", "--key", "key.pem", "--ignore", "logs/")
    folder(tmp_path / "credit", {"logs/x": b"1"})
    code, out, _ = typed("verify", "credit", "--key", "key.pub")
    assert code == 0
    assert "not covered by the signature: logs/x" in out
    code, _, err = typed("verify", "credit", "--key", "key.pub", "--strict")
    assert code == 4
    assert "'logs/x' is not covered" in err


def test_a_trust_list_names_the_signer(typed: Typed, tmp_path: Path) -> None:
    typed("sign", "credit", "--key", "key.pem")
    pem = (tmp_path / "key.pub").read_text()
    (tmp_path / "trust.toml").write_text(
        f'format = "assay/trust-list/v1"\n[[key]]\nname = "release team"\npem = """{pem}"""\n'
    )
    code, out, _ = typed("verify", "credit", "--trust", "trust.toml")
    assert code == 0
    assert "trusted as release team" in out
    other = ec.generate_private_key(ec.SECP256R1())
    public_pem(other, tmp_path / "other.pub")
    assert typed("verify", "credit", "--key", "other.pub")[0] == 4
    assert typed("verify", "credit", "--key", "other.pub", "--trust", "trust.toml")[0] == 0


def test_certificates_are_shown_and_lead_to_the_root(typed: Typed, tmp_path: Path) -> None:
    from datetime import datetime, timezone

    now = datetime.now(timezone.utc)
    root = certified("root", authority=True, at=now)
    leaf = certified("Release", root, at=now, email="ml@example.com")
    private_pem(leaf.key, tmp_path / "leaf.pem")
    (tmp_path / "chain.pem").write_bytes(leaf.pem + root.pem)
    (tmp_path / "root.pem").write_bytes(root.pem)
    given = ("--key", "leaf.pem", "--certificate", "chain.pem")
    assert typed("sign", "credit", *given)[0] == 0
    code, out, _ = typed("verify", "credit", "--certificate-root", "root.pem")
    assert code == 0
    assert "by email:ml@example.com (certificate)" in out


def test_a_protected_key_is_unlocked_by_reference(
    typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "locked.pem"
    path.touch(mode=0o600)
    hidden = BestAvailableEncryption(b"correct horse")
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden))
    monkeypatch.setenv("MODEL_KEY", "correct horse")
    monkeypatch.delenv("ASSAY_PASSPHRASE", raising=False)
    sign = ("sign", "credit", "--key", "locked.pem")
    assert typed(*sign, "--unlock", "env:MODEL_KEY")[0] == 0
    code, _, err = typed(*sign, "--unlock", "correct horse")
    assert code == 2
    assert "correct horse" not in err


def test_a_cache_is_kept_outside_the_model_and_said_to_be_used(
    typed: Typed, tmp_path: Path
) -> None:
    inside = ("--cache", "credit/digests.json")
    code, _, err = typed("sign", "credit", "--key", "key.pem", *inside)
    assert code == 2
    assert "would lie in the model" in err
    assert typed("sign", "credit", "--key", "key.pem", "--cache", "digests.json")[0] == 0
    used = ("--key", "key.pub", "--cache", "digests.json")
    code, out, _ = typed("verify", "credit", *used)
    assert code == 0
    assert "unchanged files were not read" in out
    assert (tmp_path / "digests.json").stat().st_mode & 0o777 == 0o600


def test_a_failed_signing_leaves_no_file(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "credit" / "link").symlink_to("weights.bin")
    code, _, err = typed("sign", "credit", "--key", "key.pem")
    assert code == 2
    assert "'link' is a link" in err
    assert not list((tmp_path / "credit").glob("*.sig*"))


def test_names_from_a_signature_cannot_move_the_cursor(typed: Typed, tmp_path: Path) -> None:
    typed("sign", "credit", "--key", "key.pem")
    path = tmp_path / "credit" / "model.sig"
    document = json.loads(path.read_bytes())
    document["mediaType"] = "application/vnd.dev.sigstore.bundle\x1b[2J"
    path.write_bytes(bundle.encoded(document))
    code, _, err = typed("verify", "credit", "--key", "key.pub")
    assert code == 4
    assert "\x1b" not in err
