"""Hubs, registries, web servers, folders and mirrors, and what is compared with what they say.

The hub and the registry here are stand-ins (see `servers`).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Generator
from pathlib import Path

import pytest
from supply.intake.conftest import Take
from supply.intake.servers import (
    COMMIT,
    SMALL,
    Asked,
    Hub,
    Registry,
    Reply,
    Server,
    certified,
    git_blob,
    serving,
    sha256,
)

from assay.errors import AssayError, Denied, NotFound, Unavailable, Usage, Verification
from assay.supply.intake.settings import Settings

CARD = b"---\nlicense: apache-2.0\n---\n# Credit\n"
FILES = {"README.md": CARD, "config.json": b"{}", "model.onnx": b"weights" * 100}


@contextlib.contextmanager
def hub(**given: object) -> Generator[tuple[Hub, Server, Server]]:
    """A hub (stand-in), its server, and that of the other host that has the large files."""
    made = Hub(dict(FILES), frozenset({"model.onnx"}), **given)  # pyright: ignore[reportArgumentType]
    with serving(made.objects) as there, serving(made) as here:
        made.elsewhere = there.url
        yield made, here, there


# -- a hub ----------------------------------------------------------------------------------------


def test_a_repository_is_taken_at_the_commit_that_its_branch_is_now(take: Take) -> None:
    with hub(licence="mit") as (_, here, there):
        settings = here.settings(there, hub=here.url, limits=SMALL)
        fetched, held = take("hf:acme/credit@main", settings)
        assert (fetched.revision, fetched.licence) == (COMMIT, "mit")
        assert {t.path: t.checked for t in held.taken} == {
            "README.md": "git object id",
            "config.json": "git object id",
            "model.onnx": "LFS oid",
        }
        assert [a.path.split("?")[0] for a in there.asked] == ["/objects/model.onnx"]


def test_how_git_keeps_a_repository_is_no_part_of_the_model(take: Take) -> None:
    with hub() as (made, here, there):
        made.files[".gitattributes"] = b"*.bin filter=lfs"
        settings = here.settings(there, hub=here.url, limits=SMALL)
        _, held = take("hf:acme/credit", settings)
        assert [t.path for t in held.taken] == ["README.md", "config.json", "model.onnx"]


def test_files_are_chosen_by_patterns_and_the_card_always_comes(take: Take) -> None:
    with hub() as (_, here, there):
        settings = here.settings(there, hub=here.url, limits=SMALL)
        _, held = take(f"hf:acme/credit@{COMMIT}", settings, only=("*.onnx",))
        assert [t.path for t in held.taken] == ["README.md", "model.onnx"]
        with pytest.raises(Usage, match="none of its 3 files"):
            take(f"hf:acme/credit@{COMMIT}", settings, only=("*.safetensors",))


@pytest.mark.parametrize("name", ["config.json", "model.onnx"])
def test_a_file_that_is_not_what_the_hub_says_is_refused(take: Take, name: str) -> None:
    content = FILES[name]
    with hub(wrong={name: content[:-1] + b"!"}) as (_, here, there):
        with pytest.raises(Verification) as caught:
            take("hf:acme/credit", here.settings(there, hub=here.url, limits=SMALL))
        assert caught.value.code == "verification.intake.digest"
        assert "hf:acme/credit" in caught.value.message
        assert name in caught.value.message


def test_a_commit_is_not_exchanged_for_another(take: Take) -> None:
    other = "f" * 40
    with hub() as (made, here, there):
        made.commit = COMMIT
        asking = here.settings(there, hub=here.url)
        with pytest.raises(NotFound):
            take(f"hf:acme/credit@{other}", asking)
    lying = json.dumps({"sha": COMMIT, "siblings": []}).encode()
    with serving(lambda _: Reply(lying)) as here, pytest.raises(Unavailable):
        take(f"hf:acme/credit@{other}", here.settings(hub=here.url))


def test_a_token_goes_to_the_hub_and_not_to_the_host_of_its_files(take: Take) -> None:
    with hub(token="hf_s3cret") as (_, here, there):
        refused = here.settings(there, hub=here.url)
        with pytest.raises(Denied) as caught:
            take("hf:acme/credit", refused)
        assert "credentials" in caught.value.remedy
        secrets = {here.place: "hf_s3cret"}
        take("hf:acme/credit", here.settings(there, hub=here.url, secrets=secrets, limits=SMALL))
        assert all("authorization" not in a.headers for a in there.asked)


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        b"{}",
        b"[]",
        b'{"sha": "main", "siblings": []}',
        b'{"sha": "%b", "siblings": [{"rfilename": "../../x", "size": 1, "blobId": "%b"}]}',
        b'{"sha": "%b", "siblings": [{"rfilename": "x", "size": 1}]}',
        b'{"sha": "%b", "siblings": [{"rfilename": "x"}, {"rfilename": "x"}]}',
        b'{"sha": "%b", "siblings": []}',
        b"[" * 100_000,
    ],
)
def test_a_hub_that_answers_strangely_is_refused_by_name(take: Take, answer: bytes) -> None:
    body = answer.replace(b"%b", COMMIT.encode())
    with serving(lambda _: Reply(body)) as here:
        with pytest.raises(AssayError) as caught:
            take("hf:acme/credit", here.settings(hub=here.url))
        assert "hf:acme/credit" in caught.value.message
        assert caught.value.code != "error"


# -- a registry -----------------------------------------------------------------------------------


def test_an_artifact_is_taken_by_tag_and_by_digest(take: Take) -> None:
    made = Registry({"model.onnx": b"weights", "README.md": CARD})
    made.annotations = {"org.opencontainers.image.licenses": "MIT"}
    with serving(made) as here:
        for reference in (":latest", f"@{made.digest}"):
            text = f"oci://{here.place}/models/credit{reference}"
            fetched, held = take(text, here.settings())
            assert (fetched.revision, fetched.licence) == (made.digest, "MIT")
            assert [t.checked for t in held.taken] == ["OCI digest"] * 2


def test_a_registry_that_wants_a_token_gets_none_of_our_secrets_for_others(take: Take) -> None:
    made = Registry({"m": b"x"}, user="ann")
    with serving(made) as tokens, serving(made) as here:
        made.realm = f"{tokens.url}/token"
        secrets = {here.place: "ann:hunter2"}
        settings = here.settings(tokens, secrets=secrets)
        take(f"oci://{here.place}/models/credit", settings)
        assert "authorization" not in tokens.asked[0].headers
        made.realm = f"{here.url}/token"
        take(f"oci://{here.place}/models/credit", settings)
        (asked,) = [a for a in here.asked if a.path.startswith("/token")]
        assert asked.headers["authorization"].startswith("Basic ")
        assert "scope=repository" in asked.path


@pytest.mark.parametrize(
    "challenge", ["", "Basic", "Bearer", "Digest realm=x", 'Bearer realm="file:///x"']
)
def test_a_registry_that_wants_what_we_have_not_is_refused(take: Take, challenge: str) -> None:
    headers = {"WWW-Authenticate": challenge} if challenge else {}
    with serving(lambda _: Reply(b"", 401, headers)) as here, pytest.raises(Denied) as caught:
        take(f"oci://{here.place}/models/credit", here.settings())
    assert caught.value.remedy


@pytest.mark.parametrize("wrong", ["manifest", "m"])
def test_a_manifest_or_layer_that_is_not_what_it_is_called_is_refused(
    take: Take, wrong: str
) -> None:
    made = Registry({"m": b"x"})
    text = f"models/credit@{made.digest}"
    made.wrong = {wrong: made.manifest.replace(b"2", b"3") if wrong == "manifest" else b"y"}
    with serving(made) as here, pytest.raises(Verification):
        take(f"oci://{here.place}/{text}", here.settings())


@pytest.mark.parametrize(
    "manifest",
    [
        b"<html>",
        b"{}",
        b'{"layers": [{"digest": "md5:1", "size": 1}]}',
        b'{"manifests": [{"digest": "sha256:1", "size": 1}]}',
        b'{"manifests": [{"digest": "x", "size": 1}, {"digest": "y", "size": 1}]}',
        b'{"layers": [{"digest": "sha256:%b", "size": 1, "annotations": '
        b'{"org.opencontainers.image.title": "../../etc/x"}}]}',
    ],
)
def test_a_strange_manifest_is_refused(take: Take, manifest: bytes) -> None:
    body = manifest.replace(b"%b", b"a" * 64)
    with serving(lambda _: Reply(body)) as here, pytest.raises(AssayError) as caught:
        take(f"oci://{here.place}/a/b", here.settings())
    assert caught.value.code != "error"


# -- a web server ---------------------------------------------------------------------------------


def test_one_file_is_taken_from_a_web_server_that_proves_its_name(
    take: Take, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls, certificate = certified(tmp_path)

    def answer(asked: Asked) -> Reply:
        length = -1 if "streamed" in asked.path else None
        return Reply(b"weights", length=length)

    with serving(answer, tls=tls) as server:
        here = Settings(hosts=frozenset({f"localhost:{server.port}"}), limits=SMALL)
        url = f"https://localhost:{server.port}/a/model.onnx"
        with pytest.raises(Verification) as caught:
            take(url, here)
        assert caught.value.code == "verification.intake.certificate"
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        _, held = take(url, here)
        assert [t.path for t in held.taken] == ["model.onnx"]
        # Without a length only TLS's own goodbye says that all of it came.
        with pytest.raises(Unavailable):
            take(url.replace("model", "streamed"), here)


def test_a_certificate_of_another_name_is_refused(
    take: Take, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls, certificate = certified(tmp_path, "other.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    settings = Settings(hosts=frozenset({"localhost"}))
    with serving(lambda _: Reply(b"x"), tls=tls) as server, pytest.raises(Verification):
        take(f"https://localhost:{server.port}/m.onnx", settings)


# -- this machine ---------------------------------------------------------------------------------


def test_a_folder_is_taken_without_its_links(take: Take, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.bin").write_bytes(b"a")
    _, held = take(str(folder))
    assert [t.path for t in held.taken] == ["sub/a.bin"]
    (folder / "link").symlink_to("/etc/passwd")
    with pytest.raises(Usage, match="link"):
        take(str(folder))
    (folder / "link").unlink()
    os.mkfifo(folder / "pipe")
    with pytest.raises(Usage):
        take(str(folder))


@pytest.mark.parametrize("what", ["missing", "link", "pipe"])
def test_what_is_no_plain_file_is_refused(take: Take, tmp_path: Path, what: str) -> None:
    path = tmp_path / "thing"
    if what == "link":
        path.symlink_to("/etc/hostname")
    elif what == "pipe":
        os.mkfifo(path)
    with pytest.raises((NotFound, Usage)):
        take(str(path))


# -- mirrors --------------------------------------------------------------------------------------


def _cache(base: Path) -> Path:
    """A repository as the cache of Hugging Face's library has it: blobs, links and a reference."""
    cache = base / "models--acme--credit"
    snapshot = cache / "snapshots" / COMMIT
    (snapshot / "onnx").mkdir(parents=True)
    (cache / "blobs").mkdir()
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(COMMIT)
    for name, blob in (("README.md", git_blob(CARD)), ("onnx/model.onnx", sha256(b"weights"))):
        content = CARD if name == "README.md" else b"weights"
        (cache / "blobs" / blob).write_bytes(content)
        up = "../" * (2 + name.count("/"))
        (snapshot / name).symlink_to(f"{up}blobs/{blob}")
    return cache


