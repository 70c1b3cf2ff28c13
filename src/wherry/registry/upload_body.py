"""Reading a blob for an upload: from any offset, as often as it takes, hashed once."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from wherry.content.pipeline import Limits, wrong_size_error
from wherry.content.streams import skip
from wherry.errors import Cancelled, IntegrityError, WherryError
from wherry.model.digest import mismatch
from wherry.registry.http.request_body import StreamBody

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Blob, Stream

_DAMAGED = "nothing was named at the destination; the source is damaged, or has changed"


class SourceFailure(Exception):
    """Reading the source failed with ``error``, which says nothing about the destination."""

    def __init__(self, error: WherryError) -> None:
        super().__init__(error)
        self.error = error


class UploadSource:
    """A blob that is being uploaded, and the digest of what has been read of it.

    Args:
        blob: The blob.
        cancel: Cancels reading.
        on_bytes: Is told the furthest offset that has been read; it never goes back.

    Attributes:
        size: The size of the blob in bytes; None until it is known.
        furthest: The furthest offset that has been read since the upload began.
    """

    def __init__(self, blob: Blob, cancel: CancelToken, on_bytes: Callable[[int], None]) -> None:
        self._blob = blob
        self._cancel = cancel
        self._on_bytes = on_bytes
        self._told = 0
        self._was_joined = False
        self.size = blob.descriptor.size
        self.restart()

    def restart(self) -> None:
        """Forget what has been read: another upload begins."""
        self._hasher = self._blob.descriptor.digest.hasher()
        self._hashed = 0
        self._has_more = False
        self.furthest = 0

    def body(self, start: int, length: int | None) -> StreamBody:
        """Return ``length`` bytes from ``start`` as the body of a request; None: to the end."""
        return StreamBody(length, lambda: _SourceStream(self, start))

    def open(self, start: int) -> Stream:
        """Open the blob at ``start``; raises `SourceFailure`."""
        try:
            opened = self._blob.open(start, self._is_whole)
            if skip(opened.stream, start - opened.start):
                opened.stream.close()
                raise self._wrong_size(f"less than {start:,}")
        except Cancelled:
            raise
        except WherryError as error:
            raise SourceFailure(error) from error
        return opened.stream

    def note_more(self) -> None:
        """Note that the blob goes on after its stated size."""
        self._has_more = True

    def note(self, position: int, data: bytes) -> None:
        """Count and hash bytes that were read at ``position``; each is hashed once, in order."""
        self._cancel.check()
        end = position + len(data)
        if position <= self._hashed < end:
            self._hasher.update(data[self._hashed - position :])
            self._hashed = end
        if self.size is None and end > Limits().blob:
            raise SourceFailure(self._wrong_size(f"more than {Limits().blob:,}"))
        self.furthest = max(self.furthest, end)
        self.report(end)

    def report(self, position: int) -> None:
        """Tell the caller how far the upload is."""
        if position > self._told:
            self._told = position
            self._on_bytes(position)

    def read_whole(self, size: int) -> bytes:
        """Return a small blob, or less if it ends before ``size``; raises `SourceFailure`."""
        stream, data = _SourceStream(self, 0), bytearray()
        with contextlib.closing(stream):
            if not size:
                stream.look_beyond()
            while len(data) < size and (more := stream.read1(size - len(data))):
                data += more
        return bytes(data)

    def check_end(self) -> bool:
        """Compare the digest of the whole blob; return False if it has another size.

        The stated size of a blob may be wrong: `size` is then the true one, or None if the blob
        is longer, and the upload has to begin again. It begins again once, too, if the pieces of
        a source that was interrupted do not fit together. The digest is left to the registry if
        the upload has gone on from where an earlier process stood.

        Raises:
            SourceFailure: The content does not have the digest.
        """
        if self._hashed < (self.furthest if self.size is None else self.size):
            return True
        if self._is_whole():
            if self._has_more:
                raise SourceFailure(self._wrong_size(f"more than {self.size:,}"))
            self.size = self.furthest if self.size is None else self.size
            return True
        if self._has_more and not self._blob.exact:
            self.size = None
            return False
        if self._blob.joined() and not self._was_joined:
            self._was_joined = True
            return False
        if self._blob.descriptor.size not in {None, self.furthest}:
            raise SourceFailure(self._wrong_size(f"{self.furthest:,}"))
        digest, actual = self._blob.descriptor.digest, self._hasher.hexdigest()
        raise SourceFailure(mismatch(digest, actual, hint=_DAMAGED))

    def shorten(self) -> None:
        """Take the true size after the blob has ended before its stated one.

        Raises:
            SourceFailure: The content does not have the digest.
        """
        if self._blob.exact or self._hashed < self.furthest or not self._is_whole():
            raise SourceFailure(self._wrong_size(f"{self.furthest:,}"))
        self.size = self.furthest

    def _is_whole(self) -> bool:
        return self._hasher.hexdigest() == self._blob.descriptor.digest.hex

    def _wrong_size(self, actual: str) -> IntegrityError:
        descriptor = self._blob.descriptor
        if descriptor.size is None:
            message = f"it has {actual} bytes"
            return IntegrityError(message, expected="a blob", actual=actual, altered=True)
        error = wrong_size_error(descriptor, actual, altered=True)
        error.hint = _DAMAGED
        return error


class _SourceStream:
    """A blob from an offset on, opened when the first byte is sent."""

    def __init__(self, source: UploadSource, start: int) -> None:
        self._source = source
        self._position = start
        self._stream: Stream | None = None

    def read1(self, size: int) -> bytes:
        data = self._read(size)
        self._source.note(self._position, data)
        self._position += len(data)
        if data and self._position == self._source.size:
            self.look_beyond()
        return data

    def look_beyond(self) -> None:
        """Find out whether the blob goes on where it should end."""
        if self._read(1):
            self._source.note_more()

    def _read(self, size: int) -> bytes:
        if self._stream is None:
            self._stream = self._source.open(self._position)
        try:
            return self._stream.read1(size)
        except Cancelled:
            raise
        except WherryError as error:
            raise SourceFailure(error) from error

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
