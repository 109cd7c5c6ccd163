"""A model is what was signed, file by file, or it is refused with the file and the rule."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from assay.errors import NotFound, Usage, Verification
from assay.evidence.signers import MemorySigner
from assay.supply.signing import Trust, bundle, hashing, sign, verify
from assay.supply.signing.trust import TrustedKey

from .making_models import FILES, NOW, SIGNER, TRUST, folder, payload_of, signed


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return folder(tmp_path / "credit")


def refused(
    model: Path, signature: Path, *words: str, trust: Trust = TRUST, strict: bool = False
) -> None:
    with pytest.raises(Verification) as raised:
        verify(model, signature, trust, now=NOW, strict=strict)
    for word in words:
        assert word in raised.value.message
    assert raised.value.remedy


def test_a_signed_folder_verifies_and_says_by_whom_and_what(model: Path) -> None:
    found = verify(model, signed(model), TRUST, now=NOW)
    assert (found.method, found.trusted_as, found.ignored) == ("key", "release", ())
    assert found.identity == f"sha256:{TRUST.keys[0].hint}"
    assert list(found.files) == ["config.json", "sub/a.bin", "sub.txt", "weights.bin"]
    assert found.bytes == sum(map(len, FILES.values()))


def test_a_single_file_is_a_model_too(model: Path) -> None:
    weights = model / "weights.bin"
    signature = signed(weights)
    assert list(verify(weights, signature, TRUST, now=NOW).files) == ["."]
    weights.write_bytes(b"other")
    refused(weights, signature, "weights.bin was changed")
    refused(model, signature, "it is a folder, a single file was signed")
    refused(weights, signed(model), "it is a single file, a folder was signed")


def test_the_same_model_gives_the_same_digest_wherever_it_lies(model: Path, tmp_path: Path) -> None:
    other = shutil.copytree(model, tmp_path / "elsewhere" / "renamed")
    first, second = (verify(m, signed(m), TRUST, now=NOW) for m in (model, other))
    assert first.digest == second.digest
    verify(other, signed(model), TRUST, now=NOW)


def test_a_file_more_is_refused(model: Path) -> None:
    signature = signed(model)
    (model / "modeling_evil.py").write_text("import os")
    refused(model, signature, "'modeling_evil.py' is there, but was not signed")


def test_a_file_more_in_a_new_folder_is_refused(model: Path) -> None:
    signature = signed(model)
    (model / "sub" / "deep").mkdir()
    (model / "sub" / "deep" / "x").write_bytes(b"")
    refused(model, signature, "'sub/deep/x' is there, but was not signed")


def test_a_hidden_file_more_is_refused(model: Path) -> None:
    signature = signed(model)
    (model / ".env").write_text("x")
    refused(model, signature, "'.env' is there, but was not signed")


def test_a_file_less_is_refused(model: Path) -> None:
    signature = signed(model)
    (model / "sub" / "a.bin").unlink()
    refused(model, signature, "'sub/a.bin' is missing")


def test_a_changed_file_is_refused_with_both_digests(model: Path) -> None:
    signature = signed(model)
    (model / "weights.bin").write_bytes(bytes(256))
    refused(model, signature, "'weights.bin' was changed: signed as sha256:40aff2e9d2d8922e47afd46")


def test_a_file_renamed_by_case_is_refused_and_the_near_name_told(model: Path) -> None:
    signature = signed(model)
    (model / "config.json").rename(model / "Config.json")
    refused(model, signature, "'config.json' is missing; there is 'Config.json'")


def test_a_file_renamed_by_unicode_form_is_refused(tmp_path: Path) -> None:
    model = folder(tmp_path / "m", {"caf\u00e9.bin": b"x"})
    signature = signed(model)
    (model / "caf\u00e9.bin").rename(model / "cafe\u0301.bin")
    refused(model, signature, "'caf\\xe9.bin' is missing; there is 'cafe\\u0301.bin'")


def test_two_swapped_files_are_refused(tmp_path: Path) -> None:
    model = folder(tmp_path / "m", {"a": b"1", "b": b"2"})
    signature = signed(model)
    folder(model, {"a": b"2", "b": b"1"})
    refused(model, signature, "'a' was changed", "'b' was changed")


def test_a_link_in_place_of_a_file_is_refused_although_it_leads_to_the_same_bytes(
    model: Path, tmp_path: Path
) -> None:
    signature = signed(model)
    (model / "weights.bin").rename(tmp_path / "weights.bin")
    (model / "weights.bin").symlink_to(tmp_path / "weights.bin")
    refused(model, signature, "'weights.bin' is a link")


def test_a_link_in_place_of_a_folder_is_refused(model: Path, tmp_path: Path) -> None:
    signature = signed(model)
    (model / "sub").rename(tmp_path / "sub")
    (model / "sub").symlink_to(tmp_path / "sub")
    refused(model, signature, "'sub' is a link")


def test_a_link_to_the_model_itself_is_refused(model: Path, tmp_path: Path) -> None:
    signature = signed(model)
    (tmp_path / "link").symlink_to(model)
    refused(tmp_path / "link", signature, "is a symbolic link")


def test_a_pipe_is_refused_without_waiting_for_it(model: Path) -> None:
    signature = signed(model)
    os.mkfifo(model / "pipe")
    refused(model, signature, "'pipe' is a link or no regular file")


def test_names_that_another_file_system_takes_for_one_are_not_signed(tmp_path: Path) -> None:
    with pytest.raises(Usage, match="collides"):
        sign(folder(tmp_path / "m", {"a": b"1", "A": b"2"}), SIGNER)
    with pytest.raises(Usage, match="collides"):
        sign(folder(tmp_path / "n", {"\u00e9": b"1", "e\u0301": b"2"}), SIGNER)


def test_an_empty_folder_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    with pytest.raises(Usage, match="holds no file"):
        sign(tmp_path / "m", SIGNER)


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        sign(tmp_path / "m", SIGNER)
    with pytest.raises(NotFound):
        verify(tmp_path, tmp_path / "m.sig", TRUST)


def test_a_signature_may_lie_in_the_model_and_under_another_name(model: Path) -> None:
    data = bundle.encoded(sign(model, SIGNER, ignore=["model.sig"]))
    (model / "model.sig").write_bytes(data)
    assert verify(model, model / "model.sig", TRUST, now=NOW).ignored == ()
    (model / "model.sig").rename(model / "sub" / "other.sig")
    assert verify(model, model / "sub" / "other.sig", TRUST, now=NOW).ignored == ()


def test_what_is_left_out_is_listed_told_and_refused_when_strict(model: Path) -> None:
    signature = signed(model, ignore=["cache"])
    for name in (".git/config", "cache/x", ".gitattributes"):
        folder(model, {name: b"x"})
    found = verify(model, signature, TRUST, now=NOW)
    assert found.ignored == (".git/config", ".gitattributes", "cache/x")
    refused(model, signature, "'.git/config' is not covered by the signature", strict=True)
    (model / "sub" / ".git").mkdir()
    (model / "sub" / ".git" / "config").write_text("x")
    refused(model, signature, "'sub/.git/config' is there, but was not signed")


def test_a_name_that_only_begins_like_one_left_out_is_covered(model: Path) -> None:
    signature = signed(model, ignore=["cache"])
    (model / "cached").write_text("x")
    refused(model, signature, "'cached' is there, but was not signed")


@pytest.mark.parametrize("path", ["", ".", "..", "../x", "/etc", "a//b", "a\\b", "a\0b", "./a"])
def test_what_is_no_path_below_the_folder_is_not_left_out(model: Path, path: str) -> None:
    with pytest.raises(Usage):
        sign(model, SIGNER, ignore=[path])


def test_gits_own_files_are_signed_when_asked(model: Path) -> None:
    folder(model, {".gitattributes": b"x"})
    document = sign(model, SIGNER, git=True)
    assert "ignore_paths" not in payload_of(document)["predicate"]["serialization"]
    signature = model.with_name("m.sig")
    signature.write_bytes(bundle.encoded(document))
    assert ".gitattributes" in verify(model, signature, TRUST, now=NOW, strict=True).files


def test_a_signer_that_nobody_named_is_refused(model: Path) -> None:
    other = TrustedKey("other", ec.generate_private_key(ec.SECP256R1()).public_key())
    refused(model, signed(model), TRUST.keys[0].hint, "not trusted here", trust=Trust((other,)))
    refused(model, signed(model), "not trusted here", trust=Trust())


def test_one_of_several_keys_is_enough(model: Path) -> None:
    other = TrustedKey("other", ec.generate_private_key(ec.SECP256R1()).public_key())
    both = Trust((other,)) | TRUST
    assert verify(model, signed(model), both, now=NOW).trusted_as == "release"


def test_ed25519_is_not_signed_with_because_other_tools_refuse_it(model: Path) -> None:
    with pytest.raises(Usage, match="not signed with ed25519") as raised:
        sign(model, MemorySigner.generate())
    assert "P-256" in raised.value.remedy


def test_a_signer_that_gives_a_wrong_signature_is_noticed(model: Path) -> None:
    class Faulty:
        public = SIGNER.public

        def sign(self, data: bytes) -> bytes:
            return SIGNER.sign(data + b"x")

    with pytest.raises(Verification, match="does not hold"):
        sign(model, Faulty())


def test_many_files_are_hashed_alike_by_one_thread_and_by_several(tmp_path: Path) -> None:
    files = {f"{n % 7}/{n}": bytes([n % 251]) * (n * 97) for n in range(300)}
    model = folder(tmp_path / "m", files)
    one, several = (hashing.digests(model, (), threads=n) for n in (1, 5))
    assert one == several
    assert len(one.files) == len(files)
    assert one.bytes == sum(map(len, files.values()))


def test_an_unreadable_folder_is_an_error_and_not_skipped(model: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("the superuser reads everything")
    signature = signed(model)
    (model / "sub").chmod(0)
    try:
        refused(model, signature, "cannot read")
    finally:
        (model / "sub").chmod(0o700)


def test_the_list_is_told_whole_for_machines_and_short_for_people(tmp_path: Path) -> None:
    model = folder(tmp_path / "m", {f"{n:03}": b"x" for n in range(100)})
    signature = signed(model)
    for n in range(100):
        (model / f"{n:03}").unlink()
    (model / "other").touch()
    with pytest.raises(Verification) as raised:
        verify(model, signature, TRUST, now=NOW)
    assert len(raised.value.details["problems"]) == 101
    assert raised.value.message.endswith("; and 81 more")
