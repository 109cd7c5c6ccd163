"""A model behind a confined worker that is replaced when it dies."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from assay.errors import Denied, NotFound, Unavailable, Usage, Verification
from assay.isolation import worker as worker_module
from assay.isolation.probe import probe
from assay.serve import host as host_module
from assay.serve.host import LIMITS, MOST_SECONDS, STABLE_SECONDS, Host

ROW = msgspec.msgpack.encode({"x0": [2.0], "x1": [0.0], "x2": [0.0]})


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def label(host: Host) -> Any:
    return msgspec.msgpack.decode(host.infer(ROW))[0]["data"]


def kill(host: Host) -> int:
    """Kill the worker, and wait until it is dead."""
    pid = host.pid
    assert pid is not None
    os.killpg(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


def test_a_model_answers_from_a_confined_process(matrix_model: bytes) -> None:
    with Host(matrix_model, require=probe().level) as host:
        assert host.level == probe().level
        assert host.digest == "sha256:" + hashlib.sha256(matrix_model).hexdigest()
        assert host.pid != os.getpid()
        assert host.ready
        assert label(host) == [1]
    assert not host.ready


def test_a_model_in_a_file_answers(matrix_model: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(matrix_model)
    with Host(path) as host:
        assert host.digest == "sha256:" + hashlib.sha256(matrix_model).hexdigest()
        assert label(host) == [1]


def test_a_killed_worker_is_replaced_for_the_next_request(matrix_model: bytes) -> None:
    with Host(matrix_model) as host:
        first = kill(host)
        assert label(host) == [1]
        assert host.pid != first


def test_a_model_that_hangs_costs_one_request(counting_model: bytes) -> None:
    def count(host: Host, to: float) -> Any:
        return msgspec.msgpack.decode(host.infer(msgspec.msgpack.encode({"x": [to]})))

    with Host(counting_model, limits=replace(LIMITS, wall_seconds=2.0)) as host:
        assert count(host, 3.0)[0]["data"] == [3.0]
        hung = host.pid
        with pytest.raises(Unavailable) as caught:
            count(host, 1e15)
        assert caught.value.code == "unavailable.isolation.timeout"
        assert hung is not None
        with pytest.raises(ProcessLookupError):
            os.kill(hung, 0)
        assert count(host, 4.0)[0]["data"] == [4.0]


def test_a_mistake_of_the_caller_leaves_the_worker_alive(matrix_model: bytes) -> None:
    with Host(matrix_model) as host:
        before = host.pid
        with pytest.raises(Usage) as caught:
            host.infer(msgspec.msgpack.encode({"x0": [1.0]}))
        assert caught.value.code == "usage.input.columns"
        assert label(host) == [1]
        assert host.pid == before


class Doomed:
    """Stands in for `Worker`: describes the model, then dies at each call."""

    level = "none"
    starts = 0
    said = b""

    def __init__(self) -> None:
        self.alive = True
        self.pid = 0

    @classmethod
    def start(cls, *_: Any, **__: Any) -> Doomed:
        cls.starts += 1
        return cls()

    def call(self, request: bytes) -> bytes:
        if request == host_module.inference.DESCRIBE:
            return self.said
        if request == b"harmless":
            return b""
        self.alive = False
        raise Unavailable("it crashed", code="isolation.crashed")

    def close(self) -> None:
        self.alive = False


@pytest.fixture
def doomed(monkeypatch: pytest.MonkeyPatch) -> type[Doomed]:
    field = {"name": "x", "datatype": "FP32"}
    said = {"inputs": [field], "outputs": [{**field, "shape": [-1]}]}
    monkeypatch.setattr(Doomed, "said", msgspec.msgpack.encode(said))
    monkeypatch.setattr(Doomed, "starts", 0)
    monkeypatch.setattr(host_module, "Worker", Doomed)
    return Doomed


def code_of_asking(host: Host) -> str:
    with pytest.raises(Unavailable) as caught:
        host.infer(b"")
    return caught.value.code.removeprefix("unavailable.")


def test_a_worker_that_keeps_dying_is_started_less_and_less_often(doomed: type[Doomed]) -> None:
    clock = Clock()
    with Host(b"model", clock=clock) as host:
        assert code_of_asking(host) == "isolation.crashed"
        assert host.ready
        assert code_of_asking(host) == "isolation.crashed"  # The first death costs no wait.
        wait = 1.0
        while wait < 2 * MOST_SECONDS:
            waited = min(wait, MOST_SECONDS)
            starts = doomed.starts
            clock.now += waited - 0.1
            assert not host.ready
            assert code_of_asking(host) == "serve.restarting"
            assert doomed.starts == starts
            clock.now += 0.2
            assert host.ready
            if waited < STABLE_SECONDS:
                assert code_of_asking(host) == "isolation.crashed"
                assert doomed.starts == starts + 1
            wait *= 2


def test_a_worker_that_lived_long_is_replaced_at_once(doomed: type[Doomed]) -> None:
    clock = Clock()
    with Host(b"model", clock=clock) as host:
        for _ in range(5):
            assert host.infer(b"harmless") == b""
            clock.now += STABLE_SECONDS
            assert code_of_asking(host) == "isolation.crashed"
            assert host.ready
        assert doomed.starts == 5


def test_a_restart_that_fails_is_unavailable_and_not_the_callers_mistake(
    matrix_model: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(matrix_model)
    clock = Clock()
    with Host(path, clock=clock) as host:
        kill(host)
        path.write_bytes(matrix_model + b"\0")  # Other bytes than those that were approved.
        assert code_of_asking(host) == "serve.start"
        assert code_of_asking(host) == "serve.restarting"
        path.write_bytes(matrix_model)
        clock.now += 5
        assert label(host) == [1]


def test_a_level_that_is_not_reached_is_denied(
    matrix_model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    weak = replace(probe(), seccomp=False, landlock_abi=0)
    monkeypatch.setattr(worker_module, "probe", lambda: weak)
    with pytest.raises(Denied) as caught:
        Host(matrix_model, require="process")
    assert caught.value.code == "denied.isolation.level"


@pytest.mark.parametrize("model", [b"", b"no model", b"\x80\x04."])
def test_what_is_no_model_is_refused_by_the_worker(model: bytes) -> None:
    with pytest.raises(Usage) as caught:
        Host(model)
    assert caught.value.code == "usage.onnx.format"


def test_another_digest_is_refused(matrix_model: bytes) -> None:
    with pytest.raises(Verification) as caught:
        Host(matrix_model, digest="sha256:" + "0" * 64)
    assert caught.value.code == "verification.serve.digest"


def test_a_file_that_does_not_exist_is_not_found(tmp_path: Path) -> None:
    with pytest.raises((NotFound, Usage)):
        Host(tmp_path / "none.onnx")


def test_a_model_too_large_for_one_message_has_to_be_a_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(host_module, "_INLINE", 10)
    with pytest.raises(Usage, match="too large") as caught:
        Host(b"x" * 11)
    assert "path" in caught.value.remedy


def test_a_closed_endpoint_stays_closed(matrix_model: bytes) -> None:
    host = Host(matrix_model)
    host.close()
    host.close()
    assert code_of_asking(host) == "serve.closed"
    assert not host.ready


def test_closing_ends_a_request_in_another_thread(counting_model: bytes) -> None:
    host = Host(counting_model)
    request = msgspec.msgpack.encode({"x": [1e15]})
    codes: list[str] = []
    started = threading.Event()

    def ask() -> None:
        started.set()
        try:
            host.infer(request)
        except Unavailable as error:
            codes.append(error.code)

    thread = threading.Thread(target=ask)
    thread.start()
    started.wait()
    host.close()
    thread.join(20)
    assert not thread.is_alive()
    assert len(codes) == 1


def test_the_facts_of_an_endpoint_cannot_contradict_what_is_served(matrix_model: bytes) -> None:
    def permit(token: str) -> str:
        return token

    with Host(matrix_model) as host:
        endpoint = host.endpoint("credit", "3", permit=permit, facts={"approved_by": 2})
        assert endpoint.facts == {
            "approved_by": 2,
            "digest": host.digest,
            "isolation": host.level,
        }
        assert endpoint.ready()
        for wrong in ({"digest": "sha256:" + "0" * 64}, {"isolation": "perfect"}):
            with pytest.raises(Usage) as caught:
                host.endpoint("credit", "3", permit=permit, facts=wrong)
            assert caught.value.code == "usage.serve.facts"
    assert not endpoint.ready()
