"""The trust root: a chain from the pinned version, each link signed by the one before."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay import canonical
from assay.canonical import digest
from assay.errors import AssayError, Corrupt, NotFound, Usage, Verification
from assay.evidence import trust
from assay.evidence.envelope import Signature
from assay.evidence.signers import MemorySigner, PublicKey
from assay.evidence.trust import Root, SignedRoot

OLD = [MemorySigner.generate() for _ in range(3)]
NEW = [MemorySigner.generate("ecdsa-p256-sha256") for _ in range(2)]
LEDGER, OURS = MemorySigner.generate(), MemorySigner.generate()


def root(version: int = 1, keys: Sequence[MemorySigner] = OLD, **changed: Any) -> Root:
    fields: dict[str, Any] = {
        "format": trust.FORMAT,
        "version": version,
        "workspace": "w",
        "origin": "assay.invalid/w",
        "ledger_key": LEDGER.public,
        "workspace_keys": (OURS.public,),
        "root_keys": tuple(key.public for key in keys),
        "threshold": 2,
        "recovery": "",
        "issued": "2026-01-01T00:00:00.000Z",
        **changed,
    }
    return Root(**fields)


FIRST = trust.sign(root(), OLD[:2])
SECOND = trust.sign(root(2, NEW), [*OLD[1:], *NEW])
THIRD = trust.sign(root(3, NEW, threshold=1), NEW)


def plain(signed: SignedRoot) -> Any:
    return json.loads(canonical.encode(signed))


def test_a_chain_leads_from_the_pinned_version_to_the_newest() -> None:
    chain = [FIRST, SECOND, THIRD]
    for length in (1, 2, 3):
        found = trust.verify_chain(chain[:length], FIRST.digest)
        assert found == chain[length - 1].root
    assert trust.verify_chain(chain) == THIRD.root


def test_the_pin_is_the_digest_of_the_root_without_its_signatures() -> None:
    assert FIRST.digest == digest(canonical.encode(FIRST.root))
    assert trust.sign(root(), OLD).digest == FIRST.digest


def test_another_first_root_is_refused_where_one_is_pinned() -> None:
    other = trust.sign(root(issued="2026-01-02T00:00:00.000Z"), OLD)
    assert trust.verify_chain([other]) == other.root
    with pytest.raises(Verification, match="is pinned"):
        trust.verify_chain([other], FIRST.digest)
    with pytest.raises(Verification, match="is pinned"):
        trust.verify_chain([SECOND], FIRST.digest)


def test_no_root_is_no_trust() -> None:
    with pytest.raises(Verification, match="no trust root"):
        trust.verify_chain([])


@pytest.mark.parametrize(
    "chain",
    [
        [FIRST, THIRD],
        [SECOND],
        [SECOND, FIRST],
        [FIRST, FIRST],
        [FIRST, SECOND, SECOND],
        [FIRST, SECOND, FIRST],
    ],
)
def test_a_missing_or_repeated_version_is_refused(chain: list[SignedRoot]) -> None:
    with pytest.raises(Verification, match="is missing"):
        trust.verify_chain(chain)


def test_the_first_root_needs_its_own_threshold() -> None:
    for signers in ([], OLD[:1], NEW, [OLD[0], NEW[0]]):
        with pytest.raises(Verification, match=r"of the 2 signatures"):
            trust.verify_chain([trust.sign(root(), signers)])


@pytest.mark.parametrize(
    ("signers", "who"),
    [
        ([], "by the one before"),
        (NEW, "by the one before"),
        ([OLD[0], *NEW], "by the one before"),
        (OLD, "version 2 of the trust root has"),
        ([*OLD, NEW[0]], "version 2 of the trust root has"),
        ([LEDGER, OURS, *NEW], "by the one before"),
    ],
)
def test_a_rotation_needs_the_old_threshold_and_its_own(
    signers: list[MemorySigner], who: str
) -> None:
    with pytest.raises(Verification, match=who):
        trust.verify_chain([FIRST, trust.sign(root(2, NEW), signers)])


def test_a_key_counts_once_however_often_it_signs() -> None:
    one = FIRST.signatures[0]
    for signatures in ((one, one), (one, one, one)):
        with pytest.raises(Verification, match="has 1 of the 2"):
            trust.verify_chain([SignedRoot(FIRST.root, signatures)])


def test_strangers_are_ignored_and_a_broken_signature_is_not() -> None:
    stranger = Signature("ed25519:" + "0" * 32, canonical.b64(bytes(64)))
    extended = SignedRoot(FIRST.root, (stranger, *FIRST.signatures))
    assert trust.verify_chain([extended]) == FIRST.root
    third = OLD[2].public.keyid
    for sig in (canonical.b64(bytes(64)), FIRST.signatures[0].sig):
        spoilt = SignedRoot(FIRST.root, (*FIRST.signatures, Signature(third, sig)))
        with pytest.raises(Verification, match="does not hold"):
            trust.verify_chain([spoilt])
    respelt = Signature(third, "A===")
    with pytest.raises(Corrupt):
        trust.verify_chain([SignedRoot(FIRST.root, (*FIRST.signatures, respelt))])


@pytest.mark.parametrize("changed", [{"workspace": "v"}, {"origin": "assay.invalid/v"}])
def test_a_root_of_another_workspace_does_not_continue_the_chain(changed: dict[str, str]) -> None:
    other = trust.sign(root(2, NEW, **changed), [*OLD, *NEW])
    with pytest.raises(Verification, match="another workspace"):
        trust.verify_chain([FIRST, other])


def test_a_signature_of_one_version_is_none_of_another() -> None:
    moved = SignedRoot(root(2), FIRST.signatures)
    with pytest.raises(Verification, match="does not hold"):
        trust.verify_chain([FIRST, moved])


SENSELESS: dict[str, dict[str, Any]] = {
    "no threshold": {"threshold": 0},
    "a negative threshold": {"threshold": -1},
    "more than there are keys": {"threshold": 4},
    "no root key": {"root_keys": (), "threshold": 0},
    "a key twice": {"root_keys": (OLD[0].public, OLD[0].public)},
    "version 0": {"version": 0},
    "no workspace key": {"workspace_keys": ()},
    "a workspace key twice": {"workspace_keys": (OURS.public, OURS.public)},
    "a root key that is none": {"root_keys": (*FIRST.root.root_keys, PublicKey("ed25519", "AA=="))},
    "a ledger key that is none": {"ledger_key": PublicKey("ed25519", "")},
    "a workspace key that is none": {"workspace_keys": (PublicKey("ed25519", "x"),)},
}


@pytest.mark.parametrize("flaw", sorted(SENSELESS))
def test_a_root_that_could_not_do_its_work_is_refused(flaw: str) -> None:
    signed = trust.sign(msgspec.structs.replace(FIRST.root, **SENSELESS[flaw]), OLD)
    with pytest.raises(Corrupt):
        trust.read_signed(plain(signed))
    # Also when it was never read: a threshold of nothing is met by nobody's signature.
    with pytest.raises(Corrupt):
        trust.verify_chain([signed])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.update(x=1),
        lambda d: d["root"].update(x=1),
        lambda d: d["root"].update(format="assay/trust-root/v2"),
        lambda d: d["root"].update(version="1"),
        lambda d: d["root"].update(version=1.5),
        lambda d: d["root"].update(threshold=True),
        lambda d: d["root"].pop("recovery"),
        lambda d: d["root"].update(ledger_key=None),
        lambda d: d["root"]["ledger_key"].update(algorithm="rsa"),
        lambda d: d.update(signatures={}),
        lambda d: d["signatures"][0].update(x=1),
        lambda d: d.pop("root"),
    ],
)
def test_another_shape_is_refused(spoil: Any) -> None:
    document = plain(FIRST)
    assert trust.read_signed(document) == FIRST
    spoil(document)
    with pytest.raises(Corrupt):
        trust.read_signed(document)


@pytest.mark.parametrize("document", [None, 1, "x", [], {}, [[]]])
def test_junk_is_no_root(document: Any) -> None:
    with pytest.raises(Corrupt):
        trust.read_signed(document)


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, 2**16), bit=st.integers(0, 7))
def test_no_bit_of_a_chain_is_free(at: int, bit: int) -> None:
    files = [canonical.encode(FIRST), canonical.encode(SECOND)]
    which = at % 2
    data = bytearray(files[which])
    data[at % len(data)] ^= 1 << bit
    files[which] = bytes(data)
    with contextlib.suppress(AssayError):
        roots = [trust.read_signed(canonical.decode(raw)) for raw in files]
        # A key id that names nobody takes away a signature; of the second's some were to spare.
        assert trust.verify_chain(roots, FIRST.digest) == SECOND.root
        assert which == 1
        assert len(roots[1].signatures) == 4


# -- files ----------------------------------------------------------------------------------------


def test_versions_are_kept_and_loaded_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "trust"
    chain = [FIRST, *(trust.sign(root(version), OLD) for version in range(2, 13))]
    for signed in reversed(chain):
        trust.save(folder, signed)
    (folder / "notes.txt").write_text("x")
    (folder / "01.json").write_text("x")
    assert trust.load(folder) == chain
    assert trust.verify_chain(trust.load(folder), FIRST.digest).version == 12
    assert (folder / "1.json").read_bytes() == canonical.encode(FIRST)


def test_a_kept_version_is_never_changed(tmp_path: Path) -> None:
    trust.save(tmp_path, FIRST)
    with pytest.raises(Usage, match="never changed"):
        trust.save(tmp_path, trust.sign(root(recovery="x"), OLD))
    assert trust.load(tmp_path) == [FIRST]


@pytest.mark.parametrize("missing", [1, 2])
def test_a_gap_is_not_the_end_of_the_chain(missing: int, tmp_path: Path) -> None:
    for signed in (FIRST, SECOND, THIRD):
        trust.save(tmp_path, signed)
    (tmp_path / f"{missing}.json").unlink()
    with pytest.raises(Corrupt, match=f"not version {missing}"):
        trust.load(tmp_path)


def test_no_trust_root_is_not_found(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(NotFound, match="holds no trust root"):
            trust.load(folder)


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 9000, b"\xff", b" " * (1 << 20) + b"1"])
def test_a_damaged_file_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "1.json").write_bytes(data)
    with pytest.raises(Corrupt):
        trust.load(tmp_path)


def test_a_file_in_another_spelling_is_refused(tmp_path: Path) -> None:
    (tmp_path / "1.json").write_bytes(canonical.encode(FIRST) + b"\n")
    with pytest.raises(Corrupt, match="canonical"):
        trust.load(tmp_path)


def test_a_version_under_another_number_breaks_the_chain(tmp_path: Path) -> None:
    (tmp_path / "1.json").write_bytes(canonical.encode(FIRST))
    (tmp_path / "2.json").write_bytes(canonical.encode(THIRD))
    with pytest.raises(Verification, match="version 2"):
        trust.verify_chain(trust.load(tmp_path))
