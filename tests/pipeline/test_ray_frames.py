"""What the parts of the Ray executor say to each other survives the way, and nothing else does."""

from __future__ import annotations

import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import (
    AssayError,
    Conflict,
    Corrupt,
    Denied,
    NotFound,
    Unavailable,
    Usage,
    Verification,
)
from assay.pipeline.ray_frames import (
    Cancel,
    Channel,
    Failure,
    Open,
    Piece,
    Ready,
    Result,
    Success,
    error_of,
    failure_of,
    pack_result,
    unpack_result,
)

KINDS = (Usage, NotFound, Denied, Verification, Conflict, Unavailable, Corrupt)


@given(
    st.sampled_from(KINDS),
    st.text(),
    st.text(),
    st.from_regex(r"([a-z]+(\.[a-z]+)*)?", fullmatch=True),
    st.dictionaries(st.text(), st.integers(-(2**31), 2**31) | st.text()),
)
def test_an_error_arrives_as_itself(
    kind: type[AssayError], message: str, remedy: str, code: str, details: dict[str, object]
) -> None:
    sent = kind(message, remedy=remedy, code=code, details=details)
    came = error_of(failure_of(sent))
    assert type(came) is kind
    assert came.as_dict() == sent.as_dict()


def test_details_that_are_no_plain_data_are_left_behind() -> None:
    assert failure_of(Usage("no", details={"what": object()})).details == {}


def test_an_error_of_another_kind_arrives_as_unavailable_without_a_traceback() -> None:
    came = error_of(failure_of(KeyError("secret" * 200)))
    assert isinstance(came, Unavailable)
    assert came.code == "unavailable.ray.unexpected"
    assert len(came.message) < 400


def test_an_error_of_an_unknown_kind_is_not_invented() -> None:
    assert type(error_of(Failure("superuser", "hello"))) is Unavailable


@given(st.binary(max_size=50), st.lists(st.binary(max_size=50), max_size=5))
def test_a_result_and_its_files_arrive_whole(log: bytes, files: list[bytes]) -> None:
    pieces = [Piece(f"{number}.bin", len(file)) for number, file in enumerate(files)]
    head = Result(Success(b"answer", "full", 1.5, 10, "node", {}), len(log), pieces)
    data = pack_result(head) + log + b"".join(files)
    result, came_log, came = unpack_result(memoryview(data))
    assert result == head
    assert bytes(came_log) == log
    assert [bytes(content) for _, content in came] == files


@given(st.data())
def test_a_result_cut_short_or_longer_than_it_says_is_refused(data: st.DataObject) -> None:
    head = Result(Failure("usage", "no"), 3, [Piece("a", 4)])
    whole = pack_result(head) + b"logdata"
    cut = data.draw(st.integers(0, len(whole) - 1))
    for wrong in (whole[:cut], whole + b"x"):
        with pytest.raises(Unavailable, match="cannot be read"):
            unpack_result(memoryview(wrong))


@given(st.binary(max_size=200))
def test_a_result_of_any_bytes_is_refused_with_an_error_of_ours(data: bytes) -> None:
    with pytest.raises(Unavailable, match="cannot be read"):
        unpack_result(memoryview(data))


def test_negative_sizes_do_not_add_up() -> None:
    head = Result(Failure("usage", "no"), -4, [Piece("a", 4)])
    with pytest.raises(Unavailable, match="cannot be read"):
        unpack_result(memoryview(pack_result(head)))


def test_messages_of_any_size_pass_the_channel_in_order() -> None:
    ours, theirs = socket.socketpair()
    sender, receiver = Channel(ours), Channel(theirs)
    sent = [Cancel(1), Open(b"x" * (1 << 20), "sha256:0"), Cancel(2)]

    def send() -> None:
        for message in sent:
            sender.send(message)
        sender.close_sending()

    thread = threading.Thread(target=send)
    thread.start()
    came = [receiver.command(), receiver.command(), receiver.command()]
    assert came == sent
    assert receiver.command() is None
    receiver.send(Ready(4, 2))
    assert sender.report() == Ready(4, 2)
    receiver.close()
    assert sender.report() is None
    thread.join()
    sender.close()


def test_a_frame_cut_short_is_the_end() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.sendall((100).to_bytes(8, "big") + b"only this")
        theirs.close()
        assert Channel(ours).report() is None


def test_a_frame_of_an_absurd_length_is_refused_before_memory_is_taken() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall((1 << 60).to_bytes(8, "big"))
        with pytest.raises(Unavailable):
            Channel(ours).report()
