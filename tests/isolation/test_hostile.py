"""Hostile code, confined: what it tries, and that it does not get through.

Every probe also runs unconfined, where it must get through: one that cannot fail proves nothing.
"""

from __future__ import annotations

import os
import platform
import secrets
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from assay.errors import AssayError, Unavailable
from assay.isolation.child import ANSWER, ERROR, HEADER
from assay.isolation.limits import MIB
from assay.isolation.probe import probe as probe_machine

Attempt = Callable[..., bytes]


@dataclass(frozen=True)
class Probe:
    name: str
    stopped_from: str = "process"
    """The weakest level that stops it."""
    root: bool = False
    """Getting through, unconfined, needs root."""


PROBES = [
    # Reading: only Landlock (or bubblewrap) stops it.
    Probe("read_a_secret_file", "full"),
    Probe("read_the_password_file", "full"),
    Probe("read_a_secret_through_a_link_in_the_inputs", "full"),
    Probe("read_a_secret_through_proc_self_root", "full"),
    Probe("list_a_folder", "full"),
    Probe("list_the_processes", "full"),
    Probe("read_the_environment_of_a_process", "full"),
    Probe("read_the_memory_of_a_process", "full", root=True),
    Probe("read_a_secret_with_openat2"),
    Probe("read_a_secret_by_its_file_handle", root=True),
    # Writing.
    Probe("write_a_new_file"),
    Probe("write_into_the_inputs"),
    Probe("overwrite_an_input"),
    Probe("truncate_an_input"),
    Probe("remove_an_input"),
    Probe("rename_an_input"),
    Probe("link_into_the_inputs"),
    Probe("make_a_folder"),
    Probe("change_the_mode_of_an_input"),
    Probe("change_the_times_of_an_input"),
    Probe("write_an_unnamed_file"),
    Probe("write_a_temporary_file"),
    Probe("write_to_own_memory_through_proc"),
    Probe("share_memory_by_name"),
    Probe("share_system_v_memory"),
    # Programs and processes.
    Probe("fork"),
    Probe("spawn_a_program"),
    Probe("become_a_program"),
    Probe("become_a_program_in_memory"),
    Probe("make_a_file_in_memory"),
    Probe("clone_with_flags_in_memory"),
    Probe("enter_a_new_user_namespace"),
    # Other processes.
    Probe("signal_a_process"),
    Probe("signal_a_thread"),
    Probe("signal_through_a_descriptor"),
    Probe("signal_through_a_pipe"),
    Probe("trace_a_process", root=True),
    Probe("read_memory_of_a_process_directly", root=True),
    Probe("slow_down_a_process"),
    Probe("move_a_process"),
    # The network.
    Probe("connect_by_tcp"),
    Probe("listen_by_tcp"),
    Probe("send_by_udp"),
    Probe("connect_to_an_abstract_socket"),
    Probe("connect_to_a_socket_file"),
    Probe("ask_the_kernel_by_netlink"),
    # Large interfaces, and changing who one is.
    Probe("use_io_uring"),
    Probe("allow_oneself_to_be_traced"),
    Probe("change_a_limit"),
    Probe("become_root", root=True),
    Probe("join_a_group", root=True),
    # Too much.
    Probe("take_memory", "limits"),
    Probe("burn_the_processor", "limits"),
    Probe("hang", "none"),
]
if platform.machine() == "x86_64":
    PROBES += [Probe("call_through_the_32_bit_table"), Probe("call_through_the_x32_table")]


def levels(probe: Probe) -> Sequence[str]:
    """Where to try it: at the weakest level that stops it, by that level's means alone, at full."""
    return {"full": ("landlock", "full"), "process": ("process", "full")}.get(
        probe.stopped_from, (probe.stopped_from, "full")
    )


CASES = [
    pytest.param(probe, level, id=f"{probe.name}-{level}")
    for probe in PROBES
    for level in levels(probe)
]


