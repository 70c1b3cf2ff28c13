"""An HTTP proxy, as ``HTTPS_PROXY`` names one: it serves CONNECT and absolute addresses."""

from __future__ import annotations

import base64
import socket
import ssl
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from wherry.testing._proxy_server import IDLE_SECONDS, ProxyServer, relay

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["HttpProxy", "Tunnel"]

_MAX_HEAD = 64 * 1024  # bytes of a request's line and headers


class Tunnel(NamedTuple):
    """One request to a proxy.

    Attributes:
        method: ``CONNECT`` or another method.
        target: The ``name:port`` of CONNECT, or the whole address.
    """

    method: str
    target: str


class HttpProxy(ProxyServer):
    """An HTTP proxy on 127.0.0.1; use it as a context manager.

    The proxy connects only to the addresses in ``hosts``, so tests can use host names that no
    resolver knows. (Clients do not use a proxy for the names of the local machine.)

    Args:
        hosts: Maps each ``name:port`` that clients may ask for to the ``address:port`` to connect
            to. The proxy answers 502 to any other name.
        credentials: User and password for basic authentication. The proxy answers 407 to a
            request that lacks them (RFC 9110, section 11.7).
        tls: Files of a certificate and its key, for a proxy that clients speak to in TLS.

    Attributes:
        requests: The requests in the order of their arrival.
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
        super().__init__(context)

    @property
    def url(self) -> str:
        """The value for a variable such as ``HTTPS_PROXY``, without credentials."""
        return f"{self._scheme}://{self.host}"

    def serve(self, client: socket.socket) -> None:
        """Answer the request of one connection and relay bytes until either side closes."""
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
        with socket.create_connection((address, int(port)), IDLE_SECONDS) as server:
            if method == "CONNECT":
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n" + rest)
            else:
                server.sendall(_forwarded(method, target, headers) + rest)
                _pass_head(server, client)
            relay(client, server)


def _read_head(client: socket.socket) -> tuple[str, dict[str, str], bytes] | None:
    """Return a request line, the headers by lower-case name, and the bytes after the head."""
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
    """Return the head for the server: with a path only, and ``Connection: close``."""
    parts = urlsplit(target)
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    lines = [f"{method} {path} HTTP/1.1", "Connection: close"]
    own = {"proxy-authorization", "proxy-connection", "connection"}
    lines += [f"{name}: {value}" for name, value in headers.items() if name not in own]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _pass_head(server: socket.socket, client: socket.socket) -> None:
    """Pass on the beginning of a response, with ``Connection: close`` added to it."""
    data = b""
    while b"\r\n" not in data and (more := server.recv(_MAX_HEAD)):
        data += more
    line, _, rest = data.partition(b"\r\n")
    client.sendall(line + b"\r\nConnection: close\r\n" + rest)


def _answer(status: str) -> bytes:
    authenticate = 'Proxy-Authenticate: Basic realm="proxy"\r\n' if status.startswith("407") else ""
    return f"HTTP/1.1 {status}\r\n{authenticate}Content-Length: 0\r\n\r\n".encode()
