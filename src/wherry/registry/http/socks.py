"""Connecting through a SOCKS5 proxy (RFC 1928, 1929); loaded on first use."""

from __future__ import annotations

import http.client
import math
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from python_socks import ProxyError, ProxyTimeoutError, ProxyType
from python_socks.sync import Proxy as Negotiation

from wherry.model.secret import drop_frames
from wherry.registry.http.connect_errors import ProxyFailure

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from wherry.registry.http.proxies import ProxyAddress

_NOT_ALLOWED, _CONNECTION_REFUSED = 2, 5
# Replies after which another address of the host may work: network unreachable, host
# unreachable, connection refused, TTL expired, address type not supported.
_NEXT_ADDRESS = {3, 4, _CONNECTION_REFUSED, 6, 8}
_PERMANENT = {_NOT_ALLOWED, 7, 8}


class SocksRefusal(ProxyFailure):
    """The proxy refused to connect.

    ``reply`` is the code of its reply (RFC 1928, 6), None if the negotiation failed before.
    """

    def __init__(self, reason: str, reply: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.reply = reply

    @property
    def transient(self) -> bool:
        """Whether another attempt may succeed."""
        is_final = self.reply in _PERMANENT or self.asks_for_password or self.is_other_protocol
        return not is_final

    @property
    def is_other_protocol(self) -> bool:
        """Whether the proxy speaks another protocol than SOCKS5."""
        return self.reply is None and "version" in self.reason.lower()

    @property
    def refused_by_host(self) -> bool:
        """Whether no server listens on the host's port."""
        return self.reply == _CONNECTION_REFUSED

    @property
    def asks_for_password(self) -> bool:
        """Whether the user name and password are missing or wrong."""
        return self.reply is None and "authentication" in self.reason.lower()


def connect_through(
    proxy: ProxyAddress,
    hosts: Sequence[str],
    port: int,
    dial: Callable[[], socket.socket],
    until: float = math.inf,
) -> tuple[socket.socket, str]:
    """Connect to the first of ``hosts`` that the proxy reaches, and return both.

    Args:
        proxy: The proxy, with the credentials for it.
        hosts: The addresses of one host, or its name for the proxy to look up.
        port: The host's port.
        dial: Opens a new connection to the proxy.
        until: The monotonic time at which to give up.

    Raises:
        SocksRefusal: The proxy refused to connect.
        OSError: The connection to the proxy failed or took too long.
    """
    for number, host in enumerate(hosts, 1):
        try:
            return _negotiate(proxy, host, port, _SocketAdapter(dial(), until)), host
        except SocksRefusal as refusal:
            if refusal.reply not in _NEXT_ADDRESS or number == len(hosts):
                raise
    raise AssertionError("a host has at least one address")


def _negotiate(proxy: ProxyAddress, host: str, port: int, adapter: _SocketAdapter) -> socket.socket:
    negotiation = Negotiation(
        ProxyType.SOCKS5,
        proxy.host,
        proxy.port,
        proxy.user or None,
        proxy.password or None,
        rdns=True,  # the caller has looked names up if the proxy is not to
        forward=cast("Negotiation", adapter),
    )
    try:
        negotiation.connect(host, port)
    except ProxyTimeoutError as error:
        drop_frames(error)  # the library keeps the password in its locals
        raise
    except ProxyError as error:
        drop_frames(error)
        raise SocksRefusal(str(error), error.error_code) from None
    except (UnicodeError, ValueError) as error:
        raise http.client.InvalidURL("the name is too long for SOCKS5") from error
    return adapter.sock


class _SocketAdapter:
    """A connected socket in the form that python-socks expects.

    The library would make its own socket, which other threads could not shut down and which has
    no deadline for the whole negotiation.
    """

    def __init__(self, sock: socket.socket, until: float) -> None:
        self.sock = sock
        self._until = until

    def connect(self, *_address: Any, **_options: Any) -> _SocketAdapter:
        """Return this connection, whatever the address."""
        return self

    def sendall(self, data: bytes) -> None:
        """Send all bytes."""
        self.sock.sendall(data)

    def recv(self, size: int) -> bytes:
        """Return the available bytes; raise `TimeoutError` after the deadline."""
        if monotonic() > self._until:
            raise TimeoutError
        return self.sock.recv(size)

    def close(self) -> None:
        """Close the connection."""
        self.sock.close()
