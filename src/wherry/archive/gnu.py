"""Members of GNU tar that engines do not unpack, written as ones that they do.

Sparse files become whole ones, dump directories of incremental archives become directories,
volume labels are left out, and Solaris' extended headers become those of PAX. What else
engines do not know (containers/storage, ``pkg/archive.createTarFile``) is refused by name.
"""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING, NamedTuple

from wherry.archive.tar import (
    BLOCK,
    EXTENDED,
    MAX_EXTENDED,
    SOLARIS,
    SPARSE,
    VOLUME,
    headers,
    number,
    records,
)
from wherry.errors import IntegrityError, Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Buffer

    from wherry.archive.tar import Header, TarSource

DUMP_DIRECTORY, CONTINUED, LABEL = b"D", b"M", b"V"
_PLAIN = {
    *(tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE),
    *(tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE),
}
_CONVERTED = {
    tarfile.GNUTYPE_SPARSE: "sparse file",
    tarfile.CONTTYPE: "contiguous file",
    DUMP_DIRECTORY: "dump directory",
    LABEL: "volume label",
}
_MAX_HEADERS = 4 * MAX_EXTENDED  # bytes of the headers of one member
_MAX_EXTENTS = 200_000  # of a sparse file
_CHUNK = 256 * 1024
_TYPE, _SIZE, _CHECKSUM = slice(156, 157), slice(124, 136), slice(148, 156)
# A sparse file of the old format: its map, whether that goes on, and the size with all holes.
_OLD_MAP, _OLD_MORE, _OLD_SIZE, _OLD_FIELDS = 386, 482, slice(483, 495), slice(369, 512)
_MORE, _EXTENT = 504, 24


def conversion(header: Header) -> str:
    """Return what a member is called that has to be converted; empty for all others.

    Raises `Unsupported` for one that cannot be converted.
    """
    kind, extended = header.info.type, header.extended
    name = extended.get("path", header.info.name)[:200]
    if kind == CONTINUED or f"{VOLUME}filename" in extended:
        name = extended.get(f"{VOLUME}filename", name)[:200]
        raise Unsupported(
            "its beginning is in another volume of the archive",
            hint="unpack all volumes with `tar -M`, and import the directory",
        ).within(name)
    if kind in _PLAIN:
        if SPARSE in extended:
            return _CONVERTED[tarfile.GNUTYPE_SPARSE]
        if SOLARIS in extended:
            return "Solaris header"
        return _CONVERTED[LABEL] if f"{VOLUME}label" in extended else ""
    if kind not in _CONVERTED:
        shown = kind.decode("latin-1")
        raise Unsupported(f"a member of type {shown!r}, which engines do not unpack").within(name)
    return _CONVERTED[kind]


class Extent(NamedTuple):
    """Bytes of a sparse file that are there; holes are between them."""

    offset: int
    size: int


class ConvertedTar:
    """A tar with its members converted, as a stream; ``limit`` bounds its files in bytes."""

    def __init__(self, source: TarSource, limit: int) -> None:
        self._chunks = _converted(source, limit)
        self._rest = memoryview(b"")

    def readinto(self, buffer: Buffer) -> int:
        """Fill ``buffer`` as far as one step goes; 0 at the end."""
        view = memoryview(buffer).cast("B")
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


class _RecordingSource:
    """A source that keeps what `headers` reads of it; content is read past it."""

    def __init__(self, source: TarSource) -> None:
        self._source = source
        self.ended = False
        self.raw = bytearray()

    @property
    def position(self) -> int:
        return self._source.position

    def read(self, count: int) -> bytes:
        data = self._source.read(count)
        self.raw += data
        if len(self.raw) > _MAX_HEADERS:
            raise IntegrityError(
                f"the archive is damaged: headers of a member have over {_MAX_HEADERS:,} bytes",
                expected="a tar archive",
                actual="headers without end",
            )
        return data

    def skip_to(self, position: int) -> None:
        while self.position < position and self.read(min(position - self.position, _CHUNK)):
            pass


class _MemberHeaders(NamedTuple):
    """The headers of one member: extended ones (block and content), the main one, its map."""

    extended: list[tuple[bytes, bytes]]
    main: bytes
    rest: bytes


def _parts(raw: bytes) -> _MemberHeaders:
    extended = []
    at = 0
    while raw[at:][_TYPE] in EXTENDED | {tarfile.XGLTYPE}:
        block = raw[at : at + BLOCK]
        size = number(block[_SIZE])
        extended.append((block, raw[at + BLOCK : at + BLOCK + size]))
        at += BLOCK + _padded(size)
    return _MemberHeaders(extended, raw[at : at + BLOCK], raw[at + BLOCK :])


def _converted(source: TarSource, limit: int) -> Iterator[bytes]:
    recorder = _RecordingSource(source)
    for header in headers(recorder):
        raw, recorder.raw = bytes(recorder.raw), bytearray()
        what = conversion(header)
        end = header.offset + _padded(header.size)
        if not what:
            limit -= header.size
            yield raw
            yield from _content(source, end)
            continue
        parts = _parts(raw)
        if what == _CONVERTED[tarfile.GNUTYPE_SPARSE]:
            file = _SparseFile(header, parts, source)
            limit -= file.size
            if limit < 0:
                raise Unsupported(
                    f"a sparse file of {file.size:,} bytes is too large to be written without holes"
                ).within(file.name)
            yield from file.written()
            source.skip_to(end)
        elif header.info.type in {DUMP_DIRECTORY, LABEL}:
            source.skip_to(end)
            if header.info.type == DUMP_DIRECTORY:
                yield _headers(parts, tarfile.DIRTYPE, 0)
        else:
            kind = header.info.type
            kind = tarfile.REGTYPE if kind == tarfile.CONTTYPE else kind
            yield _headers(parts, kind, header.size)
            yield from _content(source, end)
    yield bytes(2 * BLOCK)


