"""HTTP connections that can be cancelled and may lead through a proxy."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import sys
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from wherry.content import fork
from wherry.model.record import Record
from wherry.registry.http.connect_errors import ConnectFailure, ProxyFailure
from wherry.registry.http.framing import StrictResponse, UnacceptableResponse
from wherry.registry.http.resolver import ascii_name, look_up

if TYPE_CHECKING:
    import ssl

    from wherry.registry.http.deadlines import Timeouts
    from wherry.registry.http.operation import Operation
    from wherry.registry.http.proxies import ProxyAddress
    from wherry.registry.http.request_body import StreamBody

# Receive buffer in bytes. A killed process loses at most this much of a download.
_RECEIVE_BUFFER = 1 << 19


class Route(Record):
    """The way to a host: through ``proxy`` if any, in TLS with a ``context``.

    An HTTP proxy gets absolute URLs for http and CONNECT for https. A SOCKS5 proxy tunnels both.
    ``receive_buffer`` is in bytes; None leaves the size to the system.
    """

    host: str
    port: int | None
    timeouts: Timeouts
    context: ssl.SSLContext | None = None
    proxy: ProxyAddress | None = None
    proxy_context: ssl.SSLContext | None = None
    receive_buffer: int | None = None


class Connection(http.client.HTTPConnection):
    """A connection that another thread can shut down at any moment.

    Each operation begins with `use`. `retire` closes the connection for good.
    """

    response_class: Any

    def __init__(self, route: Route) -> None:
        self._early = bytearray()  # what arrives of a response while a body is being sent
        self.response_class = partial(StrictResponse, timeouts=route.timeouts, early=self._early)
        is_plain = route.context is None
        self.default_port = http.client.HTTP_PORT if is_plain else http.client.HTTPS_PORT
        super().__init__(ascii_name(route.host), route.port or self.default_port)
        self._route = route
        self._operation: Operation | None = None
        self._duplicate: socket.socket | None = None
        self._lowest: socket.socket | None = None  # the socket below all layers of `sock`
        fork.watch(self, Connection._after_fork)
        self.peer = ""  # the address connected to; empty if a proxy looks names up

    def use(self, operation: Operation) -> None:
        """Start an operation; connect first if there is no connection.

        Raises:
            PrivatePeer: The request must not be sent to the peer's address.
        """
        self._operation = operation
        if self.sock is None:
            self.connect()
        elif self._duplicate is not None:
            operation.watch(self._duplicate)
        operation.check_peer(self.peer)

    def send_body(self, body: StreamBody) -> bool:
        """Send a body after the head of its request; return whether all of it was sent.

        Raises:
            BodyEnded: The stream is shorter than announced.
        """
        from wherry.registry.http.request_body import send_body

        return send_body(self.sock, body, self._route.timeouts.read, self._early)

    def connect(self) -> None:
        """Connect along the whole route; after an error the caller retires the connection."""
        route = self._route
        if route.proxy is None:
            self.sock = self._dial(self.host, self.port)
            self.peer = self.sock.getpeername()[0]
        elif route.proxy.is_socks:
            self._connect_through_socks(route.proxy)
        else:
            self._connect_through_http(route.proxy, route.proxy_context)
        if route.context is not None:
            name = self.host.rstrip(".")
            if route.proxy_context is None:
                self._start_tls(route.context, name)
            else:
                from wherry.registry.http.tunnel import InnerTls

                self.sock = InnerTls(self.sock, route.context, name, route.timeouts.connect)
        self.sock.settimeout(route.timeouts.read)

    def _connect_through_http(self, proxy: ProxyAddress, context: ssl.SSLContext | None) -> None:
        try:
            self.sock = self._dial(ascii_name(proxy.host), proxy.port)
            if context is not None:
                self._start_tls(context, proxy.host)
        except (OSError, http.client.InvalidURL) as error:
            raise ProxyFailure from error
        if self._route.context is not None:
            from wherry.registry.http.tunnel import open_tunnel

            try:
                open_tunnel(self.sock, self.host, self.port, proxy, self._route.timeouts)
            except (TimeoutError, UnacceptableResponse) as error:
                raise ProxyFailure from error

    def _start_tls(self, context: ssl.SSLContext, name: str) -> None:
        """Start TLS; store the socket first, for children that fork meanwhile."""
        secured = context.wrap_socket(
            self.sock, server_hostname=name, do_handshake_on_connect=False
        )
        self.sock = self._lowest = secured
        secured.do_handshake()

    def _connect_through_socks(self, proxy: ProxyAddress) -> None:
        """Have a SOCKS5 proxy connect to the host, by its name or by its addresses."""
        from wherry.registry.http.socks import connect_through

        hosts = [self.host]
        if proxy.scheme == "socks5":
            hosts = [address[0] for *_, address in self._look_up(self.host, self.port)]

        def dial() -> socket.socket:
            self._close_duplicate()
            try:
                return self._dial(ascii_name(proxy.host), proxy.port)
            except (OSError, http.client.InvalidURL) as error:
                raise ProxyFailure from error

        try:
            until = monotonic() + self._route.timeouts.dial
            self.sock, reached = connect_through(proxy, hosts, self.port, dial, until)
        except ProxyFailure:
            raise
        except OSError as error:  # the proxy is silent, or closed the connection
            raise ProxyFailure from error
        if proxy.scheme == "socks5":
            self.peer = reached

    def _look_up(self, host: str, port: int) -> list[Any]:
        try:
            return look_up(host, port, self._operation.cancel if self._operation else None)
        except socket.gaierror as error:
            raise ConnectFailure from error

    def _dial(self, host: str, port: int) -> socket.socket:
        """Connect to the first address of ``host`` that accepts."""
        failed: OSError = OSError("no address")
        found = self._look_up(host, port)
        until = monotonic() + self._route.timeouts.dial
        for family, kind, protocol, _, address in found:
            try:
                # Fails if the kernel lacks the address family, such as IPv6.
                sock = socket.socket(family, kind, protocol)
                return self._connect_socket(sock, address)
            except OSError as error:
                self._close_duplicate()
                failed = error
            if monotonic() > until:
                break
        raise ConnectFailure from failed

    def _connect_socket(self, sock: socket.socket, address: Any) -> socket.socket:
        self._lowest = sock
        try:
            self._watch(sock)
            sock.settimeout(self._route.timeouts.connect)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._route.receive_buffer is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._route.receive_buffer)
            sock.connect(address)
            _grow_receive_buffer(sock)
        except BaseException:
            sock.close()
            raise
        return sock

    def _watch(self, sock: socket.socket) -> None:
        self._duplicate = socket.socket(fileno=os.dup(sock.fileno()))
        self._duplicate.settimeout(0)  # duplicates share flags, and a timeout sets this one
        if self._operation is not None:
            self._operation.watch(self._duplicate)
            self._operation.cancel.check()  # after a cancellation nothing wakes `connect`

    def _close_duplicate(self) -> None:
        if self._duplicate is not None:
            self._duplicate.close()
            self._duplicate = None

    @property
    def is_quiet(self) -> bool:
        """Whether nothing has arrived since the last response, not even the end."""
        pending = getattr(self.sock, "pending", None)  # bytes that TLS has buffered
        if self._duplicate is None or (pending is not None and pending()):
            return False
        try:
            self._duplicate.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def retire(self) -> None:
        """Close the connection for good, even while its last response is being read."""
        self._close_duplicate()
        self.close()

    def _after_fork(self) -> None:
        """Close the child's descriptors without a word to the peer, which the parent uses.

        Reading from the connection in the child raises an error.
        """
        for sock in (self._duplicate, self._lowest):
            if sock is not None:
                _abandon(sock)


def _abandon(sock: socket.socket) -> None:
    """Close a shared descriptor, even if objects still refer to it."""
    descriptor = sock.detach()
    if descriptor >= 0:
        # The TLS layer keeps the number, which a new file may reuse: this removes the layer.
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        os.close(descriptor)


def _grow_receive_buffer(sock: socket.socket) -> None:
    """Let the kernel receive half a megabyte that no thread has read yet.

    Linux starts with 64 KB and grows the buffer as it measures. A high SO_RCVLOWAT grows it at
    once and, unlike SO_RCVBUF, does not stop later growth. The second call resets the mark, so
    that any byte wakes a reader. Older kernels would treat the mark as the maximum if it were
    set before connecting.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, _RECEIVE_BUFFER)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
