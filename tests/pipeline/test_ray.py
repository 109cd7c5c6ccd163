"""The Ray executor, on a real cluster of two nodes: what it gives, whom it lets in, what it leaves
behind, and what becomes of tasks when workers and nodes are killed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickletools
import signal
import stat
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from assay import canonical
from assay.errors import Conflict, Unavailable, Usage, Verification
from assay.pipeline.archive import pack_code
from assay.pipeline.confined import Call, Plain, Read
from assay.pipeline.execution import answer_of
from assay.pipeline.executors import LocalExecutor
from assay.pipeline.ray_executor import RayExecutor
from assay.plugins import Executor, Finished, Task, TaskInput

pytest.importorskip("ray", reason="Ray is not installed")

from .ray_cluster import HEAD, OTHER, Cluster, marked

pytestmark = pytest.mark.slow

STEPS = """
import time
from assay.pipeline import step

@step
def stretched(data: bytes, times: int, seed: int) -> bytes:
    print("a line of", times)
    return data * times

@step
def lasting(seconds: float, number: int) -> int:
    print("begun", flush=True)
    time.sleep(seconds)
    return number * number

@step
def failing(number: int) -> int:
    raise ValueError(f"no {number}")

@step
def seeing(number: int) -> list[str]:
    import os
    found = [name for name in os.environ if name.startswith(("RAY", "ASSAY", "AWS"))]
    for place in ("/etc", "/tmp", "/dev/shm"):
        try:
            found += os.listdir(place)
        except OSError:
            pass
    return found
