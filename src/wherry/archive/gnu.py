"""Conversion of GNU and Solaris members of a tar into members that engines unpack.

Sparse files become ordinary files, and the dump directories of incremental archives become
directories. Volume labels are dropped. Extended headers of Solaris become PAX headers. Other
types that containers/storage does not unpack (``pkg/archive.createTarFile``) are refused.
"""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

from wherry.archive.member_headers import MemberHeaders, padded
from wherry.archive.sparse_file import SparseFile, read_content
from wherry.archive.tar import BLOCK, MAX_EXTENDED, SOLARIS, SPARSE, VOLUME, headers
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
_CHUNK = 256 * 1024


def conversion(header: Header) -> str:
    """Return the kind of a member that has to be converted; empty for other members.

    Raises:
        Unsupported: The member cannot be converted.
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
        message = f"a member of type {shown!r}, which engines do not unpack"
        raise Unsupported(message).within(name)
    return _CONVERTED[kind]


class ConvertedTar:
    """A converted tar as a stream; its files have ``limit`` bytes at most."""

    def __init__(self, source: TarSource, limit: int) -> None:
        self._chunks = _convert(source, limit)
        self._rest = memoryview(b"")

    def readinto(self, buffer: Buffer) -> int:
        """Read the next bytes into ``buffer``; returns their number, 0 at the end."""
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
    """Records the blocks that `headers` reads, and not the content."""

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


def _convert(source: TarSource, limit: int) -> Iterator[bytes]:
    """Yield a tar with its members converted."""
    recorder = _RecordingSource(source)
    for header in headers(recorder):
        raw, recorder.raw = bytes(recorder.raw), bytearray()
        what = conversion(header)
        end = header.offset + padded(header.size)
        if not what:
            limit -= header.size
            yield raw
            yield from read_content(source, end)
            continue
        member = MemberHeaders.parse(raw)
        kind = header.info.type
        if what == _CONVERTED[tarfile.GNUTYPE_SPARSE]:
            file = SparseFile(header, member, source)
            limit -= file.size
            if limit < 0:
                raise _too_large(file)
            yield from file.expand()
            source.skip_to(end)
        elif kind in {DUMP_DIRECTORY, LABEL}:
            source.skip_to(end)
            if kind == DUMP_DIRECTORY:
                yield member.rewrite(tarfile.DIRTYPE, 0)
        else:
            kind = tarfile.REGTYPE if kind == tarfile.CONTTYPE else kind
            yield member.rewrite(kind, header.size)
            yield from read_content(source, end)
    yield bytes(2 * BLOCK)


def _too_large(file: SparseFile) -> Unsupported:
    return Unsupported(
        f"a sparse file of {file.size:,} bytes is too large to be written without holes"
    ).within(file.name)
