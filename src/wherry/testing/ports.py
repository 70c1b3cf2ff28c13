"""Ports without a server: one that never answers, one that refuses connections, a free one."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["SilentPort", "free_port", "refused_port"]


class SilentPort:
    """Accepts connections on 127.0.0.1 and never answers; use it as a context manager.

    Attributes:
        connections: The number of accepted connections.
        received: All bytes received.
    """

    def __init__(self) -> None:
        self.connections = 0
        self.received = b""
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()

    @property
    def port(self) -> int:
        """The port on 127.0.0.1."""
        return int(self._listener.getsockname()[1])

    @property
    def host(self) -> str:
        """Address and port, as they appear in a reference: ``127.0.0.1:PORT``."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="silent-port", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            for connection in (self._listener, *self._open):
                with contextlib.suppress(OSError):
                    # `close` alone would not wake a thread that is blocked in the socket.
                    connection.shutdown(socket.SHUT_RDWR)
            self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._open.append(connection)
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(65536):
                with self._lock:
                    self.received += data


_refusing: list[socket.socket] = []  # bound for the life of the process, never listening


def refused_port() -> int:
    """Return a port of 127.0.0.1 that refuses connections as long as this process lives.

    The port stays bound, so that no server that starts later can get it.
    """
    probe = socket.socket()
    probe.bind(("127.0.0.1", 0))
    _refusing.append(probe)
    return int(probe.getsockname()[1])


def free_port() -> int:
    """Return a port of 127.0.0.1 that a server can listen on; another process may take it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
