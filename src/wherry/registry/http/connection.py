"""Connections of the standard library's client, but ones that can be woken and lead anywhere."""

from __future__ import annotations

import contextlib
import http.client
import os
import queue
import re
import socket
import sys
import threading
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from wherry.content import fork
from wherry.model.record import Record
from wherry.registry.http.framing import LimitExceeded, StrictResponse

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from wherry.content.cancel import CancelToken
    from wherry.registry.http.deadlines import Timeouts
    from wherry.registry.http.proxies import ProxyAddress

_NAME, _LABEL = 254, 63  # characters at most (RFC 1035, 2.3.4), a dot at the end included
_HOST = re.compile(r"[A-Za-z0-9._:%-]*")  # names, addresses, and zones of addresses
_WIDE = 1 << 19  # bytes that come without waiting for a reader, and are lost with who is killed


class Route(Record):
    """The way to a host: ``context`` for TLS with it, ``proxy`` for who is connected to instead.

    Through an HTTP proxy, plain http is asked for by whole addresses, https by a tunnel; through
    a SOCKS5 proxy both are as without one. ``room`` is how many bytes the system takes in
    unread (None: as many as it likes).
    """

    host: str
    port: int | None
    timeouts: Timeouts
    context: ssl.SSLContext | None = None
    proxy: ProxyAddress | None = None
    proxy_context: ssl.SSLContext | None = None
    room: int | None = None


class ConnectFailure(OSError):
    """Nobody was connected to; its cause says why."""


class PrivatePeer(OSError):
    """The peer's address is private, and the request is for public addresses alone."""


class ProxyFailure(OSError):
    """The proxy was not reached, or not as the one that it should be; its cause says why.

    Or, as a `SocksRefusal`, the proxy was reached and does not connect us.
    """


# Waking threads that are blocked in a socket: only a shutdown of a duplicate does it, from
# the first moment of the connection on (docs/architecture.md, "Threads and cancelling").


class Operation:
    """What one request blocks on, for as long as it is under way."""

    def __init__(self, cancel: CancelToken, *, public_only: bool = False) -> None:
        self.cancel = cancel
        self._public_only = public_only
        self._watched: socket.socket | None = None
        self._forget: Callable[[], None] | None = None

    def watch(self, wake: socket.socket) -> None:
        """Shut ``wake`` down when the operation is cancelled."""
        if wake is not self._watched:
            self.finish()
            self._watched = wake
            self._forget = self.cancel.on_cancel(lambda: _shut_down(wake))

    def check_peer(self, address: str) -> None:
        """Raise `PrivatePeer` if the request must not be sent to an address."""
        if self._public_only:
            from wherry.registry.auth.realm import is_private

            if is_private(address):
                raise PrivatePeer(address)

    def finish(self) -> None:
        """Watch no longer."""
        if self._forget is not None:
            self._forget()
            self._forget = self._watched = None


def _shut_down(wake: socket.socket) -> None:
    # It may not be connected yet, or closed already: then nobody is blocked in it.
    with contextlib.suppress(OSError):
        wake.shutdown(socket.SHUT_RDWR)


