"""HTTP: one request, one answer; never retries."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from wherry import __version__
from wherry.content.log import Callback
from wherry.errors import NetworkError
from wherry.model.record import Record
from wherry.model.secret import SecretBytes, SecretUrl
from wherry.registry.certs_d import TlsSettings
from wherry.registry.http.connection import Operation, Route, ascii_name
from wherry.registry.http.deadlines import Timeouts
from wherry.registry.http.pool import ConnectionPool
from wherry.registry.http.proxies import ProxySettings, authorization_headers

if TYPE_CHECKING:
    import ssl
    from urllib.parse import SplitResult

    from wherry.content.cancel import CancelToken
    from wherry.content.rate import RateLimit
    from wherry.registry.certs_d import CaBundle
    from wherry.registry.http.pool import PooledResponse
    from wherry.registry.http.proxies import ProxyAddress

_LEAST_ROOM = 16 * 1024  # bytes of a limited connection's buffer in the system
VISIBLE = "".join(map(chr, range(0x21, 0x7F)))  # what an address may hold unquoted
_BLANK = " \t\r\n"  # where other alphabets have blanks too, letters in UTF-8 begin
_DRAINED = 64 * 1024  # bytes that are sooner read than a new connection is made
USER_AGENT = f"wherry/{__version__}"


class TlsUnavailable(NetworkError):
    """The peer does not speak TLS, or is not there where TLS would be spoken."""


class PrivateHost(NetworkError):
    """The peer has a private address, and the request is ``public_only``."""


class HttpRequest(Record):
    """What to send, and how to meet the peer where the address is https.

    ``public_only``: it is not sent to a peer with a private address. Behind a proxy this is not
    checked, because the proxy looks the name up and connects. ``proxy`` goes before what the
    environment says.
    """

    method: str
    url: str
    headers: Mapping[str, str] = {}
    body: bytes | None = None
    tls: TlsSettings = TlsSettings()
    public_only: bool = False
    proxy: ProxyAddress | None = None

    def __repr__(self) -> str:
        return f"<Request {self.method} {public_url(self.url)}>"


class Exchange(Record):
    """A request that was answered, for those who watch; the address holds no secret.

    ``rate_limit`` is what a registry says of requests left, as it says it.
    """

    method: str
    url: str
    status: int
    seconds: float
    rate_limit: str = ""


class HttpResponse:
    """An answer whose body is still to be read; `close` gives the connection back or up."""

    def __init__(
        self,
        request: HttpRequest,
        taken: PooledResponse,
        operation: Operation,
        limit: RateLimit | None = None,
    ) -> None:
        self.request = request
        self.status: int = taken.answer.status
        self._taken = taken
        self._operation = operation
        self._limit = limit

    @property
    def url(self) -> str:
        """The address, without what may be secret in it."""
        return public_url(self.request.url)

    @property
    def peer(self) -> str:
        """The address that was connected to; empty behind a proxy."""
        return self._taken.connection.peer

    @property
    def framed(self) -> bool:
        """Whether a body that is cut off differs from one that ended (RFC 9112, 6.3)."""
        chunked = self.header("Transfer-Encoding").lower().endswith("chunked")
        return chunked or bool(self.header("Content-Length"))

    def header(self, name: str) -> str:
        """Return a header, several of one name as one (RFC 9110, 5.3), or an empty string."""
        return ", ".join(self.headers(name))

    def headers(self, name: str) -> Sequence[str]:
        """Return all headers of one name, without the space around them (RFC 9110, 5.5)."""
        return [value.strip(_BLANK) for value in self._taken.answer.headers.get_all(name) or []]

    def read1(self, size: int) -> bytes:
        """Return the bytes that are there, at least one, at most ``size``; none at the end."""
        if self._limit is not None:
            size = min(size, self._limit.step)
        try:
            data = self._taken.answer.read1(size)
        except (HTTPException, OSError) as error:
            self.close()
            from wherry.registry.http.error_messages import translated

            raise translated(error, self.request, self._operation.cancel, None) from error
        if not data:
            self._end()
        elif self._limit is not None:
            self._limit.take(len(data), self._operation.cancel)
        return data

    def _end(self) -> None:
        """Take the end of the body for one, unless it is how a blocked read was woken."""
        if self._operation.cancel.cancelled:
            self.close()
            self._operation.cancel.check()
        self._operation.finish()
        self._taken.finish()

    def expect_document(self) -> None:
        """Have the body arrive at the pace of what is read into memory, faster than a blob."""
        self._taken.answer.expect_document()

    def read(self, limit: int) -> bytes:
        """Return the whole body, at most ``limit`` bytes and one more."""
        self.expect_document()
        body = io.BytesIO()  # which does not show what it holds, unlike a local of bytes
        left = limit + 1
        while left and (count := body.write(self.read1(left))):
            left -= count
        self.close()
        return body.getvalue()

    def read_secret(self, limit: int) -> SecretBytes:
        """Return a body as `read` does, of an answer that may repeat what was sent."""
        return SecretBytes(self.read(limit))

    def drain(self) -> None:
        """End the use of an answer whose body does not matter, and keep the connection."""
        length = self.header("Content-Length")
        if self.request.method == "HEAD" or _is_small(length):
            with contextlib.suppress(NetworkError):
                self.read(_DRAINED)
        self.close()

    def close(self) -> None:
        """End the use of the connection; one with a body left unread is not used again."""
        self._operation.finish()
        self._taken.give_up()


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
        proxies: ProxySettings | None = None,
        trust: CaBundle | None = None,
        on_answer: Callable[[Exchange], None] | None = None,
    ) -> None:
        self._most = connections
        self._proxies = proxies or ProxySettings()
        self._trust = trust
        self._limit = None if limit_rate is None else _limit(limit_rate)
        self._timeouts = timeouts or Timeouts()
        self._on_answer = None if on_answer is None else Callback("on_request", on_answer)
        self._lock = threading.Lock()
        self._pools: dict[tuple[str, str, TlsSettings, ProxyAddress | None], ConnectionPool] = {}
        self._contexts: dict[TlsSettings, ssl.SSLContext] = {}

    def send(self, request: HttpRequest, cancel: CancelToken) -> HttpResponse:
        """Send a request and wait for the head of its answer; redirects are not followed.

        Raises `NetworkError` if there is none, `PrivateHost` before a ``public_only`` request
        is sent to a private address, `Cancelled` as soon as ``cancel`` says so.
        """
        cancel.check()
        operation = Operation(cancel, public_only=request.public_only)
        started = time.monotonic()
        proxy: ProxyAddress | None = None
        try:
            pool, target, proxy = self._pool(request)
            # What is packed on the way has another digest, and other lengths.
            headers = {
                "User-Agent": USER_AGENT,
                "Accept-Encoding": "identity",
                **request.headers,
            }
            if proxy is not None and not proxy.is_socks and request.url.startswith("http:"):
                headers |= authorization_headers(proxy)
            taken = pool.ask(operation, request.method, target, request.body, headers)
        except (HTTPException, OSError) as error:
            from wherry.registry.http.error_messages import translated

            operation.finish()
            raise translated(error, request, cancel, proxy) from error
        except BaseException:
            operation.finish()
            raise
        response = HttpResponse(request, taken, operation, self._limit)
        if self._on_answer is not None:
            left = response.header("RateLimit-Remaining")
            seconds = time.monotonic() - started
            self._on_answer(Exchange(request.method, response.url, response.status, seconds, left))
        return response

    def close(self) -> None:
        """Close all idle connections."""
        with self._lock:
            for pool in self._pools.values():
                pool.close()
            self._pools.clear()

    def _pool(self, request: HttpRequest) -> tuple[ConnectionPool, str, ProxyAddress | None]:
        """Return the connections to a request's host, what to ask for there, and the proxy."""
        parts = urlsplit(request.url)
        proxy = request.proxy or self._proxies.choose(
            parts.scheme, parts.hostname or "", parts.port
        )
        key = (parts.scheme, parts.netloc, request.tls, request.proxy)
        target = _quoted(f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/")
        if proxy is not None and not proxy.is_socks and parts.scheme == "http":
            netloc = parts.netloc.rpartition("@")[2]
            if not netloc.isascii():
                name, colon, port = netloc.partition(":")
                netloc = f"{ascii_name(name)}{colon}{port}"
            target = f"http://{netloc}{target}"
        with self._lock:
            pool = self._pools.get(key)
            if pool is None:
                pool = self._pools[key] = ConnectionPool(
                    self._route(parts, request.tls, proxy), self._most
                )
            return pool, SecretUrl(target), proxy

    def _route(self, parts: SplitResult, tls: TlsSettings, proxy: ProxyAddress | None) -> Route:
        """Find out how to get to a host; what is the host's is not for the proxy."""
        secure = proxy is not None and proxy.scheme == "https"
        return Route(
            parts.hostname or "",
            parts.port,
            self._timeouts,
            context=self._context(tls) if parts.scheme == "https" else None,
            proxy=proxy,
            proxy_context=self._context(TlsSettings(tls.verify)) if secure else None,
            room=self._room(),
        )

    def _context(self, tls: TlsSettings) -> ssl.SSLContext:
        context = self._contexts.get(tls)
        if context is None:
            from wherry.registry.http.ssl_context import make_context

            context = self._contexts[tls] = make_context(tls, self._trust)
        return context

    def _room(self) -> int | None:
        """Return the bytes that the system may take in unread; they have crossed the link."""
        return None if self._limit is None else max(_LEAST_ROOM, 2 * self._limit.step)


def _is_small(length: str) -> bool:
    return length.isascii() and length.isdigit() and int(length[:9]) <= _DRAINED


def _limit(rate: float) -> RateLimit:
    from wherry.content.rate import RateLimit

    return RateLimit(rate)


def _quoted(target: str) -> str:
    """Return what is asked for, as bytes that are allowed there; signed addresses stay as they are.

    Header fields come as Latin-1, which gives back the bytes that were sent.
    """
    if target.isascii() and target.isprintable() and " " not in target:
        return target
    try:
        sent = target.encode("latin-1")
    except UnicodeEncodeError:
        sent = target.encode(errors="surrogateescape")
    return quote(sent, safe=VISIBLE)


def public_url(url: str) -> str:
    """Return an address without user, password and query (signed redirects are secrets)."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
