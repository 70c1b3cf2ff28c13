"""Sending the body of a request from a stream, and noticing an answer before its end."""

from __future__ import annotations

import re
import select
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from wherry.model.record import Record

if TYPE_CHECKING:
    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Stream
    from wherry.content.rate import RateLimit

_CHUNK = 256 * 1024
_RECEIVED = 64 * 1024
_INTERIM = re.compile(rb"HTTP/1\.[01] 1\d\d ")  # a final response follows (RFC 9110, 15.2)


class BodyEnded(Exception):
    """A stream ended before the length that the request had announced."""


class StreamBody(Record):
    """A body of ``length`` bytes that ``open`` returns from its start; read once a request.

    Without a length the body is sent in chunks (RFC 9112, 7.1).
    """

    length: int | None
    open: Callable[[], Stream]

    @property
    def headers(self) -> dict[str, str]:
        """The header that says where the body ends."""
        if self.length is None:
            return {"Transfer-Encoding": "chunked"}
        return {"Content-Length": str(self.length)}

    def limited(self, limit: RateLimit | None, cancel: CancelToken) -> StreamBody:
        """Return the body as a stream that keeps to a rate limit."""
        if limit is None:
            return self
        return self.replace(open=lambda: _LimitedStream(self.open(), limit, cancel))


class _LimitedStream:
    """A stream that is read no faster than a rate limit allows."""

    def __init__(self, stream: Stream, limit: RateLimit, cancel: CancelToken) -> None:
        self._stream = stream
        self._limit = limit
        self._cancel = cancel

    def read1(self, size: int) -> bytes:
        data = self._stream.read1(min(size, self._limit.step))
        self._limit.take(len(data), self._cancel)
        return data

    def close(self) -> None:
        self._stream.close()


def send_body(sock: Any, body: StreamBody, seconds: float, early: bytearray) -> bool:
    """Send a body; return whether all of it was sent.

    A server may answer before it has read the body, and then read no more of it. Sending ends
    then, and what has arrived of the answer is added to ``early``.

    Args:
        sock: The connected socket.
        body: The body.
        seconds: The longest time to wait until the server reads more.
        early: Receives the first bytes of an answer.

    Raises:
        BodyEnded: The stream is shorter than the announced length.
        OSError: The connection failed.
    """
    stream = body.open()
    try:
        return _Sender(sock, seconds, early).send(stream, body.length)
    finally:
        stream.close()


class _Sender:
    """Sends to a socket and watches for what comes from it."""

    def __init__(self, sock: Any, seconds: float, early: bytearray) -> None:
        self._sock = sock
        self._seconds = seconds
        self._early = early
        self._is_watched = True

    def send(self, stream: Stream, length: int | None) -> bool:
        self._sock.settimeout(0)
        try:
            return self._send_stream(stream, length)
        finally:
            self._sock.settimeout(self._seconds)

    def _send_stream(self, stream: Stream, length: int | None) -> bool:
        left = length
        while left is None or left:
            data = stream.read1(_CHUNK if left is None else min(left, _CHUNK))
            if not data:
                break
            if left is None:
                data = b"%x\r\n%b\r\n" % (len(data), data)
            else:
                left -= len(data)
            if not self._send_all(memoryview(data)):
                return False
        if left:
            raise BodyEnded
        return left is not None or self._send_all(memoryview(b"0\r\n\r\n"))

    def _send_all(self, data: memoryview) -> bool:
        if not self._is_watched:
            self._sock.sendall(data)
            return True
        while data:
            if self._is_answered():
                return False
            try:
                data = data[self._sock.send(data) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._wait(select.POLLIN | select.POLLOUT)
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN)
        return True

    def _is_answered(self) -> bool:
        """Return whether the server has answered, or ended the connection."""
        if not self._is_watched:
            return False
        try:
            data = self._sock.recv(_RECEIVED)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        self._early += data
        if data and _INTERIM.match(self._early):
            self._is_watched = False
            self._sock.settimeout(self._seconds)
            return False
        return True

    def _wait(self, events: int) -> None:
        waiting = select.poll()
        waiting.register(self._sock, events)
        if not waiting.poll(self._seconds * 1000):
            raise TimeoutError("the server does not read the request")
