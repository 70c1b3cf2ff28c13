"""A SOCKS5 proxy (RFC 1928, RFC 1929), as ``ALL_PROXY`` names one, with refusals on request."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING

from wherry.testing._proxy_server import IDLE_SECONDS, ProxyServer, relay

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SocksProxy"]

_VERSION, _AUTH_VERSION = 5, 1
_ANONYMOUS, _PASSWORD, _NONE = 0, 2, 0xFF
_IPV4, _NAME, _IPV6 = 1, 3, 4
_SUCCEEDED, _HOST_UNREACHABLE = 0, 4


class SocksProxy(ProxyServer):
    """A SOCKS5 proxy on 127.0.0.1; use it as a context manager.

    Args:
        hosts: Maps each ``name:port`` or ``address:port`` that clients may ask for to the
            ``address:port`` to connect to, or to the code of a refusal (RFC 1928, section 6).
            The proxy answers "host unreachable" to any other name.
        credentials: User and password that the proxy asks for (RFC 1929).

    Attributes:
        requests: The names that clients asked for, in order.
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
        super().__init__()

    def serve(self, client: socket.socket) -> None:
        """Answer the request of one connection and relay bytes until either side closes."""
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
        with socket.create_connection((there, int(port)), IDLE_SECONDS) as server:
            client.sendall(_reply(_SUCCEEDED))
            relay(client, server)

    def _admit(self, client: socket.socket) -> bool:
        """Negotiate a method and check the credentials; tell whether the client may go on."""
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
