"""A witness: what it answers, and that it never signs a roll-back or a fork, whatever happens."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay import canonical, files
from assay.clock import FixedClock
from assay.errors import AssayError, Conflict, Corrupt, NotFound, Unavailable, Usage, Verification
from assay.evidence import merkle, notes, witnessed
from assay.evidence.cosignatures import (
    COSIGNATURE,
    VerifierKey,
    cosign,
    merge,
    quorum,
    read_note,
    signed_by,
)
from assay.evidence.signers import FileSigner, MemorySigner
from assay.supply.transparency import witness as witnessing

from .conftest import AT, ORIGIN, Log, Observer

LOG = MemorySigner.generate()
KEY = VerifierKey.of(ORIGIN, LOG.public)
Tree = list[bytes]


def tree(size: int, salt: int = 0) -> Tree:
    return [merkle.leaf_hash(b"%d/%d" % (salt, n)) for n in range(size)]


def note(hashes: Tree, signer: MemorySigner = LOG, origin: str = ORIGIN) -> bytes:
    return notes.sign_checkpoint(origin, len(hashes), merkle.root(hashes), AT, signer)


def proof(hashes: Tree, old: int) -> list[bytes]:
    def hash_at(level: int, index: int) -> bytes:
        return merkle.root(hashes[index << level : (index + 1) << level])

    return merkle.consistency_proof(old, len(hashes), hash_at)


def request(hashes: Tree, old: int, **changed: Any) -> bytes:
    return witnessed.encode(
        changed.get("said", old),
        changed.get("path", proof(hashes, old)),
        changed.get("note", note(hashes)),
    )


@pytest.fixture
def at_work(observer: Any) -> Any:
    with observer.at_work(KEY) as found:
        yield found


def test_it_cosigns_what_only_grew(at_work: Any, observer: Any) -> None:
    hashes = tree(40)
    old = 0
    for size in (0, 1, 2, 7, 7, 8, 33, 40):
        answer = at_work.add_checkpoint(request(hashes[:size], old))
        assert answer.status == 200, size
        whole = note(hashes[:size]) + answer.body
        (found,) = quorum(read_note(whole), KEY, [observer.key], 1, now=AT)
        assert (found.witness, found.at) == ("w.example", AT)
        old = size


def test_it_says_how_large_a_tree_it_knows_to_whoever_does_not(at_work: Any) -> None:
    hashes = tree(9)
    assert at_work.add_checkpoint(request(hashes[:5], 0)).status == 200
    for said in (0, 4, 6, 9):
        answer = at_work.add_checkpoint(request(hashes, said))
        assert (answer.status, answer.body) == (409, b"5\n")
        assert answer.media == b"text/x.tlog.size"


@pytest.mark.parametrize("size", [1, 4, 5, 6, 8, 12])
def test_it_never_signs_a_fork(at_work: Any, size: int) -> None:
    hashes = tree(8)
    assert at_work.add_checkpoint(request(hashes, 0)).status == 200
    other = tree(size, 1)
    for said in range(size + 1):
        for path in (proof(other, said), proof(tree(12), min(said, 12))[:3], []):
            answer = at_work.add_checkpoint(request(other, said, said=said, path=path))
            assert answer.status in (409, 422), (said, answer)
            assert "—".encode() not in answer.body


def test_the_same_size_with_another_root_is_a_conflict(at_work: Any) -> None:
    assert at_work.add_checkpoint(request(tree(8), 0)).status == 200
    answer = at_work.add_checkpoint(request(tree(8, 1), 8, path=[]))
    assert (answer.status, answer.body) == (409, b"8\n")


def test_it_never_signs_a_roll_back(at_work: Any) -> None:
    hashes = tree(8)
    assert at_work.add_checkpoint(request(hashes, 0)).status == 200
    for size in range(8):
        for said in (0, size):
            assert at_work.add_checkpoint(request(hashes[:size], said)).status == 409
    assert at_work.add_checkpoint(request(hashes[:4], 4, said=8, path=[])).status == 400


def test_a_log_that_is_not_known_is_not_found(at_work: Any) -> None:
    stranger = note(tree(3), origin="example.com/other")
    assert at_work.add_checkpoint(request(tree(3), 0, note=stranger)).status == 404


def test_what_the_log_did_not_sign_is_forbidden(at_work: Any) -> None:
    forged = note(tree(3), MemorySigner.generate())
    assert at_work.add_checkpoint(request(tree(3), 0, note=forged)).status == 403
    altered = note(tree(3)).replace(b"\n3\n", b"\n4\n")
    assert at_work.add_checkpoint(request(tree(4), 0, note=altered)).status == 403


def test_signatures_of_others_are_ignored(at_work: Any) -> None:
    whole = note(tree(3))
    more = whole + cosign(read_note(whole).text, "x.example", MemorySigner.generate(), AT)
    assert at_work.add_checkpoint(request(tree(3), 0, note=more)).status == 200


def test_a_log_may_have_several_keys(observer: Any) -> None:
    second = MemorySigner.generate()
    with observer.at_work(KEY, VerifierKey.of(ORIGIN, second.public)) as found:
        assert found.add_checkpoint(request(tree(3), 0)).status == 200
        by_second = note(tree(5), second)
        assert found.add_checkpoint(request(tree(5), 3, note=by_second)).status == 200


@pytest.mark.parametrize("old", [1, 3, 4, 7])
def test_a_proof_that_does_not_hold_is_unprocessable(at_work: Any, old: int) -> None:
    hashes = tree(8)
    assert at_work.add_checkpoint(request(hashes[:old], 0)).status == 200
    good = proof(hashes, old)
    for bad in ([], good[1:], good[:-1], [*good, bytes(32)], [bytes(32), *good[1:]], good[::-1]):
        if bad != good:
            assert at_work.add_checkpoint(request(hashes, old, path=bad)).status == 422
    assert at_work.add_checkpoint(request(hashes, old)).status == 200


def test_the_first_proof_must_be_empty(at_work: Any) -> None:
    assert at_work.add_checkpoint(request(tree(8), 0, path=[bytes(32)])).status == 422


def test_an_empty_tree_with_another_root_is_unprocessable(at_work: Any) -> None:
    false = notes.sign_checkpoint(ORIGIN, 0, bytes(32), AT, LOG)
    assert at_work.add_checkpoint(request([], 0, note=false)).status in (409, 422)


GOOD = request(tree(3), 0)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n",
        b"old 0",
        b"old 0\n",
        b"old 0\n\n",
        GOOD.replace(b"old 0", b"old 00"),
        GOOD.replace(b"old 0", b"old -1"),
        GOOD.replace(b"old 0", b"old  0"),
        GOOD.replace(b"old 0", b"Old 0"),
        GOOD.replace(b"old 0\n", b"old 0\r\n"),
        GOOD.replace(b"old 0\n", b"old 0\nAA==\n"),
        GOOD.replace(b"old 0\n", b"old 0\n" + b"A" * 43 + b"\n"),
        GOOD.replace(b"old 0\n", b"old 0\n" + (b"A" * 43 + b"=\n") * 64),
        GOOD.replace(b"\n3\n", b"\n03\n"),
        GOOD[:-1],
        GOOD + b"\n",
        GOOD + b"x" * witnessing.BODY_LIMIT,
        b"\xff" + GOOD,
        GOOD.replace(b"\n3\n", b"\n" + b"9" * 30 + b"\n"),
    ],
)
def test_what_is_no_request_is_a_bad_one(at_work: Any, body: bytes) -> None:
    answer = at_work.add_checkpoint(body)
    assert answer.status == 400
    assert "—".encode() not in answer.body


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_an_altered_request_is_never_signed_as_another(
    at_work: Any, observer: Any, at: int, flip: int
) -> None:
    altered = GOOD[:at] + bytes([GOOD[at] ^ flip]) + GOOD[at + 1 :]
    answer = at_work.add_checkpoint(altered)
    if answer.status == 200:  # What changed was a line that is ignored: it signs what was sent.
        whole = merge(note(tree(3)), answer.body, [observer.key])
        assert observer.key in signed_by(read_note(whole), [observer.key])
    else:
        assert "—".encode() not in answer.body


# -- what it must not forget -----------------------------------------------------------------------


def test_it_remembers_across_restarts(observer: Any) -> None:
    with observer.at_work(KEY) as found:
        assert found.add_checkpoint(request(tree(8), 0)).status == 200
    with observer.at_work(KEY) as found:
        assert found.add_checkpoint(request(tree(8, 1), 0)).body == b"8\n"
        assert found.add_checkpoint(request(tree(9), 8)).status == 200
    held = witnessing.load(observer.path).logs[ORIGIN]
    assert (held.size, held.note) == (9, note(tree(9)).decode())


def test_only_one_process_at_a_time_has_its_file(observer: Any) -> None:
    with observer.at_work(KEY), pytest.raises(Unavailable), observer.at_work(KEY):
        pass


def test_one_that_does_not_hold_its_file_signs_nothing(observer: Any) -> None:
    found = observer.at_work(KEY)
    assert found.add_checkpoint(request(tree(3), 0)).status == 503
    with found:
        pass
    assert found.add_checkpoint(request(tree(3), 0)).status == 503


def test_a_lost_file_is_not_begun_anew(observer: Any) -> None:
    observer.path.unlink()
    with pytest.raises(NotFound, match="does not exist"):
        observer.at_work(KEY)


def test_a_file_is_never_made_over_another(observer: Any) -> None:
    with pytest.raises(Conflict):
        witnessing.create(observer.path, observer.key)


def test_another_witnesss_file_is_refused(observer: Any, observer_of: Any) -> None:
    other = observer_of("other.example")
    with pytest.raises(Verification):
        witnessing.Witness(observer.path, other.signer, [KEY], FixedClock(AT))


@pytest.mark.parametrize("cut", [0, 1, 20, -1])
def test_a_damaged_file_is_refused(observer: Any, cut: int) -> None:
    observer.path.write_bytes(observer.path.read_bytes()[:cut])
    with pytest.raises(Corrupt):
        observer.at_work(KEY)


def test_a_file_of_a_newer_format_is_refused(observer: Any) -> None:
    plain = canonical.decode(observer.path.read_bytes())
    observer.path.write_bytes(canonical.encode({**plain, "format": "assay/witness-state/v2"}))
    with pytest.raises(Corrupt, match="unknown format"):
        observer.at_work(KEY)


def test_a_witnesss_key_is_no_logs_key(observer: Any) -> None:
    with pytest.raises(Usage):
        observer.at_work(observer.key)


def test_nothing_is_signed_when_the_disk_is_full(
    at_work: Any, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise Unavailable("no space left", code="write")

    before = observer.path.read_bytes()
    monkeypatch.setattr(files, "write", full)
    answer = at_work.add_checkpoint(request(tree(3), 0))
    assert (answer.status, answer.body) == (503, b"nothing can be signed now\n")
    monkeypatch.undo()
    assert observer.path.read_bytes() == before
    assert at_work.add_checkpoint(request(tree(3), 0)).status == 200


def test_it_is_on_disk_before_anything_is_signed(
    at_work: Any, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    sign = observer.signer.sign
    monkeypatch.setattr(files, "recorder", lambda operation, *_: seen.append(operation))
    monkeypatch.setattr(observer.signer, "sign", lambda data: seen.append("sign") or sign(data))
    assert at_work.add_checkpoint(request(tree(3), 0)).status == 200
    assert seen == ["write", "fsync", "rename", "fsync_dir", "sign"]


def test_its_times_do_not_run_backwards(observer: Any) -> None:
    clock = FixedClock(AT)
    with observer.at_work(KEY, clock=clock) as found:
        first = found.add_checkpoint(request(tree(3), 0))
        clock.advance(-timedelta(minutes=1))
        second = found.add_checkpoint(request(tree(4), 3))
        clock.advance(-timedelta(hours=1))
        assert found.add_checkpoint(request(tree(5), 4)).status == 503
    assert first.status == second.status == 200
    assert quorum(read_note(note(tree(4)) + second.body), KEY, [observer.key], 1)[0].at == AT


def test_of_two_at_once_one_is_signed(at_work: Any) -> None:
    """The race that the specification describes, many times over."""
    hashes = tree(64)
    statuses: list[tuple[int, int]] = []
    barrier = threading.Barrier(8)

    def ask(size: int) -> None:
        barrier.wait()
        statuses.append((size, at_work.add_checkpoint(request(hashes[:size], 0)).status))

    threads = [threading.Thread(target=ask, args=(size,)) for size in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(status for _, status in statuses) == [200] + [409] * 7


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.booleans()), max_size=12))
def test_all_that_it_ever_signed_is_one_history(
    tmp_path: Path, steps: list[tuple[int, int, bool]]
) -> None:
    """Whoever asks, for whatever, in whatever order: each signed tree begins with the last."""
    for path in tmp_path.glob("*.state*"):
        path.unlink()
    observer = Observer(tmp_path)
    signed: list[bytes] = []
    with observer.at_work(KEY) as found:
        for size, old, forked in steps:
            hashes = tree(size, int(forked))
            path = proof(hashes, old) if old <= size else []
            answer = found.add_checkpoint(witnessed.encode(old, path, note(hashes)))
            if answer.status == 200:
                signed.append(note(hashes))
    heads = [read_note(item) for item in signed]
    for before, after in itertools.pairwise(heads):
        assert before.size <= after.size
        same = [salt for salt in (0, 1) if merkle.root(tree(after.size, salt)) == after.root]
        assert any(merkle.root(tree(before.size, salt)) == before.root for salt in same)


# -- killed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", ["write:", "fsync:", "rename:", "fsync_dir:", "witness.kept", ""])
def test_one_that_was_killed_signs_no_fork_afterwards(tmp_path: Path, point: str) -> None:
    key = FileSigner.create(tmp_path / "key.pem")
    state = tmp_path / "state"
    vkey = VerifierKey.of("w.example", key.public, COSIGNATURE)
    witnessing.create(state, vkey)

    def ask(body: bytes, die: str = "") -> subprocess.CompletedProcess[bytes]:
        script = Path(__file__).with_name("witness_process.py")
        words = [sys.executable, str(script), str(state), str(tmp_path / "key.pem"), str(KEY), die]
        return subprocess.run(words, input=body, capture_output=True, timeout=60, check=False)

    died = ask(request(tree(8), 0), point)
    assert died.returncode == (-9 if point else 0)
    if point:
        assert died.stdout == b""
    known = witnessing.load(state).logs
    answer = ask(request(tree(8, 1), 0)).stdout
    if ORIGIN in known:  # It was on disk: nothing else will ever be signed.
        assert answer == b"409\n8\n"
    else:  # It was not, and no signature had left: the first to come is the log.
        assert answer.startswith(b"200\n")
        assert point in ("write:", "fsync:")


def test_the_file_that_is_left_by_a_kill_does_not_stop_the_next(tmp_path: Path) -> None:
    observer = Observer(tmp_path)
    (tmp_path / ".w.example.state.0123456789ab.tmp").write_bytes(b"half")
    with observer.at_work(KEY) as found:
        assert found.add_checkpoint(request(tree(3), 0)).status == 200


def test_real_ledgers_are_cosigned(log: Log, observer: Any) -> None:
    with observer.at_work(log.key) as found:
        old = 0
        for size in (1, 5, 300):
            log.to(size)
            path = log.ledger.consistency(old, size)
            assert found.add_checkpoint(witnessed.encode(old, path, log.note)).status == 200
            old = size


def test_an_error_of_ours_is_not_told_to_whoever_asks(at_work: Any) -> None:
    with pytest.raises(AssayError):
        read_note(b"x")
    assert b"Traceback" not in at_work.add_checkpoint(b"x").body
