"""Decompression in steps of limited size, by the magic bytes of the format."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, cast

from wherry.content.decoder_memory import SHARED, Reservation
from wherry.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

    from wherry.content.protocols import RawStream

    _Errors = tuple[type[Exception], ...]

_MAGIC = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
)
LONGEST_MAGIC = 6


def detect(head: bytes) -> str | None:
    """Return the compression by the first 6 bytes; None if there is none.

    A zstd stream may start with a skippable frame (RFC 8878, 3.1.2).
    """
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if len(head) >= 4 and head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50:  # noqa: PLR2004
        return "zstd"
    return None


def decompress(source: RawStream, check: Callable[[], None] = lambda: None) -> DecompressedStream:
    """Return a stream of the decompressed content of ``source``.

    Content that is not compressed is returned unchanged. ``readinto`` of the result may wait for
    memory (`wherry.content.decoder_memory`), and calls ``check`` meanwhile. It raises
    `IntegrityError` for a damaged stream, and `Unsupported` if no memory becomes free.
    """
    return DecompressedStream(source, check)


class DecompressedStream:
    """A stream of decompressed bytes; ``compression`` is None for uncompressed bytes."""

    def __init__(self, source: RawStream, check: Callable[[], None]) -> None:
        replay = PeekedSource(source)
        self.compression = detect(replay.head)
        self._reservation = Reservation(SHARED, check)
        self._raw: RawStream | None
        self._raw, self._errors = _open(replay, self.compression, self._reservation)

    def readinto(self, buffer: Buffer) -> int:
        """Read the next bytes into ``buffer``; returns their number, 0 at the end."""
        if self._raw is None:
            return 0
        SHARED.steps += 1
        try:
            count = self._raw.readinto(buffer) or 0
        except self._errors as error:
            self._end()
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk failed, the stream is not damaged
            raise IntegrityError(
                f"not a valid {self.compression} stream: {error}",
                expected=f"a valid {self.compression} stream",
                actual=str(error),
            ) from error
        if not count and memoryview(buffer).nbytes:
            self._end()
        return count

    def _end(self) -> None:
        """Release the memory of the decoder."""
        self._raw = None
        self._reservation.release()


def _open(
    replay: PeekedSource, compression: str | None, reservation: Reservation
) -> tuple[RawStream, _Errors]:
    """Return the decompressed stream, and the exceptions it raises for damage."""
    match compression:
        case "gzip":
            from isal import igzip, isal_zlib

            stream = igzip.IGzipFile(fileobj=replay, mode="rb")  # type: ignore[no-untyped-call]
            return cast("RawStream", stream), (
                EOFError,
                OSError,
                OverflowError,  # a name in the header is longer than the library's buffer
                cast("type[Exception]", isal_zlib.error),
            )
        case "zstd":
            from wherry.content import zstd

            return zstd.ZstdStream(replay, reservation.grow), zstd.ERRORS
        case "bzip2":
            from wherry.content.xz_bzip2 import Bzip2Stream

            return Bzip2Stream(replay, reservation), (EOFError, OSError)
        case "xz":
            from wherry.content.xz_bzip2 import XZ_ERRORS, XzStream

            return XzStream(replay, reservation), XZ_ERRORS
        case _:
            return replay, ()


class PeekedSource(io.RawIOBase):
    """A source whose first bytes, ``head``, have been read and are read again."""

    def __init__(self, source: RawStream) -> None:
        self._source = source
        self.head = self._peek()
        self._left = self.head

    def _peek(self) -> bytes:
        head = bytearray(LONGEST_MAGIC)
        view, filled = memoryview(head), 0
        while filled < len(head):
            count = self._source.readinto(view[filled:])
            if not count:
                break
            filled += count
        return bytes(head[:filled])

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Read the next bytes into ``buffer``; returns their number, 0 at the end."""
        if not self._left:
            return self._source.readinto(buffer) or 0
        view = memoryview(buffer).cast("B")
        count = min(len(view), len(self._left))
        view[:count] = self._left[:count]
        self._left = self._left[count:]
        return count
