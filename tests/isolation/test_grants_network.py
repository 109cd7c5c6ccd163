"""Ports: a process connects to those it was granted, and does nothing else with the network."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from assay.errors import Denied
from assay.isolation import paths, seccomp
from assay.isolation import run as run_module
from assay.isolation.grants import Grants
from assay.isolation.run import run

from .granting import LEVELS, LIMITS, Granted, held


@pytest.fixture(params=LEVELS)
def granted(request: pytest.FixtureRequest, tmp_path: Path) -> Granted:
    capability = held(request.param)
    if capability.landlock_abi < 4:
        pytest.skip("Landlock knows no ports here")
    return Granted(tmp_path, capability, "granted_network")


@dataclass
class Servers:
    """Two listeners that send back what they get, and a socket for datagrams."""

    allowed: int
    other: socket.socket
    udp: socket.socket

    @property
    def told(self) -> dict[str, int]:
        return {
            "allowed": self.allowed,
            "port": self.other.getsockname()[1],
            "udp": self.udp.getsockname()[1],
        }

    def reached(self) -> bool:
        """Whether somebody connected to the listener that nobody may connect to."""
        return bool(select.select([self.other], [], [], 0)[0])


@pytest.fixture
def servers() -> Iterator[Servers]:
    def echo(listener: socket.socket) -> None:
        while True:
            try:
                stream, _ = listener.accept()
            except OSError:
                return
            with stream, contextlib.suppress(ConnectionError):
                while data := stream.recv(100):
                    stream.sendall(data)

    with (
        socket.create_server(("127.0.0.1", 0)) as allowed,
        socket.create_server(("127.0.0.1", 0)) as other,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
    ):
        udp.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=echo, args=(allowed,), daemon=True)
        thread.start()
        yield Servers(allowed.getsockname()[1], other, udp)
        allowed.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.mark.parametrize("what", ["connect", "connect_with_asyncio"])
def test_an_allowed_port_is_reached_and_another_is_not(
    what: str, granted: Granted, servers: Servers
) -> None:
    allowed = servers.allowed
    assert granted.do(what, {"port": allowed}, ports=(allowed,)) == "hello"
    said = granted.do(what, servers.told, ports=(allowed,))
    assert said.startswith("stopped: PermissionError")
    assert not servers.reached()


@pytest.mark.parametrize(
    "what",
    [
        *("connect", "connect_while_sending", "connect_while_sending_a_message", "set_fast_open"),
        *("connect_by_mptcp", "connect_again", "filter_packets", "listen", "bind", "ping", "raw"),
        *("unix_socket", "unix_datagram_pair", "netlink", "pass_a_descriptor"),
        "ask_who_is_at_the_other_end",
    ],
)
def test_nothing_goes_around_the_ports(what: str, granted: Granted, servers: Servers) -> None:
    assert granted.do(what, servers.told, ports=(servers.allowed,)).startswith("stopped: ")
    assert not servers.reached()


@pytest.mark.parametrize("what", ["connect", "send_by_udp", "connect_while_sending", "resolve"])
def test_without_ports_there_is_no_network(what: str, granted: Granted, servers: Servers) -> None:
    told = {**servers.told, "paths": []}
    said = granted.do(what, told, processes=True, log=granted.log)
    assert said.startswith("stopped: ") or what == "resolve", said
    assert not servers.reached()
    if what != "resolve":
        return
    for path in paths.network():
        assert granted.do("read", {"path": path}, log=None).startswith("stopped: ")
        granted.scratch.rmdir()


def test_datagrams_go_anywhere_and_the_documentation_says_so(
    granted: Granted, servers: Servers
) -> None:
    """Not a right that is wanted: the limit of what Landlock can hold, kept true here."""
    assert granted.do("send_by_udp", servers.told, ports=(servers.allowed,)) is None
    assert servers.udp.recv(10) == b"x"
    assert "UDP is not bounded" in Path(paths.__file__).with_name("grants.py").read_text()


def test_the_files_that_clients_need_are_readable_but_no_keys(granted: Granted) -> None:
    names = [
        n for n in ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf") if Path(n).exists()
    ]
    assert granted.do("resolve", {"paths": names}, ports=(443,)) == names
    assert not [path for path in paths.network() if path in ("/etc", "/etc/ssl", "/etc/pki")]
    assert not [path for path in paths.network() if Path("/etc/ssl/private").is_relative_to(path)]


def test_a_descriptor_sent_to_the_parent_does_not_arrive(granted: Granted) -> None:
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    granted.do("pass_a_descriptor_to_the_parent", ports=(80,))
    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


@pytest.mark.parametrize("lack", ["landlock", "seccomp"])
def test_ports_are_denied_where_they_cannot_be_held(
    lack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = held("full")
    weak = replace(whole, landlock_abi=3) if lack == "landlock" else replace(whole, seccomp=False)
    monkeypatch.setattr(run_module, "probe", lambda: weak)
    with pytest.raises(Denied) as caught:
        run("confined_targets:echo", b"", limits=LIMITS, grants=Grants(ports=(80,)))
    assert caught.value.code == "denied.isolation.network"


def test_rules_for_ports_stop_the_start_on_a_kernel_that_knows_none(
    granted: Granted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should the check before ever be wrong: the kernel refuses the rule, and nothing starts."""
    from assay.isolation import plan

    monkeypatch.setattr(plan, "_check_network", lambda *_: None)
    old = Granted(granted.folder, replace(granted.capability, landlock_abi=3), granted.module)
    error = old.fails("connect", {"port": 80}, ports=(80,))
    assert error.code == "unavailable.isolation.confine"


def test_the_filter_has_a_table_for_this_machine() -> None:
    held("full")
    assert seccomp.machine() is not None
    assert json.dumps(Grants(ports=(1, 65535)).ports) == "[1, 65535]"