@pytest.fixture
def told(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Victims: a secret, a writable folder, an input, a process and listening sockets."""
    # Any user may write to them: what stops the probe must not be their mode.
    for name in ("home", "folder", "input"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o777)
    secret = tmp_path / "home" / "key"
    secret.write_bytes(b"secret")
    secret.chmod(0o666)
    model = tmp_path / "input" / "model"
    model.write_bytes(b"model")
    model.chmod(0o666)
    (tmp_path / "input" / "link").symlink_to(secret)
    name = f"assay-{secrets.token_hex(8)}"
    path = f"/tmp/{name}"
    victim = subprocess.Popen(["/bin/sleep", "300"], env={"ASSAY_TEST_SECRET": "1"})
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_UNIX) as named,
    ):
        abstract.bind("\0" + name)
        abstract.listen()
        named.bind(path)
        Path(path).chmod(0o777)
        named.listen()
        maps = Path(f"/proc/{victim.pid}/maps").read_text()
        yield {
            "secret": str(secret),
            "link": str(tmp_path / "input" / "link"),
            "folder": str(tmp_path / "folder"),
            "input": str(tmp_path / "input"),
            "mark": str(tmp_path / "folder" / "mark"),
            "name": name,
            "socket": path,
            "port": tcp.getsockname()[1],
            "victim": victim.pid,
            "address": int(maps.split("-")[0], 16),
            "memory": 1024 * MIB,
            "cpu": 0.5,
            "seconds": 0.1,
        }
    victim.kill()
    victim.wait()
    Path(path).unlink(missing_ok=True)


def outcome(attempt: Attempt, probe: Probe, told: dict[str, Any], level: str, **limits: Any) -> str:
    try:
        said = attempt(
            probe.name,
            told,
            level,
            inputs=[Path(told["input"])],
            **limits,
        ).decode()
    except AssayError as error:
        said = error.code
    return "through" if Path(told["mark"]).exists() else said


@pytest.mark.parametrize(("probe", "level"), CASES)
def test_a_hostile_function_is_stopped(
    probe: Probe, level: str, told: dict[str, Any], attempt: Attempt
) -> None:
    limits: dict[str, Any] = {"cpu_seconds": 1}
    if probe.name == "hang":
        limits = {"wall_seconds": 0.5}
        told["seconds"] = 60
    if probe.name == "burn_the_processor":
        told["cpu"] = 60
    said = outcome(attempt, probe, told, level, **limits)
    if probe.name == "hang":
        assert said == "unavailable.isolation.timeout"
    elif probe.name == "burn_the_processor":
        # Bubblewrap does not tell how much was used by what was killed inside.
        wrapped = level == "full" and probe_machine().bubblewrap
        assert said == f"unavailable.isolation.{'crashed' if wrapped else 'cpu'}"
    elif probe.name.startswith("call_through"):
        assert said == "unavailable.isolation.crashed"  # Killed, not merely refused.
    else:
        assert said.startswith("stopped: "), said
    assert Path(told["input"], "model").read_bytes() == b"model"
    assert {path.name for path in Path(told["input"]).iterdir()} == {"link", "model"}
    assert not list(Path(told["folder"]).iterdir())


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_the_same_function_gets_through_unconfined(
    probe: Probe, told: dict[str, Any], attempt: Attempt
) -> None:
    if probe.root and os.geteuid() != 0:
        pytest.skip("getting through needs root")
    assert outcome(attempt, probe, told, "none") == "through"


def frame(what: int, number: int, length: int, body: bytes = b"") -> str:
    return (HEADER.pack(what, number, length) + body).hex()


@pytest.mark.parametrize(
    ("bytes_written", "code"),
    [
        (frame(ANSWER, 2, 0xFFFFFFFF), "unavailable.isolation.answer"),
        (frame(ERROR, 2, 0xFFFFFFFF), "unavailable.isolation.answer"),
        (frame(ANSWER, 1, 0), "unavailable.isolation.protocol"),
        (frame(7, 2, 0), "unavailable.isolation.protocol"),
        (frame(ANSWER, 2, 1, b"ab"), "unavailable.isolation.protocol"),
        (frame(ERROR, 2, 9, b"not json!"), "unavailable.isolation.protocol"),
        (frame(ERROR, 2, 60000, b"[" * 60000), "unavailable.isolation.protocol"),
        (frame(ERROR, 2, 2, b"{}"), "unavailable.isolation.protocol"),
        (frame(ANSWER, 2, 100, b"part"), "unavailable.isolation.timeout"),
        ("00", "unavailable.isolation.timeout"),
    ],
)
def test_a_process_that_breaks_the_protocol_is_ended(
    bytes_written: str, code: str, attempt: Attempt
) -> None:
    told = {"frame": bytes_written, "seconds": 30}
    with pytest.raises(Unavailable) as caught:
        attempt("lie_about_the_answer", told, "full", wall_seconds=1)
    assert caught.value.code == code


def test_endless_output_is_cut_off(attempt: Attempt) -> None:
    with pytest.raises(Unavailable) as caught:
        attempt("endless_output", {}, "full")
    assert caught.value.code == "unavailable.isolation.protocol"


def test_a_forged_error_shows_no_control_characters(attempt: Attempt) -> None:
    body = b'{"kind":"usage","code":"usage.x\\ny","message":"a\\u001b[2Jb\\nc","remedy":"\\u202ed"}'
    with pytest.raises(AssayError) as caught:
        attempt("lie_about_the_answer", {"frame": frame(ERROR, 2, len(body), body)}, "full")
    assert caught.value.message == "a [2Jb c"
    assert caught.value.remedy == " d"
    assert caught.value.code == "usage"
