"""Connections to one host, kept for the next request."""

from __future__ import annotations

import contextlib
import ssl
import threading
from typing import TYPE_CHECKING, Any

from wherry.model.secret import drop_frames
from wherry.registry.http.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wherry.registry.http.connection import Operation, Route
    from wherry.registry.http.framing import StrictResponse


class PooledResponse:
    """An answer and the connection that it comes over; ends with `finish` or `give_up`."""

    def __init__(
        self, answer: StrictResponse, connection: Connection, pool: ConnectionPool
    ) -> None:
        self.answer = answer
        self.connection = connection
        self._pool: ConnectionPool | None = pool

    def finish(self) -> None:
        """Leave the connection to the next request: the body has been read to its end."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        self.answer.close()
        if self.answer.will_close:
            self.connection.retire()
        else:
            pool.keep(self.connection)

    def give_up(self) -> None:
        """Close the connection: what is left of the body is in the way of another answer."""
        if self._pool is not None:
            self._pool = None
            self.answer.close()
            self.connection.retire()


class ConnectionPool:
    """Connections on one route, at most ``size`` of them idle. Thread-safe."""

    def __init__(self, route: Route, size: int) -> None:
        self._route = route
        self._size = size
        self._lock = threading.Lock()
        self._idle: list[Connection] = []

    def ask(
        self,
        operation: Operation,
        method: str,
        target: str,
        body: bytes | None,
        headers: Mapping[str, str],
    ) -> PooledResponse:
        """Send a request and wait for the head of its answer.

        Raises `OSError` and `http.client.HTTPException`, after which nothing is left open.
        """
        connection = self._take() or Connection(self._route)
        try:
            connection.use(operation)
            # Who does not want the whole body may have answered before it hung up.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
                _send(connection, method, target, body, headers)
            answer: Any = connection.getresponse()  # of the connection's own class
            return PooledResponse(answer, connection, self)
        except BaseException:
            connection.retire()
            raise

    def _take(self) -> Connection | None:
        """Return a connection that is still there, the last one used."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if connection.quiet:
                return connection
            connection.retire()

    def keep(self, connection: Connection) -> None:
        """Keep a connection for the next request, or close one too many."""
        with self._lock:
            if len(self._idle) < self._size:
                self._idle.append(connection)
                return
        connection.retire()

    def close(self) -> None:
        """Close the idle connections, and those that are used now when they have been used."""
        with self._lock:
            self._size = 0
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.retire()


def _send(
    connection: Connection, method: str, target: str, body: bytes | None, headers: Mapping[str, str]
) -> None:
    """Send a request; the frames of the library, which hold it as it is sent, are dropped."""
    try:
        connection.request(method, target, body, headers)
    except Exception as error:
        drop_frames(error)
        raise
