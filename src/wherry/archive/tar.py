"""Tar archives, header by header: what is in them and where, in one pass.

`tarfile` decodes the single headers; what it leaves unbounded (extended headers of any
size, names that climb) is bounded here.
"""

from __future__ import annotations

import posixpath
import tarfile
from typing import TYPE_CHECKING, NamedTuple

from wherry.errors import IntegrityError, UnsafeArchive, Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    class TarSource(Protocol):
        """Where a tar comes from: a file, or a stream that is read once."""

        @property
        def position(self) -> int:
            """Bytes from the beginning."""
            ...

        def read(self, count: int, /) -> bytes:
            """Read ``count`` bytes, fewer only at the end."""
            ...

        ended: bool  # whether the marker of a tar's end has come

        def skip_to(self, position: int, /) -> None:
            """Go forward; raises `IntegrityError` where the source ends before that."""
            ...


BLOCK = 512
_NOTHING = bytes(BLOCK)
_MAGIC, _MAGIC_AT = b"ustar", 257  # all that has been written since 1988 has it
MAX_MEMBERS = 200_000
MAX_EXTENDED = 2**20  # bytes of one extended header, as PAX and GNU tar write them
MAX_NAMES = 32 * 2**20  # bytes of all names and links together
MAX_HOPS = 16  # links that lead to links

_ODD = "backslashreplace"  # what becomes of names that are no UTF-8: no JSON can mean them
_FILES = {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE}
SPARSE = "GNU.sparse"  # stands for all records that begin so
SOLARIS = "Solaris"  # stands for an extended header of its own type
VOLUME = "GNU.volume."  # begins the names of records of volumes
_DIGITS = 20  # of a number that is too long
_LONG = {tarfile.GNUTYPE_LONGNAME: "path", tarfile.GNUTYPE_LONGLINK: "linkpath"}
EXTENDED = {*_LONG, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE}


class Member(NamedTuple):
    """One member: a file of ``size`` bytes at ``offset``, or a link to another member.

    ``link`` is the normal name of what a link leads to. What is neither (directories,
    devices) has no offset and no link.
    """

    name: str
    offset: int | None = None
    size: int = 0
    link: str | None = None


class Header(NamedTuple):
    """A member's header, what extended ones before it say, and where its content is."""

    info: tarfile.TarInfo
    extended: dict[str, str]
    offset: int
    size: int


class UnsafeLink(UnsafeArchive):
    """A symbolic link that leads outside; in a tar of a file system nothing of note."""


class NotATar(IntegrityError):
    """What does not even begin like a tar."""


def members(source: TarSource) -> Iterator[Member]:
    """Yield the members of a tar under their normal names, in their order.

    While a file is being looked at, ``source`` stands at its first byte; what the caller
    does not read is skipped. Raises `IntegrityError` for what is damaged, cut off or has too
    many members (`NotATar` where it begins like none), and `UnsafeArchive` for names and links
    that lead outside.
    """
    room = MAX_NAMES
    for count, header in enumerate(headers(source), 1):
        if count > MAX_MEMBERS:
            raise _damaged(f"it has more than {MAX_MEMBERS:,} members")
        member = _member(header)
        room -= len(member.name) + len(member.link or "")
        if room < 0:
            raise _damaged(f"it has names of more than {MAX_NAMES:,} bytes")
        yield member


