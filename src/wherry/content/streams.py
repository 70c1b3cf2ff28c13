"""Streams: skipped, counted, read as files, and made from bytes in memory."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from wherry.content.protocols import Blob, Opened

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from wherry.content.protocols import RawStream, Stream
    from wherry.model.descriptor import Descriptor


def skip(stream: Stream, count: int) -> int:
    """Skip ``count`` bytes; return how many of them the stream did not have."""
    while count > 0:
        data = stream.read1(min(count, 256 * 1024))
        if not data:
            break
        count -= len(data)
    return count


class StreamReader(io.RawIOBase):
    """A stream as a file for decoders; closing it leaves the stream open."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Read the next bytes into ``buffer``; returns their number, 0 at the end."""
        view = memoryview(buffer).cast("B")
        data = self._stream.read1(len(view))
        view[: len(data)] = data
        return len(data)


class CountingReader(io.RawIOBase):
    """A file that counts the bytes that have been read from it, as ``size``."""

    def __init__(self, source: RawStream) -> None:
        self._source = source
        self.size = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Read the next bytes into ``buffer``; returns their number, 0 at the end."""
        count = self._source.readinto(buffer) or 0
        self.size += count
        return count


class _BytesStream:
    """A stream of bytes in memory."""

    def __init__(self, left: bytes) -> None:
        self._left = left

    def read1(self, size: int) -> bytes:
        data, self._left = self._left[:size], self._left[size:]
        return data

    def close(self) -> None:
        self._left = b""


def open_bytes(raw: bytes, offset: int) -> Opened:
    """Open bytes in memory at ``offset``."""
    return Opened(_BytesStream(raw[offset:]), offset, len(raw))


def blob_of(descriptor: Descriptor, raw: bytes) -> Blob:
    """Make a blob from bytes in memory."""
    return Blob(descriptor, lambda offset, _: open_bytes(raw, offset))
