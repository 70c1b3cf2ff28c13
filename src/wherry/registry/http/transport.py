"""Sending requests over pooled connections, one attempt each; nothing is retried."""

from __future__ import annotations

import threading
import time
from http.client import HTTPException
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from wherry import __version__
from wherry.content.log import Callback
from wherry.model.secret import SecretUrl
from wherry.registry.certs_d import TlsSettings
from wherry.registry.http.connection import Route
from wherry.registry.http.deadlines import Timeouts
from wherry.registry.http.operation import Operation
from wherry.registry.http.pool import ConnectionPool
from wherry.registry.http.proxies import ProxySettings, authorization_headers
from wherry.registry.http.request import quoted_target
from wherry.registry.http.resolver import ascii_name
from wherry.registry.http.response import Exchange, HttpResponse

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from urllib.parse import SplitResult

    from wherry.content.cancel import CancelToken
    from wherry.content.rate import RateLimit
    from wherry.registry.certs_d import CaBundle
    from wherry.registry.http.pool import PooledResponse
    from wherry.registry.http.proxies import ProxyAddress
    from wherry.registry.http.request import HttpRequest
    from wherry.registry.http.request_body import StreamBody

_MIN_RECEIVE_BUFFER = 16 * 1024  # bytes
USER_AGENT = f"wherry/{__version__}"


class Transport:
    """Connection pools, one for each host and set of TLS settings. Thread-safe.

    ``limit_rate`` is in bytes a second, for all connections together.
    """

    def __init__(
        self,
        *,
        connections: int,
        timeouts: Timeouts | None = None,
        limit_rate: float | None = None,
        proxies: ProxySettings | None = None,
        ca_bundle: CaBundle | None = None,
        on_response: Callable[[Exchange], None] | None = None,
    ) -> None:
        self._pool_size = connections
        self._proxies = proxies or ProxySettings()
        self._ca_bundle = ca_bundle
        self._limit = None if limit_rate is None else _rate_limit(limit_rate)
        self._timeouts = timeouts or Timeouts()
        self._on_response = None if on_response is None else Callback("on_request", on_response)
        self._lock = threading.Lock()
        self._pools: dict[tuple[str, str, TlsSettings, ProxyAddress | None], ConnectionPool] = {}
        self._contexts: dict[TlsSettings, ssl.SSLContext] = {}

    def send(self, request: HttpRequest, cancel: CancelToken) -> HttpResponse:
        """Send a request and read the head of its response; redirects are not followed.

        Raises:
            NetworkError: There is no valid response.
            PrivateHost: The request is ``public_only`` and the peer's address is private. The
                request has not been sent.
            Cancelled: ``cancel`` was cancelled.
        """
        cancel.check()
        operation = Operation(cancel, public_only=request.public_only)
        started = time.monotonic()
        proxy: ProxyAddress | None = None
        try:
            proxy = self._proxy(request)
            pooled = self._send(request, proxy, operation)
        except (HTTPException, OSError) as error:
            from wherry.registry.http.error_messages import network_error

            operation.finish()
            raise network_error(error, request, cancel, proxy) from error
        except BaseException:
            operation.finish()
            raise
        response = HttpResponse(request, pooled, operation, self._limit)
        if self._on_response is not None:
            left = response.header("RateLimit-Remaining")
            seconds = time.monotonic() - started
            exchange = Exchange(request.method, response.url, response.status, seconds, left)
            self._on_response(exchange)
        return response

    def close(self) -> None:
        """Close all idle connections."""
        with self._lock:
            for pool in self._pools.values():
                pool.close()
            self._pools.clear()

    def _proxy(self, request: HttpRequest) -> ProxyAddress | None:
        parts = urlsplit(request.url)
        return request.proxy or self._proxies.choose(parts.scheme, parts.hostname or "", parts.port)

    def _send(
        self, request: HttpRequest, proxy: ProxyAddress | None, operation: Operation
    ) -> PooledResponse:
        parts = urlsplit(request.url)
        target = parts.path or "/"
        target = quoted_target(f"{target}?{parts.query}" if parts.query else target)
        # A compressed response would have another digest and another length.
        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **request.headers}
        if proxy is not None and not proxy.is_socks and parts.scheme == "http":
            target = f"http://{_ascii_netloc(parts)}{target}"
            headers |= authorization_headers(proxy)
        pool = self._pool(request, parts, proxy)
        body: bytes | StreamBody | None = request.body
        if request.stream is not None:
            body = request.stream.limited(self._limit, operation.cancel)
        return pool.send(operation, request.method, SecretUrl(target), body, headers)

    def _pool(
        self, request: HttpRequest, parts: SplitResult, proxy: ProxyAddress | None
    ) -> ConnectionPool:
        key = (parts.scheme, parts.netloc, request.tls, request.proxy)
        with self._lock:
            pool = self._pools.get(key)
            if pool is None:
                route = self._route(parts, request.tls, proxy)
                pool = self._pools[key] = ConnectionPool(route, self._pool_size)
            return pool

    def _route(self, parts: SplitResult, tls: TlsSettings, proxy: ProxyAddress | None) -> Route:
        """Return the route to a host; the host's certificates are not used for the proxy."""
        is_secure_proxy = proxy is not None and proxy.scheme == "https"
        return Route(
            parts.hostname or "",
            parts.port,
            self._timeouts,
            context=self._context(tls) if parts.scheme == "https" else None,
            proxy=proxy,
            proxy_context=self._context(TlsSettings(tls.verify)) if is_secure_proxy else None,
            receive_buffer=self._receive_buffer(),
        )

    def _context(self, tls: TlsSettings) -> ssl.SSLContext:
        context = self._contexts.get(tls)
        if context is None:
            from wherry.registry.http.ssl_context import make_context

            context = self._contexts[tls] = make_context(tls, self._ca_bundle)
        return context

    def _receive_buffer(self) -> int | None:
        """Return a size in bytes that keeps data beyond the rate limit off the network."""
        if self._limit is None:
            return None
        return max(_MIN_RECEIVE_BUFFER, 2 * self._limit.step)


def _ascii_netloc(parts: SplitResult) -> str:
    """Return host and port, without credentials, as they are sent to a proxy."""
    netloc = parts.netloc.rpartition("@")[2]
    if netloc.isascii():
        return netloc
    name, colon, port = netloc.partition(":")
    return f"{ascii_name(name)}{colon}{port}"


def _rate_limit(rate: float) -> RateLimit:
    from wherry.content.rate import RateLimit

    return RateLimit(rate)
