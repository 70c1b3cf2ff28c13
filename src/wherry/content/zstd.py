"""Decompression of zstd streams; memory is reserved before each frame."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, cast

import zstandard

from wherry.content.decoder_memory import MAX_DECODER

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from typing_extensions import Buffer

    from wherry.content.protocols import RawStream

ERRORS = (EOFError, zstandard.ZstdError)
_STEP = 256 * 1024
_BLOCK = 128 * 1024  # most bytes of a block, which the decoder holds besides the window
_MAGIC = b"\x28\xb5\x2f\xfd"
_PREFIX = 5  # magic, and frame header descriptor, which gives the length of the header
_SKIPPABLE = 8  # magic and size
_BLOCK_HEADER = 3
_CHECKSUM = 4
_RLE = 1  # the type of a block with one repeated byte


class ZstdStream:
    """The decompressed content; ``reserve`` gets the decoder's bytes."""

    def __init__(self, source: RawStream, reserve: Callable[[int], None]) -> None:
        self._frames = _FrameParser(source, reserve)
        self._reader = zstandard.ZstdDecompressor(max_window_size=MAX_DECODER).stream_reader(
            cast("BinaryIO", self._frames), read_size=_STEP, read_across_frames=True
        )

    def readinto(self, buffer: Buffer) -> int:
        """Read bytes into ``buffer``; returns their number, 0 after the last frame.

        Raises:
            EOFError: The stream ends inside a frame. The library does not check this.
        """
        count = self._reader.readinto(cast("bytearray", buffer))
        if not count and not self._frames.is_between:
            raise EOFError("it ends early")
        return count


class _FrameParser(io.RawIOBase):
    """Parses frames and blocks (RFC 8878, 3.1) while the decoder reads the source.

    The parser ignores errors in the format, which the decoder reports.
    """

    def __init__(self, source: RawStream, reserve: Callable[[int], None]) -> None:
        self._source = source
        self._reserve = reserve
        self._skip = 0  # bytes up to the next header
        self._head = b""  # the first bytes of a header
        self._needed = _PREFIX
        self._next: Callable[[bytes], None] = self._frame
        self._has_checksum = False

    @property
    def is_between(self) -> bool:
        """Whether the source is between two frames, or after the last one."""
        return not self._head and not self._skip and self._next == self._frame

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        count = self._source.readinto(buffer) or 0
        view, at = memoryview(buffer).cast("B"), 0
        while at < count:
            step = min(self._skip, count - at)
            self._skip -= step
            at += step
            if self._skip:
                break
            piece = view[at : min(at + self._needed - len(self._head), count)]
            at += len(piece)
            self._head += piece
            if len(self._head) == self._needed:
                head, self._head = self._head, b""
                self._next(head)
        return count

    def _frame(self, head: bytes) -> None:
        if head.startswith(_MAGIC):
            self._continue(head, zstandard.frame_header_size(head), self._header)
        elif head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50:  # noqa: PLR2004 - RFC 8878, 3.1.2
            self._continue(head, _SKIPPABLE, self._skippable)
        else:
            self._skip = sys.maxsize  # the decoder raises an error for it

    def _continue(self, head: bytes, needed: int, then: Callable[[bytes], None]) -> None:
        """Collect a longer header that starts with ``head``."""
        self._head, self._needed, self._next = head, needed, then

    def _header(self, head: bytes) -> None:
        found = zstandard.get_frame_parameters(head)
        self._has_checksum = found.has_checksum
        if found.window_size > MAX_DECODER:
            self._reserve(found.window_size)
        self._reserve(min(found.window_size, found.content_size, MAX_DECODER - _BLOCK) + _BLOCK)
        self._needed, self._next = _BLOCK_HEADER, self._block

    def _block(self, head: bytes) -> None:
        value = int.from_bytes(head, "little")
        is_last, kind, size = value & 1, value >> 1 & 3, value >> 3
        self._skip = 1 if kind == _RLE else size
        if is_last:
            self._skip += _CHECKSUM if self._has_checksum else 0
            self._needed, self._next = _PREFIX, self._frame

    def _skippable(self, head: bytes) -> None:
        self._skip = int.from_bytes(head[4:], "little")
        self._needed, self._next = _PREFIX, self._frame
