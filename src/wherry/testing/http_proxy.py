"""An HTTP proxy, the kind that `HTTPS_PROXY` names: tunnels by CONNECT, and whole addresses."""

from __future__ import annotations

import base64
import contextlib
import selectors
import socket
import socketserver
import ssl
import threading
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

__all__ = ["HttpProxy", "Tunnel"]

_MAX_HEAD = 64 * 1024  # bytes of a request's line and headers
_PATIENCE = 60.0  # seconds without a byte after which a connection is given up


class Tunnel(NamedTuple):
    """One request to the proxy: CONNECT or another method, and where it leads."""

    method: str
    target: str


class HttpProxy:
    """A proxy on 127.0.0.1 that knows no hosts but those of `hosts`; a context manager.

    `hosts` maps ``name:port`` to the ``address:port`` to connect to, so that tests can use names
    that nobody else resolves (this machine's own are never asked for through a proxy).
    `credentials` (user, password) are asked for with 407; `tls` is (certificate, key) of a proxy
    that is itself spoken to in TLS. `requests` lists what came, in order.
    """

    def __init__(
        self,
        hosts: Mapping[str, str],
        *,
        credentials: tuple[str, str] | None = None,
        tls: tuple[Path, Path] | None = None,
    ) -> None:
        self.requests: list[Tunnel] = []
        self._hosts = dict(hosts)
        self._wanted = ""
        if credentials is not None:
            self._wanted = "Basic " + base64.b64encode(":".join(credentials).encode()).decode()
        self._scheme = "http"
        context = None
        if tls is not None:
            self._scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
        self._server = _Server(self, context)

    @property
    def host(self) -> str:
        """Address and port: ``127.0.0.1:PORT``."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """What the variable should hold, without credentials."""
        return f"{self._scheme}://{self.host}"

    def __enter__(self) -> Self:
        serve = self._server.serve_forever
        threading.Thread(target=serve, args=(0.02,), name="http-proxy", daemon=True).start()
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
        """Answer one connection's request and hand on bytes until either side ends."""
        head = _read_head(client)
        if head is None:
            return
        line, headers, rest = head
        method, target, _ = line.split(" ", 2)
        self.requests.append(Tunnel(method, target))
        if self._wanted and headers.get("proxy-authorization") != self._wanted:
            client.sendall(_answer("407 Proxy Authentication Required"))
            return
        name = target if method == "CONNECT" else urlsplit(target).netloc
        address, _, port = self._hosts.get(name, "").rpartition(":")
        if not port:
            client.sendall(_answer("502 Bad Gateway"))
            return
        with socket.create_connection((address, int(port)), _PATIENCE) as server:
            if method == "CONNECT":
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n" + rest)
            else:
                server.sendall(_forwarded(method, target, headers) + rest)
                _hand_on_head(server, client)
            relay(client, server)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, owner: HttpProxy, tls: ssl.SSLContext | None) -> None:
        self._owner = owner
        self._tls = tls
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)

    def finish_request(self, request: Any, client_address: object) -> None:  # noqa: ARG002 - the base's
        client: socket.socket = request
        client.settimeout(_PATIENCE)
        with contextlib.suppress(OSError):
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
            self._owner.serve(client)
            client.close()


def _read_head(client: socket.socket) -> tuple[str, dict[str, str], bytes] | None:
    """Return a request's line, its headers in lower case, and what came after them."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = client.recv(_MAX_HEAD)
        if not more or len(data) > _MAX_HEAD:
            return None
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    pairs = (entry.partition(":") for entry in fields)
    return line, {name.strip().lower(): value.strip() for name, _, value in pairs}, rest


def _forwarded(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """Return a request as the server gets it: a path, one request for each connection."""
    parts = urlsplit(target)
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    lines = [f"{method} {path} HTTP/1.1", "Connection: close"]
    own = {"proxy-authorization", "proxy-connection", "connection"}
    lines += [f"{name}: {value}" for name, value in headers.items() if name not in own]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _hand_on_head(server: socket.socket, client: socket.socket) -> None:
    """Hand on an answer's beginning, and say in it that the connection serves no other request."""
    data = b""
    while b"\r\n" not in data and (more := server.recv(_MAX_HEAD)):
        data += more
    line, _, rest = data.partition(b"\r\n")
    client.sendall(line + b"\r\nConnection: close\r\n" + rest)


def _answer(status: str) -> bytes:
    authenticate = 'Proxy-Authenticate: Basic realm="proxy"\r\n' if status.startswith("407") else ""
    return f"HTTP/1.1 {status}\r\n{authenticate}Content-Length: 0\r\n\r\n".encode()


def relay(client: socket.socket, server: socket.socket) -> None:
    """Hand on what comes from either side until one ends; one thread, as TLS sockets want it."""
    other = {client: server, server: client}
    with selectors.DefaultSelector() as selector:
        for end in other:
            selector.register(end, selectors.EVENT_READ, end)
        while ready := selector.select(_PATIENCE):
            for key, _ in ready:
                side: socket.socket = key.data
                data = side.recv(64 * 1024)
                while isinstance(side, ssl.SSLSocket) and data and side.pending():
                    data += side.recv(side.pending())
                if not data:
                    return
                other[side].sendall(data)
