"""A stream of one blob over several connections, which fetch segments of it."""

from __future__ import annotations

import collections
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from wherry.content.cancel import CancelToken

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.content.protocols import Stream

    Fetch = Callable[[int, int, CancelToken], Stream]  # opens a segment, by start and stop

SEGMENT = 4 * 2**20  # bytes of one request
WINDOW = 6  # least number of segments that are fetched or wait for earlier ones
_CHUNK = 128 * 1024
_GRACE = 0.5  # seconds that threads have to end


class _Segment(NamedTuple):
    start: int
    stop: int
    chunks: collections.deque[bytes]


class SegmentedStream:
    """A stream from ``start`` to the end of a blob, fetched over several connections.

    ``connections`` is the number of connections that transfer data. Shortly before a segment is
    complete, another connection requests the next one, so that no time passes between them.
    """

    def __init__(
        self, fetch: Fetch, start: int, size: int, connections: int, cancel: CancelToken
    ) -> None:
        self._fetch = fetch
        self._position = start
        self._next = start
        self._size = size
        self._changed = threading.Condition()
        self._window: collections.deque[_Segment] = collections.deque()
        self._failure: BaseException | None = None
        self._free = connections
        self._most = max(WINDOW, connections)
        self._token = CancelToken()
        self._forget = cancel.on_cancel(self._token.cancel)
        self._threads = [
            threading.Thread(target=self._run, name=f"wherry-split-{number}", daemon=True)
            for number in range(connections + (connections + 1) // 2)
        ]
        for thread in self._threads:
            thread.start()

    def read1(self, size: int) -> bytes:
        """Return the next bytes, at most ``size``; none at the end.

        After the bytes that arrived before it, raises the failure of a connection.
        """
        with self._changed:
            while True:
                if self._position == self._size:
                    return b""
                if self._window and self._window[0].chunks:
                    return self._take(self._window[0], size)
                if self._failure is not None:
                    raise self._failure
                self._changed.wait()

    def _take(self, head: _Segment, size: int) -> bytes:
        data = head.chunks.popleft()
        if len(data) > size:
            head.chunks.appendleft(data[size:])
            data = data[:size]
        self._position += len(data)
        if self._position == head.stop:
            self._window.popleft()
            self._changed.notify_all()
        return data

    def close(self) -> None:
        """Close all connections and discard the bytes that have not been read."""
        self._forget()
        self._token.cancel()
        with self._changed:
            self._changed.notify_all()
        ends = time.monotonic() + _GRACE
        for thread in self._threads:
            thread.join(max(0.0, ends - time.monotonic()))

    # The threads

    def _run(self) -> None:
        try:
            while (segment := self._claim()) is not None:
                self._fill(segment)
        except BaseException as error:  # noqa: BLE001 - raised again in `read1`
            with self._changed:
                if self._failure is None:
                    self._failure = error
                self._changed.notify_all()
            self._token.cancel()

    def _claim(self) -> _Segment | None:
        """Wait for room and return the next segment; None if there is no further one."""
        with self._changed:
            while not self._token.cancelled and not (
                self._free and (len(self._window) < self._most or self._next == self._size)
            ):
                self._changed.wait()
            self._token.check()
            if self._next == self._size:
                return None
            stop = min(self._next + SEGMENT, self._size)
            segment = _Segment(self._next, stop, collections.deque())
            self._window.append(segment)
            self._next = stop
            self._free -= 1
            return segment

    def _fill(self, segment: _Segment) -> None:
        stream = self._fetch(segment.start, segment.stop, self._token)
        pace = _RequestPace()
        at, making_way = segment.start, False
        try:
            while at < segment.stop and (data := stream.read1(min(_CHUNK, segment.stop - at))):
                at += len(data)
                ending = segment.stop - at <= pace.on_the_way(len(data))
                with self._changed:
                    segment.chunks.append(data)
                    if ending and not making_way:
                        making_way = True
                        self._free += 1
                    self._changed.notify_all()
            # Read the end, so that the connection returns to the pool.
            stream.read1(1)
        finally:
            stream.close()
            if not making_way:
                with self._changed:
                    self._free += 1
                    self._changed.notify_all()


class _RequestPace:
    """Measures how many bytes arrive in the time between a request and its response."""

    def __init__(self) -> None:
        self._asked = time.monotonic()
        self._answered: float | None = None
        self._count = 0

    def on_the_way(self, count: int) -> float:
        """Record ``count`` bytes; return the bytes of one round trip, at most 1 MiB."""
        now = time.monotonic()
        if self._answered is None:
            self._answered = now
            return 0.0
        self._count += count
        rate = self._count / max(now - self._answered, 1e-6)
        return min(rate * (self._answered - self._asked), SEGMENT / 4)
