"""Compression in steps; the same content always gives the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Protocol

    from typing_extensions import Buffer

    from wherry.model.compression import Compression

    class Compressor(Protocol):
        """Compresses one stream."""

        def compress(self, data: memoryview, /) -> Buffer:
            """Take the next bytes, and return compressed ones; there may be none."""
            ...

        def flush(self) -> bytes:
            """End the stream and return its last bytes."""
            ...


_BLOCK = 256 * 1024
_IGZIP_LEVELS = 3  # levels up to this one are igzip's, higher ones zlib's
_GZIP_FORMAT = 31  # a window of 2**15 bytes, plus 16 for the header of gzip (zlib manual)


def compressor(compression: Compression) -> Compressor:
    """Return a compressor for one layer.

    Gzip headers have no time and no name. Levels 1 to 3 of gzip are those of igzip, which is five
    times as fast as zlib at level 1 and packs as well. Levels 4 to 9 are those of zlib.

    Raises:
        ValueError: The kind is ``keep``.
    """
    match compression.kind, compression.level:
        case "gzip", int(level) if level <= _IGZIP_LEVELS:
            from isal import isal_zlib

            return _Blocks(isal_zlib.compressobj(level, wbits=_GZIP_FORMAT))
        case "gzip", int(level):
            import zlib

            return _Blocks(zlib.compressobj(level, wbits=_GZIP_FORMAT))
        case "zstd", int(level):
            import zstandard

            return _Blocks(zstandard.ZstdCompressor(level=level).compressobj())
        case "none", None:
            return _Plain()
        case _:
            raise ValueError(f"{compression} does not pack")


class _Blocks:
    """Passes content on in blocks of one size.

    The output of igzip depends on the pieces that it gets, and a network cuts content anywhere.
    """

    def __init__(self, compressor: Compressor) -> None:
        self._compressor = compressor
        self._block = memoryview(bytearray(_BLOCK))
        self._filled = 0

    def compress(self, data: memoryview) -> bytes:
        found = []
        while data:
            if not self._filled and len(data) >= _BLOCK:
                found.append(self._compressor.compress(data[:_BLOCK]))
                data = data[_BLOCK:]
                continue
            count = min(len(data), _BLOCK - self._filled)
            self._block[self._filled : self._filled + count] = data[:count]
            self._filled += count
            data = data[count:]
            if self._filled == _BLOCK:
                found.append(self._compressor.compress(self._block))
                self._filled = 0
        return b"".join(found)

    def flush(self) -> bytes:
        last = self._compressor.compress(self._block[: self._filled])
        return bytes(last) + self._compressor.flush()


class _Plain:
    """Returns the content unchanged."""

    def compress(self, data: memoryview) -> memoryview:
        return data

    def flush(self) -> bytes:
        return b""
