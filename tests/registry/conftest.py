"""What the tests of connections share: ways to a registry, and servers that do as they are told."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import struct
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import pytest

from dray.content.cancel import CancelToken
from dray.registry.certificates import Trust
from dray.registry.pace import Timeouts
from dray.registry.proxies import Proxies
from dray.registry.transport import Request, Response, Transport
from dray.testing import FakeRegistry, HttpProxy, SocksProxy, make_certificate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

    Files = tuple[Path, Path, Path]

BEHIND = "registry.test:4443"  # what proxies call the registry


@pytest.fixture
def certificates(tmp_path: Path) -> Files:
    """An authority, and a certificate with its key for all names that the tests use."""
    return make_certificate(tmp_path / "tls", ["127.0.0.1", "localhost", "registry.test"])


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """Wait for what another thread does; fails if it does not."""

    def wait(happened: Callable[[], object]) -> None:
        for _ in range(4000):
            if happened():
                return
            time.sleep(0.005)
        pytest.fail("it did not happen")

    return wait


# Ways to a registry


class Way:
    """A registry and the only way to it.

    Plain, in tls, by a tunnel, by a tunnel within TLS, or in tls through a SOCKS5 proxy.

    Time-outs are longer than any test, so that nothing ends by itself.
    """

    def __init__(self, files: Files, kind: str) -> None:
        pair = files[1:]
        self.registry = FakeRegistry(tls=None if kind == "plain" else pair)
        self.url = self.registry.url
        self.proxy: HttpProxy | SocksProxy | None = None
        proxies = Proxies()
        if kind in {"tunnel", "within"}:
            hosts = {BEHIND: self.registry.host}
            self.proxy = HttpProxy(hosts, tls=pair if kind == "within" else None)
            self.url = f"https://{BEHIND}"
            proxies = Proxies(https=self.proxy.url)
        if kind == "socks":
            self.proxy = SocksProxy({BEHIND: self.registry.host})
            self.url = f"https://{BEHIND}"
            proxies = Proxies(other=f"socks5h://{self.proxy.host}")
        self.transport = make_transport(files, proxies)

    def send(
        self,
        method: str = "GET",
        path: str = "/v2/",
        cancel: CancelToken | None = None,
        **more: Any,
    ) -> Response:
        """Ask the registry."""
        request = Request(method, self.url + path, **more)
        return self.transport.send(request, cancel or CancelToken())

    def __enter__(self) -> Self:
        self.registry.__enter__()
        if self.proxy is not None:
            self.proxy.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.proxy is not None:
            self.proxy.__exit__(kind, error, trace)
        self.registry.close()


def make_transport(files: Files, proxies: Proxies | None = None) -> Transport:
    return Transport(
        connections=1,
        timeouts=Timeouts(connect=600, read=600),
        proxies=proxies,
        trust=Trust("REQUESTS_CA_BUNDLE", files[0]),
    )


@pytest.fixture
def way(certificates: Files) -> Iterator[Callable[[str], Way]]:
    """Make a way of a kind, a context manager; its transport is closed after the test."""
    with contextlib.ExitStack() as end:

        def make(kind: str) -> Way:
            made = Way(certificates, kind)
            end.callback(made.transport.close)
            return made

        yield make


@pytest.fixture
def patient(certificates: Files) -> Iterator[Callable[..., Transport]]:
    """Make a transport without a way, closed after the test."""
    with contextlib.ExitStack() as end:

        def make(proxies: Proxies | None = None) -> Transport:
            transport = make_transport(certificates, proxies)
            end.callback(transport.close)
            return transport

        yield make


# Servers that do as they are told


class Peer:
    """The server's end of a connection, the `number`-th of its server."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.sock = sock
        self.number = number

    def head(self) -> bytes:
        """Read a request's head and not a byte more; nothing where the client has hung up."""
        data = b""
        while not data.endswith(b"\r\n\r\n") and (more := self.sock.recv(1)):
            data += more
        return data

    def answer(
        self,
        body: bytes = b"{}",
        *headers: str,
        status: str = "200 OK",
        length: int | None = None,
    ) -> None:
        """Answer with a body of known length, or one that is said to have another."""
        size = len(body) if length is None else length
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {size}", *headers, "", ""]
        self.sock.sendall("\r\n".join(lines).encode("latin-1") + body)

    def reset(self) -> None:
        """End the connection by RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class LittleServer(socketserver.ThreadingTCPServer):
    """Has each connection spoken to by a function of the test; knows no HTTP."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self, talk: Callable[[Peer], object], host: str, context: ssl.SSLContext | None
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.connections = 0
        self._talk = talk
        self._context = context
        self._lock = threading.Lock()
        super().__init__((host, 0), socketserver.BaseRequestHandler)

    @property
    def host(self) -> str:
        """Address and port, as in an address."""
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


@pytest.fixture
def serve(certificates: Files) -> Iterator[Callable[..., LittleServer]]:
    """Start a little server; its connections are closed when the test's function returns."""
    with contextlib.ExitStack() as end:

        def start(
            talk: Callable[[Peer], object], *, host: str = "127.0.0.1", tls: bool = False
        ) -> LittleServer:
            context = None
            if tls:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(*certificates[1:])
            server = end.enter_context(LittleServer(talk, host, context))
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            end.callback(server.shutdown)
            return server

        yield start
