"""A server that sends exactly the bytes of a test."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import struct
import threading
from typing import TYPE_CHECKING, Any

import pytest

from wherry.testing import make_certificate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Files = tuple[Path, Path, Path]
    Talk = Callable[["Peer"], object]


TLS_HELLO = b"\x16"  # the first byte of a TLS handshake (RFC 8446, 5.1)


class Peer:
    """The server's end of connection `number`."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.sock = sock
        self.number = number

    def head(self) -> bytes:
        """Read the head of a request, and no byte after it.

        Return an empty head if the client has closed the connection, or starts TLS with a
        plain-http server.
        """
        data = b""
        while not data.endswith(b"\r\n\r\n") and (more := self.sock.recv(1)):
            data += more
            if data == TLS_HELLO:
                return b""
        return data

    def answer(
        self,
        body: bytes = b"{}",
        *headers: str,
        status: str = "200 OK",
        length: int | None = None,
    ) -> None:
        """Send a response; `length` may differ from the length of the body."""
        size = len(body) if length is None else length
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {size}", *headers, "", ""]
        self.sock.sendall("\r\n".join(lines).encode("latin-1") + body)

    def reset(self) -> None:
        """End the connection by RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class RawServer(socketserver.ThreadingTCPServer):
    """A server without HTTP that passes each connection to a function."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, talk: Talk, host: str, context: ssl.SSLContext | None) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.connections = 0
        self._talk = talk
        self._context = context
        self._lock = threading.Lock()
        super().__init__((host, 0), socketserver.BaseRequestHandler)

    @property
    def host(self) -> str:
        """Address and port, as in a URL."""
        host, port = self.server_address[:2]
        return (
            f"[{host!s}]:{port}" if self.address_family == socket.AF_INET6 else f"{host!s}:{port}"
        )

    def finish_request(self, request: Any, client_address: object) -> None:  # noqa: ARG002 - the base's
        with self._lock:
            self.connections += 1
            number = self.connections
        request.settimeout(30)
        with contextlib.suppress(OSError):
            if self._context is not None:
                request = self._context.wrap_socket(request, server_side=True)
            with request:
                self._talk(Peer(request, number))


class Script:
    """Answer one request after another with these bytes, over any number of connections.

    `heads` are the requests, `left` counts the connections that the client has ended.
    """

    def __init__(self, *answers: bytes) -> None:
        self.heads: list[bytes] = []
        self.left = threading.Semaphore(0)
        self.host = self.url = ""
        self._answers = list(answers)

    def talk(self, peer: Peer) -> None:
        """Serve one connection until the client closes it."""
        try:
            while head := peer.head():
                self.heads.append(head)
                peer.sock.sendall(self._answers.pop(0))
        finally:
            self.left.release()


@pytest.fixture
def certificates(tmp_path: Path) -> Files:
    """An authority, and a certificate and key for all hosts of the tests."""
    return make_certificate(tmp_path / "tls", ["127.0.0.1", "localhost", "registry.test"])


@pytest.fixture
def serve(request: pytest.FixtureRequest) -> Iterator[Callable[..., RawServer]]:
    """Return a function that starts a raw server; the server closes each connection at its end."""
    with contextlib.ExitStack() as end:

        def start(talk: Talk, *, host: str = "127.0.0.1", tls: bool = False) -> RawServer:
            context = None
            if tls:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(*request.getfixturevalue("certificates")[1:])
            server = end.enter_context(RawServer(talk, host, context))
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            end.callback(server.shutdown)
            return server

        yield start


@pytest.fixture
def scripted(serve: Callable[..., RawServer]) -> Callable[..., Script]:
    """Return a function that starts a scripted server, which runs until the test ends."""

    def start(*answers: bytes) -> Script:
        script = Script(*answers)
        script.host = serve(script.talk).host
        script.url = f"http://{script.host}/"
        return script

    return start
