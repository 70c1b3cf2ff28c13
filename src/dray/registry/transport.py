"""HTTP: one request, one answer. The only module that knows the HTTP library; never retries."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    SSLError,
)
from urllib3.exceptions import TimeoutError as Urllib3TimeoutError

from dray import __version__
from dray.errors import DrayError, NetworkError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from urllib.parse import SplitResult

    from dray.content.cancel import CancelToken
    from dray.content.rate import RateLimit

_LEAST_ROOM = 16 * 1024  # bytes of a limited connection's buffer in the system
_DRAINED = 64 * 1024  # bytes that are sooner read than a new connection is made
USER_AGENT = f"dray/{__version__}"


_log = logging.getLogger("dray")


class NoTls(NetworkError):
    """The peer does not speak TLS."""


class Timeouts(NamedTuple):
    """Seconds to wait for a connection (TLS included), and for the next byte of an answer."""

    connect: float = 15.0
    read: float = 30.0


@dataclass(frozen=True, slots=True)
class Request:
    """What to send. ``verify`` is whether the peer's certificate has to be good."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    verify: bool = True


class Exchange(NamedTuple):
    """A request that was answered, for those who watch; the address holds no secret.

    ``rate_limit`` is what a registry says of requests left, as it says it.
    """

    method: str
    url: str
    status: int
    seconds: float
    rate_limit: str = ""


class Response:
    """An answer whose body is still to be read; `close` gives the connection back or up."""

    def __init__(
        self,
        request: Request,
        raw: urllib3.BaseHTTPResponse,
        operation: _Operation,
        limit: RateLimit | None = None,
    ) -> None:
        self.request = request
        self.status = raw.status
        self._raw = raw
        self._operation = operation
        self._limit = limit

    @property
    def url(self) -> str:
        """The address, without what may be secret in it."""
        return public_url(self.request.url)

    @property
    def framed(self) -> bool:
        """Whether a body that is cut off differs from one that ended (RFC 9112, 6.3)."""
        chunked = self.header("Transfer-Encoding").lower().endswith("chunked")
        return chunked or bool(self.header("Content-Length"))

    def header(self, name: str) -> str:
        """Return a header, or an empty string."""
        return str(self._raw.headers.get(name, ""))

    def headers(self, name: str) -> Sequence[str]:
        """Return all headers of one name."""
        return self._raw.headers.getlist(name)

    def read1(self, size: int) -> bytes:
        """Return the bytes that are there, at least one, at most ``size``; none at the end."""
        if self._limit is not None:
            size = min(size, self._limit.step)
        try:
            data: bytes = self._raw.read1(size, decode_content=False)
        except (HTTPError, OSError, ssl.SSLError) as error:
            raise _translated(error, self.request, self._operation.cancel) from error
        if not data:
            self._operation.finish()
            self._raw.release_conn()
        elif self._limit is not None:
            self._limit.take(len(data), self._operation.cancel)
        return data

    def read(self, limit: int) -> bytes:
        """Return the whole body, at most ``limit`` bytes and one more."""
        chunks, size = [], 0
        while size <= limit and (data := self.read1(limit + 1 - size)):
            chunks.append(data)
            size += len(data)
        self.close()
        return b"".join(chunks)

    def drain(self) -> None:
        """End the use of an answer whose body does not matter, and keep the connection."""
        length = self.header("Content-Length")
        if self.request.method == "HEAD" or (length.isdigit() and int(length[:9]) <= _DRAINED):
            with contextlib.suppress(NetworkError):
                self.read(_DRAINED)
        self.close()

    def close(self) -> None:
        """End the use of the connection; one with a body left unread is not used again."""
        self._operation.finish()
        # Closing what was read to its end costs the connection, which release_conn gave back.
        if self._raw.connection is not None:
            self._raw.close()


class Transport:
    """Connection pools, one for each host and way of checking certificates. Thread-safe.

    ``limit_rate`` is in bytes a second, for all that is read over all connections.
    """

    def __init__(
        self,
        *,
        connections: int,
        timeouts: Timeouts | None = None,
        limit_rate: float | None = None,
        on_answer: Callable[[Exchange], None] | None = None,
    ) -> None:
        self._connections = connections
        self._limit = None if limit_rate is None else _limit(limit_rate)
        timeouts = timeouts or Timeouts()
        self._timeout = urllib3.Timeout(connect=timeouts.connect, read=timeouts.read)
        self._on_answer = on_answer
        self._lock = threading.Lock()
        self._pools: dict[tuple[str, str, bool], HTTPConnectionPool] = {}

    def send(self, request: Request, cancel: CancelToken) -> Response:
        """Send a request and wait for the head of its answer; redirects are not followed.

        Raises `NetworkError` if there is none, `Cancelled` as soon as ``cancel`` says so.
        """
        cancel.check()
        operation = _Operation(cancel)
        started = time.monotonic()
        _current.operation = operation
        try:
            pool, target = self._pool(request)
            raw = pool.urlopen(
                request.method,
                target,
                body=request.body,
                headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
                | dict(request.headers),
                timeout=self._timeout,
                redirect=False,
                assert_same_host=False,
                retries=False,
                preload_content=False,
                decode_content=False,
            )
        except (HTTPError, OSError, ssl.SSLError) as error:
            operation.finish()
            raise _translated(error, request, cancel) from error
        except BaseException:
            operation.finish()
            raise
        finally:
            _current.operation = None
        if self._on_answer is not None:
            self._tell(
                Exchange(
                    request.method,
                    public_url(request.url),
                    raw.status,
                    time.monotonic() - started,
                    raw.headers.get("RateLimit-Remaining", ""),
                )
            )
        return Response(request, raw, operation, self._limit)

    def _tell(self, exchange: Exchange) -> None:
        try:
            if self._on_answer is not None:
                self._on_answer(exchange)
        except Exception:  # noqa: BLE001 - whatever it is, it is the observer's affair
            _log.exception("the observer of requests failed")

    def close(self) -> None:
        """Close all idle connections."""
        with self._lock:
            for pool in self._pools.values():
                pool.close()
            self._pools.clear()

    def _pool(self, request: Request) -> tuple[HTTPConnectionPool, str]:
        """Return the connections to a request's host, and what to ask for there."""
        parts = urlsplit(request.url)
        key = (parts.scheme, parts.netloc, request.verify)
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        with self._lock:
            pool = self._pools.get(key)
            if pool is None:
                pool = self._pools[key] = self._make_pool(parts, verify=request.verify)
            return pool, target

    def _make_pool(self, parts: SplitResult, *, verify: bool) -> HTTPConnectionPool:
        host = parts.hostname or ""
        options: dict[str, Any] = {"maxsize": self._connections}
        if self._limit is not None:
            # What the system takes in beyond that has crossed the link already.
            room = (socket.SOL_SOCKET, socket.SO_RCVBUF, max(_LEAST_ROOM, 2 * self._limit.step))
            options["socket_options"] = [*HTTPConnection.default_socket_options, room]
        if parts.scheme == "http":
            return _HttpPool(host, parts.port, **options)
        return _HttpsPool(
            host,
            parts.port,
            **options,
            cert_reqs="CERT_REQUIRED" if verify else "CERT_NONE",
            assert_hostname=None if verify else False,
            ssl_context=_tls_context(verify=verify),
        )


