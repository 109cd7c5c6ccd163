"""A real Ray cluster of two nodes on one machine, by the same processes as on two machines.

The nodes are told apart by their loopback addresses, 127.0.0.2 and 127.0.0.3: Ray rewrites
127.0.0.1 to this machine's address on the network, where a node then waits for a head in vain.
Everything lies below a private folder, because Ray makes its own folders with mode 0777.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

HEAD, OTHER = "127.0.0.2", "127.0.0.3"
_MARK = "ASSAY_TEST_RAY"
_STARTED = b"Ray runtime started."
_PATIENCE = 60.0


class Cluster:
    """Two nodes of one processor each; a driver on this machine belongs to the head."""

    def __init__(self, tls: Mapping[str, str] | None = None) -> None:
        # Not below pytest's folder: the path of a Ray socket may have 107 bytes.
        self.folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="ray-test-"))
        self.mark = secrets.token_hex(8)
        self.token = secrets.token_hex(32)
        self.token_path = self.folder / "token"
        self.token_path.touch(mode=0o600)
        self.token_path.write_text(self.token)
        with socket.socket() as free:
            free.bind((HEAD, 0))
            self.address = f"{HEAD}:{free.getsockname()[1]}"
        self._tls = dict(tls or {})
        self.nodes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        port = self.address.partition(":")[2]
        self._start(HEAD, "--head", f"--port={port}", "--include-dashboard=False")
        self._start(OTHER, f"--address={self.address}")

    def _start(self, address: str, *arguments: str) -> None:
        temporary = self.folder / f"tmp-{address}"
        temporary.mkdir(mode=0o700, exist_ok=True)
        log = (self.folder / f"{address}.log").open("ab")
        with log:
            node = subprocess.Popen(
                [
                    str(Path(sys.executable).with_name("ray")),
                    *("start", "--block", f"--node-ip-address={address}", "--num-cpus=1"),
                    *("--object-store-memory=100000000", "--include-log-monitor=False"),
                    f"--temp-dir={self.folder / 'ray'}",
                    *arguments,
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd="/",
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(temporary),
                    "TMPDIR": str(temporary),
                    # As where homes are on a network: the nodes share what is compiled once.
                    "XDG_CACHE_HOME": str(self.folder / "cache"),
                    "RAY_USAGE_STATS_ENABLED": "0",
                    "RAY_AUTH_MODE": "token",
                    "RAY_AUTH_TOKEN_PATH": str(self.token_path),
                    # A dead node is noticed after 2 s, not 15.
                    "RAY_health_check_period_ms": "500",
                    "RAY_health_check_failure_threshold": "4",
                    "PYTHONUNBUFFERED": "1",
                    _MARK: self.mark,
                    **self._tls,
                },
                start_new_session=True,
            )
        self.nodes[address] = node
        stream = node.stdout
        assert stream is not None
        said = b""
        deadline = time.monotonic() + _PATIENCE
        while _STARTED not in said:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([stream], [], [], max(0.0, left))
            piece = os.read(stream.fileno(), 1 << 16) if ready else b""
            if not piece:
                raise RuntimeError(f"the Ray node {address} did not start: {said!r}")
            said += piece

    def environment(self) -> dict[str, str]:
        """What a driver's environment says of this cluster."""
        return {
            "ASSAY_RAY_ADDRESS": self.address,
            "RAY_AUTH_TOKEN_PATH": str(self.token_path),
            **self._tls,
        }

    def processes(self) -> dict[int, str]:
        """Every process of this cluster, with its command line."""
        return marked(_MARK, self.mark)

    def kill(self, address: str) -> None:
        """Kill one node at once, as a power cut would: its daemons and all of its workers."""
        temporary = f"TMPDIR={self.folder / f'tmp-{address}'}".encode()
        for pid in self.processes():
            with contextlib.suppress(OSError):
                if temporary in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    os.kill(pid, signal.SIGKILL)
        node = self.nodes.pop(address)
        node.wait()
        if node.stdout is not None:
            node.stdout.close()

    def end(self) -> None:
        """Kill everything, and see that nothing is left."""
        deadline = time.monotonic() + _PATIENCE
        while left := self.processes():
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            for node in self.nodes.values():
                node.poll()
            if time.monotonic() > deadline:
                raise RuntimeError(f"these processes of Ray do not end: {left}")
        for node in self.nodes.values():
            node.wait()
            if node.stdout is not None:
                node.stdout.close()
        shutil.rmtree(self.folder)


def marked(name: str, value: str) -> dict[int, str]:
    """Processes that have a variable with that value, with their command lines; no zombies."""
    found: dict[int, str] = {}
    wanted = f"{name}={value}".encode()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    line = (folder / "cmdline").read_bytes()
                    found[int(folder.name)] = line.replace(b"\0", b" ").decode("utf-8", "replace")
    return found
