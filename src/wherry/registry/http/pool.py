"""Connections on one route, reused from request to request."""

from __future__ import annotations

import contextlib
import ssl
import threading
from typing import TYPE_CHECKING, Any

from wherry.model.secret import drop_frames
from wherry.registry.http.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wherry.registry.http.connection import Route
    from wherry.registry.http.framing import StrictResponse
    from wherry.registry.http.operation import Operation
    from wherry.registry.http.request_body import StreamBody


class PooledResponse:
    """A response and the connection that it uses; ends with `finish` or `abandon`."""

    def __init__(
        self, response: StrictResponse, connection: Connection, pool: ConnectionPool
    ) -> None:
        self.response = response
        self.connection = connection
        self._pool: ConnectionPool | None = pool

    def finish(self) -> None:
        """Return the connection to the pool after the whole body has been read."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        self.response.close()
        if self.response.will_close:
            self.connection.retire()
        else:
            pool.keep(self.connection)

    def abandon(self) -> None:
        """Close the connection, which still carries the rest of the body."""
        if self._pool is not None:
            self._pool = None
            self.response.close()
            self.connection.retire()


class ConnectionPool:
    """Connections on one route, at most ``size`` of them idle. Thread-safe."""

    def __init__(self, route: Route, size: int) -> None:
        self._route = route
        self._size = size
        self._lock = threading.Lock()
        self._idle: list[Connection] = []

    def send(
        self,
        operation: Operation,
        method: str,
        target: str,
        body: bytes | StreamBody | None,
        headers: Mapping[str, str],
    ) -> PooledResponse:
        """Send a request and read the head of its response.

        Raises:
            OSError: Connecting, sending or receiving failed. Nothing is left open.
            http.client.HTTPException: The response is invalid. Nothing is left open.
            BodyEnded: The body is shorter than announced.
        """
        connection = self._take_idle() or Connection(self._route)
        try:
            connection.use(operation)
            is_sent = False
            # A server that rejects the body may respond before it closes the connection.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
                is_sent = _send(connection, method, target, body, headers)
            response: Any = connection.getresponse()  # made by `Connection.response_class`
            response.will_close = response.will_close or not is_sent
            return PooledResponse(response, connection, self)
        except BaseException:
            connection.retire()
            raise

    def _take_idle(self) -> Connection | None:
        """Return the idle connection that was used last and is still open."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if connection.is_quiet:
                return connection
            connection.retire()

    def keep(self, connection: Connection) -> None:
        """Keep a connection for the next request; close it if the pool is full."""
        with self._lock:
            if len(self._idle) < self._size:
                self._idle.append(connection)
                return
        connection.retire()

    def close(self) -> None:
        """Close the idle connections now, and those in use when their responses end."""
        with self._lock:
            self._size = 0
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.retire()


def _send(
    connection: Connection,
    method: str,
    target: str,
    body: bytes | StreamBody | None,
    headers: Mapping[str, str],
) -> bool:
    """Send a request; return whether all of its body was sent.

    The library's frames are dropped from errors, since they hold the headers.
    """
    try:
        if body is None or isinstance(body, bytes):
            connection.request(method, target, body, headers)
            return True
        connection.request(method, target, None, {**headers, **body.headers})
    except Exception as error:
        drop_frames(error)
        raise
    return connection.send_body(body)
