"""The raw headers of one member of a tar, read and written byte by byte."""

from __future__ import annotations

import tarfile
from typing import NamedTuple

from wherry.archive.tar import BLOCK, EXTENDED, VOLUME, number, records

_TYPE, _SIZE, _CHECKSUM = slice(156, 157), slice(124, 136), slice(148, 156)
_OLD_SPARSE_FIELDS = slice(369, 512)  # of a sparse file in the old format of GNU tar


class MemberHeaders(NamedTuple):
    """The header of a member, its extended headers, and its map of holes.

    An extended header is a pair: its block and its content.
    """

    extended: list[tuple[bytes, bytes]]
    main: bytes
    rest: bytes

    @classmethod
    def parse(cls, raw: bytes) -> MemberHeaders:
        """Split the blocks that come before the content of a member."""
        extended = []
        at = 0
        while raw[at : at + BLOCK][_TYPE] in EXTENDED | {tarfile.XGLTYPE}:
            block = raw[at : at + BLOCK]
            size = number(block[_SIZE])
            extended.append((block, raw[at + BLOCK : at + BLOCK + size]))
            at += BLOCK + padded(size)
        return cls(extended, raw[at : at + BLOCK], raw[at + BLOCK :])

    def pax_records(self) -> list[tuple[bytes, bytes]]:
        """Return the PAX records of this member."""
        found: list[tuple[bytes, bytes]] = []
        for block, content in self.extended:
            if block[_TYPE] == tarfile.XHDTYPE:
                found += records(content)
        return found

    def rewrite(self, kind: bytes, size: int, *, drop: bytes = b"", name: str = "") -> bytes:
        """Return headers for a member of another type and size.

        PAX records whose names start with ``drop`` are left out, and so are the path and size.
        ``name`` replaces the member's name.
        """
        found = bytearray()
        is_named = name == ""
        for block, content in self.extended:
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
            if block[_TYPE] == tarfile.XHDTYPE and not is_named:
                kept.append((b"path", name.encode("utf-8", "surrogateescape")))
                is_named = True
            if kept:
                found += _extended(block, b"".join(_record(*each) for each in kept))
        main = bytearray(self.main)
        main[_TYPE], main[_SIZE] = kind, _size_field(size)
        if self.main[_TYPE] == tarfile.GNUTYPE_SPARSE:
            main[_OLD_SPARSE_FIELDS] = bytes(_OLD_SPARSE_FIELDS.stop - _OLD_SPARSE_FIELDS.start)
        return bytes(found + _with_checksum(main))


def padded(size: int) -> int:
    """Return the bytes that ``size`` bytes take in a tar: whole blocks."""
    return -(-size // BLOCK) * BLOCK


def _extended(block: bytes, content: bytes) -> bytes:
    header = bytearray(block)
    if block[_TYPE] == tarfile.SOLARIS_XHDTYPE:
        header[_TYPE] = tarfile.XHDTYPE
    header[_SIZE] = _size_field(len(content))
    return _with_checksum(header) + content + bytes(-len(content) % BLOCK)


def _record(key: bytes, value: bytes) -> bytes:
    """Return a PAX record; its length includes its own digits."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest) + len(str(len(rest)))
    length = len(rest) + len(str(length))
    return str(length).encode() + rest


def _with_checksum(header: bytearray) -> bytes:
    header[_CHECKSUM] = b" " * 8
    header[_CHECKSUM] = b"%06o\0 " % sum(header)
    return bytes(header)


def _size_field(size: int) -> bytes:
    """Encode a size in octal digits, or in binary as GNU tar does if it is too large."""
    return b"%011o\0" % size if size < 8**11 else b"\x80" + size.to_bytes(11, "big")
