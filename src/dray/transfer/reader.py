"""One blob, read to its end through whatever happens to the connections under it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dray.content.ports import Blob, Opened, skip
from dray.errors import DrayError, IntegrityError, NetworkError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dray.content.cancel import CancelToken
    from dray.content.ports import BlobSource, Stream
    from dray.content.retry import RetryPolicy
    from dray.model.descriptor import Descriptor


PROGRESS = 32 * 1024  # bytes after which a failure counts as the first one again


def resuming(
    source: BlobSource,
    descriptor: Descriptor,
    policy: RetryPolicy,
    cancel: CancelToken,
    on_retry: Callable[[float, DrayError], None],
) -> Blob:
    """Make a blob whose stream opens its source again, where it stood, after a failure."""
    latest: _Resuming | None = None

    def open_at(offset: int) -> Opened:
        nonlocal latest
        latest = _Resuming(source, descriptor, offset, policy, cancel, on_retry)
        return Opened(latest, offset, descriptor.size)

    return Blob(descriptor, open_at, lambda: latest is not None and latest.joined)


class _Resuming:
    """Failures with some progress between them do not count as failures in a row.

    ``joined`` once what was read comes from more than one answer.
    """

    def __init__(
        self,
        source: BlobSource,
        descriptor: Descriptor,
        offset: int,
        policy: RetryPolicy,
        cancel: CancelToken,
        on_retry: Callable[[float, DrayError], None],
    ) -> None:
        self._source = source
        self._descriptor = descriptor
        self._position = self._began = offset
        self.joined = False
        self._policy = policy
        self._cancel = cancel
        self._on_retry = on_retry
        self._stream: Stream | None = None
        self._failures = 0
        self._counted_from = offset
        self._total: int | None = None

    def read1(self, size: int) -> bytes:
        while True:
            self._cancel.check()
            try:
                if self._stream is None:
                    self._stream = self._open()
                data = self._stream.read1(size)
                self._check_end(data)
            except DrayError as error:
                self.close()
                self._cancel.check()
                self._failures += 1
                pause = self._policy.pause(self._failures, error)
                if pause is None:
                    raise
                self._on_retry(pause, error)
                self._cancel.sleep(pause)
            else:
                self._position += len(data)
                if self._position - self._counted_from >= PROGRESS:
                    self._failures, self._counted_from = 0, self._position
                return data

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _open(self) -> Stream:
        """Open the source where reading stands, discarding what it sends from before that."""
        opened = self._source.open(self._descriptor, self._position, self._cancel)
        self._total = opened.total
        try:
            missing = skip(opened.stream, self._position - opened.start)
            if missing:
                raise self._short(self._position - missing)  # noqa: TRY301
        except BaseException:
            opened.stream.close()
            raise
        self.joined = self._position > self._began
        return opened.stream

    def _check_end(self, data: bytes) -> None:
        """Take an end before the blob's end for a failure; some ends are lies of a proxy."""
        size = self._descriptor.size
        if not data and size is not None and self._position < size:
            raise self._short(self._position)

    def _short(self, position: int) -> DrayError:
        """Make the error for an end that came too soon; another attempt may bring the rest.

        Where the source says that this is all there is, what it has is not this blob.
        """
        size = self._descriptor.size
        if self._total is None or self._total == size:
            return NetworkError(f"the blob ended after {position:,} bytes", host="")
        error = IntegrityError(
            f"the registry sends {position:,} bytes, expected {size}",
            expected="the whole blob",
            actual=f"{position} bytes",
        )
        error.transient = True
        return error
