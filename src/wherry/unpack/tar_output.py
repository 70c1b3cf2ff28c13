"""Headers of a tar for the files of an image.

Format: POSIX.1-2017, pax. Extended headers have only what a plain header cannot hold, so the same
files always give the same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.unpack.entry import BLOCK_DEVICE, CHARACTER, DIRECTORY, FIFO, FILE, HARDLINK, SYMLINK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.unpack.entry import Entry

BLOCK = 512
END = bytes(2 * BLOCK)
_TYPES = {
    FILE: b"0",
    HARDLINK: b"1",
    SYMLINK: b"2",
    CHARACTER: b"3",
    BLOCK_DEVICE: b"4",
    DIRECTORY: b"5",
    FIFO: b"6",
}
_NANO = 10**9
_NAME, _LINK, _SMALL, _LARGE = 100, 100, 8**7, 8**11  # what the fields of a header hold
_XATTR = b"SCHILY.xattr."


def header(entry: Entry) -> bytes:
    """Return the header of an entry, after its extended header if it needs one.

    The content of a sparse file is expected with its holes.
    """
    name = entry.name + b"/" if entry.kind is DIRECTORY else entry.name
    records = b"".join(_record(key, value) for key, value in _extended(entry, name))
    plain = _plain(entry, name, _TYPES[entry.kind])
    if not records:
        return plain
    size = len(records)
    extended = _block(b"PaxHeader", b"x", size=size)
    return extended + records + bytes(-size % BLOCK) + plain


def _extended(entry: Entry, name: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the records that a plain header cannot hold, in a fixed order."""
    attributes = entry.attributes
    for key, number in ((b"gid", attributes.gid), (b"uid", attributes.uid)):
        if number >= _SMALL:
            yield key, b"%d" % number
    if len(entry.link) > _LINK:
        yield b"linkpath", entry.link
    seconds, rest = divmod(attributes.mtime, _NANO)
    if rest or not 0 <= seconds < _LARGE:
        yield b"mtime", _time(attributes.mtime)
    if len(name) > _NAME:
        yield b"path", name
    if entry.size >= _LARGE:
        yield b"size", b"%d" % entry.size
    for attribute in sorted(attributes.xattrs):
        yield _XATTR + attribute, attributes.xattrs[attribute]


def _time(mtime: int) -> bytes:
    """Return nanoseconds as seconds with a fraction."""
    sign = b"-" if mtime < 0 else b""
    seconds, rest = divmod(abs(mtime), _NANO)
    fraction = b".%09d" % rest if rest else b""
    return sign + b"%d" % seconds + fraction.rstrip(b"0")


def _record(key: bytes, value: bytes) -> bytes:
    """Return a PAX record; its length includes its own digits."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest) + len(str(len(rest)))
    length = len(rest) + len(str(length))
    return b"%d" % length + rest


def _plain(entry: Entry, name: bytes, kind: bytes) -> bytes:
    attributes = entry.attributes
    seconds = attributes.mtime // _NANO
    return _block(
        name[:_NAME],
        kind,
        mode=attributes.mode,
        uid=attributes.uid if attributes.uid < _SMALL else 0,
        gid=attributes.gid if attributes.gid < _SMALL else 0,
        size=entry.size if entry.size < _LARGE else 0,
        mtime=seconds if 0 <= seconds < _LARGE else 0,
        link=entry.link[:_LINK],
        device=entry.device,
    )


def _block(
    name: bytes,
    kind: bytes,
    *,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    size: int = 0,
    mtime: int = 0,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
) -> bytes:
    """Return one block, with its checksum (ustar Interchange Format)."""
    before = b"%s%07o\0%07o\0%07o\0%011o\0%011o\0" % (
        name.ljust(_NAME, b"\0"),
        mode,
        uid,
        gid,
        size,
        mtime,
    )
    after = b"%s%sustar\00000%64s%07o\0%07o\0" % (
        kind,
        link.ljust(_LINK, b"\0"),
        bytes(64),
        device[0] % _SMALL,
        device[1] % _SMALL,
    )
    after = after.ljust(BLOCK - len(before) - 8, b"\0")
    checksum = sum(before) + sum(after) + 8 * ord(" ")
    return b"%s%06o\0 %s" % (before, checksum, after)
