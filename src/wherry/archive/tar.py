"""Reading the headers of tar archives in one pass.

`tarfile` decodes each header. This module limits what `tarfile` does not: the size of extended
headers, the number of members, and names that lead outside of the archive.
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
        """A tar in a file, or in a stream that is read once."""

        @property
        def position(self) -> int:
            """The number of bytes before the next one."""
            ...

        def read(self, count: int, /) -> bytes:
            """Read ``count`` bytes, fewer only at the end."""
            ...

        ended: bool  # whether the end-of-archive marker has been read

        def skip_to(self, position: int, /) -> None:
            """Move forward; raises `IntegrityError` if the source ends before ``position``."""
            ...


BLOCK = 512
END = bytes(BLOCK)  # a block of the end-of-archive marker
_MAGIC, _MAGIC_AT = b"ustar", 257  # in every tar since POSIX.1-1988
MAX_MEMBERS = 200_000
MAX_EXTENDED = 2**20  # bytes of one extended header of PAX or GNU tar
MAX_NAMES = 32 * 2**20  # bytes of all names and links together
MAX_HOPS = 16  # links to links

_ODD = "backslashreplace"  # for names that are not UTF-8: no JSON document can contain them
_FILES = {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE}
SPARSE = "GNU.sparse"  # stands for all records whose names start with this
SOLARIS = "Solaris"  # stands for an extended header of Solaris' type
VOLUME = "GNU.volume."  # prefix of the records of multi-volume archives
# Other keys are dropped: each extended header could add new ones.
_KEYS = {
    b"path",
    b"linkpath",
    b"size",
    *(f"{VOLUME}{key}".encode() for key in ("label", "filename")),
}
_DIGITS = 20  # a number with this many digits is too long
_LONG = {tarfile.GNUTYPE_LONGNAME: "path", tarfile.GNUTYPE_LONGLINK: "linkpath"}
EXTENDED = {*_LONG, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE}


class Member(NamedTuple):
    """A member: a file of ``size`` bytes at ``offset``, or a link to another member.

    ``link`` is the normal name of the target. Other members, such as directories and devices,
    have neither offset nor link.
    """

    name: str
    offset: int | None = None
    size: int = 0
    link: str | None = None


class Header(NamedTuple):
    """A member's header, its extended headers, and the place of its content."""

    info: tarfile.TarInfo
    extended: dict[str, str]
    offset: int
    size: int


class UnsafeLink(UnsafeArchive):
    """A symbolic link that points outside, as many links in a tar of a file system do."""


class NotATar(IntegrityError):
    """A file or stream that does not start with a tar header."""


def members(source: TarSource) -> Iterator[Member]:
    """Yield the members of a tar in their order, with normal names.

    When a file is yielded, ``source`` is at its first byte. The bytes that the caller does not
    read are skipped.

    Raises:
        NotATar: The source does not start with a tar header.
        IntegrityError: The tar is damaged, is cut off, or has too many members.
        UnsafeArchive: A name or a link leads outside of the archive.
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
    """Yield the headers of a tar without checking the names; raises `IntegrityError`.

    The content that the caller does not read is skipped. After the last header, ``source.ended``
    tells whether the tar has its end-of-archive marker. A tar that was cut off between two
    members has none.
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
            size = content_size(info, extended)
            yield Header(info, extended, start, size)
            extended = {}
        source.skip_to(start + -(-size // BLOCK) * BLOCK)


def _header(source: TarSource) -> tarfile.TarInfo | None:
    """Read one header; None at the end-of-archive marker or at the end of the source."""
    at = source.position
    block = source.read(BLOCK)
    if not block or block == END:
        source.ended = bool(block)
        return None
    header = parse_header(block, at)
    # Each block of the map of a sparse file of GNU tar tells whether another one follows.
    more = has_map(header, block)
    while more:
        block = source.read(BLOCK)
        if len(block) < BLOCK:
            raise cut_off(source.position)
        more = bool(block[504])
    return header


def parse_header(block: bytes, at: int) -> tarfile.TarInfo:
    """Decode a header at byte ``at``; raises `NotATar` and `IntegrityError`."""
    if len(block) < BLOCK:
        raise cut_off(at + len(block), block, at)
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", _ODD)
    except tarfile.HeaderError as error:
        raise _damaged(f"no tar header at byte {at:,} ({error})", block, at) from None
    if header.size < 0:
        raise _damaged(f"a size below 0 at byte {at:,}")
    return header


def has_map(header: tarfile.TarInfo, block: bytes) -> bool:
    """Tell whether blocks with the map of a sparse file follow a header."""
    return header.type == tarfile.GNUTYPE_SPARSE and bool(block[482])


def _extension(source: TarSource, header: tarfile.TarInfo) -> dict[str, str]:
    """Read an extended header and return its records about the next member."""
    check_extension(header)
    data = source.read(header.size)
    if len(data) < header.size:
        raise cut_off(source.position)
    return parse_extension(header, data)


def check_extension(header: tarfile.TarInfo) -> None:
    """Raise `IntegrityError` for an extended header that is too large."""
    if header.size > MAX_EXTENDED:
        raise _damaged(f"an extended header of {header.size:,} bytes")


def parse_extension(header: tarfile.TarInfo, data: bytes) -> dict[str, str]:
    """Return the records of an extended header about the next member."""
    if header.type in _LONG:
        return {_LONG[header.type]: _text(data.partition(b"\0")[0])}
    return _records(data)


def _records(data: bytes) -> dict[str, str]:
    """Return the PAX records about the name, size and kind of the next member."""
    found: dict[str, str] = {}
    for key, value in records(data):
        if key in _KEYS:
            found[_text(key)] = _text(value)
        elif key.startswith(b"GNU.sparse."):
            found[SPARSE] = ""
    return found


def records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of PAX records: ``LENGTH KEY=VALUE``, line feed."""
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
    """Decode a number of a header: octal digits, or binary as in GNU tar."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    text = field.partition(b"\0")[0].strip()
    if text and not set(text) <= set(b"01234567"):
        raise _damaged("a number in a header is not octal")
    return int(text or b"0", 8)


def content_size(info: tarfile.TarInfo, extended: dict[str, str]) -> int:
    """Return the number of content bytes after a header."""
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
    """Normalize a member's name; raises `UnsafeArchive` if it leads outside."""
    found = posixpath.normpath(name) if name else "."
    if found.startswith(("/", "../")) or found == ".." or "\0" in found:
        raise UnsafeArchive("the name leads outside of the archive", member=_shown(name))
    return found


def linked(name: str, target: str) -> str:
    """Return the target of a symbolic link; raises `UnsafeLink` if it is outside."""
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


def cut_off(position: int, block: bytes = b"", at: int = -1) -> IntegrityError:
    """Make the error for a tar that ends at ``position``, within its header at ``at``."""
    return _damaged(f"it is cut off at byte {position:,}", block, at)


def _damaged(message: str, block: bytes = b"", at: int = -1) -> IntegrityError:
    """Make the error for a damaged tar; ``block`` is the bad header, ``at`` its place."""
    if at == 0 and not block.startswith(_MAGIC, _MAGIC_AT):
        return NotATar("is not a tar archive", expected="a tar archive", actual=message)
    return IntegrityError(
        f"the archive is damaged: {message}", expected="a tar archive", actual=message
    )
