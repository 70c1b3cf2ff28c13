"""The server under both proxies: accepts connections, and relays bytes between two sockets."""

from __future__ import annotations

import contextlib
import selectors
import socketserver
import ssl
import threading
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import socket
    from types import TracebackType

IDLE_SECONDS = 60.0  # a connection without a byte for so long is closed
_READ = 64 * 1024  # bytes that are read at once


class ProxyServer:
    """A server on 127.0.0.1 that serves each connection in a thread of its own.

    Subclasses implement `serve`.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._server = _ConnectionServer(self, tls)

    @property
    def host(self) -> str:
        """Address and port: ``127.0.0.1:PORT``."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        serve = self._server.serve_forever
        threading.Thread(target=serve, args=(0.02,), name="proxy", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve(self, client: socket.socket) -> None:
        """Answer the request of one connection and relay bytes until either side closes."""
        raise NotImplementedError


class _ConnectionServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, owner: ProxyServer, tls: ssl.SSLContext | None) -> None:
        self._owner = owner
        self._tls = tls
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)

    def finish_request(self, request: Any, client_address: object) -> None:  # noqa: ARG002 - the base's
        client: socket.socket = request
        client.settimeout(IDLE_SECONDS)
        with contextlib.suppress(OSError):
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
            self._owner.serve(client)
            client.close()


def relay(client: socket.socket, server: socket.socket) -> None:
    """Copy bytes in both directions until either side closes.

    One thread does both, because two threads must not use one TLS socket.
    """
    other = {client: server, server: client}
    with selectors.DefaultSelector() as selector:
        for end in other:
            selector.register(end, selectors.EVENT_READ, end)
        while ready := selector.select(IDLE_SECONDS):
            for key, _ in ready:
                side: socket.socket = key.data
                data = side.recv(_READ)
                while isinstance(side, ssl.SSLSocket) and data and side.pending():
                    data += side.recv(side.pending())
                if not data:
                    return
                other[side].sendall(data)
