"""Where a signing key may be: in a file, on a token (a real PKCS #11 driver), in a cloud."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from assay.errors import AssayError, Unavailable, Usage, Verification
from assay.evidence.signers import MemorySigner
from assay.supply.signing import Trust, bundle, making, services, sign, verify
from assay.supply.signing.trust import TrustedKey

from .making_models import folder, private_pem, public_pem

_DRIVERS = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")


def never() -> str:
    raise AssertionError("no passphrase is needed")


def trusted(signer: object) -> Trust:
    assert isinstance(signer, MemorySigner | services.ServiceSigner)
    return Trust(keys=(TrustedKey("it", making.public_key(signer.public)),))


def round_trip(tmp_path: Path, signer: MemorySigner | services.ServiceSigner) -> None:
    model = folder(tmp_path / "model")
    path = tmp_path / "model.sig"
    path.write_bytes(bundle.encoded(sign(model, signer)))
    assert verify(model, path, trusted(signer)).trusted_as == "it"


# -- files ----------------------------------------------------------------------------------------


def test_a_key_in_a_file_signs_under_each_of_its_names(tmp_path: Path) -> None:
    path = private_pem(ec.generate_private_key(ec.SECP256R1()), tmp_path / "key.pem")
    for name in (str(path), f"file:{path}"):
        signer = services.open_signer(name, never)
        assert isinstance(signer, MemorySigner)
        round_trip(tmp_path, signer)


def test_the_passphrase_of_a_key_is_found_where_it_is_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "key.pem"
    path.touch(mode=0o600)
    hidden = BestAvailableEncryption(b"correct horse")
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden))
    (tmp_path / "secret").write_text("correct horse\n")
    monkeypatch.setenv("UNLOCK", "correct horse")
    for reference in ("env:UNLOCK", f"file:{tmp_path / 'secret'}"):
        signer = services.open_signer(str(path), lambda r=reference: services.resolve(r))
        assert signer.public.algorithm == "ecdsa-p256-sha256"
    with pytest.raises(Verification, match="does not open the key"):
        services.open_signer(str(path), lambda: "wrong")


@pytest.mark.parametrize("reference", ["correct horse", "hunter2", "vault:x", ""])
def test_a_secret_in_place_of_a_reference_is_refused_and_not_repeated(reference: str) -> None:
    with pytest.raises(Usage, match="is named, not given") as raised:
        services.resolve(reference)
    assert not reference or reference not in raised.value.message


def test_a_reference_to_nothing_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for reference in ("env:ASSAY_NOT_SET", f"file:{tmp_path / 'empty'}"):
        with pytest.raises(Unavailable, match="no passphrase in"):
            services.resolve(reference)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = private_pem(ec.generate_private_key(ec.SECP256R1()), tmp_path / "key.pem")
    path.chmod(0o644)
    with pytest.raises(Verification, match="can be used by others"):
        services.open_signer(str(path), never)


def test_a_key_in_the_older_form_is_refused_with_the_command_that_mends_it(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "key.pem"
    path.touch(mode=0o600)
    old = PrivateFormat.TraditionalOpenSSL
    path.write_bytes(key.private_bytes(Encoding.PEM, old, NoEncryption()))
    with pytest.raises(Usage) as raised:
        services.open_signer(str(path), never)
    made = tmp_path / "made.pem"
    command = raised.value.remedy.partition(" makes")[0].replace("-out KEY", f"-out {made}")
    subprocess.run(command.split(), check=True, capture_output=True, timeout=60)
    made.chmod(0o600)
    assert services.open_signer(str(made), never)


# -- services -------------------------------------------------------------------------------------


@pytest.mark.parametrize("reference", ["s3://bucket/key", "vault:transit/x", "gnupg:AB", "hsm:2"])
def test_a_service_that_is_not_known_is_refused(reference: str) -> None:
    with pytest.raises(AssayError) as raised:
        services.open_signer(reference, never)
    assert raised.value.remedy


@pytest.mark.parametrize("scheme", services.CLOUDS)
def test_a_cloud_needs_the_public_half_of_its_key(scheme: str) -> None:
    with pytest.raises(Usage, match="public half"):
        services.open_signer(f"{scheme}:projects/p/key", never)


@pytest.mark.parametrize("scheme", services.CLOUDS)
def test_a_cloud_that_cannot_be_reached_is_unavailable(scheme: str, tmp_path: Path) -> None:
    """Its client library is not installed here, so that no request is made."""
    pytest.importorskip("securesystemslib")
    public = public_pem(ec.generate_private_key(ec.SECP256R1()), tmp_path / "key.pub")
    with pytest.raises(Unavailable, match="cannot be used"):
        services.open_signer(f"{scheme}://x.example/keys/k/1", never, public=public)


def test_a_longer_key_is_not_signed_with(tmp_path: Path) -> None:
    public = public_pem(ec.generate_private_key(ec.SECP384R1()), tmp_path / "key.pub")
    with pytest.raises(Usage, match="no P-256 key"):
        services.open_signer("awskms:x", never, public=public)


@pytest.mark.parametrize(
    "reference",
    [
        "pkcs11:token=a",
        "pkcs11:id=%01",
        "pkcs11:token=a;id=%00%01?module-path=/x.so",
        "pkcs11:token=a;id=%01",
        "pkcs11:token=a;id=%01?module-path=x.so",
        "pkcs11:token=a;id=%01;object=key?module-path=/x.so",
        "pkcs11:token=a;id=%01;id=%02?module-path=/x.so",
        "pkcs11:token=a;id=%01?module-path=/x.so&pin-value=1234",
    ],
)
def test_a_token_named_unclearly_is_refused_without_showing_a_pin(
    reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYKCS11LIB", raising=False)
    with pytest.raises(Usage, match="does not name a key") as raised:
        services.open_signer(reference, never)
    assert "1234" not in raised.value.message


class Answering:
    """A signer of the kind that `securesystemslib` gives, whose answer a test chooses."""

    def __init__(self, answer: Callable[[bytes], str]) -> None:
        self._answer = answer

    def sign(self, data: bytes) -> Answering:
        self.signature = self._answer(data)
        return self


def test_what_a_service_answers_is_verified_before_it_is_used() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    good = MemorySigner(key)
    other = MemorySigner(ec.generate_private_key(ec.SECP256R1()))

    def service(answer: Callable[[bytes], str]) -> services.ServiceSigner:
        return services.ServiceSigner("kms:x", Answering(answer), key.public_key())

    good.public.verify(service(lambda d: good.sign(d).hex()).sign(b"x"), b"x")
    with pytest.raises(Verification, match="does not hold"):
        service(lambda d: other.sign(d).hex()).sign(b"x")
    for answer in ("", "zz", "00" * 64):
        with pytest.raises(Unavailable, match="cannot be used"):
            service(lambda _, a=answer: a).sign(b"x")


# -- a token --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def driver() -> str:
    """SoftHSM's, where it is installed (apt install softhsm2), or another that is named."""
    pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed")
    named = [os.environ.get("ASSAY_TEST_SOFTHSM", ""), *_DRIVERS]
    found = next((path for path in named if path and Path(path).is_file()), "")
    if not found or shutil.which("softhsm2-util") is None:
        pytest.skip("SoftHSM is not installed: apt install softhsm2, or set ASSAY_TEST_SOFTHSM")
    return found