def _limit(rate: float) -> RateLimit:
    from dray.content.rate import RateLimit

    return RateLimit(rate)


def _tls_context(*, verify: bool) -> ssl.SSLContext:
    """Make what all connections of a pool share: loading certificates takes long."""
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


# Waking threads that are blocked in a socket: only a shutdown of a duplicate does it, from
# the first moment of the connection on (docs/architecture.md, "Threads and cancelling").


class _Operation:
    """What one request blocks on, for as long as it is under way."""

    def __init__(self, cancel: CancelToken) -> None:
        self.cancel = cancel
        self._watched: socket.socket | None = None
        self._forget: Callable[[], None] | None = None

    def watch(self, wake: socket.socket) -> None:
        if wake is not self._watched:
            self.finish()
            self._watched = wake
            self._forget = self.cancel.on_cancel(lambda: _shut_down(wake))

    def finish(self) -> None:
        if self._forget is not None:
            self._forget()
            self._forget = self._watched = None


def _shut_down(wake: socket.socket) -> None:
    # It may not be connected yet, or closed already: then nobody is blocked in it.
    with contextlib.suppress(OSError):
        wake.shutdown(socket.SHUT_RDWR)


class _Current(threading.local):
    operation: _Operation | None = None


_current = _Current()


class _Wakeable(HTTPConnection):
    """A connection that can be shut down from another thread at any moment of its life."""

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
        if _current.operation is not None:
            _current.operation.watch(self._wake)

    def _unwatch(self) -> None:
        if self._wake is not None:
            self._wake.close()
            self._wake = None

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self._wake is not None and _current.operation is not None:
            _current.operation.watch(self._wake)
        super().request(*args, **kwargs)

    def close(self) -> None:
        self._unwatch()
        super().close()


def _addresses(host: str, port: int) -> list[Any]:
    """Look a name up in a thread that can be left behind: nothing interrupts it."""
    if host.replace(".", "").isdigit() or ":" in host:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    answer: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answer.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answer.put(error)

    threading.Thread(target=look_up, name="dray-resolve", daemon=True).start()
    operation = _current.operation
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


def public_url(url: str) -> str:
    """Return an address without user, password and query (signed redirects are secrets)."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _translated(error: Exception, request: Request, cancel: CancelToken) -> DrayError:
    """Say what went wrong in the caller's words."""
    cancel.check()
    host = urlsplit(request.url).netloc.rpartition("@")[2]
    match error:
        case NameResolutionError():
            again = isinstance(error.__cause__, socket.gaierror) and (
                error.__cause__.errno == socket.EAI_AGAIN
            )
            return NetworkError(f"{host}: no such host", host=host, transient=again)
        case SSLError():
            return _tls_failure(error, host)
        case NewConnectionError():  # which is a kind of time-out to the library
            reason = _reason(error)
            return NetworkError(f"{host}: {reason[:1].lower()}{reason[1:]}", host=host)
        case Urllib3TimeoutError():
            return NetworkError(f"{host}: no answer within the time-out", host=host)
        case _:
            return NetworkError(f"{host}: the connection was cut off ({_reason(error)})", host=host)


def _tls_failure(error: SSLError, host: str) -> NetworkError:
    cause = next((a for a in (error.__cause__, *error.args) if isinstance(a, ssl.SSLError)), None)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return NetworkError(
            f"{host}: its certificate is not trusted ({cause.verify_message})",
            host=host,
            transient=False,
            hint="name its authority in SSL_CERT_FILE, or use --insecure if you must",
        )
    reason = getattr(cause, "reason", "") or ""
    if reason in {
        "WRONG_VERSION_NUMBER",
        "HTTP_REQUEST",
        "UNKNOWN_PROTOCOL",
        "RECORD_LAYER_FAILURE",
    }:
        return NoTls(f"{host}: does not speak TLS", host=host, transient=False)
    return NetworkError(f"{host}: TLS failed ({reason or error})", host=host)


def _reason(error: BaseException) -> str:
    """Return the innermost text of a chain of exceptions, without object addresses."""
    while error.__cause__ is not None:
        error = error.__cause__
    return getattr(error, "strerror", None) or "it ended early"