def headers(source: TarSource) -> Iterator[Header]:
    """Yield the headers of a tar, whatever they name; raises `IntegrityError`.

    Content is skipped as far as the caller does not read it. Behind the last one,
    ``source.ended`` tells whether the tar says that it was the last; one that was cut off
    between two members does not say so.
    """
    extended: dict[str, str] = {}
    while (info := _header(source)) is not None:
        start, size = source.position, info.size
        if info.type in EXTENDED:
            extended |= _extension(source, info)
            if info.type == tarfile.SOLARIS_XHDTYPE:
                extended[SOLARIS] = ""
        elif info.type == tarfile.XGLTYPE:
            found = _extension(source, info)
            extended |= {key: found[key] for key in found if key.startswith(VOLUME)}
        else:
            size = _size(info, extended)
            yield Header(info, extended, start, size)
            extended = {}
        source.skip_to(start + -(-size // BLOCK) * BLOCK)


def _header(source: TarSource) -> tarfile.TarInfo | None:
    """Read one header; None at the terminator, and where the source ends between members."""
    at = source.position
    block = source.read(BLOCK)
    if not block or block == _NOTHING:
        source.ended = bool(block)
        return None
    if len(block) < BLOCK:
        raise _damaged(f"it is cut off at byte {at + len(block):,}", block, at)
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", _ODD)
    except tarfile.HeaderError as error:
        raise _damaged(f"no tar header at byte {at:,} ({error})", block, at) from None
    if header.size < 0:
        raise _damaged(f"a size below 0 at byte {at:,}")
    # A map of holes, as GNU tar writes it, goes on as long as each block says so.
    more = header.type == tarfile.GNUTYPE_SPARSE and block[482]
    while more:
        block = source.read(BLOCK)
        if len(block) < BLOCK:
            raise _damaged(f"it is cut off at byte {source.position:,}")
        more = block[504]
    return header


def _extension(source: TarSource, header: tarfile.TarInfo) -> dict[str, str]:
    """Read an extended header; return what it says about the next member's name and size."""
    if header.size > MAX_EXTENDED:
        raise _damaged(f"an extended header of {header.size:,} bytes")
    data = source.read(header.size)
    if len(data) < header.size:
        raise _damaged(f"it is cut off at byte {source.position:,}")
    if header.type in _LONG:
        return {_LONG[header.type]: _text(data.partition(b"\0")[0])}
    return _records(data)


def _records(data: bytes) -> dict[str, str]:
    """Read the PAX records that say where the next member is, and what kind of file it is."""
    found: dict[str, str] = {}
    for key, value in records(data):
        if key in {b"path", b"linkpath", b"size"} or key.startswith(VOLUME.encode()):
            found[_text(key)] = _text(value)
        elif key.startswith(b"GNU.sparse."):
            found[SPARSE] = ""
    return found


def records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield PAX records: length of the whole, space, key, ``=``, value, line feed."""
    at = 0
    while at < len(data) and data[at] != 0:
        space = data.find(b" ", at, at + _DIGITS)
        length = data[at : max(space, at)]
        end = at + int(length) if length.isdigit() else at
        equals = data.find(b"=", space, end)
        if not (at <= equals and end <= len(data) and data[end - 1] == ord("\n")):
            raise _damaged("an extended header that is not PAX")
        yield data[space + 1 : equals], data[equals + 1 : end - 1]
        at = end


def number(field: bytes) -> int:
    """Read a number of a header: octal digits, or what GNU tar writes for larger ones."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    text = field.partition(b"\0")[0].strip()
    if text and not set(text) <= set(b"01234567"):
        raise _damaged("a header with a number that is none")
    return int(text or b"0", 8)


def _size(info: tarfile.TarInfo, extended: dict[str, str]) -> int:
    """Return how many bytes of content follow a header."""
    size = info.size
    if "size" in extended:
        text = extended["size"]
        if not (text.isascii() and text.isdecimal() and len(text) < _DIGITS):
            raise _damaged(f"a size of {text[:24]!r}").within(_shown(info.name))
        size = int(text)
    alone = info.type in tarfile.SUPPORTED_TYPES and info.type not in tarfile.REGULAR_TYPES
    return 0 if alone else size


def _member(header: Header) -> Member:
    info, extended, offset, size = header
    name = normal(extended.get("path", info.name))
    if info.type == tarfile.GNUTYPE_SPARSE or SPARSE in extended:
        raise Unsupported("sparse members are not supported").within(_shown(name))
    if info.type in _FILES:
        return Member(name, offset, size)
    target = extended.get("linkpath", info.linkname)
    if info.type == tarfile.SYMTYPE:
        return Member(name, link=linked(name, target))
    return Member(name, link=normal(target) if info.type == tarfile.LNKTYPE else None)


def normal(name: str) -> str:
    """Return a member's name without ``./`` and the like; refuse one that leads outside."""
    found = posixpath.normpath(name) if name else "."
    if found.startswith(("/", "../")) or found == ".." or "\0" in found:
        raise UnsafeArchive("the name leads outside of the archive", member=_shown(name))
    return found


def linked(name: str, target: str) -> str:
    """Return the name that a symbolic link leads to; refuse one that leads outside."""
    try:
        return normal(posixpath.join(posixpath.dirname(name), target))
    except UnsafeArchive:
        raise UnsafeLink(
            f"a link to {_shown(target)}, outside of the archive", member=_shown(name)
        ) from None


def _text(data: bytes) -> str:
    return data.decode("utf-8", _ODD)


def _shown(name: str) -> str:
    return name[:200]


def _damaged(message: str, block: bytes = b"", at: int = -1) -> IntegrityError:
    """Make the error for a tar that is damaged, at a header ``block`` if that is known."""
    if at == 0 and not block.startswith(_MAGIC, _MAGIC_AT):
        return NotATar("is no tar", expected="a tar archive", actual=message)
    return IntegrityError(
        f"the archive is damaged: {message}", expected="a tar archive", actual=message
    )
