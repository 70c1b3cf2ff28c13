"""Connections as urllib3 makes them, but ones that can be woken; pools of them, TLS, proxies."""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import queue
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any

from urllib3.connection import HTTPConnection, HTTPSConnection, ProxyConfig
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util import parse_url

from dray.model.record import Record
from dray.registry.certificates import Tls

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from urllib.parse import SplitResult

    from dray.content.cancel import CancelToken
    from dray.registry.proxies import Proxy

_WIDE = 1 << 20  # bytes; a blob's first megabyte comes without waiting for its reader


class Keep(Record):
    """Connections to keep, and ``room``: bytes that the system takes in unread (None: its own)."""

    connections: int
    room: int | None = None


def make_pool(
    parts: SplitResult,
    tls: Tls,
    proxy: Proxy | None,
    keep: Keep,
    contexts: Callable[[Tls], ssl.SSLContext],
) -> HTTPConnectionPool:
    """Return connections to the host of an address, met as ``tls`` says.

    Through a proxy, plain http is asked for by whole addresses, https by a tunnel. What is the
    host's, authorities and certificates, is not for the proxy.
    """
    scheme, host, port = parts.scheme, parts.hostname or "", parts.port
    options: dict[str, Any] = {"maxsize": keep.connections}
    if keep.room is not None:
        room = (socket.SOL_SOCKET, socket.SO_RCVBUF, keep.room)
        options["socket_options"] = [*HTTPConnection.default_socket_options, room]
    if proxy is not None:
        its = Tls(tls.verify)
        options |= _through(proxy, contexts(its) if proxy.scheme == "https" else None)
        if scheme == "http":
            scheme, host, port, tls = proxy.scheme, proxy.host, proxy.port, its
    if scheme == "http":
        return _HttpPool(host, port, **options)
    return _HttpsPool(
        host,
        port,
        **options,
        cert_reqs="CERT_REQUIRED" if tls.verify else "CERT_NONE",
        assert_hostname=None if tls.verify else False,
        ssl_context=contexts(tls),
    )


def _through(proxy: Proxy, context: ssl.SSLContext | None) -> dict[str, Any]:
    headers = {}
    if proxy.authorization:
        # UTF-8, as the tools in Go send it; the library knows Latin-1 alone.
        pair = base64.b64encode(proxy.authorization.encode(errors="surrogateescape"))
        headers = {"Proxy-Authorization": f"Basic {pair.decode('ascii')}"}
    return {
        "_proxy": parse_url(str(proxy)),
        "_proxy_headers": headers,
        "_proxy_config": ProxyConfig(context, False, None, None),  # noqa: FBT003 - a tuple's field
    }


# Waking threads that are blocked in a socket: only a shutdown of a duplicate does it, from
# the first moment of the connection on (docs/architecture.md, "Threads and cancelling").


class Operation:
    """What one request blocks on, for as long as it is under way."""

    def __init__(self, cancel: CancelToken) -> None:
        self.cancel = cancel
        self._watched: socket.socket | None = None
        self._forget: Callable[[], None] | None = None

    def watch(self, wake: socket.socket) -> None:
        """Shut ``wake`` down when the operation is cancelled."""
        if wake is not self._watched:
            self.finish()
            self._watched = wake
            self._forget = self.cancel.on_cancel(lambda: _shut_down(wake))

    def finish(self) -> None:
        """Watch no longer."""
        if self._forget is not None:
            self._forget()
            self._forget = self._watched = None


def _shut_down(wake: socket.socket) -> None:
    # It may not be connected yet, or closed already: then nobody is blocked in it.
    with contextlib.suppress(OSError):
        wake.shutdown(socket.SHUT_RDWR)


class Current(threading.local):
    """What this thread is doing, for the connections that it makes."""

    operation: Operation | None = None


current = Current()


class _Lines:
    """A file that remembers its last line."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.last = b""

    def readline(self, limit: int) -> bytes:
        self.last = self._file.readline(limit)
        return self.last

    def close(self) -> None:
        self._file.close()


class _Answer(http.client.HTTPResponse):
    """An answer whose head has to be whole (RFC 9112, section 8).

    The library takes the end of a connection for the end of the head: half an address in
    ``Location``, or no ``Content-Range`` at all, would be believed.
    """

    def begin(self) -> None:
        if self.headers is not None:
            return
        file = self.fp
        self.fp = lines = _Lines(file)
        try:
            super().begin()
        finally:
            if self.fp is not None:  # None: there was no answer at all
                self.fp = file
        if lines.last not in {b"\r\n", b"\n"}:
            raise http.client.RemoteDisconnected("the connection ended within the head")


class _Wakeable(HTTPConnection):
    """A connection that can be shut down from another thread at any moment of its life."""

    response_class = _Answer
    _wake: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        try:
            found = _addresses(self._dns_host, self.port or 80)
        except (socket.gaierror, UnicodeError) as error:
            failure = error if isinstance(error, socket.gaierror) else socket.gaierror(str(error))
            raise NameResolutionError(self.host, self, failure) from error
        failed: OSError = OSError("no address")
        for family, kind, protocol, _, address in found:
            sock = socket.socket(family, kind, protocol)
            try:
                self._watch(sock)
                sock.settimeout(self.timeout)
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                sock.connect(address)
                _widen(sock)
            except OSError as error:
                sock.close()
                self._unwatch()
                failed = error
            else:
                return sock
        if isinstance(failed, TimeoutError):
            raise ConnectTimeoutError(self, "connect") from failed
        raise NewConnectionError(self, failed.strerror or str(failed)) from failed

    def _watch(self, sock: socket.socket) -> None:
        self._wake = socket.socket(fileno=os.dup(sock.fileno()))
        if current.operation is not None:
            current.operation.watch(self._wake)

    def _unwatch(self) -> None:
        if self._wake is not None:
            self._wake.close()
            self._wake = None

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self._wake is not None and current.operation is not None:
            current.operation.watch(self._wake)
        super().request(*args, **kwargs)

    def close(self) -> None:
        self._unwatch()
        super().close()


def _widen(sock: socket.socket) -> None:
    """Let the system take in a megabyte before somebody reads it, where no size has been set.

    Linux begins with 64 KB and learns. That somebody waits for more widens it at once, and
    unlike a size that is set it goes on learning; then any byte is worth waking up for again.
    Not before the connection is there: older kernels would take it for the most there can be.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, _WIDE)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)


def _addresses(host: str, port: int) -> list[Any]:
    """Look a name up in a thread that can be left behind: nothing interrupts it."""
    # Text would load the codec of international names, for names that are ASCII.
    name = host.encode("ascii") if host.isascii() else host
    if host.replace(".", "").isdigit() or ":" in host:
        return socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    answer: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answer.put(socket.getaddrinfo(name, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answer.put(error)

    threading.Thread(target=look_up, name="dray-resolve", daemon=True).start()
    operation = current.operation
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


class _WakeableTls(_Wakeable, HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        # Who asked for no verification need not be warned of it at each request.
        self.is_verified = True


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Wakeable


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _WakeableTls