def test_the_cache_of_a_hubs_library_is_a_mirror(take: Take, tmp_path: Path) -> None:
    _cache(tmp_path)
    for revision in ("main", COMMIT):
        fetched, held = take(f"hf:acme/credit@{revision}", mirror=tmp_path)
        assert fetched.revision == COMMIT
        assert not fetched.bound  # Only the name of a folder says that it is this commit.
        assert [t.path for t in held.taken] == ["README.md", "onnx/model.onnx"]
        assert all(t.checked for t in held.taken)


def test_a_blob_that_is_not_what_its_name_says_is_refused(take: Take, tmp_path: Path) -> None:
    cache = _cache(tmp_path)
    (cache / "blobs" / sha256(b"weights")).write_bytes(b"poison!")
    with pytest.raises(Verification):
        take("hf:acme/credit", mirror=tmp_path)


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "../../../../etc/passwd", "../../blobs/../../x", "README.md"]
)
def test_a_link_of_a_mirror_leads_to_its_own_blobs_or_nowhere(
    take: Take, tmp_path: Path, target: str
) -> None:
    cache = _cache(tmp_path)
    (cache / "snapshots" / COMMIT / "evil").symlink_to(target)
    with pytest.raises(Verification):
        take("hf:acme/credit", mirror=tmp_path)