def _content(source: TarSource, end: int) -> Iterator[bytes]:
    while source.position < end:
        data = source.read(min(_CHUNK, end - source.position))
        if not data:
            source.skip_to(end)  # raises: the tar is cut off
        yield data


# Headers


def _headers(
    parts: _MemberHeaders, kind: bytes, size: int, drop: bytes = b"", name: str = ""
) -> bytes:
    """Write a member's headers anew; ``drop`` begins the names of PAX records to leave out."""
    found = bytearray()
    named = name == ""
    for block, content in parts.extended:
        if block[_TYPE] in {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}:
            found += _extended(block, content)
            continue
        if block[_TYPE] == tarfile.XGLTYPE and VOLUME.encode() in content:
            continue
        kept = [
            (key, value)
            for key, value in records(content)
            if not (drop and (key.startswith(drop) or key in {b"size", b"path"}))
        ]
        if block[_TYPE] == tarfile.XHDTYPE and not named:
            kept.append((b"path", name.encode("utf-8", "surrogateescape")))
            named = True
        if kept:
            found += _extended(block, b"".join(_record(*each) for each in kept))
    main = bytearray(parts.main)
    main[_TYPE], main[_SIZE] = kind, _field(size)
    if parts.main[_TYPE] == tarfile.GNUTYPE_SPARSE:
        main[_OLD_FIELDS] = bytes(_OLD_FIELDS.stop - _OLD_FIELDS.start)
    return bytes(found + _summed(main))


def _extended(block: bytes, content: bytes) -> bytes:
    header = bytearray(block)
    if block[_TYPE] == tarfile.SOLARIS_XHDTYPE:
        header[_TYPE] = tarfile.XHDTYPE
    header[_SIZE] = _field(len(content))
    return _summed(header) + content + bytes(-len(content) % BLOCK)


def _record(key: bytes, value: bytes) -> bytes:
    """Write a PAX record; its length counts its own digits."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest) + len(str(len(rest)))
    length = len(rest) + len(str(length))
    return str(length).encode() + rest


def _summed(header: bytearray) -> bytes:
    header[_CHECKSUM] = b" " * 8
    header[_CHECKSUM] = b"%06o\0 " % sum(header)
    return bytes(header)


def _field(size: int) -> bytes:
    """Write a size; one that does not fit in octal digits as GNU tar does."""
    return b"%011o\0" % size if size < 8**11 else b"\x80" + size.to_bytes(11, "big")


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


# Sparse files


class _SparseFile:
    """A sparse file of any of GNU tar's formats: the old one, and 0.0, 0.1 and 1.0 of PAX."""

    def __init__(self, header: Header, parts: _MemberHeaders, source: TarSource) -> None:
        self._parts = parts
        self._source = source
        self._end = header.offset + header.size
        found: list[tuple[bytes, bytes]] = []
        for block, content in parts.extended:
            if block[_TYPE] == tarfile.XHDTYPE:
                found += records(content)
        values = {key: value for key, value in found if key.startswith(b"GNU.sparse.")}
        name = values.get(b"GNU.sparse.name", b"").decode("utf-8", "surrogateescape")
        self._new_name = name or header.extended.get("path", "")
        self.name = (self._new_name or header.info.name)[:200]
        if header.info.type == tarfile.GNUTYPE_SPARSE:
            self.size = number(parts.main[_OLD_SIZE])
            extents = _old_map(parts)
        else:
            size = values.get(b"GNU.sparse.realsize", values.get(b"GNU.sparse.size", b""))
            self.size = self._number(size)
            extents = self._pax_map(found, values)
        self._extents = self._checked(extents)

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
        """Read the map that stands before the content: lines of decimal numbers."""
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
            if wanted > 2 * _MAX_EXTENTS:
                raise self._damaged()
        numbers = [self._number(line) for line in lines[1:wanted]]
        return [Extent(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]

    def _number(self, text: bytes) -> int:
        if not (text.isdigit() and len(text) < 20):  # noqa: PLR2004 - digits of 64 bits
            raise self._damaged()
        return int(text)

    def _checked(self, extents: list[Extent]) -> list[Extent]:
        """Refuse a map whose extents overlap, or are more than file or archive hold."""
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

    def written(self) -> Iterator[bytes]:
        """Yield the member as an ordinary file."""
        yield _headers(
            self._parts, tarfile.REGTYPE, self.size, drop=b"GNU.sparse.", name=self._new_name
        )
        at = 0
        for extent in self._extents:
            yield from _zeros(extent.offset - at)
            yield from _content(self._source, self._source.position + extent.size)
            at = extent.offset + extent.size
        yield from _zeros(_padded(self.size) - at)


def _old_map(parts: _MemberHeaders) -> list[Extent]:
    """Read the map of the old format: four extents in the header, more in blocks behind it."""
    fields = [parts.main[_OLD_MAP:_OLD_MORE]]
    fields += [parts.rest[at : at + _MORE] for at in range(0, len(parts.rest), BLOCK)]
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
