"""Reading a blob to its end, over new connections after failures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.content.pipeline import ALTERED
from wherry.content.protocols import Blob, Opened
from wherry.content.streams import skip
from wherry.errors import IntegrityError, NetworkError, WherryError

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import BlobSource, Stream
    from wherry.content.retry import RetryPolicy
    from wherry.model.descriptor import Descriptor

    OnRetry = Callable[[float, WherryError], None]


PROGRESS = 32 * 1024  # bytes after which the count of failures restarts


def resuming_blob(
    source: BlobSource,
    descriptor: Descriptor,
    policy: RetryPolicy,
    cancel: CancelToken,
    on_retry: OnRetry,
) -> Blob:
    """Make a blob whose stream reopens its source after a failure, at the same offset."""
    streams: list[ResumingStream] = []

    def open_at(offset: int, is_whole: Callable[[], bool]) -> Opened:
        stream = ResumingStream(
            lambda position: source.open(descriptor, position, cancel),
            offset,
            descriptor.size,
            policy,
            cancel,
            on_retry,
            is_whole,
        )
        streams[:] = [stream]
        return Opened(stream, offset)

    return Blob(descriptor, open_at, lambda: any(stream.joined for stream in streams))


class ResumingStream:
    """A stream from ``start`` to ``stop`` or the end; reconnects after failures.

    ``is_whole`` tells whether the bytes read so far have the digest of the blob. With it, an end
    before ``stop`` is a failure only if the digest does not match. Without it, every such end is.

    A failure after some progress counts as the first one. ``joined`` tells whether the bytes came
    over more than one connection.
    """

    def __init__(
        self,
        open_at: Callable[[int], Opened],
        start: int,
        stop: int | None,
        policy: RetryPolicy,
        cancel: CancelToken,
        on_retry: OnRetry,
        is_whole: Callable[[], bool] | None = None,
    ) -> None:
        self._open_at = open_at
        self._start = start
        self._position = start
        self._stop = stop
        self._policy = policy
        self._cancel = cancel
        self._on_retry = on_retry
        self._is_whole = is_whole
        self._stream: Stream | None = None
        self._failures = 0
        self._patience = policy.patience
        self._counted_from = start
        self._total: int | None = None
        self.joined = False

    def read1(self, size: int) -> bytes:
        """Return the next bytes, and reopen the source after failures; none at the end."""
        while True:
            self._cancel.check()
            try:
                if self._stream is None:
                    self._stream = self._open()
                data = self._stream.read1(size)
                self._check_end(data)
            except WherryError as error:
                self.close()
                self._cancel.check()
                if self._is_complete():
                    return b""  # the blob is complete, so the failure does not matter
                self._failures += 1
                pause = self._policy.pause(self._failures, error)
                if pause is None or pause > self._patience:
                    error.attempts = self._failures
                    raise
                self._patience -= pause
                self._on_retry(pause, error)
                self._cancel.sleep(pause)
            else:
                self._position += len(data)
                if self._position - self._counted_from >= PROGRESS:
                    self._failures, self._counted_from = 0, self._position
                return data

    def close(self) -> None:
        """Close the connection."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _open(self) -> Stream:
        """Open the source at the position, and skip bytes before it."""
        opened = self._open_at(self._position)
        self._total = opened.total
        try:
            if opened.total is not None and opened.start < self._position >= opened.total:
                raise self._beyond(opened.total)  # noqa: TRY301
            missing = skip(opened.stream, self._position - opened.start)
            if missing:
                raise self._short(self._position - missing)  # noqa: TRY301
        except BaseException:
            opened.stream.close()
            raise
        self.joined = self.joined or self._position > self._start
        return opened.stream

    def _check_end(self, data: bytes) -> None:
        """Raise for an end before the end of the blob, which a proxy may cause."""
        if data or self._stop is None or self._position >= self._stop:
            return
        if not self._is_complete():
            raise self._short(self._position)

    def _is_complete(self) -> bool:
        """Tell whether all bytes have been read."""
        return self._position == self._stop if self._is_whole is None else self._is_whole()

    def _beyond(self, total: int) -> WherryError:
        """Make the error for a source that ends before the position and restarts at 0.

        If the bytes before the position came from an earlier download, they belong to another
        blob. Then a retry cannot help, but a new download can.
        """
        expected = "other content" if self._stop in {None, total} else f"{self._stop:,}"
        error = _other_blob(total, expected)
        error.transient = self._position > self._start
        return error

    def _short(self, position: int) -> WherryError:
        """Make the error for an early end; a retry may bring the rest.

        If the source states this size, it has another blob. If the size of the blob is unknown,
        the bytes of the earlier download belong to another blob.
        """
        if self._total is None or (self._stop is not None and self._total >= self._stop):
            return NetworkError(f"the blob ended after {position:,} bytes", host="")
        expected = "more" if self._stop is None else f"{self._stop:,}"
        error = _other_blob(position, expected)
        error.transient = self._stop is not None
        return error


def _other_blob(size: int, expected: str) -> IntegrityError:
    return IntegrityError(
        f"it has {size:,} bytes, expected {expected}",
        expected="the whole blob",
        actual=f"{size} bytes",
        altered=True,
        hint=ALTERED,
    )