def test_a_blob_that_is_itself_a_link_is_not_followed(take: Take, tmp_path: Path) -> None:
    cache = _cache(tmp_path)
    blob = cache / "blobs" / sha256(b"weights")
    moved = tmp_path / "elsewhere"
    shutil.move(blob, moved)
    blob.symlink_to(moved)
    with pytest.raises(Usage):
        take("hf:acme/credit", mirror=tmp_path)


@pytest.mark.parametrize("revision", ["v9", "f" * 40, "a/../../x"])
def test_a_revision_that_a_mirror_lacks_is_not_found(
    take: Take, tmp_path: Path, revision: str
) -> None:
    _cache(tmp_path)
    with pytest.raises((NotFound, Usage)):
        take(f"hf:acme/credit@{revision}", mirror=tmp_path)


@pytest.mark.parametrize("where", ["models--acme--credit", "acme", "m.example"])
def test_a_folder_of_a_mirror_that_leads_elsewhere_is_not_followed(
    take: Take, tmp_path: Path, where: str
) -> None:
    mirror, secret = tmp_path / "mirror", tmp_path / "secret"
    mirror.mkdir()
    _cache(tmp_path)
    (tmp_path / "models--acme--credit").rename(secret)
    (secret / "credit").mkdir()
    (secret / "credit" / "key.pem").write_text("private")
    (mirror / where).symlink_to(secret)
    wanted = "https://m.example/credit" if where == "m.example" else "hf:acme/credit"
    with pytest.raises(Verification, match="leads out of the mirror"):
        take(wanted, mirror=mirror)


