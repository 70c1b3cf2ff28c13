"""Through a SOCKS5 proxy to a host (RFC 1928, RFC 1929). Loaded for such proxies alone."""

from __future__ import annotations

import http.client
import math
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from python_socks import ProxyError, ProxyTimeoutError, ProxyType
from python_socks.sync import Proxy as Negotiation

from wherry.model.secret import drop_frames
from wherry.registry.http.connection import ProxyFailure

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from wherry.registry.http.proxies import ProxyAddress

_NOT_ALLOWED, _CONNECTION_REFUSED = 2, 5
# Replies to one address of a host after which another address may do: network unreachable,
# host unreachable, connection refused, TTL expired, address type not supported.
_NEXT_ADDRESS = {3, 4, _CONNECTION_REFUSED, 6, 8}
_PERMANENT = {_NOT_ALLOWED, 7, 8}


class SocksRefusal(ProxyFailure):
    """The proxy does not connect us.

    ``reply`` is the code of its answer (RFC 1928, 6), None where it did not get so far.
    """

    def __init__(self, reason: str, reply: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.reply = reply

    @property
    def transient(self) -> bool:
        """Whether another attempt may succeed."""
        final = self.reply in _PERMANENT or self.asks_for_password or self.is_other_protocol
        return not final

    @property
    def is_other_protocol(self) -> bool:
        """Whether the proxy speaks something else than SOCKS5."""
        return self.reply is None and "version" in self.reason.lower()

    @property
    def refused_by_host(self) -> bool:
        """Whether no server listens on the host's port."""
        return self.reply == _CONNECTION_REFUSED

    @property
    def asks_for_password(self) -> bool:
        """Whether user name and password are missing or wrong."""
        return self.reply is None and "authentication" in self.reason.lower()


def connect_through(
    proxy: ProxyAddress,
    hosts: Sequence[str],
    port: int,
    dial: Callable[[], socket.socket],
    until: float = math.inf,
) -> tuple[socket.socket, str]:
    """Have the proxy connect us with the first of ``hosts`` that it reaches; tells which.

    ``hosts`` are the addresses of one host, or its name for the proxy to look up. ``dial``
    returns a new connection to the proxy. Raises `SocksRefusal`, and `OSError` where the
    connection to the proxy fails, or takes until the monotonic time ``until``.
    """
    for number, host in enumerate(hosts, 1):
        try:
            return _negotiate(proxy, host, port, _SocketAdapter(dial(), until)), host
        except SocksRefusal as refused:
            if refused.reply not in _NEXT_ADDRESS or number == len(hosts):
                raise
    raise AssertionError("a host has at least one address")


def _negotiate(proxy: ProxyAddress, host: str, port: int, dialled: _SocketAdapter) -> socket.socket:
    negotiation = Negotiation(
        ProxyType.SOCKS5,
        proxy.host,
        proxy.port,
        proxy.user or None,
        proxy.password or None,
        rdns=True,  # names are looked up before, if they are looked up here
        forward=cast("Negotiation", dialled),
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
    return dialled.sock


class _SocketAdapter:
    """A connection that the caller made, in the place of one that the library would make.

    It can be woken from other threads, and its bytes arrive until a time or not at all.
    """

    def __init__(self, sock: socket.socket, until: float) -> None:
        self.sock = sock
        self._until = until

    def connect(self, *_address: Any, **_options: Any) -> _SocketAdapter:
        """Return this connection, whatever the address."""
        return self

    def sendall(self, data: bytes) -> None:
        """Send all of it."""
        self.sock.sendall(data)

    def recv(self, size: int) -> bytes:
        """Return what is there; raises `TimeoutError`."""
        if monotonic() > self._until:
            raise TimeoutError
        return self.sock.recv(size)

    def close(self) -> None:
        """Close the connection."""
        self.sock.close()
