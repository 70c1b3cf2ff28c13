"""Check that content which arrives piece by piece is a tar."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING
from zlib import adler32

from wherry.archive.tar import (
    BLOCK,
    END,
    EXTENDED,
    check_extension,
    content_size,
    cut_off,
    has_map,
    parse_extension,
    parse_header,
)

if TYPE_CHECKING:
    from collections.abc import Generator

_FILES = b"0\0"  # types of members with content
_OTHERS = b"123456"  # links, devices, directories
_SUM = slice(148, 156)
_SIZE = slice(124, 136)
_PRIME = 65521  # of Adler-32 (RFC 1950, 9), whose lower half is 1 + the sum of all bytes


class TarCheck:
    """A check of one tar from its first byte to its last; see `content.pipeline.ContentCheck`.

    It finds what has no tar header where one has to be, and a tar that ends within a member.
    Content after the end-of-archive marker is not looked at. No content at all is a tar without
    members, as for engines.
    """

    def __init__(self) -> None:
        self._position = 0
        self._block = bytearray()
        self._skipped = 0  # bytes to skip before the next block
        self._padding = 0  # of them, those after the content
        self._wanted = 0  # bytes of the next block
        self._within = False  # whether the header of a member goes on
        self._ended = False
        self._walk = self._walk_headers()
        self._wanted = next(self._walk)

    def add(self, content: memoryview) -> None:
        """Check the next piece; raises `NotATar` and `IntegrityError`."""
        at, size = 0, len(content)
        while at < size and not self._ended:
            if self._skipped:
                step = min(self._skipped, size - at)
                self._skipped -= step
            elif size - at >= BLOCK and self._skip_member(bytes(content[at : at + BLOCK])):
                step = BLOCK
            else:
                step = min(self._wanted - len(self._block), size - at)
                self._block += content[at : at + step]
            at += step
            self._position += step
            if self._block or not self._wanted:
                self._go_on()

    def _skip_member(self, block: bytes) -> bool:
        """Skip the content of an ordinary member; tell whether ``block`` is its header.

        This takes a ninth of the time that the walk takes.
        """
        if self._block or self._within:
            return False
        size = _ordinary_size(block)
        if size is None:
            return False
        self._padding = -size % BLOCK
        self._skipped = size + self._padding
        return True

    def _go_on(self) -> None:
        """Pass a complete block to the walk."""
        if len(self._block) < self._wanted:
            return
        block = bytes(self._block)
        self._block.clear()
        try:
            self._wanted = self._walk.send(block)
        except StopIteration:
            self._ended = True

    def finish(self) -> None:
        """Raise `IntegrityError` if the content ends within a member."""
        if self._ended:
            return
        # The padding of the last member may be missing.
        if self._block or self._within or self._skipped > self._padding:
            at = self._position - len(self._block)
            raise cut_off(self._position, bytes(self._block), at)

    def _walk_headers(self) -> Generator[int, bytes, None]:
        """Yield the size of the next block to get; ends at the end-of-archive marker."""
        extended: dict[str, str] = {}
        while (block := (yield BLOCK)) != END:
            header = parse_header(block, self._position - BLOCK)
            if header.type in EXTENDED or header.type == tarfile.XGLTYPE:
                check_extension(header)
                self._within = True
                data = yield header.size
                found = parse_extension(header, data)
                extended |= found if header.type in EXTENDED else {}
                self._within = header.type in EXTENDED  # a member has to follow
                self._skipped = self._padding = -header.size % BLOCK
                continue
            self._within = has_map(header, block)
            while self._within:
                self._within = bool((yield BLOCK)[504])
            size = content_size(header, extended)
            self._padding = -size % BLOCK
            self._skipped = size + self._padding
            extended = {}


def _ordinary_size(block: bytes) -> int | None:
    """Return the bytes of content after the header of an ordinary member; None for others."""
    kind = block[156]
    if kind not in _FILES and kind not in _OTHERS:
        return None
    try:
        stated = int(block[_SUM].strip(b" \0"), 8)
        size = int(block[_SIZE].strip(b" \0"), 8) if kind in _FILES else 0
    except ValueError:
        return None
    # The checksum is that of the header with spaces in its place.
    expected = 1 + stated - 8 * ord(" ") + sum(block[_SUM])
    if adler32(block) & 0xFFFF != expected % _PRIME or size < 0:
        return None
    return size
