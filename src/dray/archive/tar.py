"""Tar archives, header by header: what is in them and where, in one pass.

`tarfile` decodes the single headers; what it leaves unbounded (extended headers of any
size, names that climb) is bounded here.
"""

from __future__ import annotations

import posixpath
import tarfile
from typing import TYPE_CHECKING, NamedTuple

from dray.errors import IntegrityError, UnsafeArchive, Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    class Source(Protocol):
        """Where a tar comes from: a file, or a stream that is read once."""

        @property
        def position(self) -> int:
            """Bytes from the beginning."""
            ...

        def read(self, count: int, /) -> bytes:
            """Read ``count`` bytes, fewer only at the end."""
            ...

        def skip_to(self, position: int, /) -> None:
            """Go forward; raises `IntegrityError` where the source ends before that."""
            ...


BLOCK = 512
_NOTHING = bytes(BLOCK)
MAX_MEMBERS = 200_000
MAX_EXTENDED = 2**20  # bytes of one extended header, as PAX and GNU tar write them
MAX_HOPS = 16  # links that lead to links

_ODD = "backslashreplace"  # what becomes of names that are no UTF-8: no JSON can mean them
_FILES = {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE}
_LONG = {tarfile.GNUTYPE_LONGNAME: "path", tarfile.GNUTYPE_LONGLINK: "linkpath"}


class Member(NamedTuple):
    """One member: a file of ``size`` bytes at ``offset``, or a link to another member.

    ``link`` is the normal name of what a link leads to. What is neither (directories,
    devices) has no offset and no link.
    """

    name: str
    offset: int | None = None
    size: int = 0
    link: str | None = None


def members(source: Source) -> Iterator[Member]:
    """Yield the members of a tar under their normal names, in their order.

    While a file is being looked at, ``source`` stands at its first byte; what the caller
    does not read is skipped. Raises `IntegrityError` for what is damaged or cut off, and
    `UnsafeArchive` for names and links that lead outside.
    """
    extended: dict[str, str] = {}
    count = 0
    while (header := _header(source)) is not None:
        start, size = source.position, header.size
        if header.type in _LONG or header.type in {tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE}:
            extended |= _extension(source, header)
        elif header.type != tarfile.XGLTYPE:
            count += 1
            if count > MAX_MEMBERS:
                raise _damaged(f"it has more than {MAX_MEMBERS:,} members")
            member, size = _member(header, start, extended)
            extended = {}
            yield member
        source.skip_to(start + -(-size // BLOCK) * BLOCK)


def _header(source: Source) -> tarfile.TarInfo | None:
    """Read one header; None at the terminator, and where the source ends between members."""
    at = source.position
    block = source.read(BLOCK)
    if not block or block == _NOTHING:
        return None
    if len(block) < BLOCK:
        raise _damaged(f"it is cut off at byte {at + len(block):,}")
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", _ODD)
    except tarfile.HeaderError as error:
        raise _damaged(f"no tar header at byte {at:,} ({error})") from None
    if header.size < 0:
        raise _damaged(f"a size below 0 at byte {at:,}")
    return header


def _extension(source: Source, header: tarfile.TarInfo) -> dict[str, str]:
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
    """Read PAX records: length of the whole, space, key, ``=``, value, line feed."""
    found: dict[str, str] = {}
    while data and data[0] != 0:
        length, space, _ = data.partition(b" ")
        end = int(length) if length.isdigit() and len(length) < BLOCK else 0
        key, equals, value = data[len(length) + 1 : end].partition(b"=")
        if not (space and equals and value.endswith(b"\n") and end <= len(data)):
            raise _damaged("an extended header that is not PAX")
        if key in {b"path", b"linkpath", b"size"} or key.startswith(b"GNU.sparse."):
            found[_text(key)] = _text(value[:-1])
        data = data[end:]
    return found


def _member(header: tarfile.TarInfo, start: int, extended: dict[str, str]) -> tuple[Member, int]:
    """Return a member and how many bytes of content follow."""
    name = normal(extended.get("path", header.name))
    size = header.size
    if "size" in extended:
        text = extended["size"]
        if not (text.isascii() and text.isdecimal() and len(text) < 20):  # noqa: PLR2004
            raise _damaged(f"{name}: a size of {text[:24]!r}")
        size = int(text)
    if header.type == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.") for key in extended):
        raise Unsupported(f"{name}: sparse members are not supported")
    if header.type in _FILES:
        return Member(name, start, size), size
    if header.type == tarfile.SYMTYPE:
        return Member(name, link=linked(name, extended.get("linkpath", header.linkname))), 0
    if header.type == tarfile.LNKTYPE:
        return Member(name, link=normal(extended.get("linkpath", header.linkname))), 0
    return Member(name), 0 if header.type in tarfile.SUPPORTED_TYPES else size


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
        raise UnsafeArchive(
            f"a link to {_shown(target)}, outside of the archive", member=_shown(name)
        ) from None


def _text(data: bytes) -> str:
    return data.decode("utf-8", _ODD)


def _shown(name: str) -> str:
    return name[:200]


def _damaged(message: str) -> IntegrityError:
    return IntegrityError(
        f"the archive is damaged: {message}", expected="a tar archive", actual=message
    )
