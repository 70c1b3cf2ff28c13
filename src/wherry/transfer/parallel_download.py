"""Downloading a large blob over several connections.

The reader gets one stream in order, so writing, hashing and resuming do not change. Segments that
arrive early are kept in memory, within the limit of a window (docs/decisions/0005-split.md).
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from wherry.content.pipeline import wrong_size_error
from wherry.content.protocols import Blob, Opened, RangeRefused
from wherry.errors import IntegrityError, WherryError
from wherry.transfer.resume import ResumingStream
from wherry.transfer.segments import SEGMENT, SegmentedStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import RangedSource, Stream
    from wherry.content.retry import RetryPolicy
    from wherry.model.descriptor import Descriptor
    from wherry.transfer.resume import OnRetry

LARGE = 64 * 2**20  # bytes that a blob must lack to be split by default
USUAL = 4  # connections by default
_LEAD = 2 * SEGMENT  # bytes that the first connection still reads while others start
_LOOK = 1.5  # seconds over which the rate of a connection is measured
_FAST = 100e6  # bytes a second; a faster connection is not split


class ParallelDownloads:
    """Opens the blobs of an operation, one at a time over several connections.

    ``connections`` is their number. With None it is `USUAL`, and a blob is split only if it is
    the only one, lacks at least ``large`` bytes, and one connection leaves the machine and the
    reader mostly idle.
    """

    def __init__(
        self, source: RangedSource, connections: int | None = None, large: int = LARGE
    ) -> None:
        self._source = source
        self._asked = connections is not None
        self._connections = connections or USUAL
        self._least = 2 * SEGMENT if self._asked else large
        self._lock = threading.Lock()
        self._open = 0
        self._splitting = False
        self._refused = self._connections == 1
        self._split: set[object] = set()

    def blob(
        self,
        descriptor: Descriptor,
        policy: RetryPolicy,
        cancel: CancelToken,
        on_retry: OnRetry,
    ) -> Blob:
        """Make a blob whose stream resumes after failures and may use several connections."""
        streams: list[_AdaptiveStream] = []

        def open_at(offset: int, is_whole: Callable[[], bool]) -> Opened:
            streams[:] = [
                _AdaptiveStream(self, descriptor, offset, policy, cancel, on_retry, is_whole)
            ]
            return Opened(streams[0], offset)

        return Blob(descriptor, open_at, lambda: any(stream.joined for stream in streams))

    def one_connection(
        self,
        blob: Descriptor,
        start: int,
        is_whole: Callable[[], bool],
        policy: RetryPolicy,
        cancel: CancelToken,
        tell: OnRetry,
    ) -> ResumingStream:
        """Open a blob from ``start`` to its end."""
        return ResumingStream(
            lambda at: self._source.open(blob, at, cancel),
            start,
            blob.size,
            policy,
            cancel,
            tell,
            is_whole,
        )

    def several(
        self, blob: Descriptor, start: int, policy: RetryPolicy, cancel: CancelToken, tell: OnRetry
    ) -> SegmentedStream:
        """Open a blob over several connections, from ``start`` to its stated end."""
        # Unless the caller asked for several connections, the first segments are not retried.
        tried = start + (0 if self._asked else self._connections * SEGMENT)

        def fetch(at: int, stop: int, token: CancelToken) -> Stream:
            attempts = 1 if at < tried else policy.attempts
            return ResumingStream(
                lambda position: self._piece(blob, position, stop, token),
                at,
                stop,
                policy.replace(attempts=attempts),
                token,
                tell,
            )

        assert blob.size is not None  # noqa: S101 - `begin` has checked
        return SegmentedStream(fetch, start, blob.size, self._connections, cancel)

    def _piece(self, blob: Descriptor, start: int, stop: int, token: CancelToken) -> Opened:
        """Open a segment; raises `IntegrityError` if the server states another size."""
        opened = self._source.open_range(blob, start, stop, token)
        if opened.total not in {None, blob.size}:
            opened.stream.close()
            raise wrong_size_error(blob, f"{opened.total:,}")
        return opened

    # For the streams

    def count_open(self) -> None:
        """Count a blob that is being read."""
        with self._lock:
            self._open += 1

    def count_close(self) -> None:
        """Count a blob that is closed."""
        with self._lock:
            self._open -= 1

    def begin(self, descriptor: Descriptor, position: int, watch: _RateWatch) -> bool:
        """Tell whether to split a blob from ``position``; only one is split at a time.

        No other blob is split until `end`.
        """
        if self._refused or descriptor.size is None:
            return False
        if descriptor.size - position < self._least:
            return False
        if not self._asked and not (self._open == 1 and watch.is_link_bound(position)):
            return False
        with self._lock:
            # A blob is split once. If that failed, one connection reads it.
            if self._splitting or descriptor.digest in self._split:
                return False
            self._split.add(descriptor.digest)
            self._splitting = True
            return True

    def falls_back(self, error: WherryError | RangeRefused) -> bool:
        """Tell whether to continue over one connection after a failure of several.

        That is true for a blob whose size is not the stated one. It is true for all later blobs
        if the server sends no ranges, or if the further connections fail and the caller did not
        ask for them.
        """
        if isinstance(error, RangeRefused) or (error.transient and not self._asked):
            self._refused = True
        return self._refused or isinstance(error, IntegrityError)

    def end(self) -> None:
        """Allow another blob to be split."""
        with self._lock:
            self._splitting = False


class _RateWatch:
    """Measures whether the link limits the rate of a connection.

    ``waited`` counts the seconds for which the stream had no bytes. If the reader is slower than
    the link, as in a copy to a slow destination, they are few.
    """

    def __init__(self, connections: int = USUAL) -> None:
        self._connections = connections
        self._since: tuple[float, float, int] | None = None
        self.waited = 0.0

    def read1(self, stream: Stream, size: int) -> bytes:
        """Read from a stream, and count how long it takes."""
        began = time.monotonic()
        try:
            return stream.read1(size)
        finally:
            self.waited += time.monotonic() - began

    def is_link_bound(self, position: int) -> bool:
        now = time.monotonic()
        if self._since is not None and now - self._since[0] < _LOOK:
            return False
        busy = time.process_time()
        before, self._since = self._since, (now, busy, position)
        waited, self.waited = self.waited, 0.0
        if before is None:
            return False
        began, busy_then, position_then = before
        if waited * 2 < now - began:
            return False
        # Several connections would take several times the processor time.
        idle = (busy - busy_then) * self._connections < _cores() * (now - began)
        return idle and (position - position_then) / (now - began) < _FAST


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


class _AdaptiveStream:
    """A stream of a blob that changes from one connection to several if that helps."""

    def __init__(
        self,
        splitter: ParallelDownloads,
        descriptor: Descriptor,
        offset: int,
        policy: RetryPolicy,
        cancel: CancelToken,
        on_retry: OnRetry,
        is_whole: Callable[[], bool],
    ) -> None:
        self._splitter = splitter
        self._descriptor = descriptor
        self._position = offset
        self._how = (policy, cancel, on_retry)
        self._is_whole = is_whole
        self._watch = _RateWatch()
        self._one: ResumingStream | None = None
        self._several: SegmentedStream | None = None
        self._from = offset
        self.joined = False
        splitter.count_open()

    def read1(self, size: int) -> bytes:
        if self._several is None:
            self._consider()
        if self._several is not None and self._position >= self._from:
            try:
                data = self._read(self._several, size)
                if data or self._is_whole():
                    return data
                self._drop()  # there may be more bytes than the descriptor states
            except (WherryError, RangeRefused) as error:
                self._drop()
                if not self._splitter.falls_back(error):
                    raise
        if self._several is not None:
            size = min(size, self._from - self._position)
        if self._one is None:
            splitter, descriptor = self._splitter, self._descriptor
            self._one = splitter.one_connection(
                descriptor, self._position, self._is_whole, *self._how
            )
        return self._read(self._one, size)

    def _read(self, stream: Stream, size: int) -> bytes:
        data = self._watch.read1(stream, size)
        self._position += len(data)
        if stream is self._several and self._one is not None:
            self._one.close()  # only after the others have delivered bytes
            self._one = None
        return data

    def _consider(self) -> None:
        if self._splitter.begin(self._descriptor, self._position, self._watch):
            self._from = self._position + (_LEAD if self._one is not None else 0)
            self._several = self._splitter.several(self._descriptor, self._from, *self._how)
            self.joined = True

    def _drop(self) -> None:
        if self._several is not None:
            self._several.close()
            self._several = None
            self._splitter.end()

    def close(self) -> None:
        if self._one is not None:
            self.joined = self.joined or self._one.joined
            self._one.close()
        self._drop()
        self._splitter.count_close()
