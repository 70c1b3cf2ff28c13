"""Decompression by magic bytes, in steps of bounded size."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, cast

from dray.errors import IntegrityError

if TYPE_CHECKING:
    import bz2
    import lzma
    from collections.abc import Callable
    from typing import BinaryIO

    from typing_extensions import Buffer

    from dray.content.ports import Raw

    _Errors = tuple[type[Exception], ...]
    _Make = Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]

MAX_WINDOW = 2**27  # bytes of history that zstd and xz may ask for (128 MiB)

_MAGIC = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
)
LONGEST_MAGIC = 6
_STEP = 256 * 1024


def detect(head: bytes) -> str | None:
    """Name the compression that ``head``, the first 6 bytes, belongs to; None: there is none.

    A zstd stream may begin with a skippable frame (RFC 8878, 3.1.2).
    """
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if len(head) >= 4 and head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50:  # noqa: PLR2004
        return "zstd"
    return None


def decompress(source: Raw) -> Decompressed:
    """Read ``source`` decompressed, whatever it is compressed with, or as it is.

    The result's ``readinto`` raises `IntegrityError` for a stream that is damaged; it asks
    for no more memory than `MAX_WINDOW` and a few buffers, whatever the stream claims.
    """
    return Decompressed(source)


class Decompressed:
    """A stream of decompressed bytes; ``compression`` is its name, None for plain bytes."""

    def __init__(self, source: Raw) -> None:
        replay = Replay(source)
        self.compression = detect(replay.head)
        self._raw, self._errors = _open(replay, self.compression)

    def readinto(self, buffer: Buffer) -> int:
        """Fill ``buffer`` as far as one step goes; 0 at the end."""
        try:
            return self._raw.readinto(buffer) or 0
        except self._errors as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's fault, not the stream's
            raise IntegrityError(
                f"not a valid {self.compression} stream: {error}",
                expected=f"a valid {self.compression} stream",
                actual=str(error),
            ) from error


def _open(replay: Replay, compression: str | None) -> tuple[Raw, _Errors]:
    """Return the decompressed stream and the exceptions by which it says that it is damaged."""
    match compression:
        case "gzip":
            from isal import igzip, isal_zlib

            stream = igzip.IGzipFile(fileobj=replay, mode="rb")  # type: ignore[no-untyped-call]
            return cast("Raw", stream), (
                EOFError,
                OSError,
                cast("type[Exception]", isal_zlib.error),
            )
        case "zstd":
            import zstandard

            return _Zstd(replay), (EOFError, zstandard.ZstdError)
        case "bzip2":
            import bz2

            return _Stepwise(replay, bz2.BZ2Decompressor), (EOFError, OSError)
        case "xz":
            import lzma

            def make() -> lzma.LZMADecompressor:
                return lzma.LZMADecompressor(memlimit=MAX_WINDOW)

            return _Stepwise(replay, make), (EOFError, lzma.LZMAError)
        case _:
            return replay, ()


class Replay(io.RawIOBase):
    """A source whose first bytes, ``head``, were looked at and are given out again."""

    def __init__(self, source: Raw) -> None:
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
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Fill ``buffer`` as far as one step goes; 0 at the end."""
        if not self._left:
            return self._source.readinto(buffer) or 0
        view = memoryview(buffer).cast("B")
        count = min(len(view), len(self._left))
        view[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


class _Zstd:
    """zstd: frames one after the other.

    The library takes the end of its input for the end of a frame. So a frame follows that is
    skipped where a frame may begin, and that cannot be the rest of any other.
    """

    def __init__(self, source: Replay) -> None:
        import zstandard

        self._sealed = _Sealed(source)
        self._error = zstandard.ZstdError
        self._reader = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).stream_reader(
            cast("BinaryIO", self._sealed), read_size=_STEP, read_across_frames=True
        )

    def readinto(self, buffer: Buffer) -> int:
        try:
            return self._reader.readinto(cast("bytearray", buffer))
        except self._error as error:
            if self._sealed.ended:
                raise EOFError("it ends early") from error
            raise


class _Sealed(io.RawIOBase):
    """A source with a skippable frame (RFC 8878, 3.1.2) behind it, longer than any block.

    As a header of a block, three bytes of what is in it are invalid.
    """

    def __init__(self, source: Replay) -> None:
        self._source = source
        self._seal = b""
        self.ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        count = 0 if self.ended else self._source.readinto(buffer)
        if count:
            return count
        if not self.ended:
            self.ended = True
            self._seal = b"\x50\x2a\x4d\x18" + _STEP.to_bytes(4, "little") + b"\xff" * _STEP
        view = memoryview(buffer).cast("B")
        count = min(len(view), len(self._seal))
        view[:count] = self._seal[:count]
        self._seal = self._seal[count:]
        return count


class _Stepwise(io.RawIOBase):
    """bzip2 and xz: streams one after the other, never more output than was asked for."""

    def __init__(self, source: Replay, make: _Make) -> None:
        self._source = source
        self._make = make
        self._decompressor = make()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer).cast("B")
        while True:
            data = b""
            if self._decompressor.eof:
                data = self._next_stream()
                if not data:
                    return 0
            elif self._decompressor.needs_input:
                data = self._source.read(_STEP) or b""
                if not data:
                    raise EOFError("it ends early")
            found = self._decompressor.decompress(data, len(view))
            if found:
                view[: len(found)] = found
                return len(found)

    def _next_stream(self) -> bytes:
        """Begin the stream behind the one that ended; return its first bytes, if any.

        Streams may be followed by padding of zero bytes.
        """
        rest = self._decompressor.unused_data.lstrip(b"\0")
        while not rest:
            chunk = self._source.read(_STEP)
            if not chunk:
                return b""
            rest = chunk.lstrip(b"\0")
        self._decompressor = self._make()
        return rest
