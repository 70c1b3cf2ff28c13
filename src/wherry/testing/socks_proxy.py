"""A SOCKS5 proxy (RFC 1928, RFC 1929) that fails to order, the kind that `ALL_PROXY` names."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import socketserver
import threading
from typing import TYPE_CHECKING, Any, Self

from wherry.testing.http_proxy import relay

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

__all__ = ["SocksProxy"]

_PATIENCE = 60.0  # seconds without a byte after which a connection is given up
_VERSION, _AUTH_VERSION = 5, 1
_ANONYMOUS, _PASSWORD, _NONE = 0, 2, 0xFF
_IPV4, _NAME, _IPV6 = 1, 3, 4
_SUCCEEDED, _HOST_UNREACHABLE = 0, 4


class SocksProxy:
    """A proxy on 127.0.0.1 that knows no hosts but those of `hosts`; a context manager.

    `hosts` maps ``name:port`` or ``address:port``, as the client asks for it, to the
    ``address:port`` to connect to, or to the code of a refusal (RFC 1928, 6). `credentials`
    (user, password) are asked for. `requests` lists what was asked for, in order.
    """

    def __init__(
        self,
        hosts: Mapping[str, str | int],
        *,
        credentials: tuple[str, str] | None = None,
    ) -> None:
        self.requests: list[str] = []
        self._hosts = dict(hosts)
        self._credentials = credentials
        self._server = _Server(self)

    @property
    def host(self) -> str:
        """Address and port: ``127.0.0.1:PORT``."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        serve = self._server.serve_forever
        threading.Thread(target=serve, args=(0.02,), name="socks-proxy", daemon=True).start()
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
        if not self._admit(client):
            return
        _, _, _, kind = _read(client, 4)
        if kind == _NAME:
            name = _read(client, _read(client, 1)[0]).decode("ascii")
        else:
            address = ipaddress.ip_address(bytes(_read(client, 4 if kind == _IPV4 else 16)))
            name = f"[{address}]" if kind == _IPV6 else str(address)
        name += f":{int.from_bytes(_read(client, 2), 'big')}"
        self.requests.append(name)
        target = self._hosts.get(name, _HOST_UNREACHABLE)
        if isinstance(target, int):
            client.sendall(_reply(target))
            return
        there, _, port = target.rpartition(":")
        with socket.create_connection((there, int(port)), _PATIENCE) as server:
            client.sendall(_reply(_SUCCEEDED))
            relay(client, server)

    def _admit(self, client: socket.socket) -> bool:
        """Agree on a method, and ask who the client is."""
        _, count = _read(client, 2)
        offered = _read(client, count)
        wanted = _ANONYMOUS if self._credentials is None else _PASSWORD
        client.sendall(bytes([_VERSION, wanted if wanted in offered else _NONE]))
        if wanted not in offered or self._credentials is None:
            return wanted in offered
        _, length = _read(client, 2)
        user = _read(client, length).decode("ascii")
        password = _read(client, _read(client, 1)[0]).decode("ascii")
        good = (user, password) == self._credentials
        client.sendall(bytes([_AUTH_VERSION, 0 if good else 1]))
        return good


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, owner: SocksProxy) -> None:
        self._owner = owner
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)

    def finish_request(self, request: Any, client_address: object) -> None:  # noqa: ARG002 - the base's
        client: socket.socket = request
        client.settimeout(_PATIENCE)
        with contextlib.suppress(OSError):
            self._owner.serve(client)
            client.close()


def _read(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = client.recv(size - len(data))
        if not more:
            raise ConnectionResetError
        data += more
    return data


def _reply(code: int) -> bytes:
    return bytes([_VERSION, code, 0, _IPV4]) + bytes(6)
