"""Metrics in the form of Prometheus, and the health of the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse, Response

from wherry.errors import StoreError
from wherry.model.digest import Digest
from wherry.serve import route
from wherry.serve.answers import ApiError
from wherry.serve.observe import PROXY

if TYPE_CHECKING:
    from wherry.serve.observe import Exchange
    from wherry.store import LocalStore

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)
_API = "/v2/"


class Metrics:
    """Counts the exchanges of one server.

    No label has a name that a client chose, so their number is bounded.
    """

    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "wherry_requests", "Requests.", ["method", "kind", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "wherry_request_seconds",
            "Seconds until the response was handed to the server.",
            ["method", "kind"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._received = Counter(
            "wherry_received_bytes", "Bytes of request bodies.", ["kind"], registry=self._registry
        )
        self._sent = Counter(
            "wherry_sent_bytes", "Bytes of response bodies.", ["kind"], registry=self._registry
        )
        self._proxied = Counter(
            "wherry_proxy_requests",
            "Requests for content of other registries: a miss is fetched from there.",
            ["result"],
            registry=self._registry,
        )
        self._uploads = Gauge(
            "wherry_uploads_open", "Unfinished uploads in the store.", registry=self._registry
        )

    def __call__(self, exchange: Exchange) -> None:
        """Count an exchange."""
        scope = exchange.scope
        method = scope["method"] if scope["method"] in _METHODS else "other"
        kind = _kind(scope["path"])
        self._requests.labels(method, kind, exchange.status).inc()
        self._seconds.labels(method, kind).observe(exchange.seconds)
        self._received.labels(kind).inc(exchange.received)
        self._sent.labels(kind).inc(exchange.sent)
        if PROXY in scope:
            self._proxied.labels(scope[PROXY]).inc()

    async def answer(self) -> Response:
        """Return the metrics."""
        return Response(await run_in_threadpool(self._text), media_type=CONTENT_TYPE_LATEST)

    def _text(self) -> bytes:
        self._uploads.set(self._store.incoming.count())
        return generate_latest(self._registry)


def _kind(path: str) -> str:
    if not path.startswith(_API):
        return "other"
    try:
        found = route.parse(path.removeprefix(_API))
    except ApiError:
        return "invalid"
    return "invalid" if found is None else found.kind


class Health:
    """Whether the server can read its store."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store

    async def answer(self) -> Response:
        """Return 200, or 503 if the store cannot be read."""
        try:
            await run_in_threadpool(self._store.repositories.find_blob, "", Digest.of(b""))
        except StoreError:
            return PlainTextResponse("the store cannot be read\n", 503)
        return PlainTextResponse("ok\n")
