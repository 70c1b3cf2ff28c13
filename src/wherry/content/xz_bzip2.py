"""Decompression of bzip2 and xz files, which may have several streams."""

from __future__ import annotations

import abc
import bz2
import io
import lzma
from typing import TYPE_CHECKING

from wherry.content.decoder_memory import MAX_DECODER

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from wherry.content.decoder_memory import Reservation

XZ_ERRORS = (EOFError, lzma.LZMAError)
_STEP = 256 * 1024
_BZIP2 = 2**22  # bytes of a decoder for the largest blocks, of 900,000 bytes
_XZ_OWN = 2**20  # bytes of an xz decoder without its dictionary
_XZ_STREAM_HEADER = 12
_XZ_LONGEST_HEADER = _XZ_STREAM_HEADER + 1024  # of a stream and its first block
_LZMA2 = b"\x21\x01"  # the filter's id, and the size of its properties
_LARGEST_DICTIONARY = 40  # in the encoding of the properties: 4 GiB


class _DecoderStream(abc.ABC, io.RawIOBase):
    """Decompresses streams of one format, with a decoder for each stream."""

    def __init__(self, source: io.RawIOBase, reservation: Reservation) -> None:
        self._source = source
        self._reservation = reservation
        self._input = b""
        self._decoder: bz2.BZ2Decompressor | lzma.LZMADecompressor | None = None

    @abc.abstractmethod
    def _make(self) -> bz2.BZ2Decompressor | lzma.LZMADecompressor:
        """Reserve memory and make a decoder for the stream at the start of the input."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer).cast("B")
        while True:
            if self._decoder is None:
                if not self._input and not self._read():
                    return 0
                self._decoder = self._make()
            elif self._decoder.needs_input and not self._read():
                raise EOFError("it ends early")
            data, self._input = self._input, b""
            found = self._decoder.decompress(data, len(view))
            if self._decoder.eof:
                self._end_stream()
            if found:
                view[: len(found)] = found
                return len(found)

    def _read(self) -> bool:
        """Read more input; return False at its end."""
        more = self._source.read(_STEP) or b""
        self._input += more
        return bool(more)

    def _end_stream(self) -> None:
        """Move to the next stream. Zero bytes may pad the end of a stream."""
        assert self._decoder is not None  # noqa: S101 - the decoder has just reached its end
        self._input = self._decoder.unused_data.lstrip(b"\0")
        while not self._input and self._read():
            self._input = self._input.lstrip(b"\0")
        self._decoder = None
        self._reservation.release()


class Bzip2Stream(_DecoderStream):
    """The decompressed content of bzip2 streams."""

    def _make(self) -> bz2.BZ2Decompressor:
        self._reservation.grow(_BZIP2)
        return bz2.BZ2Decompressor()


class XzStream(_DecoderStream):
    """The decompressed content of xz streams. The first block sets the memory limit."""

    def _make(self) -> lzma.LZMADecompressor:
        while len(self._input) < _XZ_LONGEST_HEADER and self._read():
            pass
        size = _dictionary(self._input) + _XZ_OWN
        self._reservation.grow(size)
        return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=size)


def _dictionary(head: bytes) -> int:
    """Return the dictionary size in bytes of the first block of an xz stream.

    Format: The .xz File Format 1.2, 3.1 and 5.3.1. LZMA2 is the last filter of a block, so the
    last occurrence of its id in the header counts. For any other header, return the limit.
    """
    most = MAX_DECODER - _XZ_OWN
    block = head[_XZ_STREAM_HEADER:]
    size = (block[0] + 1) * 4 if block else 0
    place = block[: max(0, size - 4)].rfind(_LZMA2)
    if place < 0 or place + len(_LZMA2) >= len(block):
        return most
    bits = block[place + len(_LZMA2)]
    if bits > _LARGEST_DICTIONARY:
        return most
    return (2 | bits & 1) << (bits // 2 + 11)