class Connection(http.client.HTTPConnection):
    """A connection that can be shut down from another thread at any moment of its life.

    Whoever uses it begins with `use` and ends with `retire`, or with another `use`.
    """

    response_class: Any

    def __init__(self, route: Route) -> None:
        self.response_class = partial(StrictResponse, timeouts=route.timeouts)
        plain = route.context is None
        self.default_port = http.client.HTTP_PORT if plain else http.client.HTTPS_PORT
        super().__init__(ascii_name(route.host), route.port or self.default_port)
        self._route = route
        self._operation: Operation | None = None
        self._wake: socket.socket | None = None
        self._lowest: socket.socket | None = None  # the socket under all that is in `sock`
        fork.watch(self, Connection._after_fork)
        self.peer = ""  # the address connected to; empty where a proxy looks names up

    def use(self, operation: Operation) -> None:
        """Be there for an operation: connect, unless that has been done."""
        self._operation = operation
        if self.sock is None:
            self.connect()
        elif self._wake is not None:
            operation.watch(self._wake)
        operation.check_peer(self.peer)

    def connect(self) -> None:
        """Go the whole way; on an error the connection is to be retired."""
        route = self._route
        if route.proxy is None:
            self.sock = self._dial(self.host, self.port)
            self.peer = self.sock.getpeername()[0]
        elif route.proxy.is_socks:
            self._pass(route.proxy)
        else:
            self._reach(route.proxy, route.proxy_context)
        if route.context is not None:
            name = self.host.rstrip(".")
            if route.proxy_context is None:
                self._secure(route.context, name)
            else:
                from wherry.registry.http.tunnel import InnerTls

                self.sock = InnerTls(self.sock, route.context, name, route.timeouts.connect)
        self.sock.settimeout(route.timeouts.read)

    def _reach(self, proxy: ProxyAddress, context: ssl.SSLContext | None) -> None:
        try:
            self.sock = self._dial(ascii_name(proxy.host), proxy.port)
            if context is not None:
                self._secure(context, proxy.host)
        except (OSError, http.client.InvalidURL) as error:
            raise ProxyFailure from error
        if self._route.context is not None:
            from wherry.registry.http.tunnel import open_tunnel

            try:
                open_tunnel(self.sock, self.host, self.port, proxy, self._route.timeouts)
            except (TimeoutError, LimitExceeded) as error:
                raise ProxyFailure from error

    def _secure(self, context: ssl.SSLContext, name: str) -> None:
        """Begin TLS; known before the handshake, so that a child forked meanwhile drops it."""
        secured = context.wrap_socket(
            self.sock, server_hostname=name, do_handshake_on_connect=False
        )
        self.sock = self._lowest = secured
        secured.do_handshake()

    def _pass(self, proxy: ProxyAddress) -> None:
        """Have a SOCKS5 proxy connect us with the host, by name or by its addresses."""
        from wherry.registry.http.socks import connect_through

        hosts = [self.host]
        if proxy.scheme == "socks5":
            try:
                found = _addresses(self.host, self.port, self._operation)
            except socket.gaierror as error:
                raise ConnectFailure from error
            hosts = [address[0] for *_, address in found]

        def dial() -> socket.socket:
            self._unwatch()
            try:
                return self._dial(ascii_name(proxy.host), proxy.port)
            except (OSError, http.client.InvalidURL) as error:
                raise ProxyFailure from error

        try:
            until = monotonic() + self._route.timeouts.dial
            self.sock, reached = connect_through(proxy, hosts, self.port, dial, until)
        except ProxyFailure:
            raise
        except OSError as error:  # it is silent, or hangs up
            raise ProxyFailure from error
        if proxy.scheme == "socks5":
            self.peer = reached

    def _dial(self, host: str, port: int) -> socket.socket:
        try:
            found = _addresses(host, port, self._operation)
        except socket.gaierror as error:
            raise ConnectFailure from error
        failed: OSError = OSError("no address")
        until = monotonic() + self._route.timeouts.dial
        for family, kind, protocol, _, address in found:
            try:
                # Of a kind that this machine's kernel may not have, as with IPv6 switched off.
                sock = socket.socket(family, kind, protocol)
                return self._meet(sock, address)
            except OSError as error:
                self._unwatch()
                failed = error
            if monotonic() > until:
                break
        raise ConnectFailure from failed

    def _meet(self, sock: socket.socket, address: Any) -> socket.socket:
        self._lowest = sock
        try:
            self._watch(sock)
            sock.settimeout(self._route.timeouts.connect)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._route.room is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._route.room)
            sock.connect(address)
            _widen(sock)
        except BaseException:
            sock.close()
            raise
        return sock

    def _watch(self, sock: socket.socket) -> None:
        self._wake = socket.socket(fileno=os.dup(sock.fileno()))
        self._wake.settimeout(0)  # flags are shared: a socket with a time-out has this one
        if self._operation is not None:
            self._operation.watch(self._wake)
            self._operation.cancel.check()  # nothing wakes who connects after it was cancelled

    def _unwatch(self) -> None:
        if self._wake is not None:
            self._wake.close()
            self._wake = None

    @property
    def quiet(self) -> bool:
        """Whether nothing has come since the last answer, its end neither."""
        pending = getattr(self.sock, "pending", None)  # bytes that TLS has taken in already
        if self._wake is None or (pending is not None and pending()):
            return False
        try:
            self._wake.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def retire(self) -> None:
        """Close it for good; the library closes connections whose last answer is being read."""
        self._unwatch()
        self.close()

    def _after_fork(self) -> None:
        """Close the child's descriptors, and tell the peer nothing: the parent goes on.

        Whatever still reads from the connection gets an error.
        """
        for sock in (self._wake, self._lowest):
            if sock is not None:
                _abandon(sock)


def _abandon(sock: socket.socket) -> None:
    """Close a descriptor that another process shares, whatever still refers to the socket."""
    descriptor = sock.detach()
    if descriptor >= 0:
        # A TLS layer keeps the number, which a new file may get: this takes the layer off.
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        os.close(descriptor)


def ascii_name(host: str) -> str:
    """Return a host's name as it is sent (RFC 5890); raises `http.client.InvalidURL` for none."""
    try:
        name = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise http.client.InvalidURL(str(error)) from error
    if not _HOST.fullmatch(name) or len(name) > _NAME:
        raise http.client.InvalidURL("it is too long, or has characters that no name has")
    labels = name.removesuffix(".").split(".")
    if not all(0 < len(label) <= _LABEL for label in labels):
        raise http.client.InvalidURL("a part of the name is empty or too long")
    return name


def _widen(sock: socket.socket) -> None:
    """Let the system take in half a megabyte before somebody reads it, where no size has been set.

    Linux begins with 64 KB and learns. That somebody waits for more widens it at once, and
    unlike a size that is set it goes on learning; then any byte is worth waking up for again.
    Not before the connection is there: older kernels would take it for the most there can be.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, _WIDE)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)


def _addresses(host: str, port: int, operation: Operation | None) -> list[Any]:
    """Look a name up in a thread that can be left behind: nothing interrupts it."""
    name = host.encode("ascii")  # text would load the codec of international names
    if host.replace(".", "").isdigit() or ":" in host:
        return socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    answer: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answer.put(socket.getaddrinfo(name, port, type=socket.SOCK_STREAM))
        except OSError as error:
            answer.put(error)

    threading.Thread(target=look_up, name="wherry-resolve", daemon=True).start()
    stopped = socket.gaierror(socket.EAI_FAIL, "cancelled")
    forget = operation.cancel.on_cancel(lambda: answer.put(stopped)) if operation else None
    try:
        found = answer.get()
    finally:
        if forget is not None:
            forget()
    if isinstance(found, Exception):
        raise found
    return found