"""
CODE = pack_code({"0/steps.py": STEPS.encode()})
DIGEST = canonical.digest(CODE)
SECRET = b"not-for-the-process-list-or-a-log"


@pytest.fixture(scope="module")
def cluster() -> Generator[Cluster]:
    cluster = Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.end()


@contextlib.contextmanager
def connected(cluster: Cluster) -> Generator[RayExecutor]:
    with pytest.MonkeyPatch.context() as patched:
        for name, value in cluster.environment().items():
            patched.setenv(name, value)
        patched.setenv("AWS_SECRET_ACCESS_KEY", "do-not-pass-on")
        executor = RayExecutor()
        executor.open(CODE, DIGEST)
    try:
        yield executor
    finally:
        executor.shutdown(cancel=True)


@pytest.fixture(scope="module")
def ray(cluster: Cluster) -> Generator[RayExecutor]:
    with connected(cluster) as executor:
        yield executor


@pytest.fixture
def own(cluster: Cluster) -> Generator[RayExecutor]:
    """An executor that the test may end."""
    with connected(cluster) as executor:
        yield executor


def task(name: str, inputs: Sequence[Path] = (), **arguments: Any) -> Task:
    given: dict[str, Any] = {key: Plain(value) for key, value in arguments.items()}
    if inputs:
        given["data"] = Read([0])
    return Task(
        name=name,
        payload=msgspec.msgpack.encode(Call(f"steps:{name}", given, 7)),
        inputs=tuple(TaskInput(canonical.digest_file(path), str(path)) for path in inputs),
        memory_bytes=4 << 30,
        cpu_seconds=60,
        wall_seconds=60,
        file_bytes=1 << 30,
        environment={},
        ports=(),
        processes=False,
        require=None,
        distributions="",
    )


def digests(finished: Finished) -> list[str]:
    return [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in finished.outputs]


def run_all(executor: Executor, tasks: Sequence[Task], below: Path) -> list[Finished]:
    futures = [executor.submit(one, below / str(n)) for n, one in enumerate(tasks)]
    return [future.result(timeout=90) for future in futures]


def stretches(folder: Path) -> list[Task]:
    small, large = folder / "small.bin", folder / "large.bin"
    small.write_bytes(SECRET)
    large.write_bytes(os.urandom(1 << 20) * 20)  # More than one piece.
    return [
        *(task("stretched", [small], times=n) for n in range(1, 7)),
        task("stretched", [large], times=2),
    ]


def test_both_nodes_run_tasks_and_give_what_this_machine_gives(
    ray: RayExecutor, tmp_path: Path
) -> None:
    tasks = stretches(tmp_path)
    assert ray.transport == "plain (loopback)"
    assert ray.slots == 4
    there = run_all(ray, tasks, tmp_path / "there")
    local = LocalExecutor(2)
    local.open(CODE, DIGEST)
    (tmp_path / "here").mkdir()
    here = run_all(local, tasks, tmp_path / "here")
    local.shutdown(cancel=False)
    assert [digests(one) for one in there] == [digests(one) for one in here]
    assert [one.level for one in there] == [one.level for one in here]
    assert len({one.where for one in there}) == 2
    assert "a line of 3" in Path(there[2].log).read_text()
    for one in there:
        assert stat.S_IMODE(Path(one.outputs[0]).stat().st_mode) == 0o600


def test_a_step_on_a_node_is_confined_and_sees_nothing_of_ray_or_of_the_driver(
    ray: RayExecutor, tmp_path: Path
) -> None:
    (finished,) = run_all(ray, [task("seeing", number=1)], tmp_path)
    assert msgspec.json.decode(Path(finished.outputs[0]).read_bytes()) == []


def test_a_step_that_fails_is_reported_as_itself_and_run_once(
    ray: RayExecutor, tmp_path: Path
) -> None:
    (finished,) = run_all(ray, [task("failing", number=3)], tmp_path)
    raised = answer_of(finished).raised
    assert raised is not None
    assert (raised.kind, raised.message) == ("ValueError", "no 3")


def test_what_the_kernel_stops_comes_back_as_the_error_it_is_here(
    ray: RayExecutor, tmp_path: Path
) -> None:
    wrong = msgspec.structs.replace(task("lasting", seconds=60.0, number=1), wall_seconds=1.0)
    with pytest.raises(Unavailable) as caught:
        ray.submit(wrong, tmp_path / "late").result(timeout=60)
    assert caught.value.code == "unavailable.isolation.timeout"
    assert caught.value.remedy
    assert "Traceback" not in str(caught.value)


def test_nothing_of_a_payload_or_token_is_in_the_process_list_or_a_log(
    ray: RayExecutor, cluster: Cluster, tmp_path: Path
) -> None:
    tasks = [
        *stretches(tmp_path),
        task("lasting", seconds=0.0, number=SECRET.decode()),  # A payload that fails.
    ]
    futures = [ray.submit(one, tmp_path / str(n)) for n, one in enumerate(tasks)]
    seen = " ".join(line for line in cluster.processes().values())
    wait(futures, timeout=60)
    seen += " ".join(line for line in cluster.processes().values())
    assert "raylet" in seen
    assert SECRET.decode() not in seen
    assert cluster.token not in seen
    logs = [path for path in cluster.folder.rglob("*") if path.is_file() and "log" in str(path)]
    assert len(logs) > 5
    for path in logs:
        text = path.read_bytes()
        assert SECRET not in text, path
        assert cluster.token.encode() not in text, path


def test_the_function_travels_as_a_reference_and_not_as_code() -> None:
    from ray import cloudpickle

    from assay.pipeline import ray_node

    pickled: bytes = cast("Any", cloudpickle).dumps(ray_node.run_task)
    words = [argument for _, argument, _ in pickletools.genops(pickled) if argument]
    assert [w for w in words if isinstance(w, str)] == ["assay.pipeline.ray_node", "run_task"]
    assert len(pickled) < 100


def test_an_archive_of_code_with_another_digest_is_refused_on_the_node(
    own: RayExecutor, tmp_path: Path
) -> None:
    own.open(CODE + b"\n", canonical.digest(b"another"))
    with pytest.raises(Verification, match="archive of code") as caught:
        own.submit(task("lasting", seconds=0.0, number=1), tmp_path / "altered").result(timeout=60)
    assert caught.value.code == "verification.ray.altered"


def test_an_input_that_is_not_there_is_an_error_of_its_task_alone(
    ray: RayExecutor, tmp_path: Path
) -> None:
    gone = msgspec.structs.replace(
        task("stretched", times=1), inputs=(TaskInput("x", str(tmp_path / "gone")),)
    )
    with pytest.raises(Unavailable, match="cannot be sent"):
        ray.submit(gone, tmp_path / "one").result(timeout=60)
    (fine,) = run_all(ray, [task("lasting", seconds=0.0, number=3)], tmp_path)
    assert Path(fine.outputs[0]).read_bytes() == b"9"


def running(cluster: Cluster, least: int) -> list[int]:
    """The workers that run a task, once there are that many."""
    pause = threading.Event()
    for _ in range(600):
        pids = [
            pid for pid, line in cluster.processes().items() if line.startswith("ray::run_task")
        ]
        if len(pids) >= least:
            return pids
        pause.wait(0.05)
    raise AssertionError("no worker began a task")


def left_on_nodes(cluster: Cluster) -> list[Path]:
    """The folders in which workers keep what they were sent."""
    return sorted(cluster.folder.glob("tmp-*/assay-node-*"))


def test_a_killed_worker_costs_an_attempt_and_no_result(
    ray: RayExecutor, cluster: Cluster, tmp_path: Path
) -> None:
    futures = [
        ray.submit(task("lasting", seconds=1.5, number=n), tmp_path / str(n)) for n in range(4)
    ]
    os.kill(running(cluster, 2)[0], signal.SIGKILL)
    came = [Path(future.result(timeout=90).outputs[0]).read_bytes() for future in futures]
    assert came == [b"0", b"1", b"4", b"9"]
    assert left_on_nodes(cluster) == []


def test_a_cancelled_task_ends_on_its_node_and_leaves_the_worker_for_others(
    ray: RayExecutor, cluster: Cluster, tmp_path: Path
) -> None:
    long = [ray.submit(task("lasting", seconds=50.0, number=n), tmp_path / f"l{n}") for n in (1, 2)]
    running(cluster, 2)
    waiting = ray.submit(task("lasting", seconds=50.0, number=3), tmp_path / "w")
    for future in (*long, waiting):
        assert future.cancel()
        assert future.cancelled()
    assert wait([*long, waiting], timeout=1).not_done == set()
    # There is room for others only when they have ended.
    (after, _) = run_all(ray, [task("lasting", seconds=0.0, number=n) for n in (4, 5)], tmp_path)
    assert Path(after.outputs[0]).read_bytes() == b"16"
    assert not (tmp_path / "l1").exists()


def test_shutdown_with_cancel_resolves_every_future_and_ends_what_runs(
    own: RayExecutor, cluster: Cluster, tmp_path: Path
) -> None:
    futures: list[Future[Finished]] = [
        own.submit(task("lasting", seconds=50.0, number=n), tmp_path / str(n)) for n in range(6)
    ]
    running(cluster, 2)
    own.shutdown(cancel=True)
    assert all(future.done() for future in futures)
    assert not [line for line in cluster.processes().values() if line.startswith("ray::run_task")]
    with pytest.raises(Conflict, match="not open"):
        own.submit(task("lasting", seconds=0.0, number=1), tmp_path / "late")


def test_shutdown_without_cancel_waits_for_what_runs(own: RayExecutor, tmp_path: Path) -> None:
    futures = [
        own.submit(task("lasting", seconds=0.2, number=n), tmp_path / str(n)) for n in range(3)
    ]
    own.shutdown(cancel=False)
    assert [Path(f.result(timeout=0).outputs[0]).read_bytes() for f in futures] == [
        b"0",
        b"1",
        b"4",
    ]


def test_a_bridge_that_dies_leaves_no_future_hanging(own: RayExecutor, tmp_path: Path) -> None:
    future = own.submit(task("lasting", seconds=50.0, number=1), tmp_path / "one")
    os.kill(own.bridge, signal.SIGKILL)
    with pytest.raises(Unavailable) as caught:
        future.result(timeout=60)
    assert caught.value.code == "unavailable.ray.gone"
    with pytest.raises(Unavailable):
        own.submit(task("lasting", seconds=0.0, number=1), tmp_path / "two").result(timeout=60)


def test_a_wrong_token_is_refused(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = tmp_path / "token"
    wrong.touch(mode=0o600)
    wrong.write_text("0" * 64)
    monkeypatch.setenv("ASSAY_RAY_ADDRESS", cluster.address)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(wrong))
    executor = RayExecutor()
    with pytest.raises(Unavailable) as caught:
        executor.open(CODE, DIGEST)
    assert caught.value.code == "unavailable.ray.connect"
    executor.shutdown(cancel=True)


def test_a_node_killed_in_the_middle_costs_attempts_and_no_result(
    ray: RayExecutor, cluster: Cluster, tmp_path: Path
) -> None:
    """The last on this cluster, which has one node after it."""
    futures = [
        ray.submit(task("lasting", seconds=0.5, number=n), tmp_path / str(n)) for n in range(8)
    ]
    running(cluster, 2)
    cluster.kill(OTHER)
    came = [Path(future.result(timeout=90).outputs[0]).read_bytes() for future in futures]
    assert came == [str(n * n).encode() for n in range(8)]


def test_without_an_address_a_ray_is_started_on_loopback_alone_and_ended_with_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ASSAY_RAY_ADDRESS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    executor = RayExecutor(cpus=1, store_bytes=100_000_000)
    executor.open(CODE, DIGEST)
    folder = executor._private
    try:
        token = folder / "token"
        assert stat.S_IMODE(token.stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (finished,) = run_all(executor, [task("lasting", seconds=0.0, number=5)], tmp_path / "out")
        assert Path(finished.outputs[0]).read_bytes() == b"25"
        daemons = marked("RAY_AUTH_TOKEN_PATH", str(token))
        assert len(daemons) > 3
        assert token.read_text() not in " ".join(daemons.values())
        assert listening(daemons) == {"127.0.0.1"}
        assert not (tmp_path / ".ray").exists()
    finally:
        executor.shutdown(cancel=True)
    assert marked("RAY_AUTH_TOKEN_PATH", str(token)) == {}
    assert not folder.exists()


def listening(pids: Sequence[int] | dict[int, str]) -> set[str]:
    """The addresses on which these processes listen, from the kernel's tables."""
    sockets: set[str] = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    sockets.add(str(entry.readlink()))
    found: set[str] = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and f"socket:[{inode}]" in sockets:
                # The last word is the IPv4 address, in the byte order of this machine.
                word = bytes.fromhex(local.partition(":")[0][-8:])[::-1]
                found.add(".".join(str(byte) for byte in word))
    return found


def test_the_heads_token_is_private(cluster: Cluster) -> None:
    assert stat.S_IMODE(cluster.token_path.stat().st_mode) == 0o600
    assert stat.S_IMODE(cluster.folder.stat().st_mode) == 0o700
    assert cluster.address.startswith(HEAD)


def test_a_network_without_tls_is_refused_before_anything_is_started() -> None:
    with pytest.raises(Usage, match="plaintext"):
        RayExecutor("192.0.2.1:6379")
