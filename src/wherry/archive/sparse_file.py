"""Sparse files in the formats of GNU tar, written as ordinary files.

Formats: the old one, and 0.0, 0.1 and 1.0 of PAX (GNU tar manual, "Storing Sparse Files").
"""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING, NamedTuple

from wherry.archive.member_headers import padded
from wherry.archive.tar import BLOCK, number
from wherry.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.archive.member_headers import MemberHeaders
    from wherry.archive.tar import Header, TarSource

_MAX_EXTENTS = 200_000  # of one file
_MAX_DIGITS = 19  # of a number of 64 bits
_CHUNK = 256 * 1024
# The old format: a map of extents, whether more blocks of it follow, and the size with holes.
_OLD_MAP, _OLD_MORE, _OLD_SIZE = 386, 482, slice(483, 495)
_MORE, _EXTENT = 504, 24  # bytes of the map in a block that follows, and of an entry


class Extent(NamedTuple):
    """A range of bytes that is stored; the bytes between two extents are a hole."""

    offset: int
    size: int


class SparseFile:
    """A sparse member of a tar. ``size`` includes its holes."""

    def __init__(self, header: Header, raw: MemberHeaders, source: TarSource) -> None:
        self._headers = raw
        self._source = source
        self._end = header.offset + header.size
        found = raw.pax_records()
        values = {key: value for key, value in found if key.startswith(b"GNU.sparse.")}
        name = values.get(b"GNU.sparse.name", b"").decode("utf-8", "surrogateescape")
        self._new_name = name or header.extended.get("path", "")
        self.name = (self._new_name or header.info.name)[:200]
        if header.info.type == tarfile.GNUTYPE_SPARSE:
            self.size = number(raw.main[_OLD_SIZE])
            extents = _old_map(raw)
        else:
            size = values.get(b"GNU.sparse.realsize", values.get(b"GNU.sparse.size", b""))
            self.size = self._number(size)
            extents = self._pax_map(found, values)
        self._extents = self._checked(extents)

    def expand(self) -> Iterator[bytes]:
        """Yield the member as an ordinary file, with zeros for its holes."""
        yield self._headers.rewrite(
            tarfile.REGTYPE, self.size, drop=b"GNU.sparse.", name=self._new_name
        )
        at = 0
        for extent in self._extents:
            yield from _zeros(extent.offset - at)
            yield from read_content(self._source, self._source.position + extent.size)
            at = extent.offset + extent.size
        yield from _zeros(padded(self.size) - at)

    def _pax_map(
        self, found: list[tuple[bytes, bytes]], values: dict[bytes, bytes]
    ) -> list[Extent]:
        if values.get(b"GNU.sparse.major") == b"1":
            return self._map_in_content()
        if b"GNU.sparse.map" in values:
            text = values[b"GNU.sparse.map"]
            numbers = [self._number(each) for each in text.split(b",")] if text else []
        else:
            wanted = {b"GNU.sparse.offset", b"GNU.sparse.numbytes"}
            numbers = [self._number(value) for key, value in found if key in wanted]
        return [Extent(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=False)]

    def _map_in_content(self) -> list[Extent]:
        """Read the map at the start of the content: lines of decimal numbers."""
        lines: list[bytes] = []
        text = b""
        wanted = 1
        while len(lines) < wanted:
            block = self._source.read(BLOCK) if self._source.position < self._end else b""
            if not block:
                raise self._damaged()
            *more, text = (text + block).split(b"\n")
            lines += more
            wanted = 1 + 2 * self._number(lines[0]) if lines else 1
            # Without a line break, joining would take quadratic time. NULs follow the last line.
            is_endless = len(lines) < wanted and len(text) > _MAX_DIGITS
            if is_endless or wanted > 2 * _MAX_EXTENTS:
                raise self._damaged()
        numbers = [self._number(line) for line in lines[1:wanted]]
        return [Extent(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]

    def _number(self, text: bytes) -> int:
        if not (text.isdigit() and len(text) <= _MAX_DIGITS):
            raise self._damaged()
        return int(text)

    def _checked(self, extents: list[Extent]) -> list[Extent]:
        """Refuse extents that overlap, or that exceed the file or the stored content."""
        at = 0
        for extent in extents:
            if extent.offset < at or extent.offset + extent.size > self.size:
                raise self._damaged()
            at = extent.offset + extent.size
        if sum(extent.size for extent in extents) > self._end - self._source.position:
            raise self._damaged()
        return extents

    def _damaged(self) -> IntegrityError:
        return IntegrityError(
            "the map of a sparse file is damaged",
            expected="a map of holes",
            actual="something else",
        ).within(self.name)


def read_content(source: TarSource, end: int) -> Iterator[bytes]:
    """Yield the bytes of a tar up to ``end``; raises if it is cut off."""
    while source.position < end:
        data = source.read(min(_CHUNK, end - source.position))
        if not data:
            source.skip_to(end)  # raises
        yield data


def _old_map(raw: MemberHeaders) -> list[Extent]:
    """Parse the map of the old format, in the header and later blocks."""
    fields = [raw.main[_OLD_MAP:_OLD_MORE]]
    fields += [raw.rest[at : at + _MORE] for at in range(0, len(raw.rest), BLOCK)]
    found = []
    for field in fields:
        for at in range(0, len(field), _EXTENT):
            offset, size = field[at : at + 12], field[at + 12 : at + _EXTENT]
            if offset[:1] not in {b"", b"\0"}:
                found.append(Extent(number(offset), number(size)))
    return found


def _zeros(count: int) -> Iterator[bytes]:
    chunk = bytes(_CHUNK)
    while count > 0:
        yield chunk[:count]
        count -= _CHUNK
