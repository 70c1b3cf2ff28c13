"""A docker engine for tests: Debian's dockerd with its own socket and directories."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
from typing import TYPE_CHECKING

from waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Engine(http.client.HTTPConnection):
    """An engine behind a socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("engine")
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self.path))

    def ask(
        self, method: str, path: str, body: bytes | None = None, *, auth: str = ""
    ) -> tuple[int, bytes]:
        """Send a request; `auth` is the value of X-Registry-Auth."""
        headers = {"Content-Type": "application/x-tar"} | (
            {"X-Registry-Auth": auth} if auth else {}
        )
        self.request(method, path, body, headers)
        answer = self.getresponse()
        return answer.status, answer.read()


@contextlib.contextmanager
def running_engine(place: Path) -> Iterator[Engine]:
    """Run an engine as root, without a bridge and firewall rules."""
    sock = place / "sock"
    command = ["dockerd", "--bridge=none", "--iptables=false", "-s", "vfs", "-H", f"unix://{sock}"]
    command += ["--data-root", f"{place}/data", "--exec-root", f"{place}/exec"]
    command += ["--pidfile", f"{place}/pid"]
    with (place / "log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            wait_for(sock.exists, 30)
            yield Engine(sock)
        finally:
            process.terminate()