@pytest.fixture(scope="module")
def token(driver: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A token called ``release team`` with a P-256 key of id 2 and a P-384 key of id 3."""
    import pkcs11
    from pkcs11.util.ec import encode_named_curve_parameters

    base = tmp_path_factory.mktemp("softhsm")
    (base / "tokens").mkdir()
    config = base / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {base / 'tokens'}\nobjectstore.backend = file\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(config))
        made = ["softhsm2-util", "--init-token", "--free", "--label", "release team"]
        pins = ["--so-pin", "12345678", "--pin", "4711"]
        subprocess.run([*made, *pins], check=True, capture_output=True, timeout=60)
        library = pkcs11.lib(driver)
        library.reinitialize()
        with library.get_token(token_label="release team").open(
            rw=True, user_pin="4711"
        ) as session:
            for key_id, curve in ((b"\2", "secp256r1"), (b"\3", "secp384r1")):
                encoded = encode_named_curve_parameters(curve)
                parameters = session.create_domain_parameters(
                    pkcs11.KeyType.EC, {pkcs11.Attribute.EC_PARAMS: encoded}, local=True
                )
                parameters.generate_keypair(
                    mechanism=pkcs11.Mechanism.EC_KEY_PAIR_GEN, store=True, id=key_id
                )
        yield f"pkcs11:token=release%20team;id=%02?module-path={driver}"


def test_a_key_on_a_token_signs_a_model(token: str, tmp_path: Path) -> None:
    signer = services.open_signer(token, lambda: "4711")
    assert isinstance(signer, services.ServiceSigner)
    round_trip(tmp_path, signer)
    public = tmp_path / "token.pub"
    public.write_bytes(bundle.pem_of(making.public_key(signer.public)))
    assert services.open_signer(token, lambda: "4711", public=public).public == signer.public


def test_a_wrong_pin_is_unavailable_and_names_the_key(token: str, tmp_path: Path) -> None:
    signer = services.open_signer(token, lambda: "0000")
    with pytest.raises(Unavailable, match="cannot be used") as raised:
        sign(folder(tmp_path / "model"), signer)
    assert "release%20team" in raised.value.message
    assert "0000" not in raised.value.message


def test_another_key_than_the_one_that_was_meant_is_refused(token: str, tmp_path: Path) -> None:
    other = public_pem(ec.generate_private_key(ec.SECP256R1()), tmp_path / "other.pub")
    with pytest.raises(Usage, match="is not the one of which"):
        services.open_signer(token, lambda: "4711", public=other)


def test_a_longer_key_on_a_token_is_not_signed_with(token: str) -> None:
    with pytest.raises(Usage, match="no P-256 key"):
        services.open_signer(token.replace("%02", "%03"), lambda: "4711")


@pytest.mark.parametrize(("old", "new"), [("%02", "%09"), ("release%20team", "other")])
def test_a_key_or_token_that_is_not_there_is_unavailable(token: str, old: str, new: str) -> None:
    with pytest.raises(Unavailable, match="cannot be used"):
        services.open_signer(token.replace(old, new), lambda: "4711")


def test_the_environment_is_left_as_it_was(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYKCS11LIB", "/before")
    services.open_signer(token, lambda: "4711").sign(b"x")
    assert os.environ["PYKCS11LIB"] == "/before"
    monkeypatch.delenv("PYKCS11LIB")
    services.open_signer(token, lambda: "4711").sign(b"x")
    assert "PYKCS11LIB" not in os.environ