@pytest.mark.parametrize("inner", ["blobs", "snapshots"])
def test_a_cache_whose_parts_lie_elsewhere_is_refused(
    take: Take, tmp_path: Path, inner: str
) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    cache = _cache(mirror)
    (cache / inner).rename(tmp_path / inner)
    (cache / inner).symlink_to(tmp_path / inner)
    with pytest.raises(Verification):
        take("hf:acme/credit", mirror=mirror)


def test_a_pattern_that_names_no_file_is_refused_for_a_single_one_too(
    take: Take, tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_bytes(b"w")
    with pytest.raises(Usage, match="--only"):
        take(str(tmp_path / "model.onnx"), only=("*.safetensors",))


def test_a_plain_mirror_proves_no_revision(take: Take, tmp_path: Path) -> None:
    (tmp_path / "acme" / "credit").mkdir(parents=True)
    (tmp_path / "acme" / "credit" / "m.onnx").write_bytes(b"w")
    fetched, _ = take(f"hf:acme/credit@{COMMIT}", mirror=tmp_path)
    assert not fetched.bound
    (tmp_path / "m.example").mkdir()
    (tmp_path / "m.example" / "m.onnx").write_bytes(b"w")
    _, held = take("https://m.example/m.onnx", mirror=tmp_path)
    assert [t.path for t in held.taken] == ["m.onnx"]
    with pytest.raises(NotFound):
        take("hf:acme/other", mirror=tmp_path)
    with pytest.raises(NotFound):
        take("hf:acme/credit", mirror=tmp_path / "no such folder")


def test_an_image_layout_is_a_mirror_of_a_registry(take: Take, tmp_path: Path) -> None:
    made = Registry({"model.onnx": b"weights"})
    layout = tmp_path / "ghcr.io" / "models" / "credit"
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (blobs / made.digest[7:]).write_bytes(made.manifest)
    (blobs / sha256(b"weights")).write_bytes(b"weights")
    entry = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": made.digest,
        "size": len(made.manifest),
        "annotations": {"org.opencontainers.image.ref.name": "latest"},
    }
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    for reference in (":latest", f"@{made.digest}"):
        fetched, held = take(f"oci://ghcr.io/models/credit{reference}", mirror=tmp_path)
        assert fetched.revision == made.digest
        assert [t.path for t in held.taken] == ["model.onnx"]
    (blobs / sha256(b"weights")).write_bytes(b"poison!")
    with pytest.raises(Verification):
        take(f"oci://ghcr.io/models/credit@{made.digest}", mirror=tmp_path)
    with pytest.raises(NotFound):
        take("oci://ghcr.io/models/credit:v2", mirror=tmp_path)
    with pytest.raises(NotFound):
        take("oci://ghcr.io/models/other", mirror=tmp_path)
